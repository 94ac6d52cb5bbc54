"""PayPal's own OpenAPI files as a contract, and an application around the simulator that holds every call to it.

The files are PayPal's data: neither the simulator nor the service has a part in them, so they can disagree.
They lie merged into one, in which objects refuse fields they do not know. What that leaves open is closed here:
a schema put together from others (`allOf`) refuses unknown fields where it is used as a whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jsonschema import Draft202012Validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Json = dict[str, Any]

SPEC = "paypal/paypal-merged.strict.prism.json"
SPECS = Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[4] / "shared" / "specs")

ORDERS, PAYMENTS = "checkout_orders", "payments_payment"
DESCRIBED = [
    f"{ORDERS}_{name}" for name in ("error_details", "purchase_unit_request", "purchase_unit", "item")
]
SET_ASIDE = "x-original-pattern"
CARD_VERIFICATION: Json = {
    "type": "object",
    "properties": {"method": {"type": "string", "enum": ["SCA_ALWAYS", "SCA_WHEN_REQUIRED"]}},
    "additionalProperties": False,
}


def _mended(spec: Json) -> Json:
    """Put back what the merged file lacks, knowingly, and nothing else."""
    schemas = spec["components"]["schemas"]
    # The merge left out every text named `description`, and with it the properties of that name.
    for name in [*DESCRIBED, f"{PAYMENTS}_error_details"]:
        schemas[name]["properties"]["description"] = {"type": "string"}
    # In PayPal's documentation, and not yet in its files of February 2024:
    # developer.paypal.com/api/orders-v2/save-with-purchase/cards
    schemas[f"{ORDERS}_card_attributes"]["properties"]["verification"] = CARD_VERIFICATION
    _put_back_patterns(schemas)
    return spec


def _put_back_patterns(schema: Any) -> None:
    """The merge set aside the patterns that JavaScript does not compile; Python compiles them all."""
    if isinstance(schema, dict):
        if SET_ASIDE in schema:
            schema["pattern"] = schema.pop(SET_ASIDE)
        for inner in schema.values():
            _put_back_patterns(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _put_back_patterns(inner)


class Contract:
    """What may be sent to PayPal, and what PayPal answers."""

    def __init__(self, spec: Json) -> None:
        self.schemas: Json = spec["components"]["schemas"]
        self._bodies: Json = spec["components"]["requestBodies"]
        self._components = {"schemas": {name: self._closed(one) for name, one in self.schemas.items()}}
        self._endpoints = [
            (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), endpoint)
            for path, methods in spec["paths"].items()
            for method, endpoint in methods.items()
            if path.startswith(("/v1/oauth2", "/v2/"))
        ]
        self._validators: dict[str, Draft202012Validator] = {}

    def endpoint(self, method: str, path: str) -> Json | None:
        """The endpoint a call goes to, or None."""
        for known, pattern, endpoint in self._endpoints:
            if known == method and pattern.fullmatch(path):
                return dict(endpoint)
        return None

    def used_schemas(self) -> set[str]:
        """The names of all schemas that any endpoint of orders and payments refers to, however deep."""
        endpoints = [endpoint for _, _, endpoint in self._endpoints]
        todo = list(_references([endpoints, list(self._bodies.values())]))
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo.extend(_references(self.schemas[name]))
        return seen

    def faults_of_request(self, method: str, path: str, body: object) -> list[str]:
        """What is wrong with a request; nothing, if all is well."""
        endpoint = self.endpoint(method, path)
        if endpoint is None:
            return [f"no endpoint {method} {path}"]
        content = self._resolved(endpoint.get("requestBody", {})).get("content", {})
        schemas = [one["schema"] for one in content.values()]
        if not schemas:
            return [] if body is None else ["a body where there is none"]
        return self._faults(f"{method} {endpoint['operationId']}", {} if body is None else body, schemas[0])

    def faults_of_answer(self, method: str, path: str, status: int, body: object) -> list[str]:
        """What is wrong with an answer, good or bad; nothing, if all is well."""
        endpoint = self.endpoint(method, path) or {"responses": {}, "operationId": "none"}
        response = endpoint["responses"].get(str(status))
        if response is None:
            # Conflicts and rate limits may come anywhere, and are not listed at every endpoint.
            anywhere = {409: f"{PAYMENTS}_error_409", 429: None, 500: f"{ORDERS}_error_500"}
            if status not in anywhere:
                return [f"{method} {path} never answers {status}"]
            name = anywhere[status]
            schema: Json = {"$ref": f"#/components/schemas/{name}"} if name else {}
        else:
            contents = list(response.get("content", {}).values())
            schema = contents[0]["schema"] if contents else {}
        if status == 204:
            return [] if body is None else ["204 with a body"]
        return self._faults(f"{endpoint['operationId']} {status}", body, schema)

    def _resolved(self, body: Json) -> Json:
        name = body.get("$ref", "").rpartition("/")[2]
        return dict(self._bodies[name]) if name else body

    def _faults(self, name: str, value: object, schema: Json) -> list[str]:
        if name not in self._validators:
            whole = {**self._shut(schema), "components": self._components}
            self._validators[name] = Draft202012Validator(whole)
        return [f"{error.json_path}: {error.message}" for error in self._validators[name].iter_errors(value)]

    def _closed(self, schema: Any, *, within_all_of: bool = False) -> Any:
        """The schema, in which every use of one put together from others refuses fields none of them knows."""
        if isinstance(schema, list):
            return [self._closed(one, within_all_of=within_all_of) for one in schema]
        if not isinstance(schema, dict):
            return schema
        closed = {
            key: self._closed(one, within_all_of=key == "allOf")
            for key, one in schema.items()
            if key != "example"
        }
        return closed if within_all_of else self._shut(closed)

    def _shut(self, schema: Any) -> Any:
        name = schema.get("$ref", "").rpartition("/")[2] if isinstance(schema, dict) else ""
        if "allOf" in self.schemas.get(name, {}):
            return {**schema, "unevaluatedProperties": False}
        return schema


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/components/schemas/"):
            yield reference.rpartition("/")[2]
        for inner in schema.values():
            yield from _references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


@cache
def contract() -> Contract | None:
    """The contract, if it lies where it should."""
    path = SPECS / SPEC
    return Contract(_mended(json.loads(path.read_text()))) if path.is_file() else None


class CheckedApp:
    """An application in front of the simulator that notes every breach of the contract.

    A breach cannot be raised here, in the server's thread: the test asks for `breaches` when it is over.
    """

    def __init__(self, app: ASGIApp | None = None) -> None:
        self.app = app
        self.breaches: list[str] = []
        self.checked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "no test has the stage"
        by = contract()
        if by is None or not scope["path"].startswith(("/v1/oauth2/", "/v2/")):
            await self.app(scope, receive, send)
            return
        sent, answered = bytearray(), bytearray()
        status: list[int] = []

        async def listening() -> Message:
            message = await receive()
            sent.extend(message.get("body", b""))
            return message

        async def repeating(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
            answered.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # Before the caller hears the end of it: afterwards the test may be over.
                self._check(by, scope, bytes(sent), status[0], bytes(answered))
            await send(message)

        await self.app(scope, listening, repeating)

    def _check(self, by: Contract, scope: Scope, sent: bytes, status: int, answered: bytes) -> None:
        method, path = scope["method"], scope["path"]
        # The files say no more of a call for a token than how it succeeds.
        if answered.startswith(b"<html>") or (path == "/v1/oauth2/token" and status != 200):
            return
        self.checked += 1
        faults = by.faults_of_answer(method, path, status, json.loads(answered) if answered else None)
        # A request PayPal would not know may be sent, but not be served.
        if status < 400:
            faults += by.faults_of_request(method, path, _sent(scope, sent))
        self.breaches += [f"{method} {path} {status}: {fault}" for fault in faults]


def _sent(scope: Scope, body: bytes) -> object:
    if not body:
        return None
    if (b"content-type", b"application/x-www-form-urlencoded") in scope["headers"]:
        return {name: values[0] for name, values in parse_qs(body.decode()).items()}
    return json.loads(body)
