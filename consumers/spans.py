"""The worker's spans: what each is called and says, by the semantic conventions for messaging.

opentelemetry.io/docs/specs/semconv/messaging/rabbitmq. Ids only: no amount, token or body.
"""

from __future__ import annotations

from consumers.delivery import Delivery, Outgoing
from consumers.tracing import Kind, Span, Tracer
from handlers.decision import Call
from messages.trace_context import traceparent_of

SYSTEM = "messaging.system"
LONGEST = 128
"""Characters of a name that came from outside."""


def begin_delivery(tracer: Tracer, delivery: Delivery, *, payment_id: str | None) -> Span:
    """A message is being settled: from its delivery to the commit and what follows from it."""
    attributes: dict[str, str | int] = {
        SYSTEM: "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.destination.name": delivery.queue,
        "messaging.message.id": (delivery.message_id or "")[:LONGEST],
    }
    if payment_id is not None:
        attributes["payments.payment_id"] = payment_id
    parent = traceparent_of(delivery.headers)
    return tracer.begin(f"process {delivery.queue}", Kind.CONSUMER, parent=parent, attributes=attributes)


def begin_turn(tracer: Tracer, size: int) -> Span:
    """Many messages are being settled in one transaction; each has its own trace, and is linked."""
    return tracer.begin(
        "turn", Kind.INTERNAL, parent=None, attributes={"messaging.batch.message_count": size}
    )


def begin_call(tracer: Tracer, call: Call) -> Span:
    """A gateway is being asked."""
    operation = type(call.request).__name__.removesuffix("Request").lower()
    attributes = {
        "payments.gateway": call.gateway,
        "payments.payment_id": call.payment_id,
        "payments.attempt_id": call.attempt_id,
    }
    name = f"{operation} {call.gateway}"
    return tracer.begin(name, Kind.CLIENT, parent=call.traceparent, attributes=attributes)


def begin_publish(tracer: Tracer, message: Outgoing) -> Span:
    """A message is on its way to the broker, until it is confirmed."""
    attributes = {
        SYSTEM: "rabbitmq",
        "messaging.operation.type": "send",
        "messaging.destination.name": message.exchange,
        "messaging.rabbitmq.destination.routing_key": message.routing_key,
        "messaging.message.id": (message.message_id or "")[:LONGEST],
    }
    parent = traceparent_of(message.headers)
    return tracer.begin(f"send {message.exchange}", Kind.PRODUCER, parent=parent, attributes=attributes)
