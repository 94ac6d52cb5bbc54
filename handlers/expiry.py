"""The customer did not act in time: the open payment is called off at the gateway (books, P23 and P28)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers.attempt import Step, look_up, send
from handlers.decision import Announcement, Decision, Known, Policy, announce
from handlers.payment_outcome import HOLDS_MONEY, payment_outcome, with_attention
from handlers.requests import call_for
from ledger.journals import Journal, release
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus
from messages.events import PaymentVoided
from messages.ids import payment_attempt_id
from messages.operation import Operation


def is_overdue(attempt: Attempt, known: Known, now: datetime) -> bool:
    """Whether the customer's time is over and nobody is calling it off yet."""
    return (
        attempt.operation in HOLDS_MONEY
        and attempt.state is AttemptState.ACTION_REQUIRED
        and attempt.expires_at is not None
        and attempt.expires_at <= now
        and not any(a.operation is Operation.VOID and a.is_open for a in known.attempts.values())
    )


def call_off(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """Ask the gateway to cancel what is still open. The attempt itself is looked at again meanwhile."""
    assert known.payment is not None
    number = known.payment.attempts + 1
    cancel = Attempt(
        attempt_id=payment_attempt_id(attempt.payment_id, number),
        payment_id=attempt.payment_id,
        operation=Operation.VOID,
        gateway=attempt.gateway,
        currency=attempt.currency,
        amount=attempt.amount,
        state=AttemptState.CREATED,
        parent_reference=attempt.reference,
        created_at=now,
        updated_at=now,
    )
    step = send(cancel, policy, now)
    payment = replace(known.payment, attempts=number, updated_at=now)
    later = replace(attempt, due_at=now + policy.pending_delays[0], updated_at=now)
    return Decision(
        result=payment.status, payment=payment, attempts=(later, step.attempt), call=call_for(step, payment)
    )


def called_off(known: Known, step: Step, policy: Policy, now: datetime) -> Decision:
    """Take the answer to a cancellation."""
    assert known.payment is not None
    cancel, payment = step.attempt, with_attention(known.payment, step, policy, now)
    original = _original(known)
    if cancel.state is AttemptState.SUCCEEDED:
        if original.is_open:
            return _canceled(replace(known, payment=payment), cancel, original, policy, now)
        return _undone(payment, cancel, original, now)
    if step.ask == "operation" and not original.is_open:
        return _no_longer_sent(known, cancel, policy, now)
    if cancel.is_open or not original.is_open:
        changed = payment if payment != known.payment else None
        call = call_for(step, payment)
        return Decision(result=payment.status, payment=changed, attempts=(cancel,), call=call)
    # Not canceled: the customer may have acted in the last moment. Look first, and leave it time before the next try.
    again = look_up(replace(original, expires_at=now + policy.cancel_pause), policy, now)
    return Decision(
        result=payment.status,
        payment=payment if payment != known.payment else None,
        attempts=(cancel, again.attempt),
        call=call_for(again, payment),
    )


def _original(known: Known) -> Attempt:
    """What is being called off: there is one, by whatever id the gateway calls it by now."""
    return next(a for a in known.attempts.values() if a.operation in HOLDS_MONEY)


def _no_longer_sent(known: Known, cancel: Attempt, policy: Policy, now: datetime) -> Decision:
    """The payment has ended meanwhile: sent again, the cancellation would undo it. Only its fate is asked for."""
    assert known.payment is not None
    spent = replace(
        known.attempts[cancel.attempt_id],
        state=AttemptState.UNKNOWN,
        doubtful=True,
        tries=max(cancel.tries, policy.max_sends),
    )
    look = look_up(spent, policy, now)
    call = call_for(look, known.payment)
    return Decision(result=known.payment.status, attempts=(look.attempt,), call=call)


def _canceled(known: Known, cancel: Attempt, original: Attempt, policy: Policy, now: datetime) -> Decision:
    canceled = replace(original, state=AttemptState.CANCELED, due_at=None, updated_at=now)
    ended = payment_outcome(known, Step(attempt=canceled), None, policy, now)
    return replace(ended, attempts=(cancel, canceled))


def _undone(payment: Payment, cancel: Attempt, original: Attempt, now: datetime) -> Decision:
    """It had ended otherwise when the cancellation came through: a hold is let go, a capture cannot be."""
    announcements: tuple[Announcement, ...] = ()
    journals: tuple[Journal, ...] = ()
    if payment.status is PaymentStatus.AUTHORIZED:
        payment = replace(payment, status=PaymentStatus.VOIDED, released=payment.authorized, updated_at=now)
        payment, voided = announce(payment, PaymentVoided, now, amount=original.money())
        announcements, journals = (voided,), (release(cancel, original.amount, now),)
    elif payment.status is PaymentStatus.CAPTURED:
        payment = replace(payment, attention=True, updated_at=now)
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(cancel,),
        journals=journals,
        announcements=announcements,
    )
