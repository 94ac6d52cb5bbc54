"""What a gateway tells unasked (books, 5.2, webhook rule, and R19): asked about where it can be, believed where not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import (
    Absent,
    Approved,
    DeclineReason,
    Firmness,
    LookupRequest,
    RefundRequest,
    Unknown,
)
from handlers.decision import Decision
from handlers.gateway_notice import external_names
from ledger.accounts import Account
from ledger.states import Attempt, AttemptState, PaymentStatus, Refund, RefundStatus
from messages.events import PaymentSucceeded, RefundProcessed
from messages.operation import Operation
from tests.builders import (
    PAYMENT,
    PRICE,
    REFERENCE,
    a_policy,
    action_required,
    approved,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.lives import (
    SILENT,
    a_hold_under_way,
    attempts_of,
    capture,
    capturing,
    held,
    journals,
    take,
    with_gateway,
)
from tests.handlers.story import Story, a_captured_story, a_sale, approved_in_full

ABSENT = Absent(detail="no such refund")
NO = declined(DeclineReason.OTHER, Firmness.HARD)
CANCELED = declined(DeclineReason.CANCELED, Firmness.HARD)
DASHBOARD = "re_dashboard"


def a_silent_sale() -> Story:
    """A sale at a gateway that cannot be asked; it is under way there."""
    story = a_sale(with_gateway(**SILENT))
    story.answer(pending())
    return story


def a_silent_refund() -> Story:
    """A refund at a gateway that cannot be asked; it is under way there."""
    story = a_captured_story(with_gateway(**SILENT))
    story.ask_refund(amount=eur(500))
    story.answer(pending("re_1"))
    return story


def is_asked_about(decision: Decision, attempt: Attempt) -> bool:
    """Whether the gateway is asked what became of an attempt."""
    call = decision.call
    return (
        call is not None and isinstance(call.request, LookupRequest) and call.attempt_id == attempt.attempt_id
    )


def changes_nothing(decision: Decision) -> bool:
    """Whether nothing was booked, announced, asked or moved."""
    return not (decision.journals or decision.announcements or decision.call or decision.payment)


# --- where the gateway can be asked ---


@pytest.mark.parametrize("answer", [None, not_sent(retryable=True)], ids=["sent", "not sent yet"])
def test_a_notice_that_comes_before_the_answer_leaves_the_call_alone(answer: Any) -> None:
    story = a_sale()
    if answer is not None:
        story.answer(answer)
    before = story.sale
    decision = story.notice(attempt=story.sale, came_through=True)

    assert changes_nothing(decision)
    assert story.sale == before


@pytest.mark.parametrize("notice_first", [True, False])
def test_a_notice_and_the_answer_it_is_about_end_the_same_in_either_order(notice_first: bool) -> None:
    story = a_sale()
    call = story.calls[0]
    if notice_first:
        story.notice(attempt=story.sale, came_through=True)
        story.answer(approved(), call=call)
    else:
        story.answer(approved(), call=call)
        story.notice(attempt=story.sale, came_through=True)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert journals(story) == ["J10s"]
    assert story.event_names() == ["PaymentSucceeded"]
    assert len(story.calls) == 1


@pytest.mark.parametrize(
    "answer", [unknown(), pending(), action_required()], ids=["unknown", "pending", "the customer is to act"]
)
def test_a_notice_of_what_is_open_has_it_looked_up_at_once(answer: Any) -> None:
    story = a_sale()
    story.answer(answer)
    decision = story.notice(attempt=story.sale)
    story.answer(approved())

    assert is_asked_about(decision, story.sale)
    assert story.payment.status is PaymentStatus.CAPTURED
    assert not story.payment.late
    assert journals(story) == ["J10s"]


def test_a_notice_books_nothing_by_its_own_word_where_the_gateway_can_be_asked() -> None:
    story = a_sale()
    story.answer(pending())
    decision = story.notice(attempt=story.sale, came_through=True, amount=PRICE)
    story.answer(pending())

    assert is_asked_about(decision, story.sale)
    assert story.payment.status is PaymentStatus.PENDING
    assert journals(story) == []


def test_a_success_that_is_known_already_is_not_asked_for_again() -> None:
    story = a_captured_story()
    decision = story.notice(attempt=story.sale, came_through=True)

    assert decision.result == "stale"
    assert changes_nothing(decision)


def test_a_success_after_a_decline_is_asked_about() -> None:
    story = a_sale()
    story.answer(NO)

    assert is_asked_about(story.notice(attempt=story.sale, came_through=True), story.sale)


def test_a_notice_of_what_has_succeeded_otherwise_is_asked_about() -> None:
    story = a_captured_story()

    assert is_asked_about(story.notice(attempt=story.sale), story.sale)


def test_a_notice_has_whatever_else_waits_looked_at_soon() -> None:
    story = a_captured_story()
    story.ask_refund(amount=eur(500))
    story.answer(pending("re_1"))
    story.notice(attempt=story.sale, came_through=True)

    assert story.refunding.due_at == story.now


def test_a_notice_of_a_refund_has_the_refund_looked_up() -> None:
    story = a_captured_story()
    story.ask_refund(amount=eur(500))
    story.answer(pending("re_1"))
    decision = story.notice(attempt=story.refunding)
    story.answer(approved_in_full(story.refunding, "re_1"))

    assert is_asked_about(decision, story.refunding)
    assert story.refund.status is RefundStatus.SUCCEEDED
    assert journals(story) == ["J10s", "J30", "J31"]


def test_a_capture_notice_on_a_sale_is_about_the_sale() -> None:
    story = a_sale()
    story.answer(pending())
    decision = story.notice(attempt=story.sale, operation=Operation.CAPTURE, reference="ch_9")
    story.answer(approved())

    assert is_asked_about(decision, story.sale)
    assert story.payment.status is PaymentStatus.CAPTURED
    assert not story.payment.attention


def test_a_notice_of_a_capture_of_ours_has_it_looked_up() -> None:
    story = held()
    story.ask_capture(amount=eur(500), final=False)
    story.answer(pending("ch_1"))
    decision = story.notice(attempt=capturing(story))
    story.answer(approved_in_full(capturing(story), "ch_1"))

    assert is_asked_about(decision, capturing(story))
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED


# --- where only its word is to be had ---


def test_what_a_silent_gateway_says_of_an_open_attempt_is_its_end() -> None:
    story = a_silent_sale()
    decision = story.notice(attempt=story.sale, says=approved())

    assert decision.call is None
    assert story.payment.status is PaymentStatus.CAPTURED
    assert journals(story) == ["J10s"]
    assert story.event_names() == ["PaymentPending", "PaymentSucceeded"]


def test_what_a_silent_gateway_declines_is_declined() -> None:
    story = a_silent_sale()
    story.notice(attempt=story.sale, says=NO)

    assert story.payment.status is PaymentStatus.DECLINED
    assert story.event_names()[-1] == "PaymentFailed"


def test_what_a_silent_gateway_says_before_its_answer_is_taken_and_the_answer_changes_nothing() -> None:
    story = a_sale(with_gateway(**SILENT))
    call = story.calls[0]
    story.notice(attempt=story.sale, says=approved())
    late_answer = story.answer(pending(), call=call)

    assert changes_nothing(late_answer)
    assert story.payment.status is PaymentStatus.CAPTURED
    assert journals(story) == ["J10s"]


def test_p51_what_a_silent_gateway_says_of_a_closed_attempt_is_late_truth() -> None:
    story = a_silent_sale()
    story.notice(attempt=story.sale, says=NO)
    story.notice(attempt=story.sale, says=approved())

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.late
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert event.late


def test_p49_a_silent_gateway_takes_back_what_was_captured() -> None:
    story = a_silent_sale()
    story.notice(attempt=story.sale, says=approved())
    story.notice(attempt=story.sale, says=NO)

    assert story.payment.status is PaymentStatus.REVERSED
    assert journals(story) == ["J10s", "J11"]


def test_a_success_told_again_after_it_was_undone_is_stale() -> None:
    story = a_silent_sale()
    story.notice(attempt=story.sale, says=approved())
    story.notice(attempt=story.sale, says=NO)
    decision = story.notice(attempt=story.sale, says=approved())

    assert decision.result == "stale"
    assert story.payment.status is PaymentStatus.REVERSED


def test_what_undoes_a_success_nobody_told_of_takes_that_in_first() -> None:
    story = a_silent_refund()
    story.notice(attempt=story.refunding, reference="re_1", says=NO, undoes=True)

    assert story.refund.status is RefundStatus.REVERSED
    assert (story.payment.refunded, story.payment.refund_pending) == (0, 500)
    assert journals(story) == ["J10s", "J30", "J31", "J33"]
    assert story.event_names()[-2:] == ["RefundProcessed", "RefundReversed"]


def test_a_success_told_after_what_undid_it_changes_nothing() -> None:
    story = a_silent_refund()
    story.notice(attempt=story.refunding, reference="re_1", says=NO, undoes=True)
    booked = journals(story)
    decision = story.notice(
        attempt=story.refunding, reference="re_1", says=Approved(reference="re_1", amount=eur(500))
    )

    assert decision.result == "stale"
    assert journals(story) == booked


def test_the_same_word_told_twice_is_booked_once() -> None:
    story = a_silent_refund()
    done = Approved(reference="re_1", amount=eur(500))
    for _ in range(2):
        story.notice(attempt=story.refunding, says=done)
    for _ in range(2):
        story.notice(attempt=story.refunding, says=NO)

    assert journals(story) == ["J10s", "J30", "J31", "J33"]
    assert story.event_names().count("RefundReversed") == 1


def test_a_refund_that_failed_at_a_silent_gateway_frees_its_money() -> None:
    story = a_silent_refund()
    story.notice(attempt=story.refunding, says=NO)

    assert story.refund.status is RefundStatus.FAILED
    assert journals(story) == ["J10s", "J30", "J32"]
    assert story.payment.refundable == PRICE.minor


@pytest.mark.parametrize("minor", [1998, 2000])
def test_another_amount_in_a_silent_gateways_word_is_a_persons(minor: int) -> None:
    story = a_silent_sale()
    story.notice(attempt=story.sale, says=Approved(reference=REFERENCE, amount=eur(minor)))

    assert story.payment.attention
    assert story.payment.status is PaymentStatus.IN_DOUBT
    assert journals(story) == []


def test_a_hold_and_its_capture_at_a_silent_gateway_go_by_its_word() -> None:
    story = a_hold_under_way(with_gateway(**SILENT))
    story.answer(pending())
    story.notice(attempt=story.sale, says=approved())
    story.ask_capture(amount=eur(500), final=False)
    story.answer(pending("ch_1"))
    story.notice(attempt=capturing(story), says=Approved(reference="ch_1", amount=eur(500)))

    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert journals(story) == ["J01", "J10"]


def test_p48_a_capture_that_fails_late_at_a_silent_gateway_is_reversed() -> None:
    story = held(with_gateway(**SILENT))
    take(story, "cap_1", amount=eur(500), final=False)
    take(story, "cap_2", amount=eur(300), final=True)
    story.notice(attempt=capturing(story, "cap_1"), says=NO)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.capture_reversed == 500
    assert capture(story, "cap_1").status.value == "reversed"
    assert journals(story)[-1] == "J11"


# --- made at the gateway itself ---


def dashboard_refund(story: Story, reference: str = DASHBOARD, minor: int = 500, **fields: Any) -> Decision:
    """Somebody gave money back in the gateway's dashboard; the gateway tells of it."""
    return story.notice(
        operation=Operation.REFUND,
        reference=reference,
        parent_reference=REFERENCE,
        amount=eur(minor),
        **fields,
    )


