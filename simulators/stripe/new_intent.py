"""A PaymentIntent as it is when it is made: every field of Stripe's object, by the parameters of the call."""

from __future__ import annotations

from simulators.store import Json
from simulators.stripe.account import Account
from simulators.stripe.parameters import Params


def new_intent(account: Account, params: Params) -> Json:
    """An intent nobody has confirmed; not written yet."""
    id = account.new_id("pi")
    types = params.get("allowed_payment_method_types")
    # Without a word about methods, all that are switched on in the dashboard may be used.
    automatic = None if types else {"allow_redirects": "always", "enabled": True}
    if "automatic_payment_methods" in params:
        automatic = {"allow_redirects": "always", **params["automatic_payment_methods"]}
    multicapture = (
        params.get("payment_method_options", {}).get("card", {}).get("request_multicapture", "never")
    )
    return {
        "id": id,
        "object": "payment_intent",
        "allowed_payment_method_types": types,
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": account.new_id(f"{id}_secret"),
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "created": account.now(),
        "currency": params["currency"],
        "customer": params.get("customer"),
        "description": params.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": {
            "card": {
                "request_multicapture": multicapture,
                "request_three_d_secure": three_d_secure_wish(params) or "automatic",
            }
        },
        "payment_method_types": types or ["card"],
        "processing": None,
        "receipt_email": params.get("receipt_email"),
        "review": None,
        "setup_future_usage": params.get("setup_future_usage"),
        "shipping": None,
        "statement_descriptor": params.get("statement_descriptor"),
        "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        "_multicapture": multicapture == "if_available",
    }


def three_d_secure_wish(params: Params) -> str | None:
    """Whether the customer is to be asked for: what the shop wishes, if it says so."""
    wish: str | None = params.get("payment_method_options", {}).get("card", {}).get("request_three_d_secure")
    return wish
