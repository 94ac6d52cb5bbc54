"""Events: what we announce. Within a major version fields are only added, and optional; consumers ignore new ones."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from messages.commands import Message
from messages.ids import CaptureIdField, PaymentIdField, RefundNameField
from messages.money import Money

EVENTS_EXCHANGE = "payments.events"

Category = Literal["declined", "rejected", "failed", "expired", "canceled"]
Sequence = Annotated[
    int,
    Field(ge=1, description="Counts the payment's events without gaps: a missing number is a missed event."),
]


LATE = "It had been announced as over before. Unless it is captured, the service gives it back by itself."


class FailureReason(StrEnum):
    """Why a payment or refund is over without money moved. Declines add the gateway's own code."""

    DECLINED_INSUFFICIENT_FUNDS = "insufficient_funds"
    DECLINED_GENERIC = "generic_decline"
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    EXPIRED_CARD = "expired_card"
    INVALID_CARD = "invalid_card"
    CVC_FAILED = "cvc_failed"
    AVS_FAILED = "avs_failed"
    AUTHENTICATION_REQUIRED = "authentication_required"
    AUTHENTICATION_FAILED = "authentication_failed"
    LOST_OR_STOLEN = "lost_or_stolen"
    RESTRICTED_CARD = "restricted_card"
    SUSPECTED_FRAUD = "suspected_fraud"
    MANDATE_REVOKED = "mandate_revoked"
    DO_NOT_RETRY = "do_not_retry"
    LIMIT_OR_AMOUNT = "limit_or_amount"
    DUPLICATE = "duplicate"
    CANCELED_BY_CUSTOMER = "canceled_by_customer"
    PIN_REQUIRED = "pin_required"
    EXPIRED = "expired"
    CANCELED = "canceled"
    NOT_REFUNDABLE = "not_refundable"
    OTHER = "other"
    ORDER_ALREADY_PAID = "order_already_paid"
    UNKNOWN_GATEWAY = "unknown_gateway"
    CURRENCY_NOT_SUPPORTED = "currency_not_supported"
    UNKNOWN_PAYMENT_METHOD = "unknown_payment_method"
    GATEWAY_UNAVAILABLE = "gateway_unavailable"
    REFUSED_BY_GATEWAY = "refused_by_gateway"
    NEVER_EXECUTED = "never_executed"
    CANCELED_BY_COMMAND = "canceled_by_command"
    NOTHING_HELD = "nothing_held"
    MORE_THAN_CAPTURABLE = "more_than_capturable"
    PARTIAL_CAPTURE_NOT_SUPPORTED = "partial_capture_not_supported"
    MULTIPLE_CAPTURE_NOT_SUPPORTED = "multiple_capture_not_supported"
    CAPTURE_UNDER_WAY = "capture_under_way"
    SPREAD_OVER_CAPTURES = "spread_over_captures"
    PAYMENT_NOT_CAPTURED = "payment_not_captured"
    MORE_THAN_REFUNDABLE = "more_than_refundable"
    CURRENCY_DIFFERS = "currency_differs"


class RejectionReason(StrEnum):
    """Why a command itself was refused."""

    UNREADABLE = "unreadable"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_FIELD = "invalid_field"
    TOO_LARGE = "too_large"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    PAYMENT_NOT_FOUND = "payment_not_found"
    CARD_DATA_REFUSED = "card_data_refused"


class Event(Message):
    """What every event of ours carries."""

    exchange: ClassVar[str] = EVENTS_EXCHANGE

    occurred_at: Annotated[datetime, Field(description="UTC.")]


class PaymentEvent(Event):
    """What every event about a payment carries."""

    payment_id: PaymentIdField
    order_id: str
    sequence: Sequence


class NextAction(Message):
    """What the customer must do."""

    type: Literal["redirect", "sdk"]
    url: str | None = None
    client_secret: str | None = Field(default=None, repr=False)


class PaymentAuthorized(PaymentEvent):
    """Money is held, not yet taken."""

    routing_key: ClassVar[str] = "payment.authorized"
    amount: Annotated[Money, Field(description="What is held.")]
    gateway: str
    capture_before: Annotated[
        datetime | None, Field(description="When the hold lapses, as far as is known. UTC.")
    ] = None
    late: Annotated[bool, Field(description=LATE)] = False


class PaymentSucceeded(PaymentEvent):
    """A capture succeeded: money was taken."""

    routing_key: ClassVar[str] = "payment.succeeded"
    amount: Annotated[Money, Field(description="Captured now.")]
    captured: Annotated[Money, Field(description="Captured in all.")]
    capturable: Annotated[Money, Field(description="Left to capture.")]
    gateway: str
    capture_id: CaptureIdField | None = None
    late: Annotated[bool, Field(description=LATE)] = False


class PaymentFailed(PaymentEvent):
    """It is over and no money moved."""

    routing_key: ClassVar[str] = "payment.failed"
    amount: Money
    category: Category
    reason: FailureReason
    retryable: Annotated[bool, Field(description="A new payment for the order may succeed as it is.")]
    message: Annotated[str, Field(description="For people on your side; not for the customer.")]
    gateway: str | None = None
    gateway_code: str | None = None


