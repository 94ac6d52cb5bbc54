"""Heads of the audit chains, to be kept where nobody who can write to the database can write: anchors.

A chain proves that no part of it was changed. Who can write the whole database can cut a tail off with its head, or
write the whole anew; that shows by the heads it had before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, bindparam, text

from ledger.errors import LedgerError
from ledger.reading import rows
from ledger.tables import iso

LOOKED_UP_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last row of one chain."""

    shard: int
    position: int
    hash: str
    """SHA-256, in hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The heads of all chains at one moment."""

    at: datetime
    """When, UTC."""
    heads: tuple[Head, ...]

    def line(self) -> str:
        """One line of JSON: {"at": …, "heads": {"0": [position, hash], …}}."""
        heads = {str(head.shard): [head.position, head.hash] for head in self.heads}
        return json.dumps({"at": iso(self.at), "heads": heads})


class BadAnchor(LedgerError):
    """A line that is no anchor."""


def heads_now(books: Connection) -> tuple[Head, ...]:
    """The heads as they stand in this snapshot; of empty chains none."""
    found = rows(books, "SELECT shard, position, hash FROM audit_heads WHERE position > 0 ORDER BY shard")
    return tuple(Head(shard=row.shard, position=row.position, hash=_hex(row.hash)) for row in found)


def read_anchors(lines: Iterable[str]) -> list[Anchor]:
    """Anchors from the lines of a file.

    Raises:
        BadAnchor: naming the line that is none.
    """
    anchors = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            at = datetime.fromisoformat(told["at"])
            heads = tuple(
                Head(shard=int(shard), position=int(position), hash=bytes.fromhex(digest).hex())
                for shard, (position, digest) in told["heads"].items()
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadAnchor(
                f"line {number} is no anchor: was the file cut off or written by something else?"
            ) from None
        anchors.append(Anchor(at=at, heads=heads))
    return anchors


def prove_anchors(books: Connection, anchors: Sequence[Anchor]) -> Iterator[str]:
    """Say which chain no longer has what was anchored, and from which row on."""
    known = sorted(
        ((head, anchor.at) for anchor in anchors for head in anchor.heads),
        key=lambda pair: (pair[0].shard, pair[0].position),
    )
    for shard, group in groupby(known, key=lambda pair: pair[0].shard):
        anchored = list(group)
        there = _hashes(books, shard, [head.position for head, _ in anchored])
        agrees = 0
        for head, at in anchored:
            found = there.get(head.position)
            if found == head.hash:
                agrees = head.position
                continue
            what = "is gone" if found is None else "is another"
            yield (
                f"audit shard {shard} row {head.position}: anchored at {iso(at)}, it {what}; the chain was cut off"
                f" or written anew after row {agrees}"
            )
            break


def _hashes(books: Connection, shard: int, positions: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    query = text(
        "SELECT position, hash FROM audit WHERE shard = :shard AND position IN :positions"
    ).bindparams(bindparam("positions", expanding=True))
    for start in range(0, len(positions), LOOKED_UP_AT_ONCE):
        some = positions[start : start + LOOKED_UP_AT_ONCE]
        for position, stored in books.execute(query, {"shard": shard, "positions": some}):
            found[position] = _hex(stored)
    return found


def _hex(stored: object) -> str:
    """A hash as it is told; what was tampered with may be none."""
    return stored.hex() if isinstance(stored, bytes) else ""
