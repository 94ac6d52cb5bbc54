"""VoidRequested: let a hold go, call off what is under way, or say why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from handlers.attempt import Step, closed
from handlers.calling_off import HOLDS_MONEY, call_off, is_being_called_off
from handlers.capture_requested import hold_of
from handlers.decision import Asked, Decision, Known, Policy, announce
from handlers.payment_outcome import payment_outcome
from handlers.rejection import conflict, reject
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus
from messages.events import FailureReason, PaymentVoidFailed, RejectionReason


def void_requested(known: Known, asked: Asked, policy: Policy, now: datetime) -> Decision:
    """Decide on a VoidRequested (books, P24, P31, and the side rule for what is in flight)."""
    if known.earlier_body_hash not in (None, asked.body_hash):
        return conflict(asked, "id", now)
    payment = known.payment
    if payment is None:
        text = "payment_id: no such payment was requested; if it was just now, send this again"
        return reject(asked, RejectionReason.PAYMENT_NOT_FOUND, text, at="payment_id", now=now)
    if known.earlier_body_hash is not None:
        return Decision(result="repeated", announce_again=payment.payment_id)
    match payment.status:
        case PaymentStatus.AUTHORIZED | PaymentStatus.PARTIALLY_CAPTURED:
            called_off = call_off(known, hold_of(known), policy, now)
            return _asked_for(called_off, payment)
        case (
            PaymentStatus.AUTHORIZING
            | PaymentStatus.IN_DOUBT
            | PaymentStatus.ACTION_REQUIRED
            | PaymentStatus.PENDING
        ):
            return _in_flight(known, payment, policy, now)
        case PaymentStatus.CAPTURING:
            text = "a capture is under way: wait for its end, then void the rest or refund"
            return _refuse(payment, FailureReason.CAPTURE_UNDER_WAY, text, now)
        case PaymentStatus.CAPTURED:
            text = "it has been captured and nothing is held: send RefundRequested"
            return _refuse(payment, FailureReason.NOTHING_HELD, text, now)
        case (
            PaymentStatus.VOIDING
            | PaymentStatus.VOIDED
            | PaymentStatus.CANCELED
            | PaymentStatus.EXPIRED
            | PaymentStatus.REVERSED
            | PaymentStatus.DECLINED
            | PaymentStatus.FAILED
            | PaymentStatus.REJECTED
        ):
            # What it asks for is so, or will be: the latest event says how.
            return Decision(result="repeated", announce_again=payment.payment_id)
        case _:
            assert_never(payment.status)


def _in_flight(known: Known, payment: Payment, policy: Policy, now: datetime) -> Decision:
    """What is waiting at the gateway is called off there; what is on the line is given back when it comes through."""
    if payment.cancel_requested:
        return Decision(result="repeated", announce_again=payment.payment_id)
    payment = replace(payment, cancel_requested=True, updated_at=now)
    open_one = next(a for a in known.attempts.values() if a.operation in HOLDS_MONEY and a.is_open)
    known = replace(known, payment=payment)
    if open_one.state is AttemptState.CREATED and not open_one.doubtful:
        never_sent = closed(open_one, AttemptState.CANCELED, now)
        return payment_outcome(known, Step(attempt=never_sent), None, policy, now)
    waits = open_one.state in (AttemptState.ACTION_REQUIRED, AttemptState.PENDING)
    if waits and not is_being_called_off(known):
        return call_off(known, open_one, policy, now)
    return Decision(result=payment.status, payment=payment)


def _asked_for(decision: Decision, before: Payment) -> Decision:
    assert decision.payment is not None
    return replace(decision, payment=replace(decision.payment, cancel_requested=True))


def _refuse(payment: Payment, reason: FailureReason, message: str, now: datetime) -> Decision:
    return void_failed(payment, "rejected", reason, message, None, now)


def void_failed(
    payment: Payment, category: str, reason: FailureReason, message: str, code: str | None, now: datetime
) -> Decision:
    """Announce that a void did not come through."""
    payment, failed = announce(
        payment,
        PaymentVoidFailed,
        now,
        amount=payment.money(payment.capturable),
        category=category,
        reason=reason,
        message=message,
        gateway_code=code,
    )
    return Decision(
        result=payment.status,
        payment=payment,
        announcements=(failed,),
        detail={"reason": reason.value},
    )


def void_not_taken(payment: Payment, cancel: Attempt, now: datetime) -> Decision:
    """A void that was asked for by a command was declined, or never executed (books, P45)."""
    declined = cancel.state is AttemptState.DECLINED
    payment = replace(payment, cancel_requested=False)
    return void_failed(
        payment,
        "declined" if declined else "failed",
        FailureReason(cancel.reason or FailureReason.OTHER),
        "the gateway declined" if declined else f"not executed: {cancel.detail}",
        cancel.code if declined else None,
        now,
    )
