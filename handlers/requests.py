"""From what is written down to what a gateway is asked: the same rows give the same request, today or after a crash."""

from __future__ import annotations

import json
from typing import assert_never

from gateways.protocol import (
    AuthorizeRequest,
    CaptureRequest,
    LookupRequest,
    RefundRequest,
    VoidRequest,
)
from handlers.attempt import Ask, Step
from handlers.decision import Call, GatewayRequest
from ledger.states import Attempt, Capture, Payment, Refund
from messages.commands import PaymentRequested, RefundRequested
from messages.operation import Operation


def call_for(
    step: Step, payment: Payment, refund: Refund | None = None, capture: Capture | None = None
) -> Call | None:
    """Make the call a step asks for."""
    if step.ask is None:
        return None
    attempt = step.attempt
    return Call(
        gateway=attempt.gateway,
        payment_id=attempt.payment_id,
        attempt_id=attempt.attempt_id,
        refund_id=attempt.refund_id,
        call_number=attempt.call_number,
        request=_request(step.ask, attempt, payment, refund, capture),
    )


def _request(
    ask: Ask, attempt: Attempt, payment: Payment, refund: Refund | None, capture: Capture | None
) -> GatewayRequest:
    if ask == "lookup":
        return LookupRequest(
            attempt_id=attempt.attempt_id,
            operation=attempt.operation,
            payment_id=attempt.payment_id,
            amount=attempt.money(),
            reference=attempt.reference,
            parent_reference=attempt.parent_reference,
            customer_brought=json.loads(attempt.brought) if attempt.brought else {},
        )
    match attempt.operation:
        case Operation.AUTHORIZE | Operation.SALE:
            return _authorize(attempt, payment)
        case Operation.VOID:
            return VoidRequest(
                attempt_id=attempt.attempt_id,
                payment_id=attempt.payment_id,
                authorization_reference=attempt.parent_reference or "",
                amount=attempt.money(),
                canceled_attempt_id=attempt.acts_on,
            )
        case Operation.REFUND:
            assert refund is not None, "a refund attempt belongs to a refund"
            return _refund(attempt, refund)
        case Operation.CAPTURE:
            assert capture is not None, "a capture attempt belongs to a capture"
            return CaptureRequest(
                attempt_id=attempt.attempt_id,
                payment_id=attempt.payment_id,
                authorization_reference=attempt.parent_reference or "",
                amount=attempt.money(),
                final=capture.final,
            )
        case _:
            assert_never(attempt.operation)


def _authorize(attempt: Attempt, payment: Payment) -> AuthorizeRequest:
    command = PaymentRequested.model_validate_json(payment.request)
    token = token_for(command, attempt.gateway)
    assert token is not None, "checked before the attempt was written"
    return AuthorizeRequest(
        attempt_id=attempt.attempt_id,
        payment_id=attempt.payment_id,
        order_id=payment.order_id,
        amount=attempt.money(),
        token=token,
        capture=attempt.operation is Operation.SALE,
        reference=attempt.reference,
        off_session=command.initiator == "merchant",
        authenticate=attempt.authenticate,
        customer_id=command.customer_id,
        return_url=command.return_url,
        description=command.description,
        statement_descriptor=command.statement_descriptor,
        metadata=command.metadata,
    )


def token_for(command: PaymentRequested, gateway: str) -> str | None:
    """The token by which a gateway knows the payment method."""
    offered = [method for method in (command.payment_method, *command.alternatives) if method is not None]
    named = (method.token for method in offered if method.gateway == gateway)
    return next(named, None) or next((method.token for method in offered if method.gateway is None), None)


def _refund(attempt: Attempt, refund: Refund) -> RefundRequest:
    if not refund.request:  # no command asked for it
        return RefundRequest(
            attempt_id=attempt.attempt_id,
            payment_id=attempt.payment_id,
            refund_id=refund.refund_id,
            capture_reference=attempt.parent_reference or "",
            amount=attempt.money(),
        )
    command = RefundRequested.model_validate_json(refund.request)
    return RefundRequest(
        attempt_id=attempt.attempt_id,
        payment_id=attempt.payment_id,
        refund_id=refund.refund_id,
        capture_reference=attempt.parent_reference or "",
        amount=attempt.money(),
        reason=command.reason,
        metadata=command.metadata,
    )
