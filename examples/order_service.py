"""An Order Service, as another team would write it from docs/messages alone: pika, and nothing of the payment service.

    python examples/order_service.py --broker-url amqp://user:password@localhost// --until-settled

It publishes one PaymentRequested for each order, and follows what becomes of them by its own queue of events. What it
knows lies in its own database: an event is acknowledged once it is stored, is stored once however often it comes, and
is missed by nobody: the numbers of a payment's events have no gaps, so a gap is something to ask about.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import NackError, UnroutableError

COMMANDS, EVENTS = "payments.commands", "payments.events"
QUEUE = "order-service.payment-events"
OVER = {
    "PaymentSucceeded": "paid",
    "PaymentFailed": "not paid",
    "PaymentVoided": "called off",
    "PaymentExpired": "expired",
    "CommandRejected": "refused",
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    order_id TEXT PRIMARY KEY, payment_id TEXT NOT NULL UNIQUE, minor INTEGER NOT NULL, currency TEXT NOT NULL,
    token TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'new', detail TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT PRIMARY KEY, payment_id TEXT NOT NULL, sequence INTEGER NOT NULL, type TEXT NOT NULL,
    body TEXT NOT NULL
);
"""
A_FEW_ORDERS = [
    {"order_id": "1001", "minor": 1999, "currency": "EUR", "token": "tok_approved"},
    {"order_id": "1002", "minor": 12900, "currency": "EUR", "token": "tok_declined_insufficient_funds"},
    {"order_id": "1003", "minor": 4250, "currency": "USD", "token": "tok_lost_answer"},
]


class Orders:
    """The service's own database."""

    def __init__(self, path: Path | str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(SCHEMA)

    def take(self, order: dict[str, Any]) -> None:
        """Take an order in; one that is known stays as it is, with the payment id it got then."""
        self._database.execute(
            "INSERT OR IGNORE INTO orders (order_id, payment_id, minor, currency, token) VALUES (?, ?, ?, ?, ?)",
            (
                order["order_id"],
                f"pay_{order['order_id']}",
                order["minor"],
                order["currency"],
                order["token"],
            ),
        )

    def to_be_asked(self) -> list[tuple[Any, ...]]:
        """Orders whose payment was not asked for yet, or not for certain."""
        return self._database.execute(
            "SELECT order_id, payment_id, minor, currency, token FROM orders WHERE state = 'new'"
        ).fetchall()

    def asked(self, order_id: str) -> None:
        """The broker has confirmed the command."""
        self._database.execute(
            "UPDATE orders SET state = 'asked' WHERE order_id = ? AND state = 'new'", (order_id,)
        )

    def hear(self, event_id: str, kind: str, body: dict[str, Any]) -> bool:
        """Store an event and what it means, in one transaction; False if it was stored before."""
        payment_id, sequence = body.get("payment_id", ""), body.get("sequence", 0)
        with self._database:
            self._database.execute("BEGIN")
            stored = self._database.execute(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)",
                (event_id, payment_id, sequence, kind, json.dumps(body)),
            )
            if stored.rowcount and kind in OVER:
                detail = body.get("reason", "")
                self._database.execute(
                    "UPDATE orders SET state = ?, detail = ? WHERE payment_id = ?",
                    (OVER[kind], detail, payment_id),
                )
        return bool(stored.rowcount)

    def gaps(self) -> dict[str, list[int]]:
        """Numbers of events that must be there, because a later one is, and have not been heard."""
        rows = self._database.execute("SELECT payment_id, sequence FROM events WHERE sequence > 0").fetchall()
        heard: dict[str, set[int]] = {}
        for payment_id, sequence in rows:
            heard.setdefault(payment_id, set()).add(sequence)
        missing = {name: sorted(set(range(1, max(found))) - found) for name, found in heard.items()}
        return {name: numbers for name, numbers in missing.items() if numbers}

    def all(self) -> list[tuple[Any, ...]]:
        """Every order: id, amount, currency, state, detail."""
        return self._database.execute(
            "SELECT order_id, minor, currency, state, detail FROM orders ORDER BY order_id"
        ).fetchall()

    def are_settled(self) -> bool:
        """Whether every order has its answer."""
        return not any(state in ("new", "asked") for *_, state, _ in self.all())


