"""Valid values with sensible defaults, so that a test spells out only what it is about.

The defaults fit together: payment `pay_1` of order 1001, 19.99 EUR through the gateway `stripe`, at `NOON`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gateways.protocol import (
    ActionRequired,
    Approved,
    Capabilities,
    Declined,
    DeclineReason,
    Firmness,
    NextAction,
    NotSent,
    Pending,
    Unknown,
)
from handlers.decision import Answered, Asked, Call, Known, Policy
from ledger.states import (
    Attempt,
    AttemptState,
    Capture,
    CaptureStatus,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)
from messages.commands import (
    CaptureRequested,
    Command,
    PaymentActionCompleted,
    PaymentRequested,
    RefundRequested,
    VoidRequested,
)
from messages.ids import AttemptId, CaptureId, PaymentId, RefundId
from messages.money import Money
from messages.operation import Operation

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PAYMENT = PaymentId("pay_1")
CAPTURE = CaptureId("cap_1")
REFUND = RefundId("ref_1")
TOKEN = "pm_card_visa"
REFERENCE = "pi_1"
"""The gateway's name for the payment's operation."""
REFUND_REFERENCE = "re_1"
PRICE = Money(1999, "EUR")


def eur(minor: int) -> Money:
    """Euro cents."""
    return Money(minor, "EUR")


# --- commands ---


def payment_data(**fields: object) -> dict[str, Any]:
    """The data of a PaymentRequested as another service would write it; None leaves a field out."""
    return _filled(
        {
            "payment_id": PAYMENT,
            "order_id": "1001",
            "amount": {"minor": PRICE.minor, "currency": PRICE.currency},
            "payment_method": {"gateway": "stripe", "token": TOKEN},
        },
        fields,
    )


def refund_data(**fields: object) -> dict[str, Any]:
    """The data of a RefundRequested for all that is left; None leaves a field out."""
    return _filled({"refund_id": REFUND, "payment_id": PAYMENT}, fields)


def _filled(defaults: dict[str, Any], fields: Mapping[str, object]) -> dict[str, Any]:
    merged = {name: value for name, value in {**defaults, **fields}.items() if value is not None}
    return {
        name: {"minor": value.minor, "currency": value.currency} if isinstance(value, Money) else value
        for name, value in merged.items()
    }


def a_payment_requested(**fields: object) -> PaymentRequested:
    """A PaymentRequested; fields as in `payment_data`."""
    return PaymentRequested.model_validate_json(json.dumps(payment_data(**fields)))


def a_refund_requested(**fields: object) -> RefundRequested:
    """A RefundRequested; fields as in `refund_data`."""
    return RefundRequested.model_validate_json(json.dumps(refund_data(**fields)))


def a_capture_requested(**fields: object) -> CaptureRequested:
    """A final CaptureRequested for all that is left."""
    data = _filled({"capture_id": CAPTURE, "payment_id": PAYMENT}, fields)
    return CaptureRequested.model_validate_json(json.dumps(data))


def a_void_requested(**fields: object) -> VoidRequested:
    """A VoidRequested."""
    return VoidRequested.model_validate_json(json.dumps(_filled({"payment_id": PAYMENT}, fields)))


def an_action_completed(**fields: object) -> PaymentActionCompleted:
    """The customer is back."""
    return PaymentActionCompleted.model_validate_json(json.dumps(_filled({"payment_id": PAYMENT}, fields)))


def asked(command: Command, *, message_id: str = "msg_1", source: str = "/order-service") -> Asked:
    """A command as the worker hands it to the handlers."""
    body = command.model_dump_json(exclude_defaults=True)
    return Asked(
        command=command,
        message_id=message_id,
        source=source,
        correlation_id=message_id,
        body_hash=hashlib.sha256(f"{type(command).__name__}:{body}".encode()).hexdigest(),
        body=body,
    )


# --- what a gateway says ---


def approved(amount: Money = PRICE, reference: str = REFERENCE) -> Approved:
    """It happened, in full."""
    return Approved(reference=reference, amount=amount)


def action_required(reference: str = REFERENCE) -> ActionRequired:
    """The customer is to confirm in the bank's own pages."""
    return ActionRequired(
        reference=reference, action=NextAction(kind="redirect", url="https://bank.example/3ds")
    )


def pending(reference: str = REFERENCE) -> Pending:
    """Accepted and under way."""
    return Pending(reference=reference)


def declined(
    reason: DeclineReason = DeclineReason.INSUFFICIENT_FUNDS, firmness: Firmness = Firmness.SOFT
) -> Declined:
    """A definite no."""
    return Declined(reason=reason, firmness=firmness, code=f"code_{reason.value}")


def not_sent(*, retryable: bool) -> NotSent:
    """Provably not executed."""
    detail = "connection refused" if retryable else "400: no such parameter"
    return NotSent(detail=detail, retryable=retryable)


