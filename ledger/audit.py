"""The audit log as hash chains: each row's hash covers the row and the hash before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from ledger.records import AuditLine
from ledger.tables import iso

BEGINNING = b"\0" * 32
"""The hash before a chain's first row."""

COLUMNS = (
    "shard",
    "position",
    "actor",
    "action",
    "payment_id",
    "subject",
    "cause",
    "result",
    "details",
    "happened_at",
    "hash",
)

_encode = json.JSONEncoder(ensure_ascii=False).encode


def seal(previous: bytes, shard: int, position: int, line: AuditLine) -> bytes:
    """The hash of a row: SHA-256 over the hash before it and every column."""
    fields = [
        shard,
        position,
        line.actor,
        line.action,
        line.payment_id,
        line.subject,
        line.cause,
        line.result,
        line.details,
        iso(line.happened_at),
    ]
    return hashlib.sha256(previous + _encode(fields).encode()).digest()


def chain(
    lines: Sequence[AuditLine], *, shard: int, position: int, previous: bytes
) -> Iterator[tuple[object, ...]]:
    """Rows that continue a chain after `position`, in the order of `COLUMNS`."""
    for number, line in enumerate(lines, start=position + 1):
        previous = seal(previous, shard, number, line)
        yield (
            shard,
            number,
            line.actor,
            line.action,
            line.payment_id,
            line.subject,
            line.cause,
            line.result,
            line.details,
            line.happened_at,
            previous,
        )
