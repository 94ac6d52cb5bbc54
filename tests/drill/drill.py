"""A drill: commands go in, workers are killed, and everything is judged from outside.

The judge looks at what the gateway's own record says, at the events that were heard on the bus, and at the books;
never at what the worker believes of itself.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consumers.delivery import BusDown
from gateways.sandbox_record import SandboxRecord
from messages.operation import Operation
from ops.publish import CommandLine, NotPublished, publish
from tests.listener import Heard, Listener
from tests.workers import QUICK, Worker, eventually, workers

TOKENS = {
    "tok_approved": 50,
    "tok_lost_answer": 20,
    "tok_declined_insufficient_funds": 8,
    "tok_not_sent_once": 7,
    "tok_pending_then_approved": 7,
    "tok_pending_then_declined": 4,
    "tok_slow": 4,
}
"""Tokens and how often they come, in percent."""

CHARGED = {"tok_approved", "tok_lost_answer", "tok_not_sent_once", "tok_pending_then_approved", "tok_slow"}
REFUND_MANNERS = ("approved", "lost_answer", "pending_then_approved", "declined")
ENDINGS = {"PaymentSucceeded", "PaymentFailed", "RefundProcessed", "RefundFailed", "CommandRejected"}


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is asked of the service, and what must become of it."""

    commands: list[CommandLine] = field(default_factory=list)
    charged: set[str] = field(default_factory=set)
    not_charged: set[str] = field(default_factory=set)
    refunded: dict[str, int] = field(default_factory=dict)
    not_refunded: set[str] = field(default_factory=set)

    @property
    def subjects(self) -> set[str]:
        """Everything that must come to an end."""
        return self.charged | self.not_charged | set(self.refunded) | self.not_refunded


def make_plan(count: int, *, seed: int) -> Plan:
    """Plan `count` payments and refunds, some of them sent twice."""
    chance = random.Random(seed)
    plan = Plan()
    while len(plan.subjects) < count:
        number = len(plan.subjects)
        token = chance.choices(list(TOKENS), weights=list(TOKENS.values()))[0]
        payment_id, amount = f"pay-{seed}-{number:05d}", chance.randrange(100, 100_000)
        (plan.charged if token in CHARGED else plan.not_charged).add(payment_id)
        money = {"minor": amount, "currency": "EUR"}
        _add(
            plan,
            chance,
            "PaymentRequested",
            payment_id=payment_id,
            order_id=f"order-{seed}-{number:05d}",
            amount=money,
            payment_method={"token": token},
        )
        if token in CHARGED and chance.random() < 0.4:
            _plan_refund(plan, chance, payment_id, amount)
    return plan


def _plan_refund(plan: Plan, chance: random.Random, payment_id: str, captured: int) -> None:
    manner = chance.choice(REFUND_MANNERS)
    amount = chance.randrange(1, captured + 1)
    refund_id = payment_id.replace("pay", "ref")
    if manner == "declined":
        plan.not_refunded.add(refund_id)
    else:
        plan.refunded[refund_id] = amount
    _add(
        plan,
        chance,
        "RefundRequested",
        refund_id=refund_id,
        payment_id=payment_id,
        amount={"minor": amount, "currency": "EUR"},
        metadata={"sandbox": manner},
    )


