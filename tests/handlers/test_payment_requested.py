"""PaymentRequested: accepted, refused, repeated, in conflict."""

from __future__ import annotations

from typing import Any

import pytest

from gateways.protocol import AuthorizeRequest
from handlers.decision import Decision
from ledger.states import AttemptState, PaymentStatus
from messages.events import FailureReason, PaymentFailed, RejectionReason
from messages.ids import PaymentId
from messages.operation import Operation
from tests.builders import (
    NOON,
    PAYMENT,
    PRICE,
    TOKEN,
    a_policy,
    approved,
    capabilities,
    declined,
    pending,
    unknown,
)
from tests.handlers.story import Story, a_sale


def test_a_payment_starts_with_its_first_call_written_down_and_made() -> None:
    story = Story()
    decision = story.ask_payment()

    assert story.payment.status is PaymentStatus.AUTHORIZING
    assert (story.payment.requested, story.payment.currency, story.payment.attempts) == (1999, "EUR", 1)
    assert (story.sale.attempt_id, story.sale.state) == ("pay_1.a1", AttemptState.SENT)
    assert decision.announcements == ()
    assert decision.journals == ()


def test_the_call_carries_what_was_asked_for_under_the_attempts_key() -> None:
    story = Story()
    fields: dict[str, Any] = {
        "customer_id": "cus_1",
        "return_url": "https://shop.example/back",
        "description": "Order 1001",
        "statement_descriptor": "SHOP",
        "initiator": "merchant",
        "metadata": {"b": "2", "a": "1"},
    }
    call = story.ask_payment(**fields).call

    assert call is not None
    assert (call.gateway, call.payment_id, call.attempt_id, call.call_number) == (
        "stripe",
        PAYMENT,
        "pay_1.a1",
        1,
    )
    assert call.request == AuthorizeRequest(
        attempt_id=story.sale.attempt_id,
        payment_id=PAYMENT,
        order_id="1001",
        amount=PRICE,
        token=TOKEN,
        capture=True,
        reference=None,
        off_session=True,
        customer_id="cus_1",
        return_url="https://shop.example/back",
        description="Order 1001",
        statement_descriptor="SHOP",
        metadata={"a": "1", "b": "2"},
    )


@pytest.mark.parametrize(
    ("capture", "operation"), [("automatic", Operation.SALE), ("manual", Operation.AUTHORIZE)]
)
def test_capture_decides_between_taking_and_holding(capture: str, operation: Operation) -> None:
    story = a_sale(capture=capture)
    call = story.calls[-1]

    assert story.sale.operation is operation
    assert isinstance(call.request, AuthorizeRequest)
    assert call.request.capture is (operation is Operation.SALE)


@pytest.mark.parametrize(
    ("fields", "gateway"),
    [
        ({"gateway": "paypal", "payment_method": {"token": "tok"}}, "paypal"),
        ({"payment_method": {"token": "tok", "gateway": "paypal"}}, "paypal"),
        ({"payment_method": {"token": "tok"}}, "stripe"),
    ],
    ids=["of the command", "of the token", "the default"],
)
def test_the_gateway_is_the_commands_else_the_tokens_else_the_default(
    fields: dict[str, Any], gateway: str
) -> None:
    story = Story(a_policy(gateways={"stripe": capabilities(), "paypal": capabilities()}))
    story.ask_payment(**fields)

    assert story.payment.gateway == story.sale.gateway == story.calls[-1].gateway == gateway


# --- refused ---


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        (FailureReason.UNKNOWN_GATEWAY, {"gateway": "nobody", "payment_method": {"token": "tok"}}),
        (FailureReason.CURRENCY_NOT_SUPPORTED, {"amount": {"minor": 100, "currency": "JPY"}}),
        (FailureReason.UNKNOWN_PAYMENT_METHOD, {"payment_method": None, "payment_method_id": "pm_stored"}),
    ],
)
def test_a_payment_that_cannot_be_served_is_rejected_before_any_call(
    reason: FailureReason, fields: dict[str, Any]
) -> None:
    story = Story()
    decision = story.ask_payment(**fields)
    event = story.events[-1]

    assert isinstance(event, PaymentFailed)
    assert (event.category, event.reason, event.retryable) == ("rejected", reason, False)
    assert (story.payment.status, story.payment.sequence) == (PaymentStatus.REJECTED, 1)
    assert decision.call is None
    assert story.known.attempts == {}


