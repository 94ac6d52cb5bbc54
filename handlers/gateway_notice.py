"""A gateway told us something unasked: look at what it is about, and believe only what can be believed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime

from gateways.notice import Notice
from gateways.protocol import Approved, Outcome
from handlers.attempt import look_up, when_answered
from handlers.conclude import conclude
from handlers.decision import Decision, Known, Noticed, Policy
from handlers.hold import hold_is_gone, is_held_by
from handlers.late_truth import late_truth
from handlers.refund_requested import TAKES_MONEY
from handlers.requests import call_for
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus, Refund, RefundStatus
from messages.ids import AttemptId, RefundId, refund_attempt_id
from messages.operation import Operation

WAITS = (AttemptState.PENDING, AttemptState.ACTION_REQUIRED, AttemptState.UNKNOWN)


def noticed(known: Known, noticed: Noticed, policy: Policy, now: datetime) -> Decision:
    """Decide on a notice (books, 5.2, webhook rule)."""
    payment, notice = known.payment, noticed.notice
    assert payment is not None
    attempt = known.attempts.get(noticed.attempt_id) if noticed.attempt_id is not None else None
    if attempt is None or _is_about_another(attempt, notice):
        return _made_elsewhere(known, payment, notice, policy, now)
    if notice.says is not None:
        return _as_it_says(known, attempt, notice, notice.says, policy, now)
    others = _looked_at_soon(known, attempt, now)
    if notice.came_through and attempt.state is AttemptState.SUCCEEDED:
        return Decision(result="stale", attempts=others)
    if attempt.state in (AttemptState.CREATED, AttemptState.SENT):
        # Its own answer is on the way, or its lease brings it back.
        return Decision(result="noted", attempts=others)
    step = look_up(attempt, policy, now)
    refund = known.refunds.get(attempt.refund_id) if attempt.refund_id is not None else None
    capture = known.captures.get(attempt.capture_id) if attempt.capture_id is not None else None
    call = call_for(step, payment, refund, capture)
    return Decision(result=payment.status, attempts=(*others, step.attempt), call=call)


def _as_it_says(
    known: Known, attempt: Attempt, notice: Notice, says: Outcome, policy: Policy, now: datetime
) -> Decision:
    """Take the word of a gateway that cannot be asked, in whatever order its words come."""
    if attempt.is_open and notice.undoes:
        # Its success has been overtaken: it is taken in first, or what follows would be taken for news of money.
        done = Approved(reference=notice.reference or "", amount=notice.amount or attempt.money())
        success = _answered(known, attempt, done, policy, now)
        after = _with(known, success)
        ended = after.attempts[attempt.attempt_id]
        return success if ended.is_open else success.then(late_truth(after, ended, says, policy, now))
    if attempt.is_open:
        return _answered(known, attempt, says, policy, now)
    if (
        attempt.state is AttemptState.REVERSED
        and isinstance(says, Approved)
        and says.reference == attempt.reference
    ):
        return Decision(result="stale")  # the success that was undone since
    return late_truth(known, attempt, says, policy, now)


def _answered(known: Known, attempt: Attempt, says: Outcome, policy: Policy, now: datetime) -> Decision:
    step = when_answered(attempt, says, is_lookup=True, policy=policy, now=now)
    return conclude(known, step, says, policy, now)


def _with(known: Known, decision: Decision) -> Known:
    """What is known once a decision is taken in."""
    return replace(
        known,
        payment=decision.payment or known.payment,
        attempts={**known.attempts, **{a.attempt_id: a for a in decision.attempts}},
        captures={**known.captures, **{c.capture_id: c for c in decision.captures}},
        refunds={**known.refunds, **{r.refund_id: r for r in decision.refunds}},
    )


def _is_about_another(attempt: Attempt, notice: Notice) -> bool:
    """Whether the name it carries is that of the payment, while something else was done to it."""
    if notice.operation is Operation.CAPTURE and attempt.operation is Operation.SALE:
        return False
    return notice.operation in (Operation.REFUND, Operation.CAPTURE, Operation.VOID) and (
        attempt.operation is not notice.operation
    )


def _looked_at_soon(known: Known, attempt: Attempt, now: datetime) -> tuple[Attempt, ...]:
    """Whatever else of the payment waits for news is asked about, too: one notice may be about several."""
    return tuple(
        replace(other, due_at=now, updated_at=now)
        for other in known.attempts.values()
        if other.state in WAITS and other.attempt_id != attempt.attempt_id
    )


def _made_elsewhere(
    known: Known, payment: Payment, notice: Notice, policy: Policy, now: datetime
) -> Decision:
    """Somebody acted at the gateway itself: in its dashboard, or the gateway of its own accord."""
    match notice.operation:
        case Operation.REFUND if notice.reference is not None and notice.amount is not None:
            return _refunded_elsewhere(known, payment, notice, policy, now)
        case Operation.VOID:
            return _released_elsewhere(known, payment, notice, policy, now)
        case Operation.CAPTURE:
            needs_a_person = replace(payment, attention=True, updated_at=now)
            return Decision(
                result=payment.status,
                payment=needs_a_person,
                detail={"contradiction": "a capture was made at the gateway, not by a command"},
            )
        case _:
            soon = _looked_at_soon_all(known, now)
            return Decision(result="noted", attempts=soon)


def _looked_at_soon_all(known: Known, now: datetime) -> tuple[Attempt, ...]:
    return tuple(
        replace(attempt, due_at=now, updated_at=now)
        for attempt in known.attempts.values()
        if attempt.state in WAITS
    )


def _released_elsewhere(
    known: Known, payment: Payment, notice: Notice, policy: Policy, now: datetime
) -> Decision:
    ours = _cancellation_of_ours(known, notice)
    if ours is not None and notice.says is not None:
        return _as_it_says(known, ours, notice, notice.says, policy, now)
    held = next((a for a in known.attempts.values() if is_held_by(a)), None)
    if held is None:
        return Decision(result="noted", attempts=_looked_at_soon_all(known, now))
    if policy.gateways[held.gateway].can_be_asked:
        step = look_up(held, policy, now)
        return Decision(result=payment.status, attempts=(step.attempt,), call=call_for(step, payment))
    if isinstance(notice.says, Approved):
        return hold_is_gone(known, held, PaymentStatus.VOIDED, now)
    return Decision(result="noted")


def _cancellation_of_ours(known: Known, notice: Notice) -> Attempt | None:
    """The cancellation of ours that a notice may be about, though it bears the payment's name alone.

    Its own reference came with an answer that was lost, or is not here yet. Of several the first is meant: they ask
    for the same, and what one of them was told is true for all.
    """
    nameless = (
        attempt
        for attempt in known.attempts.values()
        if attempt.operation is Operation.VOID
        and attempt.is_open
        and attempt.gateway == notice.gateway
        # Until the gateway's own name for it has come, it may go by ours.
        and attempt.reference in (None, attempt.attempt_id, notice.reference)
    )
    for cancel in sorted(nameless, key=lambda attempt: attempt.created_at):
        original = known.attempts.get(cancel.acts_on) if cancel.acts_on is not None else None
        if original is not None and notice.parent_reference in (original.reference, original.attempt_id):
            return cancel
    return None


def external_names(payment_id: str, reference: str) -> tuple[RefundId, AttemptId]:
    """Names for a refund that was made at the gateway: the same notice always gives the same."""
    mark = hashlib.sha256(reference.encode()).hexdigest()[:16]
    refund_id = RefundId(f"{payment_id}.x{mark}")
    return refund_id, refund_attempt_id(refund_id, 1)


def _refunded_elsewhere(
    known: Known, payment: Payment, notice: Notice, policy: Policy, now: datetime
) -> Decision:
    """A refund nobody commanded (books, R19): taken into the books once the gateway confirms it."""
    assert notice.reference is not None and notice.amount is not None
    refund_id, attempt_id = external_names(payment.payment_id, notice.reference)
    attempt = known.attempts.get(attempt_id)
    refund = known.refunds.get(refund_id)
    if attempt is None or refund is None:
        taken = next(
            (a for a in known.attempts.values() if a.operation in TAKES_MONEY and not a.is_open), None
        )
        refund = Refund(
            refund_id=refund_id,
            payment_id=payment.payment_id,
            currency=notice.amount.currency,
            amount=notice.amount.minor,
            status=RefundStatus.FAILED,
            request="",
            request_hash="",
            source=f"/gateways/{notice.gateway}",
            command_id=notice.notice_id,
            correlation_id=notice.notice_id,
            external=True,
            attempts=1,
            deadline_at=now,
            created_at=now,
            updated_at=now,
        )
        attempt = Attempt(
            attempt_id=attempt_id,
            payment_id=payment.payment_id,
            refund_id=refund_id,
            operation=Operation.REFUND,
            gateway=notice.gateway,
            currency=notice.amount.currency,
            amount=notice.amount.minor,
            acts_on=taken.attempt_id if taken is not None else None,
            # Nothing was done by us, and nothing is set aside: what the gateway confirms is booked as late truth.
            state=AttemptState.FAILED,
            reference=notice.reference,
            parent_reference=notice.parent_reference,
            created_at=now,
            updated_at=now,
        )
    adopted = Decision(result="noted", refunds=(refund,), attempts=(attempt,))
    if notice.says is not None:
        with_it = replace(known, refunds={**known.refunds, refund_id: refund})
        return adopted.then(late_truth(with_it, attempt, notice.says, policy, now))
    step = look_up(attempt, policy, now)
    return replace(adopted, attempts=(step.attempt,), call=call_for(step, payment, refund))
