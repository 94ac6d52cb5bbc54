"""The merchant's account at Stripe: its objects, its clock, and the one place where changes are noted."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from simulators.clock import Clock
from simulators.store import Json, Store
from simulators.stripe.errors import missing
from simulators.stripe.webhooks import event_of


class Step(StrEnum):
    """What may fall due on an object some time after the call that made it."""

    EXPIRE_AUTHORIZATION = "expire_authorization"
    FINISH_PROCESSING = "finish_processing"
    FINISH_REFUND = "finish_refund"
    BOOK_CHARGE = "book_charge"


NOUNS = {"payment_method": "PaymentMethod"}
"""How error messages name an object, where it is not as in the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """On whose behalf the account changes: a request, or the clock (all empty)."""

    request_id: str | None = None
    idempotency_key: str | None = None
    base_url: str = ""
    """Where the simulator is reached, for links the customer must follow."""


def public(value: Any) -> Any:
    """The value without what the simulator keeps to itself."""
    if isinstance(value, dict):
        return {key: public(inner) for key, inner in value.items() if not key.startswith("_")}
    return [public(inner) for inner in value] if isinstance(value, list) else value


class Account:
    """Objects by id. Every change happens within `execution`, wholly or not at all."""

    def __init__(
        self, store: Store, clock: Clock, *, settle_after_s: float, tell: Callable[[Json], None]
    ) -> None:
        """`tell` takes every Event there is."""
        self.clock = clock
        self._tell = tell
        self.settle_after_s = settle_after_s
        self._store = store
        self.executing = Execution()

    @contextmanager
    def execution(self, execution: Execution) -> Iterator[None]:
        """Execute one request, or one step of the clock."""
        self.executing = execution
        with self._store.transaction():
            yield

    def now(self) -> int:
        """Seconds since 1970 UTC, whole as Stripe gives them."""
        return int(self.clock.now())

    def new_id(self, prefix: str) -> str:
        """An id as Stripe's look."""
        return f"{prefix}_{secrets.token_hex(12)}"

    def find(self, kind: str, id: str) -> Json | None:
        """An object, or None."""
        return self._store.get(kind, id)

    def get(self, kind: str, id: str, *, param: str, status: int = 400) -> Json:
        """An object a caller named. Raises InvalidRequest if there is none."""
        found = self._store.get(kind, id)
        if found is None:
            raise missing(NOUNS.get(kind, kind), id, param=param, status=status)
        return found

    def newest_first(
        self, kind: str, *, owner: str | None = None, after: str | None = None
    ) -> Iterator[Json]:
        """Objects of a kind, of one PaymentIntent or all, older than one or all."""
        return self._store.newest_first(kind, owner=owner, after=after)

    def save(self, changed: Json, *, event: str | None) -> Json:
        """Write an object, and tell what happened to it, under the name of Stripe's event if there is one."""
        kind, id = changed["object"], changed["id"]
        before = self._store.get(kind, id) if event is not None else None
        self._store.put(kind, id, changed, owner=changed.get("payment_intent") or "")
        if event is not None:
            self.happened(event, changed, before=before)
        return changed

    def happened(self, event: str, changed: Json, *, before: Json | None = None) -> None:
        """Tell what happened to an object that is written already."""
        self._note("event", {"at": self.clock.now(), "type": event, "id": changed["id"]})
        told = event_of(
            event,
            changed=public(changed),
            before=public(before),
            at=self.now(),
            request_id=self.executing.request_id,
            idempotency_key=self.executing.idempotency_key,
        )
        self._tell(told)

    def moved(self, operation: str, charge: Json, *, amount: int, refund: Json | None = None) -> None:
        """Put a movement of money on the record, with the intent's metadata and, over it, the refund's."""
        intent = self.find("payment_intent", charge["payment_intent"]) or {}
        self._note(
            "record",
            {
                "at": self.clock.now(),
                "operation": operation,
                "payment_intent": charge["payment_intent"],
                "charge": charge["id"],
                "refund": refund["id"] if refund else None,
                "amount": amount,
                "currency": charge["currency"],
                "metadata": {**intent.get("metadata", {}), **(refund or {}).get("metadata", {})},
                "idempotency_key": self.executing.idempotency_key,
                "request_id": self.executing.request_id,
            },
        )

    def later(self, step: Step, id: str, *, in_s: float) -> None:
        """Let a step on an object fall due, by the simulator's clock."""
        self._store.schedule(self.clock.now() + in_s, step, id)

    def take_due(self) -> list[tuple[Step, str]]:
        """Take out the steps whose time has come, earliest first, with the ids they are for."""
        return [(Step(step), id) for step, id in self._store.take_due(self.clock.now())]

    def _note(self, kind: str, line: Json) -> None:
        self._store.put(kind, self.new_id(kind), line)
