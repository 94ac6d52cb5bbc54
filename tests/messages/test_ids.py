"""Ids: one alphabet, and names of attempts that cannot be mistaken for each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from messages.ids import (
    OrderIdField,
    PaymentId,
    PaymentIdField,
    RefundId,
    RefundIdField,
    payment_attempt_id,
    refund_attempt_id,
)

FIELDS: list[TypeAdapter[Any]] = [
    TypeAdapter(PaymentIdField),
    TypeAdapter(RefundIdField),
    TypeAdapter(OrderIdField),
]
ids = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")


@given(ids)
def test_every_id_of_the_alphabet_is_taken_as_it_is(text: str) -> None:
    for field in FIELDS:
        assert field.validate_python(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a" * 65, "a b", " a", "a\n", "\na", "a.b", "a/b", "a:b", "päy", "ａ", "a\x00", "a'b", "%61", "٣"],
)
def test_anything_else_is_refused(text: str) -> None:
    for field in FIELDS:
        with pytest.raises(ValidationError):
            field.validate_python(text)


@pytest.mark.parametrize("value", [1, 1.0, True, None, b"pay_1", ["pay_1"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    for field in FIELDS:
        with pytest.raises(ValidationError):
            field.validate_python(value)


@given(ids, ids, st.integers(1, 999), st.integers(1, 999))
def test_names_of_attempts_never_meet(one: str, other: str, first: int, second: int) -> None:
    names = {
        payment_attempt_id(PaymentId(one), first),
        payment_attempt_id(PaymentId(other), second),
        refund_attempt_id(RefundId(one), first),
        refund_attempt_id(RefundId(other), second),
    }

    assert len(names) == (2 if (one, first) == (other, second) else 4)


@given(ids, st.integers(1, 999))
def test_the_name_of_an_attempt_is_made_again_the_same_and_fits_a_gateways_key(
    text: str, number: int
) -> None:
    name = payment_attempt_id(PaymentId(text), number)

    assert name == payment_attempt_id(PaymentId(text), number)
    assert len(name) <= 255, "Stripe's limit for an idempotency key"
