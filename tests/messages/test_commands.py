"""Commands: what is taken, and that everything else is refused with the name of the field."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from messages.commands import COMMANDS, Command, PaymentRequested, RefundRequested
from messages.envelope import MAX_BODY_BYTES
from messages.events import RejectionReason
from tests.builders import TOKEN, a_payment_requested, eur, payment_data, refund_data
from tests.messages.reading import read_binary, read_structured, refusal

R = RejectionReason


def money(minor: Any = 1999, currency: Any = "EUR") -> dict[str, Any]:
    """An amount on the wire."""
    return {"minor": minor, "currency": currency}


def without(name: str) -> dict[str, Any]:
    """A payment's data with a field missing."""
    return {key: value for key, value in payment_data().items() if key != name}


# --- what is taken ---


def test_every_command_of_the_union_has_its_wire_name() -> None:
    assert set(COMMANDS.values()) == set(get_args(Command))
    assert all(name == command.__name__ for name, command in COMMANDS.items())


def test_every_command_says_where_it_goes() -> None:
    places = {(command.exchange, command.routing_key) for command in COMMANDS.values()}

    assert places == {
        ("payments.commands", "payment.requested"),
        ("payments.commands", "payment.capture_requested"),
        ("payments.commands", "payment.void_requested"),
        ("payments.commands", "payment.action_completed"),
        ("payments.commands", "refund.requested"),
    }


def test_a_payment_with_every_field_is_taken() -> None:
    command = a_payment_requested(
        customer_id="cus_1",
        capture="manual",
        initiator="merchant",
        return_url="https://shop.example/back",
        description="Order 1001",
        statement_descriptor="SHOP",
        gateway="stripe",
        context={
            "ip": "192.0.2.1",
            "email": "a@example.org",
            "device_id": "d",
            "billing_country": "DE",
            "shipping_country": "AT",
        },
        metadata={"b": "2", "a": "1"},
    )

    assert command.amount == eur(1999)
    assert list(command.metadata) == ["a", "b"], "sorted, so that order makes no other body"


def test_what_is_left_out_has_its_default() -> None:
    command = a_payment_requested()

    assert (command.capture, command.initiator, command.metadata) == ("automatic", "customer", {})
    assert (command.gateway, command.context, command.return_url) == (None, None, None)


def test_a_stored_payment_method_is_named_instead_of_a_token() -> None:
    command = a_payment_requested(payment_method=None, payment_method_id="pm_stored")

    assert command.payment_method is None


def test_a_refund_needs_no_amount() -> None:
    envelope = read_binary(refund_data(), type="RefundRequested")

    assert isinstance(envelope.command, RefundRequested)
    assert envelope.command.amount is None


@pytest.mark.parametrize("minor", [1, 10**12, 2**63 - 1])
def test_amounts_up_to_what_a_column_holds_are_taken(minor: int) -> None:
    assert a_payment_requested(amount=money(minor)).amount.minor == minor


def test_fifty_entries_of_metadata_are_taken_and_not_one_more() -> None:
    fifty = {f"k{number}": "v" for number in range(50)}

    assert len(a_payment_requested(metadata=fifty).metadata) == 50
    assert refusal(read_binary, payment_data(metadata={**fifty, "one": "more"})).field == "metadata"


def test_a_command_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        a_payment_requested().order_id = "2"


# --- what is refused, by the name of the field ---

NO_WHOLE_AMOUNTS: list[Any] = [1.0, 19.99, "1999", True, False, -1, 2**63, 10**30, [1], {}]