def test_a_second_payment_for_an_order_is_rejected() -> None:
    story = Story()
    story.known.order_paid_by = PaymentId("pay_0")
    decision = story.ask_payment()
    event = story.events[-1]

    assert isinstance(event, PaymentFailed)
    assert (event.category, event.reason) == ("rejected", FailureReason.ORDER_ALREADY_PAID)
    assert decision.call is None


# --- repeated ---


@pytest.mark.parametrize(
    "ending", [approved(), declined(), pending(), unknown(), None], ids=lambda answer: type(answer).__name__
)
@pytest.mark.parametrize("message_id", ["msg_1", "msg_9"], ids=["redelivered", "sent again"])
def test_the_same_payment_again_is_announced_again_and_charged_once(ending: Any, message_id: str) -> None:
    story = a_sale()
    if ending is not None:
        story.answer(ending)
    before = story.payment
    decision = story.ask_payment(message_id=message_id)

    assert decision == Decision(result="repeated", announce_again=PAYMENT)
    assert story.payment == before


def test_a_rejected_payment_again_is_announced_again() -> None:
    story = Story()
    story.known.order_paid_by = PaymentId("pay_0")
    story.ask_payment()
    story.known.order_paid_by = None
    decision = story.ask_payment()

    assert decision == Decision(result="repeated", announce_again=PAYMENT), "a failed key stays failed"


def test_the_order_of_fields_and_spelled_out_defaults_make_no_other_body() -> None:
    story = a_sale(metadata={"a": "1", "b": "2"})
    decision = story.ask_payment(metadata={"b": "2", "a": "1"}, capture="automatic", initiator="customer")

    assert decision.result == "repeated"


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": {"minor": 2000, "currency": "EUR"}},
        {"amount": {"minor": 1999, "currency": "USD"}},
        {"order_id": "1002"},
        {"payment_method": {"gateway": "stripe", "token": "pm_other"}},
        {"capture": "manual"},
        {"metadata": {"a": "1"}},
    ],
)
def test_the_same_id_with_another_body_is_a_conflict_and_nothing_is_done(changed: dict[str, Any]) -> None:
    story = a_sale()
    before = story.payment
    decision = story.ask_payment(message_id="msg_9", **changed)

    assert decision.rejection is not None
    assert decision.rejection.event.reason is RejectionReason.IDEMPOTENCY_CONFLICT
    assert (decision.rejection.event.field, decision.rejection.event.payment_id) == ("payment_id", PAYMENT)
    assert decision.rejection.event.command_id == "msg_9"
    assert (decision.payment, decision.attempts, decision.call) == (None, (), None)
    assert story.payment == before


def test_the_same_message_id_with_another_body_is_a_conflict() -> None:
    story = a_sale()
    decision = story.ask_payment(payment_id="pay_2", message_id="msg_1")

    assert decision.rejection is not None
    assert decision.rejection.event.reason is RejectionReason.IDEMPOTENCY_CONFLICT
    assert decision.rejection.event.field == "id"
    assert decision.call is None


def test_a_conflict_does_not_quote_either_body() -> None:
    story = a_sale(description="first secret")
    decision = story.ask_payment(message_id="msg_9", description="second secret")

    assert decision.rejection is not None
    assert "secret" not in decision.rejection.event.model_dump_json()
    assert TOKEN not in decision.rejection.event.model_dump_json()


def test_the_row_remembers_who_asked() -> None:
    story = a_sale()

    assert (story.payment.source, story.payment.command_id) == ("/order-service", "msg_1")
    assert story.payment.created_at == NOON


def test_no_token_shows_in_a_decision() -> None:
    story = a_sale()

    assert TOKEN not in repr(story.decisions)
    assert TOKEN not in repr(story.known)
    assert all(TOKEN not in decision.details() for decision in story.decisions)
