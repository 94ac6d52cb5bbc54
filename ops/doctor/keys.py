"""Checks of the keys that tokens are encrypted with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from ledger.encryption import Keyring
from ledger.ledger import Ledger
from ops.doctor.finding import Finding, well, wrong
from ops.key_files import read_keys
from ops.settings import Settings


def encryption_keys(settings: Settings) -> Iterator[Finding]:
    """Whether every key that anything is encrypted with is in this machine's directory, and nobody else may read it."""
    directory = settings.keys_directory
    try:
        keys = read_keys(directory)
    except ValueError as error:
        yield wrong("keys", str(error), "see docs/keys.md")
        return
    if not keys:
        yield wrong(
            "keys",
            f"there is none in {directory}",
            "`payments keys new`, or copy the workers' (docs/keys.md)",
        )
        return
    if readable := [file.name for file in directory.glob("*.key") if file.stat().st_mode & 0o077]:
        yield wrong("keys' files", f"others may read {', '.join(readable)}", f"chmod 600 {directory}/*.key")
    with closing(Ledger(settings.ledger_url, keyring=Keyring(lambda: keys))) as ledger:
        missing = ledger.missing_keys()
    if missing:
        yield wrong(
            "keys",
            f"values are encrypted with {', '.join(missing)}, which is not in {directory}",
            "bring the file back: see KeyMissing in docs/runbook.md",
        )
    else:
        yield well("keys", f"{len(keys)} here, none missing")


CHECKS = (encryption_keys,)
