"""One call intent through its life (books, 5.2): what an answer or a due timer makes of it, and what to ask next.

Nothing here knows of payments or refunds; `payment_outcome` and `refund_outcome` draw the conclusions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    Firmness,
    NotSent,
    Opened,
    Outcome,
    Pending,
    Unknown,
)
from handlers.decision import Policy, stretched
from ledger.states import Attempt, AttemptState
from messages.events import FailureReason
from messages.operation import Operation

Ask = Literal["operation", "lookup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The attempt after it, and the call to make next, if any."""

    attempt: Attempt
    ask: Ask | None = None
    contradiction: str | None = None
    """The gateway's word does not fit ours: a person must look."""


def send(attempt: Attempt, policy: Policy, now: datetime) -> Step:
    """Make the operation's call, under the same key as ever."""
    sent = replace(
        attempt,
        state=AttemptState.SENT,
        call_number=attempt.call_number + 1,
        tries=attempt.tries + 1,
        inquiries=0,
        sent_at=attempt.sent_at or now,
        absent_since=None,
        due_at=now + policy.lease(attempt.gateway),
        updated_at=now,
    )
    return Step(attempt=sent, ask="operation")


def look_up(attempt: Attempt, policy: Policy, now: datetime) -> Step:
    """Ask the gateway what became of it. The state stays; should the answer be lost, `due_at` asks again."""
    asked = replace(
        attempt,
        call_number=attempt.call_number + 1,
        inquiries=attempt.inquiries + 1,
        due_at=now + policy.lease(attempt.gateway),
        updated_at=now,
    )
    return Step(attempt=asked, ask="lookup")


def when_due(attempt: Attempt, policy: Policy, now: datetime) -> Step:
    """Do what its time has come for."""
    match attempt.state:
        case AttemptState.CREATED:
            return send(attempt, policy, now)
        case AttemptState.SENT:
            # Its worker died, or lost the answer. Within the replay window the same key is safe to send again.
            lost = replace(attempt, doubtful=True)
            if may_send_again(lost, policy, now):
                return send(lost, policy, now)
            return look_up(replace(lost, state=AttemptState.UNKNOWN), policy, now)
        case AttemptState.UNKNOWN if not policy.gateways[attempt.gateway].can_be_asked:
            if may_send_again(attempt, policy, now):
                again = send(attempt, policy, now)
                # Here it is sent where elsewhere it is asked about: it counts as both.
                return replace(again, attempt=replace(again.attempt, inquiries=attempt.inquiries + 1))
            return look_up(attempt, policy, now)
        case AttemptState.UNKNOWN | AttemptState.PENDING | AttemptState.ACTION_REQUIRED:
            return look_up(attempt, policy, now)
        case (
            AttemptState.SUCCEEDED
            | AttemptState.DECLINED
            | AttemptState.FAILED
            | AttemptState.CANCELED
            | AttemptState.REVERSED
        ):
            # It has ended, and something made us doubt that this is still so.
            return look_up(attempt, policy, now)
        case _:
            assert_never(attempt.state)


def when_answered(
    attempt: Attempt, answer: Outcome | Opened | Absent, *, is_lookup: bool, policy: Policy, now: datetime
) -> Step:
    """Take the gateway's word, whatever it is."""
    match answer:
        case Opened(reference=reference):
            # Stored before the second step, so that whatever becomes of that step can be looked up.
            second = send(replace(attempt, reference=reference), policy, now)
            return replace(second, attempt=replace(second.attempt, tries=attempt.tries))
        case Approved():
            return _approved(attempt, answer, policy, now)
        case ActionRequired(reference=reference):
            expires_at = attempt.expires_at or now + policy.action_time
            waiting = replace(attempt, reference=reference, expires_at=expires_at)
            return _wait(waiting, AttemptState.ACTION_REQUIRED, policy, now)
        case Pending(reference=reference):
            return _wait(replace(attempt, reference=reference), AttemptState.PENDING, policy, now)
        case Declined(reason=reason, code=code, firmness=firmness):
            reference = answer.reference or attempt.reference
            soft = firmness is not Firmness.HARD
            ended = replace(attempt, reference=reference, reason=reason.value, code=code, soft=soft)
            return Step(attempt=closed(ended, AttemptState.DECLINED, now))
        case NotSent():
            return _not_sent(attempt, answer, is_lookup=is_lookup, policy=policy, now=now)
        case Unknown(detail=detail, reference=reference):
            learnt = replace(attempt, reference=reference or attempt.reference)
            if is_lookup:
                return Step(attempt=_later(learnt, policy, now))
            return Step(attempt=in_doubt(learnt, detail, policy, now))
        case Absent(detail=detail):
            return _absent(attempt, detail, policy, now)
        case _:
            assert_never(answer)


def closed(attempt: Attempt, state: AttemptState, now: datetime) -> Attempt:
    """End it."""
    return replace(attempt, state=state, expires_at=None, due_at=None, updated_at=now)


