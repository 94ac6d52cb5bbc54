"""A dramatiq actor on its RabbitMQ broker, with confirmed deliveries and threads, as its guide shows.

dramatiq declares its own queues; quorum queues are asked for as its RabbitmqBroker lets one: by queue arguments.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import dramatiq
import pika
import psycopg
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.peers import work


class QuorumBroker(RabbitmqBroker):
    """Declares quorum queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {**super()._build_queue_arguments(queue_name), **work.QUORUM}


broker = QuorumBroker(url=work.BROKER_URL, confirm_delivery=True)
dramatiq.set_broker(broker)


class _PerThread(threading.local):
    """A database connection and a publishing channel for each thread."""

    def __init__(self) -> None:
        self.database = psycopg.connect(work.DATABASE_URL, autocommit=True)
        self.channel = pika.BlockingConnection(pika.URLParameters(work.BROKER_URL)).channel()
        self.channel.confirm_delivery()


_mine: _PerThread | None = None
_opening = threading.Lock()


def _lines() -> _PerThread:
    global _mine
    with _opening:
        if _mine is None:
            _mine = _PerThread()
    return _mine


@dramatiq.actor(queue_name=work.COMMANDS, max_retries=0)
def pay(command: dict[str, Any]) -> None:
    """Pay, book, publish; dramatiq acknowledges when this returns."""
    lines = _lines()
    if not work.is_known(lines.database, command):
        if work.GATEWAY_S:
            time.sleep(work.GATEWAY_S)
        work.book(lines.database, command)
    lines.channel.basic_publish(
        exchange=work.EVENTS,
        routing_key=work.EVENT_KEY,
        body=work.event(command),
        properties=pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=command["payment_id"],
        ),
    )
