"""One call to Adyen from its idempotency key to its answer, with the faults that come between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from simulators.adyen import errors, modifications, payments
from simulators.adyen.account import Account, Execution, Step
from simulators.adyen.cards import CARDS
from simulators.adyen.checks import check
from simulators.adyen.errors import AdyenError, Turned
from simulators.adyen.idempotency import Idempotency
from simulators.adyen.operations import Operation
from simulators.adyen.webhooks import PATIENCE, Endpoint, pack
from simulators.clock import Clock
from simulators.deliveries import PostOffice
from simulators.faults import DEFAULT_SECONDS, FAULTS, Armed, Ending, Fault, FaultBox, Match, Signs
from simulators.statistics import Statistics
from simulators.store import Json, Store

TEST_FAULTS = {"NO_CONNECTION_AVAILABLE": "error_500_before", "IOEXCEPTION_RECEIVED": "error_500_kept"}
"""`additionalData.RequestedTestErrorResponseCode`, Adyen's own way to ask its test platform for an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that came with a good API key to an endpoint that exists."""

    operation: Operation
    path: str
    psp: str
    """The payment in the path, or empty."""
    body: Json
    idempotency_key: str | None
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    body: Json
    is_transient: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """What goes back when the answer is lost on the way: nothing, or a page of a proxy's."""

    ending: Literal[Ending.HANG_UP, Ending.HTML_502]


class AdyenSimulator:
    """Adyen: an account, the idempotency keys, the webhooks, and the faults that wait."""

    def __init__(
        self,
        *,
        data_file: Path | None,
        merchant_account: str,
        settle_after_s: float,
        many_captures: bool = False,
    ) -> None:
        self._store = Store(data_file)
        self.clock = Clock(float((self._store.get("clock", "clock") or {"ahead_s": 0})["ahead_s"]))
        self.faults = FaultBox()
        self.statistics = Statistics()
        self.office = PostOffice(
            self._store,
            self.clock,
            endpoint=Endpoint(),
            pack=pack,
            patience=PATIENCE,
            do_what_is_due=self._do_what_is_due,
        )
        self._account = Account(
            self._store,
            self.clock,
            self.office,
            code=merchant_account,
            settle_after_s=settle_after_s,
            many_captures=many_captures,
        )
        self._idempotency = Idempotency(self._store, self.clock)
        self._triggered: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Deliver no more and release the data file."""
        self.office.stop()
        self._store.close()

    async def answer(self, call: Call) -> Answer | Broken:
        """Serve one call."""
        self.statistics.seen(f"POST {call.operation.path}", call.idempotency_key)
        self._do_what_is_due()
        try:
            return await self._answer(call)
        except AdyenError as error:
            return _as_answer(error)

    def follow_3ds_link(self, psp: str, decision: Literal["succeed", "fail"]) -> Json:
        """What the customer does at the bank. Raises AdyenError for a link that leads nowhere."""
        with self._account.execution(Execution()):
            return payments.follow_link(self._account, psp, decision)

    def advance(self, seconds: float) -> None:
        """Move the clock ahead and do what falls due. Raises ValueError for a step back."""
        self.clock.advance(seconds)
        self._store.put("clock", "clock", {"ahead_s": self.clock.ahead_s})
        self._do_what_is_due()
        self.office.wake()

    def decide(self, reference: str, decision: Literal["succeed", "fail"]) -> None:
        """End a payment that waits or asks for its customer, or a modification; by psp or merchant reference.

        Raises ValueError if it cannot end so.
        """
        account = self._account
        with account.execution(Execution()):
            if payment := account.payment_called(reference):
                payments.decide(account, payment, decision)
            elif modification := account.modification_called(reference):
                modifications.execute(account, modification, decision)
            else:
                raise ValueError(f"there is no payment and no modification {reference}")
        self.office.wake()

    def by_hand(self, reference: str, kind: modifications.ByHand, amount: int | None) -> str:
        """What somebody does in the customer area: nothing of ours is given along. Gives its pspReference.

        Raises ValueError if there is no such payment.
        """
        account = self._account
        with account.execution(Execution()):
            payment = account.payment_called(reference)
            if payment is None:
                raise ValueError(f"there is no payment {reference}")
            psp = modifications.by_hand(account, payment, kind, amount)
        self.office.wake()
        return psp

    def undo(self, reference: str, event: modifications.Failure) -> None:
        """Let a capture or refund that succeeded fail after all; a sale goes by its payment.

        Raises ValueError if it has not succeeded.
        """
        account = self._account
        with account.execution(Execution()):
            if modification := account.modification_called(reference):
                modifications.undo(account, modification, event)
            elif payment := account.payment_called(reference):
                modifications.undo_sale(account, payment, event)
            else:
                raise ValueError(f"there is no payment and no modification {reference}")
        self.office.wake()

    def record(self) -> list[Json]:
        """Movements of money, first to last."""
        return list(self._store.newest_first("record"))[::-1]

    def events(self) -> list[Json]:
        """Changes of state, first to last."""
        return list(self._store.newest_first("event"))[::-1]

    async def _answer(self, call: Call) -> Answer | Broken:
        if call.operation.names_account and call.body.get("merchantAccount") != self._account.code:
            raise errors.wrong_account()
        with self._idempotency.claimed(call.idempotency_key) as kept:
            armed = self._fault_for(call, is_repeat=kept is not None)
            fault = FAULTS[armed.name] if armed else None
            if armed and fault and fault.waits_before:
                await asyncio.sleep(armed.seconds)
            if kept:
                self.statistics.replayed(call.idempotency_key or "")
                answer = Answer(status=kept.status, body=kept.body)
            else:
                answer = self._carry_out(call, fault)
            if armed and fault and fault.waits_after:
                await asyncio.sleep(armed.seconds)
            self.office.wake()
            return _ended(answer, fault)

    def _carry_out(self, call: Call, fault: Fault | None) -> Answer:
        """Execute, or refrain from it; keep what a repeat is to hear."""
        broken = _as_answer(errors.internal_error(is_transient=False))
        if fault is not None and not fault.executes:
            if fault.ending_is_kept:
                self._idempotency.keep(call.idempotency_key, status=broken.status, body=broken.body)
            return broken
        execution = Execution(idempotency_key=call.idempotency_key, base_url=call.base_url)
        with self._account.execution(execution):
            answer = self._run(call)
            kept = broken if fault and fault.ending_is_kept else answer
            self._idempotency.keep(call.idempotency_key, status=kept.status, body=kept.body)
        self.statistics.executed(call.idempotency_key)
        return answer

    def _run(self, call: Call) -> Answer:
        try:
            check(call.body, call.operation.takes, call.operation.requires)
            body = call.operation.run(self._account, call.psp, call.body)
            return Answer(status=call.operation.status, body=body)
        except Turned:
            raise
        except AdyenError as error:
            return _as_answer(error)

    def _fault_for(self, call: Call, *, is_repeat: bool) -> Armed | None:
        signs = self._signs(call)
        name = None if is_repeat else self._trigger(call, signs)
        if name is None:
            return self.faults.take(signs)
        if call.idempotency_key is not None:
            if (call.idempotency_key, name) in self._triggered:
                return self.faults.take(signs)
            self._triggered.add((call.idempotency_key, name))
        return Armed(id=0, name=name, times=1, seconds=_seconds(signs), match=Match())

    def _signs(self, call: Call) -> Signs:
        """What a fault may know the call by: its own metadata and token, and those of its payment."""
        payment = self._account.find("payment", call.psp) or {"metadata": {}, "token": None}
        method = call.body.get("paymentMethod")
        own = method.get("storedPaymentMethodId") if isinstance(method, dict) else None
        return Signs(
            method="POST",
            path=call.path,
            idempotency_key=call.idempotency_key,
            metadata={**payment["metadata"], **_own_metadata(call)},
            token=own if isinstance(own, str) else payment["token"],
        )

    def _trigger(self, call: Call, signs: Signs) -> str | None:
        """The fault that the call itself asks for: by metadata, by Adyen's own test code, or by its card."""
        name = _own_metadata(call).get("simulate") or signs.metadata.get(f"simulate_{call.operation.verb}")
        if name is not None and name not in FAULTS:
            raise errors.unreadable(f"No fault is named {name}; there are {', '.join(FAULTS)}.")
        if name is None and call.operation.verb == "pay":
            name = TEST_FAULTS.get(_test_error(call) or "")
        if name is None and call.operation.verb == "pay" and signs.token in CARDS:
            name = CARDS[signs.token].fault
        return name

    def _do_what_is_due(self) -> None:
        account = self._account
        due = account.take_due()
        if not due:
            return
        with account.execution(Execution()):
            for step, psp in due:
                match step:
                    case Step.FINISH_PAYMENT:
                        payments.finish(account, account.get("payment", psp))
                    case Step.CAPTURE_BY_ITSELF:
                        payments.capture_by_itself(account, account.get("payment", psp))
                    case Step.EXPIRE:
                        payments.expire(account, account.get("payment", psp))
                    case Step.EXECUTE:
                        modification = account.get("modification", psp)
                        account.executing = Execution(idempotency_key=modification["idempotency_key"])
                        modifications.execute(account, modification)
                    case Step.UNDO:
                        modifications.undo_as_its_card_says(account, psp)


