"""The merchant's account at PayPal: its objects, its clock, and the one place where changes are noted."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from simulators.clock import Clock
from simulators.paypal.errors import NotFound, Unprocessable
from simulators.store import Json, Store

MERCHANT_ID = "SMMERCHANT222"

Tell = Callable[[str, str, str], None]
"""Takes the kind and id of what has changed, and the name of PayPal's event for it."""

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class Step(StrEnum):
    """What may fall due on an object some time after the call that made it."""

    EXPIRE_AUTHORIZATION = "expire_authorization"
    EXPIRE_ORDER = "expire_order"
    FINISH_PENDING = "finish_pending"
    FINISH_REFUND = "finish_refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """On whose behalf the account changes: a request, or the clock (all empty)."""

    debug_id: str | None = None
    request_id: str | None = None
    """The PayPal-Request-Id."""
    base_url: str = ""
    """Where the simulator is reached, for links."""


class Merchant:
    """Objects by id. Every change happens within `execution`, wholly or not at all."""

    def __init__(self, store: Store, clock: Clock, *, settle_after_s: float, tell: Tell) -> None:
        """`tell` hears of every event once its execution has come to its end, and before it is kept."""
        self._tell = tell
        self._to_tell: list[tuple[str, str, str]] = []
        self.clock = clock
        self.settle_after_s = settle_after_s
        self._store = store
        self.executing = Execution()

    @contextmanager
    def execution(self, execution: Execution) -> Iterator[None]:
        """Execute one request, or one step of the clock."""
        self.executing = execution
        self._to_tell.clear()
        with self._store.transaction():
            yield
            # Only now: an order, say, is completed before the payment it lists is made.
            for told in self._to_tell:
                self._tell(*told)

    def time(self, *, in_s: float = 0) -> str:
        """The time, now or later, as PayPal writes it."""
        return datetime.fromtimestamp(self.clock.now() + in_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def new_id(self) -> str:
        """An id as PayPal's look: 17 capitals and digits, the same for every kind of object."""
        return "".join(secrets.choice(_ALPHABET) for _ in range(17))

    def find(self, kind: str, id: str) -> Json | None:
        """An object, or None."""
        return self._store.get(kind, id)

    def get(self, kind: str, id: str) -> Json:
        """An object a caller named. Raises NotFound."""
        found = self._store.get(kind, id)
        if found is None:
            raise NotFound()
        return found

    def of_order(self, kind: str, order_id: str) -> list[Json]:
        """The payments of an order, first to last."""
        return list(self._store.newest_first(kind, owner=order_id))[::-1]

    def save(self, kind: str, changed: Json, *, event: str | None) -> Json:
        """Write an object and note what happened to it, under the name of PayPal's webhook event if there is one."""
        changed["update_time"] = self.time()
        self._store.put(kind, changed["id"], changed, owner=changed.get("_order_id", ""))
        if event is not None:
            self._note("event", {"at": self.clock.now(), "type": event, "id": changed["id"]})
            self._to_tell.append((kind, changed["id"], event))
        return changed

    def forget(self, kind: str, id: str) -> None:
        """Delete an object."""
        self._store.delete(kind, id)

    def moved(self, operation: str, payment: Json, *, amount: Json | None = None, **ids: str) -> None:
        """Put a movement of money on the record."""
        amount = amount or payment["amount"]
        self._note(
            "record",
            {
                "at": self.clock.now(),
                "operation": operation,
                "order": payment["_order_id"],
                "authorization": ids.get("authorization"),
                "capture": ids.get("capture"),
                "refund": ids.get("refund"),
                "amount": amount["value"],
                "currency": amount["currency_code"],
                "custom_id": payment.get("custom_id"),
                "order_custom_id": self.get("order", payment["_order_id"])["_unit"].get("custom_id"),
                "invoice_id": payment.get("invoice_id"),
                "idempotency_key": self.executing.request_id,
                "debug_id": self.executing.debug_id,
            },
        )

    def use_invoice(self, use: str, invoice_id: str | None, *, field: str = "/invoice_id") -> None:
        """Take an invoice id that must not come twice. Raises Unprocessable."""
        if invoice_id is None:
            return
        key = f"{use} {invoice_id}"
        if self.find("invoice", key):
            raise Unprocessable("DUPLICATE_INVOICE_ID", field=field)
        self._store.put("invoice", key, {"id": key})

    def later(self, step: Step, id: str, *, in_s: float) -> None:
        """Let a step on an object fall due, by the simulator's clock."""
        self._store.schedule(self.clock.now() + in_s, step, id)

    def take_due(self) -> list[tuple[Step, str]]:
        """Take out the steps whose time has come, earliest first, with the ids they are for."""
        return [(Step(step), id) for step, id in self._store.take_due(self.clock.now())]

    def link(self, rel: str, path: str, method: str = "GET") -> Json:
        """A link to follow."""
        return {"href": f"{self.executing.base_url}{path}", "rel": rel, "method": method}

    def _note(self, kind: str, line: Json) -> None:
        self._store.put(kind, self.new_id(), line)
