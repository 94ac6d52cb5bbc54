"""Which columns are encrypted, and how rows are encrypted and decrypted, a whole column at a time.

Nothing is looked up by an encrypted value. What is only compared, the fingerprint of a command, is encrypted like
the rest: a keyed hash would need its key for ever, since it cannot be made anew when the key is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from ledger.encryption import PREFIX, Encrypter

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedTable:
    """A table with encrypted columns."""

    table: str
    columns: tuple[str, ...]
    name: tuple[str, ...]
    """Names a row: values are bound to it."""
    order: tuple[str, ...]
    """The primary key as it is declared: rows are walked through in its order."""
    only: str = "true"
    """Which rows are encrypted at all, in SQL."""


COMMAND = ("request", "request_hash")
"""The command with its tokens, and the fingerprint that would confirm a guess of them."""
BROUGHT = ("brought",)
"""What a customer brought back from the bank may complete a payment."""
FINGERPRINT = ("body_hash",)
LETTER = ("content",)
"""The body of a dead letter is a whole command, or a whole callback."""

SECRET_EVENTS = ("PaymentActionRequired",)
"""Events with a part that lets whoever has it act as the customer: only these are encrypted."""
_ACTION = "next_action"

ENCRYPTED_TABLES = (
    EncryptedTable(table="payments", columns=COMMAND, name=("payment_id",), order=("payment_id",)),
    EncryptedTable(table="refunds", columns=COMMAND, name=("refund_id",), order=("refund_id",)),
    EncryptedTable(table="attempts", columns=BROUGHT, name=("attempt_id",), order=("attempt_id",)),
    EncryptedTable(
        table="inbox", columns=FINGERPRINT, name=("source", "message_id"), order=("message_id", "source")
    ),
    EncryptedTable(
        table="outbox",
        columns=("body",),
        name=("stream", "sequence"),
        order=("position",),
        only=f"type IN ({', '.join(map(repr, SECRET_EVENTS))})",
    ),
    EncryptedTable(table="dead_letters", columns=LETTER, name=("letter_id",), order=("letter_id",)),
)
"""Every encrypted column there is: keys are counted in them, and changed."""


def name_of(*key: object) -> str:
    """The name of a row, by the values of its key."""
    return "\0".join(map(str, key))


def encrypt_rows(
    encrypter: Encrypter,
    table: str,
    columns: Sequence[str],
    encrypted: Sequence[str],
    rows: list[Row],
    *,
    name: Callable[[Row], str] = itemgetter(0),
) -> list[Row]:
    """Encrypt some columns of rows."""
    for column in encrypted:
        at = columns.index(column)
        values = [row[at] for row in rows]
        if any(values):
            values = encrypter.encrypt(f"{table}.{column}", list(map(name, rows)), values)
            rows = [(*row[:at], value, *row[at + 1 :]) for row, value in zip(rows, values, strict=True)]
    return rows


def encrypted_body(encrypter: Encrypter, stream: str, sequence: int, body: bytes) -> bytes:
    """A secret event's body as it is stored: encrypted whole, and a second line has the rest to be read."""
    content = json.loads(body)
    if isinstance(content.get(_ACTION), dict):
        content[_ACTION] = {"type": content[_ACTION].get("type")}
    (encrypted,) = encrypter.encrypt("outbox.body", [name_of(stream, sequence)], [body.decode()])
    return f"{encrypted}\n{json.dumps(content)}".encode()


def decrypted_body(encrypter: Encrypter, stream: str, sequence: int, stored: bytes) -> bytes:
    """The body as it is published.

    Raises:
        LedgerError: it does not open.
    """
    if not stored.startswith(PREFIX.encode()):
        return stored
    encrypted = stored.partition(b"\n")[0].decode()
    (body,) = encrypter.decrypt("outbox.body", [name_of(stream, sequence)], [encrypted])
    return (body or "").encode()


def readable_body(stored: bytes) -> bytes:
    """What anybody may read of a body, without any key."""
    return stored.rpartition(b"\n")[2]
