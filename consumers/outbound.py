"""From a decision to messages: events and rejections as outbox rows, outbox rows and dead letters as messages."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime

from consumers.card_data import without_card_data
from consumers.delivery import Delivery, Outgoing
from consumers.topology import DEAD_LETTERS
from handlers.decision import Announcement, Rejection
from ledger.records import OutboxEvent
from messages.card_data import redacted
from messages.envelope import Sender, Unreadable, event_headers, rfc3339
from messages.events import CommandRejected, Event
from messages.trace_context import TRACEPARENT

MAX_DETAIL = 500
"""Characters of detail on a dead letter."""

MAX_PROPERTY_BYTES = 255
"""Longer ones cannot be written at all (short strings of AMQP 0-9-1, 4.2.5.3); headers can be longer."""

EventKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class EventReceipt:
    """An event has reached the broker, or not."""

    key: EventKey


@dataclass(frozen=True, slots=True)
class DeadLetterReceipt:
    """A dead letter has reached its queue, or not; only then may the original be acked."""

    generation: int
    tag: int


def event_row(announcement: Announcement, *, cause: str, now: datetime) -> OutboxEvent:
    """Write an event as the outbox row that is committed with what it announces."""
    return _row(
        announcement.event,
        stream=announcement.payment_id,
        sequence=announcement.sequence,
        subject=announcement.subject,
        correlation_id=announcement.correlation_id,
        cause=cause,
        now=now,
        counted=True,
    )


def rejection_row(rejection: Rejection, *, now: datetime) -> OutboxEvent:
    """Write a rejection as an outbox row; the same command refused again gives the same row."""
    event = rejection.event
    identity = "|".join((event.command_source, event.command_id, event.reason, event.field or ""))
    stream = "rej_" + hashlib.sha256(identity.encode()).hexdigest()[:32]
    return _row(
        event,
        stream=stream,
        sequence=1,
        subject=event.refund_id or event.payment_id or stream,
        correlation_id=rejection.correlation_id,
        cause=event.command_id,
        now=now,
        counted=False,
    )


def unreadable(sender: Sender, why: Unreadable, now: datetime) -> Rejection:
    """Tell a known sender what was wrong with its message."""
    assert sender.id and sender.source and sender.type
    event = CommandRejected(
        occurred_at=now,
        command_id=sender.id,
        command_type=sender.type,
        command_source=sender.source,
        reason=why.reason,
        field=why.field,
        message=why.message,
    )
    return Rejection(event=event, correlation_id=sender.id)


def _row(
    event: Event,
    *,
    stream: str,
    sequence: int,
    subject: str,
    correlation_id: str,
    cause: str,
    now: datetime,
    counted: bool,
) -> OutboxEvent:
    kind = type(event).__name__
    headers = event_headers(
        event_id=f"{stream}.e{sequence}",
        type_name=kind,
        subject=subject,
        time=now,
        sequence=sequence if counted else None,
        correlation_id=correlation_id,
        causation_id=cause,
    )
    return OutboxEvent(
        stream=stream,
        sequence=sequence,
        subject=subject,
        type=kind,
        exchange=event.exchange,
        routing_key=event.routing_key,
        headers=headers,
        body=event.model_dump_json(exclude_none=True).encode(),
        created_at=now,
    )


def event_message(row: OutboxEvent) -> Outgoing:
    """Make the message an outbox row stands for; made again it is the same message, id and all."""
    if row.properties is not None:
        # A dead letter goes back as it came; without a queue to go to, it stays in the outbox.
        return Outgoing(
            exchange=row.exchange,
            routing_key=row.routing_key,
            body=row.body,
            headers=row.headers,
            mandatory=True,
            receipt=EventReceipt((row.stream, row.sequence)),
            **row.properties,
        )
    return Outgoing(
        exchange=row.exchange,
        routing_key=row.routing_key,
        body=row.body,
        message_id=row.headers["cloudEvents_id"],
        type=row.type,
        correlation_id=_shortened(row.headers["cloudEvents_correlationid"]),
        headers=row.headers,
        receipt=EventReceipt((row.stream, row.sequence)),
    )


def in_trace(row: OutboxEvent, traceparent: str | None) -> OutboxEvent:
    """The event as part of a trace: whoever publishes it, now or after a crash, sends the context with it."""
    if traceparent is None:
        return row
    return replace(row, headers={**row.headers, TRACEPARENT: traceparent})


def _shortened(text: str) -> str:
    """Cut text to what a property holds, between characters. The header keeps all of it."""
    return text.encode()[:MAX_PROPERTY_BYTES].decode(errors="ignore")


def dead_letter(
    delivery: Delivery, *, reason: str, detail: str, at: str | None, attempts: int, origin: str, now: datetime
) -> Outgoing:
    """Make the dead letter of a delivery: its bytes and headers untouched, the reasons in headers of their own.

    Untouched but for card data, whatever it died of: that is blanked out, and `fail-redacted` says so.
    `origin` is where it went wrong (a field or a line of code): with the reason and type it groups like cases.
    """
    original, delivery = delivery, without_card_data(delivery)
    fingerprint = hashlib.sha256(f"{reason}|{delivery.type}|{origin}".encode()).hexdigest()[:16]
    reasons: dict[str, object] = {
        "fail-reason": reason,
        "fail-detail": redacted(detail)[:MAX_DETAIL],
        "fail-field": redacted(at or ""),
        "fail-attempts": attempts,
        "fail-queue": delivery.queue,
        "fail-exchange": delivery.exchange,
        "fail-routing-key": delivery.routing_key,
        "fail-at": rfc3339(now),
        "fail-host": socket.gethostname(),
        "fail-fingerprint": fingerprint,
        "fail-redacted": delivery is not original,
    }
    reasons["fail-first-at"] = delivery.headers.get("fail-first-at") or reasons["fail-at"]
    # Names with x- are the broker's own (RabbitMQ 4 moves them out of the application's headers).
    kept = {_shortened(name): value for name, value in delivery.headers.items() if not name.startswith("x-")}
    receipt: Hashable = DeadLetterReceipt(delivery.generation, delivery.tag)
    return Outgoing(
        exchange=DEAD_LETTERS.name,
        routing_key=f"{delivery.queue}.dead",
        body=delivery.body,
        # What is blanked out may be longer than the number was.
        message_id=_shortened(delivery.message_id or ""),
        type=_shortened(delivery.type or ""),
        content_type=_shortened(delivery.content_type or "application/octet-stream"),
        correlation_id=delivery.correlation_id and _shortened(delivery.correlation_id),
        headers={**kept, **reasons},
        mandatory=True,
        receipt=receipt,
    )
