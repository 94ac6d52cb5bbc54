"""Held money is taken, in one part or several (books, P30 and P36-P43), or it is said why not."""

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
)
from handlers.decision import TimerDue
from ledger.accounts import Account
from ledger.states import AttemptState, CaptureStatus, PaymentStatus
from messages.events import (
    CommandRejected,
    FailureReason,
    PaymentCaptureFailed,
    PaymentExpired,
    PaymentReleased,
    PaymentSucceeded,
    RejectionReason,
)
from messages.ids import CaptureId
from messages.money import Money
from messages.operation import Operation
from tests.builders import (
    CAPTURE,
    PAYMENT,
    PRICE,
    action_required,
    approved,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.lives import (
    MANY_CAPTURES,
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
LAPSED = declined(DeclineReason.EXPIRED, Firmness.HARD)


def a_capture_under_way(story: Story | None = None, **fields: Any) -> Story:
    """Money is held, and the call to take it is under way."""
    story = story or held()
    story.ask_capture(**fields)
    return story


def refused(story: Story, name: str = CAPTURE) -> PaymentCaptureFailed:
    """The last event, which says that a capture was refused before any call."""
    event = story.events[-1]
    assert isinstance(event, PaymentCaptureFailed)
    assert event.category == "rejected"
    assert event.capture_id == name
    assert capture(story, name).status is CaptureStatus.REJECTED
    assert not [a for a in story.known.attempts.values() if a.capture_id == name]
    return event


# --- it is asked for and taken ---


def test_p30_a_capture_sets_its_money_aside_before_the_call() -> None:
    story = a_capture_under_way(amount=eur(500), final=False)

    request = story.calls[-1].request
    assert isinstance(request, CaptureRequest)
    assert (request.authorization_reference, request.amount, request.final) == ("pi_1", eur(500), False)
    assert story.payment.status is PaymentStatus.CAPTURING
    assert (story.payment.capture_pending, story.payment.captured_gross) == (500, 0)
    assert capture(story).status is CaptureStatus.SUBMITTED
    assert journals(story) == ["J01"]
    assert story.event_names() == ["PaymentAuthorized"]


def test_p36_a_capture_of_all_that_is_held_ends_the_payment_captured() -> None:
    story = a_capture_under_way()
    story.answer(approved_in_full(capturing(story), "ch_1"))

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.capture_pending, story.payment.released) == (
        1999,
        0,
        0,
    )
    assert capture(story).status is CaptureStatus.SUCCEEDED
    assert journals(story) == ["J01", "J10"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    assert story.balance(Account.GATEWAY_RECEIVABLE) == PRICE.minor
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert (event.capture_id, event.amount, event.captured, event.capturable) == (
        CAPTURE,
        PRICE,
        PRICE,
        eur(0),
    )
    assert not event.late


def test_p36_a_final_part_releases_the_rest_of_the_hold() -> None:
    story = a_capture_under_way(amount=eur(1500), final=True)
    story.answer(approved_in_full(capturing(story)))

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released, story.payment.capturable) == (1500, 499, 0)
    assert journals(story) == ["J01", "J10", "J03"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    assert story.event_names() == ["PaymentAuthorized", "PaymentSucceeded"]


def test_p37_a_part_leaves_the_payment_partially_captured() -> None:
    story = a_capture_under_way(amount=eur(600), final=False)
    story.answer(approved_in_full(capturing(story)))

    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert (story.payment.captured_gross, story.payment.capturable) == (600, 1399)
    assert journals(story) == ["J01", "J10"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 1399
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert (event.amount, event.captured, event.capturable) == (eur(600), eur(600), eur(1399))


def test_p40_p41_several_parts_are_taken_and_the_final_one_releases_the_rest() -> None:
    story = held()
    take(story, "cap_1", amount=eur(600), final=False)
    take(story, "cap_2", amount=eur(300), final=False)
    between = story.payment.status
    take(story, "cap_3", amount=eur(100), final=True)

    assert between is PaymentStatus.PARTIALLY_CAPTURED
    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released) == (1000, 999)
    assert journals(story) == ["J01", "J10", "J10", "J10", "J03"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    assert story.event_names() == ["PaymentAuthorized", *["PaymentSucceeded"] * 3]


def test_without_an_amount_a_capture_takes_all_that_is_left() -> None:
    story = held()
    take(story, "cap_1", amount=eur(600), final=False)
    take(story, "cap_2")

    assert capture(story, "cap_2").amount == 1399
    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.captured_gross == PRICE.minor


def test_a_part_is_refunded_from_the_capture_that_took_it() -> None:
    story = held()
    take(story, "cap_1", amount=eur(600), final=False)
    story.ask_refund(amount=eur(600))
    story.answer(approved_in_full(story.refunding, "re_1"))

    assert story.refunding.acts_on == capturing(story).attempt_id
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert (story.payment.refunded, story.payment.capturable) == (600, 1399)
    assert journals(story) == ["J01", "J10", "J30", "J31"]


# --- it cannot be taken ---


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (eur(2000), FailureReason.MORE_THAN_CAPTURABLE),
        (Money(1999, "USD"), FailureReason.CURRENCY_DIFFERS),
    ],
)
def test_what_is_not_held_is_not_captured(amount: Money, reason: FailureReason) -> None:
    story = a_capture_under_way(amount=amount)

    event = refused(story)
    assert (event.reason, event.amount) == (reason, amount)
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.capture_pending == 0
    assert journals(story) == ["J01"]


def test_after_parts_no_more_than_the_rest_is_captured() -> None:
    story = held()
    take(story, "cap_1", amount=eur(1500), final=False)
    story.ask_capture(capture_id="cap_2", amount=eur(500))

    assert refused(story, "cap_2").reason is FailureReason.MORE_THAN_CAPTURABLE
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED


def test_a_sale_has_nothing_left_to_capture() -> None:
    story = a_captured_story()
    story.ask_capture()

    assert refused(story).reason is FailureReason.NOTHING_HELD
    assert story.payment.status is PaymentStatus.CAPTURED


def test_a_payment_that_is_over_has_nothing_to_capture() -> None:
    story = a_hold_under_way()
    story.answer(declined(DeclineReason.LOST_OR_STOLEN, Firmness.HARD))
    story.ask_capture()

    assert refused(story).reason is FailureReason.NOTHING_HELD
    assert story.payment.status is PaymentStatus.DECLINED


def test_a_gateway_that_captures_once_refuses_a_part_that_is_not_the_last() -> None:
    story = held(with_gateway(multiple_capture=False))
    story.ask_capture(amount=eur(500), final=False)

    event = refused(story)
    assert event.reason is FailureReason.MULTIPLE_CAPTURE_NOT_SUPPORTED
    assert "say final" in event.message
    assert story.payment.status is PaymentStatus.AUTHORIZED


def test_a_gateway_that_captures_once_takes_a_final_part_and_lets_the_rest_go() -> None:
    story = held(with_gateway(multiple_capture=False))
    take(story, amount=eur(500), final=True)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released) == (500, 1499)
    assert journals(story) == ["J01", "J10", "J03"]