def adopted(story: Story, reference: str = DASHBOARD) -> tuple[Refund, Attempt]:
    """The refund as it was taken into the books."""
    refund_id, attempt_id = external_names(PAYMENT, reference)
    return story.known.refunds[refund_id], story.known.attempts[attempt_id]


def test_r19_a_refund_made_in_the_dashboard_is_looked_up_before_it_is_booked() -> None:
    story = a_captured_story()
    decision = dashboard_refund(story)
    refund, attempt = adopted(story)

    assert is_asked_about(decision, attempt)
    assert attempt.reference == DASHBOARD
    assert refund.external
    assert story.payment.refunded_external == 0
    assert journals(story) == ["J10s"]
    assert story.event_names() == ["PaymentSucceeded"]


def test_r19_a_refund_made_in_the_dashboard_is_booked_once_it_is_confirmed() -> None:
    story = a_captured_story()
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))
    refund, attempt = adopted(story)

    assert (refund.status, attempt.state) == (RefundStatus.SUCCEEDED, AttemptState.SUCCEEDED)
    assert (story.payment.refunded, story.payment.refunded_external) == (0, 500)
    assert journals(story) == ["J10s", "J30", "J31"]
    assert story.balance(Account.REFUND_PAYABLE) == 0
    assert story.balance(Account.GATEWAY_RECEIVABLE) == 1499
    event = story.events[-1]
    assert isinstance(event, RefundProcessed)
    assert (event.amount, event.refunded, event.refundable, event.external) == (
        eur(500),
        eur(500),
        eur(1499),
        True,
    )
    assert not story.payment.attention


