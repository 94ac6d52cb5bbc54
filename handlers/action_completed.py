"""PaymentActionCompleted: the customer is back; ask the gateway how it ended, with what the browser brought."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

from handlers.attempt import look_up
from handlers.decision import Asked, Decision, Known, Policy
from handlers.rejection import conflict, reject
from handlers.requests import call_for
from ledger.states import AttemptState
from messages.commands import PaymentActionCompleted
from messages.events import RejectionReason


def action_completed(
    known: Known, asked: Asked, command: PaymentActionCompleted, policy: Policy, now: datetime
) -> Decision:
    """Decide on a PaymentActionCompleted. It may come twice, or when all is over: then nothing is left to ask."""
    if known.earlier_body_hash not in (None, asked.body_hash):
        return conflict(asked, "id", now)
    payment = known.payment
    if payment is None:
        text = "payment_id: no such payment was requested"
        return reject(asked, RejectionReason.PAYMENT_NOT_FOUND, text, at="payment_id", now=now)
    waiting = next((a for a in known.attempts.values() if a.state is AttemptState.ACTION_REQUIRED), None)
    if waiting is None:
        return Decision(result="repeated", announce_again=payment.payment_id)
    brought = json.dumps(command.brought) if command.brought else waiting.brought
    step = look_up(replace(waiting, brought=brought), policy, now)
    return Decision(result=payment.status, attempts=(step.attempt,), call=call_for(step, payment))