def test_a_gateway_that_captures_once_has_nothing_left_for_a_second_capture() -> None:
    story = held(with_gateway(multiple_capture=False))
    take(story, amount=eur(500), final=True)
    story.ask_capture(capture_id="cap_2", amount=eur(100))

    assert refused(story, "cap_2").reason is FailureReason.NOTHING_HELD
    assert story.payment.captured_gross == 500


def test_a_second_capture_is_refused_with_its_reason_where_the_gateway_captures_once() -> None:
    # The gateway did capture in parts when the first part was taken; its settings have changed since.
    story = held()
    take(story, amount=eur(500), final=False)
    story.policy = with_gateway(multiple_capture=False)
    story.ask_capture(capture_id="cap_2", amount=eur(100), final=True)

    assert refused(story, "cap_2").reason is FailureReason.MULTIPLE_CAPTURE_NOT_SUPPORTED
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert story.payment.captured_gross == 500


@pytest.mark.parametrize("final", [True, False])
def test_a_gateway_that_captures_all_or_nothing_refuses_a_part(final: bool) -> None:
    story = held(with_gateway(partial_capture=False))
    story.ask_capture(amount=eur(500), final=final)

    assert refused(story).reason is FailureReason.PARTIAL_CAPTURE_NOT_SUPPORTED
    assert story.payment.status is PaymentStatus.AUTHORIZED