def _seconds(signs: Signs) -> float:
    asked = signs.metadata.get("simulate_seconds", str(DEFAULT_SECONDS))
    try:
        return float(asked)
    except ValueError as error:
        raise errors.unreadable(f"simulate_seconds is not a number: {asked}") from error


def _own_metadata(call: Call) -> dict[str, str]:
    return _strings(call.body.get("metadata"))


def _test_error(call: Call) -> str | None:
    more = {name.lower(): value for name, value in _strings(call.body.get("additionalData")).items()}
    return more.get("requestedtesterrorresponsecode")


def _strings(value: object) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: item for key, item in pairs if isinstance(item, str)}


def _as_answer(error: AdyenError) -> Answer:
    return Answer(status=error.status, body=error.body, is_transient=error.is_transient)


def _ended(answer: Answer, fault: Fault | None) -> Answer | Broken:
    ending = fault.ending if fault else Ending.ANSWER
    match ending:
        case Ending.ANSWER:
            return answer
        case Ending.HANG_UP | Ending.HTML_502:
            return Broken(ending)
        case Ending.ERROR_500:
            return _as_answer(errors.internal_error(is_transient=not (fault and fault.ending_is_kept)))
        case Ending.RATE_LIMIT_429:
            return _as_answer(errors.rate_limited())
        case Ending.CONFLICT_409:
            return _as_answer(errors.in_progress())
        case _:
            assert_never(ending)