def ask(channel: BlockingChannel, order: tuple[Any, ...]) -> None:
    """Publish the command for an order. Published twice it is the same payment: the ids are the order's.

    Raises:
        NackError, UnroutableError: the broker has not taken it.
    """
    order_id, payment_id, minor, currency, token = order
    data = {
        "payment_id": payment_id,
        "order_id": order_id,
        "amount": {"minor": minor, "currency": currency},
        "payment_method": {"token": token},
    }
    message_id = f"order-{order_id}-payment"
    channel.basic_publish(
        exchange=COMMANDS,
        routing_key="payment.requested",
        body=json.dumps(data).encode(),
        mandatory=True,
        properties=pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=message_id,
            type="PaymentRequested",
            headers={
                "cloudEvents_specversion": "1.0",
                "cloudEvents_id": message_id,
                "cloudEvents_type": "PaymentRequested",
                "cloudEvents_source": "/order-service",
                "cloudEvents_dataschema": "urn:payment-service:PaymentRequested:1",
            },
        ),
    )


def follow(channel: BlockingChannel, orders: Orders, *, deadline: float, until_settled: bool) -> None:
    """Take events until the time is over, or every order has its answer."""
    for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.2):
        if method is not None:
            is_new = orders.hear(properties.message_id, properties.type, json.loads(body))
            channel.basic_ack(method.delivery_tag)
            say(f"{'heard' if is_new else 'heard again'}: {properties.type} {properties.message_id}")
            for payment_id, missing in orders.gaps().items():
                say(
                    f"GAP: {payment_id} misses {missing}; asking for the payment again has its result announced again"
                )
        if time.monotonic() > deadline or (until_settled and method is None and orders.are_settled()):
            break
    channel.cancel()


def say(text: str) -> None:
    """Tell the person at the terminal at once."""
    print(text, flush=True)


def main() -> int:
    """Run it; the exit status is 1 if orders are left without an answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--broker-url", default=os.environ.get("BROKER_URL"), help="or BROKER_URL in the environment"
    )
    parser.add_argument("--database", default="orders.db", help="its own SQLite file (default: orders.db)")
    parser.add_argument(
        "--orders", type=Path, help="JSON lines: order_id, minor, currency, token (default: three)"
    )
    parser.add_argument("--until-settled", action="store_true", help="stop when every order has its answer")
    parser.add_argument("--timeout", type=float, default=60, help="stop after so many seconds (default: 60)")
    arguments = parser.parse_args()
    if not arguments.broker_url:
        parser.error("name the RabbitMQ: --broker-url amqp://user:password@host/vhost, or BROKER_URL")
    orders = Orders(arguments.database)
    lines = arguments.orders.read_text().splitlines() if arguments.orders else []
    for order in map(json.loads, lines) if lines else A_FEW_ORDERS:
        orders.take(order)
    connection = pika.BlockingConnection(pika.URLParameters(arguments.broker_url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=50)
    # Before the first command: an event finds its queue.
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(QUEUE, EVENTS, routing_key="#")
    for order in orders.to_be_asked():
        try:
            ask(channel, order)
        except (NackError, UnroutableError) as error:
            say(f"order {order[0]}: not taken ({type(error).__name__}); it is asked for at the next start")
            continue
        orders.asked(order[0])
        say(f"asked: order {order[0]}")
    deadline = time.monotonic() + arguments.timeout
    follow(channel, orders, deadline=deadline, until_settled=arguments.until_settled)
    connection.close()
    for order_id, minor, currency, state, detail in orders.all():
        say(f"order {order_id}: {minor / 100:.2f} {currency} {state}{f' ({detail})' if detail else ''}")
    return 0 if orders.are_settled() else 1


if __name__ == "__main__":
    sys.exit(main())
