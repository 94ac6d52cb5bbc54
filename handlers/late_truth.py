"""What a gateway says now of an attempt that had ended: the truth is recorded, booked and announced, however late.

None of our own checks stands in its way (books, 5.1): it has happened, whether we like it or not.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    DeclineReason,
    NotSent,
    Opened,
    Outcome,
    Pending,
    Unknown,
)
from handlers.attempt import closed
from handlers.calling_off import call_off
from handlers.decision import Decision, Known, Policy, announce, stretched
from handlers.give_back import give_back
from handlers.hold import hold_is_gone, is_held_by, let_go, next_look, still_held
from handlers.payment_outcome import succeeded
from ledger.journals import (
    capture_reversed,
    captured,
    refund_found,
    refund_reversed,
    refund_succeeded,
    reversal_undone,
)
from ledger.states import (
    OVER_WITHOUT_MONEY,
    Attempt,
    AttemptState,
    Capture,
    CaptureStatus,
    Payment,
    PaymentStatus,
    RefundStatus,
)
from messages.events import PaymentReversed, PaymentSucceeded, RefundProcessed, RefundReversed
from messages.operation import Operation


def late_truth(
    known: Known, attempt: Attempt, answer: Outcome | Opened | Absent, policy: Policy, now: datetime
) -> Decision:
    """Compare what the gateway says with how the attempt had ended, and put right what differs."""
    # Counted on, so that what is booked now has a name of its own, and no answer older than this one counts.
    attempt = replace(attempt, call_number=attempt.call_number + 1, due_at=None, updated_at=now)
    match answer:
        case Unknown() | NotSent():
            return _ask_later(known, attempt, policy, now)
        case Approved() if answer.amount != attempt.money():
            return _for_a_person(known, attempt, f"the gateway says {answer.amount} now")
        case Approved():
            return _it_stands(known, replace(attempt, reference=answer.reference), policy, now)
        case Declined():
            return _it_does_not(known, attempt, answer, policy, now)
        case Absent():
            if attempt.state is AttemptState.SUCCEEDED:
                return _for_a_person(known, attempt, "the gateway no longer knows of it")
            return _as_it_was(known, attempt, policy, now)
        case Pending() | ActionRequired() | Opened():
            return _as_it_was(known, attempt, policy, now)
        case _:
            assert_never(answer)


def _as_it_was(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    """Nothing new, and what its timer was for is still to come."""
    payment = known.payment
    assert payment is not None
    if is_held_by(attempt):
        attempt = replace(attempt, due_at=next_look(payment, attempt, policy, now))
    elif is_kept_for_now(attempt, payment):
        attempt = replace(attempt, due_at=attempt.expires_at)
    return Decision(result=payment.status, attempts=(attempt,))


def _ask_later(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    assert known.payment is not None
    if not policy.gateways[attempt.gateway].can_be_asked:
        return _as_it_was(known, attempt, policy, now)
    delay = stretched(policy.inquiry_delays, attempt.inquiries, seed=attempt.attempt_id)
    return Decision(result=known.payment.status, attempts=(replace(attempt, due_at=now + delay),))


def _for_a_person(known: Known, attempt: Attempt, text: str) -> Decision:
    assert known.payment is not None
    payment = replace(known.payment, attention=True, updated_at=attempt.updated_at)
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(attempt,),
        detail={"attempt": attempt.attempt_id, "contradiction": text},
    )


# --- it came through ---------------------------------------------------------------------------------------------


def _it_stands(known: Known, attempt: Attempt, policy: Policy, now: datetime) -> Decision:
    match attempt.state:
        case AttemptState.SUCCEEDED if attempt.operation is Operation.AUTHORIZE:
            return still_held(known, attempt, policy, now)
        case AttemptState.SUCCEEDED:
            return _as_it_was(known, attempt, policy, now)
        case AttemptState.REVERSED if attempt.operation in (Operation.SALE, Operation.CAPTURE):
            return _reversal_undone(known, attempt, now)
        case AttemptState.REVERSED:
            return _for_a_person(known, attempt, "a refund that had come back has gone through after all")
        case _:
            # Why it had ended is no longer so.
            done = closed(replace(attempt, reason=None, code=None, soft=False), AttemptState.SUCCEEDED, now)
            match attempt.operation:
                case Operation.AUTHORIZE | Operation.SALE:
                    return _late_payment(known, done, policy, now)
                case Operation.CAPTURE:
                    return _late_capture(known, done, now)
                case Operation.REFUND:
                    return late_refund(known, done, now)
                case Operation.VOID:
                    return _late_void(known, done, now)
                case _:
                    assert_never(attempt.operation)


def _late_payment(known: Known, done: Attempt, policy: Policy, now: datetime) -> Decision:
    """Money where there was none (books, P50, P51, I10): booked, announced, and given back unless it is claimed."""
    payment = known.payment
    assert payment is not None
    was_over = payment.status in OVER_WITHOUT_MONEY
    before = payment.status
    claimed_by = now + policy.late_grace if was_over else None
    done = replace(done, expires_at=claimed_by, due_at=claimed_by)
    if done.operation is Operation.AUTHORIZE:
        done = replace(done, capture_before=now + policy.hold_lasts)
    payment = replace(payment, attention=True, late=payment.late or was_over, updated_at=now)
    payment, announcement, journal = succeeded(payment, done, now, late=True)
    if not was_over:
        # Another attempt of this payment has succeeded, or may yet: this one is a success too many.
        payment = replace(payment, status=before)
    assert announcement is not None and journal is not None
    booked = Decision(
        result=payment.status,
        payment=payment,
        attempts=(done,),
        announcements=(announcement,),
        journals=(journal,),
        detail={"attempt": done.attempt_id, "late": True},
    )
    if was_over:
        return booked
    if done.operation is Operation.SALE:
        return booked.then(give_back(known, payment, done, f"twice{_number(done)}", policy, now))
    return booked.then(call_off(replace(known, payment=payment), done, policy, now))


def _number(attempt: Attempt) -> str:
    return attempt.attempt_id.rsplit(".a", 1)[-1]


def _late_capture(known: Known, done: Attempt, now: datetime) -> Decision:
    payment = known.payment
    assert payment is not None and done.capture_id is not None
    held = payment.authorized - payment.captured_gross - payment.released
    # What had been let go was taken after all: then it was not let go.
    released = payment.released - max(done.amount - held, 0)
    journal = captured(done, held, now)
    payment = replace(
        payment,
        captured_gross=payment.captured_gross + done.amount,
        released=released,
        late=payment.late or payment.status in OVER_WITHOUT_MONEY,
        attention=True,
    )
    payment = replace(payment, status=payment.standing())
    capture = replace(known.captures[done.capture_id], status=CaptureStatus.SUCCEEDED, updated_at=now)
    payment, announcement = announce(
        payment,
        PaymentSucceeded,
        now,
        capture=capture,
        amount=done.money(),
        captured=payment.money(payment.captured_gross),
        capturable=payment.money(payment.capturable),
        gateway=done.gateway,
        late=True,
    )
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(done,),
        captures=(capture,),
        announcements=(announcement,),
        journals=(journal,),
        detail={"attempt": done.attempt_id, "late": True},
    )


def late_refund(known: Known, done: Attempt, now: datetime) -> Decision:
    """A refund we had given up, or never asked for, has been made (books, R18, R19)."""
    payment = known.payment
    assert payment is not None and done.refund_id is not None
    refund = known.refunds[done.refund_id]
    fits = payment.refunded + payment.refund_pending + done.amount <= payment.captured_gross
    if refund.external or not fits:
        payment = replace(payment, refunded_external=payment.refunded_external + done.amount)
    else:
        payment = replace(payment, refunded=payment.refunded + done.amount)
    payment = replace(payment, attention=payment.attention or payment.refundable < 0)
    refund = replace(refund, status=RefundStatus.SUCCEEDED, updated_at=now)
    payment, announcement = announce(
        payment,
        RefundProcessed,
        now,
        refund=refund,
        amount=done.money(),
        refunded=payment.money(payment.refunded + payment.refunded_external),
        refundable=payment.money(max(payment.refundable, 0)),
        external=refund.external,
    )
    return Decision(
        result=refund.status,
        payment=payment,
        attempts=(done,),
        refunds=(refund,),
        announcements=(announcement,),
        journals=(refund_found(done, now), refund_succeeded(done, now)),
        detail={"attempt": done.attempt_id, "late": True},
    )


def _late_void(known: Known, done: Attempt, now: datetime) -> Decision:
    payment = known.payment
    assert payment is not None
    if not payment.capturable or payment.capture_pending:
        return _for_a_person(known, done, "a void that had been given up came through")
    payment, announcement, journal = let_go(payment, done, PaymentStatus.VOIDED, now)
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(done,),
        announcements=(announcement,),
        journals=(journal,),
    )


# --- it did not, or was undone -----------------------------------------------------------------------------------


def _it_does_not(known: Known, attempt: Attempt, no: Declined, policy: Policy, now: datetime) -> Decision:
    if attempt.state is not AttemptState.SUCCEEDED:
        return _as_it_was(known, attempt, policy, now)
    match attempt.operation:
        case Operation.AUTHORIZE:
            ended = PaymentStatus.EXPIRED if no.reason is DeclineReason.EXPIRED else PaymentStatus.VOIDED
            return hold_is_gone(known, attempt, ended, now)
        case Operation.SALE | Operation.CAPTURE:
            return _reversed(known, attempt, no, now)
        case Operation.REFUND:
            return _refund_came_back(known, attempt, no, policy, now)
        case Operation.VOID:
            return _for_a_person(known, attempt, "a void that had come through is said to have failed")
        case _:
            assert_never(attempt.operation)


def _reversed(known: Known, attempt: Attempt, no: Declined, now: datetime) -> Decision:
    """Captured money was taken back (books, P48 and P49)."""
    back = replace(attempt, state=AttemptState.REVERSED, reason=no.reason.value, code=no.code)
    payment, captures = _with_reversed(known, back, CaptureStatus.REVERSED, back.amount, now)
    payment, announcement = announce(
        payment,
        PaymentReversed,
        now,
        amount=back.money(),
        captured=payment.money(payment.captured_gross - payment.capture_reversed),
        capture_id=back.capture_id,
    )
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(back,),
        captures=captures,
        announcements=(announcement,),
        journals=(capture_reversed(back, now),),
        detail={"attempt": back.attempt_id, "code": no.code},
    )


def _reversal_undone(known: Known, attempt: Attempt, now: datetime) -> Decision:
    """Money that had been taken back is there again (books, P52)."""
    done = closed(replace(attempt, reason=None, code=None), AttemptState.SUCCEEDED, now)
    payment, captures = _with_reversed(known, done, CaptureStatus.SUCCEEDED, -done.amount, now)
    payment, announcement = announce(
        payment,
        PaymentSucceeded,
        now,
        amount=done.money(),
        captured=payment.money(payment.captured_gross - payment.capture_reversed),
        capturable=payment.money(payment.capturable),
        gateway=done.gateway,
        capture_id=done.capture_id,
        late=True,
    )
    return Decision(
        result=payment.status,
        payment=payment,
        attempts=(done,),
        captures=captures,
        announcements=(announcement,),
        journals=(reversal_undone(done, now),),
        detail={"attempt": done.attempt_id, "late": True},
    )


def _with_reversed(
    known: Known, attempt: Attempt, status: CaptureStatus, minor: int, now: datetime
) -> tuple[Payment, tuple[Capture, ...]]:
    payment = known.payment
    assert payment is not None
    was_reversed = payment.status is PaymentStatus.REVERSED
    payment = replace(payment, capture_reversed=payment.capture_reversed + minor)
    payment = replace(
        payment,
        status=payment.standing(),
        attention=payment.attention or payment.refundable < 0,
        # Its order may have been paid otherwise meanwhile.
        late=payment.late or was_reversed,
    )
    capture = known.captures.get(attempt.capture_id) if attempt.capture_id is not None else None
    return payment, (replace(capture, status=status, updated_at=now),) if capture is not None else ()


def _refund_came_back(
    known: Known, attempt: Attempt, no: Declined, policy: Policy, now: datetime
) -> Decision:
    """A refund that had succeeded came back: it is owed again (books, R13), and is sent once more (R14)."""
    payment = known.payment
    assert payment is not None and attempt.refund_id is not None
    refund = known.refunds[attempt.refund_id]
    back = replace(attempt, state=AttemptState.REVERSED, reason=no.reason.value, code=no.code)
    again = not refund.external and refund.attempts <= policy.refund_resends
    due_at = now + policy.refund_resend_delay if again else None
    if refund.external:
        payment = replace(payment, refunded_external=payment.refunded_external - back.amount)
    else:
        payment = replace(payment, refunded=payment.refunded - back.amount)
    payment = replace(
        payment,
        refund_pending=payment.refund_pending + back.amount,
        attention=payment.attention or not again,
    )
    refund = replace(refund, status=RefundStatus.REVERSED, due_at=due_at, updated_at=now)
    payment, announcement = announce(
        payment, RefundReversed, now, refund=refund, amount=back.money(), sent_again_at=due_at
    )
    return Decision(
        result=refund.status,
        payment=payment,
        attempts=(back,),
        refunds=(refund,),
        announcements=(announcement,),
        journals=(refund_reversed(back, now),),
        detail={"attempt": back.attempt_id, "code": no.code},
    )


def is_kept_for_now(attempt: Attempt, payment: Payment) -> bool:
    """Whether a sale that came late is kept for its time of grace, until `expires_at`."""
    return (
        payment.late
        and attempt.operation is Operation.SALE
        and attempt.state is AttemptState.SUCCEEDED
        and attempt.expires_at is not None
    )


def is_given_back_when_due(attempt: Attempt, payment: Payment, now: datetime) -> bool:
    """Whether the time of grace of a sale that came late is over, and it is to be given back now."""
    return is_kept_for_now(attempt, payment) and attempt.expires_at is not None and attempt.expires_at <= now