def in_doubt(attempt: Attempt, detail: str, policy: Policy, now: datetime) -> Attempt:
    """Nobody knows whether it was executed: look it up on a schedule, never call it failed."""
    delay = stretched(policy.inquiry_delays, attempt.inquiries, seed=attempt.attempt_id)
    return replace(
        attempt, state=AttemptState.UNKNOWN, doubtful=True, detail=detail, due_at=now + delay, updated_at=now
    )


def _approved(attempt: Attempt, answer: Approved, policy: Policy, now: datetime) -> Step:
    learnt = replace(attempt, reference=answer.reference)
    if answer.amount != attempt.money():
        # Booking either amount could be wrong, and announcing success would be. A person decides.
        text = f"the gateway says {answer.amount}, asked was {attempt.money()}"
        doubted = in_doubt(replace(learnt, absent_since=None), text, policy, now)
        return Step(attempt=doubted, contradiction=text)
    done = closed(replace(learnt, absent_since=None), AttemptState.SUCCEEDED, now)
    if attempt.operation is Operation.AUTHORIZE:
        lapses_at = answer.capture_before or now + policy.hold_lasts
        done = replace(done, capture_before=lapses_at, due_at=max(lapses_at - policy.expiry_warning, now))
    return Step(attempt=done)


def _not_sent(attempt: Attempt, answer: NotSent, *, is_lookup: bool, policy: Policy, now: datetime) -> Step:
    if is_lookup:
        return Step(attempt=_later(attempt, policy, now))
    # Where nobody can be asked, the repeat is what tells: one that never arrived has told nothing, and is not counted.
    told_nothing = attempt.doubtful and answer.retryable and not policy.gateways[attempt.gateway].can_be_asked
    if answer.crowded_out or told_nothing:
        attempt = replace(attempt, tries=attempt.tries - 1)
    if attempt.doubtful:
        # This call was not executed, but an earlier one may have been.
        return Step(attempt=in_doubt(attempt, answer.detail, policy, now))
    if answer.retryable and attempt.tries <= len(policy.retry_delays):
        delay = stretched(policy.retry_delays, max(attempt.tries - 1, 0), seed=attempt.attempt_id)
        again = replace(
            attempt, state=AttemptState.CREATED, detail=answer.detail, due_at=now + delay, updated_at=now
        )
        return Step(attempt=again)
    reason = FailureReason.GATEWAY_UNAVAILABLE if answer.retryable else FailureReason.REFUSED_BY_GATEWAY
    failed = replace(attempt, reason=reason.value, detail=answer.detail)
    return Step(attempt=closed(failed, AttemptState.FAILED, now))


def _absent(attempt: Attempt, detail: str, policy: Policy, now: datetime) -> Step:
    if attempt.state is not AttemptState.UNKNOWN:
        # It was accepted once, and now there is no trace of it: nobody knows.
        attempt = replace(attempt, state=AttemptState.UNKNOWN, doubtful=True)
    if may_send_again(attempt, policy, now):
        return send(attempt, policy, now)
    since = attempt.absent_since or now
    # When it was asked, not when the answer is read: an answer may have waited long for the database.
    if attempt.updated_at - since >= policy.absence_window:
        never = replace(attempt, reason=FailureReason.NEVER_EXECUTED.value, detail=detail)
        return Step(attempt=closed(never, AttemptState.FAILED, now))
    # Look again as soon as a second absence would be proof, if the schedule would have it later.
    proof_at = since + policy.absence_window
    later = _later(replace(attempt, absent_since=since, detail=detail), policy, now)
    return Step(attempt=replace(later, due_at=min(proof_at, later.due_at or proof_at)))


def may_send_again(attempt: Attempt, policy: Policy, now: datetime) -> bool:
    """Whether the gateway would still know the key, and answer a repeat as it answered the first call."""
    if attempt.tries >= policy.max_sends or attempt.sent_at is None:
        return False
    # The repeat must arrive inside the window, not merely leave inside it.
    latest = attempt.sent_at + policy.gateways[attempt.gateway].replay_window - policy.lease(attempt.gateway)
    return now < latest


def _wait(attempt: Attempt, state: AttemptState, policy: Policy, now: datetime) -> Step:
    due_at = now + stretched(policy.pending_delays, attempt.inquiries, seed=attempt.attempt_id)
    # The gateway knows of it: whatever absence was seen before proves nothing now.
    waiting = replace(attempt, state=state, absent_since=None, updated_at=now)
    return Step(attempt=replace(waiting, due_at=_before_it_expires(waiting, due_at, now)))


def _later(attempt: Attempt, policy: Policy, now: datetime) -> Attempt:
    """Keep the state, ask again at the next step of its schedule."""
    delays = policy.inquiry_delays if attempt.state is AttemptState.UNKNOWN else policy.pending_delays
    due_at = now + stretched(delays, attempt.inquiries, seed=attempt.attempt_id)
    return replace(attempt, due_at=_before_it_expires(attempt, due_at, now), updated_at=now)


def _before_it_expires(attempt: Attempt, due_at: datetime, now: datetime) -> datetime:
    """The customer's time is over when it is over, whatever the schedule says."""
    expires_at = attempt.expires_at if attempt.state is AttemptState.ACTION_REQUIRED else None
    return min(due_at, expires_at) if expires_at is not None and expires_at > now else due_at
