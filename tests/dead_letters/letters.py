"""Dead letters for tests: published as anybody could have, and as a worker with a bug would have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import kombu

from consumers.embedded import register
from consumers.topology import (
    CALLBACKS,
    COMMANDS,
    DEAD_LETTERS,
    GATEWAY_CALLBACKS,
    PAYMENT_COMMANDS,
    REFUND_COMMANDS,
)


@dataclass(frozen=True, kw_only=True)
class Message:
    """Something to publish."""

    exchange: str = COMMANDS.name
    routing_key: str = "payment.requested"
    body: bytes
    message_id: str
    type: str
    headers: Mapping[str, Any] = field(default_factory=dict)


def payment(number: int, **more: Any) -> dict[str, Any]:
    """The data of a payment that the sandbox approves."""
    return {
        "payment_id": f"pay-{number}",
        "order_id": f"order-{number}",
        "amount": {"minor": 1000 + number, "currency": "EUR"},
        "payment_method": {"gateway": "sandbox", "token": "tok_approved"},
    } | more


def cloud_headers(message_id: str, kind: str = "PaymentRequested") -> dict[str, str]:
    """The CloudEvents attributes a command needs."""
    return {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": message_id,
        "cloudEvents_source": "/shop",
        "cloudEvents_type": kind,
    }


def given_up(number: int, reason: str = "handler_failed") -> Message:
    """A good command that a worker with a bug gave up."""
    message_id = f"given-up-{number}"
    return Message(
        exchange=DEAD_LETTERS.name,
        routing_key=f"{PAYMENT_COMMANDS}.dead",
        body=json.dumps(payment(number)).encode(),
        message_id=message_id,
        type="PaymentRequested",
        headers={
            **cloud_headers(message_id),
            "fail-reason": reason,
            "fail-detail": "ZeroDivisionError",
            "fail-queue": PAYMENT_COMMANDS,
            "fail-exchange": COMMANDS.name,
            "fail-routing-key": "payment.requested",
            "fail-at": f"2026-11-20T08:00:{number % 60:02d}Z",
            "fail-fingerprint": "b0b0b0b0b0b0b0b0",
        },
    )


def without_id(number: int) -> Message:
    """A payment whose publisher forgot the CloudEvents id: it dies, and can be mended."""
    headers = cloud_headers("")
    del headers["cloudEvents_id"]
    body = json.dumps(payment(10_000 + number)).encode()
    return Message(body=body, message_id=f"no-id-{number}", type="PaymentRequested", headers=headers)


def nonsense(number: int) -> Message:
    """No command at all."""
    return Message(body=b"hello", message_id=f"nonsense-{number}", type="Nonsense")


def nameless_refund(number: int) -> Message:
    """A refund without an id."""
    body = json.dumps({"refund_id": f"ref-{number}", "payment_id": "pay-1"}).encode()
    return Message(
        routing_key="refund.requested", body=body, message_id=f"refund-{number}", type="RefundRequested"
    )


def broken_callback(number: int) -> Message:
    """A callback that no ingestor of ours wrote."""
    return Message(
        exchange=CALLBACKS.name,
        routing_key="callback.stripe",
        body=b"{}",
        message_id=f"callback-{number}",
        type="GatewayCallbackReceived",
    )


def stranger(number: int) -> Message:
    """What does not belong among the callbacks."""
    return Message(
        exchange=CALLBACKS.name,
        routing_key="callback.stripe",
        body=b"{}",
        message_id=f"s-{number}",
        type="Other",
    )


EVIL = "\x1b[2J\x1b]0;gone\x07[/nosuch] [red] =1+1 \u202e"


def hostile(number: int) -> Message:
    """Somebody wants an operator's terminal to act upon it, in every place that a sender may fill."""
    headers = dict.fromkeys(
        ("cloudEvents_id", "cloudEvents_source", "cloudEvents_type", "fail-reason", EVIL), EVIL
    )
    return Message(
        exchange=DEAD_LETTERS.name,
        routing_key=f"{PAYMENT_COMMANDS}.dead",
        body=json.dumps({"payment_id": EVIL, "order_id": EVIL, "amount": [EVIL], EVIL: EVIL}).encode()
        * (number + 1),
        message_id=f"{EVIL}{number}",
        type=EVIL,
        headers=headers | {"fail-detail": EVIL, "fail-field": EVIL, "fail-queue": EVIL, "fail-at": EVIL},
    )


QUEUES = (PAYMENT_COMMANDS, REFUND_COMMANDS, GATEWAY_CALLBACKS)


@contextmanager
def channel_to(url: str) -> Iterator[Any]:
    """A kombu channel, on either broker."""
    register()
    with kombu.Connection(url) as connection:
        yield connection.channel()


def publish(url: str, messages: Iterable[Message]) -> None:
    """Publish, persistently; returns when the broker has them."""
    with channel_to(url) as channel:
        if url.startswith("amqp"):
            channel.confirm_select()
        for message in messages:
            prepared = channel.prepare_message(
                message.body,
                content_type="application/json",
                headers=dict(message.headers),
                properties={"delivery_mode": 2, "message_id": message.message_id, "type": message.type},
            )
            channel.basic_publish(prepared, exchange=message.exchange, routing_key=message.routing_key)
        if url.startswith("amqp"):
            channel.wait_for_confirms() if hasattr(channel, "wait_for_confirms") else None


def lying(url: str) -> dict[str, int]:
    """How many messages lie ready in each dead-letter queue that has some."""
    with channel_to(url) as channel:
        counts = {name: channel.queue_declare(f"{name}.dead", passive=True).message_count for name in QUEUES}
    return {name: count for name, count in counts.items() if count}
