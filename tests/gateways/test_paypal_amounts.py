"""Amounts survive the way to PayPal's decimal text and back, and are refused where they cannot be written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.exponents import PAYPAL_UNITS, NotExpressible
from messages.money import EXPONENTS, MAX_MINOR, Money
from simulators.paypal.amounts import CURRENCIES, WITHOUT_DECIMALS

AMOUNTS = st.integers(min_value=0, max_value=10**12)


@given(minor=AMOUNTS, currency=st.sampled_from(sorted(EXPONENTS)))
def test_what_paypal_can_write_comes_back_the_same(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    try:
        text = PAYPAL_UNITS.to_decimal(money)
    except NotExpressible:
        return

    assert PAYPAL_UNITS.from_decimal(text, currency) == money
    assert PAYPAL_UNITS.from_decimal(f"{text}000" if "." in text else f"{text}.00", currency) == money


@pytest.mark.parametrize("currency", sorted(PAYPAL_UNITS.currencies))
def test_the_adapter_and_the_simulator_know_paypals_currencies_alike(currency: str) -> None:
    text = PAYPAL_UNITS.to_decimal(Money(12_300, currency))

    assert currency in CURRENCIES
    assert ("." not in text) == (currency in WITHOUT_DECIMALS)


def test_neither_knows_more_than_the_other() -> None:
    assert PAYPAL_UNITS.currencies == CURRENCIES


@pytest.mark.parametrize("currency", sorted(set(EXPONENTS) - PAYPAL_UNITS.currencies))
def test_a_currency_paypal_does_not_take_is_refused_by_name(currency: str) -> None:
    with pytest.raises(NotExpressible, match=currency):
        PAYPAL_UNITS.to_decimal(Money(100, currency))


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1999, "EUR"), "19.99"),
        (Money(1000, "USD"), "10.00"),
        (Money(5, "GBP"), "0.05"),
        (Money(0, "EUR"), "0.00"),
        (Money(500, "JPY"), "500"),
        (Money(199_000, "HUF"), "1990"),
        (Money(700, "TWD"), "7"),
    ],
)
def test_paypal_writes_amounts_as_its_currency_page_says(money: Money, text: str) -> None:
    assert PAYPAL_UNITS.to_decimal(money) == text


@pytest.mark.parametrize("money", [Money(1991, "HUF"), Money(701, "TWD")])
def test_an_amount_with_more_digits_than_paypal_takes_is_refused(money: Money) -> None:
    with pytest.raises(NotExpressible, match="digits"):
        PAYPAL_UNITS.to_decimal(money)


@pytest.mark.parametrize(("text", "minor"), [("10", 1000), ("10.5", 1050), (".05", 5), ("010.00", 1000)])
def test_paypals_other_ways_to_write_an_amount_are_read(text: str, minor: int) -> None:
    assert PAYPAL_UNITS.from_decimal(text, "EUR") == Money(minor, "EUR")


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("", "EUR"),
        (".", "EUR"),
        ("10.", "EUR"),
        ("-1.00", "EUR"),
        ("+1.00", "EUR"),
        ("1,00", "EUR"),
        ("1e3", "EUR"),
        ("1.001", "EUR"),
        ("1.5", "JPY"),
        ("1.5", "HUF"),
        ("١٠.00", "EUR"),
        (" 1.00", "EUR"),
        ("1.00\n", "EUR"),
        (1.0, "EUR"),
        (1, "EUR"),
        (None, "EUR"),
        ("1.00", "eur"),
        ("1.00", "ZZZ"),
        ("1.00", None),
        (str(MAX_MINOR), "EUR"),
        ("9" * 5000, "EUR"),
    ],
)
def test_an_amount_that_cannot_be_read_is_never_guessed(text: object, currency: object) -> None:
    with pytest.raises(NotExpressible):
        PAYPAL_UNITS.from_decimal(text, currency)
