"""Counts of what reached a simulator, so that a test can tell a repeat from a second execution."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass


@dataclass(slots=True, kw_only=True)
class KeyCount:
    """What happened under one idempotency key since the simulator started."""

    seen: int = 0
    executed: int = 0
    replayed: int = 0


class Statistics:
    """Requests by endpoint, and by idempotency key."""

    def __init__(self) -> None:
        self._by_endpoint: Counter[str] = Counter()
        self._by_key: dict[str, KeyCount] = {}

    def seen(self, endpoint: str, key: str | None) -> None:
        """Count a request that arrived."""
        self._by_endpoint[endpoint] += 1
        if key is not None:
            self._of(key).seen += 1

    def executed(self, key: str | None) -> None:
        """Count an execution."""
        if key is not None:
            self._of(key).executed += 1

    def replayed(self, key: str) -> None:
        """Count an answer given a second time without executing."""
        self._of(key).replayed += 1

    def as_json(self) -> dict[str, object]:
        """Both counts, for the control interface."""
        return {
            "total": self._by_endpoint.total(),
            "by_endpoint": dict(self._by_endpoint),
            "by_idempotency_key": {key: asdict(counts) for key, counts in self._by_key.items()},
        }

    def _of(self, key: str) -> KeyCount:
        return self._by_key.setdefault(key, KeyCount())
