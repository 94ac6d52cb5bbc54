"""One JSON Schema for each message, from its model, for other teams to validate against."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from messages.commands import COMMANDS
from messages.envelope import data_schema
from messages.events import EVENTS
from ops.message_examples import COMMAND_EXAMPLES, EVENT_EXAMPLES

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_BESIDES = (
    "Checked besides: `currency` is in ISO 4217; amounts have no decimal point; no field is there twice"
)

_RULES: dict[str, Schema] = {
    "PaymentRequested": {
        "oneOf": [
            {"required": ["payment_method"], "properties": {"payment_method": {"type": "object"}}},
            {"required": ["payment_method_id"], "properties": {"payment_method_id": {"type": "string"}}},
        ],
        "$comment": (
            f"{_BESIDES}; `gateway` and `payment_method.gateway` agree if both are given; "
            "`alternatives` name their gateways, one token for each."
        ),
    },
    "CaptureRequested": {"$comment": f"{_BESIDES}."},
    "RefundRequested": {"$comment": f"{_BESIDES}."},
}
"""What a model checks in code, so that no schema can be derived from it."""

_WORDS = {
    "Money": 'A whole number of minor units of one currency: {"minor": 1999, "currency": "EUR"} is 19.99 EUR.'
}
"""Descriptions for readers who do not know our classes, instead of the docstring."""

_FIRST = ("$schema", "$id", "title", "description", "$comment", "type", "properties", "required")
_LAST = ("$defs", "examples")


class _Untitled(GenerateJsonSchema):
    """Leaves out titles made from field names: they say the name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def message_schemas() -> dict[str, Schema]:
    """Make the schema of every message, by wire name: commands first, then events."""
    return {name: message_schema(name) for name in (*COMMANDS, *EVENTS)}


def message_schema(name: str) -> Schema:
    """Make the schema of one message.

    Commands are closed: a field we do not know is refused. Events are open: fields may be added within a
    major version, and consumers ignore those they do not know.
    """
    if name in COMMANDS:
        schema = {**_with_positive_amounts(_derived(COMMANDS[name], "validation")), **_RULES.get(name, {})}
        examples = COMMAND_EXAMPLES[name]
    else:
        schema = _opened(_derived(EVENTS[name], "serialization"))
        examples = EVENT_EXAMPLES[name]
    named = {**schema, "$schema": DRAFT, "$id": data_schema(name), "examples": deepcopy(examples)}
    return {key: named[key] for key in sorted(named, key=_place)}


def _derived(model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
    derived = model.model_json_schema(mode=mode, schema_generator=_Untitled)
    for name, definition in derived.get("$defs", {}).items():
        definition["description"] = _WORDS.get(name, definition["description"])
    tidied: Schema = _tidied(derived)
    return tidied


def _tidied(node: Any) -> Any:
    """Say it so that drafts 7 and 2020-12 agree on what it means: AsyncAPI reads the former."""
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, dict):
        return node
    tidied = {key: _tidied(value) for key, value in node.items() if (key, value) != ("default", None)}
    if "$ref" in tidied and len(tidied) > 1:  # in draft 7, `$ref` hides what stands beside it
        tidied["allOf"] = [{"$ref": tidied.pop("$ref")}]
    if tidied.get("type") == "object" and "maxLength" in tidied:
        # pydantic sees no dictionary behind a validator, and takes its length for that of a text.
        tidied["maxProperties"] = tidied.pop("maxLength")
    return tidied


def _with_positive_amounts(schema: Schema) -> Schema:
    """What a command asks to move is never zero; events may well say that nothing is left."""
    renamed: Schema = _replaced(schema, "#/$defs/Money", "#/$defs/PositiveMoney")
    definitions = renamed.get("$defs", {})
    if "Money" in definitions:
        money = {**definitions.pop("Money"), "title": "PositiveMoney"}
        minor = {**money["properties"]["minor"], "minimum": 1}
        definitions["PositiveMoney"] = {**money, "properties": {**money["properties"], "minor": minor}}
    return renamed


def _opened(node: Any) -> Any:
    """Allow added fields, and drop null: a field without a value is left out on the wire."""
    if isinstance(node, list):
        return [_opened(each) for each in node]
    if not isinstance(node, dict):
        return node
    opened = {
        key: _opened(value) for key, value in node.items() if (key, value) != ("additionalProperties", False)
    }
    match opened.get("anyOf"):
        case [{**value}, {"type": "null"}]:
            del opened["anyOf"]
            opened = {**opened, **value}
    return opened


def _replaced(node: Any, old: str, new: str) -> Any:
    if isinstance(node, list):
        return [_replaced(each, old, new) for each in node]
    if isinstance(node, dict):
        return {key: _replaced(value, old, new) for key, value in node.items()}
    return new if node == old else node


def _place(key: str) -> int:
    """Sort the keys of a schema in the order people read them; the sort is stable for those in between."""
    if key in _FIRST:
        return _FIRST.index(key)
    return len(_FIRST) + (1 + _LAST.index(key) if key in _LAST else 0)
