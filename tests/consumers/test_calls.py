"""Calls in flight: every one ends in an answer, the cycle hears of it, and leaving does not wait for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import pytest

from consumers import calls as calls_module
from consumers.calls import Calls
from gateways.protocol import (
    Absent,
    Approved,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    LookupRequest,
    NotSent,
    Opened,
    Outcome,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from handlers.decision import Answered, Call, GatewayRequest
from messages.ids import AttemptId, PaymentId, RefundId
from messages.operation import Operation
from tests.builders import PRICE, approved, capabilities

WITHIN_S = 30.0

Behaviour = Callable[[str], Awaitable[Outcome]]


async def approves(attempt_id: str) -> Outcome:
    """Answer at once."""
    return approved()


class FakeGateway:
    """A gateway that behaves as told, whatever it is asked; it names the method that was called."""

    name = "stripe"

    def __init__(
        self, behave: Behaviour = approves, *, limit_s: float = 30, at_once: int | None = None
    ) -> None:
        self.capabilities: Capabilities = capabilities(
            call_time_limit=timedelta(seconds=limit_s), calls_at_once=at_once
        )
        self.called: list[str] = []
        self.closed = False
        self._behave = behave

    async def authorize(self, request: AuthorizeRequest) -> Outcome | Opened:
        return await self._answer("authorize", request.attempt_id)

    async def capture(self, request: CaptureRequest) -> Outcome:
        return await self._answer("capture", request.attempt_id)

    async def void(self, request: VoidRequest) -> Outcome:
        return await self._answer("void", request.attempt_id)

    async def refund(self, request: RefundRequest) -> Outcome:
        return await self._answer("refund", request.attempt_id)

    async def lookup(self, request: LookupRequest) -> Outcome | Absent:
        return await self._answer("lookup", request.attempt_id)

    async def close(self) -> None:
        self.closed = True

    async def _answer(self, method: str, attempt_id: str) -> Outcome:
        self.called.append(method)
        return await self._behave(attempt_id)


class News:
    """Counts wake-ups, and waits for the next one as the cycle does."""

    def __init__(self, calls: Calls) -> None:
        self._woken = threading.Semaphore(0)
        calls.on_news(self._woken.release)
        self._calls = calls

    def collect(self, count: int) -> list[Answered]:
        """Take answers, only ever after a wake-up, until so many are here."""
        answers: list[Answered] = []
        while len(answers) < count:
            assert self._woken.acquire(timeout=WITHIN_S), f"no wake-up; {len(answers)} of {count} answers"
            answers += self._calls.take()
        return answers


@contextmanager
def running(gateway: FakeGateway) -> Iterator[tuple[Calls, News]]:
    """Calls to one gateway, closed in the end."""
    calls = Calls({gateway.name: gateway})
    try:
        yield calls, News(calls)
    finally:
        calls.close()


def a_call(number: int = 1, *, request: GatewayRequest | None = None, gateway: str = "stripe") -> Call:
    """The call of a sale, unless told otherwise."""
    attempt_id = AttemptId(f"pay_{number}.a1")
    sale = AuthorizeRequest(
        attempt_id=attempt_id,
        payment_id=PaymentId(f"pay_{number}"),
        order_id="1001",
        amount=PRICE,
        token="pm_card_visa",
        capture=True,
        reference=None,
    )
    return Call(
        gateway=gateway,
        payment_id=PaymentId(f"pay_{number}"),
        attempt_id=attempt_id,
        refund_id=None,
        call_number=1,
        request=request or sale,
    )


def answer_of(behave: Behaviour, *, limit_s: float = 30) -> object:
    """What the cycle hears of one call to a gateway that behaves so."""
    with running(FakeGateway(behave, limit_s=limit_s)) as (calls, news):
        calls.start([a_call()])
        (answered,) = news.collect(1)
    return answered.answer


def test_calls_beyond_what_a_gateway_takes_at_once_wait_for_their_turn_and_do_not_fail() -> None:
    under_way, most = 0, 0

    async def counts(attempt_id: str) -> Outcome:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return approved()

    with running(FakeGateway(counts, at_once=3)) as (calls, news):
        calls.start([a_call(number) for number in range(30)])
        answers = news.collect(30)

    assert {type(answered.answer) for answered in answers} == {Approved}
    assert most == 3


def test_a_call_whose_turn_does_not_come_was_provably_not_sent() -> None:
    gate = asyncio.Event()

    async def holds_the_line(attempt_id: str) -> Outcome:
        await gate.wait()
        return approved()

    gateway = FakeGateway(holds_the_line, at_once=1)
    calls = Calls({"stripe": gateway}, turn_within_s=0.01)
    news = News(calls)
    calls.start([a_call(1), a_call(2)])
    (given_up,) = news.collect(1)
    calls.close()

    assert isinstance(given_up.answer, NotSent)
    assert given_up.answer.retryable
    assert given_up.attempt_id == "pay_2.a1"
    assert gateway.called == ["authorize"]


def test_no_more_is_taken_in_than_gateways_can_soon_be_asked() -> None:
    async def never(attempt_id: str) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    with running(FakeGateway(never, at_once=10)) as (calls, _):
        assert calls.room(2_000) == 12
        assert calls.room(5) == 5
        calls.start([a_call(number) for number in range(11)])
        assert calls.room(2_000) == 1
    with running(FakeGateway(approves)) as (calls, _):
        assert calls.room(2_000) == 2_000


def test_an_answer_comes_back_with_what_it_belongs_to() -> None:
    with running(FakeGateway()) as (calls, news):
        calls.start([a_call(7)])
        (answered,) = news.collect(1)

    assert answered == Answered(
        payment_id=PaymentId("pay_7"),
        attempt_id=AttemptId("pay_7.a1"),
        call_number=1,
        answer=approved(),
        is_lookup=False,
    )


REQUESTS: dict[str, GatewayRequest] = {
    "void": VoidRequest(
        attempt_id=AttemptId("pay_1.a2"),
        payment_id=PaymentId("pay_1"),
        authorization_reference="pi_1",
        amount=PRICE,
    ),
    "refund": RefundRequest(
        attempt_id=AttemptId("ref_1.r1"),
        payment_id=PaymentId("pay_1"),
        refund_id=RefundId("ref_1"),
        capture_reference="pi_1",
        amount=PRICE,
    ),
    "lookup": LookupRequest(
        attempt_id=AttemptId("pay_1.a1"),
        operation=Operation.SALE,
        payment_id=PaymentId("pay_1"),
        amount=PRICE,
        reference=None,
        parent_reference=None,
    ),
}


@pytest.mark.parametrize("method", REQUESTS)
def test_each_request_calls_its_method_and_only_a_look_up_is_one(method: str) -> None:
    gateway = FakeGateway()
    with running(gateway) as (calls, news):
        calls.start([a_call(request=REQUESTS[method])])
        (answered,) = news.collect(1)

    assert gateway.called == [method]
    assert answered.is_lookup is (method == "lookup")


def test_an_adapter_that_raises_leaves_the_outcome_unknown() -> None:
    async def raises(attempt_id: str) -> Outcome:
        raise KeyError("a field the gateway has renamed")

    answer = answer_of(raises)

    assert answer == Unknown(detail="the adapter failed: KeyError")


def test_an_adapter_whose_connection_calls_off_the_call_leaves_the_outcome_unknown() -> None:
    async def is_called_off(attempt_id: str) -> Outcome:
        lost: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        lost.cancel()
        return await lost

    answer = answer_of(is_called_off)

    assert answer == Unknown(detail="the adapter failed: CancelledError")


def test_a_call_that_takes_longer_than_the_gateway_allows_is_unknown() -> None:
    async def hangs(attempt_id: str) -> Outcome:
        await asyncio.Event().wait()
        return approved()

    answer = answer_of(hangs, limit_s=0.05)

    assert answer == Unknown(detail="no answer within the gateway's time limit")


def test_a_timeout_of_the_adapters_own_is_not_taken_for_the_limit() -> None:
    async def gives_up(attempt_id: str) -> Outcome:
        raise TimeoutError

    answer = answer_of(gives_up)

    assert answer == Unknown(detail="the adapter failed: TimeoutError")


def test_a_call_to_a_gateway_that_is_not_here_is_unknown_and_not_in_flight_for_ever() -> None:
    with running(FakeGateway()) as (calls, news):
        calls.start([a_call(gateway="klarna")])
        (answered,) = news.collect(1)
        in_flight = calls.in_flight

    assert answered.answer == Unknown(detail="the adapter failed: KeyError")
    assert in_flight == 0


def test_one_call_that_hangs_does_not_hold_up_the_others() -> None:
    async def first_hangs(attempt_id: str) -> Outcome:
        if attempt_id == "pay_0.a1":
            await asyncio.Event().wait()
        return approved()

    with running(FakeGateway(first_hangs)) as (calls, news):
        calls.start([a_call(number) for number in range(100)])
        answers = news.collect(99)
        in_flight = calls.in_flight

    assert {answered.payment_id for answered in answers} == {f"pay_{number}" for number in range(1, 100)}
    assert in_flight == 1


def test_no_wake_up_is_lost_among_thousands_of_calls() -> None:
    async def at_different_times(attempt_id: str) -> Outcome:
        for _ in range(hash(attempt_id) % 7):
            await asyncio.sleep(0)
        return approved()

    total = 20_000
    with running(FakeGateway(at_different_times)) as (calls, news):

        def start_all() -> None:  # races with `take`
            for batch in _batches(total, size=37):
                calls.start(batch)

        starter = threading.Thread(target=start_all)
        starter.start()
        answers = news.collect(total)
        starter.join()
        in_flight = calls.in_flight

    assert len({answered.attempt_id for answered in answers}) == total
    assert in_flight == 0


def _batches(total: int, *, size: int) -> Iterator[Sequence[Call]]:
    for start in range(0, total, size):
        yield [a_call(number) for number in range(start, min(start + size, total))]


def test_a_call_is_in_flight_until_its_answer_is_taken() -> None:
    with running(FakeGateway()) as (calls, news):
        before = calls.in_flight
        calls.start([a_call(1), a_call(2)])
        calls.wait(WITHIN_S)
        meanwhile = calls.in_flight
        news.collect(2)
        after = calls.in_flight

    assert (before, meanwhile, after) == (0, 2, 0)


def test_waiting_without_a_bus_ends_with_the_answer() -> None:
    with running(FakeGateway()) as (calls, _):
        calls.start([a_call()])
        calls.wait(WITHIN_S)

        assert [answered.answer for answered in calls.take()] == [approved()]


def test_closing_drops_what_is_still_running_and_lets_the_gateways_go() -> None:
    called_off = threading.Event()

    async def hangs(attempt_id: str) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            called_off.set()
            raise
        return approved()

    gateway = FakeGateway(hangs)
    calls = Calls({"stripe": gateway})
    calls.start([a_call()])

    calls.close()

    assert called_off.is_set()
    assert gateway.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "gateway-calls"]


def test_closing_does_not_wait_for_an_adapter_that_will_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "CLOSE_WITHIN_S", 0.1)
    begun = threading.Event()
    ended = threading.Event()

    async def will_not_stop(attempt_id: str) -> Outcome:
        begun.set()
        while not ended.is_set():
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                continue
        return approved()

    calls = Calls({"stripe": FakeGateway(will_not_stop)})
    calls.start([a_call()])
    assert begun.wait(WITHIN_S)

    calls.close()

    assert not [thread for thread in threading.enumerate() if thread.name == "gateway-calls"]
    ended.set()


def test_a_gateway_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    class Stuck(FakeGateway):
        async def close(self) -> NoReturn:
            raise OSError("already gone")

    other = FakeGateway()
    calls = Calls({"stuck": Stuck(), "stripe": other})

    calls.close()

    assert other.closed


def test_approved_amounts_are_handed_on_as_the_gateway_gave_them() -> None:
    async def too_much(attempt_id: str) -> Outcome:
        return Approved(reference="pi_1", amount=PRICE + PRICE)

    assert answer_of(too_much) == Approved(reference="pi_1", amount=PRICE + PRICE)
