"""What an attempt to authorize, to take, or to call off money means for its payment (books, P10-P28)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from gateways.protocol import Absent, ActionRequired, Declined, DeclineReason, NotSent, Opened, Outcome
from handlers.attempt import Step, closed, send
from handlers.calling_off import HOLDS_MONEY, call_off
from handlers.decision import Announcement, Decision, Known, Policy, announce
from handlers.give_back import give_back
from handlers.requests import call_for, token_for
from handlers.routing import routes
from ledger.journals import Journal, authorization, sale
from ledger.states import (
    Attempt,
    AttemptState,
    Capture,
    CaptureStatus,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)
from messages import events
from messages.commands import PaymentRequested
from messages.events import FailureReason
from messages.ids import payment_attempt_id
from messages.operation import Operation

UNHEARD_OF = 4
"""How many times longer than its schedule what is under way at a gateway that cannot be asked may take."""

Answer = Outcome | Opened | Absent


def payment_outcome(
    known: Known, step: Step, answer: Answer | None, policy: Policy, now: datetime
) -> Decision:
    """Draw the payment's conclusion from a step of its authorization or sale; `answer` is what led to it, if any."""
    payment = known.payment
    assert payment is not None, "an attempt belongs to a payment"
    if payment.cancel_requested and _would_begin(step.attempt, answer):
        step = Step(attempt=closed(step.attempt, AttemptState.CANCELED, now))
    attempt = step.attempt
    if _may_be_tried_otherwise(payment, attempt, answer):
        another = _another_try(known, payment, attempt, answer, policy, now)
        if another is not None:
            return another
    call = call_for(step, payment)
    payment = with_attention(payment, step, policy, now)
    after, announcement, journal = _conclude(payment, attempt, step, answer, now)
    concluded = Decision(
        result=after.status,
        payment=after if after != known.payment else None,
        attempts=(attempt, *_dropped(known, attempt, now)),
        captures=woken_captures(known, after, now),
        refunds=woken(known, after, now),
        journals=(journal,) if journal else (),
        announcements=(announcement,) if announcement else (),
        call=call,
        detail={"attempt": attempt.attempt_id, "state": attempt.state.value, "code": attempt.code},
    )
    if after.cancel_requested and attempt.state is AttemptState.SUCCEEDED:
        return concluded.then(_called_off(known, after, attempt, policy, now))
    return concluded


def _would_begin(attempt: Attempt, answer: Answer | None) -> bool:
    """Whether no money can have moved yet, and the next call is what would move it."""
    return not attempt.doubtful and (attempt.state is AttemptState.CREATED or isinstance(answer, Opened))


def _called_off(known: Known, payment: Payment, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """It came through although it was called off meanwhile: the hold is let go, or the money given back."""
    if attempt.operation is Operation.SALE:
        return give_back(known, payment, attempt, "void", policy, now)
    # One that was sent while the payment was open lets its hold go just as well; one not sent yet was dropped above.
    sent = next(
        (
            a
            for a in known.attempts.values()
            if a.operation is Operation.VOID and a.is_open and a.state is not AttemptState.CREATED
        ),
        None,
    )
    if sent is not None:
        voiding = replace(payment, status=PaymentStatus.VOIDING)
        lets_go = replace(sent, capture_before=attempt.capture_before, updated_at=now)
        return Decision(result=voiding.status, payment=voiding, attempts=(lets_go,))
    after = replace(known, payment=payment, attempts={**known.attempts, attempt.attempt_id: attempt})
    return call_off(after, attempt, policy, now)


def _may_be_tried_otherwise(payment: Payment, attempt: Attempt, answer: Answer | None) -> bool:
    """Whether this attempt has moved no money for certain, and the customer still wants to pay."""
    if payment.cancel_requested:
        return False
    not_sent = attempt.state is AttemptState.CREATED and isinstance(answer, NotSent) and not attempt.doubtful
    return not_sent or attempt.state in (AttemptState.DECLINED, AttemptState.FAILED)


def _another_try(
    known: Known, payment: Payment, ended: Attempt, answer: Answer | None, policy: Policy, now: datetime
) -> Decision | None:
    """Try once more, where that is safe and may help: with authentication, or at another gateway (books, P16, P55).

    Safe means that this attempt has ended for good: a decline, or a call that provably never executed.
    """
    command = PaymentRequested.model_validate_json(payment.request)
    # A customer who was asked and refused (authentication failed) is not asked again.
    needs_customer = isinstance(answer, Declined) and answer.reason is DeclineReason.AUTHENTICATION_REQUIRED
    if needs_customer:
        if ended.authenticate or command.initiator == "merchant":
            return None
        gateway = ended.gateway
    else:
        if ended.state is AttemptState.DECLINED and not ended.soft:
            return None
        tried = {a.gateway for a in known.attempts.values() if a.operation in HOLDS_MONEY}
        used = {token_for(command, gateway) for gateway in tried}
        open_routes = routes(
            command, policy.gateways, policy.rules, policy.default_gateway, unwell=policy.unwell
        )
        untried = (r.gateway for r in open_routes if r.gateway not in tried and r.token not in used)
        gateway = next(untried, "")
        if not gateway:
            return None
        if ended.state is AttemptState.CREATED:
            # It would be tried again later; another gateway can do it now.
            ended = closed(replace(ended, reason=FailureReason.GATEWAY_UNAVAILABLE), AttemptState.FAILED, now)
    number = payment.attempts + 1
    payment = replace(
        payment, gateway=gateway, status=PaymentStatus.AUTHORIZING, attempts=number, updated_at=now
    )
    next_one = Attempt(
        attempt_id=payment_attempt_id(payment.payment_id, number),
        payment_id=payment.payment_id,
        operation=ended.operation,
        gateway=gateway,
        currency=payment.currency,
        amount=payment.requested,
        authenticate=needs_customer,
        state=AttemptState.CREATED,
        created_at=now,
        updated_at=now,
    )
    step = send(next_one, policy, now)
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(ended, *_dropped(known, ended, now), step.attempt),
        call=call_for(step, payment),
        detail={"attempt": ended.attempt_id, "state": ended.state.value, "code": ended.code},
    )


