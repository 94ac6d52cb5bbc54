"""One gateway says no for now, or is not there: another takes the payment, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.street.street import CARDS, Street, street
from tests.workers import eventually

SOFTLY_DECLINED = "pm_card_chargeDeclinedInsufficientFunds"
HARD_DECLINED = "pm_card_chargeDeclinedStolenCard"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with street(tmp_path_factory.mktemp("failover")) as place:
        yield place
        assert place.problems() == []


def or_else(*gateways: str) -> list[dict[str, str]]:
    """The same method's tokens at other gateways."""
    return [{"gateway": gateway, "token": CARDS[gateway]} for gateway in gateways]


def test_a_soft_decline_goes_on_at_the_next_gateway(place: Street) -> None:
    place.pay("stripe", "soft", token=SOFTLY_DECLINED, alternatives=or_else("adyen", "paypal"))

    assert place.await_event("soft", "PaymentSucceeded").body["gateway"] == "adyen"
    assert place.kinds("soft") == ["PaymentSucceeded"]
    assert [place.moved(gateway, "soft") for gateway in CARDS] == [[], [("sale", 10_000)], []]


def test_a_hard_decline_goes_nowhere_else(place: Street) -> None:
    place.pay("stripe", "hard", token=HARD_DECLINED, alternatives=or_else("adyen"))

    assert place.await_event("hard", "PaymentFailed").body["category"] == "declined"
    assert place.moved("adyen", "hard") == []


def test_a_gateway_that_cannot_be_reached_is_passed_over(place: Street) -> None:
    place.gateways["stripe"].door.shut()
    try:
        place.pay("stripe", "unreached", alternatives=or_else("paypal"))
        assert place.await_event("unreached", "PaymentSucceeded").body["gateway"] == "paypal"
    finally:
        place.gateways["stripe"].door.open()
    assert place.moved("stripe", "unreached") == []
    assert place.moved("paypal", "unreached") == [("sale", 10_000)]


def test_an_outcome_nobody_knows_never_goes_to_another_gateway(place: Street) -> None:
    control = place.gateways["stripe"].control
    control.arm("drop_after_executing", match={"idempotency_key": "unknown.a1"})

    place.pay("stripe", "unknown", alternatives=or_else("adyen", "paypal"))

    assert place.await_event("unknown", "PaymentSucceeded").body["gateway"] == "stripe"
    assert [place.moved(gateway, "unknown") for gateway in CARDS] == [[("sale", 10_000)], [], []]


def test_a_payment_called_off_while_it_is_on_the_line_is_given_back(place: Street) -> None:
    control = place.gateways["stripe"].control
    control.arm("slow", seconds=1.5, match={"path": "/v1/payment_intents/*/confirm"})

    place.pay("stripe", "called-off")
    eventually(lambda: bool(place.moved("stripe", "called-off")), within_s=30, what="Stripe has charged")
    place.void("called-off")

    assert place.await_event("called-off.void", "RefundProcessed").body["amount"]["minor"] == 10_000
    assert place.moved("stripe", "called-off") == [("sale", 10_000), ("refund", 10_000)]


def test_a_payment_called_off_before_its_money_moves_is_never_charged(place: Street) -> None:
    control = place.gateways["stripe"].control
    control.arm("slow", seconds=1.5, match={"idempotency_key": "never-begun.a1"})

    place.pay("stripe", "never-begun")
    place.void("never-begun")

    assert place.await_event("never-begun", "PaymentFailed").body["reason"] == "canceled_by_command"
    assert place.moved("stripe", "never-begun") == []
