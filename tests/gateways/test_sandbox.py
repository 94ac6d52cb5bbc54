"""The sandbox keeps the contract, and its record counts from outside what it did."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Declined,
    DeclineReason,
    Firmness,
    NotSent,
    Operation,
    Outcome,
    Pending,
    Unknown,
)
from gateways.sandbox import SandboxGateway
from gateways.sandbox_record import SandboxRecord
from messages.ids import AttemptId, PaymentId
from messages.money import Money
from tests.gateways.gateway_contract import (
    TEN_EUROS,
    Case,
    Effect,
    GatewayContract,
    Stage,
    asked,
    capture_of,
    look,
    look_after,
    pay,
    refund_of,
    void_of,
)

T = TypeVar("T")

TOKENS: dict[Case, str] = {
    "approved": "tok_approved",
    "insufficient_funds": "tok_declined_insufficient_funds",
    "stolen_card": "tok_declined_stolen_card",
    "pending_then_approved": "tok_pending_then_approved",
    "pending_then_declined": "tok_pending_then_declined",
    "requires_action": "tok_requires_action",
    "lost_answer": "tok_lost_answer",
    "error": "tok_error",
    "not_sent": "tok_not_sent",
}


class Clock:
    """A clock that goes only when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class SandboxStage:
    """The sandbox, seen from outside through its record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.gateway = SandboxGateway(path, slow_s=0, settle_delay=timedelta(minutes=1), now=self.clock)
        self.record = SandboxRecord(path)
        self._runner = asyncio.Runner()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def card(self, case: Case) -> str:
        return TOKENS[case]

    def refund_goes(self, case: Case) -> dict[str, str]:
        return {"sandbox": case}

    def time_passes(self, payment_id: PaymentId) -> None:
        self.clock.now += timedelta(minutes=1)

    def customer_acts(self, request: AuthorizeRequest, waiting: ActionRequired, *, approve: bool) -> None:
        assert self.record.complete_action(request.attempt_id, approve=approve)

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        done = self.record.executions(payment_id)
        assert all(execution.times_executed == 1 for execution in done)
        return [Effect(execution.operation, execution.amount) for execution in done]

    def now(self) -> datetime:
        return self.clock()

    def close(self) -> None:
        self.run(self.gateway.close())
        self.record.close()
        self._runner.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[SandboxStage]:
    stage = SandboxStage(tmp_path / "sandbox.db")
    yield stage
    stage.close()


class TestSandboxKeepsTheContract(GatewayContract):
    """The sandbox against the contract every adapter keeps."""


def test_a_card_it_does_not_know_is_declined_for_good(stage: Stage) -> None:
    paid = pay(stage, asked("pm_card_visa"))

    assert isinstance(paid.outcome, Declined)
    assert paid.outcome.reason is DeclineReason.INVALID_CARD
    assert paid.outcome.firmness is Firmness.HARD


def test_a_card_turned_away_once_is_approved_the_second_time(stage: Stage) -> None:
    request = asked("tok_not_sent_once")

    first, second, third = (pay(stage, request).outcome for _ in range(3))

    assert isinstance(first, NotSent)
    assert isinstance(second, Approved)
    assert third == second
    assert len(stage.effects(request.payment_id)) == 1


def test_another_amount_than_asked_is_charged_and_told(stage: Stage) -> None:
    paid = pay(stage, asked("tok_amount_mismatch"))

    assert isinstance(paid.outcome, Approved)
    assert paid.outcome.amount == Money(1001, "EUR")
    assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, Money(1001, "EUR"))]


def test_a_slow_card_is_approved(stage: Stage) -> None:
    assert isinstance(pay(stage, asked("tok_slow")).outcome, Approved)


def test_another_amount_under_the_same_key_is_a_duplicate(stage: Stage) -> None:
    first = asked("tok_approved")
    pay(stage, first)

    outcome = pay(stage, replace(first, amount=Money(1, "EUR"))).outcome

    assert isinstance(outcome, Declined)
    assert outcome.reason is DeclineReason.DUPLICATE


def test_a_hold_can_be_taken_in_several_parts(stage: Stage) -> None:
    held = pay(stage, asked("tok_approved", capture=False))
    part = capture_of(held, Money(300, "EUR"))
    parts = [
        replace(part, attempt_id=AttemptId(f"x.a{n}"), final=final)
        for n, final in enumerate([False, False, True, True])
    ]

    endings = [stage.run(stage.gateway.capture(part)) for part in parts]

    assert [type(ending) for ending in endings] == [Approved, Approved, Approved, Declined]


@pytest.mark.parametrize(
    ("word", "answer", "found"),
    [
        ("declined", Declined, Declined),
        ("pending_then_approved", Pending, Pending),
        ("lost_answer", Unknown, Approved),
        ("not_sent", NotSent, Absent),
        ("error", Unknown, Absent),
    ],
)
def test_the_card_can_say_how_its_capture_or_void_goes(
    stage: Stage, word: str, answer: type[Outcome], found: type[Outcome | Absent]
) -> None:
    to_capture = pay(stage, asked(f"tok_capture_{word}", capture=False))
    to_void = pay(stage, asked(f"tok_void_{word}", capture=False))
    capture, void = capture_of(to_capture), void_of(to_void, to_void.reference)

    taken = stage.run(stage.gateway.capture(capture))
    voided = stage.run(stage.gateway.void(void))

    assert isinstance(taken, answer)
    assert isinstance(voided, answer)
    assert isinstance(look_after(stage, capture, to_capture.reference), found)
    assert isinstance(look_after(stage, void, to_void.reference), found)


@pytest.mark.parametrize(
    ("word", "answer", "in_the_end"),
    [
        ("declined", Declined, Declined),
        ("pending_then_declined", Pending, Declined),
        ("not_sent", NotSent, Absent),
    ],
)
def test_the_refund_says_how_it_goes(
    stage: SandboxStage, word: str, answer: type[Outcome], in_the_end: type[Outcome | Absent]
) -> None:
    paid = pay(stage, asked("tok_approved"))
    refund = refund_of(paid, metadata={"sandbox": word})

    assert isinstance(stage.run(stage.gateway.refund(refund)), answer)
    stage.time_passes(paid.request.payment_id)
    assert isinstance(look_after(stage, refund, paid.reference), in_the_end)
    # What was refused gives the money free for the next refund.
    assert isinstance(stage.run(stage.gateway.refund(refund_of(paid, number=2))), Approved)


def test_a_refund_that_is_pending_keeps_its_money_from_other_refunds(stage: SandboxStage) -> None:
    paid = pay(stage, asked("tok_approved"))
    stage.run(stage.gateway.refund(refund_of(paid, metadata={"sandbox": "pending_then_declined"})))

    second = stage.run(stage.gateway.refund(refund_of(paid, number=2)))

    assert isinstance(second, Declined)


def test_the_customer_cannot_act_after_the_void(stage: SandboxStage) -> None:
    paid = pay(stage, asked("tok_requires_action"))
    assert isinstance(paid.outcome, ActionRequired)
    stage.run(stage.gateway.void(void_of(paid, paid.outcome.reference)))

    assert not stage.gateway.complete_action(paid.request.attempt_id, approve=True)
    assert Operation.SALE not in [e.operation for e in stage.effects(paid.request.payment_id)]


def test_the_record_counts_charges_and_repeats_per_payment(stage: SandboxStage) -> None:
    request = asked("tok_approved")
    for _ in range(3):
        pay(stage, request)

    [execution] = stage.record.executions(request.payment_id)

    assert (execution.times_executed, execution.times_asked) == (1, 3)
    assert stage.record.charges_by_payment() == {request.payment_id: 1}


def test_two_attempts_of_one_payment_show_as_two_charges(stage: SandboxStage) -> None:
    first = asked("tok_approved")
    pay(stage, first)
    pay(stage, replace(first, attempt_id=AttemptId("another.a2")))

    assert stage.record.charges_by_payment() == {first.payment_id: 2}


def _pay_all(path: Path, requests: list[AuthorizeRequest]) -> None:
    async def all_at_once() -> None:
        gateway = SandboxGateway(path)
        await asyncio.gather(*(gateway.authorize(request) for request in requests))
        await gateway.close()

    asyncio.run(all_at_once())


def test_processes_that_use_the_same_keys_at_once_charge_once(stage: SandboxStage) -> None:
    requests = [asked("tok_approved") for _ in range(300)]
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_pay_all, args=(stage.path, requests)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    done = stage.record.executions()

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(done) == len(requests)
    assert all((e.times_executed, e.times_asked) == (1, 3) for e in done)


def _pay_and_die(path: Path, request: AuthorizeRequest) -> None:
    _pay_all(path, [request])
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_record_survives_a_killed_process(stage: SandboxStage) -> None:
    request = asked("tok_approved")
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=_pay_and_die, args=(stage.path, request))
    worker.start()
    worker.join(60)

    assert worker.exitcode == -signal.SIGKILL
    assert stage.record.charges_by_payment() == {request.payment_id: 1}
    assert isinstance(pay(stage, request).outcome, Approved)


def test_latency_does_not_hold_up_other_calls(tmp_path: Path) -> None:
    async def hundred() -> list[object]:
        gateway = SandboxGateway(tmp_path / "slow.db", latency_s=0.2)
        calls = [gateway.authorize(asked("tok_approved", amount=TEN_EUROS)) for _ in range(100)]
        async with asyncio.timeout(10):  # one after the other would take twenty seconds
            return list(await asyncio.gather(*calls))

    endings = asyncio.run(hundred())

    assert all(isinstance(ending, Approved) for ending in endings)


def test_a_look_up_of_a_charge_tells_what_was_charged(stage: Stage) -> None:
    paid = pay(stage, asked("tok_amount_mismatch"))

    assert look(stage, paid) == paid.outcome
