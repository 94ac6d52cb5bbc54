"""A migrated database for a test, with plain SQL beside the ledger: to look, and to tamper."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from sqlalchemy.engine import make_url

GUARDED = ("journals", "entries", "audit")


class Statements(Protocol):
    """One transaction of plain SQL."""

    def __call__(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement; `?` stands for a value."""
        ...


@dataclass(frozen=True, slots=True)
class Books:
    """Where they are kept."""

    url: str

    @property
    def is_sqlite(self) -> bool:
        """Whether they are a file."""
        return self.url.startswith("sqlite")

    @contextmanager
    def transaction(self) -> Iterator[Statements]:
        """Plain SQL as an operator, or an intruder, would run it: committed at the end, undone by an exception."""
        with self._sqlite() if self.is_sqlite else self._postgres() as run:
            yield run

    def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """One statement, committed."""
        with self.transaction() as run:
            return run(sql, *values)

    def count(self, table: str) -> int:
        """How many rows there are."""
        counted: int = self.run(f"SELECT count(*) FROM {table}")[0][0]
        return counted

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        names = ("payments", "attempts", "refunds", "inbox", "outbox", "journals", "entries", "audit")
        return {name: self.count(name) for name in names}

    def drop_guards(self) -> None:
        """Take triggers, foreign keys and checks away, as somebody with all rights could."""
        if self.is_sqlite:
            triggers = self.run("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers:
                self.run(f"DROP TRIGGER {name}")
            return
        found = self.run(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype IN ('f', 'c')"
            " AND connamespace = 'public'::regnamespace"
        )
        with self.transaction() as run:
            for table in (*GUARDED, "audit_heads"):
                run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            for table, constraint in found:
                run(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")

    @contextmanager
    def _postgres(self) -> Iterator[Statements]:
        address = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, options="-c timezone=UTC") as connection:

            def run(sql: str, *values: object) -> list[tuple[Any, ...]]:
                cursor = connection.execute(sql.replace("?", "%s").encode(), values or None)
                return cursor.fetchall() if cursor.description else []

            yield run

    @contextmanager
    def _sqlite(self) -> Iterator[Statements]:
        with closing(sqlite3.connect(make_url(self.url).database or "", isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA ignore_check_constraints = OFF")
            connection.execute("BEGIN IMMEDIATE")

            def run(sql: str, *values: object) -> list[tuple[Any, ...]]:
                return connection.execute(sql, values).fetchall()

            yield run
            connection.execute("COMMIT")


def placeholders(columns: Sequence[str]) -> str:
    """`?, ?, ?`"""
    return ", ".join("?" * len(columns))
