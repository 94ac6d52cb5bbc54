"""The contract derived from the Stripe SDK's typings, and a client of that SDK that checks every call by it.

The contract is data of its own: neither the simulator nor the service has a part in it, so it can disagree.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema import Draft202012Validator
from stripe._http_client import HTTPXClient

Json = dict[str, Any]

CONTRACT = "stripe/stripe-sdk-16.1.0.contract.json"
SPECS = Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[4] / "shared" / "specs")


class ContractBroken(AssertionError):
    """A request the SDK's typings do not allow was accepted, or an answer is not as they say."""


class Contract:
    """What the SDK may send, and what it expects to get."""

    def __init__(self, content: Json) -> None:
        self.content = content
        self._endpoints = [
            (endpoint["method"], re.compile(re.sub(r"\{\w+\}", "[^/]+", endpoint["path"])), endpoint)
            for endpoint in sorted(content["endpoints"], key=lambda endpoint: "{" in endpoint["path"])
        ]
        self._validators: dict[str, Draft202012Validator] = {}

    def endpoint(self, method: str, path: str) -> Json:
        """The endpoint a call goes to."""
        for known, pattern, endpoint in self._endpoints:
            if known == method and pattern.fullmatch(path):
                return dict(endpoint)
        raise ContractBroken(f"no endpoint {method} {path}")

    def faults_of_request(self, method: str, url: str, body: str) -> list[str]:
        """What is wrong with a request; nothing, if all is well."""
        parts = urlsplit(url)
        schema = self.endpoint(method, parts.path)["request"]
        sent = self._typed(_decoded(parts.query if method == "GET" else body), schema)
        return self._faults(f"{method} {parts.path}", sent, schema)

    def faults_of_answer(self, method: str, path: str, answer: Json) -> list[str]:
        """What is wrong with a good answer, down to every object within it."""
        expected = self.endpoint(method, path)["response"]
        named = [] if answer.get("object") == expected else [f"a {answer.get('object')} and not a {expected}"]
        return named + self.faults_of_objects(answer)

    def faults_of_error(self, answer: Json) -> list[str]:
        """What is wrong with an error, down to every object within it."""
        error = answer.get("error")
        if not isinstance(error, dict):
            return ["no error object"]
        schema = self.content["$defs"]["res.LastPaymentError"]
        unknown = sorted(set(error) - set(schema["properties"]))
        return [*self._faults("error", error, schema), *unknown, *self.faults_of_objects(error)]

    def faults_of_objects(self, value: object) -> list[str]:
        """What is wrong with the objects anywhere in a value; fields the SDK does not know are faults."""
        return [fault for item in _objects(value) for fault in self._faults_of_object(item)]

    def _faults_of_object(self, item: Json) -> list[str]:
        schema = self.content["objects"].get(item["object"])
        if schema is None:
            return [f"no such object: {item['object']}"]
        unknown = [f"{item['object']}.{name} is unknown" for name in item if name not in schema["properties"]]
        return unknown + self._faults(f"object {item['object']}", item, schema)

    def _faults(self, name: str, value: object, schema: Json) -> list[str]:
        if name not in self._validators:
            whole = {**schema, "$defs": self.content["$defs"]}
            self._validators[name] = Draft202012Validator(whole)
        return [f"{error.json_path}: {error.message}" for error in self._validators[name].iter_errors(value)]

    def _typed(self, value: Any, schema: Json) -> Any:
        """Text from a form as the types that the schema asks for, where it can be read as such."""
        branches = list(self._branches(schema))
        if isinstance(value, dict):
            arrays = [branch for branch in branches if branch.get("type") == "array"]
            if arrays and all(key.isdigit() for key in value):
                return [self._typed(value[key], arrays[0]["items"]) for key in sorted(value, key=int)]
            inner = {k: v for branch in branches for k, v in branch.get("properties", {}).items()}
            return {key: self._typed(item, inner.get(key, {})) for key, item in value.items()}
        types = {branch.get("type") for branch in branches}
        if "integer" in types and re.fullmatch(r"-?\d+", value):
            return int(value)
        return value == "true" if "boolean" in types and value in ("true", "false") else value

    def _branches(self, schema: Json) -> Iterator[Json]:
        if "$ref" in schema:
            yield from self._branches(self.content["$defs"][schema["$ref"].removeprefix("#/$defs/")])
        elif "anyOf" in schema:
            for branch in schema["anyOf"]:
                yield from self._branches(branch)
        else:
            yield schema


@cache
def contract() -> Contract | None:
    """The contract, if it lies where it should."""
    path = SPECS / CONTRACT
    return Contract(json.loads(path.read_text())) if path.is_file() else None


class CheckedClient(HTTPXClient):
    """The SDK's own HTTP client, which holds each request and each answer against the contract."""

    def request(  # type: ignore[override]  # as HTTPXClient itself has it
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send as the SDK does. Raises ContractBroken."""
        content, status, answered = super().request(method, url, headers, post_data)
        _check(method.upper(), url, post_data or "", status, content)
        return content, status, answered

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send as the SDK does. Raises ContractBroken."""
        content, status, answered = await super().request_async(method, url, headers, post_data)
        _check(method.upper(), url, post_data or "", status, content)
        return content, status, answered


def _check(method: str, url: str, body: str, status: int, content: bytes) -> None:
    by = contract()
    if by is None or content.startswith(b"<html>"):
        return
    path = urlsplit(url).path
    answer = json.loads(content)
    refused = by.faults_of_request(method, url, body)
    if refused and status != 400:
        raise ContractBroken(f"{method} {path} was answered {status} in spite of {refused}")
    faults = by.faults_of_answer(method, path, answer) if status == 200 else by.faults_of_error(answer)
    if faults:
        raise ContractBroken(f"{method} {path} {status}: {faults}")


def _objects(value: object) -> Iterator[Json]:
    match value:
        case {"object": "list", "data": [*items]}:
            yield from _objects(items)
        case dict():
            if isinstance(value.get("object"), str):
                yield value
            for inner in value.values():
                yield from _objects(inner)
        case list():
            for inner in value:
                yield from _objects(inner)


def _decoded(encoded: str) -> Json:
    form: Json = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded)):
        *parents, last = key.replace("]", "").split("[")
        inner = form
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return form
