"""Workers side by side: who waits for whom, who passes by, and that audit chains never fork."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ledger.ledger import Conflict, Ledger, LedgerDown
from ledger.records import Changes, Wanted
from ledger.states import PaymentStatus
from ledger.tables import AUDIT_SHARDS
from ledger.verify import verify
from messages.ids import PaymentId
from tests.builders import NOON, PAYMENT, REFUND, a_payment, a_refund
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.rows import an_audit_line, an_event, count, load, payment_of, payments_named, write
from tests.workers import eventually


@pytest.fixture
def open_ledger(postgres_url: str) -> Iterator[Callable[[], Ledger]]:
    """Opens ledgers, one a worker."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Ledger(postgres_url, keyring=KEYRING)))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for each of the other workers."""
    with ThreadPoolExecutor(max_workers=20) as pool:
        yield pool


def _waiting(url: str) -> int:
    """How many workers wait for a lock."""
    found = raw.run(
        url,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    )
    waiting: int = found[0][0]
    return waiting


def _until_waiting(url: str, count: int = 1) -> None:
    eventually(lambda: _waiting(url) >= count, within_s=8, what="a worker waits for a lock")


def test_a_payment_is_waited_for_and_then_read_as_it_has_become(
    postgres_url: str, open_ledger: Callable[[], Ledger], threads: ThreadPoolExecutor
) -> None:
    mine, other = open_ledger(), open_ledger()
    write(mine, new_payments=[a_payment()])
    with mine.turn() as turn:
        turn.load(Wanted(payment_ids={PAYMENT}))
        waits = threads.submit(payment_of, other)
        _until_waiting(postgres_url)
        turn.write(Changes(payments=[a_payment(status=PaymentStatus.PENDING)]))
        assert not waits.done()

    assert waits.result(timeout=10).status is PaymentStatus.PENDING


def test_a_timer_passes_by_a_payment_that_is_held_and_says_so(open_ledger: Callable[[], Ledger]) -> None:
    mine, other = open_ledger(), open_ledger()
    first, second = payments_named(2)
    write(mine, new_payments=[first, second])
    with mine.turn() as turn:
        turn.load(Wanted(payment_ids={first.payment_id}))

        loaded = load(other, timer_payment_ids={first.payment_id, second.payment_id, "pay_nowhere"})

    assert loaded.payments == {second.payment_id: second}
    assert loaded.skipped == {first.payment_id}, "one that is not there at all is not held by anybody"


def test_a_free_payment_is_not_skipped(ledger: Ledger) -> None:
    write(ledger, new_payments=[a_payment()])

    loaded = load(ledger, timer_payment_ids={PAYMENT, "pay_nowhere"})
    assert loaded.payments == {PAYMENT: a_payment()}
    assert loaded.skipped == set()


def test_a_refund_that_waits_for_its_payment_is_held_though_there_is_no_payment_to_hold(
    postgres_url: str, open_ledger: Callable[[], Ledger], threads: ThreadPoolExecutor
) -> None:
    mine, other = open_ledger(), open_ledger()
    write(mine, new_refunds=[a_refund()])
    later = a_refund(due_at=NOON + timedelta(hours=1))
    with mine.turn() as turn:
        turn.load(Wanted(timer_payment_ids={PAYMENT}, refund_ids={REFUND}))
        waits = threads.submit(load, other, timer_payment_ids={PAYMENT}, refund_ids={REFUND})
        _until_waiting(postgres_url)
        turn.write(Changes(refunds=[later]))

    assert waits.result(timeout=10).refunds == {REFUND: later}


def test_two_workers_that_take_payments_in_any_order_never_block_each_other_for_good(
    postgres_url: str, open_ledger: Callable[[], Ledger], threads: ThreadPoolExecutor
) -> None:
    payments = payments_named(20)
    ids = {payment.payment_id for payment in payments}
    write(open_ledger(), new_payments=payments)

    def count_up(ledger: Ledger) -> None:
        for _ in range(25):
            with ledger.turn() as turn:
                loaded = turn.load(Wanted(payment_ids=ids)).payments.values()
                turn.write(Changes(payments=[replace(p, attempts=p.attempts + 1) for p in loaded]))

    for done in [threads.submit(count_up, open_ledger()) for _ in range(3)]:
        done.result(timeout=60)

    assert raw.run(postgres_url, "SELECT DISTINCT attempts FROM payments") == [(payments[0].attempts + 75,)]


def test_turns_side_by_side_use_different_chains(
    open_ledger: Callable[[], Ledger], postgres_url: str
) -> None:
    with ExitStack() as stack:
        for number in range(AUDIT_SHARDS):
            turn = stack.enter_context(open_ledger().turn())
            turn.load(Wanted())
            turn.write(Changes(audit=[an_audit_line(cause=f"msg_{number}")]))

    assert raw.run(postgres_url, "SELECT shard, position FROM audit ORDER BY shard") == [
        (shard, 1) for shard in range(AUDIT_SHARDS)
    ]
    assert verify(postgres_url).problems == []


def test_one_turn_more_than_there_are_chains_waits_for_one(
    open_ledger: Callable[[], Ledger], postgres_url: str, threads: ThreadPoolExecutor
) -> None:
    with ExitStack() as stack:
        for _ in range(AUDIT_SHARDS):
            turn = stack.enter_context(open_ledger().turn())
            turn.load(Wanted())
            turn.write(Changes(audit=[an_audit_line()]))
        late = threads.submit(write, open_ledger(), audit=[an_audit_line(cause="late")])
        _until_waiting(postgres_url)
        assert not late.done()

    late.result(timeout=10)
    assert count(postgres_url, "audit") == AUDIT_SHARDS + 1
    assert verify(postgres_url).problems == []


