"""RefundRequested: reserve the money and ask the gateway, wait for the payment to settle, or say why not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime

from handlers.attempt import send
from handlers.decision import Asked, Decision, Known, Policy, Rejection, announce
from handlers.rejection import conflict
from handlers.requests import call_for
from ledger.journals import refund_reserved
from ledger.states import (
    OVER_WITHOUT_MONEY,
    Attempt,
    AttemptState,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)
from messages.commands import RefundRequested
from messages.events import CommandRejected, FailureReason, RefundFailed, RejectionReason
from messages.ids import AttemptId, refund_attempt_id
from messages.operation import Operation

TAKES_MONEY = (Operation.SALE, Operation.CAPTURE)
NOT_GIVEN_BACK = (AttemptState.DECLINED, AttemptState.FAILED, AttemptState.CANCELED, AttemptState.REVERSED)


def refund_requested(
    known: Known, asked: Asked, command: RefundRequested, policy: Policy, now: datetime
) -> Decision:
    """Decide on a RefundRequested (books, R01-R04)."""
    if known.earlier_body_hash not in (None, asked.body_hash):
        return conflict(asked, "id", now)
    earlier = known.refunds.get(command.refund_id)
    if earlier is not None:
        if earlier.request_hash != asked.body_hash:
            return conflict(asked, "refund_id", now)
        if earlier.status is RefundStatus.REJECTED and _came_before(earlier, known.payment):
            return _payment_never_came(earlier)
        return Decision(result="repeated", announce_again=earlier.refund_id)
    refund = Refund(
        refund_id=command.refund_id,
        payment_id=command.payment_id,
        currency=command.amount.currency if command.amount else None,
        amount=command.amount.minor if command.amount else None,
        status=RefundStatus.REQUESTED,
        request=asked.body,
        request_hash=asked.body_hash,
        source=asked.source,
        command_id=asked.message_id,
        correlation_id=asked.correlation_id,
        deadline_at=now + policy.refund_patience,
        created_at=now,
        updated_at=now,
    )
    return consider(known, refund, policy, now)


def consider(known: Known, refund: Refund, policy: Policy, now: datetime) -> Decision:
    """Decide on a refund that is not yet reserved: when it arrives, and each time it was waiting."""
    payment = known.payment
    if payment is None or not (payment.captured_gross or payment.status in OVER_WITHOUT_MONEY):
        if now < refund.deadline_at:
            due_at = min(now + policy.refund_poll, refund.deadline_at)
            waiting = replace(refund, due_at=due_at, updated_at=now)
            return Decision(result="waiting", refunds=(waiting,))
        if payment is None:
            given_up = replace(refund, status=RefundStatus.REJECTED, due_at=None, updated_at=now)
            return _payment_never_came(given_up)
        text = f"payment {payment.payment_id} was still {payment.status} at the refund's deadline"
        return _refuse(payment, refund, FailureReason.PAYMENT_NOT_CAPTURED, text, now)
    if not payment.captured_gross or payment.status is PaymentStatus.REVERSED:
        text = f"payment {payment.payment_id} ended {payment.status}: there is nothing to give back"
        return _refuse(payment, refund, FailureReason.PAYMENT_NOT_CAPTURED, text, now)
    if refund.currency not in (None, payment.currency):
        text = f"payment {payment.payment_id} is in {payment.currency}"
        return _refuse(payment, refund, FailureReason.CURRENCY_DIFFERS, text, now)
    amount = refund.amount if refund.amount is not None else payment.refundable
    if not 0 < amount <= payment.refundable:
        left = payment.money(max(payment.refundable, 0))
        text = f"{left} of payment {payment.payment_id} are left to refund"
        return _refuse(payment, refund, FailureReason.MORE_THAN_REFUNDABLE, text, now)
    taken = _refundable_capture(known, amount, policy)
    if taken is None:
        left = payment.money(amount)
        text = f"{payment.gateway} refunds one capture at a time, and none has {left} left: ask in parts"
        return _refuse(payment, refund, FailureReason.SPREAD_OVER_CAPTURES, text, now)
    refund = replace(refund, currency=payment.currency, amount=amount)
    return reserve(payment, refund, taken, amount, policy, now)


def _refundable_capture(known: Known, amount: int, policy: Policy) -> Attempt | None:
    """The oldest capture that the refund fits into, where a gateway wants one named; else simply the oldest."""
    taken = [
        a for a in known.attempts.values() if a.operation in TAKES_MONEY and a.state is AttemptState.SUCCEEDED
    ]
    assert taken, "what was captured has an attempt that captured it"
    given_back: dict[AttemptId | None, int] = defaultdict(int)
    for attempt in known.attempts.values():
        if attempt.operation is Operation.REFUND and attempt.state not in NOT_GIVEN_BACK:
            given_back[attempt.acts_on] += attempt.amount
    return next(
        (
            capture
            for capture in sorted(taken, key=lambda a: a.created_at)
            if not policy.gateways[capture.gateway].refunds_by_capture
            or given_back[capture.attempt_id] + amount <= capture.amount
        ),
        None,
    )


def reserve(
    payment: Payment, refund: Refund, taken: Attempt, amount: int, policy: Policy, now: datetime
) -> Decision:
    """Set the money aside and ask the gateway to give it back from what `taken` took."""
    attempt = _attempt(refund, taken, amount, number=1, now=now)
    step = send(attempt, policy, now)
    refund = replace(refund, status=RefundStatus.SUBMITTED, attempts=1, due_at=None, updated_at=now)
    payment = replace(payment, refund_pending=payment.refund_pending + amount, updated_at=now)
    return Decision(
        result=refund.status,
        payment=payment,
        attempts=(step.attempt,),
        refunds=(refund,),
        journals=(refund_reserved(payment, refund, amount, now),),
        call=call_for(step, payment, refund),
    )


def send_again(known: Known, refund: Refund, policy: Policy, now: datetime) -> Decision:
    """A refund that came back is made anew (books, R14); its money is still set aside."""
    assert known.payment is not None
    came_back = known.attempts[refund_attempt_id(refund.refund_id, refund.attempts)]
    assert came_back.acts_on is not None
    taken = known.attempts[came_back.acts_on]
    number = refund.attempts + 1
    attempt = _attempt(refund, taken, came_back.amount, number=number, now=now)
    step = send(attempt, policy, now)
    refund = replace(refund, status=RefundStatus.SUBMITTED, attempts=number, due_at=None, updated_at=now)
    return Decision(
        result=refund.status,
        attempts=(step.attempt,),
        refunds=(refund,),
        call=call_for(step, known.payment, refund),
    )


def _attempt(refund: Refund, taken: Attempt, amount: int, *, number: int, now: datetime) -> Attempt:
    return Attempt(
        attempt_id=refund_attempt_id(refund.refund_id, number),
        payment_id=taken.payment_id,
        refund_id=refund.refund_id,
        operation=Operation.REFUND,
        gateway=taken.gateway,
        currency=taken.currency,
        amount=amount,
        acts_on=taken.attempt_id,
        state=AttemptState.CREATED,
        parent_reference=taken.reference,
        created_at=now,
        updated_at=now,
    )


def _refuse(payment: Payment, refund: Refund, reason: FailureReason, message: str, now: datetime) -> Decision:
    refund = replace(refund, status=RefundStatus.REJECTED, due_at=None, updated_at=now)
    minor = refund.amount if refund.amount is not None else max(payment.refundable, 0)
    payment, failed = announce(
        payment,
        RefundFailed,
        now,
        refund=refund,
        amount=replace(payment.money(minor), currency=refund.currency or payment.currency),
        category="rejected",
        reason=reason,
        message=message,
    )
    return Decision(
        result=refund.status,
        payment=payment,
        refunds=(refund,),
        announcements=(failed,),
        detail={"reason": reason.value},
    )


def _came_before(refund: Refund, payment: Payment | None) -> bool:
    return payment is None or refund.updated_at < payment.created_at


def _payment_never_came(refund: Refund) -> Decision:
    event = CommandRejected(
        occurred_at=refund.updated_at,
        command_id=refund.command_id,
        command_type="RefundRequested",
        command_source=refund.source,
        reason=RejectionReason.PAYMENT_NOT_FOUND,
        field="payment_id",
        message=f"no payment {refund.payment_id} was requested before the refund's deadline",
        payment_id=refund.payment_id,
        refund_id=refund.refund_id,
    )
    rejection = Rejection(event=event, correlation_id=refund.correlation_id)
    return Decision(result=refund.status, refunds=(refund,), rejection=rejection)
