"""Rows and messages: an event is the same message however often it is made, a dead letter keeps what came."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.outbound import (
    MAX_DETAIL,
    MAX_PROPERTY_BYTES,
    DeadLetterReceipt,
    EventReceipt,
    dead_letter,
    event_message,
    event_row,
    rejection_row,
    unreadable,
)
from handlers.decision import Announcement, Rejection
from handlers.rejection import conflict
from messages.envelope import Sender, Unreadable
from messages.events import CommandRejected, PaymentSucceeded, RejectionReason
from tests.builders import NOON, PAYMENT, PRICE, a_payment_requested, asked, eur
from tests.consumers.test_inbound import a_delivery


def an_announcement(**fields: Any) -> Announcement:
    """A payment of 19.99 EUR succeeded; it is the payment's second event."""
    event = PaymentSucceeded(
        occurred_at=NOON,
        payment_id=PAYMENT,
        order_id="1001",
        sequence=2,
        amount=PRICE,
        captured=PRICE,
        capturable=eur(0),
        gateway="stripe",
    )
    defaults: dict[str, Any] = {
        "event": event,
        "payment_id": PAYMENT,
        "subject": PAYMENT,
        "sequence": 2,
        "correlation_id": "msg_1",
    }
    return Announcement(**defaults | fields)


def a_rejection() -> Rejection:
    """The command came before with another content."""
    decision = conflict(asked(a_payment_requested()), "payment_id", NOON)
    assert decision.rejection is not None
    return decision.rejection


def a_dead_letter(reason: str = "handler_failed", **fields: Any) -> Any:
    """The dead letter of a delivery that a handler failed on."""
    delivery = fields.pop("delivery", None) or a_delivery(b"{}")
    defaults: dict[str, Any] = {
        "detail": "KeyError",
        "at": None,
        "attempts": 2,
        "origin": "KeyError@decide",
        "now": NOON,
    }
    return dead_letter(delivery, reason=reason, **defaults | fields)


def test_an_event_travels_with_its_attributes_as_headers_and_its_data_as_body() -> None:
    message = event_message(event_row(an_announcement(), cause="pay_1.a1", now=NOON))

    assert (message.exchange, message.routing_key) == ("payments.events", "payment.succeeded")
    assert (message.message_id, message.type, message.correlation_id) == (
        "pay_1.e2",
        "PaymentSucceeded",
        "msg_1",
    )
    assert message.receipt == EventReceipt(("pay_1", 2))
    assert message.mandatory is False
    assert message.headers == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": "pay_1.e2",
        "cloudEvents_type": "PaymentSucceeded",
        "cloudEvents_source": "/payment-service",
        "cloudEvents_subject": "pay_1",
        "cloudEvents_time": "2026-11-22T12:00:00.000000Z",
        "cloudEvents_dataschema": "urn:payment-service:PaymentSucceeded:1",
        "cloudEvents_correlationid": "msg_1",
        "cloudEvents_causationid": "pay_1.a1",
        "cloudEvents_sequence": "0000000002",
    }
    assert json.loads(message.body)["amount"] == {"minor": 1999, "currency": "EUR"}


def test_an_event_made_again_from_its_row_is_the_same_message() -> None:
    row = event_row(an_announcement(), cause="pay_1.a1", now=NOON)

    assert event_message(row) == event_message(row)


@pytest.mark.parametrize("name", ["m" * 255, "ü" * 255, "€" * 86, "🙂" * 64])
def test_a_correlation_id_too_long_for_a_property_is_whole_in_its_header(name: str) -> None:
    message = event_message(event_row(an_announcement(correlation_id=name), cause="c", now=NOON))

    assert message.headers["cloudEvents_correlationid"] == name
    assert message.correlation_id is not None
    assert name.startswith(message.correlation_id)
    assert MAX_PROPERTY_BYTES - 4 < len(message.correlation_id.encode()) <= MAX_PROPERTY_BYTES


def test_the_same_command_refused_again_gives_the_same_event_id() -> None:
    first = rejection_row(a_rejection(), now=NOON)
    again = rejection_row(a_rejection(), now=NOON + timedelta(days=1))

    assert first.event_id == again.event_id
    assert "cloudEvents_sequence" not in first.headers