BAD_PAYMENTS: list[tuple[str, dict[str, Any], RejectionReason, str]] = [
    *(
        (f"missing {name}", without(name), R.MISSING_FIELD, name)
        for name in ("payment_id", "order_id", "amount")
    ),
    ("missing minor", payment_data(amount={"currency": "EUR"}), R.MISSING_FIELD, "amount.minor"),
    ("missing currency", payment_data(amount={"minor": 1}), R.MISSING_FIELD, "amount.currency"),
    (
        "missing token",
        payment_data(payment_method={"gateway": "stripe"}),
        R.MISSING_FIELD,
        "payment_method.token",
    ),
    ("extra", payment_data(surprise=1), R.UNKNOWN_FIELD, "surprise"),
    ("extra in amount", payment_data(amount={**money(), "exponent": 2}), R.UNKNOWN_FIELD, "amount.exponent"),
    (
        "extra in method",
        payment_data(payment_method={"token": "t", "number": "x"}),
        R.UNKNOWN_FIELD,
        "payment_method.number",
    ),
    ("extra in context", payment_data(context={"ipp": "x"}), R.UNKNOWN_FIELD, "context.ipp"),
    ("misspelt optional", payment_data(captrue="manual"), R.UNKNOWN_FIELD, "captrue"),
    *(
        (f"amount {minor!r}", payment_data(amount=money(minor)), R.INVALID_FIELD, "amount.minor")
        for minor in NO_WHOLE_AMOUNTS
    ),
    ("amount zero", payment_data(amount=money(0)), R.INVALID_FIELD, "amount"),
    *(
        (f"amount {amount!r}", payment_data(amount=amount), R.INVALID_FIELD, "amount")
        for amount in (1999, "19.99", [1999, "EUR"])
    ),
    *(
        (
            f"currency {code!r}",
            payment_data(amount=money(currency=code)),
            R.INVALID_FIELD,
            "amount.currency",
        )
        for code in ("eur", "XXX", "EURO", "", 978)
    ),
    *(
        (f"payment_id {text!r}", payment_data(payment_id=text), R.INVALID_FIELD, "payment_id")
        for text in ("", "a b", "a.b", "päy", "a\n", "x" * 65, 7)
    ),
    ("order_id number", payment_data(order_id=1001), R.INVALID_FIELD, "order_id"),
    ("capture", payment_data(capture="later"), R.INVALID_FIELD, "capture"),
    ("initiator", payment_data(initiator="robot"), R.INVALID_FIELD, "initiator"),
    ("return_url", payment_data(return_url="javascript:alert(1)"), R.INVALID_FIELD, "return_url"),
    ("descriptor", payment_data(statement_descriptor="x" * 23), R.INVALID_FIELD, "statement_descriptor"),
    ("description", payment_data(description=""), R.INVALID_FIELD, "description"),
    ("gateway", payment_data(gateway="Stripe!"), R.INVALID_FIELD, "gateway"),
    ("country", payment_data(context={"billing_country": "de"}), R.INVALID_FIELD, "context.billing_country"),
    ("metadata number", payment_data(metadata={"a": 1}), R.INVALID_FIELD, "metadata.a"),
    ("metadata nested", payment_data(metadata={"a": {"b": "c"}}), R.INVALID_FIELD, "metadata.a"),
    ("token empty", payment_data(payment_method={"token": ""}), R.INVALID_FIELD, "payment_method.token"),
]


@pytest.mark.parametrize("mode", [read_binary, read_structured], ids=["binary", "structured"])
@pytest.mark.parametrize(
    ("data", "reason", "at"), [case[1:] for case in BAD_PAYMENTS], ids=[case[0] for case in BAD_PAYMENTS]
)
def test_a_bad_field_is_refused_by_its_name(
    data: dict[str, Any], reason: RejectionReason, at: str, mode: Any
) -> None:
    error = refusal(mode, data)

    assert (error.reason, error.field) == (reason, at)
    assert at in error.message
    assert error.sender.is_known


def test_a_misspelt_required_field_is_refused_by_one_of_its_names() -> None:
    error = refusal(read_binary, {**without("amount"), "amonut": money()})

    assert error.field in ("amount", "amonut")
    assert error.reason in (R.MISSING_FIELD, R.UNKNOWN_FIELD)


@pytest.mark.parametrize(
    "data",
    [payment_data(payment_method_id="pm_1"), without("payment_method")],
    ids=["both", "neither"],
)
def test_exactly_one_payment_method_is_needed(data: dict[str, Any]) -> None:
    error = refusal(read_binary, data)

    assert error.reason is R.INVALID_FIELD
    assert "payment_method" in error.message
    assert "payment_method_id" in error.message


def test_tokens_at_other_gateways_are_taken_with_the_first() -> None:
    command = a_payment_requested(
        payment_method={"token": "t1", "gateway": "stripe", "kind": "card"},
        alternatives=[{"token": "t2", "gateway": "adyen"}, {"token": "t3", "gateway": "paypal"}],
    )

    assert [method.gateway for method in command.alternatives] == ["adyen", "paypal"]
    assert "t2" not in repr(command)


@pytest.mark.parametrize(
    ("alternatives", "said"),
    [
        ([{"token": "t"}], "every alternative needs its gateway"),
        ([{"token": "t", "gateway": "stripe"}], "two tokens for stripe"),
        ([{"token": "t", "gateway": "adyen"}, {"token": "u", "gateway": "adyen"}], "two tokens for adyen"),
        ([{"token": "t", "gateway": f"g{number}"} for number in range(6)], "at most 5"),
    ],
)
def test_alternatives_are_one_for_each_gateway(alternatives: list[dict[str, str]], said: str) -> None:
    error = refusal(read_binary, payment_data(alternatives=alternatives))

    assert (error.reason, error.field) == (R.INVALID_FIELD, "alternatives")
    assert said in error.message


