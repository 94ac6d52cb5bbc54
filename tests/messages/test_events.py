"""Events: each is written and read back the same, and the lists of them are complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from gateways.protocol import DeclineReason
from messages import events
from messages.events import EVENTS, Event, FailureReason, PaymentEvent, RefundEvent, RejectionReason
from messages.ids import CaptureId, PaymentId, RefundId
from tests.builders import NOON, PRICE, eur

PAYMENT: dict[str, Any] = {
    "payment_id": PaymentId("pay_1"),
    "order_id": "1001",
    "sequence": 1,
    "occurred_at": NOON,
    "amount": PRICE,
}
REFUND: dict[str, Any] = {**PAYMENT, "refund_id": RefundId("ref_1")}

EXAMPLES: list[Event] = [
    events.PaymentAuthorized(**PAYMENT, gateway="stripe"),
    events.PaymentSucceeded(**PAYMENT, captured=PRICE, capturable=eur(0), gateway="stripe"),
    events.PaymentFailed(
        **PAYMENT,
        category="declined",
        reason=FailureReason.EXPIRED_CARD,
        retryable=False,
        message="the gateway declined",
        gateway="stripe",
        gateway_code="expired_card",
    ),
    events.PaymentActionRequired(
        **PAYMENT,
        next_action=events.NextAction(type="sdk", client_secret="pi_1_secret_2"),
        expires_at=NOON,
    ),
    events.PaymentPending(**PAYMENT),
    events.PaymentInDoubt(**PAYMENT, message="lost"),
    events.PaymentVoided(**PAYMENT),
    events.PaymentExpired(**PAYMENT),
    events.PaymentExpiring(**PAYMENT, capture_before=NOON),
    events.PaymentReleased(**PAYMENT),
    events.PaymentReversed(**PAYMENT, captured=eur(0)),
    events.PaymentCaptureFailed(
        **PAYMENT,
        capture_id=CaptureId("cap_1"),
        category="rejected",
        reason=FailureReason.NOTHING_HELD,
        message="nothing is held",
    ),
    events.PaymentVoidFailed(
        **PAYMENT, category="rejected", reason=FailureReason.NOTHING_HELD, message="nothing is held"
    ),
    events.RefundReversed(**REFUND, sent_again_at=NOON),
    events.RefundProcessed(**REFUND, refunded=PRICE, refundable=eur(0)),
    events.RefundPending(**REFUND, in_doubt=True),
    events.RefundFailed(
        **REFUND, category="rejected", reason=FailureReason.MORE_THAN_REFUNDABLE, message="too much"
    ),
    events.CommandRejected(
        occurred_at=NOON,
        command_id="msg_1",
        command_type="PaymentRequested",
        command_source="/order-service",
        reason=RejectionReason.UNKNOWN_FIELD,
        field="amonut",
        message="amonut: no such field",
        payment_id="pay_1",
    ),
]


def concrete(kind: type[Event] = Event) -> Iterator[type[Event]]:
    """Every event that can be published: those that say where they go."""
    for below in kind.__subclasses__():
        yield from concrete(below)
    if "routing_key" in vars(kind):
        yield kind


def test_every_event_is_listed_under_its_name() -> None:
    assert set(EVENTS.values()) == set(concrete())
    assert all(name == event.__name__ for name, event in EVENTS.items())


def test_every_event_has_an_example_here() -> None:
    assert {type(example) for example in EXAMPLES} == set(EVENTS.values())


def test_every_event_goes_its_own_way_to_the_events_exchange() -> None:
    assert {event.exchange for event in EVENTS.values()} == {"payments.events"}
    assert len({event.routing_key for event in EVENTS.values()}) == len(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_the_routing_key_is_the_name_in_the_fields_words(name: str) -> None:
    spelled = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    subject, _, what = spelled.removeprefix("_").partition("_")

    assert EVENTS[name].routing_key == f"{subject}.{what}"


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("exclude_none", [True, False])
def test_an_event_is_read_back_as_it_was_written(event: Event, exclude_none: bool) -> None:
    body = event.model_dump_json(exclude_none=exclude_none)

    assert type(event).model_validate_json(body) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_checked_like_a_command(event: Event) -> None:
    with pytest.raises(ValidationError):
        type(event).model_validate({**event.model_dump(), "surprise": 1})


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_money_is_written_as_a_whole_number_of_minor_units(event: Event) -> None:
    written = event.model_dump(mode="json")

    if not isinstance(event, events.CommandRejected):
        assert written["amount"] == {"minor": 1999, "currency": "EUR"}
    assert written["occurred_at"] == "2026-11-22T12:00:00Z"


@pytest.mark.parametrize("kind", list(EVENTS.values()))
def test_every_event_of_a_payment_carries_its_order_and_its_place(kind: type[Event]) -> None:
    if kind is events.CommandRejected:
        return

    assert issubclass(kind, PaymentEvent)
    assert {"payment_id", "order_id", "sequence", "amount", "occurred_at"} <= kind.model_fields.keys()
    assert kind.routing_key.startswith("refund.") is issubclass(kind, RefundEvent)


def test_a_sequence_starts_at_one() -> None:
    with pytest.raises(ValidationError):
        events.PaymentPending(**{**PAYMENT, "sequence": 0})


def test_every_decline_of_a_gateway_has_its_reason_here() -> None:
    assert {reason.value for reason in DeclineReason} <= {reason.value for reason in FailureReason}


def test_no_two_reasons_share_a_word() -> None:
    assert len({reason.value for reason in FailureReason}) == len(FailureReason.__members__)
    assert len({reason.value for reason in RejectionReason}) == len(RejectionReason.__members__)


def test_a_client_secret_is_sent_but_not_shown() -> None:
    event = next(event for event in EXAMPLES if isinstance(event, events.PaymentActionRequired))

    assert "pi_1_secret_2" in event.model_dump_json()
    assert "pi_1_secret_2" not in repr(event)
    assert "pi_1_secret_2" not in str(event)
