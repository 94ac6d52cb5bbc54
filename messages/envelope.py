"""The CloudEvents 1.0 envelope a message travels in, in binary and in structured mode.

Binary: the body is the data, the attributes are headers `cloudEvents_<name>`. Structured: the whole event is in
the body. The content type decides (CloudEvents AMQP binding, section 3).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from messages.commands import COMMANDS, Command
from messages.events import RejectionReason

MAX_BODY_BYTES = 256 * 1024
"""Bodies above this are refused; RabbitMQ 4 itself stops at 16 MiB."""

MAX_FIELD_NAME = 200
"""Characters of a field's name that are told back: the sender chose them."""

HEADER_PREFIX = "cloudEvents_"
STRUCTURED = "application/cloudevents+json"
SOURCE = "/payment-service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent a command, as far as it could be read: enough to answer, or not."""

    id: str | None = None
    source: str | None = None
    type: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether a rejection can name the command it is about."""
        return bool(self.id and self.source and self.type)


class Unreadable(Exception):
    """The message is not a command we can act on. The text names the field and never quotes the body."""

    def __init__(
        self, reason: RejectionReason, message: str, *, at: str | None = None, sender: Sender
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = at
        self.sender = sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A command and the attributes it came with."""

    id: str
    source: str
    type: str
    correlation_id: str
    command: Command


def read_command(*, content_type: str | None, headers: Mapping[str, object], body: bytes) -> Envelope:
    """Read a command in either mode.

    Raises:
        Unreadable: with the reason, the field, and what is known of the sender.
    """
    sender = _sender_in_headers(headers)
    if len(body) > MAX_BODY_BYTES:
        text = f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken"
        raise Unreadable(RejectionReason.TOO_LARGE, text, sender=sender)
    if _is_structured(content_type):
        attributes, data = _open_structured(body)
    else:
        attributes, data = _attributes_in_headers(headers), body
    return _to_command(attributes, data)


def read_sender(*, content_type: str | None, headers: Mapping[str, object], body: bytes) -> Sender:
    """Read who sent a message in either mode, and nothing else of it; never raises."""
    if not _is_structured(content_type):
        return _sender_in_headers(headers)
    try:
        attributes, _ = _open_structured(body)
    except Unreadable as why:
        return why.sender
    return _sender_in(attributes)


def _is_structured(content_type: str | None) -> bool:
    return content_type is not None and content_type.lower().startswith(STRUCTURED)


def _to_command(attributes: Mapping[str, Any], data: bytes) -> Envelope:
    sender = _sender_in(attributes)
    if attributes.get("specversion") not in ("1.0", None):
        text = "specversion must be 1.0"
        raise Unreadable(RejectionReason.INVALID_FIELD, text, at="specversion", sender=sender)
    for name in ("id", "source", "type"):
        value = getattr(sender, name)
        if not value:
            text = f"the CloudEvents attribute {name} is missing or no text"
            raise Unreadable(RejectionReason.MISSING_FIELD, text, at=name, sender=sender)
        if len(value) > 255 or not value.isprintable():
            text = f"the CloudEvents attribute {name} is up to 255 printable characters"
            raise Unreadable(RejectionReason.INVALID_FIELD, text, at=name, sender=Sender())
    assert sender.id and sender.source and sender.type
    model = COMMANDS.get(sender.type)
    if model is None:
        text = f"no command of this type; known are {', '.join(COMMANDS)}"
        raise Unreadable(RejectionReason.UNKNOWN_TYPE, text, at="type", sender=sender)
    schema = _text(attributes.get("dataschema"))
    if schema is not None and schema != data_schema(sender.type):
        text = f"this service speaks {data_schema(sender.type)}"
        raise Unreadable(RejectionReason.UNKNOWN_VERSION, text, at="dataschema", sender=sender)
    try:
        command = model.model_validate_json(data)
        json.loads(data, object_pairs_hook=_without_repeats)
    except ValidationError as error:
        raise _explained(error, sender) from None
    except RepeatedField as error:
        text = f"{error}: it is there twice, and nobody could tell which one counts"
        raise Unreadable(RejectionReason.INVALID_FIELD, text, at=str(error), sender=sender) from None
    correlation_id = _text(attributes.get("correlationid")) or sender.id
    if not correlation_id.isprintable():
        text = "the CloudEvents attribute correlationid is printable text"
        raise Unreadable(RejectionReason.INVALID_FIELD, text, at="correlationid", sender=sender)
    return Envelope(
        id=sender.id,
        source=sender.source,
        type=sender.type,
        correlation_id=correlation_id[:255],
        command=command,
    )


