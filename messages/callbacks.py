"""What our own webhook ingestor puts on the bus: a gateway's callback, verified and untouched."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from messages.commands import GatewayName, Message

CALLBACKS_EXCHANGE = "payments.callbacks"
CALLBACK_SOURCE = "/webhook-ingestor"


def _is_base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    return text


class GatewayCallbackReceived(Message):
    """A gateway told us something; who sent it was verified at the door, what it says is not believed yet."""

    exchange: ClassVar[str] = CALLBACKS_EXCHANGE
    routing_key: ClassVar[str] = "callback.*"

    gateway: GatewayName
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Those that help to trace it, in lower case. Never a signature or a password.",
    )
    body: Annotated[
        str,
        StringConstraints(max_length=400_000),
        AfterValidator(_is_base64),
        Field(repr=False, description="As it came, in base64."),
    ]
    received_at: datetime = Field(description="UTC.")

    @property
    def content(self) -> bytes:
        """The body as it came."""
        return base64.b64decode(self.body)

    @classmethod
    def of(
        cls, gateway: str, body: bytes, *, headers: dict[str, str], received_at: datetime
    ) -> GatewayCallbackReceived:
        """Wrap what came in."""
        return cls(
            gateway=gateway,
            headers=headers,
            body=base64.b64encode(body).decode(),
            received_at=received_at,
        )


def callback_routing_key(gateway: str) -> str:
    """Where a gateway's callbacks go on the exchange."""
    return f"callback.{gateway}"
