"""The rows of the ledger as values: what is derived from their amounts and states."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest

from ledger.states import (
    OPEN_ATTEMPT,
    OVER_WITHOUT_MONEY,
    AttemptState,
    PaymentStatus,
)
from messages.ids import PaymentId
from messages.money import Money
from tests.builders import NOON, TOKEN, a_captured_payment, a_payment, a_refund, an_attempt


@pytest.mark.parametrize(
    ("amounts", "capturable"),
    [
        ({}, 0),
        ({"authorized": 100}, 100),
        ({"authorized": 100, "captured_gross": 60}, 40),
        ({"authorized": 100, "captured_gross": 60, "capture_pending": 30}, 10),
        ({"authorized": 100, "captured_gross": 60, "capture_pending": 30, "released": 10}, 0),
        ({"authorized": 100, "released": 100}, 0),
        ({"authorized": 100, "captured_gross": 100, "refunded": 50}, 0),
    ],
)
def test_what_may_still_be_captured(amounts: dict[str, int], capturable: int) -> None:
    assert a_payment(**amounts).capturable == capturable


@pytest.mark.parametrize(
    ("amounts", "refundable"),
    [
        ({"authorized": 100}, 0),
        ({"captured_gross": 100}, 100),
        ({"captured_gross": 100, "capture_reversed": 10}, 90),
        ({"captured_gross": 100, "refunded": 10}, 90),
        ({"captured_gross": 100, "refund_pending": 10}, 90),
        ({"captured_gross": 100, "refunded_external": 10}, 90),
        ({"captured_gross": 100, "disputed_open": 10}, 90),
        ({"captured_gross": 100, "charged_back": 10}, 90),
        ({"captured_gross": 100, "refunded": 100, "refunded_external": 1}, -1),
    ],
)
def test_what_may_still_be_refunded(amounts: dict[str, int], refundable: int) -> None:
    assert a_payment(**amounts).refundable == refundable


def test_an_attempt_is_open_until_its_end_is_known() -> None:
    over = {
        AttemptState.SUCCEEDED,
        AttemptState.REVERSED,
        AttemptState.DECLINED,
        AttemptState.FAILED,
        AttemptState.CANCELED,
    }

    assert set(AttemptState) - OPEN_ATTEMPT == over
    for state in AttemptState:
        assert an_attempt(state=state).is_open is (state not in over)


def test_an_order_may_be_paid_again_only_after_an_end_without_money() -> None:
    still_taken = {
        PaymentStatus.AUTHORIZING,
        PaymentStatus.ACTION_REQUIRED,
        PaymentStatus.PENDING,
        PaymentStatus.IN_DOUBT,
        PaymentStatus.AUTHORIZED,
        PaymentStatus.CAPTURING,
        PaymentStatus.PARTIALLY_CAPTURED,
        PaymentStatus.CAPTURED,
        PaymentStatus.VOIDING,
    }

    assert set(PaymentStatus) - OVER_WITHOUT_MONEY == still_taken


def test_amounts_are_in_the_rows_currency() -> None:
    assert a_payment(currency="JPY").money(5) == Money(5, "JPY")
    assert an_attempt(currency="JPY", amount=7).money() == Money(7, "JPY")


def test_a_row_cannot_be_changed() -> None:
    for row in (a_payment(), an_attempt(), a_refund()):
        with pytest.raises(FrozenInstanceError):
            row.payment_id = PaymentId("pay_2")  # type: ignore[misc]


def test_a_command_does_not_show_in_the_repr_of_its_row() -> None:
    assert TOKEN in a_payment().request
    assert TOKEN not in repr(a_payment())
    assert a_refund().request not in repr(a_refund())


def test_the_builders_rows_are_consistent() -> None:
    captured = a_captured_payment()

    assert (captured.capturable, captured.refundable) == (0, captured.requested)
    assert an_attempt().due_at == NOON + timedelta(seconds=45)
    assert (an_attempt().attempt_id, an_attempt().payment_id) == ("pay_1.a1", captured.payment_id)
