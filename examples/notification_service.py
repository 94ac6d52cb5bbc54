"""A Notification Service, as another team would write it: dramatiq, SMTP, and nothing of the payment service.

    python examples/notification_service.py        takes events from RabbitMQ and hands each to an actor
    dramatiq examples.notification_service         runs the actors, which render and send the mails

The taker acknowledges an event once RabbitMQ has confirmed the actor's message. The actor may therefore run twice for
one event: it remembers by event id what it has sent. An SMTP server that is away is tried again, for a day.

Environment: BROKER_URL, SMTP_HOST (localhost), SMTP_PORT (1025), MAIL_TO (shop@example.com), MAIL_DATABASE (mails.db).
"""

from __future__ import annotations

import json
import os
import smtplib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import EmailMessage
from typing import Any

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.adapters.blocking_connection import BlockingChannel

BROKER_URL = os.environ.get("BROKER_URL", "amqp://localhost")
EVENTS = "payments.events"
QUEUE = "notification-service.payment-events"
A_DAY_MS = 24 * 3600 * 1000

TEXTS = {
    "PaymentSucceeded": ("Payment received", "We have received {amount} for order {order}."),
    "PaymentFailed": ("Payment not possible", "Your payment for order {order} did not go through: {reason}."),
    "PaymentActionRequired": (
        "Please confirm your payment",
        "Your bank asks you to confirm order {order}: {url}",
    ),
    "RefundProcessed": ("Refund on its way", "We have sent back {amount} for order {order}."),
}
"""What customers are told of; other events are no mail's business."""

dramatiq.set_broker(RabbitmqBroker(url=BROKER_URL, confirm_delivery=True))


def render(kind: str, event: dict[str, Any]) -> tuple[str, str] | None:
    """Subject and text of the mail for an event; None for one that needs none."""
    if kind not in TEXTS:
        return None
    money = event.get("amount") or {"minor": 0, "currency": ""}
    subject, text = TEXTS[kind]
    filled = text.format(
        amount=f"{money['minor'] / 100:.2f} {money['currency']}",
        order=event.get("order_id", ""),
        reason=str(event.get("reason", "")).replace("_", " "),
        url=(event.get("next_action") or {}).get("url", ""),
    )
    return subject, filled


@contextmanager
def _sent() -> Iterator[sqlite3.Connection]:
    """What has been sent, locked: the same event in two threads is one mail. A larger shop would lock per event."""
    with (
        closing(sqlite3.connect(os.environ.get("MAIL_DATABASE", "mails.db"), timeout=60)) as database,
        database,
    ):
        database.execute("CREATE TABLE IF NOT EXISTS sent (event_id TEXT PRIMARY KEY)")
        database.execute("BEGIN IMMEDIATE")
        yield database


@dramatiq.actor(queue_name="mails", min_backoff=200, max_backoff=60_000, max_retries=None, max_age=A_DAY_MS)
def send_mail(event_id: str, kind: str, event: dict[str, Any]) -> None:
    """Send the mail for an event, unless it was sent before.

    Noted after it is sent: a crash between the two sends it again rather than never, under the same Message-ID.
    """
    mail = render(kind, event)
    with _sent() as sent:
        if mail is None or sent.execute("SELECT 1 FROM sent WHERE event_id = ?", (event_id,)).fetchone():
            return
        subject, text = mail
        message = EmailMessage()
        message["From"], message["To"] = "shop@example.com", os.environ.get("MAIL_TO", "customer@example.com")
        message["Subject"], message["Message-ID"] = subject, f"<{event_id}@shop.example.com>"
        message.set_content(text)
        host, port = os.environ.get("SMTP_HOST", "localhost"), int(os.environ.get("SMTP_PORT", "1025"))
        with smtplib.SMTP(host, port, timeout=10) as server:
            server.send_message(message)
        sent.execute("INSERT INTO sent VALUES (?)", (event_id,))


def take_events() -> None:
    """Hand every event over to the actor; acknowledged once the actor's message is safe."""
    connection = pika.BlockingConnection(pika.URLParameters(BROKER_URL))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=50)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    for key in ("payment.*", "refund.*"):
        channel.queue_bind(QUEUE, EVENTS, routing_key=key)

    def on_event(
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        event_id, kind = properties.message_id, properties.type
        if event_id is not None and kind in TEXTS:
            send_mail.send(event_id, kind, json.loads(body))
        channel.basic_ack(method.delivery_tag)
        print(f"took {kind} {event_id}", flush=True)

    channel.basic_consume(QUEUE, on_event)
    print("takes events", flush=True)
    channel.start_consuming()


if __name__ == "__main__":
    try:
        take_events()
    except KeyboardInterrupt:
        sys.exit(0)
