"""Proof finds whatever is done to the books behind the ledger's back, and says where."""

from __future__ import annotations

import re

import pytest

from ledger.ledger import Ledger
from ledger.records import Changes
from ledger.verify import verify
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.shop import a_shop, audit_line, take, write


@pytest.fixture
def books(url: str) -> str:
    """Books with a bit of everything in them, all in chain 0."""
    ledger = Ledger(url, keyring=KEYRING)
    a_shop(ledger)
    ledger.close()
    return url


def problems(url: str) -> str:
    """All that is found, a line each."""
    return "\n".join(verify(url).problems)


def test_books_nobody_has_touched_have_no_problems(books: str) -> None:
    report = verify(books)

    assert report.problems == []
    assert report.counts == {
        "payments": 6,
        "captures": 0,
        "refunds": 4,
        "journals": 10,
        "entries": 20,
        "callbacks": 0,
        "audit": 16,
    }


def test_empty_books_have_no_problems(url: str) -> None:
    assert verify(url).problems == []


def test_progress_is_told_as_the_chain_is_read(books: str) -> None:
    told: list[tuple[str, int]] = []

    verify(books, progress=lambda what, done: told.append((what, done)))

    assert told[-1] == ("audit chain", 16)


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody'",
        "action = 'Declined'",
        "payment_id = 'pay_2'",
        "payment_id = NULL",
        "subject = 'pay_2.a1'",
        "cause = 'msg_2'",
        "result = 'other'",
        "details = '{}'",
        "details = 'no JSON with \"journals\"'",
        "happened_at = '2026-11-22 12:00:00.000001+00:00'",
    ],
)
def test_a_change_in_any_column_of_an_audit_row_is_found_at_its_row(books: str, change: str) -> None:
    raw.tamper(books, f"UPDATE audit SET {change} WHERE shard = 0 AND position = 2")

    found = verify(books).problems

    assert "audit shard 0 row 2: it was changed, or the row before it" in found
    assert not any(re.search(r"audit shard 0 row [13]:", problem) for problem in found)


def test_a_changed_hash_is_found_at_its_row_and_the_next(books: str) -> None:
    forged = "'\\x00'" if books.startswith("postgresql") else "x'00'"
    raw.tamper(books, f"UPDATE audit SET hash = {forged} WHERE shard = 0 AND position = 2")

    assert "audit shard 0 row 2:" in problems(books)
    assert "audit shard 0 row 3:" in problems(books)


def test_a_removed_audit_row_is_found_where_it_is_missing(books: str) -> None:
    raw.tamper(books, "DELETE FROM audit WHERE shard = 0 AND position = 3")

    assert "audit shard 0: rows 3 to 3 are missing" in problems(books)


def test_a_removed_first_row_is_found(books: str) -> None:
    raw.tamper(books, "DELETE FROM audit WHERE shard = 0 AND position = 1")

    assert "audit shard 0: rows 1 to 1 are missing" in problems(books)


def test_swapped_audit_rows_are_found(books: str) -> None:
    raw.tamper(
        books,
        "UPDATE audit SET position = -1 WHERE shard = 0 AND position = 3",
        "UPDATE audit SET position = 3 WHERE shard = 0 AND position = 4",
        "UPDATE audit SET position = 4 WHERE shard = 0 AND position = -1",
    )

    assert "audit shard 0 row 3:" in problems(books)
    assert "audit shard 0 row 4:" in problems(books)


def test_a_chain_that_is_cut_off_is_found_by_its_head(books: str) -> None:
    raw.tamper(books, "DELETE FROM audit WHERE shard = 0 AND position > 10")

    assert "audit shard 0: it ends at row 10, its head says 16: cut off or forged" in problems(books)


def test_a_chain_cut_off_together_with_its_head_is_found_by_the_journals(books: str) -> None:
    raw.tamper(
        books,
        "DELETE FROM audit WHERE shard = 0 AND position > 3",
        "UPDATE audit_heads SET position = 3, hash = (SELECT hash FROM audit WHERE shard = 0 AND position = 3)"
        " WHERE shard = 0",
    )

    assert "audit shard" not in problems(books)
    assert "journal pay_4.a1/J10s: no audit row tells of it" in problems(books)


