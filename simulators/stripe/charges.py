"""Charges: one for every attempt that reached the bank, whether it said yes or no."""

from __future__ import annotations

import secrets

from simulators.store import Json
from simulators.stripe.account import Account, Step
from simulators.stripe.balance import book_charge
from simulators.stripe.cards import Card, Decline
from simulators.stripe.payment_methods import EXPIRES, NO_BILLING_DETAILS, card_of

AUTHORIZATION_HOLDS_S = 7 * 24 * 3600
"""How long the bank keeps the money held (docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""


def approved(account: Account, intent: Json, *, authenticated: bool) -> Json:
    """The bank said yes; `held` or `captured` must follow."""
    return account.save(_new(account, intent, authenticated=authenticated), event=None)


def held(account: Account, charge: Json) -> Json:
    """The money is authorized for some days."""
    charge |= {"status": "succeeded", "paid": True}
    charge["payment_method_details"]["card"]["capture_before"] = account.now() + AUTHORIZATION_HOLDS_S
    return account.save(charge, event="charge.succeeded")


def declined(account: Account, intent: Json, decline: Decline) -> Json:
    """The bank said no."""
    charge = _new(account, intent, authenticated=False)
    charge |= {"status": "failed", "failure_code": decline.code, "failure_message": decline.message}
    charge["outcome"] |= {
        "advice_code": decline.advice_code,
        "network_decline_code": decline.network_decline_code,
        "network_status": "declined_by_network",
        "reason": decline.decline_code or decline.code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }
    return account.save(charge, event="charge.failed")


def under_way(account: Account, intent: Json) -> Json:
    """The bank has not decided."""
    return account.save(_new(account, intent, authenticated=False), event="charge.pending")


def captured(account: Account, intent: Json, charge: Json, *, amount: int, booked: int) -> Json:
    """Take `amount` of what is authorized; `booked` goes to the balance."""
    charge |= {"status": "succeeded", "paid": True, "captured": True}
    charge["amount_captured"] += amount
    if intent["capture_method"] == "automatic_async":
        account.later(Step.BOOK_CHARGE, charge["id"], in_s=account.settle_after_s)
    else:
        charge["balance_transaction"] = book_charge(account, charge, amount=booked)
    return account.save(
        charge, event="charge.captured" if intent["capture_method"] == "manual" else "charge.succeeded"
    )


def book_later(account: Account, charge: Json) -> None:
    """Give a charge of `automatic_async` its balance transaction, some time after the payment."""
    charge["balance_transaction"] = book_charge(account, charge, amount=charge["amount_captured"])
    account.save(charge, event="charge.updated")


def _new(account: Account, intent: Json, *, authenticated: bool) -> Json:
    id = account.new_id("ch")
    method, card = card_of(account, intent["payment_method"])
    return {
        "id": id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": NO_BILLING_DETAILS,
        "calculated_statement_descriptor": "SIMULATOR",
        "captured": False,
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"card": _card_details(intent, card, authenticated), "type": "card"},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "pending",
        "transfer_data": None,
        "transfer_group": None,
    }


def _card_details(intent: Json, card: Card, authenticated: bool) -> Json:
    three_d_secure = {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": secrets.token_hex(16),
        "version": "2.2.0",
    }
    return {
        "amount_authorized": intent["amount"],
        "authorization_code": f"{secrets.randbelow(10**6):06}",
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        **EXPIRES,
        "extended_authorization": {"status": "disabled"},
        "fingerprint": f"simulated{card.last4}",
        "funding": "credit",
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card.last4,
        "mandate": None,
        "multicapture": {"status": "available" if intent["_multicapture"] else "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "network_transaction_id": f"{secrets.randbelow(10**15):015}",
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": three_d_secure if authenticated else None,
        "wallet": None,
    }
