"""Where a run keeps its books: a SQLite file, or a database on a real PostgreSQL; each run begins with empty ones."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from ledger.schema import migrate
from tests.servers import Postgres

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Books:
    """The books of one run, seen from outside: what is committed, and nothing else."""

    url: str
    rows: Callable[[str], Rows]
    """The answer to a query."""


Place = Callable[[], AbstractContextManager[Books]]
"""Makes empty books for one run."""


def sqlite_in(directory: Path) -> Place:
    """Books in a file, each a copy of one that was migrated once."""
    template, path = directory / "empty.db", directory / "ledger.db"
    migrate(f"sqlite:///{template}")

    @contextmanager
    def fresh() -> Iterator[Books]:
        for leftover in directory.glob("ledger.db*"):
            leftover.unlink()
        shutil.copyfile(template, path)
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            yield Books(f"sqlite:///{path}", lambda sql: connection.execute(sql).fetchall())
        finally:
            connection.close()

    return fresh


def postgres_on(server: Postgres) -> Place:
    """Books in a database of a server, each a copy of one that was migrated once."""

    @contextmanager
    def fresh() -> Iterator[Books]:
        url = server.fresh_database(_migrated)
        try:
            address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(address, autocommit=True) as connection:
                yield Books(url, lambda sql: connection.execute(sql.encode()).fetchall())
        finally:
            server.drop_database(url)

    return fresh


def _migrated(url: str) -> None:
    migrate(url)
