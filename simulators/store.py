"""Where a simulator keeps its objects: SQLite, in memory or in a file that outlives the process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
"""An object of a gateway's API, as it goes over the wire; keys that begin with `_` stay in the simulator."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL,
    body TEXT NOT NULL, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS by_owner ON objects (kind, owner, seq);
CREATE TABLE IF NOT EXISTS due (at REAL NOT NULL, step TEXT NOT NULL, id TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_time ON due (at);
"""


class Store:
    """Objects by kind and id, in the order they were made, and steps that fall due at a time."""

    def __init__(self, data_file: Path | None = None) -> None:
        self._db = sqlite3.connect(data_file or ":memory:", isolation_level=None, check_same_thread=False)
        # A killed simulator must come back as it was; a power cut need not be survived.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all the changes of the block, or none if it raises."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, kind: str, id: str, body: Json, *, owner: str = "") -> None:
        """Write an object; one that exists keeps its place and its owner."""
        self._db.execute(
            "INSERT INTO objects (kind, id, owner, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            (kind, id, owner, json.dumps(body)),
        )

    def get(self, kind: str, id: str) -> Json | None:
        """Read an object, or None."""
        row = self._db.execute("SELECT body FROM objects WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return json.loads(row[0]) if row else None

    def delete(self, kind: str, id: str) -> None:
        """Forget an object."""
        self._db.execute("DELETE FROM objects WHERE kind = ? AND id = ?", (kind, id))

    def newest_first(
        self, kind: str, *, owner: str | None = None, after: str | None = None
    ) -> Iterator[Json]:
        """Read objects from the latest made to the first; with `after`, only those older than that one."""
        query = "SELECT body FROM objects WHERE kind = :kind"
        if owner is not None:
            query += " AND owner = :owner"
        if after is not None:
            query += " AND seq < (SELECT seq FROM objects WHERE kind = :kind AND id = :after)"
        query += " ORDER BY seq DESC"
        for (body,) in self._db.execute(query, {"kind": kind, "owner": owner, "after": after}):
            yield json.loads(body)

    def schedule(self, at: float, step: str, id: str) -> None:
        """Let a step on an object fall due at a time (seconds since 1970 UTC)."""
        self._db.execute("INSERT INTO due VALUES (?, ?, ?)", (at, step, id))

    def take_due(self, now: float) -> list[tuple[str, str]]:
        """Take out the steps whose time has come, earliest first, as (step, id)."""
        steps = self._db.execute(
            "SELECT step, id FROM due WHERE at <= ? ORDER BY at, rowid", (now,)
        ).fetchall()
        if steps:
            self._db.execute("DELETE FROM due WHERE at <= ?", (now,))
        return steps
