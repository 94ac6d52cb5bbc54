"""PayPal's amounts: decimal text, in the currencies PayPal takes, three of them without decimals.

Source: developer.paypal.com/api/rest/reference/currency-codes.
"""

from __future__ import annotations

from decimal import Decimal

from simulators.paypal.errors import Unprocessable
from simulators.store import Json

_CURRENCIES = """
AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD USD
"""
CURRENCIES = frozenset(_CURRENCIES.split())
WITHOUT_DECIMALS = frozenset(("HUF", "JPY", "TWD"))

FEE_SHARE, FEE_FIXED = Decimal("0.0349"), Decimal("0.49")
"""The simulator's fee on a capture: 3.49 % and 0.49, rounded down; in currencies without decimals to a whole."""


def checked(money: Json, field: str, *, decimals_issue: str = "DECIMALS_NOT_SUPPORTED") -> Decimal:
    """Read an amount that is to move. Raises Unprocessable."""
    currency, value = money["currency_code"], Decimal(money["value"])
    if currency not in CURRENCIES:
        raise Unprocessable("INVALID_CURRENCY_CODE", field=f"{field}/currency_code")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > digits(currency):
        issue = decimals_issue if currency in WITHOUT_DECIMALS else "DECIMAL_PRECISION"
        raise Unprocessable(issue, field=f"{field}/value")
    if value <= 0:
        raise Unprocessable("CANNOT_BE_ZERO_OR_NEGATIVE", field=f"{field}/value")
    return value


def digits(currency: str) -> int:
    """Digits after the point."""
    return 0 if currency in WITHOUT_DECIMALS else 2


def money(value: Decimal, currency: str) -> Json:
    """An amount as PayPal writes it."""
    return {"currency_code": currency, "value": f"{value:.{digits(currency)}f}"}


def value_of(written: Json) -> Decimal:
    """An amount PayPal wrote."""
    return Decimal(written["value"])


def breakdown(amount: Json) -> Json:
    """What of a capture arrives at the merchant."""
    currency, gross = amount["currency_code"], value_of(amount)
    step = Decimal(1).scaleb(-digits(currency))
    fee = min(gross, (gross * FEE_SHARE + FEE_FIXED) // step * step)
    return {
        "gross_amount": amount,
        "paypal_fee": money(fee, currency),
        "net_amount": money(gross - fee, currency),
    }
