"""The customer did not act in time: the payment is called off (books, P23), with every ending of that."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateways.protocol import Absent, DeclineReason, LookupRequest, VoidRequest
from handlers.decision import Call, Decision
from ledger.states import AttemptState, PaymentStatus
from messages.operation import Operation
from tests.builders import (
    PRICE,
    a_policy,
    action_required,
    approved,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story, a_sale

ABSENT = Absent(detail="no trace")
ALREADY_CAPTURED = declined(DeclineReason.OTHER)


def a_waiting_sale(capture: str = "automatic") -> Story:
    """A payment whose customer is to act; its time is not over yet."""
    story = a_sale(capture=capture)
    story.answer(action_required())
    return story


def an_overdue_sale(capture: str = "automatic") -> Story:
    """A payment whose customer did not act in time; the call to cancel it is under way."""
    story = a_waiting_sale(capture)
    assert story.sale.expires_at is not None
    story.now = story.sale.expires_at
    story.fall_due(story.sale)
    return story


def next_call_for_the_sale(story: Story, decision: Decision) -> Call:
    """The call this decision makes, else the one that the sale's timer makes."""
    call = decision.call or story.fall_due(story.sale).call
    assert call is not None
    return call


def test_a_payment_falls_due_as_soon_as_the_customers_time_is_over() -> None:
    story = a_waiting_sale()
    for _ in range(20):
        assert story.sale.due_at is not None
        assert story.sale.expires_at is not None
        if story.sale.due_at == story.sale.expires_at:
            break
        story.ask_again_until_answered(action_required(), attempt=story.sale)

    assert story.sale.due_at == story.sale.expires_at
    assert story.payment.status is PaymentStatus.ACTION_REQUIRED


def test_before_the_time_is_over_the_payment_is_only_looked_up() -> None:
    story = a_waiting_sale()
    decision = story.fall_due(story.sale)

    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)


def test_an_overdue_payment_is_called_off_under_a_key_of_its_own() -> None:
    story = an_overdue_sale()
    call = story.calls[-1]

    assert isinstance(call.request, VoidRequest)
    assert (call.attempt_id, call.request.attempt_id) == ("pay_1.a2", "pay_1.a2")
    assert (call.request.authorization_reference, call.request.amount) == ("pi_1", PRICE)
    assert (story.cancellation.state, story.payment.attempts) == (AttemptState.SENT, 2)


def test_while_it_is_called_off_the_payment_is_still_looked_up_and_not_called_off_twice() -> None:
    story = an_overdue_sale()
    first_look = story.sale.due_at
    decision = story.fall_due(story.sale)

    assert first_look == story.now == an_overdue_sale().now + timedelta(seconds=30)
    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert len(story.known.attempts) == 2


def test_a_confirmed_cancellation_ends_the_payment() -> None:
    story = an_overdue_sale()
    decision = story.answer(approved())

    assert story.payment.status is PaymentStatus.EXPIRED
    assert story.event_names() == ["PaymentActionRequired", "PaymentExpired"]
    assert (story.sale.state, story.cancellation.state) == (AttemptState.CANCELED, AttemptState.SUCCEEDED)
    assert story.open_attempts() == []
    assert {a.attempt_id for a in decision.attempts} == {"pay_1.a1", "pay_1.a2"}


def test_a_refund_that_waited_is_woken_when_the_payment_is_called_off() -> None:
    story = a_waiting_sale()
    story.ask_refund()
    assert story.sale.expires_at is not None
    story.now = story.sale.expires_at
    story.fall_due(story.sale)
    story.answer(approved())

    assert story.refund.due_at == story.now


@pytest.mark.parametrize(
    "ending",
    [ALREADY_CAPTURED, not_sent(retryable=False)],
    ids=["declined", "refused"],
)
def test_a_cancellation_that_fails_has_the_payment_looked_up_at_once(ending: object) -> None:
    story = an_overdue_sale()
    call = next_call_for_the_sale(story, story.answer(ending))

    assert not story.cancellation.is_open
    assert isinstance(call.request, LookupRequest), "looked up, not called off once more"


