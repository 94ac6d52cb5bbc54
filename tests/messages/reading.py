"""Reading commands in tests: bytes and headers in, an envelope or the refusal out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from messages.envelope import Envelope, Unreadable, read_command

ATTRIBUTES: dict[str, str] = {
    "specversion": "1.0",
    "id": "msg_1",
    "source": "/order-service",
    "type": "PaymentRequested",
}


def as_headers(prefix: str = "cloudEvents_", **attributes: object) -> dict[str, object]:
    """Attributes as headers; None leaves one out."""
    merged = {**ATTRIBUTES, **attributes}
    return {f"{prefix}{name}": value for name, value in merged.items() if value is not None}


def read_binary(body: object, *, prefix: str = "cloudEvents_", **attributes: object) -> Envelope:
    """Read a body with its attributes in headers; what is not bytes is written as JSON."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_command(content_type="application/json", headers=as_headers(prefix, **attributes), body=text)


def read_structured(
    data: object, *, content_type: str = "application/cloudevents+json", **attributes: object
) -> Envelope:
    """Read a whole event from a body."""
    event = {name: value for name, value in {**ATTRIBUTES, **attributes}.items() if value is not None}
    body = json.dumps({**event, "data": data}).encode()
    return read_command(content_type=content_type, headers={}, body=body)


def refusal(read: Any, *args: object, **kwargs: object) -> Unreadable:
    """Why reading this was refused."""
    with pytest.raises(Unreadable) as caught:
        read(*args, **kwargs)
    return caught.value
