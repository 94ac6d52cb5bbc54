"""PayPal's own file about webhooks as a contract: what an event looks like, and what it is about.

The file says of an event only its frame; what it is about is what PayPal's other files say one gets by asking.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.simulators.paypal.contract import SPECS, Json, contract

SPEC = "paypal/notifications_webhooks_v1.json"
PATHS = {
    "checkout-order": "/v2/checkout/orders/1",
    "authorization": "/v2/payments/authorizations/1",
    "capture": "/v2/payments/captures/1",
    "refund": "/v2/payments/refunds/1",
}


@cache
def events_spec() -> Json | None:
    """The file, if it lies where it should."""
    path = SPECS / SPEC
    return dict(json.loads(path.read_text())) if path.is_file() else None


@cache
def _frame() -> Draft202012Validator:
    spec = events_spec()
    assert spec is not None
    schemas = spec["components"]["schemas"]
    event: Json = {
        **schemas["event"],
        "additionalProperties": False,
        "required": list(schemas["event"]["properties"]),
    }
    # A schema that does not compile raises here: it must not pass for one that fits everything.
    Draft202012Validator.check_schema(event)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    return Draft202012Validator(
        {**event, "components": {"schemas": schemas}}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def faults_of_event(event: Any) -> list[str]:
    """What is wrong with an event; nothing, if all is well."""
    faults = [f"{error.json_path}: {error.message}" for error in _frame().iter_errors(event)]
    by = contract()
    assert by is not None, "the two files lie together"
    path = PATHS.get(event.get("resource_type", ""))
    if path is None:
        return [*faults, "about a resource of no known type"]
    return faults + by.faults_of_answer("GET", path, 200, event.get("resource"))