def test_a_chain_removed_with_its_head_is_found(books: str) -> None:
    raw.tamper(books, "DELETE FROM audit_heads WHERE shard = 7")

    assert "audit shard 7: its head is gone; 0 rows are there" in problems(books)


def test_an_inserted_audit_row_is_found(books: str) -> None:
    raw.tamper(
        books,
        "INSERT INTO audit SELECT shard, position + 1, actor, action, payment_id, subject, cause, result, details,"
        " happened_at, hash FROM audit WHERE shard = 0 AND position = 16",
    )

    assert "audit shard 0 row 17:" in problems(books)
    assert "audit shard 0: it ends at row 17, its head says 16: cut off or forged" in problems(books)


def test_a_row_moved_to_another_chain_is_found(books: str) -> None:
    raw.tamper(books, "UPDATE audit SET shard = 99, position = 1 WHERE shard = 0 AND position = 16")

    assert "audit shard 99 row 1:" in problems(books)
    assert "audit shard 99: its head is gone; 1 rows are there" in problems(books)
    assert "audit shard 0: it ends at row 15, its head says 16" in problems(books)


@pytest.mark.parametrize(
    "change",
    [
        "payment_id = 'pay_2'",
        "refund_id = 'ref_1'",
        "gateway = 'other'",
        "currency = 'USD'",
        "effective_at = '2026-11-22 12:00:00.000001+00:00'",
    ],
)
def test_a_changed_heading_of_a_journal_is_found(books: str, change: str) -> None:
    raw.tamper(books, f"UPDATE journals SET {change} WHERE journal_id = 'pay_1.a1/J10s'")

    assert "journal pay_1.a1/J10s: it was changed since audit shard 0 row 2 was written" in problems(books)


@pytest.mark.parametrize("change", ["journal_type = 'J10'", "source_id = 'pay_2.a1'"])
def test_a_changed_name_of_a_journal_is_found(books: str, change: str) -> None:
    raw.tamper(books, f"UPDATE journals SET {change} WHERE journal_id = 'pay_1.a1/J10s'")

    assert "journal pay_1.a1/J10s: its type or source was changed" in problems(books)


@pytest.mark.parametrize(
    "change", ["account = 2200", "layer = 'memo'", "side = 'C'", "amount = amount + 1", "line_no = 7"]
)
def test_a_changed_entry_is_found_in_its_journal(books: str, change: str) -> None:
    raw.tamper(books, f"UPDATE entries SET {change} WHERE journal_id = 'pay_1.a1/J10s' AND line_no = 1")

    assert "journal pay_1.a1/J10s: it was changed since audit shard 0 row 2 was written" in problems(books)


@pytest.mark.parametrize(
    "change", ["gateway = 'other'", "currency = 'USD'", "payment_id = 'pay_2'", "refund_id = 'ref_1'"]
)
def test_an_entry_that_differs_from_its_journal_is_found(books: str, change: str) -> None:
    raw.tamper(books, f"UPDATE entries SET {change} WHERE journal_id = 'pay_1.a1/J10s' AND line_no = 2")

    assert "entry pay_1.a1/J10s line 2: it does not belong to its journal" in problems(books)


def test_amounts_changed_so_that_they_still_balance_are_found(books: str) -> None:
    raw.tamper(books, "UPDATE entries SET amount = 1 WHERE journal_id = 'pay_1.a1/J10s'")

    assert "journal pay_1.a1/J10s: it was changed since" in problems(books)
    assert "payment pay_1: captured 1999 on the payment, 1999 by attempts, 1 booked" in problems(books)
    assert "off by" not in problems(books)


def test_a_journal_out_of_balance_is_found_with_its_difference(books: str) -> None:
    raw.tamper(books, "UPDATE entries SET amount = 2000 WHERE journal_id = 'pay_1.a1/J10s' AND side = 'D'")

    assert "journal pay_1.a1/J10s: posted EUR is off by 1 minor units" in problems(books)


