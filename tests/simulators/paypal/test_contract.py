"""The contract itself, and that the check by it can fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from tests.simulators.paypal.contract import (
    DESCRIBED,
    ORDERS,
    PAYMENTS,
    SET_ASIDE,
    SPEC,
    SPECS,
    Contract,
    Json,
    contract,
)
from tests.simulators.paypal.shop import TEN


@pytest.fixture
def by() -> Contract:
    found = contract()
    if found is None:
        pytest.skip(f"no {SPEC} in {SPECS}: set PAYMENTS_SPECS_DIR; the calls were not checked by it")
    return found


def _patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for inner in schema.values():
            yield from _patterns(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _patterns(inner)


def test_every_schema_in_use_compiles(by: Contract) -> None:
    used = by.used_schemas()

    assert f"{ORDERS}_order_request" in used
    assert f"{PAYMENTS}_refund" in used
    for name in used:
        Draft202012Validator.check_schema(by.schemas[name])
        for pattern in _patterns(by.schemas[name]):
            re.compile(pattern)


def test_what_is_mended_was_broken(by: Contract) -> None:
    text = (SPECS / SPEC).read_text()
    spec = json.loads(text)["components"]["schemas"]

    assert SET_ASIDE in text
    assert SET_ASIDE not in json.dumps(by.schemas)
    for name in DESCRIBED:
        assert "description" not in spec[name]["properties"]
    assert "verification" not in spec[f"{ORDERS}_card_attributes"]["properties"]


GOOD: Json = {"intent": "CAPTURE", "purchase_units": [{"amount": TEN}]}


@pytest.mark.parametrize(
    "body",
    [
        {"purchase_units": [{"amount": TEN}]},
        {**GOOD, "intent": "capture"},
        {**GOOD, "intend": "CAPTURE"},
        {**GOOD, "purchase_units": [{"amount": {"currency_code": "EUR", "value": 10}}]},
        {**GOOD, "purchase_units": [{"amount": {"currency_code": "EURO", "value": "10"}}]},
        {**GOOD, "purchase_units": [{"amount": {"currency_code": "EUR", "value": "ten"}}]},
        {**GOOD, "purchase_units": [{"amount": TEN, "custom_ids": "x"}]},
        {**GOOD, "payment_source": {"card": {"vault": "x"}}},
        {**GOOD, "payment_source": {"card": {"vault_id": "not an id"}}},
        {**GOOD, "payment_source": {"paypal": {"experience_context": {"user_action": "PAY"}}}},
    ],
)
def test_a_wrong_request_is_noticed(by: Contract, body: Json) -> None:
    assert by.faults_of_request("POST", "/v2/checkout/orders", GOOD) == []
    assert by.faults_of_request("POST", "/v2/checkout/orders", body) != []


CAPTURE = "/v2/payments/authorizations/0VF52814937998046/capture"


@pytest.mark.parametrize("body", [{"final": True}, {"final_capture": "yes"}, {"amount": {"value": "1"}}])
def test_a_wrong_capture_is_noticed_although_it_is_put_together_from_others(by: Contract, body: Json) -> None:
    assert (
        by.faults_of_request("POST", CAPTURE, {"amount": TEN, "final_capture": True, "invoice_id": "x"}) == []
    )
    assert by.faults_of_request("POST", CAPTURE, body) != []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"id": "2GG279541U471931P", "status": "COMPLETED"}),
        (201, {"id": "2GG279541U471931P", "status": "DONE"}),
        (201, {"id": "2GG279541U471931P", "state": "COMPLETED"}),
        (201, {"id": 2, "status": "COMPLETED"}),
        (422, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": "REFUND_AMOUNT_EXCEEDED"}]}),
        (404, {"name": "NOT_FOUND"}),
        (418, {}),
    ],
)
def test_a_wrong_answer_is_noticed(by: Contract, status: int, body: Json) -> None:
    good = {"id": "2GG279541U471931P", "status": "COMPLETED", "amount": TEN}

    assert by.faults_of_answer("POST", CAPTURE, 201, good) == []
    assert by.faults_of_answer("POST", CAPTURE, status, body) != []


def test_an_endpoint_that_does_not_exist_is_noticed(by: Contract) -> None:
    assert by.faults_of_request("POST", "/v2/checkout/order", GOOD) != []
    assert by.faults_of_request("GET", "/v2/payments/refunds/1", {"a": 1}) != []
