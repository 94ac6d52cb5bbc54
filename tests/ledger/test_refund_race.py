"""Over-refunding is impossible however many workers race: turns, decisions and the database, without a broker."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from consumers.turn import Result, Work, run_turn
from gateways.protocol import RefundRequest
from handlers.decision import Happening
from ledger.ledger import Conflict, Ledger
from ledger.verify import verify
from messages.ids import PaymentId, RefundId
from tests.builders import (
    NOON,
    a_payment_requested,
    a_policy,
    a_refund_requested,
    answer_to,
    approved,
    asked,
    eur,
)
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.rows import payment_of

POLICY = a_policy()


def settle(ledger: Ledger, *happenings: Happening) -> Result:
    """One turn as a worker runs it, again after a conflict."""
    while True:
        try:
            return run_turn(
                ledger,
                [Work(happening=happening) for happening in happenings],
                policy=POLICY,
                now=NOON,
                confirmed=[],
                ours=set(),
            )
        except Conflict:
            continue


def take(ledger: Ledger, payment_id: str, minor: int) -> None:
    """A payment that goes through."""
    command = a_payment_requested(payment_id=payment_id, order_id=payment_id, amount=eur(minor))
    (call,) = settle(ledger, asked(command, message_id=f"msg_{payment_id}")).calls
    settle(ledger, answer_to(call, approved(eur(minor)), is_lookup=False))


def refund(ledger: Ledger, payment_id: str, number: int, minor: int) -> int:
    """Ask for a refund and have the gateway give it back; says how much was given back."""
    command = a_refund_requested(
        refund_id=RefundId(f"ref_{payment_id}_{number}"), payment_id=PaymentId(payment_id), amount=eur(minor)
    )
    calls = settle(ledger, asked(command, message_id=f"msg_{payment_id}_{number}")).calls
    for call in calls:
        assert isinstance(call.request, RefundRequest)
        settle(ledger, answer_to(call, approved(call.request.amount, "re_1"), is_lookup=False))
    return len(calls) * minor


@pytest.mark.parametrize(
    ("workers", "each", "through"), [(2, 30, 33), (8, 7, 142), (3, 1000, 1), (2, 1001, 0)]
)
def test_of_racing_refunds_as_many_get_through_as_there_is_money(
    url: str, workers: int, each: int, through: int
) -> None:
    """1,000 cents were taken; each worker asks for its share of 200 refunds as fast as it can."""
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        take(ledger, "pay_1", 1000)
    start = threading.Barrier(workers)

    def race(worker: int) -> int:
        with closing(Ledger(url, keyring=KEYRING)) as ledger:
            start.wait()
            return sum(refund(ledger, "pay_1", n, each) for n in range(worker, 200, workers))

    with ThreadPoolExecutor(workers) as pool:
        given_back = sum(pool.map(race, range(workers)))

    assert given_back == through * each <= 1000
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        payment = payment_of(ledger)
    assert (payment.refunded, payment.refund_pending) == (through * each, 0)
    statuses: dict[str, int] = dict(raw.run(url, "SELECT status, count(*) FROM refunds GROUP BY status"))
    assert statuses == {k: v for k, v in {"succeeded": through, "rejected": 200 - through}.items() if v}
    assert verify(url).problems == []


def test_of_racing_repeats_of_one_refund_one_gets_through(url: str) -> None:
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        take(ledger, "pay_1", 1000)
    start = threading.Barrier(4)

    def race(worker: int) -> int:
        command = a_refund_requested(refund_id="ref_1", payment_id="pay_1", amount=eur(100))
        with closing(Ledger(url, keyring=KEYRING)) as ledger:
            start.wait()
            return sum(
                len(settle(ledger, asked(command, message_id=f"msg_{worker}_{n}")).calls) for n in range(10)
            )

    with ThreadPoolExecutor(4) as pool:
        calls = sum(pool.map(race, range(4)))

    assert calls == 1
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        assert payment_of(ledger).refund_pending == 100
    assert verify(url).problems == []


def test_of_racing_payments_for_one_order_one_gets_through(url: str) -> None:
    start = threading.Barrier(4)

    def race(worker: int) -> int:
        command = a_payment_requested(payment_id=f"pay_{worker}", order_id="1001")
        with closing(Ledger(url, keyring=KEYRING)) as ledger:
            start.wait()
            return len(settle(ledger, asked(command, message_id=f"msg_{worker}")).calls)

    with ThreadPoolExecutor(4) as pool:
        calls = sum(pool.map(race, range(4)))

    assert calls == 1
    assert dict(raw.run(url, "SELECT status, count(*) FROM payments GROUP BY status")) == {
        "authorizing": 1,
        "rejected": 3,
    }
    assert verify(url).problems == []