def test_a_removed_journal_is_found(books: str) -> None:
    raw.tamper(
        books,
        "DELETE FROM entries WHERE journal_id = 'pay_4.a1/J10s'",
        "DELETE FROM journals WHERE journal_id = 'pay_4.a1/J10s'",
    )

    assert "journal pay_4.a1/J10s: it is gone (audit shard 0 row 8 tells of it)" in problems(books)
    assert "attempt pay_4.a1: sale succeeded and the books disagree" in problems(books)


@pytest.mark.parametrize("what", ["entries", "journals"])
def test_half_a_removed_journal_is_found(books: str, what: str) -> None:
    raw.tamper(books, f"DELETE FROM {what} WHERE journal_id = 'pay_4.a1/J10s'")

    assert "journal pay_4.a1/J10s: it is gone" in problems(books)


def test_a_journal_slipped_in_is_found_even_if_another_is_gone(books: str) -> None:
    raw.tamper(
        books,
        "UPDATE entries SET journal_id = 'pay_4.a9/J10s' WHERE journal_id = 'pay_4.a1/J10s'",
        "UPDATE journals SET journal_id = 'pay_4.a9/J10s', source_id = 'pay_4.a9'"
        " WHERE journal_id = 'pay_4.a1/J10s'",
    )

    assert "journal pay_4.a1/J10s: it is gone" in problems(books)
    assert "journal pay_4.a9/J10s: no audit row tells of it" in problems(books)


@pytest.mark.parametrize(
    "change",
    [
        "captured_gross = 1998",
        "authorized = 2000",
        "released = 1",
        "refunded = 499",
        "refund_pending = 1",
    ],
)
def test_an_amount_changed_on_a_payment_is_found(books: str, change: str) -> None:
    raw.tamper(books, f"UPDATE payments SET {change} WHERE payment_id = 'pay_1'")

    assert "payment pay_1: captured" in problems(books)
    assert "payment pay_2" not in problems(books)


def test_an_amount_changed_on_a_refund_is_found(books: str) -> None:
    raw.tamper(books, "UPDATE refunds SET amount = 499 WHERE refund_id = 'ref_1'")

    expected = "payment pay_1: its refunds make 499 refunded and 0 under way, it says 500 and 0"
    assert expected in problems(books)


@pytest.mark.parametrize(
    ("attempt", "state"), [("pay_1.a1", "failed"), ("ref_1.r1", "declined"), ("ref_2.r1", "succeeded")]
)
def test_an_attempt_whose_end_was_changed_is_found(books: str, attempt: str, state: str) -> None:
    raw.tamper(books, f"UPDATE attempts SET state = '{state}' WHERE attempt_id = '{attempt}'")

    assert f"attempt {attempt}:" in problems(books)


def test_a_removed_payment_is_found_by_what_it_leaves(books: str) -> None:
    raw.tamper(books, "DELETE FROM payments WHERE payment_id = 'pay_4'")

    assert "attempts pay_4.a1: its payment pay_4 is gone" in problems(books)
    assert "journals pay_4.a1/J10s: its payment pay_4 is gone" in problems(books)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM outbox WHERE stream = 'pay_1' AND sequence = 1",
        "DELETE FROM outbox WHERE stream = 'pay_1' AND sequence = 2",
        "UPDATE outbox SET sequence = 3 WHERE stream = 'pay_1' AND sequence = 2",
        "UPDATE outbox SET sequence = 0 WHERE stream = 'pay_1' AND sequence = 1",
        "UPDATE payments SET sequence = 3 WHERE payment_id = 'pay_1'",
    ],
)
def test_a_gap_in_a_payments_events_is_found(books: str, change: str) -> None:
    raw.tamper(books, change)

    assert re.search(r"payment pay_1: \d events up to number \d, it says \d", problems(books))


def test_many_chunks_are_as_good_as_one(url: str, ledger: Ledger) -> None:
    take(ledger)
    for start in range(0, 5000, 1000):
        write(ledger, Changes(audit=[audit_line(f"pay_{number}") for number in range(start, start + 1000)]))
    raw.tamper(url, "UPDATE audit SET cause = 'x' WHERE shard = 0 AND position = 4321")

    assert verify(url).problems == ["audit shard 0 row 4321: it was changed, or the row before it"]
