"""From bytes to a happening: read a delivery, or say what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from consumers.card_data import card_data_in
from consumers.delivery import Delivery
from consumers.topology import GATEWAY_CALLBACKS
from gateways.notice import Notice, NotUnderstood, Reader
from handlers.decision import Asked
from messages.callbacks import GatewayCallbackReceived
from messages.card_data import Hit, find, find_in, redacted_body
from messages.envelope import Sender, Unreadable, read_command, read_sender
from messages.events import RejectionReason
from messages.trace_context import traceparent_of

_MAX_NAME = 255
"""Characters of a name that we hand on; RabbitMQ carries no longer ones as properties (AMQP 0-9-1, 4.2.5.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A delivery that could be read."""

    delivery: Delivery
    asked: Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A gateway's callback that could be read."""

    delivery: Delivery
    notices: tuple[Notice, ...]
    """What we act upon."""
    not_understood: str | None
    """The gateway's words for what else it says; kept as a dead letter."""
    card_data: Hit | None = None
    """Where card data was, which had to be blanked out before it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A delivery that could not be read, from a sender who can be told."""

    delivery: Delivery
    why: Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A delivery nobody can act on but a person."""

    delivery: Delivery
    why: Unreadable


def read(delivery: Delivery, readers: Mapping[str, Reader]) -> Command | Callback | Rejected | Dead:
    """Read a delivery; never raises. `readers` read the callbacks of the gateways there are."""
    if delivery.queue == GATEWAY_CALLBACKS:
        return _read_callback(delivery, readers)
    hits = card_data_in(delivery)
    if hits:
        return _refused(delivery, hits[0])
    try:
        envelope = read_command(
            content_type=delivery.content_type, headers=delivery.headers, body=delivery.body
        )
    except Unreadable as why:
        kind = Rejected if _can_be_told(why.sender) else Dead
        return kind(delivery=delivery, why=why)
    # Defaults and order do not matter for "the same body again", so the parsed command is what is compared.
    body = envelope.command.model_dump_json(exclude_defaults=True)
    asked = Asked(
        command=envelope.command,
        message_id=envelope.id,
        source=envelope.source,
        correlation_id=envelope.correlation_id,
        body_hash=hashlib.sha256(f"{envelope.type}:{body}".encode()).hexdigest(),
        body=body,
        traceparent=traceparent_of(delivery.headers),
    )
    return Command(delivery=delivery, asked=asked)


def _refused(delivery: Delivery, hit: Hit) -> Rejected | Dead:
    """Refuse a command for its card data. Its sender is told, unless the number is in what it would be told by."""
    sender = read_sender(content_type=delivery.content_type, headers=delivery.headers, body=delivery.body)
    if find_in([sender.id, sender.source, sender.type]):
        sender = Sender()
    what = hit.kind.replace("_", " ")
    text = f"{hit.path or 'the body'} holds what looks like a {what}: send the gateway's token instead, never a card's"
    why = Unreadable(RejectionReason.CARD_DATA_REFUSED, text, at=hit.path or None, sender=sender)
    return (Rejected if _can_be_told(sender) else Dead)(delivery=delivery, why=why)


def _read_callback(delivery: Delivery, readers: Mapping[str, Reader]) -> Callback | Dead:
    """Only our own ingestor publishes here: what cannot be read is for a person, there is no sender to tell."""
    if delivery.type != GatewayCallbackReceived.__name__:
        return _dead(delivery, RejectionReason.UNKNOWN_TYPE, "only callbacks belong here", "type")
    try:
        callback = GatewayCallbackReceived.model_validate_json(delivery.body)
    except ValidationError as error:
        at = ".".join(str(part) for part in error.errors()[0]["loc"]) or None
        return _dead(delivery, RejectionReason.UNREADABLE, "not a callback as the ingestor writes it", at)
    reader = readers.get(callback.gateway)
    if reader is None:
        text = f"this worker does not serve {callback.gateway}: configure it, and requeue this"
        return _dead(delivery, RejectionReason.INVALID_FIELD, text, "gateway")
    content = callback.content
    hit = next(iter(find(content)), None)
    try:
        # A gateway's word about money is not lost for a number in its small talk: it is read without the number.
        notices = reader(redacted_body(content) if hit else content)
    except NotUnderstood as why:
        reason = RejectionReason.CARD_DATA_REFUSED if hit else RejectionReason.UNREADABLE
        return _dead(delivery, reason, str(why), f"body.{hit.path}" if hit else "body")
    acted_upon = tuple(notice for notice in notices if notice.operation is not None)
    others = sorted({notice.event for notice in notices if notice.operation is None})
    return Callback(
        delivery=delivery, notices=acted_upon, not_understood=", ".join(others) or None, card_data=hit
    )


def _dead(delivery: Delivery, reason: RejectionReason, text: str, at: str | None) -> Dead:
    return Dead(delivery=delivery, why=Unreadable(reason, text, at=at, sender=Sender()))


def _can_be_told(sender: Sender) -> bool:
    """Whether a rejection can name the command: what was refused early may be called anything at all."""
    names = (sender.id, sender.source, sender.type)
    return all(name and len(name) <= _MAX_NAME and name.isprintable() for name in names)
