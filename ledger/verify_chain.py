"""Proof of the audit chains, and by them of every journal: the fingerprints they tell are made anew and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Label, bindparam, select, text, type_coerce
from sqlalchemy.types import NullType

from ledger import tables
from ledger.audit import BEGINNING, seal
from ledger.journals import digest
from ledger.reading import rows
from ledger.records import AuditLine

CHUNK = 2000
Progress = Callable[[str, int], None]


def prove_chains(books: Connection, progress: Progress) -> Iterator[str]:
    """Recompute every chain, and the fingerprint of every journal it tells of."""
    heads = {row.shard: row for row in rows(books, "SELECT shard, position, hash FROM audit_heads")}
    shards = {row.shard for row in rows(books, "SELECT DISTINCT shard FROM audit")}
    done = found = 0
    for shard in sorted(shards | heads.keys() | set(range(tables.AUDIT_SHARDS))):
        previous, last = BEGINNING, 0
        for chunk in _chunks(books, shard):
            for row in chunk:
                if row.position != last + 1:
                    yield f"audit shard {shard}: rows {last + 1} to {row.position - 1} are missing"
                if not _is_sealed(row, previous):
                    yield f"audit shard {shard} row {row.position}: it was changed, or the row before it"
                previous, last = _bytes(row.hash), row.position
            told = _digests_told(chunk)
            booked = _digests_booked(books, list(told))
            found += len(booked)
            yield from _compared(told, booked)
            done += len(chunk)
            progress("audit chain", done)
        head = heads.get(shard)
        if head is None:
            yield f"audit shard {shard}: its head is gone; {last} rows are there"
        elif (last, previous) != (head.position, _bytes(head.hash)):
            yield f"audit shard {shard}: it ends at row {last}, its head says {head.position}: cut off or forged"
    yield from _untold(books, found)


def _chunks(books: Connection, shard: int) -> Iterator[list[Any]]:
    after = -(2**63)
    query = (
        select(*map(_as_stored, tables.audit.c))
        .where(tables.audit.c.shard == shard, tables.audit.c.position > bindparam("after"))
        .order_by(tables.audit.c.position)
        .limit(CHUNK)
    )
    while chunk := list(books.execute(query, {"after": after})):
        yield chunk
        after = chunk[-1].position


def _as_stored(column: Column[Any]) -> Label[Any]:
    """Without making values of it: what was tampered with may be none."""
    return type_coerce(column, NullType()).label(column.name)


def _is_sealed(row: Any, previous: bytes) -> bool:
    happened_at = _moment(row.happened_at)
    if happened_at is None or not isinstance(row.details, str):
        return False
    line = AuditLine(
        actor=row.actor,
        action=row.action,
        payment_id=row.payment_id,
        subject=row.subject,
        cause=row.cause,
        result=row.result,
        details=row.details,
        happened_at=happened_at,
    )
    return seal(previous, row.shard, row.position, line) == _bytes(row.hash)


def _moment(stored: Any) -> datetime | None:
    """A time as it is stored. SQLite keeps text, which may have become anything but the one way we write a time."""
    if isinstance(stored, datetime):
        return stored
    try:
        moment = datetime.fromisoformat(stored)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None and tables.iso(moment) == stored else None


def _bytes(stored: Any) -> bytes:
    return stored if isinstance(stored, bytes) else b""


def _digests_told(chunk: list[Any]) -> dict[str, tuple[str, str]]:
    """Fingerprints by journal, with the place that tells them."""
    told: dict[str, tuple[str, str]] = {}
    for row in chunk:
        for journal_id, fingerprint in _journals_in(row.details).items():
            told[journal_id] = (fingerprint, f"audit shard {row.shard} row {row.position}")
    return told


def _journals_in(details: Any) -> dict[str, str]:
    if not isinstance(details, str) or '"journals"' not in details:
        return {}
    try:
        journals = json.loads(details)["journals"]
    except (ValueError, KeyError, TypeError):
        return {}  # the chain has already said that this row was changed
    return journals if isinstance(journals, dict) else {}


def _digests_booked(books: Connection, journal_ids: list[str]) -> dict[str, str]:
    """Fingerprints, made anew, of those journals that are there."""
    journals, entries = tables.journals, tables.entries
    query = (
        select(
            journals.c.journal_id,
            journals.c.payment_id,
            journals.c.refund_id,
            journals.c.gateway,
            journals.c.currency,
            _as_stored(journals.c.effective_at),
            entries.c.line_no,
            entries.c.account,
            entries.c.layer,
            entries.c.side,
            entries.c.amount,
        )
        .join(entries, entries.c.journal_id == journals.c.journal_id)
        .where(journals.c.journal_id.in_(bindparam("ids", expanding=True)))
        .order_by(journals.c.journal_id, entries.c.line_no)
    )
    found: dict[str, str] = {}
    for start in range(0, len(journal_ids), 500):
        lines = books.execute(query, {"ids": journal_ids[start : start + 500]})
        for journal_id, group in groupby(lines, key=itemgetter(0)):
            found[journal_id] = _digest_of(list(group))
    return found


def _compared(told: dict[str, tuple[str, str]], booked: dict[str, str]) -> Iterator[str]:
    for journal_id, (fingerprint, place) in told.items():
        if journal_id not in booked:
            yield f"journal {journal_id}: it is gone ({place} tells of it)"
        elif booked[journal_id] != fingerprint:
            yield f"journal {journal_id}: it was changed since {place} was written"


def _digest_of(lines: list[Any]) -> str:
    first = lines[0]
    effective_at = _moment(first.effective_at)
    if effective_at is None:
        return "its time is none"
    if [line.line_no for line in lines] != list(range(1, len(lines) + 1)):
        return "lines are missing or renumbered"
    heading = [
        first.journal_id,
        first.payment_id,
        first.refund_id,
        first.gateway,
        first.currency,
        tables.iso(effective_at),
    ]
    return digest(heading, [(line.account, line.layer, line.side, line.amount) for line in lines])


def _untold(books: Connection, found: int) -> Iterator[str]:
    """Journals that no audit row tells of; looked for only if there are more than were found."""
    if rows(books, "SELECT count(*) FROM journals")[0][0] == found:
        return
    known: set[str] = set()
    for (details,) in books.execute(text("SELECT details FROM audit WHERE details LIKE '%\"journals\"%'")):
        known.update(_journals_in(details))
    for (journal_id,) in books.execute(text("SELECT journal_id FROM journals ORDER BY journal_id")):
        if journal_id not in known:
            yield f"journal {journal_id}: no audit row tells of it"