def _explained(error: ValidationError, sender: Sender) -> Unreadable:
    """Say what is wrong with the first bad field, without quoting its value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    at = ".".join(str(part) for part in problem["loc"])[:MAX_FIELD_NAME] or None
    match problem["type"]:
        case "json_invalid":
            return Unreadable(
                RejectionReason.UNREADABLE, "the body is not valid JSON in UTF-8", sender=sender
            )
        case "missing":
            reason = RejectionReason.MISSING_FIELD
        case "extra_forbidden" | "unexpected_keyword_argument":
            reason = RejectionReason.UNKNOWN_FIELD
        case _:
            reason = RejectionReason.INVALID_FIELD
    message = problem["msg"].removeprefix("Value error, ")
    return Unreadable(reason, f"{at}: {message}" if at else message, at=at, sender=sender)


def _sender_in_headers(headers: Mapping[str, object]) -> Sender:
    return _sender_in(_attributes_in_headers(headers))


def _sender_in(attributes: Mapping[str, object]) -> Sender:
    return Sender(**{name: _text(attributes.get(name)) for name in ("id", "source", "type")})


def _attributes_in_headers(headers: Mapping[str, object]) -> dict[str, object]:
    cut = len(HEADER_PREFIX)
    # The binding allows `cloudEvents:` too and prefers `_`; both have the same length.
    return {
        name[cut:]: value for name, value in headers.items() if name[:cut] in (HEADER_PREFIX, "cloudEvents:")
    }


def _open_structured(body: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        event = json.loads(body.decode(), object_pairs_hook=_without_repeats)
    except RepeatedField as error:
        text = f"{error}: it is there twice, and nobody could tell which one counts"
        raise Unreadable(RejectionReason.INVALID_FIELD, text, at=str(error), sender=Sender()) from None
    except (ValueError, RecursionError):
        text = "the body is not valid JSON in UTF-8"
        raise Unreadable(RejectionReason.UNREADABLE, text, sender=Sender()) from None
    if not isinstance(event, dict):
        raise Unreadable(RejectionReason.UNREADABLE, "a structured event is a JSON object", sender=Sender())
    if "data" not in event:
        sender = _sender_in(event)
        raise Unreadable(RejectionReason.MISSING_FIELD, "data is missing", at="data", sender=sender)
    data = event.pop("data")
    return event, json.dumps(data).encode()


class RepeatedField(ValueError):
    """An object names one field twice; the text is the field's name."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedField(next(name for name in names if names.count(name) > 1)[:MAX_FIELD_NAME])
    return fields


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def data_schema(type_name: str) -> str:
    """Name the schema of a message; the last part is the major version."""
    return f"urn:payment-service:{type_name}:1"


def event_headers(
    *,
    event_id: str,
    type_name: str,
    subject: str,
    time: datetime,
    sequence: int | None,
    correlation_id: str,
    causation_id: str,
) -> dict[str, str]:
    """Write an event's attributes as headers (binary mode)."""
    headers = {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": event_id,
        "cloudEvents_type": type_name,
        "cloudEvents_source": SOURCE,
        "cloudEvents_subject": subject,
        "cloudEvents_time": rfc3339(time),
        "cloudEvents_dataschema": data_schema(type_name),
        "cloudEvents_correlationid": correlation_id,
        "cloudEvents_causationid": causation_id,
    }
    if sequence is not None:
        headers["cloudEvents_sequence"] = f"{sequence:010d}"
    return headers


def rfc3339(time: datetime) -> str:
    """Write a time in UTC with fractions."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
