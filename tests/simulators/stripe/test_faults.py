"""Each fault as the SDK meets it, what was executed, and what a repeat under the same key hears."""

from __future__ import annotations

import pytest
import stripe

from simulators.control_client import ControlClient, Refused
from simulators.faults import FAULTS
from simulators.running import RunningSimulator
from tests.simulators.stripe.shop import Shop, open_shop

# fault, what the SDK raises, HTTP status, charges executed, what a repeat gets
SEEN = [
    ("drop_before", stripe.APIConnectionError, None, 0, "succeeded"),
    ("drop_after_executing", stripe.APIConnectionError, None, 1, "succeeded"),
    ("error_500_before", stripe.APIError, 500, 0, "succeeded"),
    ("error_500_after", stripe.APIError, 500, 1, 500),
    ("error_500_kept", stripe.APIError, 500, 0, 500),
    ("html_502", stripe.APIError, 502, 0, "succeeded"),
    ("html_502_after", stripe.APIError, 502, 1, "succeeded"),
    ("rate_limit_429", stripe.RateLimitError, 429, 0, "succeeded"),
    ("conflict_409", stripe.APIError, 409, 0, "succeeded"),
]


def test_every_fault_is_tried_here() -> None:
    assert {row[0] for row in SEEN} | {"slow", "slow_before"} == set(FAULTS)


@pytest.mark.parametrize("asked_by", ["control", "metadata", "token"])
@pytest.mark.parametrize(("fault", "error", "status", "charges", "repeat"), SEEN)
def test_a_fault_breaks_one_call_and_the_repeat_gets_through(
    shop: Shop,
    control: ControlClient,
    fault: str,
    error: type[stripe.StripeError],
    status: int | None,
    charges: int,
    repeat: str | int,
    asked_by: str,
) -> None:
    card, metadata = "pm_card_visa", {"order": "7"}
    match asked_by:
        case "control":
            control.arm(fault, match={"path": "/v1/payment_intents", "metadata": {"order": "7"}})
        case "metadata":
            metadata |= {"simulate": fault}
        case _:
            card = f"pm_simulated_{fault}"

    with pytest.raises(error) as broken:
        shop.pay(card, key="k1", metadata=metadata)
    executed = control.record(operation="charge")

    assert type(broken.value) is error
    assert broken.value.http_status == status
    assert len(executed) == charges
    if repeat == "succeeded":
        assert shop.pay(card, key="k1", metadata=metadata)["status"] == "succeeded"
        assert len(control.record(operation="charge")) == 1
    else:
        with pytest.raises(stripe.APIError):
            shop.pay(card, key="k1", metadata=metadata)
        assert len(control.record(operation="charge")) == charges


@pytest.mark.parametrize("fault", ["slow", "slow_before"])
def test_a_caller_who_does_not_wait_does_not_know(
    simulator: RunningSimulator, shop: Shop, fault: str
) -> None:
    simulator.control.arm(fault, seconds=2)

    with open_shop(simulator, timeout_s=0.5) as hasty, pytest.raises(stripe.APIConnectionError):
        hasty.pay(key="k1")
    while_waiting = len(simulator.control.record(operation="charge"))
    # The key stays in use until the first call is over, so the repeat must be asked to come again.
    paid, refusals = None, set()
    for _ in range(2000):
        try:
            paid = shop.pay(key="k1")
            break
        except stripe.APIError as in_use:
            refusals.add(in_use.http_status)

    assert refusals == {409}
    assert paid is not None
    assert paid["status"] == "succeeded"
    assert while_waiting == (fault == "slow")
    assert len(simulator.control.record(operation="charge")) == 1


@pytest.mark.parametrize("verb", ["confirm", "capture", "cancel", "refund"])
def test_a_fault_for_a_later_call_is_asked_for_when_the_intent_is_made(
    shop: Shop, control: ControlClient, verb: str
) -> None:
    intent = shop.create(
        metadata={f"simulate_{verb}": "drop_after_executing"},
        payment_method="pm_card_visa",
        capture_method="automatic" if verb == "refund" else "manual",
    )
    calls = {
        "confirm": lambda: shop.confirm(intent["id"], key="k-confirm"),
        "capture": lambda: shop.capture(intent["id"], key="k-capture"),
        "cancel": lambda: shop.cancel(intent["id"], key="k-cancel"),
        "refund": lambda: shop.refund(key="k-refund", payment_intent=intent["id"]),
    }
    if verb != "confirm":
        calls["confirm"]()

    with pytest.raises(stripe.APIConnectionError):
        calls[verb]()
    lost = control.record(idempotency_key=f"k-{verb}")
    calls[verb]()

    assert len(lost) == 1
    assert control.record(idempotency_key=f"k-{verb}") == lost


@pytest.mark.parametrize("verb", ["capture", "refund"])
def test_a_call_with_metadata_can_ask_for_its_own_fault(
    shop: Shop, control: ControlClient, verb: str
) -> None:
    intent = shop.hold() if verb == "capture" else shop.pay()
    metadata = {"simulate": "drop_after_executing"}

    calls = {
        "capture": lambda: shop.capture(intent["id"], metadata=metadata),
        "refund": lambda: shop.refund(payment_intent=intent["id"], metadata=metadata),
    }
    with pytest.raises(stripe.APIConnectionError):
        calls[verb]()

    assert len(control.record(operation=verb)) == 1


def test_a_fault_is_only_for_the_calls_that_match(shop: Shop, control: ControlClient) -> None:
    control.arm("rate_limit_429", times=2, match={"method": "POST", "path": "/v1/payment_intents/*/capture"})
    control.arm("rate_limit_429", match={"token": "pm_card_mastercard"})
    control.arm("rate_limit_429", match={"idempotency_key": "k9"})
    held = shop.hold()

    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            shop.capture(held["id"])
    shop.capture(held["id"])
    with pytest.raises(stripe.RateLimitError):
        shop.pay("pm_card_mastercard")
    with pytest.raises(stripe.RateLimitError):
        shop.pay(key="k9")

    assert control.faults() == []


def test_reading_can_fail_as_well(shop: Shop, control: ControlClient) -> None:
    paid = shop.pay()
    control.arm("html_502", match={"method": "GET"})

    with pytest.raises(stripe.APIError) as failed:
        shop.intent(paid["id"])

    assert failed.value.http_status == 502
    assert shop.intent(paid["id"]) == paid


def test_faults_can_be_listed_and_disarmed(shop: Shop, control: ControlClient) -> None:
    control.arm("drop_before", times=3, match={"path": "/v1/refunds"})
    [armed] = control.faults()
    control.clear_faults()

    assert (armed["name"], armed["times"], armed["match"]["path"]) == ("drop_before", 3, "/v1/refunds")
    assert control.faults() == []
    assert shop.pay()["status"] == "succeeded"


def test_a_fault_that_does_not_exist_cannot_be_armed(control: ControlClient) -> None:
    with pytest.raises(Refused, match="no fault is named"):
        control.arm("explode")
    with pytest.raises(Refused, match="Extra inputs"):
        control.arm("slow", match={"url": "/v1/refunds"})


def test_the_clock_does_not_go_back(control: ControlClient) -> None:
    with pytest.raises(Refused, match="only moves ahead"):
        control.advance_clock(-1)
