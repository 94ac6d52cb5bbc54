"""What the judge of a chaos run looks at: values only, gathered from the gateways, the bus and the books."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from messages.operation import Operation
from tests.listener import Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command as the shop published it."""

    command_id: str
    kind: str
    payment_id: str
    gateway: str
    minor: int = 0
    """What it is about, in minor units; 0 for a void."""
    part_id: str | None = None
    """The capture or the refund it asks for."""
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Money that a gateway says it really moved."""

    gateway: str
    payment_id: str
    attempt_id: str
    """The idempotency key it was asked under."""
    operation: Operation
    minor: int

    @property
    def part_id(self) -> str:
        """The payment, capture or refund that the attempt belongs to."""
        return self.attempt_id.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """One payment in the books, amounts in minor units."""

    payment_id: str
    status: str
    captured: int
    """Less what was taken back later."""
    refunded: int
    needs_a_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAttempt:
    """An attempt in the books that still waits for something."""

    attempt_id: str
    payment_id: str
    operation: Operation
    is_unknown: bool
    can_be_asked: bool
    """Whether its gateway can be asked what became of it."""

    @property
    def part_id(self) -> str:
        """The payment, capture or refund that it belongs to."""
        return self.attempt_id.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that was put aside."""

    queue: str
    message_id: str | None
    reason: str
    detail: str = ""


DELIVERED_TOO_OFTEN = "delivery_limit"
"""The reason the broker itself gives: so many readers were killed over it that it was put aside."""


@dataclass(slots=True, kw_only=True)
class Evidence:
    """Everything there is to judge by after a run."""

    asked: list[Asked] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    acted_on: set[str] = field(default_factory=set)
    """Attempts that a gateway has decided on, moving money or refusing to: whatever the caller got to hear."""
    booked: dict[str, Booked] = field(default_factory=dict)
    attempts: set[str] = field(default_factory=set)
    open_attempts: list[OpenAttempt] = field(default_factory=list)
    written_events: dict[str, str] = field(default_factory=dict)
    """Ids of the events in the outbox, each with its subject."""
    unpublished: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)
    problems_in_the_books: list[str] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    """Processes that ended of their own accord."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was broken."""

    kind: str
    text: str
    payment_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"kind": self.kind, "payment_id": self.payment_id, "text": self.text}
