"""What the database itself refuses, whoever asks: every guard broken with plain SQL."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from ledger.ledger import Ledger
from tests.ledger import raw
from tests.ledger.rows import attempt_named, counts, everything, write

REFUSED = (psycopg.IntegrityError, sqlite3.IntegrityError)

DEBIT = "('{journal}', 1, 1100, 'posted', 'D', {debit}, 'stripe', 'EUR', 'pay_1', NULL)"
CREDIT = "('{journal}', 2, 2100, 'posted', 'C', {credit}, 'stripe', '{currency}', 'pay_1', NULL)"
ENTRY_COLUMNS = "journal_id, line_no, account, layer, side, amount, gateway, currency, payment_id, refund_id"


def entries(journal: str = "x/J10s", *, debit: int = 5, credit: int = 5, currency: str = "EUR") -> str:
    """Two entries in plain SQL, balanced unless told otherwise."""
    lines = ", ".join((DEBIT, CREDIT)).format(journal=journal, debit=debit, credit=credit, currency=currency)
    return f"INSERT INTO entries ({ENTRY_COLUMNS}) VALUES {lines}"


def journal(journal_id: str = "x/J10s", *, kind: str = "J10s", source: str = "x") -> str:
    """A journal's row in plain SQL."""
    return (
        "INSERT INTO journals (journal_id, journal_type, source_id, payment_id, gateway, currency, effective_at)"
        f" VALUES ('{journal_id}', '{kind}', '{source}', 'pay_1', 'stripe', 'EUR', '2026-11-22 12:00:00+00:00')"
    )


@pytest.fixture
def booked(url: str, ledger: Ledger) -> str:
    """Books in which a payment was taken."""
    write(ledger, everything())
    return url


def refused(url: str, *statements: str) -> str:
    """What the database says no with, having changed nothing."""
    before = counts(url)
    with pytest.raises(REFUSED) as refusal:
        raw.run(url, *statements)

    assert counts(url) == before
    named = refusal.value.diag.constraint_name if isinstance(refusal.value, psycopg.Error) else None
    return str(named or refusal.value)


# --- what is booked stays as it is ---

APPEND_ONLY = ("journals", "entries", "audit")


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_written_down_cannot_be_changed(booked: str, table: str) -> None:
    assert "append_only" in refused(booked, f"UPDATE {table} SET payment_id = 'pay_2'")


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_written_down_cannot_be_removed(booked: str, table: str) -> None:
    assert "append_only" in refused(booked, f"DELETE FROM {table}")


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_written_down_cannot_be_replaced(booked: str, table: str) -> None:
    key = {"journals": "journal_id", "entries": "journal_id, line_no", "audit": "shard, position"}[table]
    copy = f"INTO {table} SELECT * FROM {table} WHERE true"
    upsert = f"INSERT {copy} ON CONFLICT ({key}) DO UPDATE SET payment_id = 'pay_2'"

    assert "append_only" in refused(booked, upsert)
    if booked.startswith("sqlite"):
        assert "append_only" in refused(booked, f"INSERT OR REPLACE {copy}") or table == "entries"


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_written_down_cannot_be_emptied_at_a_stroke(postgres_url: str, table: str) -> None:
    assert refused(postgres_url, f"TRUNCATE {table} CASCADE") == "append_only"


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_even_a_change_of_no_rows_is_refused_on_postgresql(postgres_url: str, table: str) -> None:
    assert refused(postgres_url, f"DELETE FROM {table} WHERE false") == "append_only"


# --- journals balance ---


def test_balanced_entries_and_then_their_journal_are_accepted(booked: str) -> None:
    raw.run(booked, entries(), journal())

    assert counts(booked)["journals"] == 2


@pytest.mark.parametrize(
    "unbalanced",
    [entries(debit=6), entries(credit=6), entries(currency="USD"), entries().replace("'C'", "'D'")],
    ids=["debit", "credit", "currency", "side"],
)
def test_a_journal_that_does_not_balance_is_refused(booked: str, unbalanced: str) -> None:
    assert "journal_balances" in refused(booked, unbalanced, journal())


def test_a_journal_whose_layers_balance_only_together_is_refused(booked: str) -> None:
    mixed = entries().replace("'posted', 'C'", "'memo', 'C'")

    assert "journal_balances" in refused(booked, mixed, journal())


def test_a_journal_without_entries_is_refused(booked: str) -> None:
    assert "journal_balances" in refused(booked, journal())


def test_a_journal_cannot_come_before_its_entries(booked: str) -> None:
    assert "journal_balances" in refused(booked, journal(), entries())


