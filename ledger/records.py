"""What a turn asks of the ledger, what it gets, and what it writes. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ledger.journals import Journal
from ledger.states import Attempt, Capture, Payment, Refund
from messages.ids import AttemptId, CaptureId, PaymentId, RefundId

MessageKey = tuple[str, str]
"""Source and id of a message: together they name it (CloudEvents 1.0, 3.1.1)."""
EventKey = tuple[str, int]
"""Stream and sequence of an event."""
CallbackKey = tuple[str, str]
"""Gateway and id of a notice."""
CallbackState = Literal["taken", "waiting", "unmatched"]
"""Taken in; or of nothing we know: looked at again for a while, then a person's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """A message that was taken in; the same id with another body is a conflict."""

    source: str
    message_id: str
    body_hash: str
    subject: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """An event as it is committed with what it announces, and published from there."""

    stream: str
    """The payment whose events it counts among, or an id of its own for a rejection."""
    sequence: int
    subject: str
    """The payment or refund it is about."""
    type: str
    exchange: str
    routing_key: str
    headers: Mapping[str, str]
    body: bytes
    created_at: datetime
    properties: Mapping[str, str] | None = None
    """Of a dead letter that is sent back: its message's own. None: it is an event, whose headers tell them."""

    @property
    def key(self) -> EventKey:
        """Names the event."""
        return self.stream, self.sequence

    @property
    def event_id(self) -> str:
        """The event's id on the wire, stable however often it is published."""
        return f"{self.stream}.e{self.sequence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A dead letter that was sent back has been settled by a worker."""

    letter_id: str
    message_id: str
    outcome: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRow:
    """One notice of a gateway, and what became of it; told twice, it is the same row."""

    gateway: str
    notice_id: str
    event: str
    payment_id: PaymentId | None
    attempt_id: AttemptId | None
    state: CallbackState
    notice: str
    """The notice as JSON: what waits is read from it again."""
    received_at: datetime
    due_at: datetime | None

    @property
    def key(self) -> CallbackKey:
        """Names the notice."""
        return self.gateway, self.notice_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a notice has to say of the attempt it is about."""

    gateway: str
    attempt_id: AttemptId | None
    reference: str | None
    parent_reference: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The payment, and where it can be told the attempt, that a trace leads to."""

    payment_id: PaymentId
    attempt_id: AttemptId | None
    refund_id: RefundId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One decision: who, what, on what, why, with which result (PCI DSS 10.2.2)."""

    actor: str
    action: str
    payment_id: PaymentId | None
    subject: str
    cause: str
    result: str
    details: str
    """Canonical JSON; holds the digests of the journals written with it."""
    happened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A row whose time has come."""

    payment_id: PaymentId
    attempt_id: AttemptId | None
    capture_id: CaptureId | None
    refund_id: RefundId | None
    due_at: datetime


@dataclass(slots=True, kw_only=True)
class Wanted:
    """What one turn needs to know. Payments are locked."""

    messages: set[MessageKey] = field(default_factory=set)
    payment_ids: set[PaymentId] = field(default_factory=set)
    """Locked in the order of their ids, waiting for other workers."""
    timer_payment_ids: set[PaymentId] = field(default_factory=set)
    """Locked without waiting: a payment another worker holds is left out."""
    order_ids: set[str] = field(default_factory=set)
    capture_ids: set[CaptureId] = field(default_factory=set)
    refund_ids: set[RefundId] = field(default_factory=set)
    callbacks: set[CallbackKey] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Loaded:
    """What the ledger knows of it."""

    inbox: dict[MessageKey, str] = field(default_factory=dict)
    payments: dict[PaymentId, Payment] = field(default_factory=dict)
    attempts: dict[AttemptId, Attempt] = field(default_factory=dict)
    """All of the payments."""
    captures: dict[CaptureId, Capture] = field(default_factory=dict)
    """All of the payments, and those asked for."""
    refunds: dict[RefundId, Refund] = field(default_factory=dict)
    """Those asked for, and those of the payments that wait."""
    callbacks: dict[CallbackKey, CallbackState] = field(default_factory=dict)
    order_paid_by: dict[str, PaymentId] = field(default_factory=dict)
    unpublished: set[EventKey] = field(default_factory=set)
    skipped: set[PaymentId] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Changes:
    """What one turn writes, together or not at all."""

    inbox: list[InboxRow] = field(default_factory=list)
    new_payments: list[Payment] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    new_attempts: list[Attempt] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    new_captures: list[Capture] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)
    new_refunds: list[Refund] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    callbacks: list[CallbackRow] = field(default_factory=list)
    journals: list[Journal] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)
    rejections: list[OutboxEvent] = field(default_factory=list)
    """One that is there already is announced again."""
    announce_again: set[tuple[str, str]] = field(default_factory=set)
    """Stream and subject: the subject's latest event in the stream is announced again."""
    published: list[EventKey] = field(default_factory=list)
    """Confirmed by the broker."""
    published_at: datetime | None = None
    settled_letters: list[Settled] = field(default_factory=list)
    """Dead letters that were sent back, and what became of them."""
    audit: list[AuditLine] = field(default_factory=list)
