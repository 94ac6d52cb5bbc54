"""How a payment ends, by its card."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from Adyen import AdyenAPIInvalidPermission, AdyenAPIUnprocessableEntity, AdyenError

from simulators.adyen.cards import REFUSALS
from simulators.adyen.control_client import AdyenControlClient
from simulators.control_client import Refused
from simulators.running import RunningAdyen
from tests.simulators.adyen.shop import SETTLE_AFTER_S, Shop, come_back

DAY_S = 24 * 3600


def test_an_authorised_payment_is_captured_by_itself(shop: Shop, control: AdyenControlClient) -> None:
    paid = shop.pay(reference="order-x", metadata={"basket": "7"})

    assert paid["resultCode"] == "Authorised"
    assert paid["merchantReference"] == "order-x"
    assert paid["amount"] == {"currency": "EUR", "value": 1000}
    assert len(paid["pspReference"]) == 16
    assert shop.headers["pspReference"] == paid["pspReference"]
    [line] = control.record()
    assert (line["operation"], line["amount"], line["metadata"]) == ("sale", 1000, {"basket": "7"})
    [item] = shop.told()
    assert (item["eventCode"], item["success"]) == ("AUTHORISATION", "true")
    assert (item["pspReference"], item["merchantReference"]) == (paid["pspReference"], "order-x")
    assert "originalReference" not in item


def test_a_payment_to_be_captured_by_hand_is_only_held(shop: Shop, control: AdyenControlClient) -> None:
    shop.hold()

    assert [line["operation"] for line in control.record()] == ["authorise"]


def test_a_delayed_capture_happens_by_itself(shop: Shop, control: AdyenControlClient) -> None:
    shop.pay(captureDelayHours=24)
    before = control.record()
    control.advance_clock(DAY_S + 1)

    assert [line["operation"] for line in before] == ["authorise"]
    assert [line["operation"] for line in control.record()] == ["authorise", "capture"]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_tells_its_code_and_its_words(shop: Shop, control: AdyenControlClient, code: str) -> None:
    by_card = shop.pay(f"sim_refused_{code}")
    by_test_code = shop.pay(additionalData={"RequestedTestAcquirerResponseCode": code})

    for paid in (by_card, by_test_code):
        assert paid["resultCode"] == "Refused"
        assert (paid["refusalReasonCode"], paid["refusalReason"]) == (code, REFUSALS[code])
        assert "amount" not in paid
    assert control.record() == []
    assert [item["success"] for item in shop.told()] == ["false", "false"]


@pytest.mark.parametrize(
    ("token", "result", "code"),
    [("sim_error", "Error", "4"), ("sim_cancelled", "Cancelled", "16"), ("sim_stolen_card", "Refused", "5")],
)
def test_other_noes(shop: Shop, control: AdyenControlClient, token: str, result: str, code: str) -> None:
    paid = shop.pay(token)

    assert (paid["resultCode"], paid["refusalReasonCode"]) == (result, code)
    assert control.record() == []


def test_a_part_may_be_authorised(shop: Shop, control: AdyenControlClient) -> None:
    paid = shop.pay("sim_partially_authorised", amount={"currency": "EUR", "value": 1001})

    assert paid["resultCode"] == "PartiallyAuthorised"
    assert control.record()[0]["amount"] == 500


@pytest.mark.parametrize("at", [SETTLE_AFTER_S + 1, None])
@pytest.mark.parametrize(
    ("token", "first", "success"),
    [
        ("sim_pending_then_authorised", "Pending", "true"),
        ("sim_received_then_authorised", "Received", "true"),
        ("sim_pending_then_refused", "Pending", "false"),
    ],
)
def test_a_payment_may_be_told_by_webhook_alone(
    shop: Shop, control: AdyenControlClient, token: str, first: str, success: str, at: float | None
) -> None:
    paid = shop.pay(token)
    before = (control.record(), shop.told())
    if at is None:
        control.decide(paid["merchantReference"], "succeed" if success == "true" else "fail")
    else:
        control.advance_clock(at)

    assert paid["resultCode"] == first
    assert before == ([], [])
    [item] = shop.told()
    assert item["success"] == success
    assert len(control.record()) == (success == "true")
    with pytest.raises(Refused):
        control.decide(paid["pspReference"], "succeed")


@pytest.mark.parametrize(("decision", "result"), [("succeed", "Authorised"), ("fail", "Refused")])
def test_a_redirected_customer_decides_but_only_the_shop_completes(
    shop: Shop, control: AdyenControlClient, decision: str, result: str
) -> None:
    asked = shop.pay("sim_redirect")
    redirect_result = come_back(asked["action"], decision=decision)
    before = (control.record(), shop.told())

    told = shop.details(redirect_result)
    again = shop.details(redirect_result)

    assert asked["resultCode"] == "RedirectShopper"
    assert "pspReference" not in asked
    assert before == ([], [])
    assert told == again
    assert (told["resultCode"], told["merchantReference"]) == (result, asked["merchantReference"])
    assert len(control.record()) == (result == "Authorised")
    assert [item["success"] for item in shop.told()] == ["true" if result == "Authorised" else "false"]


def test_a_challenge_is_for_the_browser(shop: Shop, control: AdyenControlClient) -> None:
    asked = shop.pay("sim_challenge")
    control.decide(asked["merchantReference"], "succeed")

    assert asked["resultCode"] == "ChallengeShopper"
    assert asked["action"]["type"] == "threeDS2"
    assert len(control.record()) == 1


def test_a_challenge_ends_with_what_adyens_component_hands_in(
    shop: Shop, control: AdyenControlClient
) -> None:
    asked = shop.hold("sim_challenge")
    back = httpx.get(asked["action"]["url"], trust_env=False)
    [(name, result)] = back.json()["details"].items()

    with pytest.raises(AdyenAPIUnprocessableEntity):
        shop.details(result, name="redirectResult")
    told = shop.details(result, name=name)

    assert name == "threeDSResult"
    assert told["resultCode"] == "Authorised"
    assert [line["operation"] for line in control.record()] == ["authorise"]


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ({}, "RedirectShopper"),
        ({"threeDSRequestData": {"nativeThreeDS": "disabled"}}, "RedirectShopper"),
        ({"threeDSRequestData": {"nativeThreeDS": "preferred"}}, "ChallengeShopper"),
    ],
    ids=str,
)
@pytest.mark.parametrize("token", ["sim_authorised", "sim_authentication_required"])
def test_a_merchant_may_want_the_customer_authenticated(
    shop: Shop, control: AdyenControlClient, token: str, how: dict[str, Any], result: str
) -> None:
    asked = shop.pay(token, authenticationData={"attemptAuthentication": "always", **how})

    assert asked["resultCode"] == result
    assert control.record() == []


@pytest.mark.parametrize(
    ("token", "data"),
    [
        ("sim_authentication_required", {}),
        ("sim_authentication_required", {"authenticationData": {"attemptAuthentication": "never"}}),
        ("sim_redirect", {"authenticationData": {"attemptAuthentication": "never"}}),
        (
            "sim_authorised",
            {
                "authenticationData": {"attemptAuthentication": "always"},
                "recurringProcessingModel": "UnscheduledCardOnFile",
            },
        ),
    ],
    ids=str,
)
def test_a_bank_that_wants_authentication_and_gets_none_refuses(
    shop: Shop, token: str, data: dict[str, Any]
) -> None:
    refused = shop.pay(token, **data)

    assert (refused["resultCode"], refused["refusalReasonCode"]) == ("Refused", "38")


def test_nobody_is_there_to_be_redirected(shop: Shop) -> None:
    paid = shop.pay("sim_redirect", recurringProcessingModel="Subscription")

    assert (paid["resultCode"], paid["refusalReasonCode"]) == ("Refused", "38")


def test_a_result_nobody_came_back_with_is_refused(shop: Shop) -> None:
    with pytest.raises(AdyenAPIUnprocessableEntity):
        shop.details("made up")
    with pytest.raises(AdyenAPIUnprocessableEntity):
        shop.details("made up", name="threeDSResult")
    with pytest.raises(AdyenAPIUnprocessableEntity):
        shop.details("made up", payload="two things")


def test_a_link_that_leads_nowhere(simulator: RunningAdyen) -> None:
    assert httpx.get(f"{simulator.url}/3ds/NOBODY", trust_env=False).status_code == 422


def test_what_nobody_captures_expires(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold()
    control.advance_clock(28 * DAY_S - 60)
    before = len(shop.told())
    control.advance_clock(120)
    shop.capture(held["pspReference"])
    shop.settle()

    assert before == 1
    expired, capture = shop.told()[1:]
    assert (expired["eventCode"], expired["success"]) == ("EXPIRE", "true")
    assert (expired["pspReference"], expired["amount"]["value"]) == (held["pspReference"], 1000)
    assert (capture["eventCode"], capture["success"]) == ("CAPTURE", "false")
    assert [line["operation"] for line in control.record()] == ["authorise", "expire"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"reference": None}, 422, "130"),
        ({"amount": None}, 422, "100"),
        ({"amount": {"currency": "EUR", "value": -1}}, 422, "137"),
        ({"amount": {"currency": "eur", "value": 1}}, 422, "138"),
        ({"returnUrl": None}, 422, "14_030"),
        ({"paymentMethod": None}, 422, "14_006"),
        ({"shopperReference": None}, 422, "800"),
        ({"reference": "x" * 81}, 422, "702"),
        ({"captureDelayHours": 673}, 422, "702"),
        ({"metadata": {f"k{n}": "v" for n in range(21)}}, 422, "177"),
        ({"merchantacount": "x"}, 400, "702"),
        ({"merchantAccount": "Somebody"}, 403, "901"),
    ],
)
def test_a_wrong_request_is_refused(
    shop: Shop, control: AdyenControlClient, fields: dict[str, Any], status: int, code: str
) -> None:
    with pytest.raises(AdyenError) as refused:
        shop.pay(**fields)

    assert (refused.value.status_code, refused.value.error_code) == (status, code)
    assert control.record() == []


def test_a_token_that_is_not_there(shop: Shop) -> None:
    with pytest.raises(AdyenAPIUnprocessableEntity) as refused:
        shop.pay("no_such_token")

    assert refused.value.error_code == "800"


def test_a_modification_for_another_account_is_refused(shop: Shop) -> None:
    held = shop.hold()

    with pytest.raises(AdyenAPIInvalidPermission):
        shop.capture(held["pspReference"], merchantAccount="Somebody")