# --- it waits ---


def test_a_capture_waits_for_its_payment_to_be_authorized_and_is_then_taken() -> None:
    story = a_hold_under_way()
    waiting = story.ask_capture()
    story.answer(approved(), call=story.calls[0])
    taken = story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))

    assert (waiting.result, waiting.call) == ("waiting", None)
    assert taken.call is not None
    assert isinstance(taken.call.request, CaptureRequest)
    assert story.payment.status is PaymentStatus.CAPTURING
    assert capture(story).due_at is None


def test_a_capture_is_looked_at_as_soon_as_its_payment_is_authorized() -> None:
    story = a_hold_under_way()
    story.ask_capture()
    story.answer(approved(), call=story.calls[0])

    assert capture(story).due_at == story.now


def test_a_capture_that_arrives_before_its_payment_is_taken_once_that_is_held() -> None:
    story = Story(with_gateway(**MANY_CAPTURES))
    story.ask_capture()
    story.ask_payment(capture="manual")
    story.answer(approved())
    assert capture(story).due_at is not None
    story.now = max(story.now, capture(story).due_at or story.now)
    story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))

    assert capture(story).status is CaptureStatus.SUBMITTED
    assert story.payment.status is PaymentStatus.CAPTURING


def test_a_capture_whose_payment_is_still_under_way_at_its_deadline_is_refused() -> None:
    story = a_hold_under_way()
    story.answer(action_required())
    story.ask_capture()
    story.now = capture(story).deadline_at
    story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))

    assert refused(story).reason is FailureReason.NOTHING_HELD
    assert story.payment.status is PaymentStatus.ACTION_REQUIRED


def test_a_capture_is_looked_at_no_later_than_its_deadline() -> None:
    story = a_hold_under_way()
    story.ask_capture()
    story.now = capture(story).deadline_at - timedelta(seconds=1)
    story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))

    assert capture(story).due_at == capture(story).deadline_at


def test_a_capture_whose_payment_never_came_is_rejected_and_once_more_when_repeated() -> None:
    story = Story()
    story.ask_capture()
    story.now = capture(story).deadline_at
    given_up = story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))
    repeated = story.ask_capture()

    assert given_up.rejection is not None
    event = given_up.rejection.event
    assert isinstance(event, CommandRejected)
    assert (event.reason, event.command_type) == (RejectionReason.PAYMENT_NOT_FOUND, "CaptureRequested")
    assert repeated.rejection == given_up.rejection
    assert capture(story).status is CaptureStatus.REJECTED


def test_where_the_gateway_captures_in_parts_a_second_part_need_not_wait_for_the_first() -> None:
    story = a_capture_under_way(amount=eur(500), final=False)
    story.ask_capture(capture_id="cap_2", amount=eur(300), final=False, message_id="msg_5")

    assert story.payment.capture_pending == 800
    assert capture(story, "cap_2").status is CaptureStatus.SUBMITTED
    story.answer(approved_in_full(capturing(story, "cap_2"), "ch_2"))
    payment = story.payment
    assert (payment.status, payment.captured_gross, payment.capture_pending) == (
        PaymentStatus.CAPTURING,
        300,
        500,
    )
    story.answer(approved_in_full(capturing(story), "ch_1"), call=story.calls[-2])
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert (story.payment.captured_gross, story.payment.capture_pending) == (800, 0)


