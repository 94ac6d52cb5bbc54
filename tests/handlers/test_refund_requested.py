"""RefundRequested: reserved, refused, waiting for its payment, repeated, in conflict."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import RefundRequest
from handlers.decision import Decision
from ledger.states import AttemptState, PaymentStatus, RefundStatus
from messages.events import FailureReason, RefundFailed, RejectionReason
from messages.ids import PaymentId
from tests.builders import (
    NOON,
    PAYMENT,
    PRICE,
    REFUND,
    a_policy,
    action_required,
    approved,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story, a_captured_story, a_sale


def reason_of(story: Story) -> FailureReason:
    """Why the refund was refused."""
    event = story.events[-1]
    assert isinstance(event, RefundFailed)
    assert event.category == "rejected"
    return event.reason


def test_a_refund_is_reserved_before_the_gateway_is_asked() -> None:
    story = a_captured_story()
    decision = story.ask_refund(amount=eur(500))

    assert (story.refund.status, story.refund.amount) == (RefundStatus.SUBMITTED, 500)
    assert (story.payment.refund_pending, story.payment.refundable) == (500, 1499)
    assert [journal.journal_type for journal in decision.journals] == ["J30"]
    assert decision.announcements == ()
    assert story.refunding.state is AttemptState.SENT


def test_the_call_names_the_capture_and_carries_the_refunds_key() -> None:
    story = a_captured_story()
    call = story.ask_refund(amount=eur(500), reason="damaged", metadata={"rma": "7"}).call

    assert call is not None
    assert (call.attempt_id, call.refund_id) == ("ref_1.r1", REFUND)
    assert call.request == RefundRequest(
        attempt_id=story.refunding.attempt_id,
        payment_id=PAYMENT,
        refund_id=REFUND,
        capture_reference="pi_1",
        amount=eur(500),
        reason="damaged",
        metadata={"rma": "7"},
    )


def test_without_an_amount_all_that_is_left_is_refunded() -> None:
    story = a_captured_story()
    story.ask_refund(refund_id="ref_0", amount=eur(500), message_id="msg_0")
    story.ask_refund()

    assert story.refund.amount == 1499
    assert story.payment.refundable == 0


# --- refused ---


@pytest.mark.parametrize("minor", [2000, 10**9])
def test_more_than_is_left_is_refused(minor: int) -> None:
    story = a_captured_story()
    decision = story.ask_refund(amount=eur(minor))

    assert reason_of(story) is FailureReason.MORE_THAN_REFUNDABLE
    assert story.refund.status is RefundStatus.REJECTED
    assert (decision.call, decision.journals, story.payment.refund_pending) == (None, (), 0)


def test_two_refunds_of_sixty_percent_are_one_refund() -> None:
    story = a_captured_story()
    story.ask_refund(amount=eur(1200))
    story.ask_refund(refund_id="ref_2", amount=eur(1200), message_id="msg_3")

    assert reason_of(story) is FailureReason.MORE_THAN_REFUNDABLE
    assert story.payment.refund_pending == 1200


def test_when_nothing_is_left_a_refund_of_all_is_refused() -> None:
    story = a_captured_story()
    story.ask_refund()
    story.ask_refund(refund_id="ref_2", message_id="msg_3")

    assert reason_of(story) is FailureReason.MORE_THAN_REFUNDABLE


def test_another_currency_is_refused() -> None:
    story = a_captured_story()
    story.ask_refund(amount={"minor": 100, "currency": "USD"})
    event = story.events[-1]

    assert reason_of(story) is FailureReason.CURRENCY_DIFFERS
    assert isinstance(event, RefundFailed)
    assert str(event.amount) == "1.00 USD", "what was asked for"


@pytest.mark.parametrize("ending", [declined(), not_sent(retryable=False)], ids=["declined", "failed"])
def test_what_took_no_money_has_nothing_to_give_back(ending: Any) -> None:
    story = a_sale()
    story.answer(ending)
    story.ask_refund()

    assert reason_of(story) is FailureReason.PAYMENT_NOT_CAPTURED


def test_a_refund_that_failed_leaves_its_money_refundable() -> None:
    story = a_captured_story()
    story.ask_refund()
    story.answer(declined())
    story.ask_refund(refund_id="ref_2", message_id="msg_3")

    assert story.known.refunds[REFUND].status is RefundStatus.FAILED
    assert story.payment.refund_pending == PRICE.minor


# --- waiting ---


@pytest.mark.parametrize(
    "answer", [None, pending(), action_required(), unknown()], ids=lambda answer: type(answer).__name__
)
def test_a_refund_waits_while_its_payment_is_under_way(answer: Any) -> None:
    story = a_sale()
    if answer is not None:
        story.answer(answer)
    decision = story.ask_refund()

    assert (decision.result, story.refund.status) == ("waiting", RefundStatus.REQUESTED)
    assert story.refund.due_at == story.now + story.policy.refund_poll
    assert (decision.call, decision.announcements, decision.payment) == (None, (), None)


def test_a_refund_waits_for_a_payment_that_has_not_come_yet() -> None:
    story = Story()
    decision = story.ask_refund()

    assert decision.result == "waiting"
    assert story.refund.due_at == NOON + timedelta(seconds=30)


def test_a_hold_is_not_refundable_and_is_waited_for() -> None:
    story = a_sale(capture="manual")
    story.answer(approved())

    assert story.ask_refund().result == "waiting"


def test_a_waiting_refund_is_woken_as_soon_as_its_payment_has_settled() -> None:
    story = a_sale()
    story.ask_refund()
    story.wait(timedelta(seconds=5))
    story.answer(approved())
    assert story.refund.due_at == story.now
    decision = story.refund_falls_due()

    assert story.refund.status is RefundStatus.SUBMITTED
    assert decision.call is not None
    assert story.payment.refund_pending == PRICE.minor


def test_a_waiting_refund_whose_payment_was_declined_is_refused() -> None:
    story = a_sale()
    story.ask_refund()
    story.answer(declined())
    story.refund_falls_due()

    assert reason_of(story) is FailureReason.PAYMENT_NOT_CAPTURED
    assert story.event_names() == ["PaymentFailed", "RefundFailed"]


def test_a_waiting_refund_takes_what_is_left_when_its_turn_comes() -> None:
    story = a_sale()
    story.ask_refund()
    story.answer(approved())
    story.ask_refund(refund_id="ref_2", amount=eur(1000), message_id="msg_3")
    story.refund_falls_due()

    assert story.refund.amount == 999


def test_a_refund_whose_payment_never_settled_is_refused_at_its_deadline() -> None:
    story = a_sale(a_policy(refund_patience=timedelta(minutes=2)))
    story.answer(pending())
    story.ask_refund()
    looks = 0
    while story.refund.status is RefundStatus.REQUESTED:
        story.refund_falls_due()
        looks += 1

    assert reason_of(story) is FailureReason.PAYMENT_NOT_CAPTURED
    assert (story.now, looks) == (NOON + timedelta(minutes=2), 4)
    assert story.payment.status is PaymentStatus.PENDING


def test_the_last_look_is_at_the_deadline_and_not_after_it() -> None:
    story = Story(a_policy(refund_patience=timedelta(seconds=40)))
    story.ask_refund()
    story.refund_falls_due()

    assert story.refund.due_at == NOON + timedelta(seconds=40)


def test_a_refund_whose_payment_never_came_is_rejected_to_its_sender() -> None:
    story = Story(a_policy(refund_patience=timedelta(seconds=30)))
    story.ask_refund()
    decision = story.refund_falls_due()

    assert decision.rejection is not None
    event = decision.rejection.event
    assert event.reason is RejectionReason.PAYMENT_NOT_FOUND
    assert (event.command_id, event.command_type) == ("msg_2", "RefundRequested")
    assert (event.refund_id, event.payment_id) == (REFUND, PAYMENT)
    assert (story.refund.status, story.refund.due_at) == (RefundStatus.REJECTED, None)
    assert decision.payment is None


def test_a_refund_whose_payment_never_came_is_rejected_again_when_sent_again() -> None:
    story = Story(a_policy(refund_patience=timedelta(seconds=30)))
    story.ask_refund()
    first = story.refund_falls_due().rejection
    story.wait(timedelta(hours=1))

    assert story.ask_refund().rejection == first


def test_a_refund_given_up_stays_given_up_when_its_payment_comes_after_all() -> None:
    story = Story(a_policy(refund_patience=timedelta(seconds=30)))
    story.ask_refund()
    first = story.refund_falls_due().rejection
    story.wait(timedelta(seconds=1))
    story.ask_payment()
    story.answer(approved())

    assert story.ask_refund().rejection == first
    assert story.payment.refund_pending == 0


# --- repeated ---


@pytest.mark.parametrize(
    "ending",
    [None, approved(reference="re_1"), pending("re_1"), declined(), unknown()],
    ids=lambda answer: type(answer).__name__,
)
@pytest.mark.parametrize("message_id", ["msg_2", "msg_9"], ids=["redelivered", "sent again"])
def test_the_same_refund_again_is_announced_again_and_made_once(ending: Any, message_id: str) -> None:
    story = a_captured_story()
    story.ask_refund()
    if ending is not None:
        story.answer(ending)
    before = story.payment
    decision = story.ask_refund(message_id=message_id)

    assert decision == Decision(result="repeated", announce_again=REFUND)
    assert story.payment == before


def test_a_refused_refund_again_is_announced_again() -> None:
    story = a_captured_story()
    story.wait(timedelta(seconds=1))
    story.ask_refund(amount=eur(5000))

    assert story.ask_refund(amount=eur(5000)).announce_again == REFUND


def test_a_waiting_refund_again_goes_on_waiting() -> None:
    story = Story()
    story.ask_refund()
    before = story.refund
    decision = story.ask_refund()

    assert decision.call is None
    assert story.refund == before


@pytest.mark.parametrize("changed", [{"amount": eur(1)}, {"reason": "other"}, {"metadata": {"a": "1"}}])
def test_the_same_id_with_another_body_is_a_conflict_and_nothing_is_done(changed: dict[str, Any]) -> None:
    story = a_captured_story()
    story.ask_refund()
    before = story.payment
    decision = story.ask_refund(message_id="msg_9", **changed)

    assert decision.rejection is not None
    assert decision.rejection.event.reason is RejectionReason.IDEMPOTENCY_CONFLICT
    assert (decision.rejection.event.field, decision.rejection.event.refund_id) == ("refund_id", REFUND)
    assert story.payment == before
    assert decision.call is None


def test_the_same_id_for_another_payment_is_a_conflict() -> None:
    story = a_captured_story()
    story.ask_refund()
    decision = story.ask_refund(payment_id=PaymentId("pay_2"), message_id="msg_9")

    assert decision.rejection is not None
    assert decision.rejection.event.reason is RejectionReason.IDEMPOTENCY_CONFLICT


def test_the_same_message_id_with_another_body_is_a_conflict() -> None:
    story = a_captured_story()
    story.ask_refund()
    decision = story.ask_refund(refund_id="ref_2", message_id="msg_2")

    assert decision.rejection is not None
    assert decision.rejection.event.field == "id"
    assert decision.call is None
