"""The keys that tokens are encrypted with, as files: one key a file, `*.key`, 32 random bytes in base64."""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path

from ledger.encryption import KEY_BYTES, Key, Keyring
from ops.settings import Settings, SettingsError

_EMBEDDED = "embedded.key"


def open_keyring(settings: Settings) -> Keyring:
    """Read the keys there are. For a database that is a file, the first one is made here.

    Raises:
        SettingsError: there is none, or a file is no key.
    """
    directory = settings.keys_directory
    is_embedded = settings.ledger_url.startswith("sqlite")
    if settings.keys_dir is None and not is_embedded:
        raise SettingsError(f"PAYMENTS_KEYS_DIR is missing: {_ADVICE}")
    if is_embedded and not any(directory.glob("*.key")):
        _write(secrets.token_bytes(KEY_BYTES), directory / _EMBEDDED)
    try:
        keyring = Keyring(lambda: read_keys(directory))
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if not keyring.ids:
        raise SettingsError(f"there is no key in {directory}: {_ADVICE}")
    return keyring


_ADVICE = (
    "it is to name a directory with the keys that tokens are encrypted with. `payments keys new` makes one;"
    " give it to every worker, and keep a copy apart from the database (docs/keys.md)"
)


def read_keys(directory: Path) -> list[Key]:
    """Read every key of a directory.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is no key; the text names it and does not quote it.
    """
    return [_read(file) for file in sorted(directory.glob("*.key"))]


def new_key(directory: Path) -> tuple[Key, Path]:
    """Make a key, and a file for it that only its owner may read; it is on the disk when this returns."""
    material = secrets.token_bytes(KEY_BYTES)
    key = Key(material)
    path = directory / f"{datetime.now(UTC):%Y-%m-%d}-{key.key_id}.key"
    _write(material, path)
    return key, path


def _read(file: Path) -> Key:
    try:
        return Key(b64decode(file.read_bytes().strip(), validate=True))
    except ValueError:
        raise ValueError(f"{file} is no key: `payments keys new` makes one") from None


def _write(material: bytes, path: Path) -> None:
    """Whole or not at all; a file that is there already is left alone, another process may have just made it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}.draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(b64encode(material) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
