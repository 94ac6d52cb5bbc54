"""Idempotency keys as Adyen keeps them (docs.adyen.com/development-resources/api-idempotency).

The first answer under a key is given again, whatever is asked the second time: parameters are not compared,
and keys belong to the company account, so not even the endpoint need be the same. Errors that are transient,
and requests that were turned away at the door, are not kept. Keys are forgotten after seven days.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from simulators.adyen.errors import in_progress, key_too_long
from simulators.clock import Clock
from simulators.store import Json, Store

KEPT_FOR_S = 7 * 24 * 3600
MAX_KEY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The first answer under a key."""

    status: int
    body: Json
    kept_at: float


class Idempotency:
    """The keys seen during the last week, and those whose first request is still being processed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._in_flight: set[str] = set()

    @contextmanager
    def claimed(self, key: str | None) -> Iterator[Kept | None]:
        """Hold the key for the block, with the answer kept under it if there is one.

        Raises AdyenError if the key is too long, or its first request is still being processed.
        """
        if key is None:
            yield None
            return
        if len(key) > MAX_KEY:
            raise key_too_long()
        if key in self._in_flight:
            raise in_progress()
        self._in_flight.add(key)
        try:
            yield self._kept(key)
        finally:
            self._in_flight.discard(key)

    def keep(self, key: str | None, *, status: int, body: Json) -> None:
        """Remember the first answer under a key."""
        if key is not None:
            kept = Kept(status=status, body=body, kept_at=self._clock.now())
            self._store.put("idempotency_key", key, asdict(kept))

    def _kept(self, key: str) -> Kept | None:
        found = self._store.get("idempotency_key", key)
        if found is None:
            return None
        if found["kept_at"] + KEPT_FOR_S <= self._clock.now():
            self._store.delete("idempotency_key", key)
            return None
        return Kept(**found)
