"""The real ledger with edges: around every transaction a worker can die, lose the database, or meet another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from ledger.ledger import Ledger, Turn
from ledger.records import Changes, Due, Loaded, OutboxEvent, Wanted
from tests.simulation.edges import Edge


class TurnWithEdges(Turn):
    """One transaction of the real ledger."""

    def __init__(self, turn: Turn, passed: Callable[[Edge], None]) -> None:
        self._turn = turn
        self._passed = passed

    def load(self, wanted: Wanted) -> Loaded:
        """See `Turn`."""
        loaded = self._turn.load(wanted)
        self._passed(Edge.LOADED)
        return loaded

    def write(self, changes: Changes) -> None:
        """See `Turn`."""
        self._turn.write(changes)


class LedgerWithEdges(Ledger):
    """One worker's ledger."""

    def __init__(self, url: str, passed: Callable[[Edge], None]) -> None:
        super().__init__(url)
        self.is_locked = False
        """Whether a transaction of ours holds what it has loaded."""
        self.commits = 0
        self._passed = passed

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """See `Ledger`."""
        self._passed(Edge.BEFORE_TURN)
        try:
            with super().turn() as turn:
                self.is_locked = True
                yield TurnWithEdges(turn, self._passed)
                self._passed(Edge.BEFORE_COMMIT)
        finally:
            self.is_locked = False
        self.commits += 1
        self._passed(Edge.AFTER_COMMIT)

    def due(self, *, now: datetime, limit: int) -> list[Due]:
        """See `Ledger`."""
        self._passed(Edge.LOOKING_FOR_TIMERS)
        return super().due(now=now, limit=limit)

    def stale_events(self, *, before: datetime, limit: int) -> list[OutboxEvent]:
        """See `Ledger`."""
        self._passed(Edge.LOOKING_INTO_OUTBOX)
        return super().stale_events(before=before, limit=limit)

    def claim(self, name: str, *, holder: str, now: datetime, until: datetime) -> bool:
        """See `Ledger`."""
        self._passed(Edge.CLAIMING)
        claimed = super().claim(name, holder=holder, now=now, until=until)
        self._passed(Edge.CLAIMED)
        return claimed
