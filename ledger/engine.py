"""Opens a database: PostgreSQL through psycopg, or a SQLite file that is as durable."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

from ledger.errors import LedgerDown

_POSTGRES_OPTIONS = "-c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s"
_SQLITE_WAIT_S = 30


def open_engine(url: str, *, pool_size: int = 2) -> Engine:
    """Make an engine; nothing is connected yet. The URL is kept out of every text.

    Raises:
        LedgerDown: the URL is none, or of a database this service does not know.
    """
    try:
        parsed = make_url(url)
    except Exception:
        raise LedgerDown("PAYMENTS_DATABASE_URL cannot be read as a database URL") from None
    match parsed.get_backend_name():
        case "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=5,
                connect_args={
                    "options": _POSTGRES_OPTIONS,
                    "connect_timeout": 5,
                    "application_name": "payments",
                    # A server that went silent is given up, not waited for.
                    "keepalives_idle": 10,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 30_000,
                },
            )
        case "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": _SQLITE_WAIT_S, "isolation_level": None})
            event.listen(engine, "connect", _prepare_sqlite)
            return engine
        case other:
            raise LedgerDown(f"PAYMENTS_DATABASE_URL names {other}; PostgreSQL and SQLite are served")


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
