"""What people do to payments in Stripe's dashboard: under no idempotency key, and without the shop's metadata."""

from __future__ import annotations

from typing import Literal, assert_never

from simulators.store import Json
from simulators.stripe import intents, refunds
from simulators.stripe.account import Account

Action = Literal["capture", "cancel", "refund"]


def act(account: Account, action: Action, intent_id: str, *, amount: int | None) -> Json:
    """Capture, cancel or refund, all there is or `amount`; gives the intent or refund. Raises StripeError."""
    match action:
        case "capture":
            return intents.capture(
                account, intent_id, {} if amount is None else {"amount_to_capture": amount}
            )
        case "cancel":
            return intents.cancel(account, intent_id, {})
        case "refund":
            part = {} if amount is None else {"amount": amount}
            return refunds.create(account, {"payment_intent": intent_id, **part})
        case _:
            assert_never(action)
