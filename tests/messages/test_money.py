"""Money: whole minor units of one known currency, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import money
from messages.money import EXPONENTS, MAX_MINOR, CurrencyMismatch, Money

currencies = st.sampled_from(sorted(EXPONENTS))
amounts = st.builds(Money, st.integers(0, MAX_MINOR), currencies)


@given(amounts)
def test_what_is_written_as_a_decimal_is_read_back_the_same(money: Money) -> None:
    assert Money.parse(money.decimal(), money.currency) == money


@given(currencies, st.integers(0, 10**12), st.integers(0, 9999))
def test_a_decimal_is_read_exactly(currency: str, whole: int, fraction: int) -> None:
    digits = EXPONENTS[currency]
    fraction %= 10**digits
    text = f"{whole}.{fraction:0{digits}d}" if digits else str(whole)

    assert Money.parse(text, currency).minor == whole * 10**digits + fraction
    assert Money.parse(text, currency).decimal() == text


@pytest.mark.parametrize(
    ("minor", "currency", "decimal"),
    [
        (1999, "EUR", "19.99"),
        (5, "EUR", "0.05"),
        (0, "EUR", "0.00"),
        (1999, "JPY", "1999"),
        (0, "JPY", "0"),
        (1234, "KWD", "1.234"),
        (1, "KWD", "0.001"),
        (12345, "CLF", "1.2345"),
        (MAX_MINOR, "EUR", "92233720368547758.07"),
    ],
)
def test_an_amount_is_written_with_the_currencys_digits(minor: int, currency: str, decimal: str) -> None:
    assert Money(minor, currency).decimal() == decimal
    assert str(Money(minor, currency)) == f"{decimal} {currency}"


@pytest.mark.parametrize(
    ("text", "minor"), [("19", 1900), ("19.9", 1990), ("019.90", 1990), ("0", 0), ("0.01", 1)]
)
def test_missing_digits_are_zeros(text: str, minor: int) -> None:
    assert Money.parse(text, "EUR") == Money(minor, "EUR")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "19.999",
        "19.990",
        "1e3",
        "1,000",
        "1 000",
        "-1",
        "+1",
        ".5",
        "5.",
        "1.2.3",
        "0x10",
        "NaN",
        "Infinity",
        "١٩",
        "19.99\n",
        " 19.99",
        "1_000",
        "92233720368547758.08",
    ],
)
def test_what_is_no_plain_decimal_of_the_currency_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Money.parse(text, "EUR")


def test_a_currency_without_digits_takes_none_after_the_point() -> None:
    with pytest.raises(ValueError, match="JPY has 0 digits"):
        Money.parse("19.9", "JPY")


@pytest.mark.parametrize("minor", [1.0, 19.99, "1999", True, False, None, b"1", 10j])
def test_what_is_not_a_whole_number_is_refused(minor: Any) -> None:
    with pytest.raises(TypeError, match="whole number"):
        Money(minor, "EUR")


@pytest.mark.parametrize("minor", [-1, -MAX_MINOR, MAX_MINOR + 1, 10**40])
def test_negative_amounts_and_amounts_no_column_holds_are_refused(minor: int) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        Money(minor, "EUR")


@pytest.mark.parametrize(
    "currency", ["eur", "Eur", "", "EURO", "EU", "XXX", "XTS", "XAU", "BGN", "ANG", "ZWL", " EUR", "978"]
)
def test_an_unknown_or_lower_case_currency_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match="not a currency code"):
        Money(1, currency)
    with pytest.raises(ValueError, match="not a currency code"):
        Money.parse("1", currency)


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        *(
            (code, 2)
            for code in ("EUR", "USD", "GBP", "CHF", "INR", "BRL", "HUF", "XCG", "ZWG", "MRU", "COP")
        ),
        *(
            (code, 0)
            for code in ("JPY", "KRW", "ISK", "CLP", "VND", "UGX", "XAF", "XOF", "XPF", "VUV", "RWF")
        ),
        *((code, 3) for code in ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")),
        *((code, 4) for code in ("CLF", "UYW")),
    ],
)
def test_digits_are_those_of_iso_4217(currency: str, digits: int) -> None:
    assert EXPONENTS[currency] == digits


def test_every_currency_is_listed_once() -> None:
    tables = (money._TWO_DIGITS, money._NO_DIGITS, money._THREE_DIGITS, money._FOUR_DIGITS)
    codes = [code for table in tables for code in table.split()]

    assert len(codes) == len(set(codes)) == len(EXPONENTS)
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in codes)


@given(currencies, st.integers(0, MAX_MINOR), st.integers(0, MAX_MINOR))
def test_sums_and_comparisons_are_those_of_whole_numbers(currency: str, one: int, other: int) -> None:
    larger, smaller = max(one, other), min(one, other)

    assert Money(larger, currency) - Money(smaller, currency) == Money(larger - smaller, currency)
    assert (Money(one, currency) < Money(other, currency)) is (one < other)
    assert (Money(one, currency) <= Money(other, currency)) is (one <= other)
    if one + other <= MAX_MINOR:
        assert Money(one, currency) + Money(other, currency) == Money(one + other, currency)


def test_a_difference_is_never_negative() -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        Money(1, "EUR") - Money(2, "EUR")


@pytest.mark.parametrize(
    "mix", [Money.__add__, Money.__sub__, Money.__lt__, Money.__le__], ids=lambda method: method.__name__
)
def test_currencies_do_not_mix(mix: Any) -> None:
    with pytest.raises(CurrencyMismatch, match="EUR and USD do not mix"):
        mix(Money(2, "EUR"), Money(1, "USD"))


def test_the_same_number_of_another_currency_is_another_amount() -> None:
    assert Money(1, "EUR") != Money(1, "USD")


def test_money_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Money(1, "EUR").minor = 2  # type: ignore[misc]
