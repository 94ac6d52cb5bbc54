"""The worker's cycle on RabbitMQ and PostgreSQL: the arrows that depend on them most, and what only AMQP carries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pika
import pytest

from consumers.topology import PAYMENT_COMMANDS
from tests.consumers.workshop import DEATHS, Hire, Neighbour, Place, hiring


@pytest.fixture
def hire(vhost: str, database: str, tmp_path: Path) -> Iterator[Hire]:
    """Hires workers on real servers."""
    with hiring(Place(directory=tmp_path, broker_url=vhost, ledger_url=database)) as hire:
        yield hire


@pytest.mark.parametrize("death", DEATHS)
def test_wherever_a_worker_dies_the_next_one_finishes_its_work_once(hire: Hire, death: str) -> None:
    first = hire()
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1)
        DEATHS[death](first)
        first.until_killed()

        second = hire()
        second.until_quiet()
        heard = neighbour.listen()

    assert second.executions() == {"pay_1.a1": 1}
    assert {event.id for event in heard} == {"pay_1.e1"}
    assert {event.type for event in heard} == {"PaymentSucceeded"}


def test_a_dead_letter_keeps_headers_of_every_kind_amqp_knows(hire: Hire, vhost: str) -> None:
    worker = hire()
    headers: dict[str, Any] = {
        "text": "ünïcode €",
        "bytes that are no text": b"\xff\xfe\x00",
        "flag": True,
        "count": 2**40,
        "negative": -1,
        "decimal": Decimal("19.99"),
        "ratio": 0.5,
        "when": datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
        "nothing": None,
        "list": [1, "two", [3]],
        "table": {"inner": {"more": 1}},
        "": "a name of no length",
    }
    headers = {name: value for name, value in headers.items() if not isinstance(value, float)}  # pika cannot
    body = bytes(range(256)) * 16
    with pika.BlockingConnection(pika.URLParameters(vhost)) as connection:
        channel = connection.channel()
        properties = pika.BasicProperties(headers=headers, delivery_mode=2, content_type="image/png")
        channel.basic_publish("payments.commands", "payment.requested", body, properties)

        worker.until_quiet()
        method, kept, dead = channel.basic_get(f"{PAYMENT_COMMANDS}.dead", auto_ack=True)

    assert method is not None
    assert dead == body
    assert {name: kept.headers[name] for name in headers} == headers
    assert kept.headers["fail-reason"] == "missing_field"
    assert kept.content_type == "image/png"


def test_a_message_whose_properties_cannot_be_read_is_kept_with_its_body(hire: Hire, vhost: str) -> None:
    worker = hire()
    with pika.BlockingConnection(pika.URLParameters(vhost)) as connection:
        channel = connection.channel()
        properties = pika.BasicProperties(
            headers={"far": datetime(9999, 12, 31, tzinfo=UTC)}, delivery_mode=2
        )
        properties.timestamp = 2**63 - 1
        channel.basic_publish("payments.commands", "payment.requested", b"body", properties)

        worker.until_quiet()
        method, kept, dead = channel.basic_get(f"{PAYMENT_COMMANDS}.dead", auto_ack=True)

    assert method is not None
    assert dead == b"body"
    assert kept.headers["fail-queue"] == PAYMENT_COMMANDS


def test_an_id_no_database_could_store_is_kept_for_a_person_and_hurts_nobody(hire: Hire) -> None:
    worker = hire()
    with Neighbour(worker.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1)
        neighbour.ask("PaymentRequested", "msg\0", payment_id="pay_2")
        neighbour.pay(3)
        worker.until_quiet()

        (letter,) = neighbour.dead_letters()
        heard = [event.about for event in neighbour.listen()]

    assert letter.headers["cloudEvents_id"] == "msg\0"
    assert sorted(heard) == ["pay_1", "pay_3"]
