"""One call to PayPal from its request id to its answer, with the faults that come between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_never, get_args

from simulators.clock import Clock
from simulators.deliveries import Parcel, PostOffice
from simulators.faults import DEFAULT_SECONDS, FAULTS, Armed, Ending, FaultBox, Match, Signs
from simulators.paypal import authorizations, by_hand, captures, orders
from simulators.paypal.calls import Answer, Broken, Call, claim_of, ended, execution_of, vault_id_in
from simulators.paypal.errors import PaypalError, Unprocessable
from simulators.paypal.idempotency import Claim, RequestIds
from simulators.paypal.merchant import Execution, Merchant, Step
from simulators.paypal.notary import Notary
from simulators.paypal.operations import Kind, shown
from simulators.paypal.requests import read
from simulators.paypal.tokens import TOKEN_PATH, Tokens
from simulators.paypal.vault import instrument
from simulators.paypal.webhooks import PATIENCE, PaypalEndpoint, event_of, pack
from simulators.statistics import Statistics
from simulators.store import Json, Store


class PaypalSimulator:
    """PayPal: a merchant's account, the request ids, and the faults that wait."""

    def __init__(
        self, *, data_file: Path | None, settle_after_s: float, client_id: str, client_secret: str
    ) -> None:
        self._store = Store(data_file)
        self.clock = Clock(float((self._store.get("clock", "clock") or {"ahead_s": 0})["ahead_s"]))
        self.faults = FaultBox()
        self.statistics = Statistics()
        self.tokens = Tokens(self.clock, client_id=client_id, client_secret=client_secret)
        self._address = str((self._store.get("address", "address") or {"url": ""})["url"])
        self.notary = Notary(self._store)
        self.office = PostOffice(
            self._store,
            self.clock,
            endpoint=PaypalEndpoint(),
            pack=self._packed,
            patience=PATIENCE,
            do_what_is_due=self.do_what_is_due,
        )
        self._merchant = Merchant(self._store, self.clock, settle_after_s=settle_after_s, tell=self._tell)
        self._request_ids = RequestIds(self._store, self.clock)
        self._triggered: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Deliver no more and release the data file."""
        self.office.stop()
        self._store.close()

    async def answer(self, call: Call) -> Answer | Broken:
        """Serve one call."""
        self.statistics.seen(f"{call.operation.method} {call.operation.path}", call.request_id)
        self._is_reached_at(call.base_url)
        self.do_what_is_due()
        try:
            return await self._answer(call)
        except PaypalError as error:
            return Answer(status=error.status, body=error.body(call.debug_id))
        finally:
            self.office.wake()

    async def give_token(self, authorization: str, grant_type: str | None, debug_id: str) -> Answer | Broken:
        """Serve one call for an access token."""
        self.statistics.seen(f"POST {TOKEN_PATH}", None)
        armed = self.faults.take(Signs(method="POST", path=TOKEN_PATH, idempotency_key=None))
        fault = FAULTS[armed.name] if armed else None
        if armed and fault and (fault.waits_before or fault.waits_after):
            await asyncio.sleep(armed.seconds)
        answer = Answer(**self.tokens.answer(authorization, grant_type))
        return ended(answer, fault.ending if fault else Ending.ANSWER, debug_id)

    def payer_visits(self, order_id: str, decision: Literal["succeed", "fail"]) -> Json:
        """What the payer does on PayPal's page. Raises NotFound for a link that leads nowhere."""
        self.do_what_is_due()
        with self._merchant.execution(self._by_itself()):
            decided = orders.payer_decides(self._merchant, self._merchant.get("order", order_id), decision)
        self.office.wake()
        return decided

    def act_by_hand(self, action: by_hand.Action, id: str, value: str | None) -> Json:
        """What somebody does in PayPal's pages. Raises ValueError for what PayPal does not allow."""
        self.do_what_is_due()
        kinds: dict[by_hand.Action, Kind] = {
            "capture": "capture",
            "void": "authorization",
            "refund": "refund",
        }
        with self._merchant.execution(self._by_itself()):
            made = by_hand.act(self._merchant, action, id, value)
            done = shown(self._merchant, kinds[action], made["id"], whole=True)
        self.office.wake()
        return done

    def advance(self, seconds: float) -> None:
        """Move the clock ahead and do what falls due. Raises ValueError for a step back."""
        self.clock.advance(seconds)
        self._store.put("clock", "clock", {"ahead_s": self.clock.ahead_s})
        self.do_what_is_due()
        self.office.wake()

    def decide(self, reference: str, decision: Literal["succeed", "fail"]) -> None:
        """End what is pending, by its id, or act as the payer of an order. Raises ValueError if it cannot end so."""
        merchant = self._merchant
        with merchant.execution(self._by_itself()):
            if refund := merchant.find("refund", reference):
                captures.decide_refund(merchant, refund, decision)
            elif capture := merchant.find("capture", reference):
                captures.decide(merchant, capture, decision)
            elif authorization := merchant.find("authorization", reference):
                authorizations.decide(merchant, authorization, decision)
            elif order := merchant.find("order", reference):
                orders.payer_decides(merchant, order, decision)
            else:
                raise ValueError(f"there is no order, authorization, capture or refund {reference}")
        self.office.wake()

    def record(self) -> list[Json]:
        """Movements of money, first to last."""
        return list(self._store.newest_first("record"))[::-1]

    def events(self) -> list[Json]:
        """Changes of state, first to last, under the names of PayPal's webhook events."""
        return list(self._store.newest_first("event"))[::-1]

    def _by_itself(self) -> Execution:
        """On nobody's request."""
        return Execution(base_url=self._address)

    def _is_reached_at(self, address: str) -> None:
        if address != self._address:
            self._address = address
            self._store.put("address", "address", {"url": address})

    def _tell(self, kind: str, id: str, event: str) -> None:
        """Put an event on the shelf, with what it is about as that is now."""
        found = next(one for one in get_args(Kind) if one == kind)
        resource = shown(self._merchant, found, id, whole=True)
        written = event_of(
            event,
            kind,
            resource,
            time=self._merchant.time(),
            new_id=self._merchant.new_id(),
            address=self._address,
        )
        self.office.put(written, id=written["id"])

    def _packed(self, contents: Sequence[Json], endpoint: PaypalEndpoint) -> Parcel:
        return pack(contents, endpoint, self.notary, self._address)

    async def _answer(self, call: Call) -> Answer | Broken:
        claim = claim_of(call)
        with self._request_ids.claimed(claim) as kept:
            armed = self._fault_for(call, is_repeat=kept is not None)
            fault = FAULTS[armed.name] if armed else None
            if armed and fault and fault.waits_before:
                await asyncio.sleep(armed.seconds)
            if kept:
                self.statistics.replayed(call.request_id or "")
                answer = self._replayed(call, kept.id)
            elif fault is None or fault.executes:
                answer = self._executed(call, claim)
            else:
                answer = Answer(status=500, body=None)
            if armed and fault and fault.waits_after:
                await asyncio.sleep(armed.seconds)
            return ended(answer, fault.ending if fault else Ending.ANSWER, call.debug_id)

    def _executed(self, call: Call, claim: Claim | None) -> Answer:
        operation = call.operation
        request = read(operation.takes, call.body) if operation.takes else None
        refusal: Unprocessable | None = None
        with self._merchant.execution(execution_of(call)):
            try:
                made = operation.run(self._merchant, call.object_id, request)
                self._request_ids.keep(claim, kind=operation.kind, id=made["id"])
                answer = self._shown(call, made["id"], operation.status)
            except Unprocessable as error:
                refusal = error  # what the refusal has changed, such as the order's status, stays
        self.statistics.executed(call.request_id)
        if refusal is not None:
            raise refusal
        return answer

    def _replayed(self, call: Call, id: str) -> Answer:
        with self._merchant.execution(execution_of(call)):
            return self._shown(call, id, call.operation.replayed_status)

    def _shown(self, call: Call, id: str, status: int) -> Answer:
        whole = call.wants_whole or call.operation.method == "GET"
        if call.operation.is_silent:
            return Answer(status=204, body=None)
        if call.operation.minimal_status and not call.wants_whole:
            return Answer(status=call.operation.minimal_status, body=None)
        return Answer(status=status, body=shown(self._merchant, call.operation.kind, id, whole=whole))

    def _fault_for(self, call: Call, *, is_repeat: bool) -> Armed | None:
        signs = self._signs(call)
        name = None if is_repeat else self._trigger(call, signs)
        if name is None:
            return self.faults.take(signs)
        if call.request_id is not None:
            if (call.request_id, name) in self._triggered:
                return self.faults.take(signs)
            self._triggered.add((call.request_id, name))
        return Armed(id=0, name=name, times=1, seconds=DEFAULT_SECONDS, match=Match())

    def _signs(self, call: Call) -> Signs:
        """What a fault may know the call by; PayPal's ids of the merchant's own are its metadata here."""
        body = call.body if isinstance(call.body, dict) else {}
        order = self._order_of(call)
        units = body.get("purchase_units")
        unit = order["_unit"] if order else units[0] if isinstance(units, list) and units else {}
        ids = {**unit, **body} if isinstance(unit, dict) else body
        names = ("custom_id", "invoice_id")
        return Signs(
            method=call.operation.method,
            path=call.path,
            idempotency_key=call.request_id,
            metadata={name: ids[name] for name in names if isinstance(ids.get(name), str)},
            token=vault_id_in(body) or (order["_vault_id"] if order else None),
        )

    def _order_of(self, call: Call) -> Json | None:
        if call.path.startswith("/v2/checkout"):
            return self._merchant.find("order", call.object_id)
        kinds: tuple[Kind, ...] = ("authorization", "capture", "refund")
        for kind in kinds:
            if payment := self._merchant.find(kind, call.object_id):
                return self._merchant.find("order", payment["_order_id"])
        return None

    def _trigger(self, call: Call, signs: Signs) -> str | None:
        """The fault that the saved method itself brings when it is paid with."""
        pays = call.operation.verb in ("create", "authorize_order", "capture_order")
        known = instrument(signs.token) if pays and signs.token else None
        return known.fault if known else None

    def do_what_is_due(self) -> None:
        """Do what the clock has brought."""
        merchant = self._merchant
        due = merchant.take_due()
        if not due:
            return
        with merchant.execution(self._by_itself()):
            for step, id in due:
                match step:
                    case Step.EXPIRE_AUTHORIZATION:
                        authorizations.expire(merchant, merchant.get("authorization", id))
                    case Step.EXPIRE_ORDER:
                        if order := merchant.find("order", id):
                            orders.expire(merchant, order)
                    case Step.FINISH_PENDING:
                        self._finish_pending(id)
                    case Step.FINISH_REFUND:
                        captures.finish_refund(merchant, merchant.get("refund", id))
                    case _:
                        assert_never(step)

    def _finish_pending(self, id: str) -> None:
        merchant = self._merchant
        capture = merchant.find("capture", id)
        pending = capture or merchant.get("authorization", id)
        then = captures.instrument_of(merchant.get("order", pending["_order_id"])).stays_pending_then
        if pending["status"] == "PENDING":
            decide = captures.decide if capture else authorizations.decide
            decide(merchant, pending, then or "succeed")
