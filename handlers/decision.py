"""What a handler is given and what it answers: everything known of one payment, a happening, a decision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from gateways.notice import Notice
from gateways.protocol import (
    Absent,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    LookupRequest,
    Opened,
    Outcome,
    RefundRequest,
    VoidRequest,
)
from handlers.routing import Rule
from ledger.journals import Journal
from ledger.states import Attempt, Capture, Payment, Refund
from messages.commands import Command
from messages.events import CommandRejected, Event, PaymentEvent
from messages.ids import AttemptId, CaptureId, PaymentId, RefundId

# --- what can happen to a payment --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command arrived."""

    command: Command
    message_id: str
    source: str
    correlation_id: str
    body_hash: str
    """Fingerprint of the command as parsed: white space and order of fields do not matter."""
    body: str = field(repr=False)
    """The command as canonical JSON."""
    traceparent: str | None = None
    """The trace it belongs to (W3C Trace Context); nothing is decided by it."""

    @property
    def payment_id(self) -> PaymentId:
        """The payment it is about."""
        return self.command.payment_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A call to a gateway ended."""

    payment_id: PaymentId
    attempt_id: AttemptId
    refund_id: RefundId | None = None
    call_number: int
    answer: Outcome | Opened | Absent
    is_lookup: bool
    traceparent: str | None = None
    """The trace of the command that the call was made for, if this worker took that command or answer in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A gateway told us something about a payment of ours."""

    payment_id: PaymentId
    attempt_id: AttemptId | None
    """The attempt it is about; None where only the payment could be told."""
    notice: Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerDue:
    """The time has come to look again at an attempt, or at a capture or refund that waits for its payment."""

    payment_id: PaymentId
    attempt_id: AttemptId | None = None
    capture_id: CaptureId | None = None
    refund_id: RefundId | None = None


Happening = Asked | Answered | Noticed | TimerDue

# --- what is known, and by which rules ---------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Known:
    """All that the ledger knows of one payment, locked for this turn."""

    payment: Payment | None = None
    attempts: dict[AttemptId, Attempt] = field(default_factory=dict)
    captures: dict[CaptureId, Capture] = field(default_factory=dict)
    refunds: dict[RefundId, Refund] = field(default_factory=dict)
    order_paid_by: PaymentId | None = None
    """Another payment of the same order that is under way or has succeeded."""
    earlier_body_hash: str | None = None
    """What came under the same message id before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The service's rules as values; lengths of time and counts come from the settings."""

    default_gateway: str
    gateways: Mapping[str, Capabilities]
    rules: tuple[Rule, ...] = ()
    """Which gateway a payment goes to."""
    unwell: frozenset[str] = frozenset()
    """Gateways that are not to be tried first just now."""
    lease_margin: timedelta = timedelta(seconds=15)
    """Added to a gateway's call time limit: after both, the worker that made the call is taken for dead."""
    retry_delays: tuple[timedelta, ...] = tuple(timedelta(seconds=s) for s in (1, 5, 30, 120, 600))
    """Waits before a call that was provably not executed is made again; then it has failed."""
    inquiry_delays: tuple[timedelta, ...] = tuple(
        timedelta(seconds=s) for s in (10, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
    )
    """Waits between look-ups of an unknown outcome (books, 5.2); the last one repeats, with a person told."""
    pending_delays: tuple[timedelta, ...] = tuple(
        timedelta(seconds=s) for s in (30, 120, 600, 3600, 6 * 3600)
    )
    """Waits between look-ups of what is under way at the gateway; the last one repeats."""
    max_sends: int = 3
    """How often one operation is sent under its key while its outcome is unknown."""
    absence_window: timedelta = timedelta(minutes=15)
    """Two look-ups this far apart that find nothing prove that nothing was executed (books, 5.2)."""
    action_time: timedelta = timedelta(hours=1)
    """How long the customer has to act."""
    cancel_pause: timedelta = timedelta(minutes=10)
    """How long a payment that could not be called off is left alone before that is tried again."""
    refund_patience: timedelta = timedelta(hours=24)
    """How long a refund waits for its payment to settle."""
    refund_poll: timedelta = timedelta(seconds=30)
    """How often a waiting capture or refund is looked at, should nothing wake it earlier."""
    expiry_warning: timedelta = timedelta(hours=24)
    """How long before a hold lapses that is announced."""
    hold_lasts: timedelta = timedelta(days=7)
    """How long a hold is good where the gateway does not say."""
    late_grace: timedelta = timedelta(minutes=10)
    """How long money that came after its payment was announced as over is kept before it is given back."""
    refund_resends: int = 1
    """How often a refund that came back is sent again by itself; then a person decides."""
    refund_resend_delay: timedelta = timedelta(hours=24)
    callback_patience: timedelta = timedelta(minutes=15)
    """How long a notice of nothing we know is looked at again before it is a person's."""
    callback_poll: timedelta = timedelta(seconds=30)

    def lease(self, gateway: str) -> timedelta:
        """How long a call to this gateway may take before its worker is taken for dead."""
        return self.gateways[gateway].call_time_limit + self.lease_margin


def stretched(delays: tuple[timedelta, ...], step: int, *, seed: str) -> timedelta:
    """Take the delay of a step (the last repeats), lengthened by up to a quarter so that retries do not march in step.

    The chance is drawn from the seed, so that a decision is a function of its inputs.
    """
    delay = delays[min(step, len(delays) - 1)]
    return delay * (1 + crc32(f"{seed}:{step}".encode()) / 2**34)


# --- what is decided ---------------------------------------------------------------------------------------------

GatewayRequest = AuthorizeRequest | CaptureRequest | VoidRequest | RefundRequest | LookupRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call to make once this decision is committed."""

    gateway: str
    payment_id: PaymentId
    attempt_id: AttemptId
    refund_id: RefundId | None
    call_number: int
    request: GatewayRequest
    traceparent: str | None = None
    """The trace it is made in; set by the turn, not by whoever decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An event to publish, with its place in the payment's sequence."""

    event: Event
    payment_id: PaymentId
    subject: str
    sequence: int
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A command refused as such; nothing else comes of it."""

    event: CommandRejected
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written, announced and done. Empty fields change nothing."""

    result: str
    """One word for the audit log: a status, `repeated`, `rejected`, `stale`, `waiting`."""
    payment: Payment | None = None
    attempts: tuple[Attempt, ...] = ()
    captures: tuple[Capture, ...] = ()
    refunds: tuple[Refund, ...] = ()
    journals: tuple[Journal, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    call: Call | None = None
    announce_again: str | None = None
    """A payment or refund id: its latest event is published once more, under its own id."""
    rejection: Rejection | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """More for the audit log; never a token."""

    def then(self, later: Decision) -> Decision:
        """Both, one after the other: the later one was decided on what the first one left."""
        return replace(
            later,
            payment=later.payment or self.payment,
            attempts=self.attempts + later.attempts,
            captures=self.captures + later.captures,
            refunds=self.refunds + later.refunds,
            journals=self.journals + later.journals,
            announcements=self.announcements + later.announcements,
            call=later.call or self.call,
            detail={**self.detail, **later.detail},
        )

    def details(self) -> str:
        """The audit log's details: what was decided, and the fingerprints of what was booked."""
        facts = dict(self.detail)
        if self.journals:
            facts["journals"] = {journal.journal_id: journal.digest() for journal in self.journals}
        return json.dumps(facts, sort_keys=True, separators=(",", ":")) if facts else "{}"


def announce(
    payment: Payment,
    kind: type[PaymentEvent],
    now: datetime,
    *,
    capture: Capture | None = None,
    refund: Refund | None = None,
    **fields: Any,
) -> tuple[Payment, Announcement]:
    """Make the payment's next event; the payment comes back with its sequence counted on."""
    sequence = payment.sequence + 1
    about = refund or capture
    if refund is not None:
        fields["refund_id"] = refund.refund_id
    if capture is not None:
        fields["capture_id"] = capture.capture_id
    event = kind(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        sequence=sequence,
        occurred_at=now,
        **fields,
    )
    announcement = Announcement(
        event=event,
        payment_id=payment.payment_id,
        subject=_name_of(payment, capture, refund),
        sequence=sequence,
        correlation_id=about.correlation_id if about else payment.correlation_id,
    )
    return replace(payment, sequence=sequence, updated_at=now), announcement


def _name_of(payment: Payment, capture: Capture | None, refund: Refund | None) -> str:
    if refund is not None:
        return refund.refund_id
    return capture.capture_id if capture is not None else payment.payment_id
