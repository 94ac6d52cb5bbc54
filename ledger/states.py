"""Payments, attempts and refunds as the ledger keeps them. Pure values: handlers make new ones, the ledger stores them.

`due_at` means "look at me again": it is the timer of the row it stands in, so a timer can neither be lost
nor outlive its reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from messages.ids import AttemptId, CaptureId, PaymentId, RefundId
from messages.money import Money
from messages.operation import Operation


class PaymentStatus(StrEnum):
    """Where a payment stands (books, 5.3)."""

    AUTHORIZING = "authorizing"
    ACTION_REQUIRED = "action_required"
    PENDING = "pending"
    IN_DOUBT = "in_doubt"
    AUTHORIZED = "authorized"
    CAPTURING = "capturing"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    VOIDING = "voiding"
    VOIDED = "voided"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REVERSED = "reversed"
    """All that was captured was taken back later."""
    DECLINED = "declined"
    FAILED = "failed"
    REJECTED = "rejected"


OVER_WITHOUT_MONEY = frozenset(
    {
        PaymentStatus.VOIDED,
        PaymentStatus.CANCELED,
        PaymentStatus.EXPIRED,
        PaymentStatus.REVERSED,
        PaymentStatus.DECLINED,
        PaymentStatus.FAILED,
        PaymentStatus.REJECTED,
    }
)
"""An order whose payment ended here may be paid again."""


class AttemptState(StrEnum):
    """Where a call intent stands (books, 5.2)."""

    CREATED = "created"
    """Written down, to be sent when due."""
    SENT = "sent"
    """A call is under way; after `due_at` its worker is taken for dead."""
    PENDING = "pending"
    ACTION_REQUIRED = "action_required"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    FAILED = "failed"
    """Provably not executed."""
    CANCELED = "canceled"
    """Called off at the gateway before it had an effect."""
    REVERSED = "reversed"
    """It had succeeded, and the money came back later."""


OPEN_ATTEMPT = frozenset(
    {
        AttemptState.CREATED,
        AttemptState.SENT,
        AttemptState.PENDING,
        AttemptState.ACTION_REQUIRED,
        AttemptState.UNKNOWN,
    }
)
"""States that still wait for something; each has a `due_at`, the database insists.

