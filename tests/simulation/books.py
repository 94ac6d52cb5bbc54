"""The real ledger with edges: around every transaction a worker can die, lose the database, or meet another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from ledger.ledger import Ledger, Turn
from ledger.records import Changes, Due, Found, Loaded, OutboxEvent, Trace, Wanted
from tests.keys import KEYRING
from tests.simulation.edges import Edge


class TurnWithEdges(Turn):
    """One transaction of the real ledger."""

    def __init__(self, turn: Turn, passed: Callable[[Edge], None]) -> None:
        self.written = ""
        self._turn = turn
        self._passed = passed

    def find(self, traces: Iterable[Trace]) -> dict[Trace, Found]:
        """See `Turn`."""
        return self._turn.find(traces)

    def load(self, wanted: Wanted) -> Loaded:
        """See `Turn`."""
        loaded = self._turn.load(wanted)
        self._passed(Edge.LOADED)
        return loaded

    def write(self, changes: Changes) -> None:
        """See `Turn`."""
        self.written = described(changes)
        self._turn.write(changes)

    def stored(self, streams: list[str]) -> list[OutboxEvent]:
        """See `Turn`."""
        return self._turn.stored(streams)


class LedgerWithEdges(Ledger):
    """One worker's ledger."""

    def __init__(self, url: str, passed: Callable[[Edge], None], tell: Callable[[str], None]) -> None:
        super().__init__(url, keyring=KEYRING)
        self.is_locked = False
        """Whether a transaction of ours holds what it has loaded."""
        self._passed = passed
        self._tell = tell

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """See `Ledger`."""
        self._passed(Edge.BEFORE_TURN)
        try:
            with super().turn() as turn:
                self.is_locked = True
                with_edges = TurnWithEdges(turn, self._passed)
                yield with_edges
                self._passed(Edge.BEFORE_COMMIT)
        finally:
            self.is_locked = False
        self._tell(with_edges.written)
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


def described(changes: Changes) -> str:
    """What a turn writes, in few words."""
    words = [f"{p.payment_id} {p.status}" for p in (*changes.new_payments, *changes.payments)]
    words += [f"{c.capture_id} {c.status}" for c in (*changes.new_captures, *changes.captures)]
    words += [f"notice {row.notice_id} {row.state}" for row in changes.callbacks]
    words += [f"{r.refund_id} {r.status}" for r in (*changes.new_refunds, *changes.refunds)]
    words += [f"{a.attempt_id}#{a.call_number} {a.state}" for a in (*changes.new_attempts, *changes.attempts)]
    words += [f"{e.type} {e.event_id}" for e in (*changes.events, *changes.rejections)]
    words += [f"again {subject}" for _, subject in sorted(changes.announce_again)]
    words += [f"published {stream}.e{sequence}" for stream, sequence in changes.published]
    return ", ".join(words) or "nothing"
