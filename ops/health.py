"""Whether a worker is alive, that is consuming, and ready, that is with a database and a broker that answer."""

from __future__ import annotations

from consumers.counts import Counts
from ledger.watch import Watch
from ops.looks import Look
from ops.metrics_server import Health

ANSWERS_GOOD_FOR_S = 1.0


def live(counts: Counts, *, within_s: float) -> Health:
    """Alive: the cycle has gone round, with its queues open, within so many seconds.

    A short loss of the broker is none of its business. One that lasts may be the worker's own fault: a new one has lost
    nothing, for nothing is kept in memory.
    """
    return Health(
        is_well=counts.not_consuming_s < within_s,
        told={
            "consumed": f"{counts.not_consuming_s:.1f} s ago",
            "cycle": f"{counts.still_s:.1f} s ago",
            "broker": "connected" if counts.broker_is_up else "away",
        },
    )


def ready(counts: Counts, database: Look[bool], broker: Look[dict[str, int]]) -> Health:
    """Ready: the worker's queues are open, and database and broker answer now."""
    database_answers = database.of_the_last(ANSWERS_GOOD_FOR_S) is not None
    broker_answers = broker.of_the_last(ANSWERS_GOOD_FOR_S) is not None
    return Health(
        is_well=counts.broker_is_up and database_answers and broker_answers,
        told={
            "database": database.trouble or "answers",
            "broker": broker.trouble or "answers",
            "queues": "open" if counts.broker_is_up else "not open",
        },
    )


def answers(watch: Watch) -> bool:
    """True.

    Raises:
        LedgerError: the database does not answer.
    """
    watch.ping()
    return True