class PaymentActionRequired(PaymentEvent):
    """The customer must act; another event follows."""

    routing_key: ClassVar[str] = "payment.action_required"
    amount: Money
    next_action: NextAction
    expires_at: Annotated[datetime, Field(description="After this the payment is given up. UTC.")]


class PaymentPending(PaymentEvent):
    """Accepted by the gateway and under way; another event follows."""

    routing_key: ClassVar[str] = "payment.pending"
    amount: Money


class PaymentInDoubt(PaymentEvent):
    """Nobody knows yet whether money moved; another event follows. Do not charge again."""

    routing_key: ClassVar[str] = "payment.in_doubt"
    amount: Money
    message: str


class PaymentVoided(PaymentEvent):
    """The hold is gone, or the operation was canceled at the gateway; no money was taken."""

    routing_key: ClassVar[str] = "payment.voided"
    amount: Money


class PaymentExpired(PaymentEvent):
    """The customer did not act in time, or a hold lapsed; no money was taken."""

    routing_key: ClassVar[str] = "payment.expired"
    amount: Money


class PaymentExpiring(PaymentEvent):
    """A hold lapses soon: capture it or let it go."""

    routing_key: ClassVar[str] = "payment.expiring"
    amount: Annotated[Money, Field(description="Still held.")]
    capture_before: Annotated[datetime, Field(description="UTC.")]


class PaymentReleased(PaymentEvent):
    """What was left of a hold after its captures was let go."""

    routing_key: ClassVar[str] = "payment.released"
    amount: Annotated[Money, Field(description="Let go now.")]


class PaymentCaptureFailed(PaymentEvent):
    """A capture is over and took nothing; what is held is still held unless another event says otherwise."""

    routing_key: ClassVar[str] = "payment.capture_failed"
    capture_id: CaptureIdField
    amount: Money
    category: Category
    reason: FailureReason
    message: str
    gateway_code: str | None = None


class PaymentVoidFailed(PaymentEvent):
    """The hold was not let go, or there was none."""

    routing_key: ClassVar[str] = "payment.void_failed"
    amount: Annotated[Money, Field(description="Still held; zero where nothing is.")]
    category: Category
    reason: FailureReason
    message: str
    gateway_code: str | None = None


class PaymentReversed(PaymentEvent):
    """Captured money was taken back later, by the bank or the gateway."""

    routing_key: ClassVar[str] = "payment.reversed"
    amount: Annotated[Money, Field(description="Taken back now.")]
    captured: Annotated[Money, Field(description="Still captured.")]
    capture_id: CaptureIdField | None = None


class RefundEvent(PaymentEvent):
    """What every event about a refund carries; its sequence is the payment's."""

    refund_id: RefundNameField
    amount: Money


class RefundProcessed(RefundEvent):
    """The money is on its way back."""

    routing_key: ClassVar[str] = "refund.processed"
    refunded: Annotated[Money, Field(description="Refunded in all.")]
    refundable: Annotated[Money, Field(description="Left to refund.")]
    external: Annotated[bool, Field(description="Made at the gateway, not by a command.")] = False


class RefundPending(RefundEvent):
    """Accepted and under way, or nobody knows yet; another event follows. Do not refund again."""

    routing_key: ClassVar[str] = "refund.pending"
    in_doubt: Annotated[bool, Field(description="True while nobody knows whether it was executed.")]


class RefundFailed(RefundEvent):
    """It is over and nothing was given back."""

    routing_key: ClassVar[str] = "refund.failed"
    category: Category
    reason: FailureReason
    message: str
    gateway_code: str | None = None


class RefundReversed(RefundEvent):
    """A refund that had succeeded came back; it is owed again, and is sent once more or given to a person."""

    routing_key: ClassVar[str] = "refund.reversed"
    sent_again_at: Annotated[
        datetime | None, Field(description="When it is sent again; none: a person decides. UTC.")
    ] = None


class CommandRejected(Event):
    """The command itself was refused and nothing was done. Its body is never echoed."""

    routing_key: ClassVar[str] = "command.rejected"
    command_id: str
    command_type: str
    command_source: str
    reason: RejectionReason
    field: str | None = None
    message: str
    payment_id: str | None = None
    refund_id: str | None = None


EVENTS: dict[str, type[Event]] = {
    event.__name__: event
    for event in (
        PaymentAuthorized,
        PaymentSucceeded,
        PaymentFailed,
        PaymentActionRequired,
        PaymentPending,
        PaymentInDoubt,
        PaymentVoided,
        PaymentExpired,
        PaymentExpiring,
        PaymentReleased,
        PaymentReversed,
        PaymentCaptureFailed,
        PaymentVoidFailed,
        RefundProcessed,
        RefundPending,
        RefundFailed,
        RefundReversed,
        CommandRejected,
    )
}
"""Wire name to class."""
