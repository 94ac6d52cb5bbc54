"""Reads for people and for verification: one snapshot, rows as they are stored, in chunks where there are many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from ledger.engine import open_engine
from ledger.errors import NotMigrated, told_apart


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A read-only view of the books at one moment, whatever workers write meanwhile.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    if url.startswith("sqlite:///"):
        _must_exist(url.removeprefix("sqlite:///"))
    engine = open_engine(url)
    try:
        with told_apart(), engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            else:
                connection.execute(text("BEGIN"))
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def _must_exist(path: str) -> None:
    if path and not Path(path).is_file():
        raise NotMigrated(f"there are no books at {path}: set PAYMENTS_DATA_DIR, or run `payments migrate`")


def rows(connection: Connection, sql: str, **parameters: Any) -> list[Any]:
    """All rows of a query."""
    return list(connection.execute(text(sql), parameters))
