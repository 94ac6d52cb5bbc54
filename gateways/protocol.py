"""What the service asks of a gateway, and every way a gateway's answer can end.

An answer is a value, never an exception: a decline is `Declined`, a line that broke is `Unknown`.
Unknown is not failure: money may have moved (books, 5.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, Protocol

from messages.ids import AttemptId, PaymentId, RefundId
from messages.money import Money
from messages.operation import Operation as Operation


class DeclineReason(StrEnum):
    """Why a gateway said no, in our words; the gateway's own code travels beside it."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    GENERIC_DECLINE = "generic_decline"
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


class Firmness(StrEnum):
    """What a decline means for another try with the same method."""

    SOFT = "soft"
    """May succeed later, or elsewhere."""
    HARD = "hard"
    """Never try the same method again."""
    NEEDS_AUTHENTICATION = "needs_authentication"
    """The bank wants the customer present (strong customer authentication)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAction:
    """What the customer must do before the payment can go on."""

    kind: Literal["redirect", "sdk"]
    url: str | None = None
    client_secret: str | None = field(default=None, repr=False)


# --- how a call ends -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """It happened: `amount` is what the gateway says moved (or is held), not what we asked."""

    reference: str
    amount: Money
    capture_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequired:
    """The customer must act; a look-up or a callback will tell how it ended."""

    reference: str
    action: NextAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Accepted and under way; a look-up or a callback will tell how it ended."""

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A definite no: nothing moved and nothing will."""

    reason: DeclineReason
    firmness: Firmness
    code: str
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """Provably not executed: no byte left us, or the gateway says it did nothing."""

    detail: str
    retryable: bool
    """True: the same call may succeed later (refused connection, 429). False: it must be changed first (400)."""
    crowded_out: bool = False
    """True: it only waited here for its turn, which did not come. Nothing was tried, and no try is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nobody knows: money may have moved. Resolved by a look-up, a callback or a person."""

    detail: str
    reference: str | None = None


Outcome = Approved | ActionRequired | Pending | Declined | NotSent | Unknown
"""The six endings of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """First of two steps done: the gateway named the operation, no money can have moved yet.

    The service stores the reference before the second step, so that an unknown outcome can be looked up.
    """

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A look-up found no trace. Proof of absence only when it is seen again after the visibility window."""

    detail: str
    reference: str | None = None


# --- what is asked ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeRequest:
    """Ask the bank to hold money, or to take it at once (`capture=True`, a sale)."""

    attempt_id: AttemptId
    """Also the idempotency key, and the reference the gateway keeps for us."""
    payment_id: PaymentId
    order_id: str
    amount: Money
    token: str = field(repr=False)
    capture: bool
    reference: str | None
    """What `Opened` gave, once stored; None on the first step."""
    off_session: bool = False
    """True for a payment the merchant starts without the customer."""
    authenticate: bool = False
    """True: the bank wants strong customer authentication, so it is asked for outright (a step-up)."""
    customer_id: str | None = None
    return_url: str | None = None
    description: str | None = None
    statement_descriptor: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """Take held money, all or part of it."""

    attempt_id: AttemptId
    payment_id: PaymentId
    authorization_reference: str
    amount: Money
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidRequest:
    """Give up a hold, or cancel a payment that is still open at the gateway. No money may have been taken."""

    attempt_id: AttemptId
    payment_id: PaymentId
    authorization_reference: str
    """Empty where it was never learnt: then it is canceled by `canceled_attempt_id`, where the gateway can."""
    amount: Money
    """What is expected to be let go; echoed by `Approved`."""
    canceled_attempt_id: AttemptId | None = None
    """Our own name for what is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """Give captured money back, all or part of it."""

    attempt_id: AttemptId
    payment_id: PaymentId
    refund_id: RefundId
    capture_reference: str
    amount: Money
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupRequest:
    """Ask what became of an earlier attempt."""

    attempt_id: AttemptId
    operation: Operation
    payment_id: PaymentId
    amount: Money
    reference: str | None
    """The gateway's own id of the operation, if we ever learnt it."""
    parent_reference: str | None
    """For a capture, void or refund: the id of the authorization or capture it acts on."""
    customer_brought: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the customer's browser brought back from the bank; some gateways complete the payment only with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a gateway can do, declared so that a command it cannot serve is refused before the call."""

    currencies: frozenset[str]
    replay_window: timedelta
    """How long a repeat under the same attempt id gives the first answer instead of a second effect.

    Where a gateway cannot be asked (its `lookup` always says `Unknown`), such a repeat is one of three ways to
    learn what became of a payment, beside a callback and a cancellation that comes through.
    """
    call_time_limit: timedelta
    """After this long a call of ours cannot still be running here; the attempt's lease is longer."""
    partial_capture: bool
    multiple_capture: bool
    calls_at_once: int | None = None
    """So many calls of a worker may be under way; more wait for their turn, and are no failures. None: no bound."""
    can_be_asked: bool = True
    """False: a look-up never tells how an operation ended, only the gateway's signed callbacks do."""
    refunds_by_capture: bool = False
    """True: a refund names one capture, and cannot give back more than that one took."""


class Gateway(Protocol):
    """One provider that moves money. Methods return endings and raise only on a bug of ours."""

    @property
    def name(self) -> str:
        """The word commands and routing rules use, such as `stripe`."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this gateway can do."""
        ...

    async def authorize(self, request: AuthorizeRequest) -> Outcome | Opened:
        """Hold money, or take it at once. `Opened` asks to be called again with the stored reference."""
        ...

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Take held money."""
        ...

    async def void(self, request: VoidRequest) -> Outcome:
        """Let a hold go, or cancel what is still open. Already captured or already gone is `Declined`."""
        ...

    async def refund(self, request: RefundRequest) -> Outcome:
        """Give captured money back."""
        ...

    async def lookup(self, request: LookupRequest) -> Outcome | Absent:
        """Tell what has become of an attempt by now. A search that may lag is never `Absent` proof: say `Unknown`.

        It may be asked of an operation that ended long ago, too, for what has happened since: a hold that was let go
        is `Declined` as `EXPIRED` or `CANCELED`, a capture or refund that came back is `Declined`. What it led to
        does not undo it: an authorization that was captured stays `Approved`.
        """
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...