def test_alternatives_need_something_they_are_alternatives_to() -> None:
    data = {**without("payment_method"), "payment_method_id": "pm_1"}
    error = refusal(read_binary, {**data, "alternatives": [{"token": "t", "gateway": "adyen"}]})

    assert error.reason is R.INVALID_FIELD
    assert "alternatives" in error.message


@pytest.mark.parametrize("kind", ["", "Card", "bank-debit", "x" * 33])
def test_a_kind_of_payment_method_is_a_plain_word(kind: str) -> None:
    error = refusal(read_binary, payment_data(payment_method={"token": "t", "kind": kind}))

    assert (error.reason, error.field) == (R.INVALID_FIELD, "payment_method.kind")


def test_a_gateway_cannot_use_anothers_token() -> None:
    error = refusal(
        read_binary, payment_data(gateway="paypal", payment_method={"token": "t", "gateway": "stripe"})
    )

    assert error.reason is R.INVALID_FIELD


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({"payment_id": "pay_1"}, "refund_id"),
        ({"refund_id": "ref_1"}, "payment_id"),
        (refund_data(amount=money(0)), "amount"),
        (refund_data(amount=money(-1)), "amount.minor"),
        (refund_data(refund_id="a/b"), "refund_id"),
        (refund_data(amuont=money()), "amuont"),
    ],
)
def test_a_bad_field_of_a_refund_is_refused_by_its_name(data: dict[str, Any], at: str) -> None:
    assert refusal(read_binary, data, type="RefundRequested").field == at


# --- what is no message at all ---

GOOD = json.dumps(payment_data()).encode()

NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "random bytes": bytes(range(256)),
    "cut off": GOOD[:-1],
    "trailing": GOOD + b"}",
    "single quotes": GOOD.replace(b'"', b"'"),
    "latin-1": json.dumps(payment_data(description="Müller"), ensure_ascii=False).encode("latin-1"),
    "utf-16": GOOD.decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "overlong utf-8": GOOD.replace(b"1001", b"\xc0\xb1"),
    "lone surrogate": GOOD.replace(b'"1001"', b'"\\ud800"'),
    "deep nesting": b"[" * 100_000,
    "deep nesting, closed": b'{"metadata":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "more digits than a number has": GOOD.replace(b"1999", b"9" * 5_000),
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_json_in_utf_8_is_unreadable(body: bytes) -> None:
    error = refusal(read_binary, body)

    assert error.reason is R.UNREADABLE
    assert error.field is None


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"1", b"true"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    error = refusal(read_binary, body)

    assert error.reason in (R.UNREADABLE, R.INVALID_FIELD)
    assert "object" in error.message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1E2", "-0.0"])
def test_numbers_that_are_no_whole_numbers_are_refused(number: str) -> None:
    error = refusal(read_binary, GOOD.replace(b"1999", number.encode()))

    assert error.reason is R.UNREADABLE or error.field == "amount.minor"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (GOOD.replace(b'{"payment_id"', b'{"payment_id": "pay_9", "payment_id"', 1), "payment_id"),
        (GOOD.replace(b'"minor": 1999', b'"minor": 5, "minor": 1999'), "minor"),
    ],
    ids=["id twice", "amount twice"],
)
def test_a_field_that_is_there_twice_is_refused(body: bytes, at: str) -> None:
    # Which of the two would count is up to each reader: the sender may mean the other one.
    error = refusal(read_binary, body)

    assert at in error.message


def test_a_body_of_256_kib_is_read_and_one_byte_more_is_not() -> None:
    padded = GOOD.ljust(MAX_BODY_BYTES)

    assert isinstance(read_binary(padded).command, PaymentRequested)
    assert refusal(read_binary, padded + b" ").reason is R.TOO_LARGE


def test_a_body_that_is_too_large_is_refused_without_being_read() -> None:
    error = refusal(read_binary, b"\xff" * (MAX_BODY_BYTES + 1))

    assert error.reason is R.TOO_LARGE
    assert str(MAX_BODY_BYTES) in error.message


# --- nothing secret in sight ---


def test_a_token_is_not_in_the_repr_of_a_command() -> None:
    command = a_payment_requested(context={"email": "a@example.org"})

    assert TOKEN not in repr(command)
    assert TOKEN not in str(command)
    assert TOKEN not in f"{command.payment_method!r}"
    assert "a@example.org" not in repr(command)


def test_a_token_is_not_in_the_repr_of_an_envelope() -> None:
    assert TOKEN not in repr(read_binary(payment_data()))


def test_what_was_given_is_not_quoted_by_an_error() -> None:
    with pytest.raises(ValidationError) as refused:
        PaymentRequested.model_validate(payment_data(amount="a-secret-token"))

    assert "a-secret-token" not in str(refused.value)
