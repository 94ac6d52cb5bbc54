"""The table of contents: everything that can happen to a payment, and who decides on it."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from handlers.attempt import Step, when_answered, when_due
from handlers.decision import Answered, Asked, Decision, Happening, Known, Policy, TimerDue
from handlers.expiry import call_off, called_off, is_overdue
from handlers.payment_outcome import payment_outcome
from handlers.payment_requested import payment_requested
from handlers.refund_outcome import refund_outcome
from handlers.refund_requested import consider, refund_requested
from ledger.states import RefundStatus
from messages.commands import PaymentRequested, RefundRequested
from messages.operation import Operation

STALE = Decision(result="stale")
"""It is over already, another call has been made since, or another worker was quicker."""


def decide(known: Known, happening: Happening, policy: Policy, now: datetime) -> Decision:
    """Decide what a happening does to a payment. Pure: the same inputs give the same decision."""
    match happening:
        case Asked():
            return _asked(known, happening, policy, now)
        case Answered():
            return _answered(known, happening, policy, now)
        case TimerDue():
            return _timer_due(known, happening, policy, now)
        case _:
            assert_never(happening)


def _asked(known: Known, asked: Asked, policy: Policy, now: datetime) -> Decision:
    command = asked.command
    match command:
        case PaymentRequested():
            return payment_requested(known, asked, command, policy, now)
        case RefundRequested():
            return refund_requested(known, asked, command, policy, now)
        case _:
            assert_never(command)


def _answered(known: Known, answered: Answered, policy: Policy, now: datetime) -> Decision:
    attempt = known.attempts.get(answered.attempt_id)
    if attempt is None or not attempt.is_open or attempt.call_number != answered.call_number:
        return STALE
    step = when_answered(attempt, answered.answer, is_lookup=answered.is_lookup, policy=policy, now=now)
    return _conclude(known, step, answered, policy, now)


def _timer_due(known: Known, timer: TimerDue, policy: Policy, now: datetime) -> Decision:
    if timer.attempt_id is not None:
        attempt = known.attempts.get(timer.attempt_id)
        if attempt is None or attempt.due_at is None or attempt.due_at > now:
            return STALE
        if is_overdue(attempt, known, now):
            return call_off(known, attempt, policy, now)
        return _conclude(known, when_due(attempt, policy, now), None, policy, now)
    refund = known.refunds.get(timer.refund_id) if timer.refund_id is not None else None
    if refund is None or refund.status is not RefundStatus.REQUESTED:
        return STALE
    if refund.due_at is None or refund.due_at > now:
        return STALE
    return consider(known, refund, policy, now)


def _conclude(known: Known, step: Step, answered: Answered | None, policy: Policy, now: datetime) -> Decision:
    operation = step.attempt.operation
    match operation:
        case Operation.AUTHORIZE | Operation.SALE:
            return payment_outcome(known, step, answered, policy, now)
        case Operation.REFUND:
            return refund_outcome(known, step, policy, now)
        case Operation.VOID:
            return called_off(known, step, policy, now)
        case Operation.CAPTURE:
            raise AssertionError("no command captures a hold yet")
        case _:
            assert_never(operation)
