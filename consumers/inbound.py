"""From bytes to a happening: read a delivery, or say what is wrong with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from consumers.delivery import Delivery
from handlers.decision import Asked
from messages.envelope import Sender, Unreadable, read_command

_MAX_NAME = 255
"""Characters of a name that we hand on; RabbitMQ carries no longer ones as properties (AMQP 0-9-1, 4.2.5.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A delivery that could be read."""

    delivery: Delivery
    asked: Asked


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


def read(delivery: Delivery) -> Command | Rejected | Dead:
    """Read a delivery; never raises."""
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
    )
    return Command(delivery=delivery, asked=asked)


def _can_be_told(sender: Sender) -> bool:
    """Whether a rejection can name the command: what was refused early may be called anything at all."""
    names = (sender.id, sender.source, sender.type)
    return all(name and len(name) <= _MAX_NAME and name.isprintable() for name in names)