@pytest.mark.parametrize(
    ("multiple", "first_is_final"),
    [(False, True), (True, True)],
    ids=["captures once", "the last is under way"],
)
def test_a_capture_waits_for_one_under_way_that_may_be_the_last(multiple: bool, first_is_final: bool) -> None:
    story = held(with_gateway(multiple_capture=multiple))
    story.ask_capture(amount=eur(500), final=first_is_final)
    waiting = story.ask_capture(capture_id="cap_2", amount=eur(300), message_id="msg_5")
    story.answer(declined(), call=story.calls[-1])
    woken_at = capture(story, "cap_2").due_at
    story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId("cap_2")))

    assert waiting.result == "waiting"
    assert woken_at == story.now
    assert capture(story, "cap_2").status is CaptureStatus.SUBMITTED


def test_a_capture_waits_while_the_hold_is_being_let_go_and_is_refused_when_it_is_gone() -> None:
    story = held()
    story.ask_void()
    waiting = story.ask_capture()
    story.answer(approved_in_full(story.cancellation))
    story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))

    assert waiting.result == "waiting"
    assert refused(story).reason is FailureReason.NOTHING_HELD
    assert story.payment.status is PaymentStatus.VOIDED


# --- the gateway's answer ---


def test_an_unknown_capture_stays_capturing_and_is_looked_up() -> None:
    story = a_capture_under_way(amount=eur(500), final=False)
    story.answer(unknown())
    in_doubt = (story.payment.status, story.payment.capture_pending, story.event_names())
    looked_up = story.fall_due(capturing(story))
    story.answer(approved_in_full(capturing(story), "ch_1"))

    assert in_doubt == (PaymentStatus.CAPTURING, 500, ["PaymentAuthorized"])
    assert looked_up.call is not None
    assert isinstance(looked_up.call.request, LookupRequest)
    assert looked_up.call.request.operation is Operation.CAPTURE
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert (story.payment.captured_gross, story.payment.capture_pending) == (500, 0)
    assert journals(story) == ["J01", "J10"]


def test_an_unknown_capture_is_failed_only_once_its_absence_is_proven() -> None:
    story = a_capture_under_way(held(with_gateway(replay_window=timedelta(0))))
    story.answer(unknown())
    story.ask_again_until_answered(ABSENT, attempt=capturing(story))
    once = (story.payment.status, capturing(story).state)
    for _ in range(10):
        if not capturing(story).is_open:
            break
        story.ask_again_until_answered(ABSENT, attempt=capturing(story))

    assert once == (PaymentStatus.CAPTURING, AttemptState.UNKNOWN)
    assert story.payment.status is PaymentStatus.AUTHORIZED
    event = story.events[-1]
    assert isinstance(event, PaymentCaptureFailed)
    assert (event.category, event.reason) == ("failed", FailureReason.NEVER_EXECUTED)


def test_a_pending_capture_keeps_its_money_aside_until_the_gateway_tells() -> None:
    story = a_capture_under_way()
    story.answer(pending("ch_1"))
    status = story.payment.status
    story.ask_again_until_answered(approved_in_full(capturing(story), "ch_1"), attempt=capturing(story))

    assert status is PaymentStatus.CAPTURING
    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.event_names() == ["PaymentAuthorized", "PaymentSucceeded"]


def test_p38_a_declined_capture_leaves_the_hold() -> None:
    story = a_capture_under_way(amount=eur(500), final=True)
    story.answer(declined())

    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert (story.payment.capture_pending, story.payment.capturable) == (0, 1999)
    assert capture(story).status is CaptureStatus.FAILED
    assert journals(story) == ["J01"]
    event = story.events[-1]
    assert isinstance(event, PaymentCaptureFailed)
    assert (event.category, event.amount, event.gateway_code) == (
        "declined",
        eur(500),
        "code_insufficient_funds",
    )


def test_p38_a_capture_that_was_never_executed_has_failed_and_leaves_the_hold() -> None:
    story = a_capture_under_way()
    story.answer(not_sent(retryable=False))

    assert story.payment.status is PaymentStatus.AUTHORIZED
    event = story.events[-1]
    assert isinstance(event, PaymentCaptureFailed)
    assert (event.category, event.reason) == ("failed", FailureReason.REFUSED_BY_GATEWAY)


