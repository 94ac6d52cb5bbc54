"""Money we must not keep: taken although it was called off, twice, or after it had been announced as over."""

from __future__ import annotations

from datetime import datetime

from handlers.decision import Decision, Known, Policy
from handlers.refund_requested import reserve
from ledger.states import Attempt, Payment, Refund, RefundStatus
from messages.ids import own_refund_id


def give_back(
    known: Known, payment: Payment, taken: Attempt, why: str, policy: Policy, now: datetime
) -> Decision:
    """Refund what an attempt took, by a refund of the service's own; `why` is a word in its id."""
    amount = min(taken.amount, payment.refundable)
    refund_id = own_refund_id(payment.payment_id, why)
    if amount <= 0 or refund_id in known.refunds:
        return Decision(result=payment.status)
    refund = Refund(
        refund_id=refund_id,
        payment_id=payment.payment_id,
        currency=payment.currency,
        amount=amount,
        status=RefundStatus.REQUESTED,
        request="",
        request_hash="",
        source="/payment-service",
        command_id=payment.command_id,
        correlation_id=payment.correlation_id,
        deadline_at=now,
        created_at=now,
        updated_at=now,
    )
    return reserve(payment, refund, taken, amount, policy, now)