def unknown(reference: str | None = None) -> Unknown:
    """Nobody knows."""
    return Unknown(detail="read timeout", reference=reference)


def answer_to(call: Call, answer: Any, *, is_lookup: bool) -> Answered:
    """An answer to a call as the worker hands it to the handlers."""
    return Answered(
        payment_id=call.payment_id,
        attempt_id=call.attempt_id,
        refund_id=call.refund_id,
        call_number=call.call_number,
        answer=answer,
        is_lookup=is_lookup,
    )


# --- rules ---


def capabilities(**fields: Any) -> Capabilities:
    """A gateway that takes EUR and USD, replays for a day, and whose calls end within half a minute."""
    defaults: dict[str, Any] = {
        "currencies": frozenset({"EUR", "USD"}),
        "replay_window": timedelta(hours=24),
        "call_time_limit": timedelta(seconds=30),
        "partial_capture": True,
        "multiple_capture": False,
    }
    return Capabilities(**defaults | fields)


def a_policy(**fields: Any) -> Policy:
    """The service's own defaults, with one gateway, `stripe`."""
    defaults: dict[str, Any] = {"default_gateway": "stripe", "gateways": {"stripe": capabilities()}}
    return Policy(**defaults | fields)


# --- rows of the ledger ---


def a_payment(**fields: Any) -> Payment:
    """A sale that has just been asked for."""
    request = asked(a_payment_requested())
    defaults: dict[str, Any] = {
        "payment_id": PAYMENT,
        "order_id": "1001",
        "gateway": "stripe",
        "currency": "EUR",
        "requested": PRICE.minor,
        "status": PaymentStatus.AUTHORIZING,
        "capture": True,
        "request": request.body,
        "request_hash": request.body_hash,
        "source": request.source,
        "command_id": request.message_id,
        "correlation_id": request.correlation_id,
        "created_at": NOON,
        "updated_at": NOON,
        "attempts": 1,
    }
    return Payment(**defaults | fields)


def a_captured_payment(**fields: Any) -> Payment:
    """A sale that went through."""
    amounts = {"authorized": PRICE.minor, "captured_gross": PRICE.minor, "sequence": 1}
    return a_payment(status=PaymentStatus.CAPTURED, **amounts | fields)


def an_attempt(**fields: Any) -> Attempt:
    """The first call of a sale, under way since `NOON`."""
    defaults: dict[str, Any] = {
        "attempt_id": AttemptId("pay_1.a1"),
        "payment_id": PAYMENT,
        "operation": Operation.SALE,
        "gateway": "stripe",
        "currency": "EUR",
        "amount": PRICE.minor,
        "state": AttemptState.SENT,
        "call_number": 1,
        "tries": 1,
        "sent_at": NOON,
        "due_at": NOON + timedelta(seconds=45),
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Attempt(**defaults | fields)


def a_capture(**fields: Any) -> Capture:
    """A capture of all that is held, waiting."""
    defaults: dict[str, Any] = {
        "capture_id": CAPTURE,
        "payment_id": PAYMENT,
        "currency": None,
        "amount": None,
        "final": True,
        "status": CaptureStatus.REQUESTED,
        "request_hash": "hash",
        "source": "/order-service",
        "command_id": "msg_3",
        "correlation_id": "msg_3",
        "deadline_at": NOON + timedelta(hours=24),
        "due_at": NOON + timedelta(seconds=30),
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Capture(**defaults | fields)


def a_refund(**fields: Any) -> Refund:
    """A refund of all that is left, waiting."""
    request = asked(a_refund_requested(), message_id="msg_2")
    defaults: dict[str, Any] = {
        "refund_id": REFUND,
        "payment_id": PAYMENT,
        "currency": None,
        "amount": None,
        "status": RefundStatus.REQUESTED,
        "request": request.body,
        "request_hash": request.body_hash,
        "source": request.source,
        "command_id": request.message_id,
        "correlation_id": request.correlation_id,
        "deadline_at": NOON + timedelta(hours=24),
        "due_at": NOON + timedelta(seconds=30),
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Refund(**defaults | fields)


def known_of(payment: Payment | None, *rows: Attempt | Capture | Refund) -> Known:
    """All that is known of one payment."""
    known = Known(payment=payment)
    for row in rows:
        if isinstance(row, Attempt):
            known.attempts[row.attempt_id] = row
        elif isinstance(row, Capture):
            known.captures[row.capture_id] = row
        else:
            known.refunds[row.refund_id] = row
    return known


def a_captured_sale(**fields: Any) -> Known:
    """A payment whose sale went through, with its attempt; fields go into the payment."""
    done = replace(an_attempt(), state=AttemptState.SUCCEEDED, reference=REFERENCE, due_at=None)
    return known_of(a_captured_payment(**fields), done)