def test_a_capture_that_found_the_line_busy_is_sent_again_under_its_key() -> None:
    story = a_capture_under_way()
    first = story.calls[-1].request
    story.answer(not_sent(retryable=True))
    status = story.payment.status
    story.ask_again_until_answered(approved_in_full(capturing(story), "ch_1"), attempt=capturing(story))

    assert status is PaymentStatus.CAPTURING
    assert story.calls[-1].request == first
    assert story.payment.status is PaymentStatus.CAPTURED


def test_p43_a_declined_part_leaves_what_was_captured_before() -> None:
    story = held()
    take(story, "cap_1", amount=eur(600), final=False)
    a_capture_under_way(story, capture_id="cap_2", amount=eur(300))
    story.answer(declined())

    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert (story.payment.captured_gross, story.payment.capture_pending) == (600, 0)
    assert story.event_names()[-1] == "PaymentCaptureFailed"


def test_p39_a_capture_refused_because_the_hold_has_lapsed_ends_the_payment_expired() -> None:
    story = a_capture_under_way(amount=eur(500), final=False)
    story.answer(LAPSED)

    assert story.payment.status is PaymentStatus.EXPIRED
    assert (story.payment.released, story.payment.capture_pending, story.payment.capturable) == (1999, 0, 0)
    assert journals(story) == ["J01", "J03"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    assert [type(e) for e in story.events[-2:]] == [PaymentCaptureFailed, PaymentExpired]


def test_p42_a_later_capture_refused_because_the_hold_has_lapsed_releases_the_rest() -> None:
    story = held()
    take(story, "cap_1", amount=eur(600), final=False)
    a_capture_under_way(story, capture_id="cap_2", amount=eur(300))
    story.answer(LAPSED)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released) == (600, 1399)
    assert journals(story) == ["J01", "J10", "J03"]
    assert [type(e) for e in story.events[-2:]] == [PaymentCaptureFailed, PaymentReleased]


def test_a_capture_said_to_be_of_another_amount_is_for_a_person() -> None:
    story = a_capture_under_way()
    story.answer(Approved(reference="ch_1", amount=eur(1998)))

    assert story.payment.status is PaymentStatus.CAPTURING
    assert story.payment.attention
    assert journals(story) == ["J01"]
    assert capturing(story).state is AttemptState.UNKNOWN


# --- it is asked for again ---


def test_a_capture_that_is_asked_for_twice_is_taken_once() -> None:
    story = a_capture_under_way()
    repeated = story.ask_capture()
    under_another_message = story.ask_capture(message_id="msg_9")

    assert (repeated.result, repeated.announce_again) == ("repeated", CAPTURE)
    assert (under_another_message.result, under_another_message.call) == ("repeated", None)
    assert len(attempts_of(story, Operation.CAPTURE)) == 1
    assert story.payment.capture_pending == PRICE.minor


@pytest.mark.parametrize("message_id", ["msg_3", "msg_9"], ids=["the same message id", "another message id"])
def test_a_capture_id_that_came_with_another_content_is_a_conflict(message_id: str) -> None:
    story = a_capture_under_way(amount=eur(500))
    conflict = story.ask_capture(amount=eur(600), message_id=message_id)

    assert conflict.rejection is not None
    assert conflict.rejection.event.reason is RejectionReason.IDEMPOTENCY_CONFLICT
    assert story.payment.capture_pending == 500


def test_the_key_of_a_capture_is_the_same_whenever_it_is_decided() -> None:
    first, second = a_capture_under_way(), a_capture_under_way()

    assert first.calls[-1] == second.calls[-1]
    assert first.calls[-1].attempt_id == f"{CAPTURE}.c1"


def test_a_sale_is_not_captured_while_it_is_under_way_but_once_it_is_known_to_be_taken() -> None:
    story = a_sale()
    waiting = story.ask_capture()
    story.answer(approved(), call=story.calls[0])
    story.tell(TimerDue(payment_id=PAYMENT, capture_id=CaptureId(CAPTURE)))

    assert waiting.result == "waiting"
    assert refused(story).reason is FailureReason.NOTHING_HELD
    assert story.payment.captured_gross == PRICE.minor
