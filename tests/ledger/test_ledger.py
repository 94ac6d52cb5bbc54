"""One turn of the ledger: what it writes and reads back, all or nothing, and what counts as a conflict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger.engine import open_engine
from ledger.journals import Journal, authorization, refund_reserved, sale
from ledger.ledger import ATTEMPT, Conflict, Ledger, LedgerError, NotMigrated, Refused
from ledger.ledger import PAYMENT as PAYMENT_SHAPE
from ledger.ledger import REFUND as REFUND_SHAPE
from ledger.records import Changes, Due, Loaded, OutboxEvent, Wanted
from ledger.rows import Shape
from ledger.states import (
    OPEN_ATTEMPT,
    OVER_WITHOUT_MONEY,
    Attempt,
    AttemptState,
    Capture,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)
from messages.ids import AttemptId, PaymentId, RefundId
from messages.operation import Operation
from tests.builders import (
    CAPTURE,
    NOON,
    PAYMENT,
    REFUND,
    a_capture,
    a_captured_payment,
    a_payment,
    a_refund,
    an_attempt,
)
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.rows import (
    an_audit_line,
    an_event,
    an_inbox_row,
    at,
    attempt_named,
    count,
    counts,
    everything,
    load,
    payment_of,
    payments_named,
    write,
)

MICROSECOND = timedelta(microseconds=1)
LATER = datetime(2026, 11, 22, 13, 37, 42, 123_456, tzinfo=UTC)
AWKWARD = '\'; DROP TABLE payments; -- \\ "ü€😀" {a,b} NULL \n\t%s ?'
"""Everything that quoting gets wrong."""

FULL_PAYMENT = Payment(
    payment_id=PAYMENT,
    order_id=AWKWARD,
    gateway="stripe",
    currency="EUR",
    requested=2**62,
    status=PaymentStatus.CAPTURED,
    capture=False,
    request=f'{{"a":"{AWKWARD}"}}',
    request_hash="hash",
    source="/order-service",
    command_id=AWKWARD,
    correlation_id="",
    created_at=NOON + MICROSECOND,
    updated_at=LATER,
    authorized=2**62,
    released=1,
    captured_gross=100,
    capture_pending=2,
    capture_reversed=3,
    refunded=4,
    refund_pending=5,
    refunded_external=6,
    disputed_open=7,
    charged_back=8,
    attention=True,
    cancel_requested=True,
    late=True,
    attempts=9,
    sequence=10,
)
FULL_ATTEMPT = Attempt(
    attempt_id=AttemptId("ref_1.r1"),
    payment_id=PAYMENT,
    capture_id=CAPTURE,
    refund_id=REFUND,
    operation=Operation.REFUND,
    gateway="stripe",
    currency="EUR",
    amount=2**63 - 1,
    acts_on=AttemptId("pay_1.a1"),
    authenticate=True,
    state=AttemptState.UNKNOWN,
    reference=AWKWARD,
    parent_reference="pi_1",
    call_number=3,
    tries=2,
    inquiries=1,
    doubtful=True,
    sent_at=LATER,
    absent_since=LATER + MICROSECOND,
    expires_at=LATER + timedelta(hours=1),
    capture_before=LATER + timedelta(days=7),
    is_warned=True,
    brought='{"redirectResult": "x"}',
    due_at=LATER + timedelta(days=400),
    reason="other",
    code="",
    soft=True,
    detail=AWKWARD,
    created_at=NOON,
    updated_at=LATER,
)
SHAPES: tuple[Shape[Any], ...] = (PAYMENT_SHAPE, ATTEMPT, REFUND_SHAPE)
FULL_CAPTURE = a_capture(currency="EUR", amount=5, deadline_at=LATER, due_at=LATER, updated_at=LATER)
FULL_REFUND = a_refund(
    currency="EUR",
    amount=5,
    external=True,
    attempts=1,
    deadline_at=LATER,
    due_at=LATER,
    updated_at=LATER,
)


# --- what is written is read back ---


@pytest.mark.parametrize("payment", [FULL_PAYMENT, a_payment()], ids=["every field", "defaults"])
def test_a_payment_is_read_as_it_was_written(ledger: Ledger, payment: Payment) -> None:
    write(ledger, new_payments=[payment])

    assert load(ledger, payment_ids={PAYMENT}).payments == {PAYMENT: payment}


@pytest.mark.parametrize("attempt", [FULL_ATTEMPT, an_attempt()], ids=["every field", "nulls"])
def test_an_attempt_is_read_as_it_was_written(ledger: Ledger, attempt: Attempt) -> None:
    write(ledger, new_attempts=[attempt])

    loaded = load(ledger, payment_ids={PAYMENT})
    assert loaded.attempts == {attempt.attempt_id: attempt}


@pytest.mark.parametrize("capture", [FULL_CAPTURE, a_capture()], ids=["every field", "nulls"])
def test_a_capture_is_read_as_it_was_written(ledger: Ledger, capture: Capture) -> None:
    write(ledger, new_captures=[capture])

    assert load(ledger, capture_ids={CAPTURE}).captures == {CAPTURE: capture}
    assert load(ledger, payment_ids={PAYMENT}).captures == {CAPTURE: capture}


@pytest.mark.parametrize("refund", [FULL_REFUND, a_refund()], ids=["every field", "nulls"])
def test_a_refund_is_read_as_it_was_written(ledger: Ledger, refund: Refund) -> None:
    write(ledger, new_refunds=[refund])

    assert load(ledger, refund_ids={REFUND}).refunds == {REFUND: refund}


@pytest.mark.parametrize(
    ("full", "enums"),
    [
        (FULL_PAYMENT, {"status"}),
        (FULL_ATTEMPT, {"state", "operation"}),
        (FULL_CAPTURE, {"status"}),
        (FULL_REFUND, {"status"}),
    ],
    ids=["payment", "attempt", "capture", "refund"],
)
def test_the_full_rows_leave_no_field_at_its_default(full: Any, enums: set[str]) -> None:
    for name, spec in type(full).__dataclass_fields__.items():
        if name not in enums:
            assert getattr(full, name) != spec.default, name


@pytest.mark.parametrize("status", PaymentStatus)
def test_every_status_of_a_payment_can_be_stored(ledger: Ledger, status: PaymentStatus) -> None:
    write(ledger, new_payments=[a_payment(status=status)])

    assert payment_of(ledger).status is status


@pytest.mark.parametrize("state", AttemptState)
def test_every_state_of_an_attempt_can_be_stored(ledger: Ledger, state: AttemptState) -> None:
    attempt = an_attempt(state=state, due_at=NOON if state in OPEN_ATTEMPT else None)
    write(ledger, new_attempts=[attempt])

    assert load(ledger, payment_ids={PAYMENT}).attempts[attempt.attempt_id] == attempt


@pytest.mark.parametrize("status", RefundStatus)
def test_every_status_of_a_refund_can_be_stored(ledger: Ledger, status: RefundStatus) -> None:
    refund = a_refund(status=status, due_at=NOON if status is RefundStatus.REQUESTED else None)
    write(ledger, new_refunds=[refund])

    assert load(ledger, refund_ids={REFUND}).refunds == {REFUND: refund}


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_can_be_stored(ledger: Ledger, operation: Operation) -> None:
    attempt = an_attempt(operation=operation)
    write(ledger, new_attempts=[attempt])

    assert load(ledger, payment_ids={PAYMENT}).attempts[attempt.attempt_id].operation is operation


def test_a_time_of_another_zone_is_read_as_the_same_moment_in_utc(ledger: Ledger) -> None:
    elsewhere = LATER.astimezone(timezone(timedelta(hours=5, minutes=45)))
    write(ledger, new_payments=[a_payment(created_at=elsewhere)])

    created_at = payment_of(ledger).created_at
    assert created_at == LATER
    assert created_at.utcoffset() == timedelta(0)


def test_a_changed_row_is_read_as_it_was_changed(ledger: Ledger) -> None:
    old: tuple[Any, ...] = (a_payment(), an_attempt(), a_refund())
    full = (FULL_PAYMENT, replace(FULL_ATTEMPT, attempt_id=an_attempt().attempt_id), FULL_REFUND)
    write(ledger, new_payments=[old[0]], new_attempts=[old[1]], new_refunds=[old[2]])
    payment, attempt, refund = (
        replace(row, **{name: getattr(new, name) for name in shape.changing})
        for row, new, shape in zip(old, full, SHAPES, strict=True)
    )
    write(ledger, payments=[payment], attempts=[attempt], refunds=[refund])

    loaded = load(ledger, payment_ids={PAYMENT}, refund_ids={REFUND})
    assert loaded.payments == {PAYMENT: payment}
    assert loaded.attempts == {attempt.attempt_id: attempt}
    assert loaded.refunds == {REFUND: refund}


@pytest.mark.parametrize("row", [a_payment(), an_attempt(), a_refund()], ids=lambda row: type(row).__name__)
def test_what_a_row_was_asked_for_with_is_written_once_and_never_again(ledger: Ledger, row: Any) -> None:
    kind = type(row).__name__.lower()
    shape = SHAPES[("payment", "attempt", "refund").index(kind)]
    fixed = set(shape.columns) - {shape.key, *shape.changing}
    strings = [name for name in fixed if isinstance(getattr(row, name), str) and name != "operation"]
    new: dict[str, Any] = {f"new_{kind}s": [row]}
    write(ledger, **new)
    other: dict[str, Any] = {name: "another" for name in strings if name != "payment_id"}
    changed: dict[str, Any] = {f"{kind}s": [replace(row, **other)]}
    write(ledger, **changed)

    loaded = load(ledger, payment_ids={PAYMENT}, refund_ids={REFUND})
    assert list(getattr(loaded, f"{kind}s").values()) == [row]


def test_a_change_of_one_row_leaves_the_others_alone(ledger: Ledger) -> None:
    first, second, third = payments_named(3)
    write(ledger, new_payments=[first, second, third])
    changed = replace(second, status=PaymentStatus.PENDING)
    write(ledger, payments=[changed])

    loaded = load(ledger, payment_ids={p.payment_id for p in (first, second, third)})
    assert list(loaded.payments.values()) == [first, changed, third]


def test_many_rows_with_and_without_a_value_are_written_in_one_turn(ledger: Ledger) -> None:
    refunds = [
        a_refund(refund_id=RefundId(f"ref_{n}"), amount=n or None, currency="EUR" if n % 2 else None)
        for n in range(500)
    ]
    write(ledger, new_refunds=refunds)

    assert load(ledger, payment_ids={PAYMENT}).refunds == {refund.refund_id: refund for refund in refunds}


def test_an_amount_beyond_64_bits_is_an_error_that_writes_nothing(ledger: Ledger, url: str) -> None:
    with pytest.raises((LedgerError, OverflowError)):
        write(ledger, new_payments=[a_payment(requested=2**63)])

    assert count(url, "payments") == 0


def test_a_journal_is_stored_with_its_entries_in_order(ledger: Ledger, url: str) -> None:
    journal = sale(an_attempt(), LATER)
    write(ledger, journals=[journal])

    heading = raw.run(
        url, "SELECT journal_id, journal_type, source_id, payment_id, refund_id, currency FROM journals"
    )
    lines = raw.run(
        url, "SELECT line_no, account, layer, side, amount, gateway, payment_id FROM entries ORDER BY 1"
    )
    assert heading == [("pay_1.a1/J10s", "J10s", "pay_1.a1", "pay_1", None, "EUR")]
    assert lines == [
        (1, 1100, "posted", "D", 1999, "stripe", "pay_1"),
        (2, 2100, "posted", "C", 1999, "stripe", "pay_1"),
    ]


def test_an_event_is_read_as_it_was_written(ledger: Ledger) -> None:
    event = an_event(headers={"a": AWKWARD, "b": ""}, body=bytes(range(256)), created_at=LATER)
    write(ledger, events=[event])

    assert ledger.stale_events(before=LATER + MICROSECOND, limit=10) == [event]


def test_an_audit_line_is_stored_whole_and_at_the_end_of_a_chain(ledger: Ledger, url: str) -> None:
    line = an_audit_line(payment_id=None, details=f'{{"a":"{AWKWARD}"}}', actor=AWKWARD)
    write(ledger, audit=[an_audit_line(), line])

    found = raw.run(url, "SELECT position, actor, payment_id, details FROM audit ORDER BY position")
    assert found == [(1, "/order-service", "pay_1", "{}"), (2, AWKWARD, None, line.details)]
    assert raw.run(url, "SELECT position FROM audit_heads WHERE position > 0") == [(2,)]


# --- what a load finds ---


def test_what_is_not_there_is_not_found(ledger: Ledger) -> None:
    loaded = load(
        ledger,
        messages={("/order-service", "msg_1")},
        payment_ids={PAYMENT},
        timer_payment_ids={"pay_2"},
        order_ids={"1001"},
        capture_ids={CAPTURE},
        refund_ids={REFUND},
        callbacks={("stripe", "evt_1")},
    )

    assert loaded == Loaded()


def test_a_payment_brings_its_attempts_and_no_others(ledger: Ledger) -> None:
    second = attempt_named("pay_1.a2")
    others = attempt_named("pay_2.a1", payment_id=PaymentId("pay_2"))
    write(ledger, new_attempts=[an_attempt(), second, others, FULL_ATTEMPT])

    assert set(load(ledger, payment_ids={PAYMENT}).attempts) == {"pay_1.a1", "pay_1.a2", "ref_1.r1"}


def test_a_payment_brings_its_waiting_refunds_and_others_only_if_asked_for(ledger: Ledger) -> None:
    ended = a_refund(refund_id=RefundId("ref_2"), status=RefundStatus.FAILED, due_at=None)
    write(ledger, new_refunds=[a_refund(), ended])

    assert set(load(ledger, payment_ids={PAYMENT}).refunds) == {"ref_1"}
    assert set(load(ledger, timer_payment_ids={PAYMENT}).refunds) == {"ref_1"}
    assert set(load(ledger, payment_ids={PAYMENT}, refund_ids={"ref_2"}).refunds) == {"ref_1", "ref_2"}


def test_a_message_is_known_by_its_source_and_id_together(ledger: Ledger) -> None:
    write(ledger, inbox=[an_inbox_row(), an_inbox_row(source="/shop", body_hash="other")])

    loaded = load(ledger, messages={("/order-service", "msg_1"), ("/shop", "msg_1"), ("/else", "msg_1")})
    assert loaded.inbox == {("/order-service", "msg_1"): "hash", ("/shop", "msg_1"): "other"}


@pytest.mark.parametrize("status", PaymentStatus)
def test_an_order_is_taken_until_its_payment_ends_without_money(
    ledger: Ledger, status: PaymentStatus
) -> None:
    write(ledger, new_payments=[a_payment(status=status)])

    taken = load(ledger, order_ids={"1001"}).order_paid_by
    assert taken == ({} if status in OVER_WITHOUT_MONEY else {"1001": PAYMENT})


def test_only_the_payments_own_unpublished_events_are_told(ledger: Ledger) -> None:
    events = [
        an_event(),
        an_event(sequence=2),
        an_event(sequence=3),
        an_event(stream="pay_2", subject="pay_2"),
    ]
    write(ledger, events=events)
    write(ledger, published=[("pay_1", 2)], published_at=NOON)

    assert load(ledger, payment_ids={PAYMENT}).unpublished == {("pay_1", 1), ("pay_1", 3)}


# --- all or nothing ---


def test_a_turn_writes_to_every_table(ledger: Ledger, url: str) -> None:
    write(ledger, replace(everything(), new_refunds=[a_refund()]))

    written = counts(url)
    assert written.pop("entries") == 2
    assert set(written.values()) == {1}


def test_an_exception_undoes_the_whole_turn(ledger: Ledger, url: str) -> None:
    def fail() -> None:
        with ledger.turn() as turn:
            turn.load(Wanted())
            turn.write(everything())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert set(counts(url).values()) == {0}
    assert raw.run(url, "SELECT DISTINCT position FROM audit_heads") == [(0,)]
    write(ledger, everything())
    assert count(url, "payments") == 1


def test_a_turn_that_writes_nothing_changes_nothing(ledger: Ledger, url: str) -> None:
    write(ledger, Changes())

    assert set(counts(url).values()) == {0}


REPEATS: list[Callable[[], Changes]] = [
    lambda: Changes(inbox=[an_inbox_row(body_hash="another")]),
    lambda: Changes(new_payments=[a_payment(order_id="1002")]),
    lambda: Changes(new_attempts=[an_attempt(payment_id=PaymentId("pay_2"))]),
    lambda: Changes(new_refunds=[a_refund()]),
    lambda: Changes(journals=[sale(an_attempt(), NOON)]),
    lambda: Changes(events=[an_event(subject="another")]),
    lambda: Changes(new_payments=[a_payment(payment_id=PaymentId("pay_2"))]),
]


@pytest.mark.parametrize(
    "repeat", REPEATS, ids=["message", "payment", "attempt", "refund", "journal", "event", "order"]
)
def test_what_is_there_already_is_a_conflict_and_nothing_is_written(
    ledger: Ledger, url: str, repeat: Callable[[], Changes]
) -> None:
    write(ledger, replace(everything(), new_refunds=[a_refund()]))
    before = counts(url)
    changes = repeat()
    changes.audit.append(an_audit_line())
    changes.new_payments.append(a_payment(payment_id=PaymentId("pay_9"), order_id="9"))

    with pytest.raises(Conflict):
        write(ledger, changes)

    assert counts(url) == before
    write(ledger, inbox=[an_inbox_row(message_id="msg_9")])


def test_a_payment_that_ends_frees_its_order_for_one_that_begins_in_the_same_turn(ledger: Ledger) -> None:
    write(ledger, new_payments=[a_payment()])
    second = a_payment(payment_id=PaymentId("pay_2"))
    write(ledger, payments=[a_payment(status=PaymentStatus.DECLINED)], new_payments=[second])

    assert load(ledger, order_ids={"1001"}).order_paid_by == {"1001": "pay_2"}


REFUSALS: list[tuple[Callable[[], Changes], str]] = [
    (lambda: Changes(new_payments=[a_payment(requested=-1)]), "ck_payments_amounts_not_negative"),
    (lambda: Changes(new_payments=[a_payment(refunded=1)]), "ck_payments_no_over_refund"),
    (lambda: Changes(new_payments=[a_payment(captured_gross=1)]), "ck_payments_no_over_capture"),
    (lambda: Changes(new_attempts=[an_attempt(due_at=None)]), "ck_attempts_open_has_due_at"),
    (lambda: Changes(new_attempts=[an_attempt(amount=0)]), "ck_attempts_amount_positive"),
    (lambda: Changes(new_refunds=[a_refund(amount=0)]), "ck_refunds_amount_positive"),
    (lambda: Changes(new_refunds=[a_refund(due_at=None)]), "ck_refunds_waiting_has_due_at"),
]


@pytest.mark.parametrize(("make", "constraint"), REFUSALS, ids=[constraint for _, constraint in REFUSALS])
def test_a_refusal_names_the_constraint_and_nothing_is_written(
    ledger: Ledger, url: str, make: Callable[[], Changes], constraint: str
) -> None:
    changes = make()
    changes.audit.append(an_audit_line())
    with pytest.raises(Refused, match=constraint):
        write(ledger, changes)

    assert set(counts(url).values()) == {0}


def _unchecked(**fields: Any) -> Journal:
    """A journal that Python would not build."""
    journal = sale(an_attempt(), NOON)
    for name, value in fields.items():
        object.__setattr__(journal, name, value)
    return journal


def test_a_journal_that_does_not_balance_is_refused_by_the_database_too(ledger: Ledger, url: str) -> None:
    debit, credit = sale(an_attempt(), NOON).entries
    for entries in ((debit,), (debit, replace(credit, amount=1)), ()):
        with pytest.raises(Refused, match="journal_balances"):
            write(
                ledger,
                journals=[sale(an_attempt(attempt_id=AttemptId("x")), NOON), _unchecked(entries=entries)],
            )

    assert count(url, "journals") == count(url, "entries") == 0


def test_layers_balance_each_alone(ledger: Ledger, url: str) -> None:
    debit, credit = sale(an_attempt(), NOON).entries
    memo = authorization(an_attempt(), NOON).entries[0]
    with pytest.raises(Refused, match="journal_balances"):
        write(ledger, journals=[_unchecked(entries=(debit, replace(credit, layer=memo.layer)))])

    assert count(url, "journals") == 0


# --- the outbox ---


def test_a_rejection_is_written_once_and_announced_again(ledger: Ledger, url: str) -> None:
    rejection = an_event(stream="rej_1", subject="pay_1", type="CommandRejected")
    write(ledger, rejections=[rejection])
    write(ledger, published=[rejection.key], published_at=NOON)
    assert ledger.stale_events(before=LATER, limit=10) == []

    write(ledger, rejections=[replace(rejection, created_at=LATER)])

    assert ledger.stale_events(before=LATER, limit=10) == [rejection]
    assert count(url, "outbox") == 1


def test_the_latest_event_of_a_subject_is_announced_again(ledger: Ledger) -> None:
    events = [
        an_event(),
        an_event(sequence=2, subject="ref_1"),
        an_event(sequence=3),
        an_event(sequence=4, subject="ref_1"),
        an_event(stream="pay_2", subject="ref_1", sequence=9),
    ]
    write(ledger, events=events)
    write(ledger, published=[event.key for event in events], published_at=NOON)

    write(ledger, announce_again={("pay_1", "pay_1"), ("pay_1", "ref_1"), ("pay_3", "pay_3")})

    again = [event.key for event in ledger.stale_events(before=LATER, limit=10)]
    assert again == [("pay_1", 3), ("pay_1", 4)]


def test_an_event_confirmed_in_the_turn_that_asks_for_it_again_is_announced_again(ledger: Ledger) -> None:
    write(ledger, events=[an_event()])
    write(ledger, published=[("pay_1", 1)], published_at=NOON, announce_again={("pay_1", "pay_1")})

    assert [event.key for event in ledger.stale_events(before=LATER, limit=10)] == [("pay_1", 1)]


def test_only_confirmed_events_are_marked_and_with_the_time_they_were(ledger: Ledger, url: str) -> None:
    write(ledger, events=[an_event(), an_event(sequence=2), an_event(stream="pay_2")])
    write(ledger, published=[("pay_1", 2), ("pay_2", 1), ("pay_9", 9)], published_at=LATER)

    marked = raw.run(
        url, "SELECT stream, sequence FROM outbox WHERE published_at IS NOT NULL ORDER BY stream"
    )
    assert marked == [("pay_1", 2), ("pay_2", 1)]


def _event_at(number: int, seconds: float) -> OutboxEvent:
    return an_event(stream=f"pay_{number}", created_at=at(seconds))


def test_stale_events_are_the_old_unpublished_ones_in_the_order_they_were_written(ledger: Ledger) -> None:
    for number, seconds in ((1, 3), (2, 1), (3, 10), (4, 2), (5, 0)):
        write(ledger, events=[_event_at(number, seconds)])
    write(ledger, published=[("pay_4", 1)], published_at=NOON)

    assert [e.stream for e in ledger.stale_events(before=at(10), limit=10)] == ["pay_1", "pay_2", "pay_5"]
    assert [e.stream for e in ledger.stale_events(before=at(10), limit=2)] == ["pay_1", "pay_2"]


def test_events_of_one_turn_keep_their_order(ledger: Ledger) -> None:
    events = [an_event(stream=f"pay_{n * 7919 % 500}", sequence=n) for n in range(500)]
    write(ledger, events=events)

    assert ledger.stale_events(before=LATER, limit=500) == events


# --- timers and leases ---


def test_what_is_due_comes_the_longest_overdue_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    write(
        ledger,
        new_attempts=[
            attempt_named("a3", due_at=at(3)),
            attempt_named("a1", due_at=at(1)),
            attempt_named("a9", due_at=at(9)),
            attempt_named("r5", due_at=at(5), refund_id=REFUND),
            attempt_named("over", due_at=None, state=AttemptState.FAILED),
        ],
        new_captures=[a_capture(due_at=at(4))],
        new_refunds=[a_refund(due_at=at(2)), a_refund(refund_id=RefundId("ref_8"), due_at=at(8))],
    )

    due = ledger.due(now=at(5), limit=10)

    assert due == [
        Due(payment_id=PAYMENT, attempt_id=AttemptId("a1"), capture_id=None, refund_id=None, due_at=at(1)),
        Due(payment_id=PAYMENT, attempt_id=None, capture_id=None, refund_id=REFUND, due_at=at(2)),
        Due(payment_id=PAYMENT, attempt_id=AttemptId("a3"), capture_id=None, refund_id=None, due_at=at(3)),
        Due(payment_id=PAYMENT, attempt_id=None, capture_id=CAPTURE, refund_id=None, due_at=at(4)),
        Due(payment_id=PAYMENT, attempt_id=AttemptId("r5"), capture_id=None, refund_id=REFUND, due_at=at(5)),
    ]
    assert ledger.due(now=at(5), limit=2) == due[:2]
    assert ledger.due(now=at(1) - MICROSECOND, limit=10) == []


def test_a_lease_is_one_workers_until_it_runs_out(ledger: Ledger) -> None:
    def claim(holder: str, now: float) -> bool:
        return ledger.claim("relay", holder=holder, now=at(now), until=at(now + 15))

    assert claim("a", 0)
    assert not claim("b", 1)
    assert not claim("b", 15)
    assert claim("a", 15), "its own lease may be kept"
    assert not claim("b", 30)
    assert claim("b", 30.000_001)
    assert not claim("a", 31)
    assert ledger.claim("another", holder="a", now=at(31), until=at(32))


# --- the database itself ---


def test_a_database_without_tables_says_what_to_run(tmp_path: Any, database: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'empty.db'}", database):
        ledger = Ledger(url, keyring=KEYRING)
        for ask in (
            ledger.ping,
            lambda ledger=ledger: write(ledger),
            lambda ledger=ledger: ledger.due(now=NOON, limit=1),
            lambda ledger=ledger: ledger.stale_events(before=NOON, limit=1),
            lambda ledger=ledger: ledger.claim("relay", holder="a", now=NOON, until=LATER),
        ):
            with pytest.raises(NotMigrated, match="payments migrate"):
                ask()
        ledger.close()


def test_a_database_older_than_the_code_says_what_to_run(url: str, ledger: Ledger) -> None:
    raw.run(url, "DROP INDEX ix_payments_attention", "ALTER TABLE payments DROP COLUMN attention")

    with pytest.raises(NotMigrated, match="payments migrate"):
        load(ledger, payment_ids={PAYMENT})
    with pytest.raises(NotMigrated, match="payments migrate"):
        write(ledger, new_payments=[a_payment()])


def test_a_database_without_audit_chains_says_what_to_run(url: str, ledger: Ledger) -> None:
    raw.run(url, "DELETE FROM audit_heads")

    with pytest.raises(NotMigrated, match="payments migrate"):
        load(ledger)
    with pytest.raises(NotMigrated, match="payments migrate"):
        ledger.ping()


def test_a_ping_of_healthy_books_says_nothing(ledger: Ledger) -> None:
    ledger.ping()


def test_a_refund_and_its_reserve_are_written_together(ledger: Ledger, url: str) -> None:
    payment, refund = a_captured_payment(refund_pending=500), replace(FULL_REFUND, due_at=None)
    refund = replace(refund, status=RefundStatus.SUBMITTED)
    journal = refund_reserved(payment, refund, 500, NOON)
    write(ledger, new_payments=[payment], new_refunds=[refund], journals=[journal])

    assert raw.run(url, "SELECT DISTINCT refund_id FROM entries") == [(REFUND,)]


def test_an_error_of_the_database_does_not_quote_what_it_was_given(url: str) -> None:
    engine = open_engine(url)
    try:
        with engine.connect() as connection, pytest.raises(DBAPIError) as failed:
            connection.execute(text("SELECT * FROM no_such_table WHERE a = :a"), {"a": "a-secret-token"})
    finally:
        engine.dispose()

    assert "a-secret-token" not in str(failed.value)