@pytest.mark.parametrize(
    "other",
    [
        {"command_id": "msg_2"},
        {"command_source": "/another-service"},
        {"reason": RejectionReason.PAYMENT_NOT_FOUND},
        {"field": "id"},
    ],
)
def test_another_command_or_reason_gives_another_event_id(other: dict[str, Any]) -> None:
    rejection = a_rejection()
    another = replace(rejection, event=rejection.event.model_copy(update=other))

    assert rejection_row(another, now=NOON).event_id != rejection_row(rejection, now=NOON).event_id


def test_the_sender_of_an_unreadable_command_is_told_which_and_why() -> None:
    sender = Sender(id="msg_1", source="/order-service", type="PaymentRequested")
    why = Unreadable(RejectionReason.INVALID_FIELD, "amount: no", at="amount", sender=sender)

    event = unreadable(sender, why, NOON).event

    assert event == CommandRejected(
        occurred_at=NOON,
        command_id="msg_1",
        command_type="PaymentRequested",
        command_source="/order-service",
        reason=RejectionReason.INVALID_FIELD,
        field="amount",
        message="amount: no",
    )


def test_a_dead_letter_keeps_every_byte_and_header_that_came() -> None:
    body = bytes(range(256))
    headers = {"cloudEvents_id": "msg_1", "traceparent": "00-abc", "count": 3, "nested": {"a": [1, None]}}
    delivery = a_delivery(
        body, headers=headers, content_type="text/plain", message_id="m", correlation_id="c", type="T"
    )

    letter = a_dead_letter(delivery=delivery)

    assert letter.body == body
    assert {name: letter.headers[name] for name in headers} == headers
    assert (letter.content_type, letter.message_id, letter.correlation_id, letter.type) == (
        "text/plain",
        "m",
        "c",
        "T",
    )


def test_a_dead_letter_says_why_where_and_when_in_headers_of_its_own() -> None:
    letter = a_dead_letter(detail="no such row", at="amount", attempts=2)
    reasons = {name: value for name, value in letter.headers.items() if name.startswith("fail-")}
    host, fingerprint = reasons.pop("fail-host"), reasons.pop("fail-fingerprint")

    assert reasons == {
        "fail-reason": "handler_failed",
        "fail-detail": "no such row",
        "fail-field": "amount",
        "fail-attempts": 2,
        "fail-queue": "payments.payment-commands",
        "fail-exchange": "payments.commands",
        "fail-routing-key": "payment.requested",
        "fail-at": "2026-11-22T12:00:00.000000Z",
        "fail-first-at": "2026-11-22T12:00:00.000000Z",
        "fail-redacted": False,
    }
    assert host
    assert len(fingerprint) == 16
    assert (letter.exchange, letter.routing_key) == (
        "payments.dead-letters",
        "payments.payment-commands.dead",
    )
    assert letter.mandatory
    assert letter.receipt == DeadLetterReceipt(1, 1)


def test_a_message_that_died_before_keeps_the_time_it_first_did() -> None:
    first = "2026-11-20T00:00:00.000000Z"
    delivery = a_delivery(b"{}", headers={"fail-first-at": first, "fail-reason": "too_large"})

    letter = a_dead_letter(delivery=delivery)

    assert letter.headers["fail-first-at"] == first
    assert letter.headers["fail-reason"] == "handler_failed"


def test_headers_of_the_brokers_own_are_not_sent_back_to_it() -> None:
    delivery = a_delivery(b"{}", headers={"x-delivery-count": 3, "x-death": [], "kept": 1})

    letter = a_dead_letter(delivery=delivery)

    assert not [name for name in letter.headers if name.startswith("x-")]
    assert letter.headers["kept"] == 1


def test_a_long_detail_is_cut() -> None:
    assert len(a_dead_letter(detail="x" * 10_000).headers["fail-detail"]) == MAX_DETAIL


def test_like_failures_share_a_fingerprint_and_others_do_not() -> None:
    def fingerprint(**fields: Any) -> object:
        return a_dead_letter(**fields).headers["fail-fingerprint"]

    assert fingerprint(delivery=a_delivery(b"1", tag=1)) == fingerprint(delivery=a_delivery(b"2", tag=2))
    assert len({fingerprint(), fingerprint(reason="unreadable"), fingerprint(origin="KeyError@load")}) == 3
