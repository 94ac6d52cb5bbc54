"""Orders: made, approved, paid, patched, and forgotten."""

from __future__ import annotations

import httpx
import pytest

from simulators.control_client import ControlClient
from tests.simulators.paypal.shop import (
    CANCEL_URL,
    RETURN_URL,
    Json,
    Refused,
    Shop,
    link,
    payment,
    saved,
    wallet,
)


def test_an_order_is_made_unpaid_and_paid_with_a_saved_method(shop: Shop, control: ControlClient) -> None:
    order = shop.order(custom_id="pay_1.a1")
    made = shop.answer.status_code
    assert control.record() == []

    completed = shop.complete(order)
    capture = payment(completed, "captures")

    assert (made, order["status"], shop.answer.status_code, completed["status"]) == (
        201,
        "CREATED",
        201,
        "COMPLETED",
    )
    assert (capture["status"], capture["amount"]["value"], capture["custom_id"]) == (
        "COMPLETED",
        "10.00",
        "pay_1.a1",
    )
    assert shop.now("order", order["id"]) == completed
    assert shop.now("capture", capture["id"])["supplementary_data"]["related_ids"] == {
        "order_id": order["id"]
    }
    assert [(line["operation"], line["amount"]) for line in control.record()] == [("sale", "10.00")]


def test_an_order_with_a_saved_method_is_paid_in_one_step_and_needs_a_request_id(shop: Shop) -> None:
    with pytest.raises(Refused) as refused:
        shop.order(source=saved("sim-wallet"))

    assert (refused.value.status, refused.value.issue) == (400, "PAYPAL_REQUEST_ID_REQUIRED")
    assert payment(shop.order("k1", source=saved("sim-wallet")), "captures")["status"] == "COMPLETED"


def test_without_the_preference_an_answer_is_short(shop: Shop) -> None:
    shop.http.headers["Prefer"] = "return=minimal"
    order = shop.order()
    completed = shop.complete({**order, "intent": "CAPTURE"})
    hold = shop.call(
        "POST",
        "/v2/checkout/orders",
        {"intent": "AUTHORIZE", "purchase_units": [{"amount": {"currency_code": "EUR", "value": "1"}}]},
    )
    held = payment(shop.complete({**hold, "intent": "AUTHORIZE"}), "authorizations")
    capture = shop.capture(held, final_capture=True)

    assert set(order) == {"id", "status", "links"}
    assert set(completed) == {"id", "status", "payment_source", "purchase_units", "links"}
    assert set(capture) == {"id", "status", "links"}
    assert shop.now("capture", capture["id"])["amount"]["value"] == "1.00"


def test_a_payer_approves_by_the_link_and_then_the_merchant_must_capture(
    shop: Shop, control: ControlClient
) -> None:
    order = shop.order(source=wallet())
    page = link(order, "payer-action")
    with pytest.raises(Refused) as too_early:
        shop.complete(order, None)
    assert page is not None
    back = httpx.get(page)

    assert (order["status"], too_early.value.issue) == ("PAYER_ACTION_REQUIRED", "ORDER_NOT_APPROVED")
    assert back.headers["location"].startswith(f"{RETURN_URL}&token={order['id']}")
    assert shop.now("order", order["id"])["status"] == "APPROVED"
    assert control.record() == []
    assert payment(shop.complete(order, None), "captures")["status"] == "COMPLETED"


def test_a_payer_who_turns_away_may_come_back(shop: Shop, control: ControlClient) -> None:
    order = shop.order(source=wallet())
    page = link(order, "payer-action")
    back = httpx.get(f"{page}&decision=fail")
    after = shop.now("order", order["id"])
    control.decide(order["id"], "succeed")

    assert back.headers["location"].startswith(f"{CANCEL_URL}?token=")
    assert after["status"] == "PAYER_ACTION_REQUIRED"
    assert shop.now("order", order["id"])["status"] == "APPROVED"


def verified(vault_id: str) -> Json:
    card = {"vault_id": vault_id, "attributes": {"verification": {"method": "SCA_WHEN_REQUIRED"}}}
    return {"payment_source": {"card": {**card, "experience_context": {"return_url": RETURN_URL}}}}


@pytest.mark.parametrize(
    ("decision", "status", "shift"), [("succeed", "APPROVED", "POSSIBLE"), ("fail", "CREATED", "NO")]
)
def test_a_cardholder_is_asked_if_verification_is(
    shop: Shop, control: ControlClient, decision: str, status: str, shift: str
) -> None:
    order = shop.order()
    asked = shop.call("POST", f"/v2/checkout/orders/{order['id']}/capture", verified("sim-card-3ds"))
    httpx.get(f"{link(asked, 'payer-action')}&decision={decision}")
    after = shop.now("order", order["id"])

    assert asked["status"] == "PAYER_ACTION_REQUIRED"
    assert (after["status"], after["payment_source"]["card"]["authentication_result"]["liability_shift"]) == (
        status,
        shift,
    )
    assert control.record() == []


def test_a_saved_wallet_may_want_the_payer(shop: Shop) -> None:
    order = shop.order()
    with pytest.raises(Refused) as refused:
        shop.complete(order, "sim-wallet-payer-action")

    assert refused.value.issue == "PAYER_ACTION_REQUIRED"
    assert link(refused.value.body, "payer-action") is not None
    assert shop.now("order", order["id"])["status"] == "PAYER_ACTION_REQUIRED"


