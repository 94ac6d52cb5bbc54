"""From what is written down to what a gateway is asked: the same rows give the same request, today or after a crash."""

from __future__ import annotations

from typing import assert_never

from gateways.protocol import (
    AuthorizeRequest,
    LookupRequest,
    RefundRequest,
    VoidRequest,
)
from handlers.attempt import Ask, Step
from handlers.decision import Call, GatewayRequest
from ledger.states import Attempt, Payment, Refund
from messages.commands import PaymentRequested, RefundRequested
from messages.operation import Operation


def call_for(step: Step, payment: Payment, refund: Refund | None = None) -> Call | None:
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
        request=_request(step.ask, attempt, payment, refund),
    )


def _request(ask: Ask, attempt: Attempt, payment: Payment, refund: Refund | None) -> GatewayRequest:
    if ask == "lookup":
        return LookupRequest(
            attempt_id=attempt.attempt_id,
            operation=attempt.operation,
            payment_id=attempt.payment_id,
            amount=attempt.money(),
            reference=attempt.reference,
            parent_reference=attempt.parent_reference,
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
            )
        case Operation.REFUND:
            assert refund is not None, "a refund attempt belongs to a refund"
            return _refund(attempt, refund)
        case Operation.CAPTURE:
            raise AssertionError("no command captures a hold yet")
        case _:
            assert_never(attempt.operation)


def _authorize(attempt: Attempt, payment: Payment) -> AuthorizeRequest:
    command = PaymentRequested.model_validate_json(payment.request)
    assert command.payment_method is not None, "checked before the attempt was written"
    return AuthorizeRequest(
        attempt_id=attempt.attempt_id,
        payment_id=attempt.payment_id,
        order_id=payment.order_id,
        amount=attempt.money(),
        token=command.payment_method.token,
        capture=attempt.operation is Operation.SALE,
        reference=attempt.reference,
        off_session=command.initiator == "merchant",
        customer_id=command.customer_id,
        return_url=command.return_url,
        description=command.description,
        statement_descriptor=command.statement_descriptor,
        metadata=command.metadata,
    )


def _refund(attempt: Attempt, refund: Refund) -> RefundRequest:
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
