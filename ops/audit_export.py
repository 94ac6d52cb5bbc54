"""Rows of the audit log for an auditor: with their hashes, so that he can make the chain anew by himself."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from ledger.audit import BEGINNING
from ledger.tables import audit, iso
from messages.card_data import redacted

COLUMNS = (
    "shard",
    "position",
    "actor",
    "action",
    "payment_id",
    "subject",
    "cause",
    "result",
    "details",
    "happened_at",
    "previous_hash",
    "hash",
    "redacted",
)
TEXTS = ("actor", "action", "payment_id", "subject", "cause", "result", "details")
AT_ONCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which rows; times are UTC, `until` itself is not included."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    payment_id: str | None = None


def count(books: Connection, asked: Asked) -> int:
    """How many rows there are."""
    return int(books.execute(select(func.count()).select_from(audit).where(_those(asked))).scalar_one())


def exported(books: Connection, asked: Asked) -> Iterator[dict[str, Any]]:
    """The rows, chain by chain."""
    before = audit.alias("before")
    query = (
        select(audit, before.c.hash.label("previous_hash"))
        .outerjoin(before, and_(before.c.shard == audit.c.shard, before.c.position == audit.c.position - 1))
        .where(_those(asked))
        .order_by(audit.c.shard, audit.c.position)
        .execution_options(yield_per=AT_ONCE)
    )
    for row in books.execute(query).mappings():
        told = dict(row) | {
            "happened_at": iso(row["happened_at"]),
            "previous_hash": (row["previous_hash"] or BEGINNING).hex(),
            "hash": row["hash"].hex(),
        }
        clean = {name: redacted(told[name]) if told[name] is not None else None for name in TEXTS}
        is_redacted = any(clean[name] != told[name] for name in TEXTS)
        told |= clean | {"redacted": is_redacted}
        yield {name: told[name] for name in COLUMNS}


def write_lines(rows: Iterable[dict[str, Any]], to: TextIO) -> None:
    """As JSON lines."""
    for row in rows:
        to.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(rows: Iterable[dict[str, Any]], to: TextIO) -> None:
    """As CSV (RFC 4180), with a heading; no payment is an empty field.

    A text that a spreadsheet would take for a formula gets an apostrophe before it
    (owasp.org/www-community/attacks/CSV_Injection).
    """
    writer = csv.DictWriter(to, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _no_formula(value) for name, value in row.items()})


def _no_formula(value: Any) -> Any:
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _those(asked: Asked) -> ColumnElement[bool]:
    column = audit.c
    wanted = [
        column.happened_at >= asked.since if asked.since else None,
        column.happened_at < asked.until if asked.until else None,
        column.actor == asked.actor if asked.actor else None,
        column.payment_id == asked.payment_id if asked.payment_id else None,
    ]
    return and_(true(), *(condition for condition in wanted if condition is not None))
