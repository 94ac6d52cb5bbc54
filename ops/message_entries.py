"""The messages of the AsyncAPI document: headers, data, examples of each command, event and dead letter."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from messages.commands import COMMANDS
from messages.envelope import HEADER_PREFIX, STRUCTURED, data_schema, event_headers
from messages.events import EVENTS
from ops.message_examples import COMMAND_EXAMPLES, COMMAND_ID, EVENT_EXAMPLES, REJECTION_ID, Body

Node = dict[str, Any]

BINDING_VERSION = "0.3.0"
DEAD_LETTER = "DeadLetter"
_TYPES = {**COMMANDS, **EVENTS}


def messages() -> Node:
    """Make the messages of the document: commands in both modes, events, dead letters."""
    made: Node = {}
    for name in COMMANDS:
        made[name] = _message(name, headers=f"{name}Headers", examples=_command_examples(name))
        made[structured(name)] = {
            **_message(name, headers="StructuredHeaders", examples=_structured_examples(name)),
            "title": f"{name}, structured mode",
            "contentType": STRUCTURED,
            "payload": ref("components", "schemas", structured(name)),
        }
        del made[structured(name)]["correlationId"]  # it is in the body
    for name in EVENTS:
        made[name] = _message(name, headers=f"{name}Headers", examples=_event_examples(name))
    made[DEAD_LETTER] = {
        "name": DEAD_LETTER,
        "title": DEAD_LETTER,
        "summary": summary(DEAD_LETTER),
        "description": "It keeps the content type it came with.",
        "contentType": "application/octet-stream",
        "headers": ref("components", "schemas", f"{DEAD_LETTER}Headers"),
        "payload": {},
    }
    return made


def structured(name: str) -> str:
    """Name the structured mode of a command."""
    return f"{name}Structured"


def summary(name: str) -> str:
    """Say in one sentence what a message says."""
    if name == DEAD_LETTER:
        return "A message nobody but a person can act on: its bytes as they came, and the reasons."
    return (_TYPES[name].__doc__ or "").strip()


def ref(*path: str) -> Node:
    """Point to a part of the document."""
    return {"$ref": "#/" + "/".join(path)}


def amqp(**fields: object) -> Node:
    """Make the AMQP binding of a channel, operation or message."""
    return {"amqp": {**fields, "bindingVersion": BINDING_VERSION}}


def _message(name: str, *, headers: str, examples: list[Node]) -> Node:
    return {
        "name": name,
        "title": name,
        "summary": summary(name),
        "contentType": "application/json",
        "headers": ref("components", "schemas", headers),
        "payload": ref("components", "schemas", name),
        "correlationId": ref("components", "correlationIds", "command"),
        "bindings": amqp(messageType=name),
        "examples": examples,
    }


def _command_examples(name: str) -> list[Node]:
    return [
        {
            "headers": {f"{HEADER_PREFIX}{key}": value for key, value in _attributes(name).items()},
            "payload": data,
        }
        for data in COMMAND_EXAMPLES[name]
    ]


def _structured_examples(name: str) -> list[Node]:
    return [{"payload": {**_attributes(name), "data": COMMAND_EXAMPLES[name][0]}}]


def _attributes(name: str) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": COMMAND_ID,
        "source": "/order-service",
        "type": name,
        "dataschema": data_schema(name),
    }


def _event_examples(name: str) -> list[Node]:
    return [{"headers": _event_headers(name, data), "payload": data} for data in EVENT_EXAMPLES[name]]


def _event_headers(name: str, data: Body) -> dict[str, str]:
    stream, sequence = data.get("payment_id") or REJECTION_ID, data.get("sequence")
    answered = sequence is not None and data.get("category") != "rejected"
    attempt_id = f"{data['refund_id']}.r1" if "refund_id" in data else f"{stream}.a1"
    return event_headers(
        event_id=f"{stream}.e{sequence or 1}",
        type_name=name,
        subject=data.get("refund_id") or stream,
        time=datetime.fromisoformat(data["occurred_at"]),
        sequence=sequence,
        correlation_id=COMMAND_ID,
        causation_id=attempt_id if answered else COMMAND_ID,
    )
