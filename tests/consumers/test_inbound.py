"""Reading a delivery: a command, a rejection its sender hears of, or a dead letter; never an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery import Delivery
from consumers.inbound import Callback, Command, Dead, Rejected, read
from consumers.topology import GATEWAY_CALLBACKS
from gateways.notice import Notice, NotUnderstood
from messages.callbacks import GatewayCallbackReceived
from messages.card_data import Hit, Kind, find_in
from messages.commands import PaymentRequested
from messages.envelope import MAX_BODY_BYTES, STRUCTURED
from messages.events import RejectionReason
from messages.operation import Operation
from tests.builders import NOON, payment_data

SENDER = {
    "cloudEvents_specversion": "1.0",
    "cloudEvents_id": "msg_1",
    "cloudEvents_type": "PaymentRequested",
    "cloudEvents_source": "/order-service",
}


def a_delivery(body: bytes, *, headers: dict[str, Any] | None = None, **properties: Any) -> Delivery:
    """A delivery in binary mode from a known sender, unless told otherwise."""
    defaults: dict[str, Any] = {
        "queue": "payments.payment-commands",
        "exchange": "payments.commands",
        "routing_key": "payment.requested",
        "content_type": "application/json",
        "message_id": "msg_1",
        "correlation_id": None,
        "reply_to": None,
        "type": "PaymentRequested",
        "app_id": None,
        "redelivered": False,
        "tag": 1,
        "generation": 1,
    }
    return Delivery(body=body, headers=SENDER if headers is None else headers, **defaults | properties)


def a_body(**fields: object) -> bytes:
    """The data of a PaymentRequested."""
    return json.dumps(payment_data(**fields)).encode()


def body_hash_of(body: bytes) -> str:
    """The fingerprint a body is given."""
    command = read(a_delivery(body), {})
    assert isinstance(command, Command)
    return command.asked.body_hash


def test_a_command_is_read_with_what_names_it() -> None:
    delivery = a_delivery(a_body(), headers={**SENDER, "cloudEvents_correlationid": "cart_7"})

    command = read(delivery, {})

    assert isinstance(command, Command)
    assert command.delivery is delivery
    assert isinstance(command.asked.command, PaymentRequested)
    assert (command.asked.message_id, command.asked.source) == ("msg_1", "/order-service")
    assert command.asked.correlation_id == "cart_7"


def test_order_white_space_and_spelt_out_defaults_do_not_make_another_body() -> None:
    plain = payment_data()
    spelt_out = {"capture": "automatic", "metadata": {}, "initiator": "customer", **plain}

    assert body_hash_of(json.dumps(plain).encode()) == body_hash_of(
        json.dumps(dict(reversed(spelt_out.items())), indent=4).encode()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"minor": 2000, "currency": "EUR"}},
        {"amount": {"minor": 1999, "currency": "USD"}},
        {"order_id": "1002"},
        {"capture": "manual"},
        {"payment_method": {"gateway": "stripe", "token": "pm_other"}},
        {"metadata": {"colour": "red"}},
    ],
)
def test_any_other_content_makes_another_body(change: dict[str, object]) -> None:
    assert body_hash_of(a_body(**change)) != body_hash_of(a_body())


def test_a_known_sender_hears_what_is_wrong_with_its_command() -> None:
    rejected = read(a_delivery(a_body(amount={"minor": "19.99", "currency": "EUR"})), {})

    assert isinstance(rejected, Rejected)
    assert (rejected.why.reason, rejected.why.field) == (RejectionReason.INVALID_FIELD, "amount.minor")


def test_what_names_no_sender_is_for_a_person() -> None:
    dead = read(a_delivery(b"\xff\xfe", headers={}, message_id=None, type=None), {})

    assert isinstance(dead, Dead)


@pytest.mark.parametrize("name", ["id", "source", "type"])
@pytest.mark.parametrize("bad", ["x" * 256, "a\0b", "a\nb", "\ud800"])
def test_a_sender_whose_name_cannot_be_handed_on_is_for_a_person(name: str, bad: str) -> None:
    too_large = b" " * (MAX_BODY_BYTES + 1)

    dead = read(a_delivery(too_large, headers={**SENDER, f"cloudEvents_{name}": bad}), {})

    assert isinstance(dead, Dead)
    assert dead.why.reason is RejectionReason.TOO_LARGE


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ANY_HEADERS = st.dictionaries(
    st.sampled_from([*SENDER, "cloudEvents_dataschema", "cloudEvents_correlationid"]) | st.text(), ANY_VALUE
)


@given(
    body=st.binary(),
    headers=ANY_HEADERS,
    content_type=st.none() | st.text() | st.sampled_from([STRUCTURED, f"{STRUCTURED}; charset=x"]),
)
def test_whatever_comes_reading_it_never_raises(
    body: bytes, headers: dict[str, Any], content_type: str | None
) -> None:
    assert isinstance(
        read(a_delivery(body, headers=headers, content_type=content_type), {}), Command | Rejected | Dead
    )


@given(event=st.dictionaries(st.sampled_from(["id", "source", "type", "data", "specversion"]), ANY_VALUE))
def test_whatever_a_structured_event_holds_reading_it_never_raises(event: dict[str, Any]) -> None:
    body = json.dumps(event, default=repr).encode()

    ending = read(a_delivery(body, headers={}, content_type=STRUCTURED), {})

    assert isinstance(ending, Command | Rejected | Dead)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"payment_id": ' + b"9" * 5_000 + b"}",
        b'{"amount": {"minor": ' + b"9" * 5_000 + b', "currency": "EUR"}}',
        b'{"amount": {"minor": NaN, "currency": "EUR"}}',
        b'{"amount": {"minor": 1e400, "currency": "EUR"}}',
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
@pytest.mark.parametrize("content_type", ["application/json", STRUCTURED])
def test_bodies_that_break_parsers_are_refused(body: bytes, content_type: str) -> None:
    assert isinstance(read(a_delivery(body, content_type=content_type), {}), Rejected | Dead)


CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("delivery", "field"),
    [
        (a_delivery(a_body(description=f"card {CARD}")), "description"),
        (a_delivery(a_body(metadata={"a": json.dumps({"b": CARD})})), "metadata.a.b"),
        (a_delivery(a_body(payment_id="4111111111111111")), "payment_id"),
        (a_delivery(a_body(metadata={"cvv": "123"})), "metadata.cvv"),
        (a_delivery(b"no JSON, but " + CARD.encode()), None),
        (a_delivery(a_body(), headers={**SENDER, "note": CARD}), "headers.note"),
        (a_delivery(a_body(), correlation_id=CARD), "properties.correlation_id"),
    ],
    ids=[
        "a text",
        "JSON in a text",
        "an id",
        "a security code",
        "a body that is none",
        "a header",
        "a property",
    ],
)
def test_card_data_is_refused_wherever_it_is_and_its_sender_told_where(
    delivery: Delivery, field: str
) -> None:
    refused = read(delivery, {})

    assert isinstance(refused, Rejected)
    assert (refused.why.reason, refused.why.field) == (RejectionReason.CARD_DATA_REFUSED, field)
    assert (refused.why.sender.id, refused.why.sender.source) == ("msg_1", "/order-service")
    assert find_in(refused.why.message) == []


def test_a_structured_command_with_card_data_is_refused_and_its_sender_told() -> None:
    event = {
        "specversion": "1.0",
        "id": "msg_9",
        "source": "/order-service",
        "type": "PaymentRequested",
        "data": payment_data(description=CARD),
    }

    refused = read(a_delivery(json.dumps(event).encode(), headers={}, content_type=STRUCTURED), {})

    assert isinstance(refused, Rejected)
    assert refused.why.reason is RejectionReason.CARD_DATA_REFUSED
    assert refused.why.sender.id == "msg_9"


def test_a_sender_whose_own_name_is_a_card_number_cannot_be_told() -> None:
    refused = read(a_delivery(a_body(), headers={**SENDER, "cloudEvents_id": "4111111111111111"}), {})

    assert isinstance(refused, Dead)
    assert refused.why.reason is RejectionReason.CARD_DATA_REFUSED


def a_callback(content: bytes) -> Delivery:
    """A callback as the ingestor puts it on the bus."""
    callback = GatewayCallbackReceived.of("stripe", content, headers={}, received_at=NOON)
    return a_delivery(
        callback.model_dump_json().encode(),
        queue=GATEWAY_CALLBACKS,
        type="GatewayCallbackReceived",
        headers={},
    )


def test_a_callback_with_card_data_is_read_without_it() -> None:
    seen: list[bytes] = []

    def reader(body: bytes) -> list[Notice]:
        seen.append(body)
        return [
            Notice(gateway="stripe", notice_id="evt_1", event="charge.refunded", operation=Operation.REFUND)
        ]

    told = read(a_callback(json.dumps({"id": "evt_1", "note": CARD}).encode()), {"stripe": reader})

    assert isinstance(told, Callback)
    assert [notice.notice_id for notice in told.notices] == ["evt_1"]
    assert told.card_data == Hit("note", Kind.CARD_NUMBER, "visa")
    assert [json.loads(body) for body in seen] == [{"id": "evt_1", "note": "[redacted card number]"}]


def test_a_callback_that_makes_no_sense_without_its_card_data_is_a_dead_letter_for_that() -> None:
    def reader(body: bytes) -> list[Notice]:
        raise NotUnderstood("no such form")

    dead = read(a_callback(f'{{"id": "{CARD}"}}'.encode()), {"stripe": reader})

    assert isinstance(dead, Dead)
    assert (dead.why.reason, dead.why.field) == (RejectionReason.CARD_DATA_REFUSED, "body.id")