def test_r19_a_refund_made_in_the_dashboard_is_booked_once_however_often_it_is_told() -> None:
    story = a_captured_story()
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))

    assert story.payment.refunded_external == 500
    assert journals(story) == ["J10s", "J30", "J31"]


@pytest.mark.parametrize("answer", [ABSENT, NO, pending(DASHBOARD)], ids=["absent", "declined", "pending"])
def test_r19_a_refund_that_the_gateway_does_not_confirm_is_not_booked(answer: Any) -> None:
    story = a_captured_story()
    dashboard_refund(story)
    story.answer(answer)

    assert story.payment.refunded_external == 0
    assert journals(story) == ["J10s"]
    assert story.event_names() == ["PaymentSucceeded"]


def test_r19_a_refund_that_was_pending_is_booked_when_it_is_told_again() -> None:
    story = a_captured_story()
    dashboard_refund(story)
    story.answer(pending(DASHBOARD))
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))

    assert story.payment.refunded_external == 500


def test_r19_more_than_is_left_is_recorded_and_a_persons() -> None:
    story = a_captured_story()
    story.ask_refund()
    story.answer(approved_in_full(story.refunding, "re_1"))
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))

    assert story.payment.refundable == -500
    assert story.payment.attention
    event = story.events[-1]
    assert isinstance(event, RefundProcessed)
    assert event.refundable == eur(0)