def test_one_bad_journal_among_good_ones_is_refused(booked: str) -> None:
    good = [
        statement
        for n in range(3)
        for statement in (entries(f"{n}/J01"), journal(f"{n}/J01", kind="J01", source=str(n)))
    ]

    assert "journal_balances" in refused(booked, *good, entries(debit=1), journal())


def test_amounts_whose_sum_is_beyond_64_bits_do_not_balance_by_accident(booked: str) -> None:
    huge = 2**63 - 1
    wrapping = (
        entries(debit=huge, credit=huge)
        + f", ('x/J10s', 3, 1100, 'posted', 'D', {huge}, 's', 'EUR', 'p', NULL)"
    )

    with pytest.raises((*REFUSED, sqlite3.OperationalError)):  # SQLite: "integer overflow"
        raw.run(booked, wrapping, journal())


def test_an_entry_cannot_be_added_to_a_sealed_journal(booked: str) -> None:
    late = entries("pay_1.a1/J10s").replace("', 1, ", "', 3, ").replace("', 2, ", "', 4, ")

    assert "journal_sealed" in refused(booked, late)


def test_an_entry_cannot_be_added_to_a_journal_sealed_in_the_same_transaction(booked: str) -> None:
    late = entries().replace("', 1, ", "', 3, ").replace("', 2, ", "', 4, ")

    assert "journal_sealed" in refused(booked, entries(), journal(), late)


def test_entries_without_a_journal_are_refused_at_the_commit(booked: str) -> None:
    name = refused(booked, entries())

    assert name in ("fk_entries_journal_id", "FOREIGN KEY constraint failed")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (entries(debit=0, credit=0), "ck_entries_amount_positive"),
        (entries(debit=-5, credit=-5), "ck_entries_amount_positive"),
        (entries().replace("posted", "other"), "ck_entries_layer_known"),
        (entries().replace("'D'", "'X'"), "ck_entries_side_known"),
        (entries().replace("1100", "NULL"), "account"),
        (journal(kind="J01"), "ck_journals_id_is_type_and_source"),
        (journal(source="y"), "ck_journals_id_is_type_and_source"),
    ],
)
def test_a_row_of_the_books_that_makes_no_sense_is_refused(
    booked: str, statement: str, constraint: str
) -> None:
    said = refused(booked, entries(), statement) if "journals" in statement else refused(booked, statement)

    assert constraint in said or said == "null value"


# --- payments, attempts, refunds ---

AMOUNTS = (
    "requested",
    "authorized",
    "released",
    "captured_gross",
    "capture_pending",
    "capture_reversed",
    "refunded",
    "refund_pending",
    "refunded_external",
    "disputed_open",
    "charged_back",
)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_no_amount_of_a_payment_is_negative(booked: str, amount: str) -> None:
    # A negative one also breaks a sum, and SQLite names whichever it looks at first.
    assert "ck_payments_" in refused(booked, f"UPDATE payments SET {amount} = -1")


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("authorized = 9, captured_gross = 10", "no_over_capture"),
        ("authorized = 9, captured_gross = 5, capture_pending = 5", "no_over_capture"),
        ("authorized = 9, captured_gross = 5, released = 5", "no_over_capture"),
        ("authorized = 9, capture_pending = 4, captured_gross = 3, released = 3", "no_over_capture"),
        ("authorized = 9, captured_gross = 9, refunded = 10", "no_over_refund"),
        ("authorized = 9, captured_gross = 9, refunded = 5, refund_pending = 5", "no_over_refund"),
        ("authorized = 9, captured_gross = 9, refund_pending = 10", "no_over_refund"),
        ("status = 'paid'", "status_known"),
        ("status = ''", "status_known"),
    ],
)
def test_a_payment_that_cannot_be_is_refused(booked: str, change: str, constraint: str) -> None:
    assert f"ck_payments_{constraint}" in refused(booked, f"UPDATE payments SET {change}")


@pytest.mark.parametrize(
    "change",
    [
        "authorized = 9, captured_gross = 9, refunded = 9",
        "authorized = 9, captured_gross = 4, capture_pending = 3, released = 2",
        # What the gateway says of money is always recorded, be it more than we know of (books, 5.1).
        "authorized = 9, captured_gross = 9, refunded = 9, refunded_external = 9, charged_back = 9",
        "authorized = 9, captured_gross = 9, capture_reversed = 10",
    ],
)
def test_a_payment_at_its_limits_is_accepted(booked: str, change: str) -> None:
    raw.run(booked, f"UPDATE payments SET {change}")

    assert raw.run(booked, "SELECT authorized FROM payments") == [(9,)]


@pytest.mark.parametrize("state", ["created", "sent", "pending", "action_required", "unknown"])
def test_an_open_attempt_is_looked_at_again(booked: str, state: str) -> None:
    said = refused(booked, f"UPDATE attempts SET state = '{state}', due_at = NULL")

    assert "ck_attempts_open_has_due_at" in said


