"""Balance transactions: what each movement of money did to the merchant's balance at Stripe."""

from __future__ import annotations

from simulators.store import Json
from simulators.stripe.account import Account

FEE_PER_MILLE, FEE_FIXED = 29, 30
"""The simulator's fee on a charge, minor units: 2.9 % and 30, rounded down."""

AVAILABLE_AFTER_S = 2 * 24 * 3600


def book_charge(account: Account, charge: Json, *, amount: int) -> str:
    """Credit a charge, less the fee."""
    fee = amount * FEE_PER_MILLE // 1000 + FEE_FIXED
    return _book(account, charge, amount=amount, fee=fee, type="charge", category="charge")


def book_refund(account: Account, refund: Json) -> str:
    """Debit a refund; the fee is not given back."""
    return _book(account, refund, amount=-refund["amount"], type="refund", category="refund")


def book_failed_refund(account: Account, refund: Json) -> str:
    """Credit a refund that the customer's bank sent back."""
    return _book(account, refund, amount=refund["amount"], type="refund_failure", category="refund_failure")


def book_uncaptured_rest(account: Account, release: Json) -> str:
    """Debit what was authorized and not captured (docs.stripe.com/reports/reporting-categories)."""
    return _book(
        account, release, amount=-release["amount"], type="refund", category="partial_capture_reversal"
    )


def _book(account: Account, source: Json, *, amount: int, type: str, category: str, fee: int = 0) -> str:
    now, currency = account.now(), source["currency"]
    stripe_fee = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees",
        "type": "stripe_fee",
    }
    line: Json = {
        "id": account.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now + AVAILABLE_AFTER_S,
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [stripe_fee] if fee else [],
        "net": amount - fee,
        "reporting_category": category,
        "source": source["id"],
        "status": "pending",
        "type": type,
    }
    account.save(line, event=None)
    return str(line["id"])