def test_what_was_given_back_in_the_dashboard_cannot_be_refunded_again() -> None:
    story = a_captured_story()
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))
    story.ask_refund()

    assert story.refund.amount == 1499


def test_a_dashboard_refund_that_comes_back_is_a_persons_and_never_sent_by_us() -> None:
    story = a_captured_story()
    dashboard_refund(story)
    story.answer(Approved(reference=DASHBOARD, amount=eur(500)))
    _, attempt = adopted(story)
    story.notice(attempt=attempt)
    story.answer(NO)
    refund, _ = adopted(story)

    assert (refund.status, refund.due_at) == (RefundStatus.REVERSED, None)
    assert (story.payment.refunded_external, story.payment.refund_pending) == (0, 500)
    assert journals(story) == ["J10s", "J30", "J31", "J33"]
    assert story.payment.attention
    assert not [c for c in story.calls if isinstance(c.request, RefundRequest)]


def test_r19_a_silent_gateways_word_for_a_dashboard_refund_is_booked() -> None:
    story = a_captured_story(with_gateway(**SILENT))
    decision = dashboard_refund(story, says=Approved(reference=DASHBOARD, amount=eur(500)))

    assert decision.call is None
    assert story.payment.refunded_external == 500
    assert journals(story) == ["J10s", "J30", "J31"]


def test_a_dashboard_refund_is_told_apart_from_the_payment_whose_name_it_carries() -> None:
    story = a_captured_story()
    decision = dashboard_refund(story, attempt=story.sale)
    _, attempt = adopted(story)

    assert is_asked_about(decision, attempt)
    assert attempt.acts_on == story.sale.attempt_id


