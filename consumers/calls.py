"""Calls to gateways, hundreds in flight, on an asyncio loop in a thread of its own.

The cycle hands over what a committed turn decided and picks up what has ended; nothing here touches the bus
or the database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import assert_never

import structlog

from consumers.breaker import Circuit, Patience, State
from consumers.spans import begin_call
from consumers.tracing import Tracer
from gateways.protocol import (
    Absent,
    AuthorizeRequest,
    CaptureRequest,
    Gateway,
    LookupRequest,
    NotSent,
    Opened,
    Outcome,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from handlers.decision import Answered, Call

log = structlog.get_logger()

CLOSE_WITHIN_S = 5.0
"""An adapter that does not let itself be called off must not keep the worker from leaving."""


class Calls:
    """Runs calls and keeps what they ended with until the cycle takes it.

    With `patience`, a gateway whose line keeps failing is left alone for a while (see `consumers.breaker`). A call
    that finds its gateway's line full waits for `turn_within_s` at most: shorter than its attempt's lease allows for.
    """

    _circuits: Mapping[str, Circuit] = MappingProxyType({})
    _bound: int | None = None

    def __init__(
        self,
        gateways: Mapping[str, Gateway],
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        turn_within_s: float = 10.0,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._gateways = gateways
        self._turn_within_s = turn_within_s
        bounds = {name: gateway.capabilities.calls_at_once for name, gateway in gateways.items()}
        self._lines = {name: asyncio.Semaphore(bound) for name, bound in bounds.items() if bound is not None}
        self._bound = None if None in bounds.values() else sum(filter(None, bounds.values())) * 5 // 4
        if patience is not None:
            self._circuits = {name: Circuit(name, patience, clock) for name in gateways}
        self.endings: Counter[tuple[str, type, type]] = Counter()
        """How often what ended how: gateway, class of the request, class of the answer. Read from any thread."""
        self._ended: deque[Answered] = deque()
        self._news = threading.Event()
        self._wake: Callable[[], None] = lambda: None
        self._running: set[asyncio.Task[None]] = set()
        self._started = 0
        self._taken = 0
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway-calls", daemon=True)
        self._thread.start()

    def on_news(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from the calls' thread, whenever an answer is there to be taken."""
        self._wake = wake

    @property
    def unwell(self) -> frozenset[str]:
        """Gateways that are left alone just now; may be asked from any thread."""
        return frozenset(name for name, circuit in self._circuits.items() if circuit.is_unwell)

    @property
    def circuits(self) -> dict[str, State]:
        """How the circuit of each gateway stands; none without patience. May be asked from any thread."""
        return {name: circuit.state for name, circuit in self._circuits.items()}

    @property
    def in_flight(self) -> int:
        """Calls started whose answers the cycle has not taken yet."""
        return self._started - self._taken

    def room(self, most: int) -> int:
        """How many more calls make sense: a quarter more than all gateways take at once, and `most` in all."""
        return max(min(most, self._bound or most) - self.in_flight, 0)

    def start(self, calls: Sequence[Call]) -> None:
        """Make the calls. Their attempts must be committed: that is what makes an outcome traceable."""
        if calls:
            self._started += len(calls)
            self._loop.call_soon_threadsafe(self._begin, calls)

    def take(self) -> list[Answered]:
        """What has ended since the last time."""
        self._news.clear()
        ended: list[Answered] = []
        while self._ended:
            ended.append(self._ended.popleft())
        self._taken += len(ended)
        return ended

    def wait(self, seconds: float) -> None:
        """Wait for an answer, when there is no bus to wait on."""
        self._news.wait(seconds)

    def close(self) -> None:
        """Drop what is still running (its attempts' leases will bring it back) and let the gateways go."""
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, calls: Sequence[Call]) -> None:
        for call in calls:
            task = self._loop.create_task(self._run(call))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, call: Call) -> None:
        span = begin_call(self._tracer, call) if self._tracer else None
        answer = await self._in_turn(call)
        if span:
            ending = type(answer).__name__
            span.end(failed_with=ending if isinstance(answer, Unknown | NotSent) else None, ending=ending)
        self.endings[call.gateway, type(call.request), type(answer)] += 1
        self._ended.append(
            Answered(
                payment_id=call.payment_id,
                attempt_id=call.attempt_id,
                refund_id=call.refund_id,
                call_number=call.call_number,
                answer=answer,
                is_lookup=isinstance(call.request, LookupRequest),
                traceparent=span.traceparent if span else call.traceparent,
            )
        )
        # One wake-up for many answers: `take` clears the flag before it empties the queue, so none is missed.
        if not self._news.is_set():
            self._news.set()
            self._wake()

    async def _in_turn(self, call: Call) -> Outcome | Opened | Absent:
        """Make the call when its gateway's line has room: one that waits here has not been sent, and cannot fail."""
        line = self._lines.get(call.gateway)
        if line is None:
            return await self._guarded(call)
        try:
            async with asyncio.timeout(self._turn_within_s):
                await line.acquire()
        except (TimeoutError, asyncio.CancelledError):
            detail = f"{call.gateway} had no room for one more call"
            return NotSent(detail=detail, retryable=True, crowded_out=True)
        try:
            return await self._guarded(call)
        finally:
            line.release()

    async def _guarded(self, call: Call) -> Outcome | Opened | Absent:
        """Make the call, unless it would move money through a gateway whose circuit is open.

        A repeat of an attempt in doubt is answered `NotSent`, too. That is true of this call, and nobody takes it for
        the truth about the earlier ones: the handlers keep such an attempt in doubt (`handlers.attempt`).
        """
        circuit = self._circuits.get(call.gateway)
        # Look-ups resolve doubt and voids let money go: they are never held up. What they end with is no measure of
        # the line: some gateways cannot be asked, and say so without a call.
        if circuit is None or isinstance(call.request, LookupRequest | VoidRequest):
            return await self._answer(call)
        ticket = circuit.enter()
        if ticket is None:
            return NotSent(detail=f"circuit open: {call.gateway} keeps failing", retryable=True)
        answer = await self._answer(call)
        if not self._is_closing:
            circuit.leave(ticket, answer)
        return answer

    async def _answer(self, call: Call) -> Outcome | Opened | Absent:
        """Make the call. Whatever happens to it is an ending: a call without one would count as in flight for ever."""
        try:
            gateway = self._gateways[call.gateway]
            async with asyncio.timeout(gateway.capabilities.call_time_limit.total_seconds()) as limit:
                return await _ask(gateway, call)
        except (Exception, asyncio.CancelledError) as error:
            if self._is_closing:
                return Unknown(detail="called off: the worker leaves")
            if isinstance(error, TimeoutError) and limit.expired():
                return Unknown(detail="no answer within the gateway's time limit")
            # A bug in an adapter must not be taken for a gateway's word: nobody knows how far the call got.
            log.exception("gateway_adapter_failed", gateway=call.gateway, attempt_id=call.attempt_id)
            return Unknown(detail=f"the adapter failed: {type(error).__name__}")

    async def _shut_down(self) -> None:
        self._is_closing = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_WITHIN_S)
        for name, gateway in self._gateways.items():
            try:
                await gateway.close()
            except Exception:
                log.exception("gateway_not_closed", gateway=name)


async def _ask(gateway: Gateway, call: Call) -> Outcome | Opened | Absent:
    request = call.request
    match request:
        case AuthorizeRequest():
            return await gateway.authorize(request)
        case CaptureRequest():
            return await gateway.capture(request)
        case VoidRequest():
            return await gateway.void(request)
        case RefundRequest():
            return await gateway.refund(request)
        case LookupRequest():
            return await gateway.lookup(request)
        case _:
            assert_never(request)
