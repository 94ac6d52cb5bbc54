"""From a step of an attempt to its conclusion: each operation has its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from handlers.attempt import Step
from handlers.capture_outcome import capture_outcome
from handlers.decision import Decision, Known, Policy
from handlers.payment_outcome import Answer, payment_outcome
from handlers.refund_outcome import refund_outcome
from handlers.void_outcome import void_outcome
from ledger.states import AttemptState
from messages.operation import Operation


def conclude(known: Known, step: Step, answer: Answer | None, policy: Policy, now: datetime) -> Decision:
    """Draw the conclusion from a step; `answer` is the gateway's word that led to it, if any.

    If a person must look, the audit log says why.
    """
    decision = _conclusion(known, step, answer, policy, now)
    name = step.attempt.attempt_id
    if step.contradiction is not None:
        return replace(
            decision, detail={**decision.detail, "attempt": name, "contradiction": step.contradiction}
        )
    is_marked = decision.payment is not None and decision.payment.attention
    was_marked = known.payment is not None and known.payment.attention
    if is_marked and not was_marked and step.attempt.state in (AttemptState.UNKNOWN, AttemptState.PENDING):
        return replace(decision, detail={**decision.detail, "nobody_can_tell": name})
    return decision


def _conclusion(known: Known, step: Step, answer: Answer | None, policy: Policy, now: datetime) -> Decision:
    operation = step.attempt.operation
    match operation:
        case Operation.AUTHORIZE | Operation.SALE:
            return payment_outcome(known, step, answer, policy, now)
        case Operation.CAPTURE:
            return capture_outcome(known, step, policy, now)
        case Operation.REFUND:
            return refund_outcome(known, step, policy, now)
        case Operation.VOID:
            return void_outcome(known, step, policy, now)
        case _:
            assert_never(operation)