def _add(plan: Plan, chance: random.Random, kind: str, **data: object) -> None:
    line = CommandLine(
        id=f"cmd-{len(plan.commands)}-{chance.getrandbits(32):08x}",
        type=kind,
        source="/drill",
        data=json.dumps(data).encode(),
    )
    # One in ten comes twice, as a publisher that lost its confirm would send it.
    plan.commands.extend([line] * (2 if chance.random() < 0.1 else 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where the service lives during a drill."""

    broker_url: str
    environment: Mapping[str, str]
    directory: Path


def run_drill(home: Home, plan: Plan, *, kills: int, seed: int, settle_within_s: float = 120) -> list[Heard]:
    """Publish the plan in portions, kill workers meanwhile, and wait until everything has ended."""
    chance = random.Random(seed)
    environment = {**QUICK, **home.environment}
    portions = max(kills, 1)
    size = -(-len(plan.commands) // portions)
    listener = Listener(home.broker_url)
    with workers(environment, home.directory, count=2) as running:
        for number in range(portions):
            if kills:
                eventually(lambda: any(w.is_consuming for w in running), within_s=60, what="a worker is up")
            publish([home.broker_url], plan.commands[number * size : (number + 1) * size])
            if kills:
                # One that is at work, somewhere between the first delivery and the last ack.
                time.sleep(chance.uniform(0.0, 0.2))
                victim = chance.choice([n for n, worker in enumerate(running) if worker.is_consuming])
                running[victim].kill()
                running[victim] = Worker(environment, home.directory)
        return _until_ended(plan, listener, running, within_s=settle_within_s)


def run_outage(
    home: Home, plan: Plan, *, outage: Callable[[], None], settle_within_s: float = 120
) -> list[Heard]:
    """Publish the plan steadily while something is away for a while, and wait until everything has ended."""
    portions = [plan.commands[start : start + 20] for start in range(0, len(plan.commands), 20)]
    listener = Listener(home.broker_url)
    listener.close()
    with workers({**QUICK, **home.environment}, home.directory, count=2) as running:
        load = threading.Thread(target=_publish_stubbornly, args=(home.broker_url, portions))
        load.start()
        outage()
        load.join()
        listener = Listener(home.broker_url)
        return _until_ended(plan, listener, running, within_s=settle_within_s)


def _publish_stubbornly(url: str, portions: list[list[CommandLine]]) -> None:
    """Publish as a good neighbour does: what was not confirmed is published again, under the same ids."""
    for portion in portions:
        while True:
            try:
                publish([url], portion)
                break
            except (NotPublished, BusDown):
                time.sleep(0.5)
        time.sleep(0.5)


def _until_ended(plan: Plan, listener: Listener, running: list[Worker], *, within_s: float) -> list[Heard]:
    eventually(
        lambda: plan.subjects <= {event.about for event in listener.listen() if event.type in ENDINGS},
        within_s=within_s,
        what="every command has ended in an event",
    )
    for worker in running:
        assert worker.terminate() == 0
    heard = list(listener.listen())
    listener.close()
    return heard


def judge(plan: Plan, heard: list[Heard], record: SandboxRecord) -> None:
    """Compare the plan with the gateway's own record and with the events, from outside."""
    _allow_for_the_never_executed(plan, heard)
    _judge_gateway(plan, record)
    _judge_events(plan, heard)


def _allow_for_the_never_executed(plan: Plan, heard: list[Heard]) -> None:
    """Change the plan where every single send was cut off by a kill before it reached the gateway.

    Such a payment ends, rightly, as provably never executed: a kill cuts off all that one worker was about to send,
    and on a busy machine the same ones may be hit three times. The gateway's record must then know nothing of them,
    and they must have been announced as just that.
    """
    never_executed = {
        event.about
        for event in heard
        if event.type in {"PaymentFailed", "RefundFailed"} and event.body["reason"] == "never_executed"
    }
    assert len(never_executed) <= len(plan.subjects) // 20, "more than bad luck explains"
    for about in never_executed:
        if about in plan.charged:
            plan.charged.remove(about)
            plan.not_charged.add(about)
        for refund_id in {about, about.replace("pay", "ref")} & set(plan.refunded):
            del plan.refunded[refund_id]
            plan.not_refunded.add(refund_id)


def _judge_gateway(plan: Plan, record: SandboxRecord) -> None:
    charges: Counter[str] = Counter()
    refunds: Counter[str] = Counter()
    refunded: dict[str, int] = {}
    for execution in record.executions():
        times = execution.times_executed
        if execution.operation is Operation.SALE:
            charges[execution.payment_id] += times
        elif execution.operation is Operation.REFUND:
            refund_id = execution.attempt_id.rsplit(".", 1)[0]
            refunds[refund_id] += times
            refunded[refund_id] = execution.amount.minor

    assert charges == dict.fromkeys(plan.charged, 1)
    assert refunds == dict.fromkeys(plan.refunded, 1)
    assert refunded == plan.refunded


def _judge_events(plan: Plan, heard: list[Heard]) -> None:
    by_id: dict[str, Heard] = {}
    first_heard: dict[str, list[int]] = defaultdict(list)
    for event in heard:
        if event.id not in by_id:
            by_id[event.id] = event
            if "sequence" in event.body:
                first_heard[event.body["payment_id"]].append(event.body["sequence"])
        else:
            assert event.body == by_id[event.id].body, "a repeat under the same id says the same"
    endings: dict[str, list[str]] = defaultdict(list)
    for event in by_id.values():
        if event.type in ENDINGS:
            endings[event.about].append(event.type)

    assert {about: kinds for about, kinds in endings.items() if len(kinds) != 1} == {}
    ended = {about: kinds[0] for about, kinds in endings.items()}
    assert {about for about, kind in ended.items() if kind == "PaymentSucceeded"} == plan.charged
    assert {about for about, kind in ended.items() if kind == "PaymentFailed"} == plan.not_charged
    assert {about for about, kind in ended.items() if kind == "RefundProcessed"} == set(plan.refunded)
    assert {about for about, kind in ended.items() if kind == "RefundFailed"} == plan.not_refunded
    for payment_id, sequence in first_heard.items():
        assert sequence == list(range(1, len(sequence) + 1)), f"{payment_id}: in order, without gaps"
