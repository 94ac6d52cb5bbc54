"""The ledger: one transaction a turn. What it loads stays locked, what it writes stands or falls together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection

from ledger import audit, keys, tables
from ledger.bulk import Bulk, Fetch, Row, bulk_on
from ledger.cases import CaseRows
from ledger.encrypted_rows import (
    BROUGHT,
    COMMAND,
    FINGERPRINT,
    SECRET_EVENTS,
    decrypted_body,
    encrypt_rows,
    encrypted_body,
    name_of,
)
from ledger.encryption import Encrypter, Keyring
from ledger.engine import open_engine
from ledger.errors import CannotDecrypt, Conflict, LedgerDown, LedgerError, NotMigrated, Refused, told_apart
from ledger.journals import Journal
from ledger.letters import Letters, sent_back
from ledger.records import (
    CallbackRow,
    Changes,
    Due,
    EventKey,
    Found,
    Loaded,
    MessageKey,
    OutboxEvent,
    Trace,
    Wanted,
)
from ledger.rows import Shape
from ledger.states import Attempt, Capture, Payment, Refund, RefundStatus

__all__ = ["Conflict", "Ledger", "LedgerDown", "LedgerError", "NotMigrated", "Refused", "Turn"]

_COMMAND = ("request", "request_hash", "source", "command_id", "correlation_id", "created_at")
PAYMENT = Shape(
    Payment, "payments", fixed=("order_id", "currency", "requested", "capture", *_COMMAND), encrypted=COMMAND
)
_CALL = ("payment_id", "capture_id", "refund_id", "operation", "gateway", "currency", "amount", "acts_on")
ATTEMPT = Shape(Attempt, "attempts", fixed=(*_CALL, "authenticate", "created_at"), encrypted=BROUGHT)
CAPTURE = Shape(Capture, "captures", fixed=("payment_id", "final", "deadline_at", *_COMMAND[1:]))
REFUND = Shape(
    Refund, "refunds", fixed=("payment_id", "external", "deadline_at", *_COMMAND), encrypted=COMMAND
)

_OUTBOX = (
    "stream",
    "sequence",
    "subject",
    "type",
    "exchange",
    "routing_key",
    "headers",
    "body",
    "created_at",
)
_CALLBACK = (
    "gateway",
    "notice_id",
    "event",
    "payment_id",
    "attempt_id",
    "state",
    "notice",
    "received_at",
    "due_at",
)
_INBOX = ("source", "message_id", "body_hash", "subject", "received_at")
_JOURNAL = (
    "journal_id",
    "journal_type",
    "source_id",
    "payment_id",
    "refund_id",
    "gateway",
    "currency",
    "effective_at",
)
_ENTRY = (
    "journal_id",
    "line_no",
    "account",
    "layer",
    "side",
    "amount",
    "gateway",
    "currency",
    "payment_id",
    "refund_id",
)
PATIENCE_S = 75.0
"""How long a silent database is waited for: longer than it gives any statement (see `ledger.engine`)."""

_CHAIN = f"SELECT shard, position, hash, ({keys.CURRENT}) FROM audit_heads"
_NO_CHAINS = "the audit log has no chains: run `payments migrate`"


class Ledger:
    """The database as the worker sees it. One thread at a time.

    `keyring` has the keys that tokens are encrypted with. Without any, nothing that needs one can be written or loaded.
    """

    def __init__(self, url: str, *, keyring: Keyring | None = None, patience_s: float = PATIENCE_S) -> None:
        self._keyring = keyring or Keyring()
        self.shut: dict[str, CannotDecrypt] = {}
        """Streams that the last look for stale events left out, and why."""
        self._engine = open_engine(url, by_key=True, patience_s=patience_s)
        self._is_sqlite = self._engine.dialect.name == "sqlite"

    def __repr__(self) -> str:
        return f"Ledger({self._engine.dialect.name})"

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """One transaction: committed on leaving, undone by an exception.

        Raises:
            LedgerError: nothing was written.
        """
        with self._transaction(writes=True) as bulk:
            yield Turn(bulk, self._keyring)

    def due(self, *, now: datetime, limit: int) -> list[Due]:
        """Attempts and waiting refunds whose time has come, the longest overdue first. Nothing is locked."""
        with self._transaction() as bulk:
            at = tables.iso(now) if self._is_sqlite else now
            found = bulk.query(
                # Each part is read in order and no further than needed, however much an outage has left overdue.
                "SELECT * FROM (SELECT payment_id, attempt_id, capture_id, refund_id, due_at FROM attempts"
                "  WHERE due_at <= {value} ORDER BY due_at LIMIT {value}) AS attempts_due"
                " UNION ALL SELECT * FROM (SELECT payment_id, NULL, capture_id, NULL, due_at FROM captures"
                "  WHERE due_at <= {value} ORDER BY due_at LIMIT {value}) AS captures_due"
                " UNION ALL SELECT * FROM (SELECT payment_id, NULL, NULL, refund_id, due_at FROM refunds"
                "  WHERE due_at <= {value} ORDER BY due_at LIMIT {value}) AS refunds_due"
                " ORDER BY 5 LIMIT {value}",
                at,
                limit,
                at,
                limit,
                at,
                limit,
                limit,
            )
            return [
                Due(
                    payment_id=row[0],
                    attempt_id=row[1],
                    capture_id=row[2],
                    refund_id=row[3],
                    due_at=_time(row[4]),
                )
                for row in found()
            ]

    def waiting_callbacks(self, *, now: datetime, limit: int) -> list[CallbackRow]:
        """Notices of nothing we knew, to be looked at again."""
        with self._transaction() as bulk:
            found = bulk.query(
                f"SELECT {', '.join(_CALLBACK)} FROM callbacks WHERE due_at <= {{value}}"
                " ORDER BY due_at LIMIT {value}",
                tables.iso(now) if self._is_sqlite else now,
                limit,
            )
            return [_callback(row) for row in found()]

    def stale_events(self, *, before: datetime, limit: int) -> list[OutboxEvent]:
        """Events still unpublished that were written before a time, in the order they were written.

        One that does not open is left out, with those of its stream after it; `shut` says why.
        """
        with self._transaction() as bulk:
            encrypter = Encrypter(self._keyring, lambda: keys.current(bulk))
            found = bulk.query(
                f"SELECT {', '.join(_OUTBOX)} FROM outbox WHERE published_at IS NULL AND created_at < {{value}}"
                " ORDER BY position LIMIT {value}",
                tables.iso(before) if self._is_sqlite else before,
                limit,
            )
            events: list[OutboxEvent] = []
            self.shut = {}
            found_rows = found()
            letters = Letters(bulk, encrypter)
            for row in found_rows:
                try:
                    if row[0] in self.shut:
                        continue
                    event = _event(row, encrypter)
                    events.append(event if row[4] else sent_back(event, letters.one(row[0])))
                except CannotDecrypt as why:
                    self.shut[row[0]] = why
            return events

    def claim(self, name: str, *, holder: str, now: datetime, until: datetime) -> bool:
        """Take or keep a lease; False while another holds it."""
        with self._transaction(writes=True) as bulk:
            now_, until_ = (tables.iso(now), tables.iso(until)) if self._is_sqlite else (now, until)
            held = bulk.query(
                "INSERT INTO leases (name, holder, until) VALUES ({value}, {value}, {value})"
                " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
                " WHERE leases.holder = excluded.holder OR leases.until < {value} RETURNING name",
                name,
                holder,
                until_,
                now_,
            )
            return bool(held())

    def ping(self) -> None:
        """Raises: LedgerError, if a turn could not read now."""
        with self._transaction() as bulk:
            if not bulk.query("SELECT shard, position, hash FROM audit_heads")():
                raise NotMigrated(_NO_CHAINS)

    @property
    def keyring(self) -> Keyring:
        """The keys that are here."""
        return self._keyring

    @contextmanager
    def letters(self) -> Iterator[Letters]:
        """The dead letters at one moment, to be read.

        Raises:
            LedgerError: the database is out of reach or not migrated, or a letter does not open.
        """
        with self._transaction() as bulk:
            yield Letters(bulk, Encrypter(self._keyring, lambda: keys.current(bulk)))

    @contextmanager
    def upkeep(self, *, writes: bool) -> Iterator[Bulk]:
        """One transaction for tools that keep the books in order; committed on leaving.

        Raises:
            LedgerError: nothing was written.
        """
        with self._transaction(writes=writes) as bulk:
            yield bulk

    def missing_keys(self) -> list[str]:
        """The ids of keys that values may be encrypted with, and that are not here.

        Raises:
            LedgerError: the database is out of reach or not migrated.
        """
        with self._transaction() as bulk:
            used = keys.in_use(bulk)
        return [key_id for key_id in used if self._keyring.find(key_id) is None]

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[Bulk]:
        try:
            with told_apart(), self._engine.connect() as connection, _dropped_if_lost(connection):
                bulk = bulk_on(connection)
                if self._is_sqlite:
                    bulk.query("BEGIN IMMEDIATE" if writes else "BEGIN")
                yield bulk
                connection.connection.commit()
        except LedgerDown:
            self._engine.dispose()  # the next turn connects anew
            raise


@contextmanager
def _dropped_if_lost(connection: Connection) -> Iterator[None]:
    """Close a lost connection at once: a rollback would only fail, and fill the log with it."""
    try:
        with told_apart():
            yield
    except LedgerDown:
        connection.invalidate()
        raise


class Turn:
    """One transaction: `load` locks, `write` writes, in this order and once each."""

    def __init__(self, bulk: Bulk, keyring: Keyring) -> None:
        self._bulk = bulk
        self._chain: Row = ()
        self._keyring = keyring
        self._encrypter = Encrypter(keyring, self._current_key)

    def find(self, traces: Iterable[Trace]) -> dict[Trace, Found]:
        """Tell which payments some notices are about: by our own name for it, by the gateway's, by its parent's."""
        traces = list(traces)
        theirs = {name for trace in traces for name in (trace.reference, trace.parent_reference) if name}
        # A parent that the gateway has never named is called by our own name for it.
        names = sorted({trace.attempt_id for trace in traces if trace.attempt_id} | theirs)
        columns = "SELECT gateway, attempt_id, reference, payment_id, refund_id FROM attempts WHERE "
        with self._bulk.together():
            ours = self._ask(columns + "attempt_id {keys}", names)
            known = self._ask(columns + "reference {keys} ORDER BY created_at", sorted(theirs))
        by_name = {(row[0], row[1]): row for row in ours()}
        by_reference = {(row[0], row[2]): row for row in known()}
        found: dict[Trace, Found] = {}
        for trace in traces:
            row = by_name.get((trace.gateway, trace.attempt_id)) or by_reference.get(
                (trace.gateway, trace.reference)
            )
            parent = by_reference.get((trace.gateway, trace.parent_reference)) or by_name.get(
                (trace.gateway, trace.parent_reference)
            )
            if row is not None:
                found[trace] = Found(payment_id=row[3], attempt_id=row[1], refund_id=row[4])
            elif parent is not None:
                found[trace] = Found(payment_id=parent[3], attempt_id=None, refund_id=None)
        return found

    def load(self, wanted: Wanted) -> Loaded:
        """Read and lock all that is wanted, in one round trip."""
        bulk = self._bulk
        payment_ids = sorted(wanted.payment_ids)
        timer_ids = sorted(wanted.timer_payment_ids)
        with bulk.together():
            payments = self._states(
                PAYMENT, "payments", "payment_id {keys} ORDER BY payment_id {lock}", payment_ids
            )
            others = self._states(
                PAYMENT, "payments", "payment_id {keys} ORDER BY payment_id {lock} SKIP LOCKED", timer_ids
            )
            both = payment_ids + timer_ids
            attempts = self._states(ATTEMPT, "attempts", "payment_id {keys}", both)
            captures = self._states(CAPTURE, "captures", "payment_id {keys}", both)
            # Locked, as refunds are: one that came before its payment has no payment's lock to be safe under.
            named = self._states(
                CAPTURE,
                "captures",
                "capture_id {keys} ORDER BY capture_id {lock}",
                sorted(wanted.capture_ids),
            )
            waiting = self._states(
                REFUND, "refunds", f"payment_id {{keys}} AND status = '{RefundStatus.REQUESTED.value}'", both
            )
            refunds = self._states(
                REFUND, "refunds", "refund_id {keys} ORDER BY refund_id {lock}", sorted(wanted.refund_ids)
            )
            inbox = self._inbox(wanted)
            orders = self._ask(
                f"SELECT order_id, payment_id FROM payments WHERE order_id {{keys}} AND {tables.LIVE}",
                sorted(wanted.order_ids),
            )
            # What is published is sorted out here: a condition would have PostgreSQL walk through all that is not.
            events = self._ask("SELECT stream, sequence, published_at FROM outbox WHERE stream {keys}", both)
            told = self._ask(
                "SELECT gateway, notice_id, state FROM callbacks WHERE notice_id {keys}",
                sorted({notice_id for _, notice_id in wanted.callbacks}),
            )
            existing = self._ask("SELECT payment_id FROM payments WHERE payment_id {keys}", timer_ids)
            chain = bulk.query(f"{_CHAIN} ORDER BY shard LIMIT 1 {{lock}} SKIP LOCKED")
        self._chain = _first(chain()) or self._any_chain()
        encrypter = self._encrypter
        return _loaded(
            PAYMENT.read([*payments(), *others()], encrypter),
            ATTEMPT.read(attempts(), encrypter),
            CAPTURE.read([*captures(), *named()]),
            REFUND.read([*waiting(), *refunds()], encrypter),
            inbox=self._fingerprints(inbox()),
            order_paid_by=dict(orders()),
            unpublished={(row[0], row[1]) for row in events() if row[2] is None},
            callbacks={(row[0], row[1]): row[2] for row in told()},
            timers_on={row[0] for row in existing()},
        )

    def write(self, changes: Changes) -> None:
        """Write everything, in one round trip."""
        if changes.settled_letters:
            self.letters.settle(changes.settled_letters)
        with self._bulk.together():
            self._write_states(changes)
            self._write_books(changes.journals)
            self._write_outbox(changes)
            self._write_audit(changes)

    @property
    def letters(self) -> Letters:
        """The dead letters, to be changed in this transaction."""
        return Letters(self._bulk, self._encrypter)

    @property
    def cases(self) -> CaseRows:
        """What people have added to what waits for them, to be changed in this transaction."""
        return CaseRows(self._bulk)

    def key_register(self) -> dict[str, keys.State]:
        """Every key that was ever in use, and its state."""
        return keys.register(self._bulk)

    def keep_key(self, key_id: str, state: keys.State, *, now: datetime) -> None:
        """Enter a key in the register, or its new state."""
        keys.keep(self._bulk, key_id, state, now=now)

    def stored(self, streams: list[str]) -> list[OutboxEvent]:
        """Read back the events of some streams, as they stand after `write`."""
        if not streams:
            return []
        found = self._bulk.query(f"SELECT {', '.join(_OUTBOX)} FROM outbox WHERE stream {{keys}}", streams)
        return [_event(row, self._encrypter) for row in found()]

    def _current_key(self) -> str:
        """The key to encrypt with; in books that have none yet, the one that is here."""
        known: str | None = self._chain[3] if self._chain else None
        return known or keys.current_or_first(self._bulk, self._keyring)

    def _fingerprints(self, rows: list[Row]) -> dict[MessageKey, str]:
        names = [name_of(row[0], row[1]) for row in rows]
        opened = self._encrypter.decrypt("inbox.body_hash", names, [row[2] for row in rows])
        return {(row[0], row[1]): value or "" for row, value in zip(rows, opened, strict=True)}

    def _states(self, shape: Shape[Any], table: str, where: str, keys: list[Any]) -> Fetch:
        return self._ask(f"SELECT {shape.listed} FROM {table} WHERE {where}", keys)

    def _ask(self, sql: str, keys: list[Any]) -> Fetch:
        return self._bulk.query(sql, keys) if keys else list

    def _inbox(self, wanted: Wanted) -> Fetch:
        # By id alone, then by source: an id that two sources use is rare, and both rows are read then.
        ids = sorted({message_id for _, message_id in wanted.messages})
        return self._ask("SELECT source, message_id, body_hash FROM inbox WHERE message_id {keys}", ids)

    def _any_chain(self) -> Row:
        """All chains are in use: wait for one."""
        found = self._bulk.query(f"{_CHAIN} WHERE shard = 0 {{lock}}")()
        if not found:
            raise NotMigrated(_NO_CHAINS)
        return found[0]

    def _write_states(self, changes: Changes) -> None:
        # Updates first: a payment that ends now frees its order for one that begins now.
        for shape, table, changed, new in (
            (PAYMENT, tables.payments, changes.payments, changes.new_payments),
            (ATTEMPT, tables.attempts, changes.attempts, changes.new_attempts),
            (CAPTURE, tables.captures, changes.captures, changes.new_captures),
            (REFUND, tables.refunds, changes.refunds, changes.new_refunds),
        ):
            self._update(shape, table, changed)
            self._insert(shape, table, new)
        rows = [(r.source, r.message_id, r.body_hash, r.subject, r.received_at) for r in changes.inbox]
        if rows:
            rows = encrypt_rows(self._encrypter, "inbox", _INBOX, FINGERPRINT, rows, name=_message_name)
            self._bulk.insert(tables.inbox, _INBOX, rows)
        if changes.callbacks:
            again = (
                "ON CONFLICT (gateway, notice_id) DO UPDATE SET payment_id = excluded.payment_id,"
                " attempt_id = excluded.attempt_id, state = excluded.state, due_at = excluded.due_at"
            )
            told = sorted(map(attrgetter(*_CALLBACK), changes.callbacks))
            self._bulk.insert(tables.callbacks, _CALLBACK, told, on_conflict=again)

    def _insert(self, shape: Shape[Any], table: Any, states: list[Any]) -> None:
        if states:
            # In the order of ids, as every worker does it: two that meet wait, instead of a deadlock.
            rows = sorted(map(shape.row, states))
            rows = encrypt_rows(self._encrypter, table.name, shape.columns, shape.encrypted, rows)
            self._bulk.insert(table, shape.columns, rows)

    def _update(self, shape: Shape[Any], table: Any, states: list[Any]) -> None:
        if states:
            rows = list(map(shape.changed_row, states))
            columns = (shape.key, *shape.changing)
            rows = encrypt_rows(self._encrypter, table.name, columns, shape.encrypted_and_changing, rows)
            self._bulk.update(table, (shape.key,), shape.changing, rows)

    def _write_books(self, journals: list[Journal]) -> None:
        if not journals:
            return
        # Entries first: the journal's row seals them, and the database checks the balance with the seal.
        self._bulk.insert(tables.entries, _ENTRY, [row for journal in journals for row in _entries(journal)])
        self._bulk.insert(tables.journals, _JOURNAL, [_journal(journal) for journal in journals])

    def _write_outbox(self, changes: Changes) -> None:
        bulk = self._bulk
        if (
            changes.published
        ):  # first: what is to be announced again stays unmarked, though it was confirmed just now
            at = changes.published_at
            rows = [(stream, sequence, at) for stream, sequence in sorted(changes.published)]
            bulk.update(tables.outbox, ("stream", "sequence"), ("published_at",), rows)
        if changes.events:
            bulk.insert(tables.outbox, _OUTBOX, self._outbox_rows(changes.events))
        if changes.rejections:
            again = "ON CONFLICT (stream, sequence) DO UPDATE SET published_at = NULL"
            bulk.insert(tables.outbox, _OUTBOX, self._outbox_rows(changes.rejections), on_conflict=again)
        for stream, subject in sorted(changes.announce_again):
            bulk.query(
                "UPDATE outbox SET published_at = NULL WHERE stream = {value} AND sequence ="
                " (SELECT max(sequence) FROM outbox WHERE stream = {value} AND subject = {value})",
                stream,
                stream,
                subject,
            )

    def _outbox_rows(self, events: list[OutboxEvent]) -> list[Row]:
        return [_outbox_row(event, self._stored_body(event)) for event in events]

    def _stored_body(self, event: OutboxEvent) -> bytes:
        if event.type not in SECRET_EVENTS:
            return event.body
        return encrypted_body(self._encrypter, event.stream, event.sequence, event.body)

    def _write_audit(self, changes: Changes) -> None:
        if not changes.audit:
            return
        shard, position, head, _ = self._chain
        rows = list(audit.chain(changes.audit, shard=shard, position=position, previous=bytes(head)))
        self._bulk.insert(tables.audit, audit.COLUMNS, rows)
        last = rows[-1]
        self._bulk.update(tables.audit_heads, ("shard",), ("position", "hash"), [(shard, last[1], last[-1])])


def _loaded(
    payments: Iterable[Payment],
    attempts: Iterable[Attempt],
    captures: Iterable[Capture],
    refunds: Iterable[Refund],
    *,
    inbox: dict[tuple[str, str], str],
    order_paid_by: dict[str, Any],
    unpublished: set[EventKey],
    callbacks: dict[tuple[str, str], Any],
    timers_on: set[Any],
) -> Loaded:
    loaded = Loaded(
        inbox=inbox,
        payments={payment.payment_id: payment for payment in payments},
        attempts={attempt.attempt_id: attempt for attempt in attempts},
        captures={capture.capture_id: capture for capture in captures},
        refunds={refund.refund_id: refund for refund in refunds},
        callbacks=callbacks,
        order_paid_by=order_paid_by,
        unpublished=unpublished,
    )
    # There, but not locked: another worker holds it. (A refund may wait for a payment that is not there at all.)
    loaded.skipped = timers_on - loaded.payments.keys()
    return loaded


def _entries(journal: Journal) -> Iterator[Row]:
    for number, entry in enumerate(journal.entries, start=1):
        yield (
            journal.journal_id,
            number,
            int(entry.account),
            entry.layer.value,
            entry.side.value,
            entry.amount,
            journal.gateway,
            journal.currency,
            journal.payment_id,
            journal.refund_id,
        )


def _journal(journal: Journal) -> Row:
    return (
        journal.journal_id,
        journal.journal_type,
        journal.source_id,
        journal.payment_id,
        journal.refund_id,
        journal.gateway,
        journal.currency,
        journal.effective_at,
    )


def _message_name(row: Row) -> str:
    return name_of(row[0], row[1])


def _outbox_row(event: OutboxEvent, body: bytes) -> Row:
    return (
        event.stream,
        event.sequence,
        event.subject,
        event.type,
        event.exchange,
        event.routing_key,
        json.dumps(dict(event.headers)),
        body,
        event.created_at,
    )


def _event(row: Row, encrypter: Encrypter) -> OutboxEvent:
    return OutboxEvent(
        stream=row[0],
        sequence=row[1],
        subject=row[2],
        type=row[3],
        exchange=row[4],
        routing_key=row[5],
        headers=json.loads(row[6]),
        body=decrypted_body(encrypter, row[0], row[1], bytes(row[7])),
        created_at=_time(row[8]),
    )


def _callback(row: Row) -> CallbackRow:
    return CallbackRow(
        gateway=row[0],
        notice_id=row[1],
        event=row[2],
        payment_id=row[3],
        attempt_id=row[4],
        state=row[5],
        notice=row[6],
        received_at=_time(row[7]),
        due_at=_time(row[8]) if row[8] is not None else None,
    )


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
