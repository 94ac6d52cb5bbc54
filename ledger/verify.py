"""Proof of the books: every journal balances, nothing was changed since it was written, amounts agree three ways.

It reads only, one snapshot, and says of each problem where it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from ledger import tables
from ledger.audit import BEGINNING, seal
from ledger.journals import digest
from ledger.reading import reading, rows
from ledger.records import AuditLine

CHUNK = 2000
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Report:
    """What was checked, and what is wrong; one sentence a problem, with its place."""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def verify(url: str, *, progress: Progress = lambda _what, _done: None) -> Report:
    """Check everything.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    report = Report()
    with reading(url) as books:
        for table in ("payments", "refunds", "journals", "entries", "audit"):
            report.counts[table] = rows(books, f"SELECT count(*) FROM {table}")[0][0]
        for what, check in (
            ("journals balance", _balances),
            ("everything has its payment", _orphans),
            ("amounts agree three ways", _amounts),
            ("refunds agree", _refunds),
            ("what succeeded is booked", _booked),
            ("events without gaps", _events),
        ):
            progress(what, 0)
            report.problems.extend(check(books))
        report.problems.extend(_audit(books, progress))
    return report


# --- the books ---------------------------------------------------------------------------------------------------


def _balances(books: Connection) -> Iterator[str]:
    for row in rows(
        books,
        "SELECT journal_id, currency, layer, sum(CASE side WHEN 'D' THEN amount ELSE -amount END) AS rest"
        " FROM entries GROUP BY journal_id, currency, layer"
        " HAVING sum(CASE side WHEN 'D' THEN amount ELSE -amount END) <> 0",
    ):
        yield f"journal {row.journal_id}: {row.layer} {row.currency} is off by {row.rest} minor units"
    for row in rows(
        books,
        "SELECT e.journal_id, e.line_no FROM entries e LEFT JOIN journals j USING (journal_id)"
        " WHERE j.journal_id IS NULL OR e.payment_id <> j.payment_id OR e.gateway <> j.gateway"
        " OR e.currency <> j.currency OR coalesce(e.refund_id, '') <> coalesce(j.refund_id, '')",
    ):
        yield f"entry {row.journal_id} line {row.line_no}: it does not belong to its journal"
    for row in rows(
        books, "SELECT journal_id FROM journals WHERE journal_id <> source_id || '/' || journal_type"
    ):
        yield f"journal {row.journal_id}: its type or source was changed"


def _orphans(books: Connection) -> Iterator[str]:
    """A refund may be there before its payment is; nothing else may."""
    for table, key in (("attempts", "attempt_id"), ("journals", "journal_id")):
        for row in rows(
            books,
            f"SELECT t.{key} AS key, t.payment_id FROM {table} t LEFT JOIN payments p USING (payment_id)"
            " WHERE p.payment_id IS NULL",
        ):
            yield f"{table} {row.key}: its payment {row.payment_id} is gone"


_CAPTURES = "j.journal_type IN ('J10', 'J10s') AND e.account = 1100 AND e.side = 'D'"

_THREE_WAYS = f"""
    SELECT p.payment_id, p.captured_gross, p.refunded, p.refund_pending, p.authorized,
           coalesce(a.captured, 0) AS attempts_captured, coalesce(a.authorized, 0) AS attempts_authorized,
           coalesce(a.refunded, 0) AS attempts_refunded,
           coalesce(b.captured, 0) AS booked_captured, coalesce(b.refunded, 0) AS booked_refunded,
           coalesce(b.pending, 0) AS booked_pending, coalesce(b.held, 0) AS booked_held,
           p.authorized - p.captured_gross - p.released AS held
    FROM payments p
    LEFT JOIN (
        SELECT payment_id,
               sum(CASE WHEN operation IN ('sale', 'capture') THEN amount ELSE 0 END) AS captured,
               sum(CASE WHEN operation IN ('sale', 'authorize') THEN amount ELSE 0 END) AS authorized,
               sum(CASE WHEN operation = 'refund' THEN amount ELSE 0 END) AS refunded
        FROM attempts WHERE state = 'succeeded' GROUP BY payment_id
    ) a USING (payment_id)
    LEFT JOIN (
        SELECT e.payment_id,
               sum(CASE WHEN {_CAPTURES} THEN e.amount ELSE 0 END) AS captured,
               sum(CASE WHEN j.journal_type = 'J31' AND e.account = 1100 THEN e.amount ELSE 0 END) AS refunded,
               sum(CASE WHEN e.account <> 2200 THEN 0 WHEN e.side = 'C' THEN e.amount ELSE -e.amount END) AS pending,
               sum(CASE WHEN e.account <> 9100 THEN 0 WHEN e.side = 'D' THEN e.amount ELSE -e.amount END) AS held
        FROM entries e JOIN journals j USING (journal_id) GROUP BY e.payment_id
    ) b USING (payment_id)
"""


def _amounts(books: Connection) -> Iterator[str]:
    """The amounts on a payment, the sums of its attempts, and the sums of its journals are one (books, I12)."""
    for row in rows(
        books,
        f"SELECT * FROM ({_THREE_WAYS}) AS ways"
        " WHERE captured_gross <> attempts_captured OR captured_gross <> booked_captured"
        " OR refunded <> attempts_refunded OR refunded <> booked_refunded"
        " OR refund_pending <> booked_pending OR held <> booked_held OR authorized <> attempts_authorized",
    ):
        yield (
            f"payment {row.payment_id}: captured {row.captured_gross} on the payment, {row.attempts_captured} by "
            f"attempts, {row.booked_captured} booked; refunded {row.refunded}, {row.attempts_refunded}, "
            f"{row.booked_refunded}; being refunded {row.refund_pending}, booked {row.booked_pending}; "
            f"authorized {row.authorized}, by attempts {row.attempts_authorized}; "
            f"held {row.held}, booked {row.booked_held}"
        )


