"""Which payment an id is of, whatever id somebody has in hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from ledger.reading import reading, rows

MOST = 50
"""Payments that one id may lead to; an id of so many is none to go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an id is."""

    what: str
    """In words: `capture`, `gateway's id`, `dead letter` …"""
    name: str
    """The whole of it, where only a part was given."""
    payment_id: str | None
    """None: it belongs to no payment, such as a rejected command."""


QUESTIONS = (
    ("payment", "SELECT payment_id AS name, payment_id FROM payments WHERE payment_id = :id"),
    ("order", "SELECT order_id AS name, payment_id FROM payments WHERE order_id = :id"),
    ("capture", "SELECT capture_id AS name, payment_id FROM captures WHERE capture_id = :id"),
    ("refund", "SELECT refund_id AS name, payment_id FROM refunds WHERE refund_id = :id"),
    (
        "attempt, and idempotency key",
        "SELECT attempt_id AS name, payment_id FROM attempts WHERE attempt_id = :id",
    ),
    ("command", "SELECT command_id AS name, payment_id FROM payments WHERE command_id = :id"),
    ("command", "SELECT command_id AS name, payment_id FROM captures WHERE command_id = :id"),
    ("command", "SELECT command_id AS name, payment_id FROM refunds WHERE command_id = :id"),
    ("callback", "SELECT notice_id AS name, payment_id FROM callbacks WHERE notice_id = :id"),
    (
        "event",
        "SELECT :id AS name, p.payment_id FROM outbox o LEFT JOIN payments p ON p.payment_id = o.stream"
        " WHERE o.stream || '.e' || o.sequence = :id AND o.stream = :stream AND o.exchange <> ''",
    ),
    ("journal", "SELECT journal_id AS name, payment_id FROM journals WHERE journal_id = :id"),
    (
        "dead letter",
        "SELECT letter_id AS name, payment_id FROM dead_letters"
        " WHERE letter_id = :id OR (length(:id) > 5 AND substr(letter_id, 1, length(:id)) = :id)",
    ),
    ("message that died", "SELECT letter_id AS name, payment_id FROM dead_letters WHERE message_id = :id"),
    (
        "gateway's id",
        # References may be of two parts, as `payment/capture` or `capture:id`; any of them may be in hand.
        "SELECT reference AS name, payment_id FROM attempts WHERE reference = :id OR parent_reference = :id"
        " OR substr(reference, 1, length(:id) + 1) = :id || '/'"
        " OR substr(reference, length(reference) - length(:id), length(:id) + 1) IN ('/' || :id, ':' || :id)",
    ),
    (
        "message or decision",
        "SELECT DISTINCT :id AS name, payment_id FROM audit WHERE cause = :id OR subject = :id",
    ),
    (
        "trace",
        "SELECT DISTINCT :id AS name, p.payment_id FROM outbox o LEFT JOIN payments p ON p.payment_id = o.stream"
        " WHERE o.headers LIKE '%' || :trace || '%'",
    ),
)
"""The quick ones first: the last three read a whole table, and are asked only if nothing else knows the id."""
SLOW = 3


def find(url: str, name: str) -> list[Found]:
    """Say what an id is: everything it is, or nothing.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    found = list(_answers(url, name, QUESTIONS[:-SLOW]))
    for question in QUESTIONS[-SLOW:]:
        found = found or list(_answers(url, name, (question,)))
    return found


def _answers(url: str, name: str, questions: tuple[tuple[str, str], ...]) -> Iterator[Found]:
    known = {"id": name, "stream": name.rpartition(".e")[0]}
    if re.fullmatch("[0-9a-f]{16}|[0-9a-f]{32}", name):
        known["trace"] = name
    with reading(url) as books:
        for what, sql in questions:
            wanted = set(re.findall(r":(\w+)", sql))
            if wanted <= known.keys():
                yield from _found(books, what, f"{sql} LIMIT {MOST}", {key: known[key] for key in wanted})


def _found(books: Connection, what: str, sql: str, known: dict[str, str]) -> Iterator[Found]:
    for row in rows(books, sql, **known):
        yield Found(what=what, name=row.name, payment_id=row.payment_id)
