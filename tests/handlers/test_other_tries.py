"""One try has ended, and another may help: at another gateway, or with authentication (books, P16, P25 and P55).

And what is taken although it was called off, is given back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import (
    Absent,
    Approved,
    AuthorizeRequest,
    DeclineReason,
    Firmness,
    Opened,
    RefundRequest,
    VoidRequest,
)
from handlers.decision import Call, Decision, Policy
from ledger.states import Attempt, AttemptState, PaymentStatus, RefundStatus
from messages.events import FailureReason, PaymentFailed, PaymentSucceeded
from messages.ids import RefundId
from messages.operation import Operation
from tests.builders import (
    PAYMENT,
    PRICE,
    TOKEN,
    a_policy,
    action_required,
    an_action_completed,
    approved,
    capabilities,
    declined,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.lives import attempts_of, journals
from tests.handlers.story import Story, a_sale, approved_in_full

ABSENT = Absent(detail="no trace")
HARD = declined(DeclineReason.LOST_OR_STOLEN, Firmness.HARD)
NEEDS_CUSTOMER = declined(DeclineReason.AUTHENTICATION_REQUIRED, Firmness.NEEDS_AUTHENTICATION)
CUSTOMER_FAILED = declined(DeclineReason.AUTHENTICATION_FAILED, Firmness.HARD)
ELSEWHERE = [{"token": "pp_1", "gateway": "paypal"}]
GIVEN_BACK = RefundId(f"{PAYMENT}.void")


def two_gateways(**fields: Any) -> Policy:
    """Two gateways that can do the same."""
    return a_policy(gateways={"stripe": capabilities(**fields), "paypal": capabilities(**fields)})


def with_alternative(policy: Policy | None = None, **fields: Any) -> Story:
    """A sale whose customer is known to a second gateway, too; the first call is under way."""
    return a_sale(policy or two_gateways(), alternatives=ELSEWHERE, **fields)


def asked_to_pay(call: Call | None) -> AuthorizeRequest:
    """The request of a call that authorizes or sells."""
    assert call is not None
    assert isinstance(call.request, AuthorizeRequest)
    return call.request


def tries(story: Story) -> list[Attempt]:
    """The payment's tries, in order."""
    return [a for a in story.known.attempts.values() if a.operation in (Operation.SALE, Operation.AUTHORIZE)]


def absence_is_proven(story: Story) -> Decision:
    """Look-ups find nothing until that is proof."""
    first = story.sale.attempt_id
    for _ in range(20):
        decision = story.ask_again_until_answered(ABSENT, attempt=story.known.attempts[first])
        if not story.known.attempts[first].is_open:
            return decision
    raise AssertionError("absence was never taken for proof")


# --- at another gateway ---


def test_p16_after_a_soft_decline_the_next_gateway_is_tried_with_its_own_token_and_key() -> None:
    story = with_alternative()
    decision = story.answer(declined())

    request = asked_to_pay(decision.call)
    assert decision.call is not None
    assert decision.call.gateway == "paypal"
    assert (request.token, request.amount, request.attempt_id) == ("pp_1", PRICE, f"{PAYMENT}.a2")
    assert [a.state for a in tries(story)] == [AttemptState.DECLINED, AttemptState.SENT]
    assert story.payment.status is PaymentStatus.AUTHORIZING
    assert story.payment.gateway == "paypal"
    assert story.events == []


def test_p16_a_second_try_that_comes_through_is_all_the_shop_hears_of() -> None:
    story = with_alternative()
    story.answer(declined())
    story.answer(Approved(reference="pp_done", amount=PRICE))

    assert story.payment.status is PaymentStatus.CAPTURED
    assert journals(story) == ["J10s"]
    event = story.events[-1]
    assert isinstance(event, PaymentSucceeded)
    assert (event.gateway, event.sequence) == ("paypal", 1)


def test_p15_when_every_gateway_has_declined_the_payment_is_declined_once() -> None:
    story = with_alternative()
    story.answer(declined())
    decision = story.answer(declined(DeclineReason.GENERIC_DECLINE))

    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED
    assert story.event_names() == ["PaymentFailed"]
    event = story.events[-1]
    assert isinstance(event, PaymentFailed)
    assert (event.gateway, event.reason) == ("paypal", FailureReason.DECLINED_GENERIC)


def test_a_hard_decline_is_never_tried_elsewhere() -> None:
    story = with_alternative()
    decision = story.answer(HARD)

    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED


@pytest.mark.parametrize("retryable", [True, False])
def test_p16_a_call_that_provably_never_executed_is_made_at_the_next_gateway(retryable: bool) -> None:
    story = with_alternative()
    decision = story.answer(not_sent(retryable=retryable))

    assert decision.call is not None
    assert decision.call.gateway == "paypal"
    assert story.sale.state is AttemptState.FAILED
    assert story.sale.due_at is None


