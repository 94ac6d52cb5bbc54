"""Idempotency keys: the first answer is given again, whatever is asked the second time."""

from __future__ import annotations

import threading

import pytest
from Adyen import AdyenAPIUnprocessableEntity, AdyenError

from simulators.adyen.control_client import AdyenControlClient
from simulators.running import RunningAdyen
from tests.simulators.adyen.shop import Shop, open_shop
from tests.simulators.receiver import until

WEEK_S = 7 * 24 * 3600


def test_the_first_answer_is_given_again_and_nothing_executed(
    shop: Shop, control: AdyenControlClient
) -> None:
    first = shop.pay(key="k1", reference="a")
    again = shop.pay(key="k1", reference="a")

    assert again == first
    assert shop.headers["idempotency-key"] == "k1"
    assert len(control.record()) == 1
    counts = control.requests()["by_idempotency_key"]["k1"]
    assert counts == {"seen": 2, "executed": 1, "replayed": 1}


def test_other_parameters_and_even_another_endpoint_get_the_first_answer(
    shop: Shop, control: AdyenControlClient
) -> None:
    first = shop.pay(key="k1", reference="a")
    dearer = shop.pay(key="k1", reference="b", amount={"currency": "EUR", "value": 99900})

    assert dearer == first
    assert [line["amount"] for line in control.record()] == [1000]


def test_a_refusal_is_given_again(shop: Shop) -> None:
    assert shop.pay("sim_refused_12", key="k1") == shop.pay("sim_authorised", key="k1")


def test_an_unprocessable_request_is_kept_and_one_turned_away_is_not(
    shop: Shop, control: AdyenControlClient
) -> None:
    with pytest.raises(AdyenAPIUnprocessableEntity):
        shop.pay(key="k1", returnUrl=None)
    with pytest.raises(AdyenAPIUnprocessableEntity):
        shop.pay(key="k1")
    with pytest.raises(AdyenError):
        shop.pay(key="k2", merchantAccount="Somebody")
    shop.pay(key="k2")

    assert len(control.record()) == 1


def test_a_key_is_forgotten_after_a_week(shop: Shop, control: AdyenControlClient) -> None:
    first = shop.pay(key="k1")
    control.advance_clock(WEEK_S - 10)
    within = shop.pay(key="k1")
    control.advance_clock(20)
    after = shop.pay(key="k1")

    assert within == first
    assert after["pspReference"] != first["pspReference"]
    assert len(control.record()) == 2


def test_a_key_has_64_characters_at_most(shop: Shop) -> None:
    shop.pay(key="k" * 64)
    with pytest.raises(AdyenError) as refused:
        shop.pay(key="k" * 65)

    assert refused.value.status_code == 400


def test_a_request_under_a_key_in_use_is_asked_to_come_again(
    simulator: RunningAdyen, shop: Shop, control: AdyenControlClient
) -> None:
    control.arm("slow_before", seconds=1.5)
    with open_shop(simulator) as other:
        first = threading.Thread(target=other.pay, kwargs={"key": "k1"})
        first.start()
        until(lambda: bool(control.requests()["by_idempotency_key"]))
        with pytest.raises(AdyenError) as refused:
            shop.pay(key="k1")
        first.join()

    assert (refused.value.status_code, refused.value.error_code) == (409, "704")
    assert refused.value.headers["transient-error"] == "true"
    assert shop.pay(key="k1")["resultCode"] == "Authorised"
    assert len(control.record()) == 1
