"""Money in whole minor units of an ISO 4217 currency. Nowhere in this service is an amount a float."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

MAX_MINOR = 2**63 - 1
"""Amounts fit a BIGINT column."""

_TWO_DIGITS = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU
MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR
SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED
VES WST XCD XCG YER ZAR ZMW ZWG
"""
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DIGITS = "CLF UYW"

EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_TWO_DIGITS.split(), 2),
    **dict.fromkeys(_NO_DIGITS.split(), 0),
    **dict.fromkeys(_THREE_DIGITS.split(), 3),
    **dict.fromkeys(_FOUR_DIGITS.split(), 4),
}
"""Digits after the decimal point by currency (ISO 4217, list one; funds codes in, metals and test codes out).

The Bulgarian lev (BGN) ended with 2025; ANG gave way to XCG in 2025, ZWL to ZWG in 2024.
"""


class CurrencyMismatch(ValueError):
    """Two amounts of different currencies met in one sum or comparison."""


def known_currency(code: str) -> str:
    """Return the code if ISO 4217 lists it.

    Raises:
        ValueError: for a code that is unknown or not in upper case.
    """
    if code not in EXPONENTS:
        raise ValueError("not a currency code of ISO 4217 in upper case, such as EUR")
    return code


Currency = Annotated[
    str,
    AfterValidator(known_currency),
    Field(
        description="Currency code of ISO 4217, in upper case.",
        json_schema_extra={"pattern": "^[A-Z]{3}$"},
        examples=["EUR"],
    ),
]


@dataclass(frozen=True, slots=True)
class Money:
    """A whole, never negative number of minor units of one currency: `Money(1999, "EUR")` is 19.99 EUR."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    minor: Annotated[
        int,
        Field(
            ge=0, le=MAX_MINOR, description="Whole minor units (cents; ISO 4217 exponent).", examples=[1999]
        ),
    ]
    currency: Currency

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError(f"minor units are a whole number, not a {type(self.minor).__name__}")
        if not 0 <= self.minor <= MAX_MINOR:
            raise ValueError("an amount is between 0 and 2^63 - 1 minor units")
        known_currency(self.currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """Read a decimal such as `"19.99"` exactly.

        Raises:
            ValueError: if it is no plain decimal, or has more digits than the currency.
        """
        digits = EXPONENTS[known_currency(currency)]
        match = re.fullmatch(r"([0-9]+)(?:\.([0-9]+))?", text, re.ASCII)
        if match is None:
            raise ValueError(f"not a plain decimal amount such as 19.99: {text!r}")
        whole, fraction = match[1], match[2] or ""
        if len(fraction) > digits:
            raise ValueError(f"{currency} has {digits} digits after the point: {text!r}")
        return cls(int(whole + fraction.ljust(digits, "0")), currency)

    def decimal(self) -> str:
        """Write the amount in major units, exactly: `"19.99"`; the reverse of `parse`."""
        digits = EXPONENTS[self.currency]
        if digits == 0:
            return str(self.minor)
        text = str(self.minor).rjust(digits + 1, "0")
        return f"{text[:-digits]}.{text[-digits:]}"

    def __str__(self) -> str:
        return f"{self.decimal()} {self.currency}"

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other), self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} do not mix")
        return other.minor


def _positive(money: Money) -> Money:
    if money.minor == 0:
        raise ValueError("an amount to move is more than zero")
    return money


PositiveMoney = Annotated[Money, AfterValidator(_positive)]
"""An amount a command may ask to move: never zero."""
