"""Behind the ledger's back: plain SQL, as somebody with the database's password would write it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

Rows = list[tuple[Any, ...]]


def run(url: str, *statements: str) -> Rows:
    """Run statements in one transaction with every guard in place, and give the last one's rows."""
    if url.startswith("sqlite"):
        return _on_sqlite(url, statements)
    with _on_postgres(url) as connection:
        return _each(connection, statements)


def tamper(url: str, *statements: str) -> Rows:
    """The same, by somebody who has switched every guard off."""
    if url.startswith("sqlite"):
        named = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        drops = [f"DROP TRIGGER {name}" for (name,) in _on_sqlite(url, [named])]
        return _on_sqlite(url, ["PRAGMA ignore_check_constraints = ON", *drops, *statements], enforced=False)
    with _on_postgres(url) as connection:
        checks = connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        ).fetchall()
        drops = [f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name in checks]
        return _each(connection, ["SET session_replication_role = replica", *drops, *statements])


def _on_sqlite(url: str, statements: Any, *, enforced: bool = True) -> Rows:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute(f"PRAGMA foreign_keys = {'ON' if enforced else 'OFF'}")
        connection.execute("BEGIN")
        found = [connection.execute(statement).fetchall() for statement in statements]
        connection.execute("COMMIT")
        return found[-1]


@contextmanager
def _on_postgres(url: str) -> Iterator[psycopg.Connection[Any]]:
    # psycopg leaves a connection open when its commit is refused.
    with closing(psycopg.connect(_conninfo(url))) as connection, connection:
        yield connection


def _each(connection: psycopg.Connection[Any], statements: Any) -> Rows:
    for statement in statements:
        cursor = connection.execute(statement)
    return cursor.fetchall() if cursor.description else []


def _conninfo(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")