A closed attempt may have one, too: a hold that will lapse, an end that is to be looked at once more.
"""


class CaptureStatus(StrEnum):
    """Where a capture stands; its attempt tells more."""

    REQUESTED = "requested"
    """Waits for its payment to be authorized."""
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    REVERSED = "reversed"


class RefundStatus(StrEnum):
    """Where a refund stands (books, 5.4)."""

    REQUESTED = "requested"
    """Waits for its payment to settle."""
    SUBMITTED = "submitted"
    """Reserved and on its way to the gateway."""
    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    REVERSED = "reversed"
    """It had succeeded and came back; it is owed again."""
    FAILED = "failed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment: amounts in minor units of `currency`, all times UTC."""

    payment_id: PaymentId
    order_id: str
    gateway: str
    currency: str
    requested: int
    status: PaymentStatus
    capture: bool
    """True: taken at once (a sale). False: held until captured."""
    request: str = field(repr=False)
    """The command as canonical JSON."""
    request_hash: str
    source: str
    """Who asked (CloudEvents source)."""
    command_id: str
    correlation_id: str
    created_at: datetime
    updated_at: datetime
    authorized: int = 0
    released: int = 0
    captured_gross: int = 0
    capture_pending: int = 0
    capture_reversed: int = 0
    refunded: int = 0
    refund_pending: int = 0
    refunded_external: int = 0
    disputed_open: int = 0
    charged_back: int = 0
    attention: bool = False
    """A person must look: the gateway's word contradicts ours, or nobody could tell for too long."""
    cancel_requested: bool = False
    """A command called it off: what succeeds from now on is given back."""
    late: bool = False
    """It succeeded after it was announced as over; its order may have been paid otherwise."""
    attempts: int = 0
    """Call intents made so far, without those of captures and refunds."""
    sequence: int = 0
    """Number of the last event announced."""

    def money(self, minor: int) -> Money:
        """An amount in this payment's currency."""
        return Money(minor, self.currency)

    @property
    def capturable(self) -> int:
        """What may still be captured."""
        return self.authorized - self.captured_gross - self.capture_pending - self.released

    @property
    def refundable(self) -> int:
        """What may still be refunded; negative when the gateway gave back more than we know of."""
        taken_back = self.refunded + self.refund_pending + self.refunded_external
        return (
            self.captured_gross - self.capture_reversed - taken_back - self.disputed_open - self.charged_back
        )

    def standing(self) -> PaymentStatus:
        """Where its amounts put a payment that was authorized; a void under way is told by its attempt."""
        if self.capture_pending:
            return PaymentStatus.CAPTURING
        if self.capturable:
            return PaymentStatus.PARTIALLY_CAPTURED if self.captured_gross else PaymentStatus.AUTHORIZED
        if not self.captured_gross:
            return PaymentStatus.VOIDED
        return (
            PaymentStatus.CAPTURED if self.captured_gross > self.capture_reversed else PaymentStatus.REVERSED
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call intent, written down before the call; its id is the idempotency key."""

    attempt_id: AttemptId
    payment_id: PaymentId
    capture_id: CaptureId | None = None
    refund_id: RefundId | None = None
    operation: Operation
    gateway: str
    currency: str
    amount: int
    acts_on: AttemptId | None = None
    """The attempt that made what is captured, let go or refunded."""
    authenticate: bool = False
    """The bank is asked for strong customer authentication outright."""
    state: AttemptState
    reference: str | None = None
    """The gateway's id of the operation."""
    parent_reference: str | None = None
    """The gateway's id of what the operation acts on."""
    call_number: int = 0
    """Counts calls, look-ups too: an answer counts only if it carries the latest number (fencing)."""
    tries: int = 0
    """How often the operation itself was sent."""
    inquiries: int = 0
    """How often its outcome was looked up since it was last sent."""
    doubtful: bool = False
    """An earlier call's outcome was never learnt: from now on `NotSent` proves nothing about it."""
    sent_at: datetime | None = None
    """When it was first sent: the gateway's replay window runs from here."""
    absent_since: datetime | None = None
    """When a look-up first found no trace."""
    expires_at: datetime | None = None
    """When the customer's time to act is over."""
    capture_before: datetime | None = None
    """When the hold lapses."""
    is_warned: bool = False
    """That the hold lapses soon was announced."""
    brought: str | None = field(default=None, repr=False)
    """What the customer's browser brought back, as JSON."""
    due_at: datetime | None = None
    reason: str | None = None
    """Why it ended without effect, in our words (`FailureReason`)."""
    code: str | None = None
    """The gateway's own code for a decline."""
    soft: bool = False
    """A decline that may turn out otherwise later."""
    detail: str | None = None
    """More for people: what the line or the gateway said. Never a token or a body."""
    created_at: datetime
    updated_at: datetime

    def money(self) -> Money:
        """The amount asked for."""
        return Money(self.amount, self.currency)

    @property
    def is_open(self) -> bool:
        """Whether its end is not yet known."""
        return self.state in OPEN_ATTEMPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One capture command and what became of it."""

    capture_id: CaptureId
    payment_id: PaymentId
    currency: str | None
    amount: int | None
    """None until submitted, if the command asked for all that is left."""
    final: bool
    status: CaptureStatus
    request_hash: str
    source: str
    command_id: str
    correlation_id: str
    deadline_at: datetime
    """A capture that waits for its payment is given up at this time."""
    due_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """One refund command and what became of it."""

    refund_id: RefundId
    payment_id: PaymentId
    currency: str | None
    """None while the payment is not known."""
    amount: int | None
    """None until reserved, if the command asked for all that is left."""
    status: RefundStatus
    request: str = field(repr=False)
    request_hash: str
    source: str
    command_id: str
    correlation_id: str
    external: bool = False
    """Made at the gateway, by a person or by the gateway itself."""
    attempts: int = 0
    deadline_at: datetime
    """A refund that waits for its payment is given up at this time."""
    due_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