def test_p33_a_void_made_in_the_dashboard_is_read_again_and_ends_the_payment_voided() -> None:
    story = held()
    decision = story.notice(operation=Operation.VOID, reference=REFERENCE)
    story.answer(CANCELED)

    assert is_asked_about(decision, story.sale)
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]


def test_p33_a_silent_gateways_word_for_a_dashboard_void_is_booked() -> None:
    story = held(with_gateway(**SILENT))
    decision = story.notice(
        operation=Operation.VOID, reference="void_9", says=Approved(reference="void_9", amount=PRICE)
    )

    assert decision.call is None
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]


@pytest.mark.parametrize("says", [Approved(reference="void_9", amount=PRICE), NO], ids=["done", "not done"])
@pytest.mark.parametrize(
    "answer",
    [None, unknown(), Unknown(detail="lost", reference="pay_1.a2")],
    ids=["before the answer", "the answer is lost", "it goes by our name"],
)
def test_a_silent_gateways_word_about_a_cancellation_of_ours_ends_it_though_it_is_not_named(
    answer: Any, says: Any
) -> None:
    story = held(with_gateway(**SILENT))
    story.ask_void()
    call = story.calls[-1]
    if answer is not None:
        story.answer(answer)
    story.notice(
        operation=Operation.VOID, reference="void_9", parent_reference=story.sale.reference, says=says
    )
    if answer is None:
        story.answer(pending("void_9"), call=call)

    done = isinstance(says, Approved)
    assert story.cancellation.state is (AttemptState.SUCCEEDED if done else AttemptState.DECLINED)
    assert story.payment.status is (PaymentStatus.VOIDED if done else PaymentStatus.AUTHORIZED)
    assert journals(story) == (["J01", "J03"] if done else ["J01"])
    assert not story.payment.attention


def test_a_silent_gateways_word_about_another_payments_cancellation_leaves_ours_alone() -> None:
    story = held(with_gateway(**SILENT))
    story.ask_void()
    story.answer(unknown())
    story.notice(operation=Operation.VOID, reference="void_9", parent_reference="another", says=NO)

    assert story.cancellation.state is AttemptState.UNKNOWN


def test_a_dashboard_void_that_did_not_come_through_is_no_news() -> None:
    story = held(with_gateway(**SILENT))
    decision = story.notice(operation=Operation.VOID, reference="void_9", says=NO)

    assert changes_nothing(decision)
    assert story.payment.status is PaymentStatus.AUTHORIZED


def test_a_dashboard_void_of_a_payment_that_is_open_has_it_looked_at() -> None:
    story = a_hold_under_way()
    story.answer(action_required())
    decision = story.notice(operation=Operation.VOID, reference=REFERENCE)

    assert changes_nothing(decision)
    assert story.sale.due_at == story.now


def test_a_capture_made_in_the_dashboard_is_a_persons() -> None:
    story = held()
    story.notice(operation=Operation.CAPTURE, reference="ch_9", amount=PRICE)

    assert story.payment.attention
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert journals(story) == ["J01"]


def test_a_notice_we_do_not_act_upon_changes_nothing() -> None:
    story = a_captured_story()
    decision = story.notice(operation=None)

    assert decision.result == "noted"
    assert changes_nothing(decision)


# --- stale and lost ---


def test_a_lost_look_up_after_a_notice_is_made_again() -> None:
    story = a_captured_story()
    story.ask_refund(amount=eur(500))
    story.answer(approved_in_full(story.refunding, "re_1"))
    story.notice(attempt=story.refunding)
    decision = story.fall_due(story.refunding)

    assert is_asked_about(decision, story.refunding)
    story.answer(approved_in_full(story.refunding, "re_1"))
    assert story.next_timer_at() is None


def test_notices_are_asked_about_only_as_often_as_they_come() -> None:
    story = a_captured_story(a_policy())
    for _ in range(3):
        story.notice(attempt=story.sale)
        story.answer(approved())
        story.wait(timedelta(days=1))

    assert len(story.calls) == 4
    assert story.next_timer_at() is None
    assert len(attempts_of(story, Operation.SALE)) == 1
