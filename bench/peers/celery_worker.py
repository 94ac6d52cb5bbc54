"""A celery task that acknowledges late, with quorum queues and confirmed publishes, as celery's guide advises."""

from __future__ import annotations

import time
from typing import Any

import kombu
import psycopg
from celery import Celery
from celery.signals import worker_process_init
from kombu.pools import producers

from bench.peers import work

app = Celery("bench", broker=work.BROKER_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_default_queue=work.COMMANDS,
    task_default_queue_type="quorum",
    task_default_exchange_type="topic",
    broker_transport_options={"confirm_publish": True},
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=4,
    worker_hijack_root_logger=False,
)
EVENTS = kombu.Exchange(work.EVENTS, type="topic", durable=True)
_database: psycopg.Connection[Any] | None = None


@worker_process_init.connect
def _open_database(**_: Any) -> None:
    global _database
    _database = psycopg.connect(work.DATABASE_URL, autocommit=True)


@app.task(name="pay")
def pay(command: dict[str, Any]) -> None:
    """Pay, book, publish; celery acknowledges when this returns."""
    assert _database is not None
    if not work.is_known(_database, command):
        if work.GATEWAY_S:
            time.sleep(work.GATEWAY_S)
        work.book(_database, command)
    with producers[app.connection_for_write()].acquire(block=True) as producer:
        producer.publish(
            work.event(command),
            exchange=EVENTS,
            routing_key=work.EVENT_KEY,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=command["payment_id"],
        )
