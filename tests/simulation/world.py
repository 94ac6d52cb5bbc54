"""The world of one run: a clock, a broker, a gateway, a database, and workers that live and die among them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any, assert_never

import structlog

from consumers.cycle import Cycle, Limits
from consumers.delivery import BusDown
from gateways.protocol import Capabilities
from handlers.decision import Call, Policy
from ledger.ledger import Conflict, LedgerDown
from tests.builders import NOON
from tests.simulation import plan
from tests.simulation.books import LedgerWithEdges
from tests.simulation.broker import Broker, SimulatedBus
from tests.simulation.callbacks import callback, read_callback
from tests.simulation.database import Books
from tests.simulation.edges import Died, Edge, Passage, Trouble
from tests.simulation.gateway import Gateway
from tests.simulation.line import CALL_LIMIT, Line, SimulatedCalls

PATIENCE = timedelta(days=60)
"""How long a run may take to come to rest, in its own time."""
ROUNDS = 500
"""How many times all workers may step until then; a hundred is the most that was seen."""


class World:
    """Everything but the workers' own code."""

    def __init__(self, setting: plan.Setting, books: Books) -> None:
        self.books = books
        self.url = books.url
        self.now = NOON
        self.setting = setting
        self.story: list[str] = []
        self.problems: list[str] = []
        self.injected: Counter[str] = Counter()
        """What went wrong on purpose, and how often."""
        self.broker = Broker()
        self.gateway = Gateway(setting.manner)
        self.line = Line(self.gateway, self._is_written_down)
        self.published: set[int] = set()
        self.policy = Policy(
            default_gateway="stripe",
            gateways={
                "stripe": Capabilities(
                    currencies=frozenset({"EUR"}),
                    replay_window=setting.manner.replay_window,
                    call_time_limit=CALL_LIMIT,
                    partial_capture=True,
                    multiple_capture=False,
                )
            },
            max_sends=setting.max_sends,
            refund_poll=timedelta(
                hours=1
            ),  # it wakes earlier, when its payment settles; this is the net below
        )
        self.limits = Limits(mark_after_s=setting.mark_after_s)
        self.hired = 0
        self.workers: list[Process | None] = [None] * len(setting.skews)
        self.stepping: list[Process] = []
        for number in range(len(self.workers)):
            self._start(number)

    def close(self) -> None:
        """Let files go."""
        for process in self.workers:
            if process is not None:
                process.ledger.close()

    def tell(self, text: str) -> None:
        """Go on with the story."""
        self.story.append(f"{self.now - NOON!s:>16}  {'    ' * (len(self.stepping) - 1)}{text}")

    def blame(self, text: str) -> None:
        """Note that something happened which never may."""
        self.problems.append(text)
        self.tell(f"!! {text}")

    # --- what happens ------------------------------------------------------------------------------------------

    def perform(self, action: plan.Action) -> None:
        """Let an action happen; one that is not possible now does nothing."""
        match action:
            case plan.Publish(command=command):
                if command in self.published:
                    self.injected["a command is published again"] += 1
                self.published.add(command)
                self.broker.ready.append(self.setting.commands[command])
                self.tell(f"published: {self.setting.commands[command].message_id}")
            case plan.Step(worker=worker, trouble=trouble):
                process = self.workers[worker]
                if process is not None:
                    process.bus.most = action.most
                    process.bus.confirms_are_slow = action.confirms_are_slow
                    self.step(process, trouble)
            case plan.Arrive() | plan.Reply() | plan.Lose() | plan.Vanish() | plan.Refuse():
                self._on_the_line(action)
            case plan.Notify(entry=number, names_it=names_it):
                self._notify(number, names_it=names_it)
            case plan.Elapse(seconds=seconds):
                self.elapse(seconds)
            case plan.Cut(worker=worker, taken=taken):
                process = self.workers[worker]
                if process is not None:
                    self.injected["loses the broker between two steps"] += 1
                    self.tell(f"{process.name}: the line to the broker breaks")
                    process.bus.lose_line(taken=taken)
            case plan.Kill(worker=worker, taken=taken):
                process = self.workers[worker]
                if process is not None:
                    self.injected["dies between two steps"] += 1
                    self.tell(f"{process.name} dies between two steps")
                    self._bury(process, taken=taken)
            case plan.Start(worker=worker):
                if self.workers[worker] is None:
                    self._start(worker)
            case plan.Shuffle(seed=seed):
                self.injected["queues are shuffled"] += 1
                self.broker.shuffle(Random(seed))
            case _:
                assert_never(action)

    def _on_the_line(self, action: plan.Arrive | plan.Reply | plan.Lose | plan.Vanish | plan.Refuse) -> None:
        trip = self.line.trips.get(action.call)
        if trip is None:
            return
        has_arrived = trip.arrived_at is not None
        match action:
            case plan.Arrive() if not has_arrived:
                kind = type(trip.call.request).__name__
                self.line.arrive(trip, self.now)
                self.tell(f"call {trip.name} ({kind}) arrives; the gateway says {trip.answer}")
            case plan.Reply() if has_arrived:
                self.tell(f"call {trip.name} is answered")
                self.line.reply(trip)
            case plan.Lose() if trip.tell is not None:
                self.injected["a gateway's answer is lost"] += 1
                self.tell(f"call {trip.name}: the answer is lost")
                self.line.lose(trip)
            case plan.Vanish() if not has_arrived:
                self.injected["a request to the gateway is lost"] += 1
                self.tell(f"call {trip.name} never arrives")
                self.line.vanish(trip)
            case plan.Refuse() if not has_arrived and trip.tell is not None:
                self.injected["a request is refused by the gateway"] += 1
                self.tell(f"call {trip.name} is refused unseen")
                self.line.refuse(trip)
            case _:
                pass

    def _notify(self, number: int, *, names_it: bool) -> None:
        if number >= len(self.gateway.entries):
            return
        self.gateway.settle(self.now)
        notice = self.gateway.notice(self.gateway.entries[number], names_it=names_it)
        self.injected["a notice comes, perhaps once more"] += 1
        self.tell(f"the gateway tells of {notice.notice_id}")
        self.broker.ready.append(callback(notice, self.now))

    def _is_written_down(self, call: Call) -> bool:
        """Whether a call that leaves can be found after a crash: its attempt is committed, and knows of this call."""
        return bool(
            self.books.rows(
                f"SELECT 1 FROM attempts WHERE attempt_id = '{call.attempt_id}'"
                f" AND call_number >= {call.call_number}"
            )
        )

    def elapse(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.line.give_up_late(self.now)

    # --- workers -----------------------------------------------------------------------------------------------

    def step(self, process: Process, trouble: Trouble | None = None) -> None:
        """Have a worker make one step; it may die of it."""
        process.passage = Passage(trouble)
        self.stepping.append(process)
        try:
            process.cycle.step(wait_s=0)
        except Died:
            self._bury(process, taken=trouble.taken if trouble else 0)
        except Exception:
            self.blame(f"{process.name} broke down: {traceback.format_exc()}")
            self._bury(process, taken=0)
        finally:
            self.stepping.pop()

    def _start(self, number: int) -> None:
        self.hired += 1
        name = f"worker {number}" if self.hired == number + 1 else f"worker {number} (process {self.hired})"
        self.workers[number] = Process(self, name=name, skew=self.setting.skews[number])
        if self.hired > len(self.workers):
            self.tell(f"{name} starts")

    def _bury(self, process: Process, *, taken: int) -> None:
        self.workers[self.workers.index(process)] = None
        process.bus.lose_line(taken=taken)
        process.calls.close()
        process.ledger.close()

    def comes_to(self, process: Process, edge: Edge) -> None:
        """A worker comes to an edge: here its trouble happens, if it has any."""
        happening = process.passage.comes_to(edge)
        if happening is None:
            return
        fault, trouble = happening
        if fault != "is overtaken":
            self.injected[f"{fault} {edge}"] += 1
        match fault:
            case "dies":
                self.tell(f"{process.name} dies {edge}")
                raise Died
            case "loses the database":
                self.tell(f"{process.name} loses the database {edge}")
                raise LedgerDown("the simulation has taken the database away")
            case "meets another":
                self.tell(f"{process.name} meets another worker {edge}")
                raise Conflict("the simulation has sent another worker")
            case "loses the broker":
                self.tell(f"{process.name} loses the broker {edge}")
                process.bus.lose_line(taken=trouble.taken)
                raise BusDown("the simulation has taken the broker away")
            case "is overtaken":
                self._overtake(process, edge, trouble)
            case _:
                assert_never(fault)

    def _overtake(self, process: Process, edge: Edge, trouble: Trouble) -> None:
        if process.ledger.is_locked:
            return
        self.injected[f"is overtaken {edge}"] += 1
        self.tell(f"{process.name} stands still for {trouble.pause_s} s {edge}")
        self.elapse(trouble.pause_s)
        if trouble.busy:
            self._all_calls_come_home()
        for other in list(self.workers):
            if other is not None and other not in self.stepping:
                self.step(other)

    # --- the end -----------------------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """From now on nothing goes wrong: let everything end that has begun."""
        self.tell("from here on nothing goes wrong")
        end = self.now + PATIENCE
        for number in range(len(self.setting.commands)):
            if number not in self.published:
                self.perform(plan.Publish(number))
        for number, process in enumerate(self.workers):
            if process is None:
                self._start(number)
        for _ in range(ROUNDS):
            if self.now > end:
                break
            before = len(self.story)
            self._round()
            if len(self.story) > before:
                continue
            if self._is_at_rest:
                return
            self.elapse(self._until_something_is_due())
        self.blame("it does not come to rest")

    def _all_calls_come_home(self) -> None:
        for name in list(self.line.trips):
            self.perform(plan.Arrive(name))
            self.perform(plan.Reply(name))

    def _round(self) -> None:
        self._all_calls_come_home()
        for process in self.workers:
            if process is not None:
                process.bus.most, process.bus.confirms_are_slow = 1000, False
                self.step(process)

    @property
    def _is_at_rest(self) -> bool:
        return self.broker.is_empty and not self.line.trips and not self._waiting()

    def _waiting(self) -> bool:
        ((found,),) = self.books.rows(
            "SELECT EXISTS (SELECT 1 FROM attempts WHERE due_at IS NOT NULL)"
            " OR EXISTS (SELECT 1 FROM captures WHERE due_at IS NOT NULL)"
            " OR EXISTS (SELECT 1 FROM refunds WHERE due_at IS NOT NULL)"
            " OR EXISTS (SELECT 1 FROM callbacks WHERE due_at IS NOT NULL)"
            " OR EXISTS (SELECT 1 FROM outbox WHERE published_at IS NULL)"
        )
        return bool(found)

    def _until_something_is_due(self) -> float:
        ((due_at, unpublished),) = self.books.rows(
            "SELECT (SELECT min(due_at) FROM (SELECT due_at FROM attempts UNION ALL SELECT due_at FROM captures"
            " UNION ALL SELECT due_at FROM refunds UNION ALL SELECT due_at FROM callbacks) AS timers),"
            " (SELECT count(*) FROM outbox WHERE published_at IS NULL)"
        )
        if isinstance(due_at, str):
            due_at = datetime.fromisoformat(due_at)
        if unpublished or not self.broker.is_empty or due_at is None or due_at <= self.now:
            return 1.0
        return float((due_at - self.now).total_seconds()) + 0.001


class Process:
    """One life of a worker: everything it holds in memory."""

    def __init__(self, world: World, *, name: str, skew: timedelta) -> None:
        self.name = name
        self.passage = Passage()

        def passed(edge: Edge) -> None:
            world.comes_to(self, edge)

        self.bus = SimulatedBus(world.broker, passed)
        self.ledger = LedgerWithEdges(world.url, passed, lambda text: world.tell(f"{name} commits: {text}"))
        self.calls = SimulatedCalls(world.line, lambda: world.now, passed)
        self.cycle = Cycle(
            worker=name,
            bus=self.bus,
            ledger=self.ledger,
            calls=self.calls,
            policy=world.policy,
            clock=lambda: world.now + skew,
            limits=world.limits,
            readers={"stripe": read_callback},
            monotonic=lambda: (world.now - NOON).total_seconds() + 1000,
            sleep=lambda _seconds: None,
        )


@contextmanager
def observed(world: World) -> Iterator[None]:
    """Hear what workers log: their work belongs into the story, and a decision that fails is a bug."""

    def hear(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        what = event.pop("event")
        error = event.pop("exc_info", None)
        name = world.stepping[-1].name if world.stepping else "nobody"
        if what == "work_failed":
            text = "".join(traceback.format_exception(error)) if error else ""
            world.blame(f"{name}: a decision failed: {event} {text}")
        elif what not in ("broker_connected", "turn_committed"):
            world.tell(f"{name}: {what} {event or ''}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[hear], wrapper_class=structlog.BoundLogger)
    try:
        yield
    finally:
        structlog.configure(**before)
