"""What an attempt to authorize, to take, or to call off money means for its payment (books, P10-P28)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from gateways.protocol import ActionRequired
from handlers.attempt import Step
from handlers.decision import Announcement, Answered, Decision, Known, Policy, announce
from handlers.requests import call_for
from ledger.journals import Journal, authorization, sale
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus, Refund, RefundStatus
from messages import events
from messages.events import FailureReason
from messages.operation import Operation

HOLDS_MONEY = (Operation.AUTHORIZE, Operation.SALE)
"""What a payment begins with: it makes a hold, or takes the money at once."""


def payment_outcome(
    known: Known, step: Step, answered: Answered | None, policy: Policy, now: datetime
) -> Decision:
    """Draw the payment's conclusion from a step of its authorization or sale."""
    payment, attempt = known.payment, step.attempt
    assert payment is not None, "an attempt belongs to a payment"
    call = call_for(step, payment)
    payment = with_attention(payment, step, policy, now)
    after, announcement, journal = _conclude(payment, attempt, step, answered, now)
    return Decision(
        result=after.status,
        payment=after if after != known.payment else None,
        attempts=(attempt, *_dropped(known, attempt, now)),
        refunds=_woken(known, after, now),
        journals=(journal,) if journal else (),
        announcements=(announcement,) if announcement else (),
        call=call,
        detail={"attempt": attempt.attempt_id, "state": attempt.state.value, "code": attempt.code},
    )


Conclusion = tuple[Payment, Announcement | None, Journal | None]


def _conclude(
    payment: Payment, attempt: Attempt, step: Step, answered: Answered | None, now: datetime
) -> Conclusion:
    match attempt.state:
        case AttemptState.SUCCEEDED:
            return _succeeded(payment, attempt, now)
        case AttemptState.DECLINED:
            return *_declined(payment, attempt, now), None
        case AttemptState.FAILED:
            return *_failed(payment, attempt, now), None
        case AttemptState.CANCELED:
            return *_canceled(payment, now), None
        case AttemptState.PENDING:
            return *_goes_on(payment, PaymentStatus.PENDING, events.PaymentPending, now), None
        case AttemptState.ACTION_REQUIRED:
            return *_action_required(payment, attempt, answered, now), None
        case AttemptState.UNKNOWN:
            text = step.contradiction or "the gateway's answer was lost; it is being looked up"
            return *_goes_on(payment, PaymentStatus.IN_DOUBT, events.PaymentInDoubt, now, message=text), None
        case AttemptState.CREATED | AttemptState.SENT:
            return payment, None, None
        case _:
            assert_never(attempt.state)


def _succeeded(payment: Payment, attempt: Attempt, now: datetime) -> Conclusion:
    authorized = payment.authorized + attempt.amount
    if attempt.operation is Operation.AUTHORIZE:
        held = replace(payment, status=PaymentStatus.AUTHORIZED, authorized=authorized)
        held, announcement = announce(
            held, events.PaymentAuthorized, now, amount=attempt.money(), gateway=attempt.gateway
        )
        return held, announcement, authorization(attempt, now)
    captured = payment.captured_gross + attempt.amount
    taken = replace(payment, status=PaymentStatus.CAPTURED, authorized=authorized, captured_gross=captured)
    taken, announcement = announce(
        taken,
        events.PaymentSucceeded,
        now,
        amount=attempt.money(),
        captured=payment.money(captured),
        capturable=payment.money(taken.capturable),
        gateway=attempt.gateway,
    )
    return taken, announcement, sale(attempt, now)


def _declined(payment: Payment, attempt: Attempt, now: datetime) -> tuple[Payment, Announcement | None]:
    reason = FailureReason(attempt.reason or FailureReason.OTHER)
    if reason is FailureReason.EXPIRED:
        return _over(payment, PaymentStatus.EXPIRED, events.PaymentExpired, now)
    return announce(
        replace(payment, status=PaymentStatus.DECLINED),
        events.PaymentFailed,
        now,
        amount=attempt.money(),
        category="declined",
        reason=reason,
        retryable=attempt.soft,
        message="the gateway declined",
        gateway=attempt.gateway,
        gateway_code=attempt.code,
    )


def _failed(payment: Payment, attempt: Attempt, now: datetime) -> tuple[Payment, Announcement | None]:
    reason = FailureReason(attempt.reason or FailureReason.NEVER_EXECUTED)
    return announce(
        replace(payment, status=PaymentStatus.FAILED),
        events.PaymentFailed,
        now,
        amount=attempt.money(),
        category="failed",
        reason=reason,
        retryable=reason is not FailureReason.REFUSED_BY_GATEWAY,
        message=f"not executed: {attempt.detail}",
        gateway=attempt.gateway,
    )


def _canceled(payment: Payment, now: datetime) -> tuple[Payment, Announcement]:
    if payment.status is PaymentStatus.IN_DOUBT:
        return _over(payment, PaymentStatus.VOIDED, events.PaymentVoided, now)
    return _over(payment, PaymentStatus.EXPIRED, events.PaymentExpired, now)


def _over(
    payment: Payment, status: PaymentStatus, kind: type[events.PaymentEvent], now: datetime
) -> tuple[Payment, Announcement]:
    ended = replace(payment, status=status)
    return announce(ended, kind, now, amount=payment.money(payment.requested))


def _goes_on(
    payment: Payment, status: PaymentStatus, kind: type[events.PaymentEvent], now: datetime, **fields: Any
) -> tuple[Payment, Announcement | None]:
    if payment.status is status:
        return payment, None
    waiting = replace(payment, status=status)
    return announce(waiting, kind, now, amount=payment.money(payment.requested), **fields)


def _action_required(
    payment: Payment, attempt: Attempt, answered: Answered | None, now: datetime
) -> tuple[Payment, Announcement | None]:
    if answered is None or not isinstance(answered.answer, ActionRequired):
        return payment, None
    action = answered.answer.action
    return _goes_on(
        payment,
        PaymentStatus.ACTION_REQUIRED,
        events.PaymentActionRequired,
        now,
        next_action=events.NextAction(type=action.kind, url=action.url, client_secret=action.client_secret),
        expires_at=attempt.expires_at,
    )


def with_attention(payment: Payment, step: Step, policy: Policy, now: datetime) -> Payment:
    """Call a person when the gateway's word contradicts ours, or when nobody could tell for the whole schedule."""
    attempt = step.attempt
    too_long = attempt.state is AttemptState.UNKNOWN and attempt.inquiries >= len(policy.inquiry_delays)
    if payment.attention or not (step.contradiction or too_long):
        return payment
    return replace(payment, attention=True, updated_at=now)


def _dropped(known: Known, attempt: Attempt, now: datetime) -> tuple[Attempt, ...]:
    """A cancellation that has not been sent yet must not come after the end it would undo."""
    if attempt.is_open:
        return ()
    return tuple(
        replace(other, state=AttemptState.CANCELED, due_at=None, updated_at=now)
        for other in known.attempts.values()
        if other.operation is Operation.VOID and other.state is AttemptState.CREATED
    )


def _woken(known: Known, payment: Payment, now: datetime) -> tuple[Refund, ...]:
    """Refunds that waited for this payment are looked at as soon as it has settled."""
    assert known.payment is not None
    if payment.status is known.payment.status:
        return ()
    return tuple(
        replace(refund, due_at=now, updated_at=now)
        for refund in known.refunds.values()
        if refund.status is RefundStatus.REQUESTED
    )
