"""Rows as a turn writes them, with sensible defaults, and the shortest way to write and read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ledger.journals import sale
from ledger.ledger import Ledger
from ledger.records import AuditLine, Changes, InboxRow, Loaded, OutboxEvent, Wanted
from ledger.states import Payment
from messages.ids import AttemptId, PaymentId
from tests.builders import NOON, a_payment, an_attempt
from tests.ledger import raw


def an_event(**fields: Any) -> OutboxEvent:
    """The first event of `pay_1`."""
    defaults: dict[str, Any] = {
        "stream": "pay_1",
        "sequence": 1,
        "subject": "pay_1",
        "type": "PaymentSucceeded",
        "exchange": "payments.events",
        "routing_key": "payment.captured",
        "headers": {"cloudEvents_id": "pay_1.e1"},
        "body": b"{}",
        "created_at": NOON,
    }
    return OutboxEvent(**defaults | fields)


def an_audit_line(**fields: Any) -> AuditLine:
    """A decision on `pay_1`."""
    defaults: dict[str, Any] = {
        "actor": "/order-service",
        "action": "PaymentRequested",
        "payment_id": "pay_1",
        "subject": "pay_1",
        "cause": "msg_1",
        "result": "authorizing",
        "details": "{}",
        "happened_at": NOON,
    }
    return AuditLine(**defaults | fields)


def an_inbox_row(**fields: Any) -> InboxRow:
    """The command that asked for `pay_1`."""
    defaults: dict[str, Any] = {
        "source": "/order-service",
        "message_id": "msg_1",
        "body_hash": "hash",
        "subject": "pay_1",
        "received_at": NOON,
    }
    return InboxRow(**defaults | fields)


def everything() -> Changes:
    """A turn that writes to every table."""
    return Changes(
        inbox=[an_inbox_row()],
        new_payments=[a_payment()],
        new_attempts=[an_attempt()],
        journals=[sale(an_attempt(), NOON)],
        events=[an_event()],
        audit=[an_audit_line()],
    )


def payments_named(count: int, **fields: Any) -> list[Payment]:
    """Payments of one order each, `pay_0001` and on."""
    return [
        a_payment(**{"payment_id": PaymentId(f"pay_{n:04}"), "order_id": f"order-{n}"} | fields)
        for n in range(1, count + 1)
    ]


def write(ledger: Ledger, changes: Changes | None = None, **fields: Any) -> None:
    """One turn that writes this and nothing else."""
    with ledger.turn() as turn:
        turn.load(Wanted())
        turn.write(changes or Changes(**fields))


def load(ledger: Ledger, **wanted: Any) -> Loaded:
    """One turn that reads this and writes nothing."""
    with ledger.turn() as turn:
        return turn.load(Wanted(**wanted))


def payment_of(ledger: Ledger, payment_id: str = "pay_1") -> Payment:
    """A payment as it is stored."""
    return load(ledger, payment_ids={payment_id}).payments[PaymentId(payment_id)]


def attempt_named(attempt_id: str, **fields: Any) -> Any:
    """An attempt of `pay_1` under another id."""
    return an_attempt(attempt_id=AttemptId(attempt_id), **fields)


def at(seconds: float) -> datetime:
    """So long after `NOON`."""
    return datetime.fromtimestamp(NOON.timestamp() + seconds, NOON.tzinfo)


def count(url: str, table: str) -> int:
    """How many rows a table has."""
    counted: int = raw.run(url, f"SELECT count(*) FROM {table}")[0][0]
    return counted


def counts(url: str) -> dict[str, int]:
    """How many rows each table has."""
    names = ("payments", "attempts", "refunds", "inbox", "outbox", "journals", "entries", "audit")
    return {name: count(url, name) for name in names}
