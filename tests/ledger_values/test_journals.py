"""The journals (books, 5.8): accounts, sides, layers and amounts of each; none can be out of balance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import NORMAL_SIDE, Account, Layer, Side
from ledger.journals import (
    Entry,
    Journal,
    Unbalanced,
    authorization,
    captured,
    digest,
    refund_failed,
    refund_reserved,
    refund_succeeded,
    release,
    sale,
)
from ledger.states import Attempt
from messages.ids import AttemptId, PaymentId, RefundId
from messages.operation import Operation
from tests.builders import NOON, PAYMENT, REFUND, a_captured_payment, a_refund, an_attempt

MEMO, POSTED = Layer.MEMO, Layer.POSTED
DEBIT, CREDIT = Side.DEBIT, Side.CREDIT

LATER = NOON + timedelta(minutes=1)


def op(operation: Operation, amount: int, number: int = 1) -> Attempt:
    """A call intent of the payment."""
    return an_attempt(
        attempt_id=AttemptId(f"{PAYMENT}.a{number}"), operation=operation, amount=amount, reference="pi_1"
    )


def refund_op(amount: int) -> Attempt:
    """A call intent of the refund."""
    return an_attempt(
        attempt_id=AttemptId(f"{REFUND}.r1"), refund_id=REFUND, operation=Operation.REFUND, amount=amount
    )


def reserved(amount: int) -> Journal:
    """J30 of the refund."""
    return refund_reserved(a_captured_payment(), a_refund(), amount, LATER)


Line = tuple[int, Layer, Side, int]


def lines(journal: Journal) -> set[Line]:
    """A journal's entries, whatever their order."""
    written = [(int(entry.account), entry.layer, entry.side, entry.amount) for entry in journal.entries]
    assert len(written) == len(set(written))
    return set(written)


# --- each journal ---

CATALOGUE: list[tuple[str, Journal, str, set[Line]]] = [
    (
        "J01",
        authorization(op(Operation.AUTHORIZE, 100), LATER),
        "pay_1.a1",
        {(9100, MEMO, DEBIT, 100), (9200, MEMO, CREDIT, 100)},
    ),
    (
        "J03",
        release(op(Operation.VOID, 100, 2), 10, LATER),
        "pay_1.a2",
        {(9200, MEMO, DEBIT, 10), (9100, MEMO, CREDIT, 10)},
    ),
    (
        "J10",
        captured(op(Operation.CAPTURE, 60, 2), 100, LATER),
        "pay_1.a2",
        {
            (9200, MEMO, DEBIT, 60),
            (9100, MEMO, CREDIT, 60),
            (1100, POSTED, DEBIT, 60),
            (2100, POSTED, CREDIT, 60),
        },
    ),
    (
        "J10",
        captured(op(Operation.CAPTURE, 60, 2), 40, LATER),
        "pay_1.a2",
        {
            (9200, MEMO, DEBIT, 40),
            (9100, MEMO, CREDIT, 40),
            (1100, POSTED, DEBIT, 60),
            (2100, POSTED, CREDIT, 60),
        },
    ),
    (
        "J10",
        captured(op(Operation.CAPTURE, 60, 2), 0, LATER),
        "pay_1.a2",
        {(1100, POSTED, DEBIT, 60), (2100, POSTED, CREDIT, 60)},
    ),
    (
        "J10s",
        sale(op(Operation.SALE, 100), LATER),
        "pay_1.a1",
        {(1100, POSTED, DEBIT, 100), (2100, POSTED, CREDIT, 100)},
    ),
    ("J30", reserved(20), "ref_1", {(2100, POSTED, DEBIT, 20), (2200, POSTED, CREDIT, 20)}),
    (
        "J31",
        refund_succeeded(refund_op(20), LATER),
        "ref_1.r1",
        {(2200, POSTED, DEBIT, 20), (1100, POSTED, CREDIT, 20)},
    ),
    (
        "J32",
        refund_failed(refund_op(20), LATER),
        "ref_1.r1",
        {(2200, POSTED, DEBIT, 20), (2100, POSTED, CREDIT, 20)},
    ),
]


