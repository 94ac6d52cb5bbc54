"""The merchant account at Adyen: its payments, its clock, and the one place where changes are noted and told."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from simulators.adyen.errors import no_original
from simulators.adyen.webhooks import Endpoint, item_of
from simulators.clock import Clock
from simulators.deliveries import PostOffice
from simulators.store import Json, Store

ALPHABET = "23456789BCDFGHJKLMNPQRSTVWXZ"
"""Of which pspReferences are made; no vowels, so no words."""


class Step(StrEnum):
    """What may fall due on a payment or modification some time after the call that made it."""

    FINISH_PAYMENT = "finish_payment"
    CAPTURE_BY_ITSELF = "capture_by_itself"
    EXPIRE = "expire"
    EXECUTE = "execute"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """On whose behalf the account changes: a request, or the clock (all empty)."""

    idempotency_key: str | None = None
    base_url: str = ""
    """Where the simulator is reached, for links the customer must follow."""


class Account:
    """Payments and modifications by pspReference. Every change happens within `execution`, wholly or not at all."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        office: PostOffice[Endpoint],
        *,
        code: str,
        settle_after_s: float,
        many_captures: bool,
    ) -> None:
        self.clock = clock
        self.code = code
        """The merchant account's name."""
        self.settle_after_s = settle_after_s
        self.many_captures = many_captures
        """Whether what a partial capture leaves stays held."""
        self._store = store
        self._office = office
        self.executing = Execution()

    @contextmanager
    def execution(self, execution: Execution) -> Iterator[None]:
        """Execute one request, or one step of the clock."""
        self.executing = execution
        with self._store.transaction():
            yield

    def new_psp(self) -> str:
        """A pspReference as Adyen's look: 16 capitals and digits."""
        return "".join(secrets.choice(ALPHABET) for _ in range(16))

    def find(self, kind: str, psp: str) -> Json | None:
        """A payment or modification, or None."""
        return self._store.get(kind, psp)

    def get(self, kind: str, psp: str) -> Json:
        """A payment or modification a caller named. Raises Unprocessable if there is none."""
        found = self._store.get(kind, psp)
        if found is None:
            raise no_original()
        return found

    def payments_of(self, reference: str) -> list[Json]:
        """The payments a merchant reference was given to, first to last; it need not be one only."""
        return list(self._store.newest_first("payment", owner=reference))[::-1]

    def payment_called(self, reference: str) -> Json | None:
        """A payment by its pspReference, or the first of a merchant reference."""
        return self.find("payment", reference) or next(iter(self.payments_of(reference)), None)

    def modification_called(self, reference: str) -> Json | None:
        """A modification by its pspReference, or the last of a merchant reference."""
        named = self._store.newest_first("modification", owner=reference) if reference else iter(())
        return self.find("modification", reference) or next(iter(named), None)

    def save(self, kind: str, thing: Json, *, event: str) -> Json:
        """Write a payment or modification, and note what happened to it."""
        self._store.put(kind, thing["psp"], thing, owner=thing.get("reference") or "")
        self._note("event", {"at": self.clock.now(), "type": event, "id": thing["psp"]})
        return thing

    def moved(self, operation: str, payment: Json, *, amount: int, modification: Json | None = None) -> None:
        """Put a movement of money on the record."""
        self._note(
            "record",
            {
                "at": self.clock.now(),
                "operation": operation,
                "payment": payment["psp"],
                "reference": payment["reference"],
                "modification": modification["psp"] if modification else None,
                "modification_reference": modification["reference"] if modification else None,
                "amount": amount,
                "currency": payment["amount"]["currency"],
                "metadata": payment["metadata"],
                "idempotency_key": self.executing.idempotency_key,
            },
        )

    def tell(
        self,
        event_code: str,
        payment: Json,
        *,
        success: bool = True,
        reason: str = "",
        modification: Json | None = None,
        more: Json | None = None,
    ) -> None:
        """Let a webhook be delivered: about the payment, or about a modification of it."""
        subject = modification or payment
        item = item_of(
            event_code,
            psp_reference=subject["psp"],
            # What a modification was called by its sender; the payment's name where it was given none.
            reference=subject["reference"] or payment["reference"],
            amount=subject["amount"] or payment["amount"],
            account=self.code,
            at=self.clock.now(),
            success=success,
            reason=reason,
            original=payment["psp"] if modification else None,
            more=more,
        )
        self._office.put(item)

    def tell_of_technical_cancel(self, cancel: Json, payment: Json | None, *, reason: str) -> None:
        """As `tell`; such a webhook goes by the name of the payment, as in Adyen's sample of it."""
        item = item_of(
            "TECHNICAL_CANCEL",
            psp_reference=cancel["psp"],
            reference=cancel["payment_reference"],
            amount=payment["amount"] if payment else {"currency": "EUR", "value": 0},
            account=self.code,
            at=self.clock.now(),
            success=not reason,
            reason=reason,
            original=payment["psp"] if payment else None,
        )
        self._office.put(item)

    def later(self, step: Step, psp: str, *, in_s: float) -> None:
        """Let a step fall due, by the simulator's clock."""
        self._store.schedule(self.clock.now() + in_s, step, psp)

    def take_due(self) -> list[tuple[Step, str]]:
        """Take out the steps whose time has come, earliest first, with the references they are for."""
        return [(Step(step), psp) for step, psp in self._store.take_due(self.clock.now())]

    def _note(self, kind: str, line: Json) -> None:
        self._store.put(kind, secrets.token_hex(12), line)
