"""What the cycle cannot read and what a handler fails on: a rejection or a dead letter, and no harm to neighbours."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from ledger.encryption import Key
from messages.envelope import MAX_BODY_BYTES
from tests.consumers.workshop import AT_ONCE, Hire, Neighbour, Workshop

CARD = "4242 4242 4242 4242"

# --- what cannot be read ---


def test_unreadable_bytes_become_a_dead_letter_with_every_byte_and_header(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    body = bytes(range(256))
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tries": 3}
    neighbour.send(body, headers=headers, content_type="image/png", message_id="m", correlation_id="c")

    workshop.until_quiet()

    (letter,) = neighbour.dead_letters()
    assert letter.body == body
    assert {name: letter.headers[name] for name in headers} == headers
    assert letter.headers["fail-reason"] == "missing_field"
    assert letter.headers["fail-queue"] == PAYMENT_COMMANDS
    assert letter.headers["fail-exchange"] == "payments.commands"
    assert letter.headers["fail-routing-key"] == "payment.requested"
    assert letter.headers["fail-attempts"] == 1
    assert letter.properties["content_type"] == "image/png"
    assert (letter.properties["message_id"], letter.properties["correlation_id"]) == ("m", "c")
    assert neighbour.listen() == []


def test_an_oversized_body_is_refused_whole_and_its_sender_told(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, description="x" * MAX_BODY_BYTES)
    neighbour.send(b"x" * (MAX_BODY_BYTES + 1))

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.body["reason"], event.body["command_id"]) == (
        "CommandRejected",
        "too_large",
        "msg_1",
    )
    (letter,) = neighbour.dead_letters()
    assert letter.body == b"x" * (MAX_BODY_BYTES + 1)
    assert letter.headers["fail-reason"] == "too_large"


BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a float for an amount": (
        {"amount": {"minor": 19.99, "currency": "EUR"}},
        "invalid_field",
        "amount.minor",
    ),
    "a whole float": ({"amount": {"minor": 20.0, "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "a string for an amount": (
        {"amount": {"minor": "1999", "currency": "EUR"}},
        "invalid_field",
        "amount.minor",
    ),
    "a bool for an amount": ({"amount": {"minor": True, "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "nothing": ({"amount": {"minor": 0, "currency": "EUR"}}, "invalid_field", "amount"),
    "less than nothing": ({"amount": {"minor": -1, "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "no such currency": ({"amount": {"minor": 1, "currency": "XXX"}}, "invalid_field", "amount.currency"),
    "a currency in lower case": (
        {"amount": {"minor": 1, "currency": "eur"}},
        "invalid_field",
        "amount.currency",
    ),
    "a misspelt field": ({"amonut": {"minor": 1, "currency": "EUR"}}, "unknown_field", "amonut"),
    "an id with a blank": ({"payment_id": "pay 1"}, "invalid_field", "payment_id"),
    "an id that is too long": ({"payment_id": "p" * 65}, "invalid_field", "payment_id"),
    "an empty id": ({"order_id": ""}, "invalid_field", "order_id"),
    "a text for a method": ({"payment_method": "4242"}, "invalid_field", "payment_method"),
    "two methods": ({"payment_method_id": "pm_1"}, "invalid_field", None),
    "an unknown way to capture": ({"capture": "later"}, "invalid_field", "capture"),
}


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_known_sender_is_told_which_field_is_wrong(
    workshop: Workshop, neighbour: Neighbour, bad: str
) -> None:
    fields, reason, field = BAD_FIELDS[bad]
    neighbour.pay(1, **fields)

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.routing_key) == ("CommandRejected", "command.rejected")
    assert (event.body["reason"], event.body.get("field")) == (reason, field)
    assert (event.body["command_id"], event.body["command_source"]) == ("msg_1", "/order-service")
    assert "4242" not in str(event)
    assert workshop.rows("SELECT count(*) FROM payments") == [(0,)]
    assert neighbour.dead_letters() == []


def test_card_data_is_refused_its_sender_told_and_a_redacted_dead_letter_left(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, description=f"card {CARD}", metadata={"basket": "b_7"})

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.body["reason"], event.body["field"]) == (
        "CommandRejected",
        "card_data_refused",
        "description",
    )
    (letter,) = neighbour.dead_letters()
    body = json.loads(letter.body)
    assert (body["description"], body["metadata"]) == ("card [redacted card number]", {"basket": "b_7"})
    assert (letter.headers["fail-reason"], letter.headers["fail-redacted"]) == ("card_data_refused", True)
    assert workshop.counts.card_data == {PAYMENT_COMMANDS: 1}
    assert workshop.unsettled() == 0
    assert workshop.rows("SELECT count(*) FROM payments") == [(0,)]
    assert not any("4242" in str(row) for row in workshop.rows("SELECT * FROM audit"))


def test_a_dead_letter_made_for_another_reason_is_redacted_all_the_same(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.send(b"not JSON " + CARD.encode(), headers={"note": CARD}, message_id="m-4242424242424242")

    workshop.until_quiet()

    (letter,) = neighbour.dead_letters()
    assert b"4242" not in letter.body
    assert "4242" not in str(letter.headers) + str(letter.properties)
    assert letter.headers["fail-redacted"] is True


GOOD = {
    "cloudEvents_specversion": "1.0",
    "cloudEvents_id": "msg_1",
    "cloudEvents_source": "/order-service",
    "cloudEvents_type": "PaymentRequested",
}


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        (GOOD, b"\xff\xfe", "unreadable"),
        (GOOD, b"", "unreadable"),
        (GOOD, b'{"payment_id": ', "unreadable"),
        (GOOD, b"[1, 2]", "invalid_field"),
        (GOOD, b"{}", "missing_field"),
        ({**GOOD, "cloudEvents_type": "PaymentRequestd"}, b"{}", "unknown_type"),
        ({**GOOD, "cloudEvents_specversion": "0.3"}, b"{}", "invalid_field"),
        (
            {**GOOD, "cloudEvents_dataschema": "urn:payment-service:PaymentRequested:2"},
            b"{}",
            "unknown_version",
        ),
    ],
)
def test_a_known_sender_is_told_what_else_is_wrong(
    workshop: Workshop, neighbour: Neighbour, headers: dict[str, str], body: bytes, reason: str
) -> None:
    neighbour.send(body, headers=headers)

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.body["reason"]) == ("CommandRejected", reason)
    assert neighbour.dead_letters() == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {name: value for name, value in GOOD.items() if name != "cloudEvents_id"},
        {name: value for name, value in GOOD.items() if name != "cloudEvents_source"},
        {**GOOD, "cloudEvents_source": 7},
        {**GOOD, "cloudEvents_id": "x" * 256},
        {**GOOD, "cloudEvents_id": "msg\0", "cloudEvents_specversion": "0.3"},
    ],
)
def test_a_command_whose_sender_cannot_be_told_is_kept_for_a_person(
    workshop: Workshop, neighbour: Neighbour, headers: dict[str, Any]
) -> None:
    neighbour.send(b"{}", headers=headers)

    workshop.until_quiet()

    (letter,) = neighbour.dead_letters()
    assert letter.body == b"{}"
    assert {name: letter.headers[name] for name in headers} == headers
    assert neighbour.listen() == []


@pytest.mark.parametrize("name", ["m" * 255, "ü" * 255])
def test_an_id_as_long_as_may_be_is_served(workshop: Workshop, neighbour: Neighbour, name: str) -> None:
    neighbour.ask(
        "PaymentRequested",
        name,
        payment_id="pay_1",
        order_id="1",
        amount={"minor": 1, "currency": "EUR"},
        payment_method={"token": "tok_approved"},
    )

    workshop.until(lambda: neighbour.kinds("pay_1") == ["PaymentSucceeded"], what="the payment succeeds")

    assert neighbour.listen()[0].headers["cloudEvents_correlationid"] == name


def test_bad_refund_commands_have_a_dead_letter_queue_of_their_own(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.send(b"?", key="refund.requested")

    workshop.until_quiet()

    assert neighbour.dead_letters(PAYMENT_COMMANDS) == []
    assert [letter.headers["fail-queue"] for letter in neighbour.dead_letters(REFUND_COMMANDS)] == [
        REFUND_COMMANDS
    ]


# --- what a handler fails on ---


def spoil(workshop: Workshop, neighbour: Neighbour, *numbers: int) -> None:
    """Let payments wait for their first call to be made again, with a command that cannot be read any more."""
    for number in numbers:
        neighbour.pay(number, "tok_not_sent_once")
    waiting = "SELECT count(*) FROM attempts WHERE state = 'created'"
    workshop.until(lambda: workshop.rows(waiting) == [(len(numbers),)], what="all wait for another try")
    workshop.rows('UPDATE payments SET request = \'{"token": "tok_secret"}\'')


def test_a_message_that_a_handler_fails_on_does_not_hurt_its_neighbours(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.until_quiet()
    # The gateway's reference is gone bad: whoever refunds pay_1 cannot build the request.
    workshop.rows("UPDATE attempts SET state = 'declined' WHERE attempt_id = 'pay_1.a1'")
    neighbour.pay(2)
    neighbour.refund(1)
    neighbour.pay(3)

    workshop.until_quiet()

    assert neighbour.kinds("pay_2") == neighbour.kinds("pay_3") == ["PaymentSucceeded"]
    (letter,) = neighbour.dead_letters(REFUND_COMMANDS)
    assert letter.headers["cloudEvents_id"] == "msg_ref_1"
    assert b'"refund_id": "ref_1"' in letter.body
    assert letter.headers["fail-reason"] == "handler_failed"
    assert letter.headers["fail-attempts"] == 2
    assert letter.headers["fail-detail"] == "AssertionError"
    assert workshop.rows("SELECT count(*) FROM refunds") == [(0,)]
    workshop.rows("UPDATE attempts SET state = 'succeeded' WHERE attempt_id = 'pay_1.a1'")


def test_a_dead_letter_sent_back_is_served_once_the_row_is_mended(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.until_quiet()
    workshop.rows("UPDATE attempts SET state = 'declined' WHERE attempt_id = 'pay_1.a1'")
    neighbour.refund(1)
    workshop.until_quiet()
    (letter,) = neighbour.dead_letters(REFUND_COMMANDS)
    workshop.rows("UPDATE attempts SET state = 'succeeded' WHERE attempt_id = 'pay_1.a1'")

    neighbour.send(letter.body, headers=letter.headers, key=letter.headers["fail-routing-key"])
    workshop.until_quiet()

    assert neighbour.kinds("ref_1") == ["RefundProcessed"]


def test_a_timer_that_a_handler_fails_on_is_left_alone_for_a_while_and_does_not_hurt_others(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    spoil(workshop, neighbour, 1)
    neighbour.pay(2, "tok_lost_answer")
    workshop.until(lambda: neighbour.kinds("pay_2") == ["PaymentInDoubt"], what="the other one is in doubt")
    workshop.clock.advance(minutes=1)

    workshop.until(lambda: "PaymentSucceeded" in neighbour.kinds("pay_2"), what="the other one is looked up")
    workshop.steps(10)
    before = workshop.ledger.turns
    workshop.steps(20)

    assert workshop.ledger.turns == before
    assert neighbour.kinds("pay_1") == []


def test_a_timer_that_was_left_alone_is_looked_at_again_once_the_row_is_mended(hire: Hire) -> None:
    workshop = hire(limits=replace(AT_ONCE, shun_s=0.2))
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        spoil(workshop, neighbour, 1)
        workshop.clock.advance(minutes=1)
        before = workshop.ledger.turns
        workshop.until(lambda: workshop.ledger.turns > before + 3, what="it was tried again and again")
        mend(workshop, 1)

        workshop.until_quiet()

        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]


def test_many_timers_gone_bad_do_not_crowd_out_the_good_ones(hire: Hire) -> None:
    workshop = hire(limits=replace(AT_ONCE, timers=2))
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        spoil(workshop, neighbour, *range(1, 8))
        workshop.clock.advance(seconds=5)
        neighbour.pay(8, "tok_lost_answer")
        workshop.until(lambda: neighbour.kinds("pay_8") == ["PaymentInDoubt"], what="it is in doubt")
        workshop.clock.advance(minutes=1)

        workshop.until(lambda: "PaymentSucceeded" in neighbour.kinds("pay_8"), what="it is looked up")


def mend(workshop: Workshop, number: int) -> None:
    """Put a readable command back."""
    payment = workshop.story(f"pay_{number}").payment
    request = (
        f'{{"payment_id":"pay_{number}","order_id":"{payment.order_id}",'
        f'"amount":{{"minor":{payment.requested},"currency":"EUR"}},"payment_method":{{"token":"tok_approved"}}}}'
    )
    workshop.rows(f"UPDATE payments SET request = '{request}' WHERE payment_id = 'pay_{number}'")


def test_a_payment_under_a_key_that_is_gone_fails_alone_and_is_served_when_the_key_is_back(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.until_quiet()
    (stored,) = workshop.rows("SELECT request FROM payments")[0]
    (gone,) = Key(bytes(32)).encrypt("payments.request", ["pay_1"], ["{}"])
    workshop.rows(f"UPDATE payments SET request = '{gone}'")
    neighbour.refund(1)
    neighbour.pay(2)

    workshop.until_quiet()

    assert neighbour.kinds("pay_2") == ["PaymentSucceeded"]
    (letter,) = neighbour.dead_letters(REFUND_COMMANDS)
    assert (letter.headers["fail-reason"], letter.headers["fail-detail"]) == (
        "handler_failed",
        "CannotDecrypt",
    )
    workshop.rows(f"UPDATE payments SET request = '{stored}' WHERE payment_id = 'pay_1'")
    neighbour.send(letter.body, headers=letter.headers, key=letter.headers["fail-routing-key"])
    workshop.until_quiet()
    assert neighbour.kinds("ref_1") == ["RefundProcessed"]


def test_an_event_that_cannot_be_decrypted_waits_and_the_others_are_published(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, "tok_requires_action")
    published = "SELECT stream FROM outbox WHERE published_at IS NOT NULL ORDER BY stream"
    workshop.until(lambda: workshop.rows(published) == [("pay_1",)], what="it is announced")
    (gone,) = Key(bytes(32)).encrypt("outbox.body", ["pay_1\0001"], ["{}"])
    workshop.rows(f"UPDATE outbox SET published_at = NULL, body = CAST('{gone}' AS BLOB)")
    neighbour.pay(2)
    workshop.until(lambda: workshop.rows(published) == [("pay_2",)], what="the other one is announced")
    workshop.rows("UPDATE outbox SET published_at = NULL WHERE stream = 'pay_2'")
    workshop.clock.advance(minutes=1)

    workshop.until(lambda: workshop.rows(published) == [("pay_2",)], what="the relay goes on beside it")

    assert list(workshop.ledger.shut) == ["pay_1"]