def _refunds(books: Connection) -> Iterator[str]:
    for row in rows(
        books,
        "SELECT p.payment_id, p.refund_pending, p.refunded, coalesce(r.pending, 0) AS pending,"
        " coalesce(r.done, 0) AS done FROM payments p LEFT JOIN ("
        "   SELECT payment_id,"
        "   sum(CASE WHEN status IN ('submitted', 'pending', 'unknown') THEN amount ELSE 0 END) AS pending,"
        "   sum(CASE WHEN status = 'succeeded' THEN amount ELSE 0 END) AS done FROM refunds GROUP BY payment_id"
        " ) r USING (payment_id)"
        " WHERE p.refund_pending <> coalesce(r.pending, 0) OR p.refunded <> coalesce(r.done, 0)",
    ):
        yield (
            f"payment {row.payment_id}: its refunds make {row.done} refunded and {row.pending} under way, "
            f"it says {row.refunded} and {row.refund_pending}"
        )


def _booked(books: Connection) -> Iterator[str]:
    """What ended has its journal, and what has a journal ended so."""
    for row in rows(
        books,
        "SELECT a.attempt_id, a.operation, a.state FROM attempts a LEFT JOIN journals j ON j.journal_id ="
        " a.attempt_id || CASE WHEN a.operation = 'sale' THEN '/J10s' WHEN a.operation = 'authorize' THEN '/J01'"
        " WHEN a.operation = 'capture' THEN '/J10' WHEN a.state = 'succeeded' THEN '/J31' ELSE '/J32' END"
        " WHERE a.operation <> 'void' AND (j.journal_id IS NULL) = (a.state = 'succeeded' OR (a.operation = 'refund'"
        " AND a.state IN ('declined', 'failed', 'canceled')))",
    ):
        yield f"attempt {row.attempt_id}: {row.operation} {row.state} and the books disagree"


def _events(books: Connection) -> Iterator[str]:
    for row in rows(
        books,
        "SELECT p.payment_id, p.sequence, coalesce(o.events, 0) AS events, coalesce(o.last, 0) AS last"
        " FROM payments p LEFT JOIN (SELECT stream, count(*) AS events, max(sequence) AS last, min(sequence) AS"
        " first FROM outbox GROUP BY stream) o ON o.stream = p.payment_id"
        " WHERE p.sequence <> coalesce(o.events, 0) OR p.sequence <> coalesce(o.last, 0) OR o.first <> 1",
    ):
        yield (
            f"payment {row.payment_id}: {row.events} events up to number {row.last}, it says {row.sequence}"
        )


# --- the audit chains --------------------------------------------------------------------------------------------


def _audit(books: Connection, progress: Progress) -> Iterator[str]:
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
                if seal(previous, shard, row.position, _line(row)) != bytes(row.hash):
                    yield f"audit shard {shard} row {row.position}: it was changed, or the row before it"
                previous, last = bytes(row.hash), row.position
            told = _digests_told(chunk)
            booked = _digests_booked(books, list(told))
            found += len(booked)
            yield from _compared(told, booked)
            done += len(chunk)
            progress("audit chain", done)
        head = heads.get(shard)
        if head is None:
            yield f"audit shard {shard}: its head is gone; {last} rows are there"
        elif (last, previous) != (head.position, bytes(head.hash)):
            yield f"audit shard {shard}: it ends at row {last}, its head says {head.position}: cut off or forged"
    yield from _untold(books, found)


def _chunks(books: Connection, shard: int) -> Iterator[list[Any]]:
    after = 0
    query = (
        select(tables.audit)
        .where(tables.audit.c.shard == shard, tables.audit.c.position > bindparam("after"))
        .order_by(tables.audit.c.position)
        .limit(CHUNK)
    )
    while chunk := list(books.execute(query, {"after": after})):
        yield chunk
        after = chunk[-1].position


def _line(row: Any) -> AuditLine:
    return AuditLine(
        actor=row.actor,
        action=row.action,
        payment_id=row.payment_id,
        subject=row.subject,
        cause=row.cause,
        result=row.result,
        details=row.details,
        happened_at=row.happened_at,
    )


def _digests_told(chunk: list[Any]) -> dict[str, tuple[str, str]]:
    """Fingerprints by journal, with the place that tells them."""
    told: dict[str, tuple[str, str]] = {}
    for row in chunk:
        for journal_id, fingerprint in _journals_in(row.details).items():
            told[journal_id] = (fingerprint, f"audit shard {row.shard} row {row.position}")
    return told


def _journals_in(details: str) -> dict[str, str]:
    if '"journals"' not in details:
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
            journals.c.effective_at,
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
    if [line.line_no for line in lines] != list(range(1, len(lines) + 1)):
        return "lines are missing or renumbered"
    heading = [
        first.journal_id,
        first.payment_id,
        first.refund_id,
        first.gateway,
        first.currency,
        tables.iso(first.effective_at),
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
