"""PayPal-Request-Id as PayPal keeps it: what succeeded is not done again, and its latest state is told.

What was refused or failed is not kept: the same id then executes anew. Ids are forgotten, for orders after
6 hours and for payments after 45 days (both from the OpenAPI files). Parameters are not compared: PayPal
documents no such check. Two at once: the second is 409 (developer.paypal.com/reference/guidelines/idempotency).
That an id counts for one kind of call, and not for all, is the simulator's reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from simulators.clock import Clock
from simulators.paypal.errors import Conflict, InvalidRequest
from simulators.store import Store

MAX_ID = 108
ORDERS_KEPT_FOR_S = 6 * 3600
PAYMENTS_KEPT_FOR_S = 45 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request that wants to execute under an id."""

    verb: str
    request_id: str
    kept_for_s: int

    @property
    def key(self) -> str:
        """What the id is kept under."""
        return f"{self.verb} {self.request_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the first successful request under an id made or changed."""

    kind: str
    id: str
    kept_at: float


class RequestIds:
    """The ids seen, and those whose request is still being executed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._in_flight: set[str] = set()

    @contextmanager
    def claimed(self, claim: Claim | None) -> Iterator[Kept | None]:
        """Hold the id for the block, with what is kept under it. Raises InvalidRequest, Conflict."""
        if claim is None:
            yield None
            return
        if not 1 <= len(claim.request_id) <= MAX_ID:
            raise InvalidRequest("INVALID_STRING_LENGTH", description="PayPal-Request-Id")
        if claim.key in self._in_flight:
            raise Conflict()
        self._in_flight.add(claim.key)
        try:
            yield self._kept(claim)
        finally:
            self._in_flight.discard(claim.key)

    def keep(self, claim: Claim | None, *, kind: str, id: str) -> None:
        """Remember what was done under an id."""
        if claim is not None:
            kept = Kept(kind=kind, id=id, kept_at=self._clock.now())
            self._store.put("request_id", claim.key, asdict(kept))

    def _kept(self, claim: Claim) -> Kept | None:
        found = self._store.get("request_id", claim.key)
        if found is None:
            return None
        if found["kept_at"] + claim.kept_for_s <= self._clock.now():
            self._store.delete("request_id", claim.key)
            return None
        return Kept(**found)
