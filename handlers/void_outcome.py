"""What an attempt to call off a payment, or to let its hold go, has led to (books, P23, P24, P28, P44-P47)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers.attempt import Step, closed, look_up
from handlers.calling_off import is_being_paid
from handlers.decision import Decision, Known, Policy
from handlers.hold import end_of_hold, let_go, next_look
from handlers.payment_outcome import payment_outcome, with_attention, woken, woken_captures
from handlers.requests import call_for
from handlers.void_requested import void_not_taken
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus


def void_outcome(known: Known, step: Step, policy: Policy, now: datetime) -> Decision:
    """Take the answer to a cancellation."""
    assert known.payment is not None and step.attempt.acts_on is not None
    cancel, payment = step.attempt, with_attention(known.payment, step, policy, now)
    original = known.attempts[step.attempt.acts_on]
    lets_a_hold_go = cancel.capture_before is not None and payment.capturable > 0
    wanted = original.is_open or lets_a_hold_go
    if cancel.state is AttemptState.SUCCEEDED:
        if original.is_open:
            return _canceled(replace(known, payment=payment), cancel, original, policy, now)
        return _undone(known, payment, cancel, original, now)
    if step.ask == "operation" and not wanted:
        return _no_longer_sent(known, cancel, policy, now)
    if cancel.is_open or not wanted:
        changed = payment if payment != known.payment else None
        call = call_for(step, payment)
        return Decision(result=payment.status, payment=changed, attempts=(cancel,), call=call)
    if original.is_open:
        # The customer may have acted in the last moment. Look first, and leave it time before the next try.
        again = look_up(replace(original, expires_at=now + policy.cancel_pause), policy, now)
        return Decision(
            result=payment.status,
            payment=payment if payment != known.payment else None,
            attempts=(cancel, again.attempt),
            call=call_for(again, payment),
        )
    return _still_there(replace(known, payment=payment), payment, cancel, original, policy, now)


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
    canceled = closed(original, AttemptState.CANCELED, now)
    ended = payment_outcome(known, Step(attempt=canceled), None, policy, now)
    return replace(ended, attempts=(cancel, *ended.attempts))


def _undone(known: Known, payment: Payment, cancel: Attempt, original: Attempt, now: datetime) -> Decision:
    """A hold is let go; a capture cannot be: where it was quicker, a person must look."""
    if not payment.capturable:
        why: dict[str, str] = {}
        if original.state is AttemptState.SUCCEEDED and payment.captured_gross:
            payment = replace(payment, attention=True, updated_at=now)
            why = {
                "attempt": cancel.attempt_id,
                "contradiction": "it was called off, though the money was taken",
            }
        return Decision(result=payment.status, payment=payment, attempts=(cancel,), detail=why)
    ended = PaymentStatus.VOIDED if payment.cancel_requested else end_of_hold(original, now)
    payment, announcement, journal = let_go(payment, cancel, ended, now, goes_on=is_being_paid(known))
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(cancel, replace(original, due_at=None, updated_at=now)),
        captures=woken_captures(known, payment, now),
        refunds=woken(known, payment, now),
        announcements=(announcement,),
        journals=(journal,),
    )


def _still_there(
    known: Known, payment: Payment, cancel: Attempt, original: Attempt, policy: Policy, now: datetime
) -> Decision:
    """The hold was not let go. The gateway is asked what has become of it: it may have lapsed, or been captured."""
    asked_for = payment.cancel_requested
    if not is_being_paid(known):
        payment = replace(payment, status=payment.standing())
    payment = replace(payment, attention=payment.attention or not asked_for)
    failed = (
        void_not_taken(payment, cancel, now)
        if asked_for
        else Decision(result=payment.status, payment=payment)
    )
    after = failed.payment
    assert after is not None
    failed = replace(failed, captures=woken_captures(known, after, now))
    if not asked_for:
        why = {
            "attempt": cancel.attempt_id,
            "contradiction": "the gateway did not let a hold go whose time was over",
        }
        failed = replace(failed, detail={**failed.detail, **why})
    if not policy.gateways[original.gateway].can_be_asked:
        # Its own timer was stopped when it was to be let go: what a command could not end may lapse.
        due_at = next_look(after, original, policy, now) if asked_for else None
        return replace(failed, attempts=(cancel, replace(original, due_at=due_at, updated_at=now)))
    look = look_up(original, policy, now)
    return replace(failed, attempts=(cancel, look.attempt), call=call_for(look, after))
