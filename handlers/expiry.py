"""The customer did not act in time: the open payment is called off at the gateway (books, P23)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers.attempt import Step, send
from handlers.decision import Decision, Known, Policy
from handlers.payment_outcome import payment_outcome
from handlers.requests import call_for
from ledger.states import Attempt, AttemptState
from messages.ids import payment_attempt_id
from messages.operation import Operation


def is_overdue(attempt: Attempt, known: Known, now: datetime) -> bool:
    """Whether the customer's time is over and nobody is calling it off yet."""
    return (
        attempt.state is AttemptState.ACTION_REQUIRED
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
    """Take the answer to a cancellation: canceled ends the payment, anything else has the payment looked up."""
    assert known.payment is not None
    cancel = step.attempt
    if cancel.is_open:
        return Decision(result=known.payment.status, attempts=(cancel,), call=call_for(step, known.payment))
    original = next(
        (a for a in known.attempts.values() if a.is_open and a.reference == cancel.parent_reference), None
    )
    if original is None:
        return Decision(result=known.payment.status, attempts=(cancel,))
    if cancel.state is not AttemptState.SUCCEEDED:
        looked_at = replace(original, due_at=now, updated_at=now)
        return Decision(result=known.payment.status, attempts=(cancel, looked_at))
    canceled = replace(original, state=AttemptState.CANCELED, due_at=None, updated_at=now)
    ended = payment_outcome(known, Step(attempt=canceled), None, policy, now)
    return replace(ended, attempts=(cancel, canceled))