@pytest.mark.parametrize(
    "answer",
    [unknown(), pending(), action_required()],
    ids=["unknown", "pending", "the customer is to act"],
)
def test_what_may_still_come_through_is_not_tried_elsewhere(answer: Any) -> None:
    story = with_alternative()
    decision = story.answer(answer)

    assert decision.call is None
    assert len(tries(story)) == 1


def test_a_call_that_was_not_executed_after_one_in_doubt_is_not_made_elsewhere() -> None:
    story = with_alternative()
    story.answer(unknown())
    story.ask_again_until_answered(ABSENT, attempt=story.sale)
    decision = story.answer(not_sent(retryable=False))

    assert decision.call is None
    assert len(tries(story)) == 1
    assert story.payment.status is PaymentStatus.IN_DOUBT


def test_p55_a_payment_in_doubt_whose_absence_is_proven_is_tried_elsewhere() -> None:
    story = with_alternative(two_gateways(replay_window=timedelta(0)))
    story.answer(unknown())
    decision = absence_is_proven(story)

    assert decision.call is not None
    assert decision.call.gateway == "paypal"
    assert story.sale.state is AttemptState.FAILED
    assert story.payment.status is PaymentStatus.AUTHORIZING


@pytest.mark.parametrize("answer", [unknown(), pending()], ids=["in doubt", "pending"])
def test_p55_a_payment_that_waited_and_was_declined_softly_is_tried_elsewhere(answer: Any) -> None:
    story = with_alternative()
    story.answer(answer)
    decision = story.ask_again_until_answered(declined(), attempt=story.sale)

    assert decision.call is not None
    assert decision.call.gateway == "paypal"
    assert story.payment.status is PaymentStatus.AUTHORIZING


def test_a_token_that_is_not_known_elsewhere_is_not_tried_elsewhere() -> None:
    story = a_sale(two_gateways())
    decision = story.answer(declined())

    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED


def test_a_payment_that_insists_on_its_gateway_is_not_tried_elsewhere() -> None:
    story = with_alternative(gateway="stripe")
    decision = story.answer(declined())

    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED


def test_a_gateway_that_opens_first_is_one_try_of_two_calls() -> None:
    story = with_alternative()
    story.answer(declined())
    decision = story.answer(Opened(reference="pp_order"))

    request = asked_to_pay(decision.call)
    assert (request.attempt_id, request.reference) == (f"{PAYMENT}.a2", "pp_order")
    assert tries(story)[1].tries == 1


def test_an_answer_of_the_first_gateway_after_the_second_was_asked_is_read_again() -> None:
    story = with_alternative()
    first = story.calls[0]
    story.answer(declined())
    decision = story.answer(approved(), call=first)

    assert decision.call is not None
    assert not isinstance(decision.call.request, AuthorizeRequest)
    assert decision.call.gateway == "stripe"
    assert journals(story) == []


# --- with authentication ---


def test_a_decline_for_want_of_authentication_steps_up_at_the_same_gateway() -> None:
    story = with_alternative()
    decision = story.answer(NEEDS_CUSTOMER)

    request = asked_to_pay(decision.call)
    assert decision.call is not None
    assert (decision.call.gateway, request.token) == ("stripe", TOKEN)
    assert request.authenticate
    assert not asked_to_pay(story.calls[0]).authenticate
    assert request.attempt_id == f"{PAYMENT}.a2"
    assert story.payment.status is PaymentStatus.AUTHORIZING
    assert story.events == []


def test_a_step_up_has_the_customer_act_and_then_comes_through() -> None:
    story = a_sale()
    story.answer(NEEDS_CUSTOMER)
    story.answer(action_required("pi_2"))
    waiting = story.payment.status
    back = story.ask(an_action_completed(brought={"redirectResult": "abc"}), message_id="msg_back")
    story.answer(Approved(reference="pi_2", amount=PRICE))

    assert waiting is PaymentStatus.ACTION_REQUIRED
    assert back.call is not None
    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.event_names() == ["PaymentActionRequired", "PaymentSucceeded"]
    assert journals(story) == ["J10s"]


def test_a_step_up_is_asked_for_once() -> None:
    story = with_alternative()
    story.answer(NEEDS_CUSTOMER)
    decision = story.answer(NEEDS_CUSTOMER)

    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED
    assert len(tries(story)) == 2


def test_a_customer_who_failed_to_authenticate_is_not_asked_again() -> None:
    story = with_alternative()
    story.answer(NEEDS_CUSTOMER)
    story.answer(action_required("pi_2"))
    decision = story.ask_again_until_answered(CUSTOMER_FAILED, attempt=tries(story)[1])

    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED
    event = story.events[-1]
    assert isinstance(event, PaymentFailed)
    assert event.reason is FailureReason.AUTHENTICATION_FAILED


def test_a_payment_the_merchant_starts_has_no_customer_to_ask() -> None:
    story = with_alternative(initiator="merchant")
    first = asked_to_pay(story.calls[0])
    decision = story.answer(NEEDS_CUSTOMER)

    assert first.off_session
    assert decision.call is None
    assert story.payment.status is PaymentStatus.DECLINED
    event = story.events[-1]
    assert isinstance(event, PaymentFailed)
    assert (event.reason, event.retryable) == (FailureReason.AUTHENTICATION_REQUIRED, True)


