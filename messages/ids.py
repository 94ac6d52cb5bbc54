"""The ids of the field: made by the publisher, checked once at the door, told apart by the type checker."""

from __future__ import annotations

from typing import Annotated, NewType

from pydantic import Field, StringConstraints

PaymentId = NewType("PaymentId", str)
RefundId = NewType("RefundId", str)
CaptureId = NewType("CaptureId", str)
AttemptId = NewType("AttemptId", str)
MessageId = NewType("MessageId", str)

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

_Checked = StringConstraints(strict=True, pattern=ID_PATTERN)

PaymentIdField = Annotated[
    PaymentId,
    _Checked,
    Field(description="Made by the publisher; names the payment.", examples=["pay_01JD5RZ3"]),
]
RefundIdField = Annotated[
    RefundId,
    _Checked,
    Field(description="Made by the publisher; names the refund.", examples=["ref_01JD5S07"]),
]
CaptureIdField = Annotated[
    CaptureId,
    _Checked,
    Field(description="Made by the publisher; names the capture.", examples=["cap_01JD5S07"]),
]
RefundNameField = Annotated[
    RefundId,
    StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_-]{1,64}(\.[a-z0-9]{1,24})?$"),
    Field(
        description="The refund's id: the publisher's, or, with a dot, one made by the service itself.",
        examples=["ref_01JD5S07", "pay_01JD5RZ3.void"],
    ),
]
OrderIdField = Annotated[str, _Checked, Field(description="The order the payment is for.", examples=["1001"])]


def payment_attempt_id(payment_id: PaymentId, number: int) -> AttemptId:
    """Name the payment's n-th call intent; also its idempotency key at the gateway.

    The dot is outside the alphabet of ids, so the name is unambiguous; it is deterministic,
    so that a second decision on the same happening cannot invent a second key.
    """
    return AttemptId(f"{payment_id}.a{number}")


def capture_attempt_id(capture_id: CaptureId, number: int) -> AttemptId:
    """Name the capture's n-th call intent; also its idempotency key at the gateway."""
    return AttemptId(f"{capture_id}.c{number}")


def own_refund_id(payment_id: PaymentId, why: str) -> RefundId:
    """Name a refund that no command asked for. The dot keeps it apart from every publisher's id."""
    return RefundId(f"{payment_id}.{why}")


def refund_attempt_id(refund_id: RefundId, number: int) -> AttemptId:
    """Name the refund's n-th call intent; also its idempotency key at the gateway."""
    return AttemptId(f"{refund_id}.r{number}")
