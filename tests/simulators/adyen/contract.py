"""Adyen's own specifications, and a client under its SDK that holds every call against them.

The specifications are data of Adyen's: neither the simulator nor the service has a part in them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from jsonschema import Draft202012Validator

Json = dict[str, Any]

CHECKOUT = "adyen/CheckoutService-v72.json"
WEBHOOKS = "adyen/Webhooks-v1.json"
SPECS = Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[4] / "shared" / "specs")
VERSION = "/v72"


class ContractBroken(AssertionError):
    """A request the specification does not allow was accepted, or an answer is not as it says."""


class Specification:
    """One OpenAPI file: its schemas, compiled when they are first needed."""

    def __init__(self, content: Json) -> None:
        self.content = content
        self._validators: dict[str, Draft202012Validator] = {}

    def faults(self, value: object, schema: Json) -> list[str]:
        """What is wrong with a value; nothing, if all is well."""
        name = json.dumps(schema)
        if name not in self._validators:
            whole = {**schema, "components": self.content["components"]}
            self._validators[name] = Draft202012Validator(whole)
        return [f"{error.json_path}: {error.message}" for error in self._validators[name].iter_errors(value)]

    def references(self) -> Iterator[str]:
        """Every `$ref` in the file."""
        yield from (value for key, value in _pairs(self.content) if key == "$ref" and isinstance(value, str))

    def patterns(self) -> Iterator[str]:
        """Every regular expression in the file."""
        yield from (
            value for key, value in _pairs(self.content) if key == "pattern" and isinstance(value, str)
        )


class Checkout(Specification):
    """What may be sent to Checkout, and what it answers."""

    def faults_of_request(self, path: str, body: object) -> list[str]:
        """What is wrong with a request."""
        content = self._operation(path)["requestBody"]["content"]
        return self.faults(body, content["application/json"]["schema"])

    def faults_of_answer(self, path: str, status: int, body: object) -> list[str]:
        """What is wrong with an answer; a status the specification does not have is held to be an error."""
        responses = self._operation(path)["responses"]
        schema: Json = {"$ref": "#/components/schemas/ServiceError"}
        if str(status) in responses:
            schema = responses[str(status)]["content"]["application/json"]["schema"]
        elif status < 400:
            return [f"{status} is not an answer to {path}"]
        return self.faults(body, schema)

    def _operation(self, path: str) -> Json:
        for known, item in self.content["paths"].items():
            if (
                re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path.removeprefix(VERSION))
                and "post" in item
            ):
                operation: Json = item["post"]
                return operation
        raise ContractBroken(f"no endpoint POST {path}")


class Webhooks(Specification):
    """What Adyen tells by webhook."""

    def faults_of_webhook(self, body: Json) -> list[str]:
        """What is wrong with the body of a webhook, by the schema of its event."""
        [item] = body["notificationItems"]
        event = item["NotificationRequestItem"]["eventCode"]
        content = self.content["webhooks"][f"/{event}"]["post"]["requestBody"]["content"]
        return self.faults(body, content["application/json"]["schema"])


@cache
def checkout() -> Checkout | None:
    """The specification of Checkout, if it lies where it should."""
    path = SPECS / CHECKOUT
    return Checkout(json.loads(path.read_text())) if path.is_file() else None


@cache
def webhooks() -> Webhooks | None:
    """The specification of webhooks, if it lies where it should."""
    path = SPECS / WEBHOOKS
    return Webhooks(json.loads(path.read_text())) if path.is_file() else None


class CheckedClient:
    """Stands under the SDK, and holds each request and each answer against the specification."""

    user_agent = "tests"

    def __init__(self, *, timeout_s: float) -> None:
        self._http = httpx.Client(timeout=timeout_s, trust_env=False)
        self.headers: Mapping[str, str] = {}
        """Those of the last answer."""

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def request(
        self, method: str, url: str, *, json: Json, xapikey: str, headers: dict[str, str]
    ) -> tuple[str, None, int, Mapping[str, str]]:
        """Send as the SDK's own client does. Raises ContractBroken."""
        answer = self._http.request(method, url, json=json, headers={**headers, "x-api-key": xapikey})
        self.headers = answer.headers
        if not answer.text.startswith("<html>"):
            _check(urlsplit(url).path, json, answer.status_code, answer.json())
        return answer.text, None, answer.status_code, answer.headers


def _check(path: str, sent: Json, status: int, answer: Json) -> None:
    by = checkout()
    if by is None:
        return
    refused = by.faults_of_request(path, sent)
    if refused and status < 400:
        raise ContractBroken(f"{path} was answered {status} in spite of {refused}")
    if faults := by.faults_of_answer(path, status, answer):
        raise ContractBroken(f"{path} {status}: {faults}")


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)
