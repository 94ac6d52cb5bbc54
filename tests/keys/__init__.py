"""The key that tests seal with: as a file for processes, and as a keyring for those that open a ledger themselves."""

from __future__ import annotations

from pathlib import Path

from ledger.sealing import Key, Keyring

KEY = Key(b"for tests: this protects nothing")
KEYRING = Keyring(lambda: [KEY])
DIRECTORY = Path(__file__).parent
"""Has the same key in `tests.key`."""
