"""What an attempt to capture means for its payment (books, P36-P43)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from handlers.attempt import Step
from handlers.decision import Announcement, Decision, Known, Policy, announce
from handlers.hold import let_go
from handlers.payment_outcome import with_attention, woken, woken_captures
from handlers.requests import call_for
from ledger.journals import Journal, captured, release
from ledger.states import Attempt, AttemptState, Capture, CaptureStatus, Payment, PaymentStatus
from messages.events import FailureReason, PaymentCaptureFailed, PaymentSucceeded

Conclusion = tuple[Payment, Capture, tuple[Announcement, ...], tuple[Journal, ...]]


def capture_outcome(known: Known, step: Step, policy: Policy, now: datetime) -> Decision:
    """Draw the payment's conclusion from a step of one of its captures."""
    attempt = step.attempt
    assert known.payment is not None and attempt.capture_id is not None
    capture = known.captures[attempt.capture_id]
    call = call_for(step, known.payment, capture=capture)
    payment = with_attention(known.payment, step, policy, now)
    payment, after, announcements, journals = _conclude(payment, capture, attempt, now)
    return Decision(
        result=after.status,
        payment=payment if payment != known.payment else None,
        attempts=(attempt,),
        captures=(*((after,) if after != capture else ()), *woken_captures(known, payment, now)),
        refunds=woken(known, payment, now),
        journals=journals,
        announcements=announcements,
        call=call,
        detail={"attempt": attempt.attempt_id, "state": attempt.state.value, "code": attempt.code},
    )


def _conclude(payment: Payment, capture: Capture, attempt: Attempt, now: datetime) -> Conclusion:
    match attempt.state:
        case AttemptState.SUCCEEDED:
            return _taken(payment, capture, attempt, now)
        case AttemptState.DECLINED | AttemptState.FAILED | AttemptState.CANCELED:
            return _not_taken(payment, capture, attempt, now)
        case (
            AttemptState.CREATED
            | AttemptState.SENT
            | AttemptState.PENDING
            | AttemptState.ACTION_REQUIRED
            | AttemptState.UNKNOWN
        ):
            return payment, capture, (), ()  # it stays under way, and its money set aside, until it is known
        case AttemptState.REVERSED:
            raise AssertionError("late truth decides on what ended before")
        case _:
            assert_never(attempt.state)


def _taken(payment: Payment, capture: Capture, attempt: Attempt, now: datetime) -> Conclusion:
    held = payment.authorized - payment.captured_gross - payment.released
    journals = [captured(attempt, held, now)]
    payment = replace(
        payment,
        capture_pending=payment.capture_pending - attempt.amount,
        captured_gross=payment.captured_gross + attempt.amount,
    )
    rest = payment.capturable
    if capture.final and rest:
        journals.append(release(attempt, rest, now))
        payment = replace(payment, released=payment.released + rest)
    payment = replace(payment, status=payment.standing())
    capture = replace(capture, status=CaptureStatus.SUCCEEDED, updated_at=now)
    payment, announcement = announce(
        payment,
        PaymentSucceeded,
        now,
        capture=capture,
        amount=attempt.money(),
        captured=payment.money(payment.captured_gross),
        capturable=payment.money(payment.capturable),
        gateway=attempt.gateway,
    )
    return payment, capture, (announcement,), tuple(journals)


def _not_taken(payment: Payment, capture: Capture, attempt: Attempt, now: datetime) -> Conclusion:
    declined = attempt.state is AttemptState.DECLINED
    reason = FailureReason(attempt.reason or FailureReason.OTHER)
    capture = replace(capture, status=CaptureStatus.FAILED, updated_at=now)
    payment = replace(payment, capture_pending=payment.capture_pending - attempt.amount)
    payment = replace(payment, status=payment.standing())
    payment, failed = announce(
        payment,
        PaymentCaptureFailed,
        now,
        capture=capture,
        amount=attempt.money(),
        category="declined" if declined else "failed",
        reason=reason,
        message="the gateway declined" if declined else f"not executed: {attempt.detail}",
        gateway_code=attempt.code if declined else None,
    )
    if reason is not FailureReason.EXPIRED or not payment.capturable:
        return payment, capture, (failed,), ()
    lapsed = replace(attempt, amount=payment.capturable)  # all of the hold, whatever part was asked for
    payment, gone, journal = let_go(payment, lapsed, PaymentStatus.EXPIRED, now)
    return payment, capture, (failed, gone), (journal,)
