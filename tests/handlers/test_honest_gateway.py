"""However the line behaves: in the end our books say what the gateway did, and it did it once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.protocol import LookupRequest, NotSent, Unknown
from handlers.decision import Call
from ledger.accounts import Account
from ledger.states import PaymentStatus, RefundStatus
from tests.builders import NOON, PRICE, REFUND, eur
from tests.handlers.honest_gateway import Fate, HonestGateway
from tests.handlers.story import Story

Line = Literal["fine", "lost on its way", "lost on its way back", "unreachable", "silence", "silence after"]
"""Silence: nobody ever learns how the call ended; `after`: it was executed."""

lines = st.lists(st.sampled_from(get_args(Line)), max_size=12)
delays_s = st.lists(st.sampled_from([0, 0, 0, 1, 20, 30]), max_size=12)
fates = st.sampled_from(get_args(Fate))


@dataclass
class Under:
    """A call under way: when it arrives at the gateway, and when its answer is back."""

    call: Call
    line: Line
    arrives_at: datetime
    answered_at: datetime
    answer: Any = None
    arrived: bool = False

    def next_at(self) -> datetime:
        """When something happens to it next."""
        return self.answered_at if self.arrived else self.arrives_at


class Life:
    """A payment and its refund, a gateway and a line, until nothing is left to happen."""

    def __init__(self, gateway: HonestGateway, line: list[Line], delays: list[int]) -> None:
        self.story = Story()
        self.gateway = gateway
        self.line = line
        self.delays = delays
        self._under_way: list[Under] = []
        self._started = 0

    def run(self) -> None:
        """Let everything happen, in the order of time."""
        for _ in range(3_000):
            self._start_calls()
            arrival = min((under.next_at() for under in self._under_way), default=None)
            timer = self.story.next_timer_at()
            if arrival is None and timer is None:
                return
            if timer is None or (arrival is not None and arrival <= timer):
                assert arrival is not None
                self._go_to(arrival)
                self._advance(next(under for under in self._under_way if under.next_at() == arrival))
            else:
                self._go_to(timer)
                for due in self.story.timers():
                    self.story.tell(due)
        raise AssertionError(f"it never ends: {self.story.event_names()}, {self.story.known}")

    def _go_to(self, time: datetime) -> None:
        self.story.now = max(self.story.now, time)
        assert self.story.now < NOON + timedelta(days=60), "it takes too long"

    def _start_calls(self) -> None:
        for call in self.story.calls[self._started :]:
            line = self.line.pop() if self.line else "fine"
            there = timedelta(seconds=self.delays.pop() if self.delays else 0)
            back = timedelta(seconds=30) - there if there else timedelta()
            arrives_at = self.story.now + there
            self._under_way.append(Under(call, line, arrives_at, arrives_at + back))
        self._started = len(self.story.calls)

    def _advance(self, under: Under) -> None:
        if not under.arrived:
            under.arrived = True
            under.answer = self._arrive(under)
            return
        self._under_way.remove(under)
        if under.answer is not None:
            self.story.answer(under.answer, call=under.call)

    def _arrive(self, under: Under) -> Any:
        match under.line:
            case "fine":
                return self.gateway.do(under.call.request)
            case "lost on its way":
                return Unknown(detail="reset")
            case "lost on its way back":
                self.gateway.do(under.call.request)
                return Unknown(detail="read timeout")
            case "unreachable":
                return NotSent(detail="connection refused", retryable=True)
            case "silence":
                return None
            case "silence after":
                self.gateway.do(under.call.request)
                return None


def truth(gateway: HonestGateway) -> set[PaymentStatus]:
    """How the payment must stand, by what the gateway did."""
    sale = gateway.sale()
    match sale.state if sale is not None else None:
        case "done":
            assert sale is not None
            return {PaymentStatus.CAPTURED if sale.captures else PaymentStatus.AUTHORIZED}
        case "declined":
            return {PaymentStatus.DECLINED}
        case "canceled":
            # Told of the cancellation by a look-up, we see a decline.
            return {PaymentStatus.EXPIRED, PaymentStatus.VOIDED, PaymentStatus.DECLINED}
        case _:
            return {PaymentStatus.FAILED}


@settings(max_examples=400, deadline=None)
@given(
    payment_fate=fates,
    refund_fate=fates,
    two_steps=st.booleans(),
    capture=st.sampled_from(["automatic", "automatic", "manual"]),
    line=lines,
    delays=delays_s,
)
def test_in_the_end_our_books_say_what_the_gateway_did(
    payment_fate: Fate, refund_fate: Fate, two_steps: bool, capture: str, line: list[Line], delays: list[int]
) -> None:
    gateway = HonestGateway(payment_fate=payment_fate, refund_fate=refund_fate, two_steps=two_steps)
    life = Life(gateway, line, delays)
    life.story.ask_payment(capture=capture)
    life.run()
    paid = life.story.payment

    assert paid.status in truth(gateway)
    assert paid.captured_gross == gateway.captured()
    assert not life.story.open_attempts()
    assert life.story.balance(Account.AUTHORIZATION_HOLD) == (
        PRICE.minor if paid.status is PaymentStatus.AUTHORIZED else 0
    )


@settings(max_examples=200, deadline=None)
@given(
    refund_fate=fates.filter(lambda fate: fate != "never act"),
    amount=st.sampled_from([None, eur(1), eur(500), PRICE]),
    line=lines,
    delays=delays_s,
)
def test_in_the_end_a_refund_is_what_the_gateway_gave_back(
    refund_fate: Fate, amount: Any, line: list[Line], delays: list[int]
) -> None:
    gateway = HonestGateway(payment_fate="approve", refund_fate=refund_fate, two_steps=False)
    life = Life(gateway, [], [])
    life.story.ask_payment()
    life.run()
    life.line, life.delays = line, delays
    life.story.ask_refund(amount=amount)
    life.run()
    given_back = [op for op in gateway.refunds() if op.state == "done"]
    refund, payment = life.story.known.refunds[REFUND], life.story.payment

    assert len(gateway.refunds()) <= 1
    assert payment.status is PaymentStatus.CAPTURED
    assert payment.refunded == sum(op.amount.minor for op in given_back)
    assert payment.refund_pending == 0
    assert refund.status is (RefundStatus.SUCCEEDED if given_back else RefundStatus.FAILED)
    assert not life.story.open_attempts()


@settings(max_examples=100, deadline=None)
@given(line=lines, delays=delays_s, capture=st.sampled_from(["automatic", "manual"]))
def test_an_operation_is_sent_only_while_its_key_is_safe(
    line: list[Line], delays: list[int], capture: str
) -> None:
    gateway = HonestGateway(payment_fate="approve", refund_fate="approve", two_steps=False)
    life = Life(gateway, line, delays)
    life.story.ask_payment(capture=capture)
    life.run()
    window = life.story.policy.gateways["stripe"].replay_window
    sent_at: dict[str, list[datetime]] = {}
    for call, at in zip(life.story.calls, life.story.called_at, strict=True):
        if not isinstance(call.request, LookupRequest):
            sent_at.setdefault(call.attempt_id, []).append(at)

    assert all(times[-1] + timedelta(seconds=30) - times[0] < window for times in sent_at.values())