def test_after_a_soft_decline_of_the_step_up_the_next_gateway_is_tried_without_it() -> None:
    story = with_alternative()
    story.answer(NEEDS_CUSTOMER)
    decision = story.answer(declined())

    request = asked_to_pay(decision.call)
    assert decision.call is not None
    assert decision.call.gateway == "paypal"
    assert not request.authenticate


def test_p25_a_step_up_that_is_lost_is_in_doubt() -> None:
    story = a_sale()
    story.answer(NEEDS_CUSTOMER)
    story.answer(action_required("pi_2"))
    story.ask(an_action_completed(), message_id="msg_back")
    story.answer(unknown())

    assert story.payment.status is PaymentStatus.ACTION_REQUIRED
    story.ask_again_until_answered(ABSENT, attempt=tries(story)[1])
    assert tries(story)[1].is_open
    assert "PaymentFailed" not in story.event_names()


# --- the customer comes back ---


def test_a_customer_who_comes_back_twice_is_looked_up_and_nothing_else() -> None:
    story = a_sale()
    story.answer(action_required())
    story.ask(an_action_completed(brought={"redirectResult": "abc"}), message_id="msg_back")
    story.answer(approved())
    again = story.ask(an_action_completed(brought={"redirectResult": "abc"}), message_id="msg_back")

    assert (again.result, again.announce_again, again.call) == ("repeated", PAYMENT, None)
    assert journals(story) == ["J10s"]


def test_a_customer_who_comes_back_for_a_payment_nobody_asked_for_is_rejected() -> None:
    decision = Story().ask(an_action_completed(), message_id="msg_back")

    assert decision.rejection is not None
    assert decision.rejection.event.command_type == "PaymentActionCompleted"


# --- called off in between ---


@pytest.mark.parametrize(
    "answer",
    [declined(), NEEDS_CUSTOMER, not_sent(retryable=False)],
    ids=["soft decline", "needs the customer", "never executed"],
)
def test_a_payment_that_was_called_off_is_not_tried_otherwise(answer: Any) -> None:
    story = with_alternative()
    story.ask_void()
    decision = story.answer(answer)

    assert decision.call is None
    assert len(tries(story)) == 1
    assert story.event_names() == ["PaymentFailed"]


@pytest.mark.parametrize(
    "answer", [not_sent(retryable=True), Opened(reference="pi_1")], ids=["not sent yet", "only opened"]
)
def test_the_call_that_would_move_the_money_is_not_made_once_the_payment_is_called_off(answer: Any) -> None:
    story = a_sale()
    story.ask_void()
    decision = story.answer(answer)

    assert decision.call is None
    assert story.payment.status is PaymentStatus.CANCELED
    assert story.event_names() == ["PaymentFailed"]
    assert story.next_timer_at() is None


def test_the_second_try_is_called_off_like_the_first() -> None:
    story = with_alternative(capture="manual")
    story.answer(declined())
    story.ask_void()
    decision = story.answer(Approved(reference="pp_held", amount=PRICE))

    assert decision.call is not None
    assert isinstance(decision.call.request, VoidRequest)
    assert (decision.call.gateway, decision.call.request.authorization_reference) == ("paypal", "pp_held")


def test_money_taken_by_the_second_try_is_given_back_there() -> None:
    story = with_alternative()
    story.answer(declined())
    story.ask_void()
    decision = story.answer(Approved(reference="pp_done", amount=PRICE))
    story.answer(approved_in_full(story.refunding, "pp_back"))

    assert decision.call is not None
    assert isinstance(decision.call.request, RefundRequest)
    assert (decision.call.gateway, decision.call.request.capture_reference) == ("paypal", "pp_done")
    assert story.known.refunds[GIVEN_BACK].status is RefundStatus.SUCCEEDED
    assert journals(story) == ["J10s", "J30", "J31"]
    assert (story.payment.refunded, story.payment.refundable) == (PRICE.minor, 0)


def test_money_that_cannot_be_given_back_is_said_to_be_kept() -> None:
    story = a_sale()
    story.ask_void()
    story.answer(approved())
    story.answer(declined(DeclineReason.NOT_REFUNDABLE))

    assert story.known.refunds[GIVEN_BACK].status is RefundStatus.FAILED
    assert story.event_names() == ["PaymentSucceeded", "RefundFailed"]
    assert story.payment.refundable == PRICE.minor


def test_money_in_doubt_that_was_called_off_is_given_back_when_it_is_found() -> None:
    story = a_sale()
    story.answer(unknown())
    story.ask_void()
    decision = story.ask_again_until_answered(approved(), attempt=story.sale)

    assert decision.call is not None
    assert isinstance(decision.call.request, RefundRequest)
    assert len(attempts_of(story, Operation.REFUND)) == 1
