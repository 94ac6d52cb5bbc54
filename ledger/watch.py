"""What an operator watches in the books, by a connection of its own: the worker's turns never wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, text

from ledger.bulk import bulk_on
from ledger.case_facts import CaseKind
from ledger.cases import count_open
from ledger.engine import open_engine
from ledger.errors import LedgerDown, told_apart
from ledger.tables import UtcTime

OVERDUE_AFTER = timedelta(seconds=5)
"""A timer is looked for twice a second: one that is this late is not waiting for the next look."""

_OLDEST_EVENT = "SELECT created_at FROM outbox WHERE published_at IS NULL ORDER BY position LIMIT 1"
_UNKNOWN = (
    "SELECT gateway, count(*), min(sent_at) FROM attempts"
    " WHERE due_at IS NOT NULL AND state = 'unknown' GROUP BY gateway"
)
_OVERDUE = {
    kind: text(f"SELECT count(*), min(due_at) FROM {kind} WHERE due_at <= :at").bindparams(
        bindparam("at", type_=UtcTime)
    )
    for kind in ("attempts", "captures", "refunds", "callbacks")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Some things that wait, and for how long the first of them does, in seconds."""

    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the books stood at one moment."""

    outbox_lag_s: float
    """Age of the oldest event that is not known to be published; 0 if there is none."""
    unknown: dict[str, Waiting]
    """Outcomes that nobody knows yet, by gateway."""
    overdue: dict[str, Waiting]
    """Timers whose time has come and that nobody has taken up, by the table they stand in."""
    cases: dict[CaseKind, int]
    """Open cases that wait for a person, by kind; every kind is there."""


class Watch:
    """Reads the database for those who watch, from any thread; nothing is connected before it is asked."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        self._engine = open_engine(url, patience_s=patience_s)

    def ping(self) -> None:
        """Ask the database for a word.

        Raises:
            LedgerError: it has none, within the patience.
        """
        with self._reading() as books:
            books.execute(text("SELECT shard FROM audit_heads LIMIT 1")).all()

    def figures(self, now: datetime) -> Figures:
        """Read what is watched. Every part finds its rows by an index of what is open, however large the books are.

        Raises:
            LedgerError: the database is out of reach or not migrated.
        """
        with self._reading() as books:
            oldest = books.execute(text(_OLDEST_EVENT)).scalar_one_or_none()
            unknown = books.execute(text(_UNKNOWN)).all()
            overdue = {
                kind: books.execute(query, {"at": now - OVERDUE_AFTER}).one()
                for kind, query in _OVERDUE.items()
            }
            cases = count_open(bulk_on(books), now)
        return Figures(
            outbox_lag_s=_age(oldest, now),
            unknown={gateway: _waiting(count, first, now) for gateway, count, first in unknown},
            overdue={kind: _waiting(count, first, now) for kind, (count, first) in overdue.items()},
            cases=cases,
        )

    def close(self) -> None:
        """Let the connection go."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with told_apart(), self._engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SET TRANSACTION READ ONLY"))
                yield connection
        except LedgerDown:
            self._engine.dispose()  # the next look connects anew
            raise


def _waiting(count: int, first: Any, now: datetime) -> Waiting:
    return Waiting(count=count, oldest_s=_age(first, now))


def _age(then: Any, now: datetime) -> float:
    """Seconds since a time as the database gives it; our clock may be a little behind another worker's."""
    if then is None:
        return 0.0
    since = then if isinstance(then, datetime) else datetime.fromisoformat(then)
    return max((now - since).total_seconds(), 0.0)
