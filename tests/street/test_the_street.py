"""One payment on each gateway, with its callback, through everything that runs in earnest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.street.street import Street, street
from tests.workers import eventually

GATEWAYS = ("stripe", "adyen", "paypal")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with street(tmp_path_factory.mktemp("street")) as place:
        yield place


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_payment_goes_through_and_its_callback_is_taken_in(gateway: str, place: Street) -> None:
    payment_id = f"pay-{gateway}"

    place.pay(gateway, payment_id)

    place.await_event(payment_id, "PaymentSucceeded")
    assert place.moved(gateway, payment_id) == [("sale", 10_000)]
    eventually(lambda: bool(place.callbacks(payment_id)), within_s=30, what="its callback is taken in")
    assert place.problems() == []
