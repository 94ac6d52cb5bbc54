"""What is held and not taken: it is warned of, asked about at its end, and let go (books, P32, P33 and P42)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import Absent, Approved, DeclineReason, Firmness, LookupRequest, VoidRequest
from handlers.decision import Decision, Policy, TimerDue
from handlers.hold import RECHECK
from ledger.accounts import Account
from ledger.states import AttemptState, PaymentStatus
from messages.events import PaymentAuthorized, PaymentExpiring, PaymentReleased
from messages.operation import Operation
from tests.builders import NOON, PRICE, REFERENCE, approved, declined, eur, not_sent, pending, unknown
from tests.handlers.lives import (
    HELD_FOR,
    SILENT,
    a_hold_under_way,
    attempts_of,
    capturing,
    held,
    journals,
    take,
    with_gateway,
)
from tests.handlers.story import Story, approved_in_full

LAPSES_AT = NOON + HELD_FOR
LAPSED = declined(DeclineReason.EXPIRED, Firmness.HARD)
CANCELED = declined(DeclineReason.CANCELED, Firmness.HARD)
NO = declined(DeclineReason.OTHER)


def warned(story: Story | None = None) -> Story:
    """Money is held and lapses within a day; that has been announced."""
    story = story or held()
    story.fall_due(story.sale)
    return story


def at_its_end(policy: Policy | None = None) -> tuple[Story, Decision]:
    """The time of a hold that nobody took is over."""
    story = warned(held(policy))
    return story, story.fall_due(story.sale)


# --- ahead of its end ---


def test_a_hold_is_warned_of_ahead_of_its_end() -> None:
    story = held()
    story.fall_due(story.sale)

    assert story.now == LAPSES_AT - story.policy.expiry_warning
    event = story.events[-1]
    assert isinstance(event, PaymentExpiring)
    assert (event.amount, event.capture_before) == (PRICE, LAPSES_AT)
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.sale.due_at == LAPSES_AT
    assert journals(story) == ["J01"]


def test_a_hold_is_warned_of_once() -> None:
    story = warned()
    story.tell(TimerDue(payment_id=story.sale.payment_id, attempt_id=story.sale.attempt_id))
    story.notice(attempt=story.sale)
    story.answer(approved_in_full(story.sale))
    assert story.sale.due_at == LAPSES_AT
    story.fall_due(story.sale)

    assert story.event_names().count("PaymentExpiring") == 1


def test_what_is_left_of_a_hold_is_what_is_warned_of() -> None:
    story = held()
    take(story, amount=eur(600), final=False)
    story.fall_due(story.sale)

    event = story.events[-1]
    assert isinstance(event, PaymentExpiring)
    assert event.amount == eur(1399)


def test_a_hold_that_was_taken_in_full_is_not_warned_of() -> None:
    story = held()
    take(story)
    decision = story.fall_due(story.sale)

    assert decision.announcements == ()
    assert story.next_timer_at() is None


def test_a_hold_whose_end_the_gateway_does_not_tell_is_taken_to_last_a_week() -> None:
    story = a_hold_under_way()
    story.answer(approved())

    assert story.sale.capture_before == NOON + story.policy.hold_lasts
    event = story.events[-1]
    assert isinstance(event, PaymentAuthorized)
    assert event.capture_before == story.sale.capture_before


def test_a_hold_shorter_than_the_warning_is_warned_of_at_once() -> None:
    story = a_hold_under_way()
    story.answer(Approved(reference=REFERENCE, amount=PRICE, capture_before=NOON + timedelta(hours=2)))
    story.fall_due(story.sale)

    assert story.now == NOON
    assert story.event_names() == ["PaymentAuthorized", "PaymentExpiring"]


def test_a_lost_look_up_answer_does_not_warn_early() -> None:
    story = held()
    story.notice(attempt=story.sale)
    asked_again = story.fall_due(story.sale)

    assert story.now < LAPSES_AT - story.policy.expiry_warning
    assert asked_again.call is not None
    assert isinstance(asked_again.call.request, LookupRequest)
    assert story.event_names() == ["PaymentAuthorized"]
    story.answer(approved_in_full(story.sale))
    assert story.sale.due_at == LAPSES_AT - story.policy.expiry_warning


@pytest.mark.parametrize("answer", [unknown(), not_sent(retryable=True)], ids=["unknown", "not sent"])
def test_a_look_up_that_tells_nothing_does_not_warn_early(answer: Any) -> None:
    story = held()
    story.notice(attempt=story.sale)
    story.answer(answer)
    asked_again = story.fall_due(story.sale)

    assert asked_again.call is not None
    assert isinstance(asked_again.call.request, LookupRequest)
    assert story.event_names() == ["PaymentAuthorized"]


@pytest.mark.parametrize("answer", [pending()], ids=["pending"])
def test_a_look_up_that_is_no_news_leaves_the_hold_watched(answer: Any) -> None:
    story = held()
    story.notice(attempt=story.sale)
    story.answer(answer)

    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.sale.due_at is not None


# --- at its end ---


def test_p32_at_its_end_the_gateway_is_asked() -> None:
    story, decision = at_its_end()

    assert story.now == LAPSES_AT
    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert decision.call.request.operation is Operation.AUTHORIZE
    assert story.payment.status is PaymentStatus.AUTHORIZED


def test_p32_a_hold_that_has_lapsed_ends_the_payment_expired() -> None:
    story, _ = at_its_end()
    story.answer(LAPSED)

    assert story.payment.status is PaymentStatus.EXPIRED
    assert (story.payment.released, story.payment.capturable) == (PRICE.minor, 0)
    assert journals(story) == ["J01", "J03"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    assert story.event_names() == ["PaymentAuthorized", "PaymentExpiring", "PaymentExpired"]
    assert story.next_timer_at() is None


def test_p42_what_is_left_of_a_hold_that_has_lapsed_is_released() -> None:
    story = held()
    take(story, amount=eur(600), final=False)
    warned(story)
    story.fall_due(story.sale)
    story.answer(LAPSED)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released) == (600, 1399)
    assert journals(story) == ["J01", "J10", "J03"]
    event = story.events[-1]
    assert isinstance(event, PaymentReleased)
    assert event.amount == eur(1399)


def test_p33_a_hold_that_others_let_go_ends_the_payment_voided() -> None:
    story = held()
    story.notice(attempt=story.sale)
    story.answer(CANCELED)

    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]
    assert story.event_names() == ["PaymentAuthorized", "PaymentVoided"]


def test_a_hold_that_is_still_live_at_its_end_is_let_go() -> None:
    story, _ = at_its_end()
    decision = story.answer(approved_in_full(story.sale))
    voiding = story.payment.status
    story.answer(approved_in_full(story.cancellation))

    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert voiding is PaymentStatus.VOIDING
    assert story.payment.status is PaymentStatus.EXPIRED
    assert journals(story) == ["J01", "J03"]
    assert story.event_names()[-1] == "PaymentExpired"


@pytest.mark.parametrize("no", [NO, not_sent(retryable=False)], ids=["declined", "failed"])
def test_a_hold_that_could_not_be_let_go_is_a_persons_and_not_tried_for_ever(no: Any) -> None:
    story, _ = at_its_end()
    story.answer(approved_in_full(story.sale))
    story.answer(no)
    asked_again = story.calls[-1].request
    story.answer(approved_in_full(story.sale))

    assert isinstance(asked_again, LookupRequest)
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.attention
    assert len(attempts_of(story, Operation.VOID)) == 1
    assert "PaymentVoidFailed" not in story.event_names()
    assert story.next_timer_at() is None


def test_a_hold_that_had_lapsed_when_it_was_to_be_let_go_ends_the_payment_expired() -> None:
    story, _ = at_its_end()
    story.answer(approved_in_full(story.sale))
    story.answer(NO)
    story.answer(LAPSED)

    assert story.payment.status is PaymentStatus.EXPIRED
    assert journals(story) == ["J01", "J03"]


def test_a_person_is_told_of_a_hold_that_the_gateway_no_longer_knows_of() -> None:
    story, _ = at_its_end()
    story.answer(Absent(detail="no trace"))

    assert story.payment.attention
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert journals(story) == ["J01"]


def test_a_hold_whose_end_could_not_be_asked_about_is_asked_about_again() -> None:
    story, _ = at_its_end()
    story.answer(unknown())
    decision = story.fall_due(story.sale)

    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert story.payment.status is PaymentStatus.AUTHORIZED


def test_a_hold_that_lapses_while_it_is_being_captured_is_left_to_the_capture() -> None:
    story = warned()
    story.ask_capture(amount=eur(600), final=False)
    story.answer(unknown())
    story.now = LAPSES_AT
    decision = story.tell(TimerDue(payment_id=story.sale.payment_id, attempt_id=story.sale.attempt_id))

    assert decision.call is None
    assert story.payment.status is PaymentStatus.CAPTURING
    assert story.sale.due_at == LAPSES_AT + RECHECK
    story.answer(approved_in_full(capturing(story)), call=story.calls[-1])
    story.now = LAPSES_AT + RECHECK
    later = story.tell(TimerDue(payment_id=story.sale.payment_id, attempt_id=story.sale.attempt_id))
    assert later.call is not None
    assert isinstance(later.call.request, LookupRequest)


# --- where the gateway cannot be asked ---


def test_where_nobody_can_be_asked_a_hold_is_let_go_at_its_end() -> None:
    story, decision = at_its_end(with_gateway(**SILENT))

    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    story.answer(approved_in_full(story.cancellation))
    assert story.payment.status is PaymentStatus.EXPIRED
    assert journals(story) == ["J01", "J03"]


def test_where_nobody_can_be_asked_a_hold_that_could_not_be_let_go_is_a_persons() -> None:
    story, _ = at_its_end(with_gateway(**SILENT))
    story.answer(NO)

    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.attention
    assert story.next_timer_at() is None


def test_a_void_by_command_that_was_declined_does_not_keep_the_hold_from_lapsing() -> None:
    story = held(with_gateway(**SILENT))
    story.ask_void()
    story.answer(NO)
    story.fall_due(story.sale)
    warning = story.event_names()[-1]
    decision = story.fall_due(story.sale)
    story.answer(approved_in_full(story.cancellation))

    assert warning == "PaymentExpiring"
    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert story.payment.status is PaymentStatus.EXPIRED
    assert story.sale.state is AttemptState.SUCCEEDED


@pytest.mark.parametrize("answer", [approved(), NO], ids=["still held", "declined"])
def test_a_hold_says_the_same_whenever_it_is_asked(answer: Any) -> None:
    first, _ = at_its_end()
    second, _ = at_its_end()

    assert first.answer(answer) == second.answer(answer)
