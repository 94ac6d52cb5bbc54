"""Idempotency keys: what is replayed, what is refused, and what executes anew."""

from __future__ import annotations

import asyncio
import time

import pytest
import stripe

from simulators.control_client import ControlClient
from simulators.running import RunningSimulator
from tests.simulators.stripe.contract import CheckedClient
from tests.simulators.stripe.shop import Shop, error_of

DAY_S = 24 * 3600


def test_a_repeat_hears_the_first_answer_and_moves_nothing(shop: Shop, control: ControlClient) -> None:
    first = shop.pay(key="k1")
    request_id = shop.answer.last_response.request_id
    again = shop.pay(key="k1")
    headers = shop.answer.last_response.headers

    assert again == first
    assert (headers["Idempotent-Replayed"], headers["Original-Request"]) == ("true", request_id)
    assert headers["Idempotency-Key"] == "k1"
    assert len(control.record(idempotency_key="k1")) == 1
    counted = control.requests()["by_idempotency_key"]["k1"]
    assert counted == {"seen": 2, "executed": 1, "replayed": 1}


def test_a_replayed_answer_is_as_things_were_not_as_they_are(shop: Shop) -> None:
    held = shop.pay(key="k1", capture_method="manual")
    shop.capture(held["id"])

    assert shop.pay(key="k1", capture_method="manual")["status"] == "requires_capture"


def test_a_decline_is_replayed(shop: Shop, control: ControlClient) -> None:
    bodies = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            shop.pay("pm_card_chargeDeclined", key="k1")
        bodies.append(declined.value.json_body)

    assert bodies[0] == bodies[1]
    assert declined.value.headers["Idempotent-Replayed"] == "true"  # type: ignore[index]
    assert control.requests()["by_idempotency_key"]["k1"]["executed"] == 1


def test_a_refusal_by_state_is_replayed_though_the_state_has_changed(shop: Shop) -> None:
    intent = shop.create()
    with pytest.raises(stripe.InvalidRequestError):
        shop.capture(intent["id"], key="k1")
    shop.confirm(intent["id"], payment_method="pm_card_visa", capture_method="manual")

    with pytest.raises(stripe.InvalidRequestError, match="requires_payment_method"):
        shop.capture(intent["id"], key="k1")
    assert shop.capture(intent["id"], key="k2")["status"] == "succeeded"


def test_a_500_is_replayed_though_it_was_executed(shop: Shop, control: ControlClient) -> None:
    control.arm("error_500_after")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            shop.pay(key="k1")
        assert failed.value.http_status == 500

    assert failed.value.headers["Idempotent-Replayed"] == "true"  # type: ignore[index]
    assert failed.value.headers["Stripe-Should-Retry"] == "false"  # type: ignore[index]
    assert len(control.record(operation="charge")) == 1


def test_a_request_refused_before_it_began_leaves_its_key_free(shop: Shop) -> None:
    for wrong in ({"amount": 0}, {"payment_method": "pm_card_nosuch"}):
        with pytest.raises(stripe.InvalidRequestError):
            shop.create("k1", **wrong)

    assert shop.pay(key="k1")["status"] == "succeeded"


def test_the_same_key_with_other_parameters_is_refused(shop: Shop, control: ControlClient) -> None:
    shop.pay(key="k1")

    with pytest.raises(stripe.IdempotencyError) as refused:
        shop.pay(key="k1", amount=1001)
    assert refused.value.http_status == 400
    assert len(control.record()) == 1


def test_the_same_key_at_another_endpoint_is_refused(shop: Shop) -> None:
    held = shop.pay(key="k1", capture_method="manual")

    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        shop.capture(held["id"], key="k1")


def test_after_a_day_the_key_is_forgotten_and_executes_anew(shop: Shop, control: ControlClient) -> None:
    first = shop.pay(key="k1")
    control.advance_clock(DAY_S - 60)
    same = shop.pay(key="k1")
    control.advance_clock(61)
    other = shop.pay(key="k1", amount=500)

    assert same["id"] == first["id"]
    assert other["id"] != first["id"]
    assert [line["amount"] for line in control.record(idempotency_key="k1")] == [1000, 500]


def test_a_repeat_while_the_first_is_in_flight_is_409(simulator: RunningSimulator) -> None:
    """The first call is slow, so the second is told that the key is in use; the charge happens once."""
    params = {
        "amount": 1000,
        "currency": "eur",
        "allowed_payment_method_types": ["card"],
        "payment_method": "pm_card_visa",
        "confirm": True,
        "metadata": {"simulate": "slow", "simulate_seconds": "2"},
    }

    async def both() -> tuple[stripe.PaymentIntent, stripe.APIError]:
        http_client = CheckedClient(timeout=10)
        client = stripe.StripeClient(
            simulator.api_key, base_addresses={"api": simulator.url}, http_client=http_client
        )
        create = client.v1.payment_intents.create_async
        first = asyncio.create_task(create(params, {"idempotency_key": "k1"}))  # type: ignore[arg-type]
        deadline = time.monotonic() + 10
        while "k1" not in simulator.control.requests()["by_idempotency_key"]:
            assert time.monotonic() < deadline, "the first call did not arrive"
            await asyncio.sleep(0.01)
        with pytest.raises(stripe.APIError) as refused:
            await create(params, {"idempotency_key": "k1"})  # type: ignore[arg-type]
        paid = await first
        await http_client.close_async()  # type: ignore[no-untyped-call]
        return paid, refused.value

    paid, refused = asyncio.run(both())

    assert paid.status == "succeeded"
    assert refused.http_status == 409
    assert error_of(refused)["code"] == "idempotency_key_in_use"
    assert len(simulator.control.record(operation="charge")) == 1


def test_the_sdk_may_repeat_by_itself_because_it_keeps_the_key(shop: Shop, control: ControlClient) -> None:
    control.arm("drop_after_executing", times=2)

    paid = shop.client.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "eur",
            "allowed_payment_method_types": ["card"],
            "payment_method": "pm_card_visa",
            "confirm": True,
        },
        {"max_network_retries": 2},
    )

    assert paid.status == "succeeded"
    assert [line["payment_intent"] for line in control.record()] == [paid.id]