def test_an_attempt_is_in_a_known_state_and_about_some_money(booked: str) -> None:
    assert "ck_attempts_" in refused(booked, "UPDATE attempts SET state = 'lost', due_at = NULL")
    assert "ck_attempts_amount_positive" in refused(booked, "UPDATE attempts SET amount = 0")


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ("'requested', NULL, NULL", "ck_refunds_waiting_has_due_at"),
        ("'submitted', NULL, '2026-11-22 12:00:00+00:00'", "ck_refunds_waiting_has_due_at"),
        ("'succeeded', NULL, '2026-11-22 12:00:00+00:00'", "ck_refunds_waiting_has_due_at"),
        ("'lost', NULL, NULL", "ck_refunds_status_known"),
        ("'submitted', 0, NULL", "ck_refunds_amount_positive"),
        ("'submitted', -1, NULL", "ck_refunds_amount_positive"),
    ],
)
def test_a_refund_that_cannot_be_is_refused(booked: str, values: str, constraint: str) -> None:
    at = "'2026-11-22 12:00:00+00:00'"
    said = refused(
        booked,
        "INSERT INTO refunds (refund_id, payment_id, request, request_hash, source, command_id, correlation_id,"
        " external, attempts, deadline_at, created_at, updated_at, status, amount, due_at)"
        f" VALUES ('ref_1', 'pay_1', '', '', '', '', '', false, 0, {at}, {at}, {at}, {values})",
    )

    assert constraint in said


@pytest.mark.parametrize("status", ["authorizing", "in_doubt", "authorized", "captured"])
def test_an_order_has_one_live_payment(booked: str, status: str) -> None:
    columns = _columns(booked, "payments")
    others = ", ".join({"payment_id": "'pay_2'", "status": f"'{status}'"}.get(name, name) for name in columns)
    said = refused(booked, f"INSERT INTO payments ({', '.join(columns)}) SELECT {others} FROM payments")

    assert said in ("uq_payments_live_order", "UNIQUE constraint failed: payments.order_id")


@pytest.mark.parametrize("status", ["declined", "expired", "failed", "rejected", "voided"])
def test_an_order_may_have_any_number_of_payments_that_ended_without_money(booked: str, status: str) -> None:
    columns = _columns(booked, "payments")
    for number in (2, 3):
        others = {"payment_id": f"'pay_{number}'", "status": f"'{status}'"}
        values = ", ".join(others.get(name, name) for name in columns)
        raw.run(
            booked,
            f"INSERT INTO payments ({', '.join(columns)}) SELECT {values} FROM payments WHERE payment_id = 'pay_1'",
        )

    assert counts(booked)["payments"] == 3


def test_a_payment_that_ended_cannot_come_back_to_life_beside_another(booked: str, ledger: Ledger) -> None:
    raw.run(booked, "UPDATE payments SET status = 'failed'")
    columns = _columns(booked, "payments")
    others = {"payment_id": "'pay_2'", "status": "'captured'"}
    values = ", ".join(others.get(name, name) for name in columns)
    raw.run(booked, f"INSERT INTO payments ({', '.join(columns)}) SELECT {values} FROM payments")

    said = refused(booked, "UPDATE payments SET status = 'captured' WHERE payment_id = 'pay_1'")
    assert said in ("uq_payments_live_order", "UNIQUE constraint failed: payments.order_id")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("payments", "pk_payments"),
        ("attempts", "pk_attempts"),
        ("inbox", "pk_inbox"),
        ("audit", "pk_audit"),
    ],
)
def test_nothing_has_the_same_name_twice(booked: str, table: str, key: str) -> None:
    said = refused(booked, f"INSERT INTO {table} SELECT * FROM {table}")

    assert said == key or "UNIQUE constraint failed" in said or "append_only" in said


def test_an_event_has_one_place_in_its_stream(booked: str) -> None:
    columns = ", ".join(name for name in _columns(booked, "outbox") if name != "position")
    said = refused(booked, f"INSERT INTO outbox ({columns}) SELECT {columns} FROM outbox")

    assert said in ("uq_outbox_stream_sequence", "UNIQUE constraint failed: outbox.stream, outbox.sequence")


def _columns(url: str, table: str) -> list[str]:
    if url.startswith("sqlite"):
        return [row[1] for row in raw.run(url, f"PRAGMA table_info({table})")]
    found = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
    return [row[0] for row in raw.run(url, found)]


def test_the_ledgers_own_rows_pass_every_guard(booked: str, ledger: Ledger) -> None:
    write(ledger, new_attempts=[attempt_named("pay_1.a2")])

    assert counts(booked)["attempts"] == 2