def test_a_customer_who_acted_at_the_last_moment_has_paid() -> None:
    story = an_overdue_sale()
    call = next_call_for_the_sale(story, story.answer(ALREADY_CAPTURED))
    assert isinstance(call.request, LookupRequest)
    story.answer(approved())

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.event_names() == ["PaymentActionRequired", "PaymentSucceeded"]
    assert story.open_attempts() == []


def test_a_cancellation_that_is_always_declined_is_not_repeated_without_pause() -> None:
    story = an_overdue_sale()
    started = story.now
    for _ in range(20):
        answer = ALREADY_CAPTURED if isinstance(story.calls[-1].request, VoidRequest) else action_required()
        next_call_for_the_sale(story, story.answer(answer))

    assert story.now - started >= timedelta(minutes=5)


@pytest.mark.parametrize(
    "answer", [pending(), action_required(), unknown()], ids=["pending", "action", "unknown"]
)
def test_a_cancellation_that_is_under_way_is_looked_up(answer: object) -> None:
    story = an_overdue_sale()
    story.answer(answer)
    decision = story.fall_due(story.cancellation)

    assert story.payment.status is PaymentStatus.ACTION_REQUIRED
    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert decision.call.request.operation is Operation.VOID
    assert decision.call.request.parent_reference == "pi_1"


def test_a_cancellation_in_doubt_that_turns_out_done_ends_the_payment() -> None:
    story = an_overdue_sale()
    story.answer(unknown())
    story.ask_again_until_answered(approved(), attempt=story.cancellation)

    assert story.payment.status is PaymentStatus.EXPIRED


def test_a_cancellation_that_did_not_reach_the_gateway_is_tried_again_under_its_key() -> None:
    story = an_overdue_sale()
    story.answer(not_sent(retryable=True))
    decision = story.fall_due(story.cancellation)

    assert decision.call is not None
    assert decision.call.attempt_id == "pay_1.a2"
    assert isinstance(decision.call.request, VoidRequest)


def test_a_cancellation_whose_worker_died_is_sent_again_under_its_key() -> None:
    story = an_overdue_sale()
    decision = story.fall_due(story.cancellation)

    assert decision.call is not None
    assert decision.call.attempt_id == "pay_1.a2"
    assert isinstance(decision.call.request, VoidRequest)


def test_a_cancellation_that_is_too_late_changes_nothing() -> None:
    story = an_overdue_sale()
    cancel = story.calls[-1]
    story.ask_again_until_answered(approved(), attempt=story.sale)
    story.answer(ALREADY_CAPTURED, call=cancel)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.open_attempts() == []


def test_a_cancellation_not_yet_sent_is_dropped_when_the_customer_has_acted() -> None:
    story = an_overdue_sale(capture="manual")
    story.answer(not_sent(retryable=True))
    story.ask_again_until_answered(approved(), attempt=story.sale)
    assert story.payment.status is PaymentStatus.AUTHORIZED
    made = len(story.calls)
    story.wait(timedelta(days=1))
    for timer in story.timers():
        story.tell(timer)

    cancels = [call for call in story.calls[made:] if isinstance(call.request, VoidRequest)]
    assert cancels == [], "it would let go of the hold that was just announced"


def test_a_hold_that_the_cancellation_let_go_is_not_kept_in_the_books() -> None:
    story = an_overdue_sale(capture="manual")
    cancel = story.calls[-1]
    story.ask_again_until_answered(approved(), attempt=story.sale)
    story.answer(approved(), call=cancel)

    assert story.event_names()[-2:] == ["PaymentAuthorized", "PaymentVoided"]
    assert story.payment.status is PaymentStatus.VOIDED
    assert [journal.journal_type for journal in story.journals] == ["J01", "J03"]
    assert story.payment.released == story.payment.authorized


def test_a_cancellation_of_what_was_captured_calls_a_person() -> None:
    story = an_overdue_sale()
    cancel = story.calls[-1]
    story.ask_again_until_answered(approved(), attempt=story.sale)
    story.answer(approved(), call=cancel)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.attention, "one of the gateway's two words is wrong"


