"""What turns out otherwise than it had ended: it is recorded, booked and announced, however late.

Books, P48-P52, R13, R14, R18 and I10.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import (
    Absent,
    Approved,
    CaptureRequest,
    DeclineReason,
    Firmness,
    LookupRequest,
    RefundRequest,
    VoidRequest,
)
from handlers.decision import Call, Decision, Policy
from ledger.accounts import Account
from ledger.states import Attempt, AttemptState, CaptureStatus, PaymentStatus, RefundStatus
from messages.events import (
    PaymentAuthorized,
    PaymentReversed,
    PaymentSucceeded,
    RefundProcessed,
    RefundReversed,
)
from messages.ids import RefundId
from messages.operation import Operation
from tests.builders import (
    CAPTURE,
    PAYMENT,
    PRICE,
    REFERENCE,
    a_policy,
    action_required,
    approved,
    capabilities,
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

ABSENT = Absent(detail="no trace")
CAME_BACK = declined(DeclineReason.OTHER, Firmness.HARD)
LOST_CARD = declined(DeclineReason.LOST_OR_STOLEN, Firmness.HARD)
GIVEN_BACK = RefundId(f"{PAYMENT}.late")


def read_again(story: Story, attempt: Attempt, answer: Any) -> Decision:
    """A callback makes us doubt how an attempt ended; the gateway is asked, and says this."""
    asked = story.notice(attempt=attempt)
    assert asked.call is not None
    assert isinstance(asked.call.request, LookupRequest)
    return story.answer(answer)


def found_done(story: Story, attempt: Attempt) -> Decision:
    """The gateway is asked once more, and says that it was done in full."""
    return read_again(story, attempt, approved_in_full(attempt, attempt.reference or "late_1"))


def a_refunded_sale(policy: Policy | None = None, minor: int = 500) -> Story:
    """A sale that was given back in part."""
    story = a_captured_story(policy)
    story.ask_refund(amount=eur(minor))
    story.answer(approved_in_full(story.refunding, "re_1"))
    return story


def a_declined_sale() -> Story:
    """A sale whose card was lost."""
    story = a_sale()
    story.answer(LOST_CARD)
    return story


# --- captured money is taken back ---


def test_p48_a_capture_that_came_back_leaves_the_others() -> None:
    story = held()
    take(story, "cap_1", amount=eur(600), final=False)
    take(story, "cap_2", amount=eur(300), final=True)
    read_again(story, capturing(story, "cap_1"), CAME_BACK)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.capture_reversed) == (900, 600)
    assert capture(story, "cap_1").status is CaptureStatus.REVERSED
    assert capturing(story, "cap_1").state is AttemptState.REVERSED
    assert journals(story) == ["J01", "J10", "J10", "J03", "J11"]
    assert story.balance(Account.GATEWAY_RECEIVABLE) == 300
    event = story.events[-1]
    assert isinstance(event, PaymentReversed)
    assert (event.amount, event.captured, event.capture_id) == (eur(600), eur(300), "cap_1")
    assert not story.payment.attention


def test_p49_a_sale_that_came_back_is_reversed() -> None:
    story = a_captured_story()
    read_again(story, story.sale, CAME_BACK)

    assert story.payment.status is PaymentStatus.REVERSED
    assert (story.payment.captured_gross, story.payment.capture_reversed) == (PRICE.minor, PRICE.minor)
    assert journals(story) == ["J10s", "J11"]
    assert story.balance(Account.GATEWAY_RECEIVABLE) == 0
    event = story.events[-1]
    assert isinstance(event, PaymentReversed)
    assert (event.amount, event.captured) == (PRICE, eur(0))


def test_a_capture_that_came_back_after_it_was_refunded_is_recorded_and_a_persons() -> None:
    story = a_refunded_sale()
    read_again(story, story.sale, CAME_BACK)

    assert story.payment.refundable == -500
    assert story.payment.attention
    assert journals(story) == ["J10s", "J30", "J31", "J11"]


def test_what_came_back_cannot_be_refunded() -> None:
    story = a_captured_story()
    read_again(story, story.sale, CAME_BACK)
    story.ask_refund()

    assert story.refund.status is RefundStatus.REJECTED
    assert story.event_names()[-1] == "RefundFailed"


def test_a_capture_that_came_back_is_booked_once_however_often_it_is_told() -> None:
    story = a_captured_story()
    for _ in range(3):
        read_again(story, story.sale, CAME_BACK)

    assert journals(story) == ["J10s", "J11"]
    assert story.event_names().count("PaymentReversed") == 1


def test_p52_money_that_came_back_and_is_there_again_is_captured_once_more() -> None:
    story = a_captured_story()
    read_again(story, story.sale, CAME_BACK)
    found_done(story, story.sale)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.capture_reversed == 0
    assert story.sale.state is AttemptState.SUCCEEDED
    assert journals(story) == ["J10s", "J11", "J11u"]
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert (event.amount, event.captured, event.late) == (PRICE, PRICE, True)


def test_p52_a_capture_may_come_back_and_be_there_again_more_than_once() -> None:
    story = a_captured_story()
    for _ in range(2):
        read_again(story, story.sale, CAME_BACK)
        found_done(story, story.sale)

    assert journals(story) == ["J10s", "J11", "J11u", "J11", "J11u"]
    assert len({journal.journal_id for journal in story.journals}) == 5
    assert story.balance(Account.GATEWAY_RECEIVABLE) == PRICE.minor


def test_money_that_is_there_again_is_not_given_back_for_a_look_up_that_was_lost() -> None:
    story = a_captured_story()
    read_again(story, story.sale, CAME_BACK)
    found_done(story, story.sale)
    story.notice(attempt=story.sale)
    decision = story.fall_due(story.sale)

    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert story.payment.refund_pending == 0


# --- a refund comes back ---


def test_r13_a_refund_that_came_back_is_owed_again() -> None:
    story = a_refunded_sale()
    read_again(story, story.refunding, CAME_BACK)

    assert story.refund.status is RefundStatus.REVERSED
    assert (story.payment.refunded, story.payment.refund_pending) == (0, 500)
    assert journals(story) == ["J10s", "J30", "J31", "J33"]
    assert story.balance(Account.REFUND_PAYABLE) == -500
    event = story.events[-1]
    assert isinstance(event, RefundReversed)
    assert event.amount == eur(500)
    assert event.sent_again_at == story.now + story.policy.refund_resend_delay
    assert not story.payment.attention


def test_r14_a_refund_that_came_back_is_sent_again_under_a_key_of_its_own() -> None:
    story = a_refunded_sale()
    read_again(story, story.refunding, CAME_BACK)
    decision = story.refund_falls_due()
    again = attempts_of(story, Operation.REFUND)[-1]
    submitted = story.refund.status
    story.answer(approved_in_full(again, "re_2"))

    assert decision.call is not None
    assert isinstance(decision.call.request, RefundRequest)
    assert decision.call.attempt_id == "ref_1.r2"
    assert submitted is RefundStatus.SUBMITTED
    assert story.refund.status is RefundStatus.SUCCEEDED
    assert (story.payment.refunded, story.payment.refund_pending) == (500, 0)
    assert journals(story) == ["J10s", "J30", "J31", "J33", "J31"]
    assert story.balance(Account.REFUND_PAYABLE) == 0
    assert story.event_names()[-2:] == ["RefundReversed", "RefundProcessed"]


def test_a_refund_that_came_back_twice_is_a_persons() -> None:
    story = a_refunded_sale()
    read_again(story, story.refunding, CAME_BACK)
    story.refund_falls_due()
    again = attempts_of(story, Operation.REFUND)[-1]
    story.answer(approved_in_full(again, "re_2"))
    read_again(story, story.known.attempts[again.attempt_id], CAME_BACK)

    assert story.refund.status is RefundStatus.REVERSED
    assert story.refund.due_at is None
    assert story.payment.attention
    assert (story.payment.refunded, story.payment.refund_pending) == (0, 500)
    event = story.events[-1]
    assert isinstance(event, RefundReversed)
    assert event.sent_again_at is None
    assert story.next_timer_at() is None


def test_a_refund_that_was_sent_again_and_declined_has_failed_and_frees_its_money() -> None:
    story = a_refunded_sale()
    read_again(story, story.refunding, CAME_BACK)
    story.refund_falls_due()
    story.answer(declined(DeclineReason.NOT_REFUNDABLE))

    assert story.refund.status is RefundStatus.FAILED
    assert (story.payment.refunded, story.payment.refund_pending) == (0, 0)
    assert journals(story) == ["J10s", "J30", "J31", "J33", "J32"]
    assert story.balance(Account.REFUND_PAYABLE) == 0
    assert story.payment.refundable == PRICE.minor


def test_a_refund_that_came_back_and_went_through_after_all_is_a_persons() -> None:
    story = a_refunded_sale()
    read_again(story, story.refunding, CAME_BACK)
    found_done(story, story.refunding)

    assert story.payment.attention
    assert story.refund.status is RefundStatus.REVERSED
    assert journals(story) == ["J10s", "J30", "J31", "J33"]


# --- a refund turns out made ---


def a_failed_refund(minor: int = 500) -> Story:
    """A refund that the gateway declined."""
    story = a_captured_story()
    story.ask_refund(amount=eur(minor))
    story.answer(declined(DeclineReason.OTHER))
    return story


def test_r18_a_refund_that_turns_out_made_is_booked() -> None:
    story = a_failed_refund()
    found_done(story, story.refunding)

    assert story.refund.status is RefundStatus.SUCCEEDED
    assert (story.payment.refunded, story.payment.refunded_external) == (500, 0)
    assert journals(story) == ["J10s", "J30", "J32", "J30", "J31"]
    assert len({journal.journal_id for journal in story.journals}) == 5
    assert story.balance(Account.REFUND_PAYABLE) == 0
    assert story.balance(Account.GATEWAY_RECEIVABLE) == 1499
    event = story.events[-1]
    assert isinstance(event, RefundProcessed)
    assert (event.amount, event.refunded, event.refundable) == (eur(500), eur(500), eur(1499))
    assert not story.payment.attention


def test_r18_a_refund_that_no_longer_fits_the_budget_is_recorded_all_the_same() -> None:
    story = a_failed_refund(1500)
    story.ask_refund(refund_id="ref_2", message_id="msg_6")
    story.answer(Approved(reference="re_2", amount=PRICE))
    found_done(story, story.refunding)

    assert story.refund.status is RefundStatus.SUCCEEDED
    assert (story.payment.refunded, story.payment.refunded_external) == (PRICE.minor, 1500)
    assert story.payment.refundable == -1500
    assert story.payment.attention
    event = story.events[-1]
    assert isinstance(event, RefundProcessed)
    assert event.refundable == eur(0)


def test_a_refund_declined_as_before_is_no_news() -> None:
    story = a_failed_refund()
    before = story.payment
    decision = read_again(story, story.refunding, CAME_BACK)

    assert story.payment == before
    assert (decision.announcements, decision.journals) == ((), ())


# --- a payment turns out made ---


def test_p51_a_declined_sale_that_turns_out_charged_is_booked_and_a_persons() -> None:
    story = a_declined_sale()
    found_done(story, story.sale)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.authorized, story.payment.captured_gross) == (PRICE.minor, PRICE.minor)
    assert story.payment.late
    assert story.payment.attention
    assert journals(story) == ["J10s"]
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert event.late
    assert story.sale.due_at == story.now + story.policy.late_grace


def test_p51_what_came_late_is_given_back_after_its_time_of_grace() -> None:
    story = a_declined_sale()
    found_done(story, story.sale)
    decision = story.fall_due(story.sale)
    story.answer(approved_in_full(story.refunding, "re_1"))

    assert decision.call is not None
    assert isinstance(decision.call.request, RefundRequest)
    assert decision.call.request.amount == PRICE
    assert story.known.refunds[GIVEN_BACK].status is RefundStatus.SUCCEEDED
    assert story.payment.refunded == PRICE.minor
    assert journals(story) == ["J10s", "J30", "J31"]
    assert story.event_names() == ["PaymentFailed", "PaymentSucceeded", "RefundProcessed"]
    assert story.next_timer_at() is None


def test_what_came_late_and_was_refunded_by_command_is_not_given_back_twice() -> None:
    story = a_declined_sale()
    found_done(story, story.sale)
    story.ask_refund()
    story.answer(approved_in_full(story.refunding, "re_1"))
    decision = story.fall_due(story.sale)

    assert decision.call is None
    assert GIVEN_BACK not in story.known.refunds
    assert story.payment.refunded == PRICE.minor


@pytest.mark.parametrize(
    "answer",
    [approved(), pending(), unknown(), not_sent(retryable=True), action_required()],
    ids=["it stands", "pending", "unknown", "not sent", "action required"],
)
def test_reading_again_what_came_late_neither_hastens_nor_forgets_that_it_is_given_back(answer: Any) -> None:
    story = a_declined_sale()
    found_done(story, story.sale)
    claimed_by = story.now + story.policy.late_grace
    read_again(story, story.sale, answer)
    early = story.payment.refund_pending
    for _ in range(20):
        if story.payment.refund_pending:
            break
        story.fall_due(story.sale)

    assert early == 0
    assert story.payment.refund_pending == PRICE.minor
    assert story.now >= claimed_by


def test_a_look_up_lost_in_the_time_of_grace_does_not_give_the_money_back_early() -> None:
    story = a_declined_sale()
    found_done(story, story.sale)
    story.notice(attempt=story.sale)
    decision = story.fall_due(story.sale)

    assert story.sale.due_at is not None
    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert story.payment.refund_pending == 0


@pytest.mark.parametrize("end", ["declined", "failed", "canceled"])
def test_p50_a_hold_that_turns_out_there_after_the_end_is_booked_and_a_persons(end: str) -> None:
    story = a_hold_under_way()
    if end == "declined":
        story.answer(LOST_CARD)
    elif end == "failed":
        story.answer(not_sent(retryable=False))
    else:
        story.answer(action_required())
        story.ask_void()
        story.answer(approved_in_full(story.cancellation))
    over = story.payment.status
    found_done(story, story.sale)

    assert over.value == end
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.authorized == PRICE.minor
    assert story.payment.late
    assert story.payment.attention
    assert journals(story) == ["J01"]
    event = story.events[-1]
    assert isinstance(event, PaymentAuthorized)
    assert event.late


def a_late_hold(policy: Policy | None = None) -> Story:
    """A hold that was said to be declined, and is there."""
    story = a_hold_under_way(policy or with_gateway(multiple_capture=True))
    story.answer(LOST_CARD)
    found_done(story, story.sale)
    return story


def test_p50_a_late_hold_that_nobody_claims_is_let_go_after_its_time_of_grace() -> None:
    story = a_late_hold()
    claimed_by = story.now + story.policy.late_grace
    decision = story.fall_due(story.sale)
    story.answer(approved_in_full(story.cancellation))

    assert story.now == claimed_by
    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]
    assert story.event_names() == ["PaymentFailed", "PaymentAuthorized", "PaymentVoided"]


def test_p50_a_late_hold_that_is_captured_is_kept() -> None:
    story = a_late_hold()
    take(story, amount=eur(500), final=False)
    decision = story.fall_due(story.sale)

    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert attempts_of(story, Operation.VOID) == []
    assert decision.call is None or isinstance(decision.call.request, LookupRequest)


def test_p50_a_late_hold_is_not_let_go_while_it_is_being_captured() -> None:
    story = a_late_hold()
    story.ask_capture(amount=eur(500), final=False)
    story.answer(pending("ch_1"))
    story.wait(story.policy.late_grace)
    story.fall_due(story.sale)

    assert attempts_of(story, Operation.VOID) == []
    assert story.payment.status is PaymentStatus.CAPTURING


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_a_late_hold_that_cannot_be_let_go_is_a_persons_and_not_tried_for_ever(can_be_asked: bool) -> None:
    story = a_late_hold(with_gateway(multiple_capture=True))
    story.policy = with_gateway(multiple_capture=True, can_be_asked=can_be_asked)
    for _ in range(12):
        due_at = story.next_timer_at()
        if due_at is None or due_at > story.now + timedelta(hours=2):
            break
        story.now = max(story.now, due_at)
        decision = story.tell(story.timers()[0])
        while decision.call is not None:
            is_void = isinstance(decision.call.request, VoidRequest)
            decision = story.answer(
                declined(DeclineReason.OTHER) if is_void else approved_in_full(story.sale)
            )

    assert len(attempts_of(story, Operation.VOID)) == 1
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.attention


def test_a_look_up_lost_in_the_time_of_grace_does_not_let_the_hold_go_early() -> None:
    story = a_late_hold()
    claimed_by = story.now + story.policy.late_grace
    story.notice(attempt=story.sale)
    asked_again = story.fall_due(story.sale)
    story.answer(approved_in_full(story.sale))

    assert asked_again.call is not None
    assert isinstance(asked_again.call.request, LookupRequest)
    assert story.now < claimed_by
    assert story.sale.due_at == claimed_by


def test_an_answer_that_comes_after_the_end_is_read_again_before_it_is_booked() -> None:
    story = a_sale()
    first = story.calls[0]
    story.answer(unknown())
    story.fall_due(story.sale)
    story.answer(LOST_CARD)
    decision = story.answer(approved(), call=first)

    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    meanwhile = story.payment.status
    booked = journals(story)
    story.answer(approved())
    assert (meanwhile, booked) == (PaymentStatus.DECLINED, [])
    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.late


# --- a capture or a void turns out done ---


def test_a_capture_that_turns_out_taken_is_booked_from_the_hold() -> None:
    story = held()
    story.ask_capture(amount=eur(500), final=False)
    story.answer(declined(DeclineReason.OTHER))
    found_done(story, capturing(story))

    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert (story.payment.captured_gross, story.payment.capturable) == (500, 1499)
    assert capture(story).status is CaptureStatus.SUCCEEDED
    assert journals(story) == ["J01", "J10"]
    assert story.payment.attention
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert (event.capture_id, event.late) == (CAPTURE, True)


def test_a_capture_that_turns_out_taken_after_the_hold_was_let_go_undoes_that() -> None:
    story = held()
    story.ask_capture(amount=eur(500), final=False)
    story.answer(declined(DeclineReason.OTHER))
    story.ask_void()
    story.answer(approved_in_full(story.cancellation))
    found_done(story, capturing(story))

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released) == (500, 1499)
    assert story.payment.late
    assert journals(story) == ["J01", "J03", "J10"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    assert story.balance(Account.GATEWAY_RECEIVABLE) == 500


def test_a_void_that_turns_out_done_releases_the_hold() -> None:
    story = held()
    story.ask_void()
    story.answer(declined(DeclineReason.OTHER))
    story.answer(approved_in_full(story.sale))
    found_done(story, story.cancellation)

    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]
    assert story.event_names()[-2:] == ["PaymentVoidFailed", "PaymentVoided"]


def test_a_void_that_is_said_to_have_failed_after_all_is_a_persons() -> None:
    story = held()
    story.ask_void()
    story.answer(approved_in_full(story.cancellation))
    read_again(story, story.cancellation, CAME_BACK)

    assert story.payment.status is PaymentStatus.VOIDED
    assert story.payment.attention
    assert journals(story) == ["J01", "J03"]


# --- two successes ---


def two_gateways() -> Policy:
    """Two gateways, and a soft decline at one leads to the other."""
    return a_policy(gateways={"stripe": capabilities(multiple_capture=True), "paypal": capabilities()})


def a_second_try(capture_mode: str = "automatic") -> tuple[Story, Call]:
    """The first gateway declined softly; the call to the second is under way."""
    story = a_sale(
        two_gateways(), capture=capture_mode, alternatives=[{"token": "pp_1", "gateway": "paypal"}]
    )
    first = story.calls[0]
    decision = story.answer(declined())
    assert decision.call is not None
    assert decision.call.gateway == "paypal"
    return story, first


def test_i10_a_second_success_of_a_sale_is_given_back_at_once_and_a_person_told() -> None:
    story, _ = a_second_try()
    story.answer(Approved(reference="pp_done", amount=PRICE))
    decision = found_done(story, story.sale)

    assert decision.call is not None
    assert isinstance(decision.call.request, RefundRequest)
    assert (decision.call.gateway, decision.call.request.amount) == ("stripe", PRICE)
    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.refund_pending) == (2 * PRICE.minor, PRICE.minor)
    assert story.payment.attention
    assert journals(story) == ["J10s", "J10s", "J30"]
    story.answer(approved_in_full(story.refunding, "re_1"))
    assert (story.payment.refunded, story.payment.refundable) == (PRICE.minor, PRICE.minor)


def test_i10_a_second_hold_is_let_go_at_once_and_the_first_one_stays() -> None:
    story, _ = a_second_try("manual")
    story.answer(Approved(reference="pp_held", amount=PRICE))
    decision = found_done(story, story.sale)
    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert decision.call.gateway == "stripe"
    story.answer(approved_in_full(story.cancellation))

    assert story.payment.attention
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert (story.payment.authorized, story.payment.released) == (2 * PRICE.minor, PRICE.minor)
    assert journals(story) == ["J01", "J01", "J03"]


def test_i10_after_the_second_hold_was_let_go_the_first_one_is_what_is_captured() -> None:
    story, _ = a_second_try("manual")
    story.answer(Approved(reference="pp_held", amount=PRICE))
    found_done(story, story.sale)
    story.answer(approved_in_full(story.cancellation))
    decision = story.ask_capture()

    assert decision.call is not None
    assert isinstance(decision.call.request, CaptureRequest)
    assert decision.call.gateway == "paypal"
    assert decision.call.request.authorization_reference == "pp_held"


def test_i10_the_first_gateways_success_while_the_second_is_still_asked_is_one_too_many() -> None:
    story, _ = a_second_try()
    second = story.calls[-1]
    found_done(story, story.sale)
    in_flight = story.payment.status
    story.answer(Approved(reference="pp_done", amount=PRICE), call=second)

    assert in_flight is PaymentStatus.AUTHORIZING
    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.refund_pending) == (2 * PRICE.minor, PRICE.minor)
    assert story.payment.attention


def test_i10_news_of_the_hold_that_was_let_go_does_not_take_the_other_with_it() -> None:
    story, _ = a_second_try("manual")
    story.answer(Approved(reference="pp_held", amount=PRICE))
    found_done(story, story.sale)
    story.answer(approved_in_full(story.cancellation))
    for _ in range(2):
        read_again(story, story.sale, declined(DeclineReason.CANCELED, Firmness.HARD))

    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.capturable == PRICE.minor
    assert journals(story) == ["J01", "J01", "J03"]


def test_i10_one_of_two_holds_that_is_gone_by_itself_leaves_the_other() -> None:
    story, _ = a_second_try("manual")
    story.answer(Approved(reference="pp_held", amount=PRICE))
    found_done(story, story.sale)
    story.answer(declined(DeclineReason.OTHER))
    story.answer(declined(DeclineReason.CANCELED, Firmness.HARD))
    again = read_again(story, story.sale, declined(DeclineReason.CANCELED, Firmness.HARD))

    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert (story.payment.released, story.payment.capturable) == (PRICE.minor, PRICE.minor)
    assert again.journals == ()
    assert journals(story) == ["J01", "J01", "J03"]


# --- what cannot be believed as it is ---


@pytest.mark.parametrize("state", ["succeeded", "declined"])
def test_another_amount_is_booked_by_nobody_and_a_persons(state: str) -> None:
    story = a_captured_story() if state == "succeeded" else a_declined_sale()
    booked = journals(story)
    read_again(story, story.sale, Approved(reference=REFERENCE, amount=eur(2500)))

    assert story.sale.state.value == state
    assert story.payment.attention
    assert journals(story) == booked


def test_a_success_that_the_gateway_no_longer_knows_of_is_a_persons() -> None:
    story = a_captured_story()
    read_again(story, story.sale, ABSENT)

    assert story.payment.attention
    assert story.payment.status is PaymentStatus.CAPTURED


@pytest.mark.parametrize(
    "answer", [ABSENT, pending(), action_required(), LOST_CARD], ids=["absent", "pending", "action", "no"]
)
def test_what_was_declined_and_did_not_come_through_is_no_news(answer: Any) -> None:
    story = a_declined_sale()
    before = story.payment
    decision = read_again(story, story.sale, answer)

    assert story.payment == before
    assert (decision.announcements, decision.journals) == ((), ())
    assert story.next_timer_at() is None


def test_a_look_up_that_failed_is_made_again() -> None:
    story = a_declined_sale()
    read_again(story, story.sale, unknown())
    decision = story.fall_due(story.sale)

    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    story.answer(approved())
    assert story.payment.status is PaymentStatus.CAPTURED


def test_an_older_look_ups_answer_changes_nothing_once_a_newer_one_was_taken() -> None:
    story = a_captured_story()
    story.notice(attempt=story.sale)
    older = story.calls[-1]
    story.notice(attempt=story.sale)
    story.answer(CAME_BACK)
    decision = story.answer(approved(), call=older)

    assert decision.result == "stale"
    assert story.payment.status is PaymentStatus.REVERSED


def test_p51_where_nobody_can_be_asked_an_answer_after_the_end_is_booked_as_it_is() -> None:
    story = a_sale(with_gateway(**SILENT))
    first = story.calls[0]
    story.answer(unknown())
    story.fall_due(story.sale)
    story.answer(LOST_CARD)
    story.answer(approved(), call=first)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.late
    assert story.sale.due_at == story.now + story.policy.late_grace
