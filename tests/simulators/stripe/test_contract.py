"""The contract itself, and that the check by it can fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from tests.simulators.stripe.contract import CONTRACT, SPECS, Contract, Json, contract


@pytest.fixture
def by() -> Contract:
    found = contract()
    if found is None:
        pytest.skip(f"no {CONTRACT} in {SPECS}: set PAYMENTS_SPECS_DIR; the calls were not checked by it")
    return found


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for inner in schema.values():
            yield from _references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


def test_every_schema_of_the_contract_compiles(by: Contract) -> None:
    content = by.content
    schemas: list[Json] = [
        *(endpoint["request"] for endpoint in content["endpoints"]),
        *content["objects"].values(),
        *content["$defs"].values(),
    ]

    for schema in schemas:
        Draft202012Validator.check_schema(schema)
    defined = {f"#/$defs/{name}" for name in content["$defs"]}
    assert set(_references(schemas)) <= defined


@pytest.mark.parametrize(
    "body",
    [
        "amount=100",
        "amount=ten&currency=eur",
        "amount=100&currency=eur&payment_method_types[0]=card",
        "amount=100&currency=eur&capture_method=later",
        "amount=100&currency=eur&automatic_payment_methods[enable]=true",
    ],
)
def test_a_wrong_request_is_seen(by: Contract, body: str) -> None:
    assert by.faults_of_request("POST", "http://stripe/v1/payment_intents", body)


def test_a_right_request_passes(by: Contract) -> None:
    body = (
        "amount=100&currency=eur&confirm=true&off_session=recurring&allowed_payment_method_types[0]=card"
        "&metadata[1]=one&expand[0]=latest_charge&payment_method_options[card][request_multicapture]=never"
    )

    assert by.faults_of_request("POST", "http://stripe/v1/payment_intents", body) == []


@pytest.mark.parametrize("wrong", [{"amount": "100"}, {"status": "done"}, {"status": None}, {"amout": 100}])
def test_a_wrong_answer_is_seen(by: Contract, wrong: Json) -> None:
    refund = {"object": "refund", "id": "re_1", "amount": 100, "created": 1, "currency": "eur"}
    charge = {"object": "list", "data": [{**refund, **wrong}], "has_more": False, "url": "/v1/refunds"}

    faults = by.faults_of_answer("GET", "/v1/refunds", charge)

    assert bool(faults) is ("status" not in wrong)  # the typings allow any text as a refund's status
