"""What a refund attempt means for its refund and its payment (books, R06-R12)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from handlers.attempt import Step
from handlers.decision import Announcement, Decision, Known, Policy, announce
from handlers.payment_outcome import with_attention
from handlers.requests import call_for
from ledger.journals import Journal, refund_failed, refund_succeeded
from ledger.states import Attempt, AttemptState, Payment, Refund, RefundStatus
from messages.events import FailureReason, RefundFailed, RefundPending, RefundProcessed

Conclusion = tuple[Payment, Refund, Announcement | None, Journal | None]


def refund_outcome(known: Known, step: Step, policy: Policy, now: datetime) -> Decision:
    """Draw the refund's conclusion from a step of its attempt."""
    attempt = step.attempt
    assert known.payment is not None and attempt.refund_id is not None
    payment, refund = known.payment, known.refunds[attempt.refund_id]
    payment = with_attention(payment, step, policy, now)
    call = call_for(step, payment, refund)
    payment, refund, announcement, journal = _conclude(payment, refund, attempt, now)
    return Decision(
        result=refund.status,
        payment=payment if payment != known.payment else None,
        attempts=(attempt,),
        refunds=(refund,) if refund != known.refunds[attempt.refund_id] else (),
        journals=(journal,) if journal else (),
        announcements=(announcement,) if announcement else (),
        call=call,
        detail={"attempt": attempt.attempt_id, "state": attempt.state.value, "code": attempt.code},
    )


def _conclude(payment: Payment, refund: Refund, attempt: Attempt, now: datetime) -> Conclusion:
    match attempt.state:
        case AttemptState.SUCCEEDED:
            return _succeeded(payment, refund, attempt, now)
        case AttemptState.DECLINED | AttemptState.FAILED | AttemptState.CANCELED:
            return _failed(payment, refund, attempt, now)
        case AttemptState.PENDING | AttemptState.ACTION_REQUIRED:
            return *_goes_on(payment, refund, RefundStatus.PENDING, attempt, now), None
        case AttemptState.UNKNOWN:
            return *_goes_on(payment, refund, RefundStatus.UNKNOWN, attempt, now), None
        case AttemptState.CREATED | AttemptState.SENT:
            if refund.status is RefundStatus.UNKNOWN:
                refund = replace(refund, status=RefundStatus.SUBMITTED, updated_at=now)
            return payment, refund, None, None
        case AttemptState.REVERSED:
            raise AssertionError("late truth decides on what ended before")
        case _:
            assert_never(attempt.state)


def _succeeded(payment: Payment, refund: Refund, attempt: Attempt, now: datetime) -> Conclusion:
    refund = replace(refund, status=RefundStatus.SUCCEEDED, updated_at=now)
    payment = replace(
        payment,
        refund_pending=payment.refund_pending - attempt.amount,
        refunded=payment.refunded + attempt.amount,
    )
    payment, announcement = announce(
        payment,
        RefundProcessed,
        now,
        refund=refund,
        amount=attempt.money(),
        refunded=payment.money(payment.refunded),
        refundable=payment.money(max(payment.refundable, 0)),
    )
    return payment, refund, announcement, refund_succeeded(attempt, now)


def _failed(payment: Payment, refund: Refund, attempt: Attempt, now: datetime) -> Conclusion:
    declined = attempt.state is AttemptState.DECLINED
    refund = replace(refund, status=RefundStatus.FAILED, updated_at=now)
    payment = replace(payment, refund_pending=payment.refund_pending - attempt.amount)
    payment, announcement = announce(
        payment,
        RefundFailed,
        now,
        refund=refund,
        amount=attempt.money(),
        category="declined" if declined else "failed",
        reason=FailureReason(attempt.reason or FailureReason.OTHER),
        message="the gateway declined" if declined else f"not executed: {attempt.detail}",
        gateway_code=attempt.code if declined else None,
    )
    return payment, refund, announcement, refund_failed(attempt, now)


def _goes_on(
    payment: Payment, refund: Refund, status: RefundStatus, attempt: Attempt, now: datetime
) -> tuple[Payment, Refund, Announcement | None]:
    if refund.status is status:
        return payment, refund, None
    refund = replace(refund, status=status, updated_at=now)
    payment, announcement = announce(
        payment,
        RefundPending,
        now,
        refund=refund,
        amount=attempt.money(),
        in_doubt=status is RefundStatus.UNKNOWN,
    )
    return payment, refund, announcement
