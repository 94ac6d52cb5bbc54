"""kombu's ConsumerProducerMixin, as in its user guide; its publisher waits for the broker's confirm."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import kombu
import psycopg
from kombu.mixins import ConsumerProducerMixin

from bench.peers import work

QUEUE = kombu.Queue(work.COMMANDS, queue_arguments=work.QUORUM)
EVENTS = kombu.Exchange(work.EVENTS, type="topic", durable=True)


class Worker(ConsumerProducerMixin):
    """Consumes commands one after the other."""

    def __init__(self, connection: kombu.Connection) -> None:
        self.connection = connection
        self.database = psycopg.connect(work.DATABASE_URL, autocommit=True)

    def get_consumers(self, consumer: Callable[..., Any], _channel: object) -> list[Any]:
        """Consume the commands."""
        return [consumer(queues=[QUEUE], on_message=self.on_message, prefetch_count=50)]

    def on_message(self, message: kombu.Message) -> None:
        """Pay, book, publish, acknowledge."""
        command = json.loads(message.body)
        if not work.is_known(self.database, command):
            if work.GATEWAY_S:
                time.sleep(work.GATEWAY_S)
            work.book(self.database, command)
        self.producer.publish(
            work.event(command),
            exchange=EVENTS,
            routing_key=work.EVENT_KEY,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=command["payment_id"],
        )
        message.ack()


def main() -> None:
    """Consume until killed."""
    with kombu.Connection(work.BROKER_URL, transport_options={"confirm_publish": True}) as connection:
        worker = Worker(connection)

        def stop(*_: object) -> None:
            worker.should_stop = True

        signal.signal(signal.SIGTERM, stop)
        worker.run()


if __name__ == "__main__":
    main()
