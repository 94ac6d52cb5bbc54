"""Schemas of what travels around a message's data: CloudEvents attributes, reasons on dead letters."""

from __future__ import annotations

from consumers.outbound import MAX_DETAIL
from consumers.publisher import APP_ID
from messages.commands import COMMANDS
from messages.envelope import HEADER_PREFIX, SOURCE, data_schema
from messages.events import EVENTS
from ops.message_schemas import Schema

_REQUIRED = ("specversion", "id", "source", "type")  # CloudEvents 1.0, 3.1.1


def message_headers(name: str) -> Schema:
    """Make the schema of the headers a message has in binary mode."""
    if name in COMMANDS:
        attributes = _command_attributes(name)
        required = list(_REQUIRED)
    else:
        attributes = _event_attributes(name)
        required = [key for key in attributes if key != "traceparent"]
    return {
        "type": "object",
        "properties": {f"{HEADER_PREFIX}{key}": rule for key, rule in attributes.items()},
        "required": [f"{HEADER_PREFIX}{key}" for key in required],
    }


def structured_command(name: str, *, data: Schema) -> Schema:
    """Make the schema of a command in structured mode around the schema of its data."""
    return {
        "type": "object",
        "description": f"{name} as a whole CloudEvent.",
        "properties": {**_command_attributes(name), "data": data},
        "required": [*_REQUIRED, "data"],
    }


def dead_letter_headers() -> Schema:
    """Make the schema of the headers a dead letter has besides its own."""
    properties = {
        "fail-reason": _text("A stable code, such as unreadable or handler_failed."),
        "fail-detail": _text("One line for people; never the body.", maxLength=MAX_DETAIL),
        "fail-field": _text("The field at fault, or empty."),
        "fail-attempts": {"type": "integer", "minimum": 1, "description": "How often it was tried."},
        "fail-queue": _text("Where it came from."),
        "fail-exchange": _text("Where it was published."),
        "fail-routing-key": _text("Under which routing key."),
        "fail-first-at": _text("When it failed first.", format="date-time"),
        "fail-at": _text("When it failed last.", format="date-time"),
        "fail-host": _text("The machine of the worker."),
        "fail-fingerprint": _text("The same for failures of the same kind.", pattern="^[0-9a-f]{16}$"),
        "fail-redacted": {"type": "boolean", "description": "Whether something was cut out of the body."},
    }
    return {
        "type": "object",
        "description": "Besides them stand the headers it came with, without the broker's own (x-…). "
        f"Sent with app_id {APP_ID}.",
        "properties": properties,
        "required": list(properties),
    }


def _command_attributes(name: str) -> dict[str, Schema]:
    """What is read of a command's attributes; others, such as time and subject, are allowed and ignored."""
    return {
        "specversion": _text("Taken as 1.0 if it is left out, although CloudEvents demands it.", const="1.0"),
        "id": _text(
            "Yours, unique per source; printable. A repeat has the same id.", minLength=1, maxLength=255
        ),
        "source": _text("Who sends it, such as /order-service; printable.", minLength=1, maxLength=255),
        "type": _text("The command.", const=name),
        "dataschema": _text("Refused if it names another version; may be left out.", const=data_schema(name)),
        "correlationid": _text("Handed on to every event that comes of it; printable. Default: the id."),
        "traceparent": _text("The trace it belongs to (W3C Trace Context); handed on to its events."),
    }


def _event_attributes(name: str) -> dict[str, Schema]:
    attributes = {
        "specversion": _text("CloudEvents.", const="1.0"),
        "id": _text("The same however often the event is published; also the AMQP message_id."),
        "type": _text("The event; also the AMQP type.", const=name),
        "source": _text("This service.", const=SOURCE),
        "subject": _text("The payment or refund it is about."),
        "time": _text("When it was announced: RFC 3339, UTC, with microseconds.", format="date-time"),
        "dataschema": _text("Ends in the major version.", const=data_schema(name)),
        "correlationid": _text("The command that started it all; also the AMQP correlation_id."),
        "causationid": _text("What caused this event: a command, or an attempt whose gateway answered."),
        "traceparent": _text(
            "The trace of the command that brought it about, if it had one (W3C Trace Context)."
        ),
    }
    if "sequence" in EVENTS[name].model_fields:
        attributes["sequence"] = _text("As in the body, zero-padded.", pattern="^[0-9]{10}$")
    return attributes


def _text(description: str, **rules: object) -> Schema:
    return {"type": "string", "description": description, **rules}
