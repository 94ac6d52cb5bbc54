"""PayPal-Request-Id: what succeeded is not done again, what failed may be, and two at once is one too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulators.control_client import ControlClient
from simulators.running import RunningPaypal
from tests.simulators.paypal.shop import Refused, Shop, open_shop

DAY_S = 24 * 3600

Repeat = Callable[[Shop], Callable[[], Any]]


def _order(shop: Shop) -> Callable[[], Any]:
    return lambda: shop.order("k1")


def _payment(shop: Shop) -> Callable[[], Any]:
    order = shop.order()
    return lambda: shop.complete(order, key="k1")


def _capture(shop: Shop) -> Callable[[], Any]:
    hold = shop.hold()
    return lambda: shop.capture(hold, "k1", "1.00")


def _void(shop: Shop) -> Callable[[], Any]:
    hold = shop.hold()
    return lambda: shop.void(hold, "k1")


def _refund(shop: Shop) -> Callable[[], Any]:
    capture = shop.pay()
    return lambda: shop.refund(capture, "k1", "1.00")


@pytest.mark.parametrize(
    ("prepare", "first", "again"),
    [(_order, 201, 200), (_payment, 201, 200), (_capture, 201, 201), (_void, 200, 200), (_refund, 201, 201)],
)
def test_a_repeat_executes_nothing_and_is_told_the_same(
    shop: Shop, control: ControlClient, prepare: Repeat, first: int, again: int
) -> None:
    call = prepare(shop)
    answers = [(call(), shop.answer.status_code) for _ in range(2)]
    counted = control.requests()["by_idempotency_key"]["k1"]

    assert answers[0][0] == answers[1][0]
    assert [status for _, status in answers] == [first, again]
    assert (counted["seen"], counted["executed"], counted["replayed"]) == (2, 1, 1)
    assert len(control.record(idempotency_key="k1")) == (prepare is not _order)


def test_a_repeat_is_told_the_latest_state(shop: Shop) -> None:
    hold = shop.hold()
    first = shop.capture(hold, "k1")
    shop.refund(first)

    assert (first["status"], shop.capture(hold, "k1")["status"]) == ("COMPLETED", "REFUNDED")


def test_other_parameters_are_not_noticed(shop: Shop, control: ControlClient) -> None:
    hold = shop.hold()
    first = shop.capture(hold, "k1", "1.00")

    assert shop.capture(hold, "k1", "2.00") == first
    assert len(control.record(operation="capture")) == 1


def test_what_was_refused_is_not_kept(shop: Shop) -> None:
    order = shop.order()
    with pytest.raises(Refused):
        shop.complete(order, "sim-wallet-INSTRUMENT_DECLINED", key="k1")

    assert shop.complete(order, "sim-wallet", key="k1")["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("prepare", "window_s"), [(_payment, 6 * 3600), (_refund, 45 * DAY_S), (_capture, 20 * DAY_S)]
)
def test_an_id_is_forgotten_after_its_window(
    shop: Shop, control: ControlClient, prepare: Repeat, window_s: int
) -> None:
    call = prepare(shop)
    first = call()
    control.advance_clock(window_s - 1)
    shop.sign_in()

    assert call()["id"] == first["id"]
    control.advance_clock(1)
    shop.sign_in()
    if prepare is _payment:
        with pytest.raises(Refused, match="ORDER_ALREADY_CAPTURED"):
            call()
    elif prepare is _refund:
        assert call()["id"] != first["id"]
    else:
        assert call()["id"] == first["id"]  # 20 days are well within 45


def test_an_id_counts_for_one_kind_of_call(shop: Shop) -> None:
    order = shop.order("k1")

    assert shop.complete(order, key="k1")["status"] == "COMPLETED"


def test_an_id_too_long_is_refused(shop: Shop) -> None:
    with pytest.raises(Refused, match="INVALID_STRING_LENGTH"):
        shop.order("k" * 109)


def test_two_at_once_are_one_too_many(simulator: RunningPaypal, shop: Shop) -> None:
    order = shop.order()
    simulator.control.arm("slow", seconds=2, match={"path": "/v2/checkout/orders/*/capture"})
    with open_shop(simulator, timeout_s=0.5) as hasty, pytest.raises(Exception, match="timed out"):
        hasty.complete(order, key="k1")

    issues = set()
    paid = None
    for _ in range(5000):
        try:
            paid = shop.complete(order, key="k1")
            break
        except Refused as refused:
            issues.add((refused.status, refused.issue))

    assert issues == {(409, "PREVIOUS_REQUEST_IN_PROGRESS")}
    assert paid is not None
    assert len(simulator.control.record()) == 1
