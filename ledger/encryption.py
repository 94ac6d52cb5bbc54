"""What must not be readable in the database is encrypted where it is written, and decrypted where it is loaded.

AES-256-GCM with random nonces of 96 bits (NIST SP 800-38D, 8.2.2). Each column has a key of its own, derived by HKDF
(RFC 5869), so that each may hold 2^32 values under one key of ours. A value is bound to its table, column and row:
moved elsewhere, it is not decrypted. Written out: `v1.<key id>.<nonce and ciphertext, base64url>`.
"""

from __future__ import annotations

import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.errors import CannotDecrypt, KeyMissing

KEY_BYTES = 32
PREFIX = "v1."
"""What every encrypted value begins with, and no unencrypted one: those are JSON, hexadecimal, or empty."""
ID_LENGTH = 9
MARK_LENGTH = len(PREFIX) + ID_LENGTH + 1
"""Characters before the nonce: they tell the key."""
READ_AGAIN_AFTER_S = 1.0
"""Keys are looked for again so much later at the earliest: many rows may name one that is not here."""
_NONCE_BYTES = 12


class Key:
    """One key of ours. Its id is a fingerprint of it, so that a wrong key can never go by a right name.

    Raises:
        ValueError: it is not of 32 bytes.
    """

    __slots__ = ("_ciphers", "_material", "key_id", "mark")

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(material)}")
        self._material = material
        self._ciphers: dict[str, AESGCM] = {}
        self.key_id = "k" + _derived(material, "key id", length=4).hex()
        self.mark = mark_of(self.key_id)

    def __repr__(self) -> str:
        return f"Key({self.key_id})"

    def encrypt(self, place: str, names: Sequence[str], values: Sequence[str]) -> Iterator[str]:
        """Encrypt values of one column (`table.column`), each for the row of its name."""
        encrypt = self._cipher(place).encrypt
        nonces = os.urandom(_NONCE_BYTES * len(values))
        for number, (name, value) in enumerate(zip(names, values, strict=True)):
            nonce = nonces[number * _NONCE_BYTES : (number + 1) * _NONCE_BYTES]
            ciphertext = encrypt(nonce, value.encode(), _bound_to(place, name))
            yield self.mark + urlsafe_b64encode(nonce + ciphertext).decode()

    def decrypt(self, place: str, name: str, encrypted: str) -> str:
        """Decrypt what this key has encrypted for this row.

        Raises:
            CannotDecrypt: it was changed, or moved here from another row.
        """
        try:
            content = urlsafe_b64decode(encrypted[MARK_LENGTH:])
            nonce, ciphertext = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
            return self._cipher(place).decrypt(nonce, ciphertext, _bound_to(place, name)).decode()
        except (InvalidTag, ValueError):
            text = f"{_told(place, name)} does not open with key {self.key_id}: it was changed, or moved here"
            raise CannotDecrypt(text) from None

    def _cipher(self, place: str) -> AESGCM:
        cipher = self._ciphers.get(place)
        if cipher is None:
            cipher = self._ciphers[place] = AESGCM(_derived(self._material, place, length=KEY_BYTES))
        return cipher


def _derived(material: bytes, purpose: str, *, length: int) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=length, salt=None, info=f"payments v1 {purpose}".encode())
    return hkdf.derive(material)


def _bound_to(place: str, name: str) -> bytes:
    return f"{place}\0{name}".encode()


def _told(place: str, name: str) -> str:
    table, _, column = place.partition(".")
    return f"{table} {' '.join(name.split(chr(0)))}: {column}"


def mark_of(key_id: str) -> str:
    """What begins every value that a key has encrypted."""
    return f"{PREFIX}{key_id}."


def key_of(value: str) -> str | None:
    """The id of the key that a value is encrypted with; None: it is not encrypted."""
    return value[len(PREFIX) : MARK_LENGTH - 1] if value.startswith(PREFIX) else None


class Keyring:
    """The keys that are here. They are read anew when one is asked for that was not there: it may have been added."""

    def __init__(
        self,
        read: Callable[[], Iterable[Key]] = tuple,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._monotonic = monotonic
        self._read_at = monotonic()
        self._keys = {key.key_id: key for key in read()}

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.ids)})"

    @property
    def ids(self) -> list[str]:
        """The ids of the keys that are here."""
        return sorted(self._keys)

    def find(self, key_id: str) -> Key | None:
        """Give a key; None: it is not here."""
        if key_id not in self._keys and self._monotonic() >= self._read_at + READ_AGAIN_AFTER_S:
            self._read_at = self._monotonic()
            with suppress(OSError, ValueError):  # a file that is just being copied: next time
                self._keys |= {key.key_id: key for key in self._read()}
        return self._keys.get(key_id)


class Encrypter:
    """Encrypts with the current key, decrypts with any that is here. Asks which is current only when it must know."""

    def __init__(self, keyring: Keyring, current: Callable[[], str]) -> None:
        self._keyring = keyring
        self._current = current

    def encrypt(self, place: str, names: Sequence[str], values: Sequence[str | None]) -> list[str | None]:
        """Encrypt values of one column, each for the row of its name; what is empty stays as it is.

        Raises:
            KeyMissing: the current key is not here, or there is none.
        """
        full = [(name, value) for name, value in zip(names, values, strict=True) if value]
        if not full:
            return list(values)
        key_id = self._current()
        key = self._keyring.find(key_id)
        if key is None:
            raise KeyMissing(missing(key_id))
        encrypted = key.encrypt(place, [name for name, _ in full], [value for _, value in full])
        return [next(encrypted) if value else value for value in values]

    def decrypt(self, place: str, names: Sequence[str], values: Sequence[str | None]) -> list[str | None]:
        """Decrypt values of one column; what was never encrypted is given as it is.

        Raises:
            KeyMissing: one is encrypted with the current key, which is not here: all are waiting for it.
            CannotDecrypt: one is encrypted with another key that is not here, was changed, or was moved.
        """
        return [
            self._decrypted(place, name, value) if value and value.startswith(PREFIX) else value
            for name, value in zip(names, values, strict=True)
        ]

    def _decrypted(self, place: str, name: str, value: str) -> str:
        key_id = value[len(PREFIX) : MARK_LENGTH - 1]
        key = self._keyring.find(key_id)
        if key is not None:
            return key.decrypt(place, name, value)
        if key_id == self._current():
            raise KeyMissing(missing(key_id))
        raise CannotDecrypt(
            f"{_told(place, name)} is encrypted with key {key_id}, which is not here: bring it back"
        )


def missing(key_id: str) -> str:
    """Say that the current key is not here, and what to do."""
    return f"the current key {key_id} is not among the keys here: put its file where PAYMENTS_KEYS_DIR says"
