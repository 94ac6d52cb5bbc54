"""The envelope in both modes: attributes in headers or the whole event in the body, and who sent it."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from messages.commands import COMMANDS, PaymentRequested, RefundRequested
from messages.envelope import (
    MAX_BODY_BYTES,
    Sender,
    Unreadable,
    data_schema,
    event_headers,
    read_command,
    rfc3339,
)
from messages.events import RejectionReason
from tests.builders import payment_data, refund_data
from tests.messages.reading import ATTRIBUTES, as_headers, read_binary, read_structured, refusal

R = RejectionReason


# --- what is read ---


@pytest.mark.parametrize("prefix", ["cloudEvents_", "cloudEvents:"])
def test_binary_mode_reads_attributes_from_headers_with_either_prefix(prefix: str) -> None:
    envelope = read_binary(payment_data(), prefix=prefix, correlationid="cor_1")

    assert (envelope.id, envelope.source, envelope.type) == ("msg_1", "/order-service", "PaymentRequested")
    assert envelope.correlation_id == "cor_1"
    assert isinstance(envelope.command, PaymentRequested)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents+json;charset=UTF-8",
        "Application/CloudEvents+JSON",
    ],
)
def test_structured_mode_reads_the_whole_event_from_the_body(content_type: str) -> None:
    envelope = read_structured(payment_data(), content_type=content_type, correlationid="cor_1")

    assert (envelope.id, envelope.source, envelope.type) == ("msg_1", "/order-service", "PaymentRequested")
    assert envelope.correlation_id == "cor_1"


def test_both_modes_read_the_same_command() -> None:
    assert read_binary(payment_data()) == read_structured(payment_data())
    refund = {"data": refund_data(), "type": "RefundRequested"}
    binary = read_binary(refund["data"], type="RefundRequested")

    assert isinstance(binary.command, RefundRequested)
    assert binary == read_structured(refund["data"], type="RefundRequested")


def test_in_structured_mode_headers_do_not_count() -> None:
    body = json.dumps({**ATTRIBUTES, "id": "in_body", "data": payment_data()}).encode()
    envelope = read_command(
        content_type="application/cloudevents+json", headers=as_headers(id="in_header"), body=body
    )

    assert envelope.id == "in_body"


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", None])
def test_without_the_structured_content_type_the_body_is_the_data(content_type: str | None) -> None:
    body = json.dumps(payment_data()).encode()

    assert read_command(content_type=content_type, headers=as_headers(), body=body).id == "msg_1"


def test_without_a_correlation_id_the_command_starts_its_own() -> None:
    assert read_binary(payment_data()).correlation_id == "msg_1"


def test_a_long_correlation_id_is_cut() -> None:
    assert len(read_binary(payment_data(), correlationid="c" * 999).correlation_id) == 255


def test_the_schema_of_this_version_and_extensions_are_taken() -> None:
    schema = "urn:payment-service:PaymentRequested:1"

    assert read_binary(payment_data(), dataschema=schema, traceparent="00-x", subject="pay_1", time="?").id
    assert read_structured(payment_data(), dataschema=schema, myextension=7).id


def test_other_headers_are_ignored() -> None:
    headers = {**as_headers(), "x-death": [{"count": 1}], "traceparent": "00-x", "cloudEvents": "?"}
    body = json.dumps(payment_data()).encode()

    assert read_command(content_type=None, headers=headers, body=body).id == "msg_1"


# --- what is refused ---


@pytest.mark.parametrize("mode", [read_binary, read_structured], ids=["binary", "structured"])
@pytest.mark.parametrize("name", ["id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", 7, ["x"]], ids=["missing", "empty", "number", "list"])
def test_an_attribute_that_is_missing_or_no_text_is_refused_by_its_name(
    value: object, name: str, mode: Any
) -> None:
    error = refusal(mode, payment_data(), **{name: value})

    assert (error.reason, error.field) == (R.MISSING_FIELD, name)
    assert not error.sender.is_known


@pytest.mark.parametrize("mode", [read_binary, read_structured], ids=["binary", "structured"])
@pytest.mark.parametrize(
    ("attributes", "reason", "at"),
    [
        ({"specversion": "0.3"}, R.INVALID_FIELD, "specversion"),
        ({"specversion": "2.0"}, R.INVALID_FIELD, "specversion"),
        ({"dataschema": "urn:payment-service:PaymentRequested:2"}, R.UNKNOWN_VERSION, "dataschema"),
        ({"dataschema": "urn:payment-service:RefundRequested:1"}, R.UNKNOWN_VERSION, "dataschema"),
        ({"dataschema": ""}, R.UNKNOWN_VERSION, "dataschema"),
        ({"type": "PaymentRequest"}, R.UNKNOWN_TYPE, "type"),
        ({"type": "paymentrequested"}, R.UNKNOWN_TYPE, "type"),
        ({"type": "PaymentSucceeded"}, R.UNKNOWN_TYPE, "type"),
    ],
)
def test_another_version_or_type_is_refused_and_the_sender_is_told(
    attributes: dict[str, str], reason: RejectionReason, at: str, mode: Any
) -> None:
    error = refusal(mode, payment_data(), **attributes)

    assert (error.reason, error.field) == (reason, at)
    assert error.sender.is_known


def test_an_unknown_type_is_told_which_are_known() -> None:
    message = refusal(read_binary, payment_data(), type="Nothing").message

    assert all(name in message for name in COMMANDS)


@pytest.mark.parametrize("name", ["id", "source", "type"])
def test_an_attribute_longer_than_a_header_is_refused(name: str) -> None:
    error = refusal(read_structured, payment_data(), **{name: "x" * 256})

    assert (error.reason, error.field) == (R.INVALID_FIELD, name)
    assert not error.sender.is_known


@pytest.mark.parametrize("name", ["id", "source"])
@pytest.mark.parametrize("bad", ["a\x00b", "a\udc80b"], ids=["NUL", "lone surrogate"])
def test_an_attribute_that_no_database_stores_is_refused(bad: str, name: str) -> None:
    # PostgreSQL takes neither in a text; the message would fail in every turn.
    error = refusal(read_binary, payment_data(), **{name: bad})

    assert (error.reason, error.field) == (R.INVALID_FIELD, name)


@pytest.mark.parametrize("bad", ["a\x00b", "a\udc80b"], ids=["NUL", "lone surrogate"])
def test_a_correlation_id_that_no_database_stores_is_refused(bad: str) -> None:
    error = refusal(read_binary, payment_data(), correlationid=bad)

    assert (error.reason, error.field) == (R.INVALID_FIELD, "correlationid")


def test_structured_mode_without_data_is_refused_by_the_name_of_the_field() -> None:
    body = json.dumps(ATTRIBUTES).encode()
    error = refusal(read_command, content_type="application/cloudevents+json", headers={}, body=body)

    assert error.reason in (R.MISSING_FIELD, R.INVALID_FIELD)
    assert error.field == "data"
    assert error.sender.is_known


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000]
)
def test_a_structured_body_that_is_no_event_is_unreadable_and_its_sender_unknown(body: bytes) -> None:
    error = refusal(
        read_command, content_type="application/cloudevents+json", headers=as_headers(), body=body
    )

    assert error.reason is R.UNREADABLE
    assert not error.sender.is_known


@pytest.mark.parametrize(
    "data",
    ["NaN", "1e999", "9" * 4_000, "9" * 5_000, '{"a":' * 150 + "1" + "}" * 150, '"\\u0000"'],
    ids=["NaN", "infinite", "4,000 digits", "5,000 digits", "nested", "NUL"],
)
def test_whatever_stands_in_a_structured_event_reading_it_ends_in_a_refusal(data: str) -> None:
    body = json.dumps({**ATTRIBUTES, "data": "@"}).replace('"@"', data).encode()
    refusal(read_command, content_type="application/cloudevents+json", headers={}, body=body)


@pytest.mark.parametrize("twice", ["id", "type", "data"])
def test_an_attribute_that_stands_in_a_structured_event_twice_is_refused_by_its_name(twice: str) -> None:
    event = json.dumps({**ATTRIBUTES, "data": payment_data()})
    body = event.replace(f'"{twice}":', f'"{twice}": "x", "{twice}":', 1).encode()
    error = refusal(read_command, content_type="application/cloudevents+json", headers={}, body=body)

    assert (error.reason, error.field) == (R.INVALID_FIELD, twice)
    assert not error.sender.is_known, "nobody could tell which one counts"


# --- who sent it ---


@pytest.mark.parametrize("body", [b"no json", b"x" * (MAX_BODY_BYTES + 1)], ids=["no json", "too large"])
def test_in_binary_mode_the_sender_is_known_whatever_the_body(body: bytes) -> None:
    error = refusal(read_binary, body)

    assert error.sender == Sender(id="msg_1", source="/order-service", type="PaymentRequested")
    assert error.sender.is_known


def test_in_structured_mode_the_sender_is_known_once_the_event_could_be_read() -> None:
    assert refusal(read_structured, {"no": "payment"}).sender.is_known


@pytest.mark.parametrize("missing", ["id", "source", "type"])
def test_a_sender_is_known_only_with_all_that_an_answer_needs(missing: str) -> None:
    attributes = {"id": "1", "source": "/s", "type": "T"}

    assert Sender(**attributes).is_known
    assert not Sender(**{**attributes, missing: None}).is_known
    assert not Sender(**{**attributes, missing: ""}).is_known


# --- the body is never quoted ---

SECRET = "s3cretvalue4111"

SECRET_PLACES: dict[str, Any] = {
    "as payment_id": payment_data(payment_id=f"{SECRET} "),
    "as order_id": payment_data(order_id=f"{SECRET} "),
    "as amount": payment_data(amount=SECRET),
    "as minor": payment_data(amount={"minor": SECRET, "currency": "EUR"}),
    "as currency": payment_data(amount={"minor": 1, "currency": SECRET}),
    "as token": payment_data(payment_method={"token": [SECRET]}),
    "as method": payment_data(payment_method=SECRET),
    "as long token": payment_data(payment_method={"token": SECRET * 100}),
    "as stored method": payment_data(payment_method_id=SECRET),
    "as capture": payment_data(capture=SECRET),
    "as initiator": payment_data(initiator=SECRET),
    "as return_url": payment_data(return_url=SECRET),
    "as description": payment_data(description=[SECRET]),
    "as descriptor": payment_data(statement_descriptor=SECRET * 2),
    "as gateway": payment_data(gateway=f"{SECRET}!"),
    "as both gateways": payment_data(gateway=SECRET, payment_method={"token": "t", "gateway": f"{SECRET}x"}),
    "as country": payment_data(context={"billing_country": SECRET}),
    "as context": payment_data(context=SECRET),
    "as email": payment_data(context={"email": [SECRET]}),
    "as metadata": payment_data(metadata=SECRET),
    "as metadata's value": payment_data(metadata={"a": [SECRET]}),
    "as unknown field's value": payment_data(surprise=SECRET),
    "beside a bad field": payment_data(description=SECRET, amount={"minor": 0, "currency": "EUR"}),
    "as the whole body": SECRET,
    "in a list": [SECRET],
    "in no json": f'{{"payment_id": "{SECRET}'.encode(),
    "in no utf-8": SECRET.encode() + b"\xff",
    "in too much": SECRET.encode() * (MAX_BODY_BYTES // 10),
}


def everything_told(error: Unreadable) -> str:
    """All that a log, a traceback or an event could show of a refusal."""
    told = [str(error), repr(error), error.message, str(error.field), repr(error.sender), repr(error.args)]
    return "\n".join([*told, *traceback.format_exception(error)])


@pytest.mark.parametrize("body", SECRET_PLACES.values(), ids=SECRET_PLACES.keys())
def test_the_body_is_never_quoted(body: Any) -> None:
    assert SECRET not in everything_told(refusal(read_binary, body))


@pytest.mark.parametrize("data", [body for body in SECRET_PLACES.values() if not isinstance(body, bytes)])
def test_the_data_of_a_structured_event_is_never_quoted(data: Any) -> None:
    assert SECRET not in everything_told(refusal(read_structured, data))


@pytest.mark.parametrize("name", ["specversion", "dataschema", "subject", "time", "myextension"])
def test_attributes_are_not_quoted_either(name: str) -> None:
    error = refusal(read_structured, {"no": "payment"}, **{name: SECRET})

    assert SECRET not in everything_told(error)


def test_the_name_of_an_unknown_field_is_told_but_not_at_any_length() -> None:
    # It travels in headers, which must fit one frame, and in an event.
    name = "x" * 200_000
    for data in (payment_data(**{name: 1}), payment_data(metadata={name: 1})):
        error = refusal(read_binary, data)

        assert error.field is not None
        assert len(error.field) <= 500
        assert len(error.message) <= 1_000


# --- what we write ---


def test_an_events_attributes_are_headers() -> None:
    headers = event_headers(
        event_id="pay_1.e1",
        type_name="PaymentSucceeded",
        subject="pay_1",
        time=datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC),
        sequence=12,
        correlation_id="cor_1",
        causation_id="msg_1",
    )

    assert headers == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": "pay_1.e1",
        "cloudEvents_type": "PaymentSucceeded",
        "cloudEvents_source": "/payment-service",
        "cloudEvents_subject": "pay_1",
        "cloudEvents_time": "2026-11-22T12:00:00.000005Z",
        "cloudEvents_dataschema": "urn:payment-service:PaymentSucceeded:1",
        "cloudEvents_sequence": "0000000012",
        "cloudEvents_correlationid": "cor_1",
        "cloudEvents_causationid": "msg_1",
    }


def test_an_event_outside_a_payments_sequence_has_no_number() -> None:
    headers = event_headers(
        event_id="e",
        type_name="CommandRejected",
        subject="s",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        sequence=None,
        correlation_id="c",
        causation_id="m",
    )

    assert "cloudEvents_sequence" not in headers


def test_times_are_written_in_utc_with_fractions() -> None:
    vienna = timezone(timedelta(hours=1))

    assert rfc3339(datetime(2026, 11, 22, 13, 0, tzinfo=vienna)) == "2026-11-22T12:00:00.000000Z"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_schema_we_name_is_the_schema_we_take(name: str) -> None:
    data = {
        "PaymentRequested": payment_data(),
        "CaptureRequested": {"capture_id": "cap_1", "payment_id": "pay_1"},
        "VoidRequested": {"payment_id": "pay_1"},
        "PaymentActionCompleted": {"payment_id": "pay_1"},
        "RefundRequested": refund_data(),
    }[name]

    assert read_binary(data, type=name, dataschema=data_schema(name)).type == name
