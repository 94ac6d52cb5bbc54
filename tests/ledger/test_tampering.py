"""Every value of the books, changed a little or taken away behind the ledger's back: found, and said where.

What verification cannot find from inside the database is told at the end, as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from ledger.audit import BEGINNING, seal
from ledger.journals import digest
from ledger.ledger import Ledger
from ledger.records import AuditLine
from ledger.states import OPEN_ATTEMPT, OVER_WITHOUT_MONEY, AttemptState, PaymentStatus, RefundStatus
from ledger.tables import iso, metadata
from ledger.verify import verify
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.shop import a_shop

KEYS = {table.name: tuple(column.name for column in table.primary_key) for table in metadata.tables.values()}
KEYS["outbox"] = ("stream", "sequence")

SEALED = ("audit", "journals", "entries")
"""Every bit of these is covered by the audit chains."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is stored."""

    table: str
    values: dict[str, Any]

    @property
    def key(self) -> str:
        """A condition that finds it."""
        return " AND ".join(f"{name} = {literal(self.values[name])}" for name in KEYS[self.table])

    @property
    def place(self) -> str:
        """What a problem with it must name."""
        match self.table:
            case "audit" | "audit_heads":
                return f"audit shard {self.values['shard']}"
            case "journals" | "entries":
                return f" {self.values['journal_id']}"
            case "outbox":
                return f" {self.values['stream']}"
            case "refunds":
                return f" {self.values['payment_id']}: | {self.values['refund_id']}"
            case "attempts":
                return f" {self.values['payment_id']}: | {self.values['attempt_id']}: | {self.values['refund_id']}: "
            case _:
                return f" {self.values['payment_id']}"


def literal(value: Any, *, binary: str = "x'{}'") -> str:
    """A value in SQL."""
    match value:
        case None:
            return "NULL"
        case bool() | int():
            return str(value)
        case bytes():
            return binary.format(value.hex())
        case _:
            return "'" + str(value).replace("'", "''") + "'"


def changed(value: Any) -> Any:
    """The same, a little different: one unit, one bit, one microsecond, one letter."""
    match value:
        case None:
            return "x"
        case bool():
            return not value
        case int():
            return value + 1
        case datetime():
            return value + timedelta(microseconds=1)
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1]) if value else b"x"
        case _:
            return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"


@pytest.fixture
def books(url: str, ledger: Ledger) -> str:
    """Books with a bit of everything in them, and no problem."""
    a_shop(ledger)
    assert verify(url).problems == []
    return url


def rows_of(url: str, table: str) -> list[Row]:
    """All rows, in the order of their keys."""
    names = [column.name for column in metadata.tables[table].columns]
    found = raw.run(url, f"SELECT {', '.join(names)} FROM {table} ORDER BY {', '.join(KEYS[table])}")
    return [Row(table, dict(zip(names, values, strict=True))) for values in found]


def some(url: str, rows: list[Row]) -> list[Row]:
    """All on SQLite. PostgreSQL runs the same proof over the same rows, so a few will do, first and last included."""
    return rows if url.startswith("sqlite") else [*rows[:-1:6], rows[-1]]


def _literal(url: str, value: Any) -> str:
    return literal(value, binary="x'{}'" if url.startswith("sqlite") else r"'\x{}'")


def _set(url: str, row: Row, **values: Any) -> str:
    settings = ", ".join(f"{name} = {_literal(url, value)}" for name, value in values.items())
    return f"UPDATE {row.table} SET {settings} WHERE {row.key}"


def _insert(url: str, row: Row) -> str:
    values = {
        name: value for name, value in row.values.items() if name != "position" or row.table != "outbox"
    }
    listed = ", ".join(_literal(url, value) for value in values.values())
    return f"INSERT INTO {row.table} ({', '.join(values)}) VALUES ({listed})"


@contextmanager
def tampered(url: str, *statements: str, undo: str) -> Iterator[list[str]]:
    """What verification finds after this was done; afterwards it is undone."""
    raw.tamper(url, *statements)
    yield verify(url).problems
    raw.tamper(url, undo)


