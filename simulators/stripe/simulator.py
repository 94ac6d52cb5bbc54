"""One call to Stripe from its idempotency key to its answer, with the faults that come between."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from simulators.clock import Clock
from simulators.deliveries import PostOffice
from simulators.faults import DEFAULT_SECONDS, FAULTS, Armed, Ending, FaultBox, Match, Signs
from simulators.statistics import Statistics
from simulators.store import Json, Store
from simulators.stripe import charges, dashboard, errors, intents, refunds
from simulators.stripe.account import Account, Execution, Step, public
from simulators.stripe.cards import CARDS
from simulators.stripe.errors import InvalidRequest, StripeError
from simulators.stripe.forms import Form
from simulators.stripe.idempotency import Claim, Idempotency
from simulators.stripe.operations import Operation
from simulators.stripe.parameters import Params, check
from simulators.stripe.payment_methods import token_of
from simulators.stripe.reading import expanded
from simulators.stripe.webhooks import PATIENCE, StripeEndpoint, pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that came with a good API key to an endpoint that exists."""

    operation: Operation
    path: str
    object_id: str
    """The id in the path, or empty."""
    form: Form
    idempotency_key: str | None
    request_id: str
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    body: Json
    original_request: str | None = None
    """The request that was executed, if this is its answer once more."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What goes back when the answer is lost on the way: nothing, or a page of a proxy's."""

    ending: Literal[Ending.HANG_UP, Ending.HTML_502]