@pytest.mark.parametrize("intent", ["CAPTURE", "AUTHORIZE"])
@pytest.mark.parametrize(
    ("vault_id", "code", "advice"), [("sim-card-5120", "5120", None), ("sim-card-0500-03", "0500", "03")]
)
def test_a_bank_declines_and_the_order_tells_why(
    shop: Shop, control: ControlClient, intent: str, vault_id: str, code: str, advice: str | None
) -> None:
    completed = shop.complete(shop.order(intent=intent), vault_id)
    declined = payment(completed, "captures" if intent == "CAPTURE" else "authorizations")

    assert completed["status"] == "COMPLETED"
    assert declined["status"] == ("DECLINED" if intent == "CAPTURE" else "DENIED")
    assert (
        declined["processor_response"]["response_code"],
        declined["processor_response"].get("payment_advice_code"),
    ) == (
        code,
        advice,
    )
    assert control.record() == []


def test_paypal_refuses_and_another_method_may_pay(shop: Shop, control: ControlClient) -> None:
    order = shop.order()
    for vault_id, issue in [
        ("sim-wallet-INSTRUMENT_DECLINED", "INSTRUMENT_DECLINED"),
        ("sim-wallet-nobody", "TOKEN_ID_NOT_FOUND"),
    ]:
        with pytest.raises(Refused) as refused:
            shop.complete(order, vault_id)
        assert (refused.value.status, refused.value.issue) == (422, issue)

    assert shop.complete(order, "sim-wallet")["status"] == "COMPLETED"
    assert len(control.record()) == 1


def test_an_order_is_paid_once(shop: Shop, control: ControlClient) -> None:
    captured, held = shop.order(), shop.order(intent="AUTHORIZE")
    issues = []
    for order in (captured, held):
        shop.complete(order)
        with pytest.raises(Refused) as refused:
            shop.complete(order)
        issues.append(refused.value.issue)
    with pytest.raises(Refused) as mixed_up:
        shop.complete({**shop.order(), "intent": "AUTHORIZE"})

    assert issues == ["ORDER_ALREADY_CAPTURED", "ORDER_ALREADY_AUTHORIZED"]
    assert mixed_up.value.issue == "ACTION_DOES_NOT_MATCH_INTENT"
    assert len(control.record()) == 2


def test_an_open_order_can_be_patched_and_a_completed_one_not(shop: Shop) -> None:
    order = shop.order(custom_id="a")
    path, place = f"/v2/checkout/orders/{order['id']}", "/purchase_units/@reference_id=='default'/"
    change = [{"op": "replace", "path": f"{place}custom_id", "value": "b"}]

    shop.call("PATCH", path, change)
    assert shop.answer.status_code == 204
    assert shop.now("order", order["id"])["purchase_units"][0]["custom_id"] == "b"
    shop.call("PATCH", path, [{"op": "remove", "path": f"{place}custom_id"}])
    assert "custom_id" not in shop.now("order", order["id"])["purchase_units"][0]
    for wrong, issue in [
        ([{"op": "replace", "path": f"{place}payments", "value": "b"}], "NOT_PATCHABLE"),
        ([{"op": "replace", "path": f"{place}custom_id"}], "PATCH_VALUE_REQUIRED"),
    ]:
        with pytest.raises(Refused) as refused:
            shop.call("PATCH", path, wrong)
        assert refused.value.issue == issue
    shop.complete(order)
    with pytest.raises(Refused) as too_late:
        shop.call("PATCH", path, change)
    assert too_late.value.issue == "ORDER_ALREADY_COMPLETED"


def test_an_order_that_nobody_completes_is_forgotten(shop: Shop, control: ControlClient) -> None:
    open_order, paid = shop.order(), shop.order()
    shop.complete(paid)
    control.advance_clock(3 * 3600)

    with pytest.raises(Refused) as gone:
        shop.now("order", open_order["id"])
    assert (gone.value.status, gone.value.issue) == (404, "INVALID_RESOURCE_ID")
    assert shop.now("order", paid["id"])["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("unit", "status", "issue", "field"),
    [
        (
            {"amount": {"currency_code": "EUR"}},
            400,
            "MISSING_REQUIRED_PARAMETER",
            "/purchase_units/0/amount/value",
        ),
        (
            {"amount": {"currency_code": "EUR", "value": "ten"}},
            400,
            "INVALID_PARAMETER_SYNTAX",
            "/purchase_units/0/amount/value",
        ),
        ({"custom_id": "x" * 128}, 400, "INVALID_STRING_LENGTH", "/purchase_units/0/custom_id"),
        ({"custom": "x"}, 400, "INVALID_PARAMETER_SYNTAX", "/purchase_units/0/custom"),
        (
            {"amount": {"currency_code": "XXX", "value": "1"}},
            422,
            "INVALID_CURRENCY_CODE",
            "/purchase_units/0/amount/currency_code",
        ),
        (
            {"amount": {"currency_code": "EUR", "value": "1.001"}},
            422,
            "DECIMAL_PRECISION",
            "/purchase_units/0/amount/value",
        ),
        (
            {"amount": {"currency_code": "JPY", "value": "1.00"}},
            422,
            "DECIMAL_PRECISION",
            "/purchase_units/0/amount/value",
        ),
        (
            {"amount": {"currency_code": "EUR", "value": "0.00"}},
            422,
            "CANNOT_BE_ZERO_OR_NEGATIVE",
            "/purchase_units/0/amount/value",
        ),
    ],
)
def test_a_wrong_order_is_refused_by_name(
    shop: Shop, unit: Json, status: int, issue: str, field: str
) -> None:
    with pytest.raises(Refused) as refused:
        shop.order(**unit)

    assert (refused.value.status, refused.value.issue, refused.value.field) == (status, issue, field)
