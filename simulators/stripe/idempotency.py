"""Idempotency keys as Stripe keeps them (docs.stripe.com/api/idempotent_requests).

The first status and body under a key are kept and replayed, whether it was 200, 402 or 500; what was refused
before it began is not. Keys are forgotten after a day: the same key then executes anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from simulators.clock import Clock
from simulators.store import Json, Store
from simulators.stripe.errors import InvalidRequest, key_in_use, other_endpoint, other_parameters

KEPT_FOR_S = 24 * 3600
MAX_KEY = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request that wants to execute under a key."""

    key: str
    endpoint: str
    parameters: str
    """As they were sent; order matters no more to Stripe than to us, so they come sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The first answer under a key."""

    endpoint: str
    parameters: str
    status: int
    body: Json
    request_id: str
    kept_at: float


class Idempotency:
    """The keys seen during the last day, and those whose first request is still being executed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._in_flight: dict[str, Claim] = {}

    @contextmanager
    def claimed(self, claim: Claim | None) -> Iterator[Kept | None]:
        """Hold the key for the block, with the answer kept under it if there is one.

        Raises StripeError if the key belongs to another request, or to one that is still being executed.
        """
        if claim is None:
            yield None
            return
        if len(claim.key) > MAX_KEY:
            raise InvalidRequest(f"Idempotency keys can be at most {MAX_KEY} characters.")
        first = self._in_flight.get(claim.key) or self._kept(claim.key)
        if first and first.endpoint != claim.endpoint:
            raise other_endpoint(claim.key, first=first.endpoint, now=claim.endpoint)
        if first and first.parameters != claim.parameters:
            raise other_parameters(claim.key)
        if isinstance(first, Claim):
            raise key_in_use(claim.key)
        self._in_flight[claim.key] = claim
        try:
            yield first
        finally:
            del self._in_flight[claim.key]

    def keep(self, claim: Claim | None, *, status: int, body: Json, request_id: str) -> None:
        """Remember the first answer under a key."""
        if claim is None:
            return
        kept = Kept(
            endpoint=claim.endpoint,
            parameters=claim.parameters,
            status=status,
            body=body,
            request_id=request_id,
            kept_at=self._clock.now(),
        )
        self._store.put("idempotency_key", claim.key, asdict(kept))

    def _kept(self, key: str) -> Kept | None:
        found = self._store.get("idempotency_key", key)
        if found is None:
            return None
        if found["kept_at"] + KEPT_FOR_S <= self._clock.now():
            self._store.delete("idempotency_key", key)
            return None
        return Kept(**found)
