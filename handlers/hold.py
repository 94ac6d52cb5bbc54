"""What is held, and how it ends without being taken: it lapses, it is let go, or it is found to be gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from handlers.attempt import look_up
from handlers.calling_off import call_off, is_being_paid, left_of
from handlers.decision import Announcement, Decision, Known, Policy, announce
from handlers.requests import call_for
from ledger.journals import Journal, release
from ledger.states import Attempt, AttemptState, Payment, PaymentStatus
from messages.events import FailureReason, PaymentExpired, PaymentExpiring, PaymentReleased, PaymentVoided
from messages.operation import Operation

RECHECK = timedelta(hours=1)
"""A hold that lapses while it is being captured or let go is looked at again after this time."""


def is_held_by(attempt: Attempt) -> bool:
    """Whether the attempt is an authorization that came through."""
    return attempt.operation is Operation.AUTHORIZE and attempt.state is AttemptState.SUCCEEDED


def hold_due(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """Warn ahead of a hold's end; at its end ask the gateway, and let go what it still holds."""
    payment = known.payment
    assert payment is not None and attempt.capture_before is not None
    if not payment.capturable:
        return Decision(result=payment.status, attempts=(replace(attempt, due_at=None, updated_at=now),))
    if now >= _kept_until(payment, attempt) and payment.status is PaymentStatus.AUTHORIZED and payment.late:
        return call_off(known, attempt, policy, now)
    if now < attempt.capture_before - policy.expiry_warning:
        # It was being read again, and the answer was lost.
        return _ask(known, attempt, policy, now)
    if now < attempt.capture_before:
        warned = replace(attempt, is_warned=True, due_at=attempt.capture_before, updated_at=now)
        if attempt.is_warned:
            return Decision(result=payment.status, attempts=(warned,))
        payment, warning = announce(
            payment,
            PaymentExpiring,
            now,
            amount=payment.money(payment.capturable),
            capture_before=attempt.capture_before,
        )
        return Decision(result=payment.status, payment=payment, attempts=(warned,), announcements=(warning,))
    if payment.status in (PaymentStatus.CAPTURING, PaymentStatus.VOIDING):
        return Decision(
            result=payment.status, attempts=(replace(attempt, due_at=now + RECHECK, updated_at=now),)
        )
    if not policy.gateways[attempt.gateway].can_be_asked:
        return call_off(known, attempt, policy, now)
    return _ask(known, attempt, policy, now)


def _ask(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    assert known.payment is not None
    step = look_up(attempt, policy, now)
    call = call_for(step, known.payment)
    return Decision(result=known.payment.status, attempts=(step.attempt,), call=call)


def still_held(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """The gateway says that a hold is still good. After its time it is let go all the same: nobody took it."""
    payment = known.payment
    assert payment is not None
    is_free = payment.status in (PaymentStatus.AUTHORIZED, PaymentStatus.PARTIALLY_CAPTURED)
    if is_free and payment.capturable and now >= _kept_until(payment, attempt):
        if not _could_not_be_let_go(known, attempt):
            return call_off(known, attempt, policy, now)
        needs_a_person = replace(payment, attention=True, updated_at=now)
        given_up = replace(attempt, due_at=None, updated_at=now)
        why = {
            "attempt": attempt.attempt_id,
            "contradiction": "the hold could not be let go, and is still good",
        }
        return Decision(result=payment.status, payment=needs_a_person, attempts=(given_up,), detail=why)
    watched = replace(attempt, due_at=next_look(payment, attempt, policy, now), updated_at=now)
    return Decision(result=payment.status, attempts=(watched,))


def next_look(payment: Payment, attempt: Attempt, policy: Policy, now: datetime) -> datetime | None:
    """When a hold is to be looked at next; not at all once nothing is left of it."""
    if not payment.capturable or attempt.capture_before is None:
        return None
    kept_until = _kept_until(payment, attempt)
    if attempt.is_warned or kept_until < attempt.capture_before:
        return kept_until if kept_until > now else now + RECHECK
    return max(attempt.capture_before - policy.expiry_warning, now)


def _kept_until(payment: Payment, attempt: Attempt) -> datetime:
    """When it is let go if nobody took it: at its end, or sooner if it came late and nobody claims it."""
    assert attempt.capture_before is not None
    if payment.late and not payment.captured_gross and attempt.expires_at is not None:
        return min(attempt.expires_at, attempt.capture_before)
    return attempt.capture_before


def _could_not_be_let_go(known: Known, held: Attempt) -> bool:
    return any(
        a.operation is Operation.VOID
        and a.acts_on == held.attempt_id
        and a.state in (AttemptState.DECLINED, AttemptState.FAILED)
        for a in known.attempts.values()
    )


def let_go(
    payment: Payment, source: Attempt, ended: PaymentStatus, now: datetime, *, goes_on: bool = False
) -> tuple[Payment, Announcement, Journal]:
    """What is left of the source's hold is gone (J03).

    `ended` is where a payment stands then of which nothing was captured and nothing else is held. `goes_on` says that
    another attempt to pay is still under way: this hold was one too many.
    """
    rest = min(source.amount, payment.capturable)
    payment = replace(payment, released=payment.released + rest)
    is_part = goes_on or bool(payment.captured_gross or payment.capturable)
    if not goes_on:
        payment = replace(payment, status=payment.standing() if is_part else ended)
    whole = PaymentExpired if ended is PaymentStatus.EXPIRED else PaymentVoided
    kind = PaymentReleased if is_part else whole
    payment, announcement = announce(payment, kind, now, amount=payment.money(rest))
    return payment, announcement, release(source, rest, now)


def end_of_hold(attempt: Attempt, now: datetime) -> PaymentStatus:
    """How a hold that was let go has ended: in its time, or called off before."""
    lapsed = attempt.capture_before is not None and now >= attempt.capture_before
    return PaymentStatus.EXPIRED if lapsed else PaymentStatus.VOIDED


def hold_is_gone(known: Known, attempt: Attempt, ended: PaymentStatus, now: datetime) -> Decision:
    """The gateway says the hold is gone, though we did not let it go (books, P32, P33 and P42)."""
    payment = known.payment
    assert payment is not None
    left = left_of(known, attempt)
    # The reason says that it is gone: told again, it does not take another hold with it.
    reason = FailureReason.EXPIRED if ended is PaymentStatus.EXPIRED else FailureReason.CANCELED
    attempt = replace(attempt, reason=reason, due_at=None, updated_at=now)
    if not left:
        return Decision(result=payment.status, attempts=(attempt,))
    goes_on = is_being_paid(known)
    gone = replace(attempt, amount=left)
    payment, announcement, journal = let_go(payment, gone, ended, now, goes_on=goes_on)
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(attempt,),
        announcements=(announcement,),
        journals=(journal,),
    )
