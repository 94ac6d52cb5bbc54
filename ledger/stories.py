"""The whole story of one payment, and which payment an id is of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select

from ledger import tables
from ledger.accounts import Account
from ledger.ledger import ATTEMPT, CAPTURE, PAYMENT, REFUND
from ledger.reading import reading
from ledger.reports import AnnouncedEvent, announced
from ledger.rows import Shape, State
from ledger.states import Attempt, Capture, Payment, Refund


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One entry, with its journal's heading."""

    journal_id: str
    journal_type: str
    effective_at: datetime
    account: Account
    layer: str
    side: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One row of the audit log, with its place in the chain."""

    shard: int
    position: int
    happened_at: datetime
    actor: str
    action: str
    subject: str
    cause: str
    result: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What a gateway told us by itself."""

    gateway: str
    notice_id: str
    event: str
    attempt_id: str | None
    state: str
    """`taken`; or it fits nothing: `waiting` to be tried again, `unmatched` for good."""
    notice: dict[str, Any]
    """What it said, as we understood it."""
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterNote:
    """A dead letter about the payment, without its content."""

    letter_id: str
    queue: str
    type: str
    message_id: str
    source: str
    reason: str
    detail: str
    field: str
    first_dead_at: datetime
    dead_at: datetime
    deaths: int
    state: str
    state_at: datetime
    actor: str
    note: str
    outcome: str
    replaced_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything the books know of one payment, each part in the order of time."""

    payment: Payment
    attempts: list[Attempt]
    captures: list[Capture]
    refunds: list[Refund]
    journal_lines: list[JournalLine]
    events: list[AnnouncedEvent]
    callbacks: list[Callback]
    letters: list[LetterNote]
    audit: list[AuditRow]
    """Operators' actions on its dead letters included."""


def story(url: str, payment_id: str) -> Story | None:
    """Tell all about a payment; None if there is none of this id.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    with reading(url) as books:
        payments = _states(books, PAYMENT, tables.payments, payment_id)
        if not payments:
            return None
        letters = _letters(books, payment_id)
        return Story(
            payment=payments[0],
            attempts=_states(books, ATTEMPT, tables.attempts, payment_id),
            captures=_states(books, CAPTURE, tables.captures, payment_id),
            refunds=_states(books, REFUND, tables.refunds, payment_id),
            journal_lines=_journal_lines(books, payment_id),
            events=_events(books, payment_id),
            callbacks=_callbacks(books, payment_id),
            letters=letters,
            audit=_audit(books, payment_id, [letter.letter_id for letter in letters]),
        )


def _states(books: Connection, shape: Shape[State], table: Table, payment_id: str) -> list[State]:
    query = select(table).where(table.c.payment_id == payment_id).order_by(table.c.created_at)
    return list(shape.read(tuple(row) for row in books.execute(query)))


def _journal_lines(books: Connection, payment_id: str) -> list[JournalLine]:
    journals, entries = tables.journals.c, tables.entries.c
    query = (
        select(
            journals.journal_id,
            journals.journal_type,
            journals.effective_at,
            entries.account,
            entries.layer,
            entries.side,
            entries.amount,
            entries.currency,
        )
        .join(tables.entries, entries.journal_id == journals.journal_id)
        .where(journals.payment_id == payment_id)
        .order_by(journals.effective_at, journals.journal_id, entries.line_no)
    )
    return [JournalLine(**{**row._mapping, "account": Account(row.account)}) for row in books.execute(query)]


def _events(books: Connection, payment_id: str) -> list[AnnouncedEvent]:
    query = (
        select(tables.outbox).where(tables.outbox.c.stream == payment_id).order_by(tables.outbox.c.sequence)
    )
    return [announced(row) for row in books.execute(query)]


def _audit(books: Connection, payment_id: str, letter_ids: list[str]) -> list[AuditRow]:
    audit = tables.audit.c
    query = (
        select(tables.audit)
        .where((audit.payment_id == payment_id) | audit.subject.in_(letter_ids))
        .order_by(audit.happened_at, audit.shard, audit.position)
    )
    return [
        AuditRow(
            shard=row.shard,
            position=row.position,
            happened_at=row.happened_at,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            cause=row.cause,
            result=row.result,
            details=json.loads(row.details),
        )
        for row in books.execute(query)
    ]


def _callbacks(books: Connection, payment_id: str) -> list[Callback]:
    callbacks = tables.callbacks.c
    query = select(*(callbacks[name] for name in Callback.__slots__)).where(
        callbacks.payment_id == payment_id
    )
    return [
        Callback(**{**row._mapping, "notice": json.loads(row.notice)})
        for row in books.execute(query.order_by(callbacks.received_at, callbacks.notice_id))
    ]


def _letters(books: Connection, payment_id: str) -> list[LetterNote]:
    letters = tables.dead_letters.c
    query = select(*(letters[name] for name in LetterNote.__slots__)).where(letters.payment_id == payment_id)
    return [LetterNote(**row._mapping) for row in books.execute(query.order_by(letters.first_dead_at))]
