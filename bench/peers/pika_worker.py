"""pika's BlockingConnection, as in its guide "Using Delivery Confirmations with the BlockingConnection"."""

from __future__ import annotations

import json
import signal
import time

import pika
import psycopg
from pika.adapters.blocking_connection import BlockingChannel

from bench.peers import work


def main() -> None:
    """Consume until killed."""
    database = psycopg.connect(work.DATABASE_URL, autocommit=True)
    connection = pika.BlockingConnection(pika.URLParameters(work.BROKER_URL))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(work.COMMANDS, durable=True, arguments=work.QUORUM)
    channel.basic_qos(prefetch_count=50)

    def on_message(
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        _properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        command = json.loads(body)
        if not work.is_known(database, command):
            if work.GATEWAY_S:
                time.sleep(work.GATEWAY_S)
            work.book(database, command)
        channel.basic_publish(
            exchange=work.EVENTS,
            routing_key=work.EVENT_KEY,
            body=work.event(command),
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=command["payment_id"],
            ),
        )
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(work.COMMANDS, on_message)
    signal.signal(signal.SIGTERM, lambda *_: connection.add_callback_threadsafe(channel.stop_consuming))
    channel.start_consuming()


if __name__ == "__main__":
    main()