def test_a_cancellation_of_another_amount_calls_a_person() -> None:
    story = an_overdue_sale()
    story.answer(approved(eur(1)))

    assert story.payment.status is PaymentStatus.ACTION_REQUIRED
    assert story.cancellation.is_open
    assert story.payment.attention


def test_a_cancellation_nobody_knows_of_calls_a_person_when_the_schedule_is_exhausted() -> None:
    story = an_overdue_sale()
    story.answer(unknown())
    for _ in range(10):
        story.ask_again_until_answered(unknown(), attempt=story.cancellation)

    assert story.cancellation.state is AttemptState.UNKNOWN
    assert story.payment.attention


def test_a_cancellation_is_never_mistaken_for_the_payment_it_cancels() -> None:
    # Some gateways name a cancellation by the id of what it cancels.
    story = an_overdue_sale()
    story.answer(unknown(reference="pi_1"))
    story.ask_again_until_answered(approved(), attempt=story.sale)
    assert story.payment.status is PaymentStatus.CAPTURED
    story.ask_again_until_answered(ALREADY_CAPTURED, attempt=story.cancellation)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert not story.cancellation.is_open


def test_a_cancellation_named_like_its_payment_does_not_undo_a_capture() -> None:
    story = an_overdue_sale()
    story.answer(pending("pi_1"))
    story.ask_again_until_answered(approved(), attempt=story.sale)
    story.ask_again_until_answered(approved(), attempt=story.cancellation)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert "PaymentExpired" not in story.event_names()


def test_when_a_proven_absent_cancellation_has_failed_the_payment_is_looked_up() -> None:
    story = an_overdue_sale()
    story.policy = a_policy(max_sends=1)
    story.answer(unknown())
    for _ in range(10):
        story.ask_again_until_answered(ABSENT, attempt=story.cancellation)
        if not story.cancellation.is_open:
            break
    assert story.cancellation.state is AttemptState.FAILED
    call = next_call_for_the_sale(story, story.decisions[-1])

    assert isinstance(call.request, LookupRequest)


@pytest.mark.parametrize("ending", [approved(), ALREADY_CAPTURED], ids=["canceled", "declined"])
@pytest.mark.parametrize("capture", ["automatic", "manual"])
def test_a_payment_that_the_gateway_names_anew_is_still_the_one_being_called_off(
    capture: str, ending: object
) -> None:
    story = an_overdue_sale(capture)
    cancel = story.calls[-1]
    story.ask_again_until_answered(approved(reference="ch_9"), attempt=story.sale)
    story.answer(ending, call=cancel)

    assert story.open_attempts() == []
    assert story.sale.reference == "ch_9"


def test_a_payment_named_anew_while_it_still_waits_is_ended_by_its_cancellation() -> None:
    story = an_overdue_sale()
    cancel = story.calls[-1]
    story.ask_again_until_answered(action_required("pi_2"), attempt=story.sale)
    story.answer(approved(), call=cancel)

    assert story.payment.status is PaymentStatus.EXPIRED
    assert story.open_attempts() == []


@pytest.mark.parametrize("lost", ["its worker died", "its answer was lost"])
def test_a_cancellation_in_doubt_is_not_sent_again_once_the_customer_has_acted(lost: str) -> None:
    story = an_overdue_sale(capture="manual")
    if lost == "its answer was lost":
        story.answer(unknown())
    story.ask_again_until_answered(approved(), attempt=story.sale)
    assert story.payment.status is PaymentStatus.AUTHORIZED
    made = len(story.calls)
    for _ in range(10):
        if not story.cancellation.is_open:
            break
        call = story.fall_due(story.cancellation).call
        if call is not None and isinstance(call.request, LookupRequest):
            story.answer(ABSENT)

    cancels = [call for call in story.calls[made:] if isinstance(call.request, VoidRequest)]
    assert cancels == [], "it would let go of the hold that was just announced"