def with_change(url: str, row: Row, column: str) -> list[str]:
    """What is found when one value of a row was changed a little."""
    old = row.values[column]
    if column in (*KEYS[row.table], "order_id"):  # one that nothing else has
        new = f"{old}x" if isinstance(old, str) else old + 1000
    else:
        new = changed(old)
    after = Row(row.table, row.values | {column: new})
    undo = _set(url, after, **{column: old})
    with tampered(url, _set(url, row, **{column: new}), undo=undo) as problems:
        return problems
    raise AssertionError


def without(url: str, row: Row) -> list[str]:
    """What is found when a row was removed."""
    with tampered(url, f"DELETE FROM {row.table} WHERE {row.key}", undo=_insert(url, row)) as problems:
        return problems
    raise AssertionError


def located(row: Row, problems: list[str]) -> bool:
    """Whether one of the problems says where."""
    return any(place in problem for problem in problems for place in row.place.split("|"))


@pytest.mark.parametrize("table", SEALED)
def test_any_value_of_the_books_changed_a_little_is_found_at_its_place(books: str, table: str) -> None:
    tried = 0
    for row in some(books, rows_of(books, table)):
        for column in row.values:
            problems = with_change(books, row, column)
            assert located(row, problems), f"{table} {row.key}: {column}"
            tried += 1

    assert tried >= 16
    assert verify(books).problems == [], "every change was undone"


@pytest.mark.parametrize("table", [*SEALED, "audit_heads", "payments", "attempts", "outbox"])
def test_any_row_removed_is_found_at_its_place(books: str, table: str) -> None:
    for row in some(books, rows_of(books, table)):
        assert located(row, without(books, row)), f"{table} {row.key}"

    assert verify(books).problems == [], "every removal was undone"


MONEY = {
    "payments": {
        "payment_id",
        "currency",
        "requested",
        "status",
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
        "sequence",
    },
    "attempts": {"payment_id", "refund_id", "currency", "amount"},
    "outbox": {"stream", "sequence"},
    "audit_heads": {"shard", "position", "hash"},
}
"""What is about money, or about what was announced: no chain seals it, but it must agree with what is sealed."""


@pytest.mark.parametrize("table", MONEY)
def test_any_amount_changed_a_little_is_found_at_its_place(books: str, table: str) -> None:
    for row in some(books, rows_of(books, table)):
        for column in sorted(MONEY[table]):
            assert located(row, with_change(books, row, column)), f"{table} {row.key}: {column}"

    assert verify(books).problems == [], "every change was undone"


@pytest.mark.parametrize(
    ("table", "key", "column", "others"),
    [
        ("payments", "pay_1", "status", set(PaymentStatus) - {"captured"}),
        ("payments", "pay_5", "status", set(PaymentStatus) - {"authorized"}),
        ("payments", "pay_6", "status", {"authorized", "captured", *OVER_WITHOUT_MONEY}),
        ("attempts", "pay_1.a1", "state", set(AttemptState) - {"succeeded"}),
        ("attempts", "pay_6.a1", "state", {"succeeded"}),
        ("attempts", "ref_1.r1", "state", set(AttemptState) - {"succeeded"}),
        ("attempts", "ref_2.r1", "state", {"succeeded", *OPEN_ATTEMPT}),
        ("attempts", "ref_3.r1", "state", {"succeeded", "declined", "failed", "canceled"}),
        ("refunds", "ref_1", "status", set(RefundStatus) - {"succeeded"}),
        ("refunds", "ref_2", "status", set(RefundStatus) - {"failed"}),
        ("refunds", "ref_3", "status", {"requested", "succeeded", "failed", "rejected"}),
    ],
)
def test_another_state_is_found_where_it_would_mean_other_money(
    books: str, table: str, key: str, column: str, others: set[str]
) -> None:
    row = next(row for row in rows_of(books, table) if row.values[KEYS[table][0]] == key)
    undo = _set(books, row, **{column: row.values[column]})
    for other in sorted(others):
        with tampered(books, _set(books, row, **{column: str(other)}), undo=undo) as problems:
            assert located(row, problems), other


