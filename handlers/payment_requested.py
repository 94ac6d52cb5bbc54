"""PaymentRequested: accept the payment and make its first attempt, or say why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers.attempt import send
from handlers.decision import Asked, Decision, Known, Policy, announce
from handlers.rejection import conflict
from handlers.requests import call_for
from handlers.routing import routes
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus
from messages.commands import PaymentRequested
from messages.events import FailureReason, PaymentFailed
from messages.ids import payment_attempt_id
from messages.operation import Operation


def payment_requested(
    known: Known, asked: Asked, command: PaymentRequested, policy: Policy, now: datetime
) -> Decision:
    """Decide on a PaymentRequested (books, P01-P04)."""
    if known.earlier_body_hash not in (None, asked.body_hash):
        return conflict(asked, "id", now)
    if known.payment is not None:
        if known.payment.request_hash != asked.body_hash:
            return conflict(asked, "payment_id", now)
        return Decision(result="repeated", announce_again=known.payment.payment_id)
    offered = routes(command, policy.gateways, policy.rules, policy.default_gateway, unwell=policy.unwell)
    gateway = offered[0].gateway if offered else _named_gateway(command, policy)
    payment = _new_payment(asked, command, gateway, now)
    refusal = _refusal(known, command, payment, policy)
    if refusal is not None:
        return _refuse(payment, *refusal, now)
    first = Attempt(
        attempt_id=payment_attempt_id(payment.payment_id, 1),
        payment_id=payment.payment_id,
        operation=Operation.SALE if payment.capture else Operation.AUTHORIZE,
        gateway=payment.gateway,
        currency=payment.currency,
        amount=payment.requested,
        state=AttemptState.CREATED,
        created_at=now,
        updated_at=now,
    )
    step = send(first, policy, now)
    payment = replace(payment, attempts=1)
    return Decision(
        result=payment.status, payment=payment, attempts=(step.attempt,), call=call_for(step, payment)
    )


def _named_gateway(command: PaymentRequested, policy: Policy) -> str:
    """The gateway it would have gone to, if it were here and took the currency."""
    method = command.payment_method
    return command.gateway or (method and method.gateway) or policy.default_gateway


def _new_payment(asked: Asked, command: PaymentRequested, gateway: str, now: datetime) -> Payment:
    return Payment(
        payment_id=command.payment_id,
        order_id=command.order_id,
        gateway=gateway,
        currency=command.amount.currency,
        requested=command.amount.minor,
        status=PaymentStatus.AUTHORIZING,
        capture=command.capture == "automatic",
        request=asked.body,
        request_hash=asked.body_hash,
        source=asked.source,
        command_id=asked.message_id,
        correlation_id=asked.correlation_id,
        created_at=now,
        updated_at=now,
    )


def _refusal(
    known: Known, command: PaymentRequested, payment: Payment, policy: Policy
) -> tuple[FailureReason, str] | None:
    if known.order_paid_by is not None:
        text = f"payment {known.order_paid_by} of order {payment.order_id} is under way or has succeeded"
        return FailureReason.ORDER_ALREADY_PAID, text
    if command.payment_method is None:
        return FailureReason.UNKNOWN_PAYMENT_METHOD, "no payment method is stored under this id"
    capabilities = policy.gateways.get(payment.gateway)
    if capabilities is None:
        served = ", ".join(sorted(policy.gateways))
        return FailureReason.UNKNOWN_GATEWAY, f"no gateway {payment.gateway} here; there is {served}"
    if payment.currency not in capabilities.currencies:
        text = f"{payment.gateway} does not take {payment.currency}"
        return FailureReason.CURRENCY_NOT_SUPPORTED, text
    return None


def _refuse(payment: Payment, reason: FailureReason, message: str, now: datetime) -> Decision:
    rejected = replace(payment, status=PaymentStatus.REJECTED)
    rejected, failed = announce(
        rejected,
        PaymentFailed,
        now,
        amount=payment.money(payment.requested),
        category="rejected",
        reason=reason,
        retryable=False,
        message=message,
    )
    return Decision(
        result=rejected.status, payment=rejected, announcements=(failed,), detail={"reason": reason.value}
    )
