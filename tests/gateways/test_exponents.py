"""Amounts survive the way to a gateway's units and back, and are refused where they cannot be written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.exponents import ADYEN_UNITS, STRIPE_UNITS, NotExpressible
from messages.money import EXPONENTS, MAX_MINOR, Money

AMOUNTS = st.integers(min_value=0, max_value=10**12)


@given(minor=AMOUNTS, currency=st.sampled_from(sorted(EXPONENTS)))
def test_what_stripe_can_write_comes_back_the_same(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    try:
        wire = STRIPE_UNITS.to_wire(money)
    except NotExpressible:
        return

    assert STRIPE_UNITS.from_wire(wire, currency.lower()) == money


@pytest.mark.parametrize("currency", sorted(STRIPE_UNITS.currencies))
def test_every_currency_of_stripe_can_write_some_amount(currency: str) -> None:
    money = Money(100, currency)

    assert STRIPE_UNITS.from_wire(STRIPE_UNITS.to_wire(money), currency) == money


@pytest.mark.parametrize("currency", sorted(set(EXPONENTS) - STRIPE_UNITS.currencies))
def test_a_currency_stripe_does_not_take_is_refused_by_name(currency: str) -> None:
    with pytest.raises(NotExpressible, match=currency):
        STRIPE_UNITS.to_wire(Money(100, currency))


@pytest.mark.parametrize(
    ("money", "wire"),
    [
        (Money(1999, "EUR"), 1999),
        (Money(500, "JPY"), 500),
        (Money(5, "ISK"), 500),
        (Money(5, "UGX"), 500),
        (Money(500, "MGA"), 5),
        (Money(1990, "HUF"), 1990),
        (Money(1990, "TWD"), 1990),
        (Money(1990, "CLP"), 1990),
        (Money(1990, "IDR"), 1990),
        (Money(1990, "CVE"), 1990),
        (Money(1990, "KWD"), 1990),
    ],
)
def test_stripe_writes_amounts_as_its_currency_page_says(money: Money, wire: int) -> None:
    assert STRIPE_UNITS.to_wire(money) == wire


@pytest.mark.parametrize("money", [Money(1991, "KWD"), Money(501, "MGA")])
def test_an_amount_with_too_many_digits_for_stripe_is_refused(money: Money) -> None:
    with pytest.raises(NotExpressible, match="digits"):
        STRIPE_UNITS.to_wire(money)


@pytest.mark.parametrize(
    ("wire", "currency"),
    [
        (501, "isk"),
        (-1, "eur"),
        ("100", "eur"),
        (1.0, "eur"),
        (True, "eur"),
        (None, "eur"),
        (100, "zzz"),
        (MAX_MINOR + 1, "eur"),
        (MAX_MINOR, "mga"),
    ],
)
def test_an_amount_that_cannot_be_read_is_never_guessed(wire: object, currency: str) -> None:
    with pytest.raises(NotExpressible):
        STRIPE_UNITS.from_wire(wire, currency)


# --- Adyen -------------------------------------------------------------------------------------------


@given(minor=AMOUNTS, currency=st.sampled_from(sorted(EXPONENTS)))
def test_what_adyen_can_write_comes_back_the_same(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    try:
        wire = ADYEN_UNITS.to_wire(money)
    except NotExpressible:
        assert currency not in ADYEN_UNITS.currencies or currency in {"CVE", "IDR"}
        return

    assert ADYEN_UNITS.from_wire(wire, currency) == money


@pytest.mark.parametrize("currency", sorted(ADYEN_UNITS.currencies))
def test_every_currency_of_adyen_can_write_some_amount(currency: str) -> None:
    money = Money(100, currency)

    assert ADYEN_UNITS.from_wire(ADYEN_UNITS.to_wire(money), currency) == money


@pytest.mark.parametrize("currency", sorted(set(EXPONENTS) - ADYEN_UNITS.currencies))
def test_a_currency_adyen_does_not_take_is_refused_by_name(currency: str) -> None:
    with pytest.raises(NotExpressible, match=currency):
        ADYEN_UNITS.to_wire(Money(100, currency))


@pytest.mark.parametrize(
    ("money", "wire"),
    [
        (Money(1999, "EUR"), 1999),
        (Money(500, "JPY"), 500),
        (Money(5, "ISK"), 500),
        (Money(5, "UGX"), 5),
        (Money(1990, "HUF"), 1990),
        (Money(1990, "TWD"), 1990),
        (Money(1990, "CLP"), 199000),
        (Money(199000, "IDR"), 1990),
        (Money(199000, "CVE"), 1990),
        (Money(1991, "KWD"), 1991),
    ],
)
def test_adyen_writes_amounts_as_its_currency_page_says(money: Money, wire: int) -> None:
    assert ADYEN_UNITS.to_wire(money) == wire


@pytest.mark.parametrize("money", [Money(150, "CVE"), Money(1, "IDR")])
def test_an_amount_with_too_many_digits_for_adyen_is_refused(money: Money) -> None:
    with pytest.raises(NotExpressible, match="digits"):
        ADYEN_UNITS.to_wire(money)


@pytest.mark.parametrize(("wire", "currency"), [(501, "ISK"), (150, "CLP"), (MAX_MINOR, "IDR")])
def test_an_amount_of_adyens_that_is_none_of_ours_is_never_guessed(wire: int, currency: str) -> None:
    with pytest.raises(NotExpressible):
        ADYEN_UNITS.from_wire(wire, currency)
