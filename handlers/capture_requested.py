"""CaptureRequested: take held money, wait until there is some, or say why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gateways.protocol import Capabilities
from handlers.attempt import send
from handlers.calling_off import left_of
from handlers.decision import Asked, Decision, Known, Policy, Rejection, announce
from handlers.rejection import conflict
from handlers.requests import call_for
from ledger.states import (
    OVER_WITHOUT_MONEY,
    Attempt,
    AttemptState,
    Capture,
    CaptureStatus,
    Payment,
    PaymentStatus,
)
from messages.commands import CaptureRequested
from messages.events import CommandRejected, FailureReason, PaymentCaptureFailed, RejectionReason
from messages.ids import capture_attempt_id
from messages.operation import Operation

HELD = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING, PaymentStatus.PARTIALLY_CAPTURED)


def capture_requested(
    known: Known, asked: Asked, command: CaptureRequested, policy: Policy, now: datetime
) -> Decision:
    """Decide on a CaptureRequested (books, P30)."""
    if known.earlier_body_hash not in (None, asked.body_hash):
        return conflict(asked, "id", now)
    earlier = known.captures.get(command.capture_id)
    if earlier is not None:
        if earlier.request_hash != asked.body_hash:
            return conflict(asked, "capture_id", now)
        if earlier.status is CaptureStatus.REJECTED and known.payment is None:
            return _payment_never_came(earlier)
        return Decision(result="repeated", announce_again=earlier.capture_id)
    capture = Capture(
        capture_id=command.capture_id,
        payment_id=command.payment_id,
        currency=command.amount.currency if command.amount else None,
        amount=command.amount.minor if command.amount else None,
        final=command.final,
        status=CaptureStatus.REQUESTED,
        request_hash=asked.body_hash,
        source=asked.source,
        command_id=asked.message_id,
        correlation_id=asked.correlation_id,
        deadline_at=now + policy.refund_patience,
        created_at=now,
        updated_at=now,
    )
    return consider_capture(known, capture, policy, now)


def consider_capture(known: Known, capture: Capture, policy: Policy, now: datetime) -> Decision:
    """Decide on a capture that is not yet under way: when it arrives, and each time it was waiting."""
    payment = known.payment
    if payment is None or _must_wait(known, payment, policy):
        if now < capture.deadline_at:
            due_at = min(now + policy.refund_poll, capture.deadline_at)
            return Decision(result="waiting", captures=(replace(capture, due_at=due_at, updated_at=now),))
        if payment is None:
            rejected = replace(capture, status=CaptureStatus.REJECTED, due_at=None, updated_at=now)
            return _payment_never_came(rejected)
        text = f"payment {payment.payment_id} was still {payment.status} at the capture's deadline"
        return _refuse(payment, capture, FailureReason.NOTHING_HELD, text, now)
    refusal = _refusal(payment, capture, policy.gateways[payment.gateway])
    if refusal is not None:
        return _refuse(payment, capture, *refusal, now)
    amount = capture.amount if capture.amount is not None else payment.capturable
    return _take(known, payment, replace(capture, currency=payment.currency, amount=amount), policy, now)


def _must_wait(known: Known, payment: Payment, policy: Policy) -> bool:
    """Whether there may be something to capture soon: it is being authorized, captured or called off just now."""
    if payment.status in (PaymentStatus.CAPTURED, *OVER_WITHOUT_MONEY):
        return False
    if payment.status not in HELD:
        return True
    under_way = [c for c in known.captures.values() if c.status is CaptureStatus.SUBMITTED]
    alone = not policy.gateways[payment.gateway].multiple_capture
    return bool(under_way) and (alone or any(c.final for c in under_way))


def _refusal(payment: Payment, capture: Capture, gateway: Capabilities) -> tuple[FailureReason, str] | None:
    name = f"payment {payment.payment_id}"
    if payment.status not in HELD:
        return FailureReason.NOTHING_HELD, f"{name} is {payment.status}: nothing is held"
    if capture.currency not in (None, payment.currency):
        return FailureReason.CURRENCY_DIFFERS, f"{name} is in {payment.currency}"
    amount = capture.amount if capture.amount is not None else payment.capturable
    left = payment.money(payment.capturable)
    if not 0 < amount <= payment.capturable:
        return FailureReason.MORE_THAN_CAPTURABLE, f"{left} of {name} are left to capture"
    if amount < payment.capturable and not gateway.partial_capture:
        text = f"{payment.gateway} captures all or nothing: {left}"
        return FailureReason.PARTIAL_CAPTURE_NOT_SUPPORTED, text
    if gateway.multiple_capture:
        return None
    if payment.captured_gross:
        return FailureReason.MULTIPLE_CAPTURE_NOT_SUPPORTED, f"{payment.gateway} captures a payment once"
    if amount < payment.capturable and not capture.final:
        text = (
            f"{payment.gateway} captures a payment once, and lets the rest go: say final, or capture {left}"
        )
        return FailureReason.MULTIPLE_CAPTURE_NOT_SUPPORTED, text
    return None


def _take(known: Known, payment: Payment, capture: Capture, policy: Policy, now: datetime) -> Decision:
    held, amount = hold_of(known), capture.amount
    assert amount is not None
    attempt = Attempt(
        attempt_id=capture_attempt_id(capture.capture_id, 1),
        payment_id=payment.payment_id,
        capture_id=capture.capture_id,
        operation=Operation.CAPTURE,
        gateway=held.gateway,
        currency=payment.currency,
        amount=amount,
        acts_on=held.attempt_id,
        state=AttemptState.CREATED,
        parent_reference=held.reference,
        created_at=now,
        updated_at=now,
    )
    step = send(attempt, policy, now)
    capture = replace(capture, status=CaptureStatus.SUBMITTED, due_at=None, updated_at=now)
    payment = replace(
        payment,
        capture_pending=payment.capture_pending + amount,
        status=PaymentStatus.CAPTURING,
        updated_at=now,
    )
    return Decision(
        result=capture.status,
        payment=payment,
        attempts=(step.attempt,),
        captures=(capture,),
        call=call_for(step, payment, capture=capture),
    )


def hold_of(known: Known) -> Attempt:
    """The authorization that captures act on: the latest that succeeded and still holds something."""
    succeeded = [
        a
        for a in known.attempts.values()
        if a.operation is Operation.AUTHORIZE and a.state is AttemptState.SUCCEEDED
    ]
    return max(succeeded, key=lambda a: bool(left_of(known, a)) * (succeeded.index(a) + 1))


def _refuse(
    payment: Payment, capture: Capture, reason: FailureReason, message: str, now: datetime
) -> Decision:
    capture = replace(capture, status=CaptureStatus.REJECTED, due_at=None, updated_at=now)
    minor = capture.amount if capture.amount is not None else payment.capturable
    payment, failed = announce(
        payment,
        PaymentCaptureFailed,
        now,
        capture=capture,
        amount=replace(payment.money(minor), currency=capture.currency or payment.currency),
        category="rejected",
        reason=reason,
        message=message,
    )
    return Decision(
        result=capture.status,
        payment=payment,
        captures=(capture,),
        announcements=(failed,),
        detail={"reason": reason.value},
    )


def _payment_never_came(capture: Capture) -> Decision:
    event = CommandRejected(
        occurred_at=capture.updated_at,
        command_id=capture.command_id,
        command_type="CaptureRequested",
        command_source=capture.source,
        reason=RejectionReason.PAYMENT_NOT_FOUND,
        field="payment_id",
        message=f"no payment {capture.payment_id} was requested before the capture's deadline",
        payment_id=capture.payment_id,
    )
    rejection = Rejection(event=event, correlation_id=capture.correlation_id)
    return Decision(result=capture.status, captures=(capture,), rejection=rejection)