def test_chains_do_not_fork_however_many_workers_write(
    open_ledger: Callable[[], Ledger], postgres_url: str, threads: ThreadPoolExecutor
) -> None:
    def many(ledger: Ledger, worker: int) -> None:
        for number in range(40):
            write(ledger, audit=[an_audit_line(cause=f"{worker}-{number}-{line}") for line in range(3)])

    for done in [threads.submit(many, open_ledger(), worker) for worker in range(18)]:
        done.result(timeout=120)

    assert raw.run(postgres_url, "SELECT count(*), count(DISTINCT cause) FROM audit") == [(2160, 2160)]
    assert verify(postgres_url).problems == []


def test_two_workers_that_write_the_same_thing_meet_in_a_conflict(
    open_ledger: Callable[[], Ledger], postgres_url: str, threads: ThreadPoolExecutor
) -> None:
    mine, other = open_ledger(), open_ledger()
    with mine.turn() as turn:
        turn.load(Wanted(payment_ids={PAYMENT}))
        turn.write(Changes(new_payments=[a_payment()]))
        second = threads.submit(write, other, new_payments=[a_payment(order_id="1002")], events=[an_event()])
        _until_waiting(postgres_url)

    with pytest.raises(Conflict, match="pk_payments"):
        second.result(timeout=10)
    assert count(postgres_url, "outbox") == 0


def test_two_workers_that_pay_one_order_meet_in_a_conflict(
    open_ledger: Callable[[], Ledger], postgres_url: str, threads: ThreadPoolExecutor
) -> None:
    mine, other = open_ledger(), open_ledger()
    with mine.turn() as turn:
        turn.load(Wanted())
        turn.write(Changes(new_payments=[a_payment()]))
        second = threads.submit(write, other, new_payments=[a_payment(payment_id=PaymentId("pay_2"))])
        _until_waiting(postgres_url)

    with pytest.raises(Conflict, match="uq_payments_live_order"):
        second.result(timeout=10)


def test_a_deadlock_is_a_conflict_for_one_and_nothing_for_the_other(
    open_ledger: Callable[[], Ledger], postgres_url: str, threads: ThreadPoolExecutor
) -> None:
    first, second = payments_named(2)
    write(open_ledger(), new_payments=[first, second])
    both_hold = threading.Barrier(2, timeout=20)

    def cross(ledger: Ledger, held: Any, wanted: Any) -> str:
        try:
            with ledger.turn() as turn:
                turn.load(Wanted(payment_ids={held.payment_id}))
                both_hold.wait()
                turn.write(Changes(payments=[wanted]))
        except Conflict as error:
            return str(error)
        return "written"

    one = threads.submit(cross, open_ledger(), first, second)
    two = threads.submit(cross, open_ledger(), second, first)

    assert sorted([one.result(30), two.result(30)]) == ["DeadlockDetected", "written"]


def test_a_lock_that_is_never_let_go_is_a_conflict_in_the_end(open_ledger: Callable[[], Ledger]) -> None:
    mine, other = open_ledger(), open_ledger()
    write(mine, new_payments=[a_payment()])
    with mine.turn() as turn:
        turn.load(Wanted(payment_ids={PAYMENT}))

        with pytest.raises(Conflict, match="LockNotAvailable"):
            load(other, payment_ids={PAYMENT})

    assert payment_of(other) == a_payment()


def test_reading_timers_and_leases_waits_for_nobody(open_ledger: Callable[[], Ledger]) -> None:
    mine, other = open_ledger(), open_ledger()
    write(mine, new_payments=[a_payment()], new_refunds=[a_refund(due_at=NOON)], events=[an_event()])
    with mine.turn() as turn:
        turn.load(Wanted(payment_ids={PAYMENT}, refund_ids={REFUND}))
        turn.write(Changes(payments=[a_payment(sequence=1)], published=[("pay_1", 1)], published_at=NOON))

        assert len(other.due(now=NOON, limit=10)) == 1
        assert len(other.stale_events(before=NOON + timedelta(1), limit=10)) == 1
        assert other.claim("relay", holder="b", now=NOON, until=NOON)
        other.ping()


def test_on_sqlite_one_turn_waits_for_the_other(sqlite_url: str, threads: ThreadPoolExecutor) -> None:
    mine = Ledger(sqlite_url, keyring=KEYRING)
    with mine.turn() as turn:
        turn.load(Wanted(payment_ids={PAYMENT}))
        turn.write(Changes(new_payments=[a_payment()]))
        waits: Future[Any] = threads.submit(_in_its_own_thread, sqlite_url)
        time.sleep(
            0.2
        )  # nothing tells that a thread waits inside SQLite; if it has not begun, no harm is done
        assert not waits.done()

    assert waits.result(timeout=20) == a_payment()
    mine.close()


def _in_its_own_thread(url: str) -> Any:
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        return payment_of(ledger)


def test_on_sqlite_a_file_that_stays_locked_is_away_not_wrong(sqlite_url: str) -> None:
    with (
        closing(Ledger(sqlite_url, keyring=KEYRING)) as mine,
        closing(Ledger(sqlite_url, patience_s=0.1, keyring=KEYRING)) as ledger,
    ):
        with mine.turn(), pytest.raises(LedgerDown, match="locked"):
            load(ledger)

        assert load(ledger).payments == {}
