"""A consumer of events, as any other service would be: a queue of its own on `payments.events`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import kombu

from consumers import embedded


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One event as it came over the bus."""

    id: str
    type: str
    routing_key: str
    headers: dict[str, Any]
    body: dict[str, Any]

    @property
    def about(self) -> str:
        """The payment, refund or command the event is about."""
        refund: str | None = self.body.get("refund_id")
        payment: str | None = self.body.get("payment_id")
        return refund or payment or str(self.body["command_id"])


class Listener:
    """Hears every event from its making on; works on RabbitMQ and on the embedded broker."""

    def __init__(self, url: str, *, name: str = "listener") -> None:
        if url.startswith("embedded:"):
            embedded.register()
        self._connection = kombu.Connection(url)
        channel = self._connection.channel()
        channel.exchange_declare(exchange="payments.events", type="topic", durable=True, auto_delete=False)
        channel.queue_declare(
            queue=name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
        channel.queue_bind(queue=name, exchange="payments.events", routing_key="#")
        self._channel = channel
        self._name = name
        self.heard: list[Heard] = []

    def listen(self) -> list[Heard]:
        """Take in what is there, and return all that was ever heard, in order."""
        while (message := self._channel.basic_get(self._name, no_ack=True)) is not None:
            properties = message.properties
            body = message.body
            self.heard.append(
                Heard(
                    id=properties["message_id"],
                    type=properties["type"],
                    routing_key=message.delivery_info["routing_key"],
                    headers=properties.get("application_headers") or {},
                    body=json.loads(body if isinstance(body, str) else bytes(body)),
                )
            )
        return self.heard

    def close(self) -> None:
        """Let the connection go."""
        self._connection.release()
