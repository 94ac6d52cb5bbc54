"""What another team wrote from the contract alone works: orders get their answers, customers their mails, once."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from examples.notification_service import render
from examples.order_service import EVENTS, Orders
from tests.examples.neighbours import Letterbox, Neighbours, mail_server, neighbourhood
from tests.workers import eventually

EVENT = {"payment_id": "pay_1", "order_id": "1", "sequence": 1, "amount": {"minor": 1999, "currency": "EUR"}}


@pytest.fixture
def neighbours(vhost: str, tmp_path: Path) -> Iterator[Neighbours]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with neighbourhood(vhost, tmp_path, smtp_port=port) as opened:
        yield opened


def publish_event(broker_url: str, event_id: str, kind: str, body: dict[str, object]) -> None:
    """Publish an event as the payment service does, to see what a neighbour makes of it."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        connection.channel().basic_publish(
            EVENTS,
            "payment.succeeded",
            json.dumps(body).encode(),
            pika.BasicProperties(message_id=event_id, type=kind, delivery_mode=pika.DeliveryMode.Persistent),
        )


def test_orders_are_asked_for_once_and_followed_to_their_answers(neighbours: Neighbours) -> None:
    first = neighbours.order_service()
    again = neighbours.order_service()

    assert first.returncode == 0, first.stdout + first.stderr
    assert "order 1001: 19.99 EUR paid" in first.stdout
    assert "order 1002: 129.00 EUR not paid (insufficient_funds)" in first.stdout
    assert "order 1003: 42.50 USD paid" in first.stdout
    assert "GAP" not in first.stdout
    assert "asked:" not in again.stdout


def test_an_event_heard_twice_counts_once(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders.db")
    orders.take({"order_id": "1", "minor": 1999, "currency": "EUR", "token": "tok"})

    assert orders.hear("pay_1.e1", "PaymentSucceeded", EVENT)
    assert not orders.hear("pay_1.e1", "PaymentSucceeded", EVENT)
    assert orders.are_settled()


def test_a_missing_event_is_noticed_as_soon_as_a_later_one_is_there(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders.db")
    orders.hear("pay_1.e1", "PaymentAuthorized", EVENT)
    orders.hear("pay_1.e4", "PaymentSucceeded", EVENT | {"sequence": 4})

    assert orders.gaps() == {"pay_1": [2, 3]}


def test_each_event_is_one_mail_though_smtp_was_away_and_the_taker_was_killed(neighbours: Neighbours) -> None:
    letterbox = Letterbox()
    with neighbours.notification_service() as taker:
        assert neighbours.order_service().returncode == 0
        os.kill(taker.pid, signal.SIGKILL)
    publish_event(neighbours.broker_url, "pay_while_away.e1", "PaymentSucceeded", EVENT)
    with neighbours.notification_service(), mail_server(letterbox, port=neighbours.smtp_port):
        publish_event(neighbours.broker_url, "pay_while_away.e1", "PaymentSucceeded", EVENT)
        eventually(lambda: len(letterbox.mails) >= 4, within_s=60, what="all mails have come")
        sent = neighbours.directory / "mails.db"
        eventually(lambda: len(_sent(sent)) == 4, within_s=30, what="they are noted")

    names = [mail["Message-ID"] for mail in letterbox.mails]
    assert sorted(names) == sorted(set(names))
    subjects = sorted(str(mail["Subject"]) for mail in letterbox.mails)
    assert subjects == ["Payment not possible", *["Payment received"] * 3]


def _sent(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        return [row[0] for row in connection.execute("SELECT event_id FROM sent")]


def test_a_mail_says_what_happened_in_words() -> None:
    assert render("PaymentSucceeded", EVENT) == (
        "Payment received",
        "We have received 19.99 EUR for order 1.",
    )
    assert render("PaymentExpiring", EVENT) is None


@pytest.mark.parametrize("name", ["order_service", "notification_service"])
def test_the_examples_know_nothing_of_the_service_but_the_contract(name: str) -> None:
    source = (Path(__file__).parents[2] / "examples" / f"{name}.py").read_text()
    ours = (
        "messages",
        "ledger",
        "gateways",
        "handlers",
        "consumers",
        "ops",
        "webhooks",
        "simulators",
        "tests",
    )

    assert not [word for word in ours if f"import {word}" in source or f"from {word}" in source]
