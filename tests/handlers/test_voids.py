"""A payment is called off by command (books, P24, P28, P31, P44-P47, and what is in flight), or it is said why not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateways.protocol import (
    Absent,
    AuthorizeRequest,
    CaptureRequest,
    DeclineReason,
    Firmness,
    LookupRequest,
    RefundRequest,
    VoidRequest,
)
from handlers.decision import Decision
from ledger.accounts import Account
from ledger.states import AttemptState, PaymentStatus, RefundStatus
from messages.events import (
    FailureReason,
    PaymentFailed,
    PaymentReleased,
    PaymentVoided,
    PaymentVoidFailed,
    RejectionReason,
)
from messages.ids import RefundId
from messages.operation import Operation
from tests.builders import (
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
    SILENT,
    a_hold_under_way,
    attempts_of,
    capturing,
    held,
    journals,
    take,
    with_gateway,
)
from tests.handlers.story import Story, a_captured_story, a_sale, approved_in_full

ABSENT = Absent(detail="no trace")
LAPSED = declined(DeclineReason.EXPIRED, Firmness.HARD)
CANCELED = declined(DeclineReason.CANCELED, Firmness.HARD)


def a_void_under_way(story: Story | None = None) -> Story:
    """Money is held, and the call to let it go is under way."""
    story = story or held()
    story.ask_void()
    return story


def refusal(story: Story) -> PaymentVoidFailed:
    """The last event, which says that nothing was let go."""
    event = story.events[-1]
    assert isinstance(event, PaymentVoidFailed)
    return event


# --- a hold is let go ---


def test_p31_a_void_of_a_hold_asks_the_gateway_to_let_it_go() -> None:
    story = a_void_under_way()

    request = story.calls[-1].request
    assert isinstance(request, VoidRequest)
    assert (request.authorization_reference, request.amount) == ("pi_1", PRICE)
    assert request.canceled_attempt_id == story.sale.attempt_id
    assert story.payment.status is PaymentStatus.VOIDING
    assert journals(story) == ["J01"]


def test_p44_a_hold_that_was_let_go_ends_the_payment_voided() -> None:
    story = a_void_under_way()
    story.answer(approved_in_full(story.cancellation))

    assert story.payment.status is PaymentStatus.VOIDED
    assert (story.payment.released, story.payment.capturable, story.payment.captured_gross) == (1999, 0, 0)
    assert journals(story) == ["J01", "J03"]
    assert story.balance(Account.AUTHORIZATION_HOLD) == 0
    event = story.events[-1]
    assert isinstance(event, PaymentVoided)
    assert event.amount == PRICE
    assert story.next_timer_at() is None


def test_p42_a_void_after_a_part_was_captured_releases_the_rest() -> None:
    story = held()
    take(story, amount=eur(600), final=False)
    a_void_under_way(story)
    status, request = story.payment.status, story.calls[-1].request
    story.answer(approved_in_full(story.cancellation))

    assert status is PaymentStatus.VOIDING
    assert isinstance(request, VoidRequest)
    assert request.amount == eur(1399)
    assert story.payment.status is PaymentStatus.CAPTURED
    assert (story.payment.captured_gross, story.payment.released) == (600, 1399)
    assert journals(story) == ["J01", "J10", "J03"]
    event = story.events[-1]
    assert isinstance(event, PaymentReleased)
    assert event.amount == eur(1399)


def test_an_unknown_void_stays_voiding_and_is_looked_up() -> None:
    story = a_void_under_way()
    story.answer(unknown())
    status = story.payment.status
    looked_up = story.fall_due(story.cancellation)
    story.answer(approved_in_full(story.cancellation))

    assert status is PaymentStatus.VOIDING
    assert looked_up.call is not None
    assert isinstance(looked_up.call.request, LookupRequest)
    assert looked_up.call.request.operation is Operation.VOID
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]


def test_a_pending_void_is_voided_once_the_gateway_says_so() -> None:
    story = a_void_under_way()
    story.answer(pending())
    status = story.payment.status
    story.ask_again_until_answered(approved_in_full(story.cancellation), attempt=story.cancellation)

    assert status is PaymentStatus.VOIDING
    assert story.payment.status is PaymentStatus.VOIDED


def test_p45_a_declined_void_leaves_the_hold_and_the_gateway_is_asked_what_became_of_it() -> None:
    story = a_void_under_way()
    decision = story.answer(declined(DeclineReason.OTHER))

    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert story.payment.capturable == PRICE.minor
    assert journals(story) == ["J01"]
    event = refusal(story)
    assert (event.category, event.reason, event.amount) == ("declined", FailureReason.OTHER, PRICE)
    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert decision.call.attempt_id == story.sale.attempt_id


def test_p45_a_void_that_was_never_executed_has_failed_and_may_be_asked_for_again() -> None:
    story = a_void_under_way()
    story.answer(not_sent(retryable=False))
    failed = refusal(story)
    story.answer(approved_in_full(story.sale))
    again = story.ask_void(message_id="msg_8")

    assert (failed.category, failed.reason) == ("failed", FailureReason.REFUSED_BY_GATEWAY)
    assert again.call is not None
    assert isinstance(again.call.request, VoidRequest)
    assert story.payment.status is PaymentStatus.VOIDING
    assert len(attempts_of(story, Operation.VOID)) == 2


def test_p45_a_hold_that_is_still_good_after_a_declined_void_can_be_captured() -> None:
    story = a_void_under_way()
    story.answer(declined(DeclineReason.OTHER))
    story.answer(approved_in_full(story.sale))
    take(story)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert not story.payment.attention
    assert journals(story) == ["J01", "J10"]


@pytest.mark.parametrize(
    ("word", "status", "event"),
    [(LAPSED, PaymentStatus.EXPIRED, "PaymentExpired"), (CANCELED, PaymentStatus.VOIDED, "PaymentVoided")],
    ids=["P47 it had lapsed", "it was let go by others"],
)
def test_a_declined_void_of_a_hold_that_is_gone_ends_the_payment(
    word: object, status: PaymentStatus, event: str
) -> None:
    story = a_void_under_way()
    story.answer(declined(DeclineReason.OTHER))
    story.answer(word)

    assert story.payment.status is status
    assert story.payment.released == PRICE.minor
    assert journals(story) == ["J01", "J03"]
    assert story.event_names()[-2:] == ["PaymentVoidFailed", event]


def test_a_declined_void_after_a_part_was_captured_leaves_the_payment_partially_captured() -> None:
    story = held()
    take(story, amount=eur(600), final=False)
    a_void_under_way(story)
    story.answer(declined(DeclineReason.OTHER))

    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED
    assert refusal(story).amount == eur(1399)


def test_a_hold_that_could_not_be_let_go_is_watched_on_where_the_gateway_cannot_be_asked() -> None:
    story = a_void_under_way(held(with_gateway(**SILENT)))
    decision = story.answer(declined(DeclineReason.OTHER))
    lapses_at = story.sale.capture_before

    assert decision.call is None
    assert story.payment.status is PaymentStatus.AUTHORIZED
    assert lapses_at is not None
    assert story.sale.due_at == lapses_at - story.policy.expiry_warning


# --- what is in flight ---


def test_a_void_while_the_call_to_hold_is_under_way_lets_the_hold_go_once_it_is_there() -> None:
    story = a_hold_under_way()
    asked = story.ask_void()
    in_flight = story.payment.status
    came_through = story.answer(approved(), call=story.calls[0])
    voiding = story.payment.status
    story.answer(approved_in_full(story.cancellation))

    assert (asked.call, in_flight) == (None, PaymentStatus.AUTHORIZING)
    assert came_through.call is not None
    assert isinstance(came_through.call.request, VoidRequest)
    assert voiding is PaymentStatus.VOIDING
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]
    assert story.event_names() == ["PaymentAuthorized", "PaymentVoided"]


def test_a_void_while_a_sale_is_under_way_gives_the_money_back_once_it_is_taken() -> None:
    story = a_sale()
    story.ask_void()
    came_through = story.answer(approved())

    assert came_through.call is not None
    assert isinstance(came_through.call.request, RefundRequest)
    assert came_through.call.request.amount == PRICE
    own = RefundId(f"{PAYMENT}.void")
    assert story.known.refunds[own].status is RefundStatus.SUBMITTED
    assert story.payment.status is PaymentStatus.CAPTURED
    assert journals(story) == ["J10s", "J30"]
    story.answer(approved_in_full(story.refunding, "re_1"))
    assert (story.payment.refunded, story.payment.refund_pending) == (PRICE.minor, 0)
    assert journals(story) == ["J10s", "J30", "J31"]
    assert story.event_names() == ["PaymentSucceeded", "RefundProcessed"]


def test_a_payment_that_was_called_off_in_flight_and_declined_is_declined() -> None:
    story = a_hold_under_way()
    story.ask_void()
    story.answer(declined())

    assert story.payment.status is PaymentStatus.DECLINED
    assert story.event_names() == ["PaymentFailed"]


def test_a_void_in_doubt_waits_for_the_truth_and_undoes_it() -> None:
    story = a_hold_under_way()
    story.answer(unknown())
    asked = story.ask_void()
    in_doubt = story.payment.status
    found = story.ask_again_until_answered(approved(), attempt=story.sale)
    story.answer(approved_in_full(story.cancellation))

    assert (asked.call, in_doubt) == (None, PaymentStatus.IN_DOUBT)
    assert found.call is not None
    assert isinstance(found.call.request, VoidRequest)
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]
    assert story.event_names() == ["PaymentInDoubt", "PaymentAuthorized", "PaymentVoided"]


def test_a_void_in_doubt_whose_payment_never_was_executed_needs_nothing_undone() -> None:
    story = a_hold_under_way(with_gateway(replay_window=timedelta(0)))
    story.answer(unknown())
    story.ask_void()
    for _ in range(10):
        if not story.sale.is_open:
            break
        story.ask_again_until_answered(ABSENT, attempt=story.sale)

    assert story.payment.status is PaymentStatus.FAILED
    assert attempts_of(story, Operation.VOID) == []
    assert story.event_names() == ["PaymentInDoubt", "PaymentFailed"]


def test_p28_where_nobody_can_be_asked_an_unknown_payment_is_called_off_by_our_own_name() -> None:
    story = a_hold_under_way(with_gateway(can_be_asked=False, replay_window=timedelta(0)))
    story.answer(unknown())
    story.ask_void()
    decision = story.fall_due(story.sale)

    assert decision.call is not None
    request = decision.call.request
    assert isinstance(request, VoidRequest)
    assert (request.authorization_reference, request.canceled_attempt_id) == ("", story.sale.attempt_id)
    story.answer(approved_in_full(story.cancellation))
    assert story.payment.status is PaymentStatus.CANCELED
    event = story.events[-1]
    assert isinstance(event, PaymentFailed)
    assert (event.category, event.reason) == ("canceled", FailureReason.CANCELED_BY_COMMAND)


@pytest.mark.parametrize(
    ("answer", "status"),
    [(action_required(), PaymentStatus.ACTION_REQUIRED), (pending(), PaymentStatus.PENDING)],
    ids=["the customer is to act", "under way"],
)
def test_p24_what_waits_at_the_gateway_is_called_off_there(answer: object, status: PaymentStatus) -> None:
    story = a_hold_under_way()
    story.answer(answer)
    decision = story.ask_void()
    meanwhile = story.payment.status
    story.answer(approved_in_full(story.cancellation))

    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert meanwhile is status
    assert story.payment.status is PaymentStatus.CANCELED
    assert story.sale.state is AttemptState.CANCELED
    assert journals(story) == []
    event = story.events[-1]
    assert isinstance(event, PaymentFailed)
    assert (event.category, event.reason, event.retryable) == (
        "canceled",
        FailureReason.CANCELED_BY_COMMAND,
        True,
    )


def the_customer_was_quicker(story: Story) -> Decision:
    """The cancellation is declined, for the customer has acted; the look-up that follows says so."""
    story.answer(declined(DeclineReason.OTHER), call=story.calls[-1])
    assert isinstance(story.calls[-1].request, LookupRequest)
    return story.answer(approved())


def test_p24_a_customer_who_was_quicker_than_the_void_has_the_hold_let_go() -> None:
    story = a_hold_under_way()
    story.answer(action_required())
    story.ask_void()
    decision = the_customer_was_quicker(story)
    story.answer(approved_in_full(story.cancellation))

    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert len(attempts_of(story, Operation.VOID)) == 2
    assert story.payment.status is PaymentStatus.VOIDED
    assert journals(story) == ["J01", "J03"]


def test_p24_a_customer_who_was_quicker_than_the_void_gets_the_money_back() -> None:
    story = a_sale()
    story.answer(action_required())
    story.ask_void()
    decision = the_customer_was_quicker(story)

    assert decision.call is not None
    assert isinstance(decision.call.request, RefundRequest)
    assert story.payment.refund_pending == PRICE.minor
    assert journals(story) == ["J10s", "J30"]


def test_what_was_not_sent_yet_is_called_off_without_a_call() -> None:
    story = a_hold_under_way()
    story.answer(not_sent(retryable=True))
    decision = story.ask_void()

    assert decision.call is None
    assert story.sale.state is AttemptState.CANCELED
    assert story.payment.status is PaymentStatus.CANCELED
    assert len([c for c in story.calls if isinstance(c.request, AuthorizeRequest)]) == 1
    assert story.event_names() == ["PaymentFailed"]
    assert story.next_timer_at() is None


# --- it is too late, or too early ---


def test_a_captured_payment_is_not_voided_but_to_be_refunded() -> None:
    story = a_captured_story()
    decision = story.ask_void()

    event = refusal(story)
    assert (event.category, event.reason, event.amount) == ("rejected", FailureReason.NOTHING_HELD, eur(0))
    assert "RefundRequested" in event.message
    assert decision.call is None
    assert story.payment.status is PaymentStatus.CAPTURED
    assert not story.payment.cancel_requested


def test_a_payment_that_is_being_captured_is_not_voided() -> None:
    story = held()
    story.ask_capture(amount=eur(500), final=False)
    story.ask_void()

    assert refusal(story).reason is FailureReason.CAPTURE_UNDER_WAY
    assert isinstance(story.calls[-1].request, CaptureRequest)
    story.answer(approved_in_full(capturing(story)))
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED


@pytest.mark.parametrize("message_id", ["msg_4", "msg_8"], ids=["the same message", "another message"])
def test_a_void_that_is_asked_for_twice_is_sent_once(message_id: str) -> None:
    story = a_void_under_way()
    while_under_way = story.ask_void(message_id=message_id)
    story.answer(approved_in_full(story.cancellation))
    afterwards = story.ask_void(message_id=message_id)

    assert (while_under_way.result, while_under_way.call) == ("repeated", None)
    assert (afterwards.result, afterwards.announce_again) == ("repeated", PAYMENT)
    assert len(attempts_of(story, Operation.VOID)) == 1
    assert story.event_names() == ["PaymentAuthorized", "PaymentVoided"]


def test_a_void_in_flight_that_is_asked_for_twice_changes_nothing() -> None:
    story = a_sale()
    story.ask_void()
    again = story.ask_void(message_id="msg_8")

    assert (again.result, again.payment) == ("repeated", None)


def test_a_void_redelivered_after_it_was_refused_is_not_taken_for_a_new_one() -> None:
    story = held()
    story.ask_capture(amount=eur(500), final=False)
    story.ask_void()
    story.answer(approved_in_full(capturing(story)))
    again = story.ask_void()

    assert again.result == "repeated"
    assert attempts_of(story, Operation.VOID) == []
    assert story.payment.status is PaymentStatus.PARTIALLY_CAPTURED


def test_a_void_of_a_payment_nobody_asked_for_is_rejected() -> None:
    decision = Story().ask_void()

    assert decision.rejection is not None
    assert decision.rejection.event.reason is RejectionReason.PAYMENT_NOT_FOUND
    assert decision.rejection.event.command_type == "VoidRequested"


def test_a_void_under_the_id_of_another_message_is_a_conflict() -> None:
    story = a_void_under_way()
    decision = story.ask_void(reason="another reason")

    assert decision.rejection is not None
    assert decision.rejection.event.reason is RejectionReason.IDEMPOTENCY_CONFLICT


@pytest.mark.parametrize("answer", [declined(), not_sent(retryable=False)], ids=["declined", "failed"])
def test_a_payment_that_came_to_nothing_needs_no_void(answer: object) -> None:
    story = a_hold_under_way()
    story.answer(answer)
    decision = story.ask_void()

    assert (decision.result, decision.announce_again, decision.call) == ("repeated", PAYMENT, None)
