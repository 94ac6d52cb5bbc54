"""The sandbox gateway's own books: what it was asked, what it really did. Never our ledger.

A SQLite file shared by processes. A test reads it to count double charges from outside the service.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gateways.protocol import DeclineReason, Firmness, Operation
from messages.ids import AttemptId, PaymentId
from messages.money import Money

Truth = Literal["approved", "declined", "absent", "action"]
"""How an operation ends at the sandbox: money moved, refused, never executed, or waiting for the customer."""

Told = Literal["truth", "pending", "lost", "error"]
"""What the first caller hears: how it ended, "under way", nothing as the answer is lost, or an error."""

# One B-tree and one short write per call: the record is on the path of load tests.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS operation (
    attempt_id TEXT PRIMARY KEY, operation TEXT NOT NULL, payment_id TEXT NOT NULL, parent TEXT,
    asked INTEGER NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    truth TEXT NOT NULL, told TEXT NOT NULL, reason TEXT, firmness TEXT, code TEXT, later TEXT,
    settles_at REAL NOT NULL, at REAL NOT NULL, executed INTEGER NOT NULL, asked_times INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS operation_parent ON operation (parent) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS turned_away (payment_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_INSERT = (
    "INSERT INTO operation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_ACTED = {
    True: "UPDATE operation SET truth = 'approved', executed = 1 WHERE attempt_id = ? AND truth = 'action'",
    False: "UPDATE operation SET truth = 'declined', reason = 'authentication_failed',"
    " firmness = 'needs_authentication', code = 'action_refused' WHERE attempt_id = ? AND truth = 'action'",
}
_REFERENCE_PREFIX = "sbx_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One operation as the sandbox recorded it. Amounts in minor units, times in seconds since 1970 (UTC)."""

    attempt_id: str
    operation: str
    payment_id: str
    parent: str | None
    asked: int
    amount: int
    currency: str
    truth: Truth
    told: Told
    reason: DeclineReason | None
    firmness: Firmness | None
    code: str | None
    later: str | None
    """For an authorization: how its capture or void will behave."""
    settles_at: float
    at: float
    executed: int
    asked_times: int = 1

    @property
    def reference(self) -> str:
        """The sandbox's id of the operation."""
        return _REFERENCE_PREFIX + self.attempt_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One effect on money that the sandbox carried out, or has promised to (`settles_at` ahead)."""

    attempt_id: AttemptId
    payment_id: PaymentId
    operation: Operation
    reference: str
    amount: Money
    times_executed: int
    """More than one would be a double charge under one key; the sandbox never does it."""
    times_asked: int
    settles_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What became of one authorization or sale so far, in minor units."""

    captured: int
    refunded: int
    released: bool