def test_a_value_that_is_none_at_all_is_found_like_any_other(sqlite_url: str) -> None:
    """SQLite keeps whatever it is given in whatever column."""
    with closing(Ledger(sqlite_url, keyring=KEYRING)) as ledger:
        a_shop(ledger)
    for table, column, nonsense in (
        ("audit", "happened_at", "'soon'"),
        ("audit", "happened_at", "'2026-11-22T12:00:00'"),
        ("audit", "happened_at", "'2026-11-22 12:00:00.000000+00:00'"),
        ("audit", "hash", "'text'"),
        ("audit", "details", "x'ff'"),
        ("audit", "details", "'{\"journals\": 5}'"),
        ("audit", "details", "'[\"journals\"]'"),
        ("audit_heads", "hash", "'text'"),
        ("journals", "effective_at", "'soon'"),
        ("entries", "amount", "'a lot'"),
        ("entries", "account", "'till'"),
    ):
        row = rows_of(sqlite_url, table)[1 if table != "audit_heads" else 0]
        undo = _set(sqlite_url, row, **{column: row.values[column]})
        change = f"UPDATE {table} SET {column} = {nonsense} WHERE {row.key}"
        with tampered(sqlite_url, change, undo=undo) as problems:
            assert located(row, problems), f"{table}.{column} = {nonsense}"

    assert verify(sqlite_url).problems == []


# --- what is not found, as it is ---

UNSEALED = {
    "payments": {"gateway", "order_id", "capture", "request", "correlation_id", "attention", "attempts"},
    "attempts": {"reference", "tries", "inquiries", "doubtful", "code", "detail", "updated_at"},
    "refunds": {"request", "command_id", "attempts", "deadline_at"},
    "outbox": {"subject", "type", "routing_key", "headers", "body", "created_at"},
}


@pytest.mark.parametrize("table", UNSEALED)
def test_what_moves_no_money_is_not_sealed(books: str, table: str) -> None:
    """States are changed in place as a payment goes on, so they are held to the sealed books, not sealed themselves.

    What was asked, who asked, the gateway's references, and the text of announced events are not proved.
    """
    row = rows_of(books, table)[0]
    for column in sorted(UNSEALED[table]):
        assert with_change(books, row, column) == [], column


def test_who_rewrites_everything_from_a_row_on_is_not_found_from_inside(books: str) -> None:
    """A chain proves that nobody changed a part of it. Who can write the whole database can write another whole.

    Against that, heads must be kept elsewhere; so must they to find a tail cut off together with its head.
    """
    journal_id, payment_id = "pay_1.a1/J10s", "pay_1"
    raw.tamper(
        books,
        f"UPDATE entries SET amount = amount + 1 WHERE journal_id = '{journal_id}'",
        "UPDATE attempts SET amount = amount + 1 WHERE attempt_id = 'pay_1.a1'",
        "UPDATE payments SET requested = requested + 1, authorized = authorized + 1,"
        f" captured_gross = captured_gross + 1 WHERE payment_id = '{payment_id}'",
    )
    assert any(f"journal {journal_id}" in problem for problem in verify(books).problems)
    _forge_chain(books, journal_id)

    assert verify(books).problems == []


def _forge_chain(url: str, journal_id: str) -> None:
    heading = next(row.values for row in rows_of(url, "journals") if row.values["journal_id"] == journal_id)
    entries = [row.values for row in rows_of(url, "entries") if row.values["journal_id"] == journal_id]
    fingerprint = digest(
        [
            journal_id,
            heading["payment_id"],
            heading["refund_id"],
            heading["gateway"],
            heading["currency"],
            iso(_moment(heading["effective_at"])),
        ],
        [(entry["account"], entry["layer"], entry["side"], entry["amount"]) for entry in entries],
    )
    previous, statements = BEGINNING, []
    chain = rows_of(url, "audit")
    for row in chain:
        details = json.loads(row.values["details"])
        if journal_id in details.get("journals", {}):
            details["journals"][journal_id] = fingerprint
        told = {
            name: row.values[name] for name in ("actor", "action", "payment_id", "subject", "cause", "result")
        }
        text = json.dumps(details, sort_keys=True)
        line = AuditLine(**told, details=text, happened_at=_moment(row.values["happened_at"]))
        previous = seal(previous, row.values["shard"], row.values["position"], line)
        statements.append(_set(url, row, details=text, hash=previous))
    head = next(row for row in rows_of(url, "audit_heads") if row.values["shard"] == chain[0].values["shard"])
    raw.tamper(url, *statements, _set(url, head, hash=previous))


def _moment(stored: Any) -> datetime:
    return stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)