@pytest.mark.parametrize(
    ("kind", "journal", "source", "entries"), CATALOGUE, ids=[row[0] for row in CATALOGUE]
)
def test_a_journal_moves_the_accounts_of_the_catalogue(
    kind: str, journal: Journal, source: str, entries: set[Line]
) -> None:
    assert lines(journal) == entries
    assert (journal.journal_type, journal.source_id, journal.journal_id) == (kind, source, f"{source}/{kind}")
    assert (journal.payment_id, journal.gateway, journal.currency) == ("pay_1", "stripe", "EUR")
    assert journal.effective_at == LATER


@pytest.mark.parametrize("journal", [row[1] for row in CATALOGUE], ids=[row[0] for row in CATALOGUE])
def test_only_a_refunds_journals_carry_the_refund(journal: Journal) -> None:
    assert journal.refund_id == (REFUND if journal.journal_type in ("J30", "J31", "J32") else None)


@pytest.mark.parametrize("journal", [row[1] for row in CATALOGUE], ids=[row[0] for row in CATALOGUE])
def test_holds_are_never_money(journal: Journal) -> None:
    holds = {Account.AUTHORIZATION_HOLD, Account.AUTHORIZATION_HOLD_CONTRA}

    assert all((entry.layer is MEMO) is (entry.account in holds) for entry in journal.entries)


@given(st.integers(1, 2**62), st.integers(0, 2**62))
def test_a_capture_takes_from_the_hold_what_is_there_and_no_more(amount: int, held: int) -> None:
    journal = captured(op(Operation.CAPTURE, amount), held, NOON)
    from_hold = [e.amount for e in journal.entries if e.account is Account.AUTHORIZATION_HOLD]
    taken = [e.amount for e in journal.entries if e.account is Account.GATEWAY_RECEIVABLE]

    assert sum(from_hold) == min(amount, held)
    assert taken == [amount]


# --- balance ---


def a_journal(*entries: Entry) -> Journal:
    """A journal of any entries."""
    return Journal(
        journal_type="J80",
        source_id="case_1",
        payment_id=PAYMENT,
        gateway="stripe",
        currency="EUR",
        entries=entries,
        effective_at=NOON,
    )


