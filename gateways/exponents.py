"""How each gateway writes an amount: whole units whose exponent is not always that of ISO 4217.

Adapters convert here on the way out and on the way in, so that the rest of the service sees only `Money`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from messages.money import EXPONENTS, MAX_MINOR, Money

_DECIMAL = r"([0-9]{0,32})(?:\.([0-9]{1,32}))?"


class NotExpressible(ValueError):
    """The gateway has no way to write this amount or currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireUnits:
    """One gateway's way to write amounts: which currencies, how many digits, and in which steps."""

    currencies: frozenset[str]
    exponents: Mapping[str, int] = field(default_factory=dict)
    """Digits after the point where the gateway differs from ISO 4217."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Wire amounts of these currencies must be multiples of this."""

    def to_wire(self, money: Money) -> int:
        """Write an amount in the gateway's units.

        Raises:
            NotExpressible: if the gateway does not take the currency, or cannot write the amount exactly.
        """
        if money.currency not in self.currencies:
            raise NotExpressible(f"{money.currency} is not a currency of this gateway")
        wire, rest = _shifted(money.minor, self._exponent(money.currency) - EXPONENTS[money.currency])
        if rest or wire % self.steps.get(money.currency, 1):
            raise NotExpressible(f"{money} has more digits than this gateway takes for {money.currency}")
        return wire

    def from_wire(self, wire: object, currency: str) -> Money:
        """Read an amount of the gateway; the currency may be in either case.

        Raises:
            NotExpressible: if it is no whole amount of a currency we know, so that no figure is guessed.
        """
        code = currency.upper()
        if code not in EXPONENTS or type(wire) is not int or wire < 0:
            raise NotExpressible("the answer's amount or currency cannot be read")
        minor, rest = _shifted(wire, EXPONENTS[code] - self._exponent(code))
        if rest or minor > MAX_MINOR:
            raise NotExpressible("the answer's amount has digits the currency does not have")
        return Money(minor, code)

    def to_decimal(self, money: Money) -> str:
        """Write an amount as decimal text in major units, with all the digits the gateway takes: `19.90`.

        Raises:
            NotExpressible: if the gateway does not take the currency, or cannot write the amount exactly.
        """
        wire, digits = str(self.to_wire(money)), self._exponent(money.currency)
        if digits == 0:
            return wire
        wire = wire.rjust(digits + 1, "0")
        return f"{wire[:-digits]}.{wire[-digits:]}"

    def from_decimal(self, text: object, currency: object) -> Money:
        """Read decimal text in major units; zeros beyond the currency's digits lose nothing.

        Raises:
            NotExpressible: if it is no exact amount of a currency we know, so that no figure is guessed.
        """
        match = re.fullmatch(_DECIMAL, text) if isinstance(text, str) else None
        if match is None or not match[0] or not isinstance(currency, str) or currency not in EXPONENTS:
            raise NotExpressible("the answer's amount or currency cannot be read")
        digits, fraction = self._exponent(currency), (match[2] or "").rstrip("0")
        if len(fraction) > digits:
            raise NotExpressible("the answer's amount has digits the currency does not have")
        return self.from_wire(int(match[1] + fraction.ljust(digits, "0") or "0"), currency)

    def _exponent(self, currency: str) -> int:
        return self.exponents.get(currency, EXPONENTS[currency])


def _shifted(amount: int, places: int) -> tuple[int, int]:
    """Move the decimal point to the right (left if negative); give the digits that fall off as a rest."""
    scale: int = 10 ** abs(places)
    return (amount * scale, 0) if places >= 0 else divmod(amount, scale)


_STRIPE_CURRENCIES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP
CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP
MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR
SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF
XCD XCG XOF XPF YER ZAR ZMW
"""

STRIPE_UNITS = WireUnits(
    currencies=frozenset(_STRIPE_CURRENCIES.split()),
    exponents={"ISK": 2, "UGX": 2, "MGA": 0},
    steps={"ISK": 100, "UGX": 100, "BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10},
)
"""Stripe's amounts (docs.stripe.com/currencies): ISK and UGX are sent with two digits that must be 00,
three-decimal currencies with a last digit 0, MGA without decimals although ISO 4217 gives it two."""

_ADYEN_CURRENCIES = """
AED ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BMD BND BOB BRL BSD BWP BYN BZD CAD CHF CLP CNY COP CRC CUP
CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD
ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LYD MAD MDL MKD MMK MNT MOP MRU MUR MVR MWK MXN
MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP
SLE SOS SRD STN SVC SZL THB TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF
YER ZAR ZMW
"""

ADYEN_UNITS = WireUnits(
    currencies=frozenset(_ADYEN_CURRENCIES.split()),
    exponents={"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2},
    steps={"CLP": 100, "ISK": 100},
)
"""Adyen's amounts (docs.adyen.com/development-resources/currency-codes): four currencies differ from ISO 4217.

The steps follow from ours: our pesos and krónur have no smaller part, so nothing else is ever sent.
"""

_PAYPAL_CURRENCIES = """
AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD USD
"""

PAYPAL_UNITS = WireUnits(
    currencies=frozenset(_PAYPAL_CURRENCIES.split()),
    exponents={"HUF": 0, "TWD": 0},
)
"""PayPal's amounts, decimal text (developer.paypal.com/api/rest/reference/currency-codes): HUF and TWD without
decimals although ISO 4217 gives them two. BRL, CNY and MYR only within their countries."""