class StripeSimulator:
    """Stripe: an account, the idempotency keys, and the faults that wait."""

    def __init__(self, *, data_file: Path | None, settle_after_s: float) -> None:
        self._store = Store(data_file)
        self.clock = Clock(float((self._store.get("clock", "clock") or {"ahead_s": 0})["ahead_s"]))
        self.faults = FaultBox()
        self.statistics = Statistics()
        self.office = PostOffice(
            self._store,
            self.clock,
            endpoint=StripeEndpoint(),
            pack=pack,
            patience=PATIENCE,
            do_what_is_due=self._do_what_is_due,
        )
        self._account = Account(
            self._store,
            self.clock,
            settle_after_s=settle_after_s,
            tell=lambda event: self.office.put(event, id=event["id"]),
        )
        self._idempotency = Idempotency(self._store, self.clock)
        self._triggered: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Deliver no more and release the data file."""
        self.office.stop()
        self._store.close()

    async def answer(self, call: Call) -> Answer | Broken:
        """Serve one call."""
        self.statistics.seen(f"{call.operation.method} {call.operation.path}", call.idempotency_key)
        self._do_what_is_due()
        try:
            return await self._answer(call)
        except StripeError as error:
            return Answer(status=error.status, body=public(error.body))
        finally:
            self.office.wake()

    def follow_3d_secure_link(self, intent_id: str, decision: Literal["succeed", "fail"]) -> Json:
        """What the customer does at the bank. Raises InvalidRequest for a link that leads nowhere."""
        self._do_what_is_due()
        with self._account.execution(Execution()):
            intent = self._account.get("payment_intent", intent_id, param="intent", status=404)
            asked = intent["next_action"] or {}
            after = intents.authenticate(self._account, intent, decision)
        self.office.wake()
        return {"intent": after, "return_url": asked.get("redirect_to_url", {}).get("return_url")}

    def advance(self, seconds: float) -> None:
        """Move the clock ahead and do what falls due. Raises ValueError for a step back."""
        self.clock.advance(seconds)
        self._store.put("clock", "clock", {"ahead_s": self.clock.ahead_s})
        self._do_what_is_due()
        self.office.wake()

    def decide(self, reference: str, decision: Literal["succeed", "fail"]) -> None:
        """End an intent that is processing or waits for the customer, or a refund.

        Raises ValueError if it cannot end so.
        """
        with self._account.execution(Execution()):
            if refund := self._account.find("refund", reference):
                refunds.decide(self._account, refund, decision)
            elif intent := self._account.find("payment_intent", reference):
                if intent["status"] == "requires_action":
                    intents.authenticate(self._account, intent, decision)
                else:
                    intents.decide(self._account, intent, decision)
            else:
                raise ValueError(f"there is no payment and no refund {reference}")
        self.office.wake()

    def in_dashboard(self, action: dashboard.Action, intent_id: str, *, amount: int | None) -> Json:
        """What somebody does in the dashboard: under no key of the shop's, and without its metadata.

        Raises ValueError for what Stripe does not allow.
        """
        self._do_what_is_due()
        account = self._account
        try:
            with account.execution(Execution(request_id=account.new_id("req"))):
                done = dashboard.act(account, action, intent_id, amount=amount)
        except StripeError as error:
            raise ValueError(str(error)) from error
        self.office.wake()
        found: Json = public(done)
        return found

    def record(self) -> list[Json]:
        """Movements of money, first to last."""
        return list(self._store.newest_first("record"))[::-1]

    def events(self) -> list[Json]:
        """Changes of state, first to last."""
        return list(self._store.newest_first("event"))[::-1]

    async def _answer(self, call: Call) -> Answer | Broken:
        claim = _claim(call)
        with self._idempotency.claimed(claim) as kept:
            armed = self._fault_for(call, is_repeat=kept is not None)
            fault = FAULTS[armed.name] if armed else None
            if armed and fault and fault.waits_before:
                await asyncio.sleep(armed.seconds)
            if kept:
                self.statistics.replayed(call.idempotency_key or "")
                answer = Answer(status=kept.status, body=kept.body, original_request=kept.request_id)
            elif fault is None or fault.executes:
                instead = errors.internal_error() if fault and fault.ending_is_kept else None
                answer = self._execute(call, claim, keep_instead=instead)
            else:
                answer = self._refrain(call, claim, keeps=fault.ending_is_kept)
            if armed and fault and fault.waits_after:
                await asyncio.sleep(armed.seconds)
            return _ended(answer, fault.ending if fault else Ending.ANSWER, call)

    def _execute(self, call: Call, claim: Claim | None, *, keep_instead: StripeError | None) -> Answer:
        execution = Execution(
            request_id=call.request_id, idempotency_key=call.idempotency_key, base_url=call.base_url
        )
        try:
            params = check(call.form, call.operation.takes, call.operation.requires)
            with self._account.execution(execution):
                answer = self._run(call, params)
                told = Answer(status=keep_instead.status, body=keep_instead.body) if keep_instead else answer
                self._idempotency.keep(claim, status=told.status, body=told.body, request_id=call.request_id)
        except InvalidRequest as error:
            return Answer(status=error.status, body=public(error.body))
        self.statistics.executed(call.idempotency_key)
        return answer

    def _run(self, call: Call, params: Params) -> Answer:
        try:
            body = call.operation.run(self._account, call.object_id, params)
            return Answer(status=200, body=public(expanded(self._account, body, params.get("expand", []))))
        except InvalidRequest:
            raise
        except StripeError as error:
            return Answer(status=error.status, body=public(error.body))

    def _refrain(self, call: Call, claim: Claim | None, *, keeps: bool) -> Answer:
        error = errors.internal_error()
        if keeps:
            self._idempotency.keep(claim, status=error.status, body=error.body, request_id=call.request_id)
        return Answer(status=error.status, body=error.body)

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
        """What a fault may know the call by: its own metadata and token, and those of its intent."""
        named = call.object_id or call.form.get("payment_intent", "")
        intent = self._account.find("payment_intent", str(named)) or {"metadata": {}, "payment_method": None}
        token = call.form.get("payment_method", intent["payment_method"])
        return Signs(
            method=call.operation.method,
            path=call.path,
            idempotency_key=call.idempotency_key,
            metadata={**intent["metadata"], **_own_metadata(call)},
            token=token_of(self._account, token if isinstance(token, str) else None),
        )

    def _trigger(self, call: Call, signs: Signs) -> str | None:
        """The fault that the call itself asks for, by metadata or by its card."""
        verb = call.operation.verb
        own = _own_metadata(call).get("simulate") if call.operation.method == "POST" else None
        name = own or signs.metadata.get(f"simulate_{verb}")
        if name is not None and name not in FAULTS:
            raise InvalidRequest(
                f"No fault is named {name}; there are {', '.join(FAULTS)}.", param="metadata"
            )
        confirms = verb == "confirm" or (verb == "create" and call.form.get("confirm") == "true")
        if name is None and confirms and signs.token in CARDS:
            name = CARDS[signs.token].fault
        return name

    def _do_what_is_due(self) -> None:
        account = self._account
        with account.execution(Execution()):
            for step, id in account.take_due():
                match step:
                    case Step.EXPIRE_AUTHORIZATION:
                        intents.expire(account, account.get("payment_intent", id, param="intent"))
                    case Step.FINISH_PROCESSING:
                        intents.finish_processing(account, account.get("payment_intent", id, param="intent"))
                    case Step.FINISH_REFUND:
                        refunds.finish(account, account.get("refund", id, param="id"))
                    case Step.BOOK_CHARGE:
                        charges.book_later(account, account.get("charge", id, param="id"))


def _claim(call: Call) -> Claim | None:
    if call.idempotency_key is None or call.operation.method != "POST":
        return None
    parameters = json.dumps(call.form, sort_keys=True)
    return Claim(key=call.idempotency_key, endpoint=call.path, parameters=parameters)


def _seconds(signs: Signs) -> float:
    asked = signs.metadata.get("simulate_seconds", str(DEFAULT_SECONDS))
    try:
        return float(asked)
    except ValueError as error:
        raise InvalidRequest(f"simulate_seconds is not a number: {asked}", param="metadata") from error


def _own_metadata(call: Call) -> dict[str, str]:
    metadata = call.form.get("metadata")
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _ended(answer: Answer, ending: Ending, call: Call) -> Answer | Broken:
    match ending:
        case Ending.ANSWER:
            return answer
        case Ending.HANG_UP | Ending.HTML_502:
            return Broken(ending)
        case Ending.ERROR_500:
            error = errors.internal_error()
        case Ending.RATE_LIMIT_429:
            error = errors.rate_limited()
        case Ending.CONFLICT_409:
            error = errors.key_in_use(call.idempotency_key)
        case _:
            assert_never(ending)
    return Answer(status=error.status, body=error.body)