class SandboxRecord:
    """Read and write the sandbox's record; safe from several processes, survives `kill -9`."""

    def __init__(self, path: Path) -> None:
        """Open the record, or begin it; `path` is a file in an existing directory."""
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._db.row_factory = sqlite3.Row
        # Writers queue on this lock inside the kernel: SQLite's own busy wait sleeps in whole milliseconds,
        # which would hold up an asyncio loop.
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._thread_lock = threading.Lock()
        with self._locked():
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.executescript(_SCHEMA)

    # --- for tests, from outside ------------------------------------------------------------

    def executions(self, payment_id: str | None = None) -> list[Execution]:
        """Every charge, hold, capture, void and refund that was carried out, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM operation WHERE executed > 0 AND payment_id = coalesce(?, payment_id)"
            " ORDER BY at, attempt_id",
            (payment_id,),
        )
        return [_execution(_entry(row)) for row in rows]

    def charges_by_payment(self) -> dict[PaymentId, int]:
        """How often each payment's customer was charged (sales) or had money held (authorizations)."""
        rows = self._db.execute(
            "SELECT payment_id, sum(executed) FROM operation"
            " WHERE operation IN ('sale', 'authorize') AND executed > 0 GROUP BY payment_id"
        )
        return {PaymentId(payment_id): times for payment_id, times in rows}

    def complete_action(self, attempt_id: str, *, approve: bool) -> bool:
        """Act as the customer on a payment that waits for one; False if it no longer waits."""
        with self._locked():
            return self._db.execute(_ACTED[approve], (attempt_id,)).rowcount == 1

    def close(self) -> None:
        """Let the file go."""
        self._db.close()
        os.close(self._lock)

    # --- for the sandbox gateway ------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold everyone else out while several statements belong together."""
        with self._locked():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def insert(self, entry: Entry) -> bool:
        """Record an operation; False if the key was used before. Call inside `writing`."""
        return self._db.execute(_INSERT, _row(entry)).rowcount == 1

    def insert_alone(self, entry: Entry) -> bool:
        """Record an operation as a transaction of its own; False if the key was used before."""
        with self._locked():
            return self.insert(entry)

    def find(self, attempt_id: str) -> Entry | None:
        """What is recorded under a key."""
        row = self._db.execute("SELECT * FROM operation WHERE attempt_id = ?", (attempt_id,)).fetchone()
        return None if row is None else _entry(row)

    def find_reference(self, reference: str) -> Entry | None:
        """What is recorded under one of the sandbox's own ids."""
        return self.find(reference.removeprefix(_REFERENCE_PREFIX))

    def note_repeat(self, attempt_id: str) -> None:
        """Count that a key came again."""
        sql = "UPDATE operation SET asked_times = asked_times + 1 WHERE attempt_id = ?"
        with self._locked():
            self._db.execute(sql, (attempt_id,))

    def cancel_open_action(self, attempt_id: str) -> None:
        """Close a payment that waited for its customer. Call inside `writing`."""
        self._db.execute(
            "UPDATE operation SET truth = 'declined', reason = 'canceled_by_customer', firmness = 'soft',"
            " code = 'voided' WHERE attempt_id = ?",
            (attempt_id,),
        )

    def balance(self, reference: str, now: float) -> Balance:
        """Sum up what was captured from, refunded of and released from an operation.

        What is still under way counts as done, even if it will be declined: the sandbox does not know yet.
        """
        captured, refunded, released = self._db.execute(
            "SELECT coalesce(sum(amount) FILTER (WHERE operation = 'capture'), 0),"
            " coalesce(sum(amount) FILTER (WHERE operation = 'refund'), 0),"
            " coalesce(max(operation = 'void' OR later = 'final'), 0)"
            " FROM operation WHERE parent = ?"
            " AND (truth = 'approved' OR (truth = 'declined' AND told = 'pending' AND settles_at > ?))",
            (reference, now),
        ).fetchone()
        return Balance(captured=captured, refunded=refunded, released=bool(released))

    def is_let_go(self, reference: str, now: float) -> bool:
        """Whether a hold was voided by now, and none of it was taken."""
        operations = self._db.execute(
            "SELECT operation FROM operation WHERE parent = ? AND truth = 'approved'"
            " AND operation IN ('void', 'capture') AND settles_at <= ?",
            (reference, now),
        )
        return {operation for (operation,) in operations} == {"void"}

    def first_knock(self, payment_id: str) -> bool:
        """Whether this is the first call ever for a payment that is turned away once."""
        sql = "INSERT INTO turned_away VALUES (?) ON CONFLICT DO NOTHING"
        with self._locked():
            return self._db.execute(sql, (payment_id,)).rowcount == 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread_lock:  # a file lock does not keep threads of one process apart
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.attempt_id, entry.operation, entry.payment_id, entry.parent, entry.asked, entry.amount,
        entry.currency, entry.truth, entry.told, entry.reason, entry.firmness, entry.code, entry.later,
        entry.settles_at, entry.at, entry.executed, entry.asked_times,
    )  # fmt: skip


def _entry(row: sqlite3.Row) -> Entry:
    entry: dict[str, Any] = dict(row)
    entry["reason"] = entry["reason"] and DeclineReason(entry["reason"])
    entry["firmness"] = entry["firmness"] and Firmness(entry["firmness"])
    return Entry(**entry)


def _execution(entry: Entry) -> Execution:
    return Execution(
        attempt_id=AttemptId(entry.attempt_id),
        payment_id=PaymentId(entry.payment_id),
        operation=Operation(entry.operation),
        reference=entry.reference,
        amount=Money(entry.amount, entry.currency),
        times_executed=entry.executed,
        times_asked=entry.asked_times,
        settles_at=datetime.fromtimestamp(entry.settles_at, UTC),
    )
