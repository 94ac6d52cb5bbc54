"""The table of contents: everything that can happen to a payment, and who decides on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from gateways.protocol import Approved
from handlers.action_completed import action_completed
from handlers.attempt import look_up, may_send_again, when_answered, when_due
from handlers.calling_off import HOLDS_MONEY, call_off, is_being_called_off, is_overdue
from handlers.capture_requested import capture_requested, consider_capture
from handlers.conclude import conclude
from handlers.decision import Answered, Asked, Decision, Happening, Known, Noticed, Policy, TimerDue
from handlers.gateway_notice import noticed
from handlers.give_back import give_back
from handlers.hold import hold_due, is_held_by
from handlers.late_truth import is_given_back_when_due, late_truth
from handlers.payment_requested import payment_requested
from handlers.refund_requested import consider, refund_requested, send_again
from handlers.requests import call_for
from handlers.void_requested import void_requested
from ledger.states import Attempt, AttemptState, CaptureStatus, RefundStatus
from messages.commands import (
    CaptureRequested,
    PaymentActionCompleted,
    PaymentRequested,
    RefundRequested,
    VoidRequested,
)

STALE = Decision(result="stale")
"""It is over already, another call has been made since, or another worker was quicker."""


def decide(known: Known, happening: Happening, policy: Policy, now: datetime) -> Decision:
    """Decide what a happening does to a payment. Pure: the same inputs give the same decision."""
    match happening:
        case Asked():
            return _asked(known, happening, policy, now)
        case Answered():
            return _answered(known, happening, policy, now)
        case Noticed():
            return noticed(known, happening, policy, now)
        case TimerDue():
            return _timer_due(known, happening, policy, now)
        case _:
            assert_never(happening)


def _asked(known: Known, asked: Asked, policy: Policy, now: datetime) -> Decision:
    command = asked.command
    match command:
        case PaymentRequested():
            return payment_requested(known, asked, command, policy, now)
        case CaptureRequested():
            return capture_requested(known, asked, command, policy, now)
        case VoidRequested():
            return void_requested(known, asked, policy, now)
        case PaymentActionCompleted():
            return action_completed(known, asked, command, policy, now)
        case RefundRequested():
            return refund_requested(known, asked, command, policy, now)
        case _:
            assert_never(command)


def _answered(known: Known, answered: Answered, policy: Policy, now: datetime) -> Decision:
    attempt = known.attempts.get(answered.attempt_id)
    if attempt is None:
        return STALE
    is_latest = attempt.call_number == answered.call_number
    if not attempt.is_open:
        return _answered_after_the_end(known, attempt, answered, policy, now)
    if not is_latest:
        return STALE
    step = when_answered(attempt, answered.answer, is_lookup=answered.is_lookup, policy=policy, now=now)
    return conclude(known, step, answered.answer, policy, now)


def _answered_after_the_end(
    known: Known, attempt: Attempt, answered: Answered, policy: Policy, now: datetime
) -> Decision:
    if answered.is_lookup and attempt.call_number == answered.call_number:
        return late_truth(known, attempt, answered.answer, policy, now)
    if answered.is_lookup or not isinstance(answered.answer, Approved):
        return STALE
    if attempt.state in (AttemptState.SUCCEEDED, AttemptState.REVERSED):
        return STALE
    # A call that was given up long ago has moved money after all. The gateway is asked before it is booked.
    if not policy.gateways[attempt.gateway].can_be_asked:
        return late_truth(known, attempt, answered.answer, policy, now)
    return _read_again(known, attempt, policy, now)


def _timer_due(known: Known, timer: TimerDue, policy: Policy, now: datetime) -> Decision:
    if timer.attempt_id is not None:
        attempt = known.attempts.get(timer.attempt_id)
        if attempt is None or attempt.due_at is None or attempt.due_at > now:
            return STALE
        return _attempt_due(known, attempt, policy, now)
    if timer.capture_id is not None:
        capture = known.captures.get(timer.capture_id)
        if capture is None or capture.status is not CaptureStatus.REQUESTED:
            return STALE
        if capture.due_at is None or capture.due_at > now:
            return STALE
        return consider_capture(known, capture, policy, now)
    refund = known.refunds.get(timer.refund_id) if timer.refund_id is not None else None
    if refund is None or refund.due_at is None or refund.due_at > now:
        return STALE
    if refund.status is RefundStatus.REVERSED:
        return send_again(known, refund, policy, now)
    if refund.status is not RefundStatus.REQUESTED:
        return STALE
    return consider(known, refund, policy, now)


def _attempt_due(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    payment = known.payment
    assert payment is not None
    if is_overdue(attempt, known, now) or _only_a_cancellation_helps(known, attempt, policy, now):
        return call_off(known, attempt, policy, now)
    if attempt.is_open:
        return conclude(known, when_due(attempt, policy, now), None, policy, now)
    if is_held_by(attempt):
        return hold_due(known, attempt, policy, now)
    if is_given_back_when_due(attempt, payment, now):
        # Whatever comes of it, this attempt needs no further look.
        done = replace(attempt, expires_at=None, due_at=None, updated_at=now)
        looked_at = Decision(result=payment.status, attempts=(done,))
        return looked_at.then(give_back(known, payment, attempt, "late", policy, now))
    return _read_again(known, attempt, policy, now)


def _read_again(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """Ask how an attempt stands that had ended."""
    assert known.payment is not None
    step = look_up(attempt, policy, now)
    call = call_for(step, known.payment)
    return Decision(result=known.payment.status, attempts=(step.attempt,), call=call)


def _only_a_cancellation_helps(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> bool:
    """Nobody knows how it ended, the gateway cannot be asked, and its memory for our key is over (books, P28)."""
    return (
        attempt.state is AttemptState.UNKNOWN
        and attempt.operation in HOLDS_MONEY
        and not policy.gateways[attempt.gateway].can_be_asked
        and not may_send_again(attempt, policy, now)
        and not is_being_called_off(known)
    )
