"""Many rows in one statement, on either database, behind one small interface.

PostgreSQL gets arrays (`unnest`), pipelined so that a load is one round trip and a write another; SQLite gets
`executemany` and JSON lists. The ORM has no place on this path: see docs/decisions.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Protocol

import psycopg
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

from ledger.arrays import array
from ledger.tables import UtcTime, iso

Row = tuple[Any, ...]
Fetch = Callable[[], list[Row]]
"""Gives a query's rows when asked for: on PostgreSQL several queries travel together before the first is read."""


class Bulk(Protocol):
    """One transaction's statements. In SQL, `{keys}` stands for membership in the list given with it."""

    def together(self) -> AbstractContextManager[Any]:
        """Send the statements inside without waiting for each one's answer."""
        ...

    def query(self, sql: str, *parameters: Any) -> Fetch:
        """Ask; a parameter that is a list belongs to a `{keys}`, any other to a `{value}`."""
        ...

    def insert(
        self, table: Table, columns: Sequence[str], rows: Iterable[Row], *, on_conflict: str = ""
    ) -> None:
        """Insert rows whose values are in the order of `columns`."""
        ...

    def update(self, table: Table, key: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Update rows; each row's values are its key and then its columns."""
        ...


class PostgresBulk:
    """On a psycopg connection."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def together(self) -> AbstractContextManager[Any]:
        """libpq's pipeline mode."""
        return self._connection.pipeline()

    def query(self, sql: str, *parameters: Any) -> Fetch:
        """See `Bulk`."""
        values = [array(p) if isinstance(p, list) else p for p in parameters]
        return self._connection.execute(_for_postgres(sql), values).fetchall

    def insert(
        self, table: Table, columns: Sequence[str], rows: Iterable[Row], *, on_conflict: str = ""
    ) -> None:
        """See `Bulk`."""
        arrays = [array(values) for values in zip(*rows, strict=True)]
        if arrays:
            self._connection.execute(_postgres_insert(table, tuple(columns)) + on_conflict, arrays)

    def update(self, table: Table, key: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See `Bulk`."""
        arrays = [array(values) for values in zip(*rows, strict=True)]
        if arrays:
            self._connection.execute(_postgres_update(table, tuple(key), tuple(columns)), arrays)


class SqliteBulk:
    """On a sqlite3 connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def together(self) -> AbstractContextManager[Any]:
        """Nothing travels, so nothing is gained."""
        return nullcontext()

    def query(self, sql: str, *parameters: Any) -> Fetch:
        """See `Bulk`."""
        values = [json.dumps(p) if isinstance(p, list) else p for p in parameters]
        return self._connection.execute(_for_sqlite(sql), values).fetchall

    def insert(
        self, table: Table, columns: Sequence[str], rows: Iterable[Row], *, on_conflict: str = ""
    ) -> None:
        """See `Bulk`."""
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) {on_conflict}"
        self._connection.executemany(sql, _as_text(table, columns, rows))

    def update(self, table: Table, key: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See `Bulk`."""
        changes = ", ".join(f"{name} = ?" for name in columns)
        match = " AND ".join(f"{name} = ?" for name in key)
        sql = f"UPDATE {table.name} SET {changes} WHERE {match}"
        turned = ((*row[len(key) :], *row[: len(key)]) for row in rows)
        self._connection.executemany(sql, _as_text(table, [*columns, *key], turned))


def bulk_on(connection: Connection) -> Bulk:
    """The statements of a connection's transaction."""
    driver: Any = connection.connection.driver_connection
    return SqliteBulk(driver) if connection.dialect.name == "sqlite" else PostgresBulk(driver)


@cache
def _for_postgres(sql: str) -> bytes:
    return (
        sql.replace("{keys}", "= ANY(%s::text[])")
        .replace("{value}", "%s")
        .replace("{lock}", "FOR UPDATE")
        .encode()
    )


@cache
def _for_sqlite(sql: str) -> str:
    # BEGIN IMMEDIATE has locked everything already.
    sql = sql.replace("{lock} SKIP LOCKED", "").replace("{lock}", "")
    return sql.replace("{keys}", "IN (SELECT value FROM json_each(?))").replace("{value}", "?")


@cache
def _postgres_insert(table: Table, columns: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{_type(table, name)}[]" for name in columns)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays}) "


@cache
def _postgres_update(table: Table, key: tuple[str, ...], columns: tuple[str, ...]) -> str:
    names = (*key, *columns)
    arrays = ", ".join(f"%s::{_type(table, name)}[]" for name in names)
    changes = ", ".join(f"{name} = new.{name}" for name in columns)
    match = " AND ".join(f"{table.name}.{name} = new.{name}" for name in key)
    return f"UPDATE {table.name} SET {changes} FROM unnest({arrays}) AS new({', '.join(names)}) WHERE {match}"


def _type(table: Table, column: str) -> str:
    dialect = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
    return table.c[column].type.compile(dialect).split(" COLLATE")[0]


def _as_text(table: Table, columns: Sequence[str], rows: Iterable[Row]) -> Iterable[Row]:
    times = [position for position, name in enumerate(columns) if isinstance(table.c[name].type, UtcTime)]
    for row in rows:
        values = list(row)
        for position in times:
            if values[position] is not None:
                values[position] = iso(values[position])
        yield tuple(values)
