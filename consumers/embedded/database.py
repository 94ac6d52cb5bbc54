"""The file that holds exchanges, queues, bindings and messages, and its transactions."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from consumers.embedded.errors import DATABASE_NAME, BrokerUnusable, clear_errors

BUSY_TIMEOUT_S = 30.0
"""How long to wait for another process's transaction; each takes milliseconds."""

_VERSION = 1
_SCHEMA = """
CREATE TABLE owner (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a late ack must not meet a newer owner
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE exchange (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    durable INTEGER NOT NULL
);
CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    properties TEXT NOT NULL,               -- as declared, for comparison
    owner INTEGER REFERENCES owner ON DELETE CASCADE,
    delivery_limit INTEGER,
    dead_letter_exchange TEXT,
    dead_letter_routing_key TEXT,
    keeps_dead_letters INTEGER NOT NULL     -- while they have nowhere to go
);
CREATE TABLE binding (
    exchange TEXT NOT NULL REFERENCES exchange ON DELETE CASCADE,
    queue INTEGER NOT NULL REFERENCES queue ON DELETE CASCADE,
    routing_key TEXT NOT NULL,
    PRIMARY KEY (exchange, queue, routing_key)
) WITHOUT ROWID;
CREATE TABLE consumer (
    owner INTEGER NOT NULL REFERENCES owner ON DELETE CASCADE,
    queue INTEGER NOT NULL REFERENCES queue ON DELETE CASCADE,
    tag TEXT NOT NULL
);
CREATE TABLE message (
    position INTEGER PRIMARY KEY,           -- the order of the queue, kept when a message comes back
    queue INTEGER NOT NULL REFERENCES queue ON DELETE CASCADE,
    owner INTEGER REFERENCES owner,         -- who holds it unacked
    redelivered INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,    -- deliveries that count towards the limit
    dead_because TEXT,                      -- a dead letter that waits for a place to go
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    properties BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX ready ON message (queue, position) WHERE owner IS NULL AND dead_because IS NULL;
CREATE INDEX unacked ON message (owner) WHERE owner IS NOT NULL;
CREATE INDEX waiting_dead_letter ON message (position) WHERE dead_because IS NOT NULL;
"""


class Database:
    """One thread's connection to the broker's file."""

    def __init__(self, directory: Path) -> None:
        """Open the file, creating it if need be. Raises: BrokerDown, BrokerUnusable."""
        self._directory = directory
        with clear_errors(directory):
            file = directory / DATABASE_NAME
            with suppress(
                FileExistsError
            ):  # A new file is for its owner's eyes; SQLite's other files follow it.
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self.sql = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self.sql.close()
                raise

    def _prepare(self) -> None:
        _write_ahead(self.sql)
        self.sql.execute("PRAGMA foreign_keys = ON")
        # What a worker refuses for the card number in it must not stay in the file once it is gone from the queue.
        self.sql.execute("PRAGMA secure_delete = ON")
        self.sql.execute("PRAGMA journal_size_limit = 67108864")  # Give back the disk space of a burst.
        with self.transaction(durable=True):
            (version,) = self.sql.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise BrokerUnusable(
                    f"{self._directory / DATABASE_NAME} was written by another version of this service "
                    f"(format {version}, we know {_VERSION}): empty its queues with that version, or point "
                    f"PAYMENTS_DATA_DIR elsewhere."
                )
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self.sql.execute(statement)
                self.sql.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """Hold the write lock; commit on leaving, roll back on an exception.

        Only what was published must survive a power cut the moment it is committed. A claim or an ack that is
        lost with the power means one more delivery, so those skip the fsync
        (sqlite.org/pragma.html#pragma_synchronous).

        Raises: BrokerDown, BrokerUnusable.
        """
        with clear_errors(self._directory):
            self.sql.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.sql.execute("COMMIT")
            except BaseException:
                if self.sql.in_transaction:
                    self.sql.execute("ROLLBACK")
                raise

    def version(self) -> int:
        """Return a number that changes with every transaction of another connection.

        Raises: BrokerDown, BrokerUnusable.
        """
        with clear_errors(self._directory):
            version: int
            (version,) = self.sql.execute("PRAGMA data_version").fetchone()
            return version

    def close(self) -> None:
        """Close the file."""
        self.sql.close()


def _write_ahead(sql: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait for others who are just doing the same."""
    deadline = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (mode,) = sql.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise BrokerUnusable(
                "The embedded broker cannot keep its messages there: the file system does not take SQLite's "
                "write-ahead log. Set PAYMENTS_DATA_DIR to a directory on a local disk."
            )
        return
