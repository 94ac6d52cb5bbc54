"""Which digits are a card number: the schemes' prefixes and lengths, and the check digit that all of them share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Range:
    scheme: str
    low: str
    high: str
    """First and last prefix, of the same number of digits."""
    lengths: tuple[int, ...]


# Prefixes and lengths: github.com/braintree/credit-card-type (src/lib/card-types.ts) and, for what is no longer
# issued or is regional, en.wikipedia.org/wiki/Payment_card_number. Where two schemes share a prefix, the first is
# named. Left out: UnionPay's and RuPay's 81 and 82, which are how Adyen's older references begin, and UATP's 1, which
# is how timestamps do.
_RANGES = (
    _Range("visa", "4", "4", (13, 16, 18, 19)),  # 13: none is issued any more, old files have them
    _Range("mastercard", "51", "55", (16,)),
    _Range("mastercard", "2221", "2720", (16,)),
    _Range("amex", "34", "34", (15,)),
    _Range("amex", "37", "37", (15,)),
    _Range("discover", "6011", "6011", (16, 19)),
    _Range("discover", "644", "649", (16, 19)),
    _Range("discover", "65", "65", (16, 19)),
    _Range("diners", "300", "305", (14, 16, 19)),
    _Range("diners", "3095", "3095", (14, 16, 19)),
    _Range("diners", "36", "36", (14, 16, 19)),
    _Range("diners", "38", "39", (14, 16, 19)),
    _Range("jcb", "3528", "3589", (16, 17, 18, 19)),
    _Range("jcb", "2131", "2131", (15,)),
    _Range("jcb", "1800", "1800", (15,)),
    _Range("unionpay", "62", "62", (16, 17, 18, 19)),
    _Range("mir", "2200", "2204", (16, 17, 18, 19)),
    _Range("elo", "506699", "506778", (16,)),
    _Range("elo", "509000", "509999", (16,)),
    _Range("elo", "636297", "636297", (16,)),
    _Range("elo", "636368", "636368", (16,)),
    _Range("hipercard", "606282", "606282", (16,)),
    _Range("verve", "506099", "506198", (16, 18, 19)),
    _Range("verve", "507865", "507964", (16, 18, 19)),
    _Range("rupay", "60", "60", (16,)),
    _Range("rupay", "508", "508", (16,)),
    _Range("troy", "9792", "9792", (16,)),
    # The short lengths only of the prefixes that surely are Maestro's: telephone and article numbers are as long.
    _Range("maestro", "5018", "5018", (12, 13, 14, 15)),
    _Range("maestro", "5020", "5020", (12, 13, 14, 15)),
    _Range("maestro", "5038", "5038", (12, 13, 14, 15)),
    _Range("maestro", "5893", "5893", (12, 13, 14, 15)),
    _Range("maestro", "6304", "6304", (12, 13, 14, 15)),
    _Range("maestro", "6759", "6759", (12, 13, 14, 15)),
    _Range("maestro", "6761", "6763", (12, 13, 14, 15)),
    _Range("maestro", "50", "50", (16, 17, 18, 19)),
    _Range("maestro", "56", "59", (16, 17, 18, 19)),
    _Range("maestro", "63", "63", (16, 17, 18, 19)),
    _Range("maestro", "67", "67", (16, 17, 18, 19)),
)
_BY_FIRST_DIGIT = {
    first: tuple(known for known in _RANGES if known.low[0] <= first <= known.high[0])
    for first in "0123456789"
}

_LENGTHS = {
    str(start): tuple(
        sorted(
            {
                length
                for known in _RANGES
                if int(known.low[:2].ljust(2, "0")) <= start <= int(known.high[:2].ljust(2, "9"))
                for length in known.lengths
            },
            reverse=True,
        )
    )
    for start in range(10, 100)
}

SHORTEST, LONGEST = 12, 19
"""Digits of a card number (ISO/IEC 7812-1 allows 8 to 19; the schemes here issue no shorter ones)."""

_DOUBLED = str.maketrans("0123456789", "0246813579")
"""Each digit twice, its digits added up."""


def scheme_of(digits: str) -> str | None:
    """Name the scheme whose card number this is, by prefix, length and check digit; None: it is not one."""
    length = len(digits)
    if not SHORTEST <= length <= LONGEST:
        return None
    for known in _BY_FIRST_DIGIT[digits[0]]:
        if length in known.lengths and known.low <= digits[: len(known.low)] <= known.high:
            return known.scheme if luhn(digits) else None
    return None


def possible_lengths(first_two: str) -> tuple[int, ...]:
    """How many digits a card number that begins like this may have, the most first."""
    return _LENGTHS.get(first_two, ())


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0
