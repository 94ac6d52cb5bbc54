"""A consumer of events that lives through every outage: what it has not acked, the broker gives it again."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import Any

import kombu

from tests.listener import Heard

PAUSE_S = 0.2
READ_TIMEOUT_S = 20.0


class Ear:
    """Hears every event from its making on, in a thread of its own, on a durable queue of its own."""

    def __init__(self, url: str, *, name: str = "chaos-ear") -> None:
        self._url = url
        self.name = name
        """Of its queue."""
        self._heard: list[Heard] = []
        self._times: dict[str, float] = {}
        self._stop = threading.Event()
        self.reconnections = -1
        connection = self._connect()
        self._open(connection)
        connection.release()
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
        self._thread.start()

    @property
    def heard(self) -> list[Heard]:
        """Everything so far, in order, repeats included."""
        return list(self._heard)

    def heard_at(self, kind: str, payment_id: str) -> float | None:
        """When an event was first heard, on the monotonic clock; None: not yet."""
        return self._times.get(f"{kind} {payment_id}")

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(READ_TIMEOUT_S + 10)

    def _connect(self) -> kombu.Connection:
        timeouts = {"connect_timeout": 5, "read_timeout": READ_TIMEOUT_S, "write_timeout": READ_TIMEOUT_S}
        return kombu.Connection(self._url, connect_timeout=5, transport_options=timeouts)

    def _open(self, connection: kombu.Connection) -> Any:
        channel = connection.channel()
        channel.exchange_declare(exchange="payments.events", type="topic", durable=True, auto_delete=False)
        channel.queue_declare(
            queue=self.name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
        channel.queue_bind(queue=self.name, exchange="payments.events", routing_key="#")
        return channel

    def _run(self) -> None:
        while not self._stop.is_set():
            self.reconnections += 1
            connection = self._connect()
            # Whatever the broker is going through just now: it will be there again.
            with suppress(Exception):
                channel = self._open(connection)
                while not self._stop.is_set():
                    if not self._hear_one(channel):
                        time.sleep(PAUSE_S)
            with suppress(Exception):
                connection.release()
            self._stop.wait(PAUSE_S)

    def _hear_one(self, channel: Any) -> bool:
        message = channel.basic_get(self.name, no_ack=False)
        if message is None:
            return False
        properties, body = message.properties, message.body
        event = Heard(
            id=properties["message_id"],
            type=properties["type"],
            routing_key=message.delivery_info["routing_key"],
            headers=properties.get("application_headers") or {},
            body=json.loads(body if isinstance(body, str) else bytes(body)),
        )
        self._heard.append(event)
        self._times.setdefault(f"{event.type} {event.body.get('payment_id')}", time.monotonic())
        channel.basic_ack(message.delivery_tag)
        return True
