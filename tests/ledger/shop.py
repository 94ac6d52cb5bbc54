"""Books with something in them, written through the ledger, turn by turn, as a worker writes them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

from ledger import journals
from ledger.journals import Journal
from ledger.ledger import Ledger
from ledger.records import AuditLine, Changes, InboxRow, OutboxEvent, Wanted
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus, RefundStatus
from messages.ids import AttemptId, PaymentId, RefundId
from messages.operation import Operation
from tests.builders import NOON, a_captured_payment, a_payment, a_refund, an_attempt

SECOND = timedelta(seconds=1)


def write(ledger: Ledger, changes: Changes) -> None:
    """Write in a turn that wants nothing else."""
    with ledger.turn() as turn:
        turn.load(Wanted())
        turn.write(changes)


def event(stream: str, sequence: int, *, subject: str | None = None, at: datetime = NOON) -> OutboxEvent:
    """An event about a payment or refund."""
    return OutboxEvent(
        stream=stream,
        sequence=sequence,
        subject=subject or stream,
        type="PaymentSucceeded",
        exchange="payments.events",
        routing_key="payment.succeeded",
        headers={"cloudEvents_id": f"{stream}.e{sequence}", "cloudEvents_subject": 'quoted "ümläut" \\'},
        body=b'{"text": "back\\\\slash"}\x00\xff',
        created_at=at,
    )


def audit_line(subject: str, *booked: Journal, payment_id: PaymentId | None = None) -> AuditLine:
    """A decision, with the fingerprints of what it booked."""
    details = {"journals": {journal.journal_id: journal.digest() for journal in booked}} if booked else {}
    return AuditLine(
        actor="gateway",
        action="Approved",
        payment_id=payment_id,
        subject=subject,
        cause="msg_1",
        result="settled",
        details=json.dumps(details, sort_keys=True),
        happened_at=NOON,
    )


def inbox_row(message_id: str, *, source: str = "/order-service") -> InboxRow:
    """A message that was taken in."""
    return InboxRow(source=source, message_id=message_id, body_hash="hash", subject="pay_1", received_at=NOON)


def a_number(payment_id: str) -> int:
    """What tells one test's payments apart: pay_7 pays order 7."""
    return int(payment_id.rpartition("_")[2])


def asked_for(payment_id: str, *, operation: Operation = Operation.SALE) -> tuple[Payment, Attempt]:
    """A payment whose call is under way."""
    payment = a_payment(payment_id=PaymentId(payment_id), order_id=f"order_{a_number(payment_id)}")
    attempt = an_attempt(
        attempt_id=AttemptId(f"{payment_id}.a1"), payment_id=payment.payment_id, operation=operation
    )
    return payment, attempt


def open_payment(ledger: Ledger, payment_id: str = "pay_1", *, operation: Operation = Operation.SALE) -> None:
    """The turn that takes the command in."""
    payment, attempt = asked_for(payment_id, operation=operation)
    write(
        ledger,
        Changes(
            inbox=[inbox_row(f"msg_{payment_id}")],
            new_payments=[payment],
            new_attempts=[attempt],
            audit=[audit_line(payment_id, payment_id=payment.payment_id)],
        ),
    )


def settle_payment(
    ledger: Ledger, payment_id: str = "pay_1", *, operation: Operation = Operation.SALE
) -> None:
    """The turn that takes the gateway's yes in."""
    payment, attempt = asked_for(payment_id, operation=operation)
    done = replace(attempt, state=AttemptState.SUCCEEDED, reference="pi_1", due_at=None)
    status, captured = PaymentStatus.CAPTURED, payment.requested
    booked = journals.sale(done, NOON + SECOND)
    if operation is Operation.AUTHORIZE:
        status, captured = PaymentStatus.AUTHORIZED, 0
        booked = journals.authorization(done, NOON + SECOND)
    settled = replace(
        payment, status=status, authorized=payment.requested, captured_gross=captured, sequence=1
    )
    write(
        ledger,
        Changes(
            payments=[settled],
            attempts=[done],
            journals=[booked],
            events=[event(payment_id, 1, at=NOON + SECOND)],
            audit=[audit_line(done.attempt_id, booked, payment_id=payment.payment_id)],
        ),
    )


def take(ledger: Ledger, payment_id: str = "pay_1", *, operation: Operation = Operation.SALE) -> None:
    """Both turns of a payment's life."""
    open_payment(ledger, payment_id, operation=operation)
    settle_payment(ledger, payment_id, operation=operation)


def refund(ledger: Ledger, payment_id: str, end: RefundStatus, *, amount: int = 500) -> None:
    """Reserve a refund of a payment that was taken, and end it, or leave it under way."""
    payment = a_captured_payment(payment_id=PaymentId(payment_id), order_id=f"order_{a_number(payment_id)}")
    refund_id = RefundId(f"ref_{a_number(payment_id)}")
    asked = a_refund(
        refund_id=refund_id,
        payment_id=payment.payment_id,
        currency="EUR",
        amount=amount,
        status=RefundStatus.SUBMITTED,
        due_at=None,
    )
    attempt = an_attempt(
        attempt_id=AttemptId(f"{refund_id}.r1"),
        payment_id=payment.payment_id,
        refund_id=refund_id,
        operation=Operation.REFUND,
        amount=amount,
    )
    reserved = journals.refund_reserved(payment, asked, amount, NOON)
    payment = replace(payment, refund_pending=amount)
    write(
        ledger,
        Changes(
            payments=[payment],
            new_refunds=[asked],
            new_attempts=[attempt],
            journals=[reserved],
            audit=[audit_line(refund_id, reserved, payment_id=payment.payment_id)],
        ),
    )
    if end is RefundStatus.SUBMITTED:
        return
    succeeded = end is RefundStatus.SUCCEEDED
    state = AttemptState.SUCCEEDED if succeeded else AttemptState.DECLINED
    attempt = replace(attempt, state=state, due_at=None)
    ended = (journals.refund_succeeded if succeeded else journals.refund_failed)(attempt, NOON + SECOND)
    write(
        ledger,
        Changes(
            payments=[replace(payment, refund_pending=0, refunded=amount if succeeded else 0, sequence=2)],
            refunds=[replace(asked, status=end)],
            attempts=[attempt],
            journals=[ended],
            events=[event(payment_id, 2, subject=refund_id)],
            audit=[audit_line(attempt.attempt_id, ended, payment_id=payment.payment_id)],
        ),
    )


def a_shop(ledger: Ledger) -> None:
    """Sales, a hold, refunds that went through, failed and are under way, and one that waits for its payment."""
    for number in range(1, 5):
        take(ledger, f"pay_{number}")
    take(ledger, "pay_5", operation=Operation.AUTHORIZE)
    open_payment(ledger, "pay_6")
    refund(ledger, "pay_1", RefundStatus.SUCCEEDED)
    refund(ledger, "pay_2", RefundStatus.FAILED)
    refund(ledger, "pay_3", RefundStatus.SUBMITTED, amount=1999)
    write(
        ledger,
        Changes(new_refunds=[a_refund(refund_id=RefundId("ref_early"), payment_id=PaymentId("pay_9"))]),
    )
