"""Adyen's specifications themselves, and that the checks by them can fail."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from simulators.adyen.control_client import AdyenControlClient
from tests.simulators.adyen.contract import (
    CHECKOUT,
    SPECS,
    WEBHOOKS,
    Checkout,
    Json,
    Specification,
    Webhooks,
    checkout,
    webhooks,
)
from tests.simulators.adyen.shop import Shop

SAMPLES = "vectors/adyen/webhook_examples.json"
GOOD: Json = {
    "merchantAccount": "M",
    "reference": "r",
    "amount": {"currency": "EUR", "value": 1},
    "paymentMethod": {"type": "scheme", "storedPaymentMethodId": "t"},
    "returnUrl": "https://shop.example/",
}


def _absent(path: str) -> str:
    return f"no {path} in {SPECS}: set PAYMENTS_SPECS_DIR; the calls were not checked by it"


@pytest.fixture
def api() -> Checkout:
    found = checkout()
    if found is None:
        pytest.skip(_absent(CHECKOUT))
    return found


@pytest.fixture
def told() -> Webhooks:
    found = webhooks()
    if found is None:
        pytest.skip(_absent(WEBHOOKS))
    return found


def _must_compile(specification: Specification) -> None:
    schemas = specification.content["components"]["schemas"]
    assert schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for reference in specification.references():
        here = specification.content
        for part in reference.removeprefix("#/").split("/"):
            here = here[part.replace("~1", "/").replace("~0", "~")]
    for pattern in specification.patterns():
        re.compile(pattern)


def test_every_schema_of_checkout_compiles(api: Checkout) -> None:
    _must_compile(api)


def test_every_schema_of_the_webhooks_compiles(told: Webhooks) -> None:
    _must_compile(told)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"currency": "EUR", "value": "1"}},
        {"amount": {"currency": "EURO", "value": 1}},
        {"amount": None},
        {"reference": "x" * 81},
        {"shopperReference": "xy"},
        {"shopperInteraction": "Present"},
        {"merchantacount": "M"},
        {"paymentMethod": {"type": "scheme", "storedPaymentMethodID": "t"}},
        {"additionalData": {"manualCapture": True}},
    ],
)
def test_a_wrong_request_does_not_pass(api: Checkout, change: Json) -> None:
    assert api.faults_of_request("/v72/payments", GOOD) == []
    assert api.faults_of_request("/v72/payments", {**GOOD, **change}) != []


def test_a_wrong_answer_does_not_pass(api: Checkout) -> None:
    path = "/v72/payments/ABCD/captures"
    good = {
        "merchantAccount": "M",
        "paymentPspReference": "A",
        "pspReference": "B",
        "status": "received",
        "amount": {"currency": "EUR", "value": 1},
    }

    assert api.faults_of_answer(path, 201, good) == []
    assert api.faults_of_answer(path, 201, {**good, "status": "done"}) != []
    assert api.faults_of_answer(path, 201, {k: v for k, v in good.items() if k != "pspReference"}) != []
    assert api.faults_of_answer(path, 200, good) != []
    assert api.faults_of_answer(path, 422, {"status": "422"}) != []


def test_a_wrong_webhook_does_not_pass(told: Webhooks, shop: Shop) -> None:
    shop.pay()
    [item] = shop.told()

    def body(**change: object) -> Json:
        return {"live": "false", "notificationItems": [{"NotificationRequestItem": {**item, **change}}]}

    assert told.faults_of_webhook(body()) == []
    assert told.faults_of_webhook(body(success=True)) != []
    assert told.faults_of_webhook(body(amount={"currency": "EUR"})) != []
    assert told.faults_of_webhook(body(surprise="")) != []


def test_what_the_simulator_tells_has_the_fields_of_adyens_own_samples(
    shop: Shop, control: AdyenControlClient
) -> None:
    path = Path(SPECS / SAMPLES)
    if not path.is_file():
        pytest.skip(_absent(SAMPLES))
    samples = {
        item["eventCode"]: item
        for body in json.loads(path.read_text()).values()
        for wrapped in body.get("notificationItems", [])
        for item in [wrapped["NotificationRequestItem"]]
    }
    held = shop.hold()
    shop.capture(held["pspReference"])
    shop.settle()
    shop.refund(held["pspReference"])
    shop.cancel(held["pspReference"])
    shop.reverse(shop.hold()["pspReference"])
    shop.cancel_by_reference(shop.hold(reference="by-name")["merchantReference"])
    shop.hold()
    shop.settle()
    given = shop.refund(shop.pay()["pspReference"])
    again = shop.refund(shop.pay()["pspReference"])
    shop.settle()
    control.undo(given["pspReference"], "REFUND_FAILED")
    control.undo(again["pspReference"], "REFUNDED_REVERSED")
    control.undo(shop.pay()["pspReference"], "CAPTURE_FAILED")
    control.advance_clock(28 * 24 * 3600)

    told = {item["eventCode"]: item for item in shop.told()}

    events = {"AUTHORISATION", "CAPTURE", "REFUND", "CANCELLATION", "CANCEL_OR_REFUND", "TECHNICAL_CANCEL"}
    assert set(told) == events | {"CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED", "EXPIRE"}
    for event in told:
        assert set(samples[event]) - {"additionalData"} == set(told[event]) - {"additionalData"}
        assert set(samples[event]["amount"]) == set(told[event]["amount"])
