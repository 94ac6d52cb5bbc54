"""PaymentMethods: a test token becomes an object of its own on first use, as at Stripe."""

from __future__ import annotations

from simulators.store import Json
from simulators.stripe.account import Account
from simulators.stripe.cards import CARDS, Card
from simulators.stripe.errors import missing

NO_BILLING_DETAILS: Json = {
    "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}
EXPIRES = {"exp_month": 12, "exp_year": 2034}


def obtain(account: Account, token_or_id: str) -> str:
    """The id of a PaymentMethod for a test token, or of one that exists. Raises InvalidRequest if unknown."""
    require(account, token_or_id)
    if token_or_id not in CARDS:
        return token_or_id
    card = CARDS[token_or_id]
    method: Json = {
        "id": account.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": NO_BILLING_DETAILS,
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "display_brand": card.brand,
            **EXPIRES,
            "fingerprint": f"simulated{card.last4}",
            "funding": "credit",
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": account.now(),
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_token": token_or_id,
    }
    account.save(method, event=None)
    return str(method["id"])


def require(account: Account, token_or_id: str) -> None:
    """Raise InvalidRequest unless it is a test token, or a PaymentMethod that exists."""
    if token_or_id not in CARDS and account.find("payment_method", token_or_id) is None:
        raise missing("PaymentMethod", token_or_id, param="payment_method")


def token_of(account: Account, token_or_id: str | None) -> str | None:
    """The test token behind a PaymentMethod, if it is known."""
    if token_or_id is None or token_or_id in CARDS:
        return token_or_id
    method = account.find("payment_method", token_or_id)
    return method["_token"] if method else None


def card_of(account: Account, id: str) -> tuple[Json, Card]:
    """A PaymentMethod that exists, and the card it was made from."""
    method = account.get("payment_method", id, param="payment_method")
    return method, CARDS[method["_token"]]
