"""Calling off at the gateway what is open or held: the one way in, whoever or whatever asks for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers.attempt import send
from handlers.decision import Decision, Known, Policy
from handlers.requests import call_for
from ledger.states import OPEN_ATTEMPT, Attempt, AttemptState, PaymentStatus
from messages.ids import payment_attempt_id
from messages.operation import Operation

HOLDS_MONEY = (Operation.AUTHORIZE, Operation.SALE)
"""What a payment begins with: it makes a hold, or takes the money at once."""


def is_being_called_off(known: Known) -> bool:
    """Whether a cancellation is under way."""
    return any(a.operation is Operation.VOID and a.is_open for a in known.attempts.values())


def is_being_paid(known: Known) -> bool:
    """Whether an authorization or sale is still under way."""
    return any(a.operation in HOLDS_MONEY and a.is_open for a in known.attempts.values())


def is_overdue(attempt: Attempt, known: Known, now: datetime) -> bool:
    """Whether the customer's time to act is over and nobody is calling it off yet (books, P23)."""
    return (
        attempt.operation in HOLDS_MONEY
        and attempt.state is AttemptState.ACTION_REQUIRED
        and attempt.expires_at is not None
        and attempt.expires_at <= now
        and not is_being_called_off(known)
    )


def left_of(known: Known, held: Attempt) -> int:
    """What one authorization still holds, in minor units; there may be another beside it, one too many."""
    assert known.payment is not None
    acted_on_it = [a for a in known.attempts.values() if a.acts_on == held.attempt_id]
    let_go = any(a.operation is Operation.VOID and a.state is AttemptState.SUCCEEDED for a in acted_on_it)
    if let_go or held.reason is not None:
        return 0
    taken = sum(
        a.amount
        for a in acted_on_it
        if a.operation is Operation.CAPTURE
        and (a.is_open or a.state in (AttemptState.SUCCEEDED, AttemptState.REVERSED))
    )
    return max(min(held.amount - taken, known.payment.capturable), 0)


def call_off(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """Ask the gateway to cancel what an authorization or sale has opened or holds.

    An attempt of unknown outcome that the gateway never named is canceled by our own name for it.
    """
    assert known.payment is not None
    payment = known.payment
    number = payment.attempts + 1
    held = left_of(known, attempt) if attempt.state is AttemptState.SUCCEEDED else 0
    cancel = Attempt(
        attempt_id=payment_attempt_id(attempt.payment_id, number),
        payment_id=attempt.payment_id,
        operation=Operation.VOID,
        gateway=attempt.gateway,
        currency=attempt.currency,
        amount=held or attempt.amount,
        acts_on=attempt.attempt_id,
        state=AttemptState.CREATED,
        parent_reference=attempt.reference,
        # What lets a hold go knows until when it was good; what calls off something open has no such time.
        capture_before=attempt.capture_before if held else None,
        created_at=now,
        updated_at=now,
    )
    step = send(cancel, policy, now)
    payment = replace(payment, attempts=number, updated_at=now)
    if held and not is_being_paid(known):
        payment = replace(payment, status=PaymentStatus.VOIDING)
    # It is looked at again meanwhile: the cancellation may come too late.
    due_at = now + policy.pending_delays[0] if attempt.state in OPEN_ATTEMPT else None
    later = replace(attempt, due_at=due_at, updated_at=now)
    return Decision(
        result=payment.status, payment=payment, attempts=(later, step.attempt), call=call_for(step, payment)
    )
