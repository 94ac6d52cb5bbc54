"""Cards that do not simply pay: declines, authentication, and payments that take their time."""

from __future__ import annotations

import httpx
import pytest
import stripe

from simulators.control_client import ControlClient
from tests.simulators.stripe.shop import RETURN_URL, Shop, error_of

DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card"),
    ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
]


@pytest.mark.parametrize(("card", "code", "decline_code"), DECLINES)
def test_a_declined_card_is_402_with_the_intent(
    shop: Shop, control: ControlClient, card: str, code: str, decline_code: str | None
) -> None:
    with pytest.raises(stripe.CardError) as declined:
        shop.pay(card)

    error = error_of(declined.value)
    assert (declined.value.http_status, error["type"], error["code"]) == (402, "card_error", code)
    assert error.get("decline_code") == decline_code
    intent = shop.intent(error["payment_intent"]["id"])
    assert intent == error["payment_intent"]
    assert (intent["status"], intent["payment_method"]) == ("requires_payment_method", None)
    assert intent["last_payment_error"]["code"] == code
    assert shop.charge(error["charge"])["status"] == "failed"
    assert control.record() == []


def test_after_a_decline_another_card_can_pay(shop: Shop, control: ControlClient) -> None:
    intent = shop.create()
    with pytest.raises(stripe.CardError):
        shop.confirm(intent["id"], payment_method="pm_card_chargeDeclined")

    paid = shop.confirm(intent["id"], payment_method="pm_card_visa")

    assert (paid["status"], paid["last_payment_error"]) == ("succeeded", None)
    assert len(control.record(operation="charge")) == 1


def test_the_customer_authenticates_by_the_link(shop: Shop, control: ControlClient) -> None:
    asked = shop.pay("pm_card_authenticationRequired", return_url=RETURN_URL)
    action = asked["next_action"]
    back = httpx.get(action["redirect_to_url"]["url"])

    assert (asked["status"], action["type"], asked["latest_charge"]) == (
        "requires_action",
        "redirect_to_url",
        None,
    )
    assert back.status_code == 303
    assert back.headers["location"].startswith(f"{RETURN_URL}&payment_intent={asked['id']}")
    assert back.headers["location"].endswith("redirect_status=succeeded")
    paid = shop.intent(asked["id"], "latest_charge")
    assert (paid["status"], paid["next_action"]) == ("succeeded", None)
    card = paid["latest_charge"]["payment_method_details"]["card"]
    assert card["three_d_secure"]["result"] == "authenticated"
    httpx.get(action["redirect_to_url"]["url"])
    assert len(control.record(operation="charge")) == 1


def test_a_customer_who_refuses_pays_nothing(shop: Shop, control: ControlClient) -> None:
    asked = shop.hold(card="pm_card_authenticationRequired", return_url=RETURN_URL)
    back = httpx.get(asked["next_action"]["redirect_to_url"]["url"], params={"decision": "fail"})

    assert back.headers["location"].endswith("redirect_status=failed")
    refused = shop.intent(asked["id"])
    assert refused["status"] == "requires_payment_method"
    assert refused["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    assert control.record() == []


def test_without_a_return_url_the_sdk_of_the_shop_page_must_act(shop: Shop) -> None:
    asked = shop.pay("pm_card_authenticationRequired")

    assert asked["next_action"]["type"] == "use_stripe_sdk"
    assert httpx.get(asked["next_action"]["use_stripe_sdk"]["stripe_js"]).text == "The payment is succeeded."


@pytest.mark.parametrize(
    "asked", [{"off_session": True}, {"off_session": "recurring"}, {"error_on_requires_action": True}]
)
def test_where_no_customer_is_present_authentication_is_a_decline(
    shop: Shop, asked: dict[str, object]
) -> None:
    with pytest.raises(stripe.CardError) as declined:
        shop.pay("pm_card_authenticationRequired", **asked)  # type: ignore[arg-type]

    assert declined.value.code == "authentication_required"
    assert error_of(declined.value)["payment_intent"]["status"] == "requires_payment_method"


def test_an_intent_that_waits_for_the_customer_can_be_canceled(shop: Shop) -> None:
    asked = shop.pay("pm_card_authenticationRequired", return_url=RETURN_URL)
    canceled = shop.cancel(asked["id"])
    httpx.get(asked["next_action"]["redirect_to_url"]["url"])

    assert canceled["status"] == "canceled"
    assert shop.intent(asked["id"])["status"] == "canceled"


@pytest.mark.parametrize("how", ["told", "later"])
@pytest.mark.parametrize(
    ("card", "decision", "status"),
    [
        ("pm_simulated_processing_then_succeeds", "succeed", "succeeded"),
        ("pm_simulated_processing_then_fails", "fail", "requires_payment_method"),
    ],
)
def test_a_payment_that_takes_its_time_ends_when_told_or_later(
    shop: Shop, control: ControlClient, card: str, decision: str, status: str, how: str
) -> None:
    intent = shop.pay(card)
    moved_at_first = control.record()
    with pytest.raises(stripe.InvalidRequestError):
        shop.cancel(intent["id"])
    if how == "told":
        control.decide(intent["id"], "succeed" if decision == "succeed" else "fail")
    else:
        control.advance_clock(60)

    assert (intent["status"], moved_at_first) == ("processing", [])
    ended = shop.intent(intent["id"], "latest_charge")
    assert ended["status"] == status
    assert ended["latest_charge"]["status"] == ("succeeded" if decision == "succeed" else "failed")
    assert len(control.record(operation="charge")) == (decision == "succeed")


def test_a_held_payment_can_take_its_time_too(shop: Shop, control: ControlClient) -> None:
    intent = shop.hold(card="pm_simulated_processing_then_succeeds")
    control.decide(intent["id"], "succeed")

    assert shop.intent(intent["id"])["status"] == "requires_capture"
