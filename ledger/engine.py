"""Opens a database: PostgreSQL through psycopg, or a SQLite file that is as durable."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

from ledger.errors import LedgerDown
from ledger.patience import ImpatientConnection

POSTGRES_OPTIONS = (
    "-c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s"
    # A worker that froze in the middle of a turn lets go of its payments, and of its audit chain.
    " -c idle_in_transaction_session_timeout=60s"
)
BY_KEY = (
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan"
    # A bitmap never forgets index entries of rows that are gone; an index scan reads each of them once.
    " -c enable_bitmapscan=off"
)
"""Plans for a worker, which finds every row by an index. Left alone, PostgreSQL plans its statements while the tables
are new and empty, takes 200 keys for a whole table, and keeps reading it from end to end while it grows."""
_SQLITE_WAIT_S = 30


def open_engine(url: str, *, by_key: bool = False, patience_s: float = math.inf) -> Engine:
    """Make an engine; nothing is connected yet. The URL is kept out of every text.

    `by_key`: every statement names its rows by key, as a worker's do; reports and proofs read whole tables.
    `patience_s`: how long a server may be silent while we wait for it, or a file locked.

    Raises:
        LedgerDown: the URL is none, or of a database this service does not know.
    """
    try:
        parsed = make_url(url)
    except Exception:
        raise LedgerDown("PAYMENTS_DATABASE_URL cannot be read as a database URL") from None
    match parsed.get_backend_name():
        case "postgresql":
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                hide_parameters=True,
                pool_size=2,
                max_overflow=0,
                pool_timeout=5,
                connect_args={
                    "options": POSTGRES_OPTIONS + BY_KEY if by_key else POSTGRES_OPTIONS,
                    "connect_timeout": 5,
                    "application_name": "payments",
                    # A server that went silent is given up, not waited for.
                    "keepalives_idle": 10,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 30_000,
                },
            )
            if patience_s < math.inf:
                event.listen(engine, "do_connect", ImpatientConnection.connector(patience_s))
            return engine
        case "sqlite":
            wait_s = min(patience_s, _SQLITE_WAIT_S)
            engine = create_engine(
                parsed, hide_parameters=True, connect_args={"timeout": wait_s, "isolation_level": None}
            )
            event.listen(engine, "connect", _prepare_sqlite)
            return engine
        case other:
            raise LedgerDown(f"PAYMENTS_DATABASE_URL names {other}; PostgreSQL and SQLite are served")


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
