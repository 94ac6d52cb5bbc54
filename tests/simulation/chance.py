"""Chance: from one seed a setting and, action by action, what happens in it."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random
from typing import Any

from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from messages.commands import CaptureRequested, PaymentRequested, RefundRequested, VoidRequested
from messages.envelope import data_schema
from tests.simulation.broker import Sent
from tests.simulation.edges import FAULTS, Edge, Trouble
from tests.simulation.gateway import Manner
from tests.simulation.line import Trip
from tests.simulation.plan import (
    Action,
    Arrive,
    Cut,
    Elapse,
    Kill,
    Lose,
    Notify,
    Publish,
    Refuse,
    Reply,
    Setting,
    Shuffle,
    Start,
    Step,
    Vanish,
)
from tests.simulation.world import World

SOURCE = "/order-service"
ROUTING_KEYS = {
    command.__name__: command.routing_key
    for command in (PaymentRequested, CaptureRequested, VoidRequested, RefundRequested)
}
PAYMENT_FATES = {
    "approve": 80,
    "decline": 8,
    "refuse": 4,
    "slow-approve": 8,
    "slow-decline": 4,
    "act": 8,
    "never-act": 6,
    "fault-executed": 6,
    "fault-nothing": 6,
}
REFUND_FATES = {
    "approve": 60,
    "decline": 8,
    "refuse": 4,
    "slow-approve": 10,
    "slow-decline": 6,
    "fault-executed": 6,
    "fault-nothing": 6,
}
TROUBLES = [(edge, fault) for edge, faults in FAULTS.items() for fault in faults]


# --- the setting -------------------------------------------------------------------------------------------------


def a_setting(chance: Random) -> Setting:
    """Draw what holds for a whole run."""
    workers = chance.choice([1, 2, 2, 2, 3])
    skewed = chance.random() < 0.3
    skews = [timedelta(seconds=chance.uniform(-1, 1)) if skewed else timedelta() for _ in range(workers)]
    return Setting(
        manner=Manner(
            two_steps=chance.random() < 0.5,
            replay_window=timedelta(minutes=chance.choice([5, 60, 24 * 60])),
            lags=chance.random() < 0.5,
        ),
        skews=tuple(skews),
        max_sends=chance.choice([1, 2, 3, 3]),
        mark_after_s=chance.choice([0, 0.25, 5]),
        commands=tuple(_commands(chance)),
    )


def _commands(chance: Random) -> list[Sent]:
    payments: list[Sent] = []
    refunds: list[Sent] = []
    one_order = chance.random() < 0.4
    for number in range(1, chance.choice([1, 1, 2, 3]) + 1):
        manual = chance.random() < 0.35
        payment_id, order_id = f"pay-{number}", "order-1" if one_order else f"order-{number}"
        amount = chance.randrange(1, 2000)
        payments.append(_payment(chance, payment_id, order_id, amount, manual=manual))
        if chance.random() < 0.06:
            payments.append(
                _payment(
                    chance, payment_id, order_id, amount + 1, manual=manual, message_id=f"other-{payment_id}"
                )
            )
        payments += _captures(chance, payment_id, amount) if manual else []
        if chance.random() < (0.2 if manual else 0.06):
            payments.append(_sent("VoidRequested", f"cmd-void-{number}", {"payment_id": payment_id}))
        refunds += _refunds(chance, payment_id, amount)
    if chance.random() < 0.05:
        refunds.append(_refund("ref-lost", "pay-lost", 1, "approve"))
    if chance.random() < 0.1:
        refunds.append(_unreadable(chance, message_id="unreadable-1"))
    if chance.random() < 0.3:
        refunds.append(_unreadable(chance, message_id=""))
    commands = payments + refunds
    if chance.random() < 0.3:
        chance.shuffle(commands)
    return commands


def _payment(
    chance: Random,
    payment_id: str,
    order_id: str,
    amount: int,
    *,
    manual: bool,
    message_id: str | None = None,
) -> Sent:
    data = {
        "payment_id": payment_id,
        "order_id": order_id,
        "amount": {"minor": amount, "currency": "USD" if chance.random() < 0.03 else "EUR"},
        "payment_method": {"token": _fate(chance, PAYMENT_FATES)},
        "capture": "manual" if manual else "automatic",
    }
    return _sent("PaymentRequested", message_id or f"cmd-{payment_id}", data)


def _captures(chance: Random, payment_id: str, held: int) -> list[Sent]:
    captures = []
    for number in range(1, chance.choice([0, 1, 1, 1, 2]) + 1):
        capture_id = f"cap-{payment_id[4:]}-{number}"
        data: dict[str, Any] = {"capture_id": capture_id, "payment_id": payment_id}
        minor = chance.choice([None, None, held, (held + 1) // 2, held + 1])
        if minor is not None:
            data["amount"] = {"minor": minor, "currency": "EUR"}
            data["final"] = chance.random() < 0.8
        captures.append(_sent("CaptureRequested", f"cmd-{capture_id}", data))
    return captures


def _refunds(chance: Random, payment_id: str, captured: int) -> list[Sent]:
    if chance.random() < 0.4:
        return []
    refunds = []
    for number in range(1, chance.choice([1, 2, 3]) + 1):
        amount = chance.choice([None, captured, (captured + 1) // 2, 1])
        fate = _fate(chance, REFUND_FATES)
        refunds.append(_refund(f"ref-{payment_id[4:]}-{number}", payment_id, amount, fate))
    return refunds


def _refund(refund_id: str, payment_id: str, amount: int | None, fate: str) -> Sent:
    data: dict[str, Any] = {"refund_id": refund_id, "payment_id": payment_id, "metadata": {"fate": fate}}
    if amount is not None:
        data["amount"] = {"minor": amount, "currency": "EUR"}
    return _sent("RefundRequested", f"cmd-{refund_id}", data)


def _unreadable(chance: Random, *, message_id: str) -> Sent:
    """No command at all; without an id its sender cannot even be told."""
    return _sent("PaymentRequested", message_id, {"nonsense": chance.random()})


def _fate(chance: Random, weights: dict[str, int]) -> str:
    word = chance.choices(list(weights), list(weights.values()))[0]
    if word in ("slow-approve", "slow-decline"):
        return f"{word}:{chance.choice([20, 600, 7200])}"
    # The customer has an hour: some act in time, some about when it is over, some too late.
    return f"{word}:{chance.choice([60, 3590, 3602, 3660, 5000])}" if word == "act" else word


def _sent(kind: str, message_id: str, data: dict[str, Any]) -> Sent:
    headers = {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_type": kind,
        "cloudEvents_source": SOURCE,
        "cloudEvents_dataschema": data_schema(kind),
    }
    if message_id:
        headers["cloudEvents_id"] = message_id
    return Sent(
        queue=REFUND_COMMANDS if kind == "RefundRequested" else PAYMENT_COMMANDS,
        routing_key=ROUTING_KEYS[kind],
        message_id=message_id or "nameless",
        type=kind,
        headers=headers,
        body=json.dumps(data).encode(),
    )


# --- what happens ------------------------------------------------------------------------------------------------


class Chance:
    """Draws the next action, knowing what is possible."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.setting = a_setting(self._random)
        self.length = self._random.choice([20, 40, 80])
        self._trouble = self._random.choice([0.1, 0.4, 0.7])
        self._lossy = self._random.choice([0.1, 0.3, 0.7])
        # Half of a seed's troubles are of few kinds: what takes two of them to go wrong is met sooner.
        self._favoured = self._random.sample(TROUBLES, 3)
        self._rest = list(range(len(self.setting.commands)))

    def next_action(self, world: World) -> Action:
        """Draw what happens next."""
        chance = self._random
        kinds = {"publish": 4 if self._rest else 0, "step": 8, "elapse": 3, "broker": 0.5, "process": 0.3}
        kinds["publish again"] = 0.5 if world.published else 0
        kinds["line"] = 6 if world.line.trips else 0
        kinds["notice"] = 1.5 if world.gateway.entries else 0
        kinds["start"] = 1.5 if None in world.workers else 0
        match chance.choices(list(kinds), list(kinds.values()))[0]:
            case "publish":
                return Publish(self._rest.pop(0))
            case "publish again":
                return Publish(chance.choice(sorted(world.published)))
            case "notice":
                number = chance.randrange(len(world.gateway.entries))
                return Notify(entry=number, names_it=chance.random() < 0.7)
            case "elapse":
                return Elapse(self._length_of_time(world))
            case "line":
                return self._on_the_line(chance.choice(list(world.line.trips.values())))
            case "broker" if chance.random() < 0.5:
                return Shuffle(chance.randrange(1000))
            case "broker":
                return Cut(worker=self._worker(), taken=chance.choice([0, 0, 1, 9]))
            case "process":
                return Kill(worker=self._worker(), taken=chance.choice([0, 0, 1, 9]))
            case "start":
                return Start(chance.choice([n for n, process in enumerate(world.workers) if process is None]))
            case _:
                return self._step()

    def _worker(self) -> int:
        return self._random.randrange(len(self.setting.skews))

    def _step(self) -> Step:
        chance = self._random
        return Step(
            worker=self._worker(),
            most=chance.choice([1, 2, 1000]),
            confirms_are_slow=chance.random() < 0.3,
            trouble=self._some_trouble() if chance.random() < self._trouble else None,
        )

    def _some_trouble(self) -> Trouble:
        chance = self._random
        if chance.random() < 0.2:
            # Where all is well nothing comes of it: what is loaded is locked. A missing lock shows nowhere else.
            return Trouble(edge=Edge.LOADED, fault="is overtaken", busy=chance.random() < 0.5)
        edge, fault = chance.choice(self._favoured if chance.random() < 0.5 else TROUBLES)
        # A step that has much to do comes by twenty edges, most come by five.
        anywhere = chance.random() < 0.6
        return Trouble(
            edge=None if anywhere else edge,
            passage=chance.randrange(1, 18) if anywhere else chance.choice([1, 1, 1, 2, 3]),
            fault=None if anywhere else fault,
            pick=chance.randrange(60),
            taken=chance.choice([0, 0, 1, 9]),
            pause_s=chance.choice([0, 0, 1, 5]),
            busy=chance.random() < 0.5,
        )

    def _length_of_time(self, world: World) -> float:
        chance = self._random
        window = world.setting.manner.replay_window.total_seconds()
        return chance.choice([0.3, 0.3, 3, 3, 12, 12, 46, 46, 130, 910, 3700, window])

    def _on_the_line(self, trip: Trip) -> Action:
        chance = self._random
        if chance.random() >= self._lossy:
            return Arrive(trip.name) if trip.arrived_at is None else Reply(trip.name)
        if trip.arrived_at is not None:
            return Lose(trip.name)
        kinds = (Arrive, Lose, Vanish, Refuse)
        return chance.choice(kinds)(trip.name)
