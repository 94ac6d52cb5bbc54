"""The key that tests encrypt with: a file for processes, a keyring for those that open a ledger themselves."""

from __future__ import annotations

from pathlib import Path

from ledger.encryption import Key, Keyring

KEY = Key(b"for tests: this protects nothing")
KEYRING = Keyring(lambda: [KEY])
DIRECTORY = Path(__file__).parent
"""Has the same key in `tests.key`."""