def entry(side: Side, amount: int, layer: Layer = POSTED) -> Entry:
    """A line on some account."""
    return Entry(Account.ORDER_CLEARING, layer, side, amount)


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (entry(DEBIT, 1),),
        (entry(DEBIT, 1), entry(CREDIT, 2)),
        (entry(DEBIT, 1), entry(DEBIT, 1)),
        (entry(DEBIT, 1), entry(CREDIT, 1), entry(DEBIT, 1)),
        (entry(DEBIT, 1, MEMO), entry(CREDIT, 1, POSTED)),
        (entry(DEBIT, 2), entry(CREDIT, 1), entry(CREDIT, 1, MEMO)),
        (entry(DEBIT, 0), entry(CREDIT, 0)),
        (entry(DEBIT, -1), entry(CREDIT, -1)),
        (entry(DEBIT, -1), entry(DEBIT, 1)),
    ],
    ids=[
        "empty",
        "one-sided",
        "unequal",
        "two debits",
        "a third line",
        "across layers",
        "a layer short",
        "zero",
        "negative",
        "negative cancels",
    ],
)
def test_what_does_not_balance_cannot_be_built(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(Unbalanced):
        a_journal(*entries)


@pytest.mark.parametrize("amount", [0, -1])
@pytest.mark.parametrize(
    "build",
    [
        lambda amount: authorization(op(Operation.AUTHORIZE, amount), NOON),
        lambda amount: release(op(Operation.VOID, 1), amount, NOON),
        lambda amount: captured(op(Operation.CAPTURE, amount), 100, NOON),
        lambda amount: sale(op(Operation.SALE, amount), NOON),
        reserved,
        lambda amount: refund_succeeded(refund_op(amount), NOON),
        lambda amount: refund_failed(refund_op(amount), NOON),
    ],
    ids=["J01", "J03", "J10", "J10s", "J30", "J31", "J32"],
)
def test_no_journal_books_nothing(build: Any, amount: int) -> None:
    with pytest.raises(Unbalanced):
        build(amount)


@given(st.lists(st.tuples(st.sampled_from(Layer), st.sampled_from(Side), st.integers(1, 9)), max_size=6))
def test_a_journal_is_built_if_and_only_if_each_layer_balances(raw: list[tuple[Layer, Side, int]]) -> None:
    sums: dict[Layer, int] = defaultdict(int)
    for layer, side, amount in raw:
        sums[layer] += amount if side is DEBIT else -amount
    entries = [Entry(Account.ORDER_CLEARING, layer, side, amount) for layer, side, amount in raw]

    if entries and not any(sums.values()):
        assert a_journal(*entries).entries == tuple(entries)
    else:
        with pytest.raises(Unbalanced):
            a_journal(*entries)


def test_a_journal_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        reserved(20).entries = ()  # type: ignore[misc]


# --- the worked example ---


def balances(journals: Iterable[Journal]) -> dict[int, int]:
    """Each account's balance, positive on its normal side; accounts that stand at zero are left out."""
    sums: dict[Account, int] = defaultdict(int)
    for journal in journals:
        for line in journal.entries:
            sums[line.account] += line.amount if line.side is NORMAL_SIDE[line.account] else -line.amount
    return {int(account): amount for account, amount in sums.items() if amount}


def test_worked_example_one_as_far_as_these_journals_go() -> None:
    # 100.00 held; 60.00 and 30.00 captured, 10.00 let go; 20.00 given back.
    held = [authorization(op(Operation.AUTHORIZE, 10_000, 1), NOON)]
    first = [*held, captured(op(Operation.CAPTURE, 6_000, 2), 10_000, NOON)]
    second = [*first, captured(op(Operation.CAPTURE, 3_000, 3), 4_000, NOON)]
    released = [*second, release(op(Operation.CAPTURE, 3_000, 3), 1_000, NOON)]
    reserve = [*released, reserved(2_000)]
    refunded = [*reserve, refund_succeeded(refund_op(2_000), NOON)]

    assert balances(held) == {9100: 10_000, 9200: 10_000}
    assert balances(first) == {9100: 4_000, 9200: 4_000, 1100: 6_000, 2100: 6_000}
    assert balances(second) == {9100: 1_000, 9200: 1_000, 1100: 9_000, 2100: 9_000}
    assert balances(released) == {1100: 9_000, 2100: 9_000}
    assert balances(reserve) == {1100: 9_000, 2100: 7_000, 2200: 2_000}
    assert balances(refunded) == {1100: 7_000, 2100: 7_000}
    assert len({journal.journal_id for journal in refunded}) == len(refunded)


def test_a_refund_that_failed_leaves_the_books_as_they_were() -> None:
    before = [sale(op(Operation.SALE, 10_000), NOON)]
    after = [*before, reserved(2_000), refund_failed(refund_op(2_000), NOON)]

    assert balances(after) == balances(before) == {1100: 10_000, 2100: 10_000}


def test_every_account_has_its_normal_side() -> None:
    sides = {int(account): side for account, side in NORMAL_SIDE.items()}

    assert sides == {
        1100: DEBIT,
        2100: CREDIT,
        2200: CREDIT,
        9100: DEBIT,
        9200: CREDIT,
    }


# --- fingerprints ---


def test_a_fingerprint_is_made_again_the_same_from_plain_values() -> None:
    journal = reserved(20)
    heading: list[str | None] = [
        "ref_1/J30",
        "pay_1",
        "ref_1",
        "stripe",
        "EUR",
        "2026-11-22T12:01:00.000000+00:00",
    ]
    plain = [(2100, "posted", "D", 20), (2200, "posted", "C", 20)]

    assert journal.digest() == digest(heading, plain)


@pytest.mark.parametrize(
    "change",
    [
        {"payment_id": PaymentId("pay_2")},
        {"gateway": "paypal"},
        {"currency": "USD"},
        {"refund_id": RefundId("ref_2")},
        {"effective_at": NOON},
        {"source_id": "ref_2"},
        {"journal_type": "J32"},
        {"entries": reserved(21).entries},
        {"entries": tuple(reversed(reserved(20).entries))},
        {"entries": refund_failed(refund_op(20), NOON).entries},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_fingerprint_changes_with_anything_that_was_booked(change: dict[str, Any]) -> None:
    assert replace(reserved(20), **change).digest() != reserved(20).digest()


def test_a_journal_of_another_refund_has_another_id() -> None:
    other = refund_reserved(a_captured_payment(), a_refund(refund_id=RefundId("ref_2")), 20, NOON)

    assert other.journal_id != reserved(20).journal_id
