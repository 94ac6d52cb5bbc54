"""The circuit breaker: when a gateway is left alone, what passes all the same, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog

from consumers.breaker import LONGEST_PAUSE_S, Circuit, Patience
from consumers.calls import Calls
from gateways.protocol import (
    Absent,
    Capabilities,
    Firmness,
    LookupRequest,
    NotSent,
    Opened,
    Outcome,
    RefundRequest,
    VoidRequest,
)
from handlers.attempt import when_answered, when_due
from handlers.decision import Call, GatewayRequest
from ledger.states import AttemptState
from messages.ids import AttemptId, PaymentId, RefundId
from messages.operation import Operation
from tests.builders import (
    NOON,
    PRICE,
    a_policy,
    action_required,
    an_attempt,
    approved,
    capabilities,
    declined,
    not_sent,
    pending,
    unknown,
)
from tests.consumers.test_calls import FakeGateway, News, a_call

PATIENCE = Patience(failures=3, pause_s=5)


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_circuit() -> tuple[Circuit, Clock]:
    """A circuit that opens after three failures, for five seconds at first."""
    clock = Clock()
    return Circuit("stripe", PATIENCE, clock), clock


def passes(circuit: Circuit, answer: Outcome | Opened | Absent) -> bool:
    """Make one call that ends so, if it may be made."""
    ticket = circuit.enter()
    if ticket is None:
        return False
    circuit.leave(ticket, answer)
    return True


def opened(circuit: Circuit) -> Circuit:
    """Fail until it is open."""
    for _ in range(PATIENCE.failures):
        assert passes(circuit, unknown())
    return circuit


# --- when it opens ---


@pytest.mark.parametrize("answer", [unknown(), not_sent(retryable=True)], ids=["unknown", "refused line"])
def test_so_many_failures_of_the_line_in_a_row_open_it(answer: Outcome) -> None:
    circuit, _ = a_circuit()

    assert [passes(circuit, answer) for _ in range(5)] == [True, True, True, False, False]
    assert circuit.is_unwell


@pytest.mark.parametrize(
    "answer",
    [
        approved(),
        pending(),
        action_required(),
        declined(),
        declined(firmness=Firmness.HARD),
        not_sent(retryable=False),
        Opened(reference="pi_1"),
        Absent(detail="nothing there"),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_an_answer_of_any_kind_is_a_sign_of_health(answer: Outcome | Opened | Absent) -> None:
    circuit, _ = a_circuit()

    for _ in range(5):
        assert passes(circuit, answer)
    assert passes(circuit, unknown())
    assert passes(circuit, unknown())
    assert passes(circuit, answer), "it interrupts the row of failures"
    assert passes(circuit, unknown())
    assert passes(circuit, unknown())
    assert not circuit.is_unwell


# --- how it comes back ---


def test_nothing_passes_until_the_pause_is_over_then_one_call_does() -> None:
    circuit, clock = a_circuit()
    opened(circuit)

    clock.now += 4.9
    early = circuit.enter()
    clock.now += 0.1
    trial, second = circuit.enter(), circuit.enter()

    assert (early, second) == (None, None)
    assert trial is not None


def test_a_trial_that_succeeds_closes_it() -> None:
    circuit, clock = a_circuit()
    opened(circuit)
    clock.now += 5
    assert passes(circuit, unknown())
    clock.now += 10

    assert passes(circuit, declined())
    assert [passes(circuit, unknown()) for _ in range(4)] == [True, True, True, False]
    clock.now += 5
    assert not circuit.is_unwell, "the pause begins small again"


def test_each_trial_that_fails_doubles_the_pause_up_to_a_bound() -> None:
    circuit, clock = a_circuit()
    opened(circuit)
    pauses: list[float] = []
    pause = PATIENCE.pause_s
    for _ in range(6):
        clock.now += pause - 0.001
        assert circuit.is_unwell
        clock.now += 0.001
        assert not circuit.is_unwell
        pauses.append(pause)
        assert passes(circuit, unknown())
        pause = min(pause * 2, LONGEST_PAUSE_S)

    assert pauses == [5, 10, 20, 40, 60, 60]


def test_it_is_unwell_while_paused_and_on_trial_and_not_while_it_waits_for_one() -> None:
    """If it stayed unwell, every payment would go elsewhere and no trial would ever be made."""
    circuit, clock = a_circuit()
    well = circuit.is_unwell
    opened(circuit)
    paused = circuit.is_unwell
    clock.now += 5
    waiting = circuit.is_unwell
    trial = circuit.enter()
    assert trial is not None
    on_trial = circuit.is_unwell
    circuit.leave(trial, approved())

    assert (well, paused, waiting, on_trial, circuit.is_unwell) == (False, True, False, True, False)


def test_calls_begun_before_it_opened_neither_close_it_nor_open_it_again() -> None:
    circuit, clock = a_circuit()
    slow = [circuit.enter() for _ in range(20)]
    opened(circuit)
    for ticket in slow[:10]:
        assert ticket is not None
        circuit.leave(ticket, approved())
    assert circuit.is_unwell

    clock.now += 5
    assert passes(circuit, approved())
    for ticket in slow[10:]:
        assert ticket is not None
        circuit.leave(ticket, unknown())

    assert not circuit.is_unwell


def test_opening_and_closing_are_each_logged_once() -> None:
    circuit, clock = a_circuit()
    with structlog.testing.capture_logs() as lines:
        opened(circuit)
        for _ in range(5):
            assert not passes(circuit, unknown())
        for pause in (5, 10):
            clock.now += pause
            assert passes(circuit, unknown())
        clock.now += 20
        assert passes(circuit, approved())
        assert passes(circuit, approved())

    assert lines == [
        {
            "event": "circuit_opened",
            "gateway": "stripe",
            "failures": 3,
            "pause_s": 5,
            "log_level": "warning",
        },
        {"event": "circuit_closed", "gateway": "stripe", "log_level": "info"},
    ]


# --- among the worker's calls ---


class Line:
    """A gateway that can be broken and mended."""

    def __init__(self) -> None:
        self.answer: Outcome = unknown()
        self.gateway = FakeGateway(self._behave)

    async def _behave(self, attempt_id: str) -> Outcome:
        return self.answer


@contextmanager
def guarded(*lines: tuple[str, Line]) -> Iterator[tuple[Calls, News, Clock]]:
    """Calls with a breaker, closed in the end."""
    clock = Clock()
    calls = Calls({name: line.gateway for name, line in lines}, PATIENCE, clock)
    try:
        yield calls, News(calls), clock
    finally:
        calls.close()


def ask(calls: Calls, news: News, made: Sequence[Call]) -> list[Any]:
    """Make calls one after the other; their answers."""
    answers = []
    for call in made:
        calls.start([call])
        answers += [answered.answer for answered in news.collect(1)]
    return answers


def sales(count: int, gateway: str = "stripe") -> list[Call]:
    """So many sales."""
    return [a_call(number, gateway=gateway) for number in range(count)]


REFUND = RefundRequest(
    attempt_id=AttemptId("ref_1.r1"),
    payment_id=PaymentId("pay_1"),
    refund_id=RefundId("ref_1"),
    capture_reference="pi_1",
    amount=PRICE,
)
VOID = VoidRequest(
    attempt_id=AttemptId("pay_1.v1"),
    payment_id=PaymentId("pay_1"),
    authorization_reference="pi_1",
    amount=PRICE,
)
LOOKUP = LookupRequest(
    attempt_id=AttemptId("pay_1.a1"),
    operation=Operation.SALE,
    payment_id=PaymentId("pay_1"),
    amount=PRICE,
    reference=None,
    parent_reference=None,
)


def test_while_it_is_open_a_call_that_moves_money_is_not_made_and_may_be_made_later() -> None:
    line = Line()
    with guarded(("stripe", line)) as (calls, news, _):
        ask(calls, news, sales(3))
        sale, refund = ask(calls, news, [a_call(), a_call(request=REFUND)])
        unwell = calls.unwell

    assert sale == refund == NotSent(detail="circuit open: stripe keeps failing", retryable=True)
    assert line.gateway.called == ["authorize"] * 3
    assert unwell == {"stripe"}


@pytest.mark.parametrize(("method", "request_"), [("lookup", LOOKUP), ("void", VOID)])
def test_look_ups_and_voids_pass_an_open_circuit(method: str, request_: GatewayRequest) -> None:
    line = Line()
    with guarded(("stripe", line)) as (calls, news, _):
        ask(calls, news, sales(3))
        line.answer = approved()
        answers = ask(calls, news, [a_call(request=request_)] * 2)
        unwell = calls.unwell

    assert answers == [approved(), approved()]
    assert line.gateway.called[3:] == [method, method]
    assert unwell == {"stripe"}, "they prove nothing about calls that move money"


def test_look_ups_that_cannot_tell_do_not_open_it() -> None:
    line = Line()
    with guarded(("stripe", line)) as (calls, news, _):
        ask(calls, news, [a_call(request=LOOKUP)] * 10)
        unwell = calls.unwell

    assert unwell == frozenset()


def test_one_gateway_on_the_ground_does_not_hold_up_another() -> None:
    down, up = Line(), Line()
    up.answer = approved()
    with guarded(("stripe", down), ("adyen", up)) as (calls, news, _):
        ask(calls, news, sales(5))
        answers = ask(calls, news, sales(2, gateway="adyen"))
        unwell = calls.unwell

    assert answers == [approved(), approved()]
    assert unwell == {"stripe"}


def test_a_gateway_that_is_mended_is_used_again_after_one_call() -> None:
    line = Line()
    with guarded(("stripe", line)) as (calls, news, clock):
        ask(calls, news, sales(5))
        line.answer = approved()
        clock.now += 5
        answers = ask(calls, news, sales(3))
        unwell = calls.unwell

    assert answers == [approved()] * 3
    assert unwell == frozenset()


def test_without_patience_nothing_is_held_up() -> None:
    line = Line()
    calls = Calls({"stripe": line.gateway})
    try:
        ask(calls, News(calls), sales(30))
        unwell = calls.unwell
    finally:
        calls.close()

    assert len(line.gateway.called) == 30
    assert unwell == frozenset()


def test_a_new_attempt_that_was_held_up_waits_and_has_not_failed() -> None:
    sent = an_attempt(state=AttemptState.SENT, doubtful=False)
    step = when_answered(sent, held_up(), is_lookup=False, policy=a_policy(), now=NOON)

    assert step.attempt.state is AttemptState.CREATED
    assert step.attempt.due_at is not None


@pytest.mark.parametrize("able", [capabilities(), capabilities(can_be_asked=False)], ids=["asked", "never"])
def test_a_repeat_of_an_attempt_in_doubt_that_was_held_up_stays_in_doubt(able: Capabilities) -> None:
    """The repeat was not executed, the first call may have been: to call it failed could charge twice."""
    policy = a_policy(gateways={"stripe": able})
    lost = an_attempt(state=AttemptState.SENT, sent_at=NOON, tries=1)
    now = NOON + timedelta(minutes=1)
    again = when_due(lost, policy, now)
    held = when_answered(again.attempt, held_up(), is_lookup=False, policy=policy, now=now)

    assert again.ask == "operation"
    assert held.attempt.state is AttemptState.UNKNOWN
    assert held.attempt.doubtful


def held_up() -> NotSent:
    """What a call ends with that the breaker does not let through."""
    line = Line()
    with guarded(("stripe", line)) as (calls, news, _):
        *_, answer = ask(calls, news, sales(4))
    assert isinstance(answer, NotSent)
    return answer
