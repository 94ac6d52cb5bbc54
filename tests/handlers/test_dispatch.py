"""What is stale changes nothing, whoever decides; and a decision is fit for the audit log."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import Absent, Approved, AuthorizeRequest, LookupRequest, Opened
from handlers.decision import Answered, Decision, Known, TimerDue
from handlers.dispatch import STALE, decide
from ledger.states import AttemptState, PaymentStatus, RefundStatus
from messages.ids import AttemptId, RefundId
from tests.builders import (
    NOON,
    PAYMENT,
    REFUND,
    TOKEN,
    a_payment,
    a_policy,
    a_refund,
    action_required,
    an_attempt,
    answer_to,
    approved,
    declined,
    known_of,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story, a_captured_story, a_sale

EVERY_ANSWER = [
    approved(),
    action_required(),
    pending(),
    declined(),
    not_sent(retryable=True),
    not_sent(retryable=False),
    unknown(),
    Absent(detail="no trace"),
]


@pytest.mark.parametrize("answer", EVERY_ANSWER, ids=lambda answer: type(answer).__name__)
@pytest.mark.parametrize("is_lookup", [True, False])
def test_the_answer_to_an_older_call_is_stale(answer: Any, is_lookup: bool) -> None:
    story = a_sale()
    older = story.calls[-1]
    story.fall_due()
    before = story.sale
    decision = story.tell(answer_to(older, answer, is_lookup=is_lookup))

    assert decision == STALE
    assert story.sale == before


@pytest.mark.parametrize("answer", EVERY_ANSWER, ids=lambda answer: type(answer).__name__)
@pytest.mark.parametrize("ending", [approved(), declined(), not_sent(retryable=False)])
def test_an_answer_after_the_end_is_stale(ending: Any, answer: Any) -> None:
    story = a_sale()
    call = story.calls[-1]
    story.answer(ending)
    before = story.payment
    decision = story.answer(answer, call=call)

    assert story.payment == before
    if isinstance(answer, Approved) and not isinstance(ending, Approved):
        # It says that money moved after all: the gateway is asked before anything is booked.
        assert isinstance(story.calls[-1].request, LookupRequest)
    else:
        assert decision == STALE


def test_the_same_answer_twice_counts_once() -> None:
    story = a_sale()
    call = story.calls[-1]
    story.answer(approved())

    assert story.answer(approved(), call=call) == STALE
    assert len(story.journals) == 1


def test_an_answer_for_an_attempt_nobody_knows_is_stale() -> None:
    stray = Answered(
        payment_id=PAYMENT,
        attempt_id=AttemptId("pay_1.a9"),
        call_number=1,
        answer=approved(),
        is_lookup=False,
    )

    assert decide(Known(), stray, a_policy(), NOON) == STALE
    assert decide(known_of(a_payment(), an_attempt()), stray, a_policy(), NOON) == STALE


def test_a_timer_that_is_not_due_is_stale() -> None:
    known = known_of(a_payment(), an_attempt(due_at=NOON))
    timer = TimerDue(payment_id=PAYMENT, attempt_id=AttemptId("pay_1.a1"))

    assert decide(known, timer, a_policy(), NOON - timedelta(microseconds=1)) == STALE
    assert decide(known, timer, a_policy(), NOON) != STALE


@pytest.mark.parametrize(
    "state", [AttemptState.SUCCEEDED, AttemptState.DECLINED, AttemptState.FAILED, AttemptState.CANCELED]
)
def test_a_timer_of_what_is_over_is_stale(state: AttemptState) -> None:
    known = known_of(a_payment(), an_attempt(state=state, due_at=None))
    timer = TimerDue(payment_id=PAYMENT, attempt_id=AttemptId("pay_1.a1"))

    assert decide(known, timer, a_policy(), NOON + timedelta(days=9)) == STALE


@pytest.mark.parametrize(
    "status", sorted(set(RefundStatus) - {RefundStatus.REQUESTED, RefundStatus.REVERSED})
)
def test_a_timer_of_a_refund_that_no_longer_waits_is_stale(status: RefundStatus) -> None:
    known = known_of(None, a_refund(status=status))
    timer = TimerDue(payment_id=PAYMENT, refund_id=REFUND)

    assert decide(known, timer, a_policy(), NOON + timedelta(days=9)) == STALE


def test_a_timer_of_a_waiting_refund_that_is_not_due_is_stale() -> None:
    known = known_of(None, a_refund(due_at=NOON))

    for timer in (
        TimerDue(payment_id=PAYMENT, refund_id=REFUND),
        TimerDue(payment_id=PAYMENT, refund_id=RefundId("ref_9")),
        TimerDue(payment_id=PAYMENT),
    ):
        assert decide(known, timer, a_policy(), NOON - timedelta(seconds=1)) == STALE


def test_a_stale_answer_to_a_refund_changes_nothing() -> None:
    story = a_captured_story()
    story.ask_refund()
    older = story.calls[-1]
    story.fall_due(story.refunding)
    before = story.refund

    assert story.answer(declined(), call=older) == STALE
    assert story.refund == before


# --- a crash loses nothing ---


def test_a_call_made_again_after_a_crash_is_the_same_request_under_the_same_key() -> None:
    story = a_sale(metadata={"b": "2", "a": "1"}, description="Order 1001")
    first = story.calls[-1]
    again = story.fall_due().call

    assert again is not None
    assert again.request == first.request
    assert (again.attempt_id, again.call_number) == (first.attempt_id, first.call_number + 1)


def test_a_call_made_again_after_the_first_step_carries_the_stored_reference() -> None:
    story = a_sale()
    story.answer(Opened(reference="pi_9"))
    again = story.fall_due().call

    assert again is not None
    assert isinstance(again.request, AuthorizeRequest)
    assert again.request.reference == "pi_9"


def test_the_first_step_announces_nothing() -> None:
    story = a_sale()
    decision = story.answer(Opened(reference="pi_9"))

    assert story.payment.status is PaymentStatus.AUTHORIZING
    assert (decision.announcements, decision.journals) == ((), ())
    assert decision.call is not None


def test_a_second_message_that_finds_a_live_attempt_makes_no_second_call() -> None:
    story = a_sale()

    assert story.ask_payment(message_id="msg_9").call is None


# --- the audit log ---


def test_the_audit_log_keeps_the_fingerprint_of_what_was_booked() -> None:
    story = a_sale()
    details = json.loads(story.answer(approved()).details())

    assert details["journals"] == {"pay_1.a1/J10s": story.journals[0].digest()}
    assert details["state"] == "succeeded"


def test_a_decision_without_details_is_an_empty_object() -> None:
    assert Decision(result="stale").details() == "{}"


def test_no_token_is_in_the_audit_log_or_a_repr() -> None:
    story = Story()
    story.ask_payment()
    for answer in (unknown(), *EVERY_ANSWER):
        if story.sale.is_open:
            story.ask_again_until_answered(answer, attempt=story.sale)

    assert TOKEN not in "".join(decision.details() for decision in story.decisions)
    assert TOKEN not in repr(story.decisions)
    assert TOKEN not in repr(story.calls)
