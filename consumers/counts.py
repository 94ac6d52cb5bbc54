"""What a worker has done since its start, counted in memory once a turn; whoever shows it (`ops.metrics`) reads it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Spread:
    """How often a measure came to at most each of some bounds: what Prometheus calls a histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, not added up, and one for what exceeds them all."""
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts:
    """Written by the cycle's thread alone; reading from another sees each count as it is at some moment."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.turn_sizes = Spread(SIZES)
        """Things a committed turn settled: messages, answers, timers."""
        self.turn_seconds = Spread(SECONDS)
        """From the beginning of a turn to its commit, conflicts with other workers included."""
        self.turns_failed = 0
        self.deliveries = 0
        self.events: Counter[str] = Counter()
        """Events handed to the broker right after their turn, by type; the relay has the others."""
        self.confirmed = 0
        self.unconfirmed = 0
        """Publishes that the broker refused, or was silent about."""
        self.relayed = 0
        self.dead_letters: Counter[tuple[str, str]] = Counter()
        """By queue and reason. One that does not reach its queue is made, and counted, again."""
        self.card_data: Counter[str] = Counter()
        """Messages that brought card data, by queue."""
        self.attention = 0
        self.unmatched = 0
        self.broker_connections = 0
        self.broker_is_up = False
        self._stepped_at = monotonic()
        self._consumed_at = self._stepped_at

    def stepped(self) -> None:
        """The cycle has gone round once more."""
        self._stepped_at = self._monotonic()
        if self.broker_is_up:
            self._consumed_at = self._stepped_at

    @property
    def still_s(self) -> float:
        """For how long the cycle has not gone round, in seconds."""
        return self._monotonic() - self._stepped_at

    @property
    def not_consuming_s(self) -> float:
        """How long ago the cycle last went round with its queues open, in seconds."""
        return self._monotonic() - self._consumed_at