Conclusion = tuple[Payment, Announcement | None, Journal | None]


def _conclude(
    payment: Payment, attempt: Attempt, step: Step, answer: Answer | None, now: datetime
) -> Conclusion:
    match attempt.state:
        case AttemptState.SUCCEEDED:
            return succeeded(payment, attempt, now)
        case AttemptState.DECLINED:
            return *_declined(payment, attempt, now), None
        case AttemptState.FAILED:
            return *_failed(payment, attempt, now), None
        case AttemptState.CANCELED:
            return *_canceled(payment, now), None
        case AttemptState.PENDING:
            return *_goes_on(payment, PaymentStatus.PENDING, events.PaymentPending, now), None
        case AttemptState.ACTION_REQUIRED:
            return *_action_required(payment, attempt, answer, now), None
        case AttemptState.UNKNOWN:
            text = step.contradiction or "the gateway's answer was lost; it is being looked up"
            return *_goes_on(payment, PaymentStatus.IN_DOUBT, events.PaymentInDoubt, now, message=text), None
        case AttemptState.CREATED | AttemptState.SENT:
            return payment, None, None
        case AttemptState.REVERSED:
            raise AssertionError("late truth decides on what ended before")
        case _:
            assert_never(attempt.state)


def succeeded(payment: Payment, attempt: Attempt, now: datetime, *, late: bool = False) -> Conclusion:
    """Book what was held (J01) or taken at once (J10s), and announce it."""
    authorized = payment.authorized + attempt.amount
    if attempt.operation is Operation.AUTHORIZE:
        held = replace(payment, status=PaymentStatus.AUTHORIZED, authorized=authorized)
        held, announcement = announce(
            held,
            events.PaymentAuthorized,
            now,
            amount=attempt.money(),
            gateway=attempt.gateway,
            capture_before=attempt.capture_before,
            late=late,
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
        late=late,
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
    if payment.cancel_requested:
        return announce(
            replace(payment, status=PaymentStatus.CANCELED),
            events.PaymentFailed,
            now,
            amount=payment.money(payment.requested),
            category="canceled",
            reason=FailureReason.CANCELED_BY_COMMAND,
            retryable=True,
            message="it was called off before any money moved",
        )
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
    payment: Payment, attempt: Attempt, answer: Answer | None, now: datetime
) -> tuple[Payment, Announcement | None]:
    if not isinstance(answer, ActionRequired):
        return payment, None
    action = answer.action
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
    attempt, asked = step.attempt, step.attempt.inquiries
    too_long = attempt.state is AttemptState.UNKNOWN and asked >= len(policy.inquiry_delays)
    # Where nobody can be asked, a callback that never comes would else go unnoticed.
    unheard = attempt.state is AttemptState.PENDING and not policy.gateways[attempt.gateway].can_be_asked
    too_long = too_long or (unheard and asked >= len(policy.pending_delays) + UNHEARD_OF)
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


def woken_captures(known: Known, payment: Payment, now: datetime) -> tuple[Capture, ...]:
    """Captures that waited for this payment are looked at as soon as it has moved on."""
    assert known.payment is not None
    if payment.status is known.payment.status:
        return ()
    return tuple(
        replace(capture, due_at=now, updated_at=now)
        for capture in known.captures.values()
        if capture.status is CaptureStatus.REQUESTED
    )


def woken(known: Known, payment: Payment, now: datetime) -> tuple[Refund, ...]:
    """Refunds that waited for this payment are looked at as soon as it has settled."""
    assert known.payment is not None
    if payment.status is known.payment.status:
        return ()
    return tuple(
        replace(refund, due_at=now, updated_at=now)
        for refund in known.refunds.values()
        if refund.status is RefundStatus.REQUESTED
    )
