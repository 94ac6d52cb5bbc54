"""A whole worker in one process, stepped by hand: real broker, ledger and gateway; time moves when the test says so.

Its bus, ledger and calls are the real ones with a switch each: the broker or the database goes away, or the worker
dies, exactly between two steps of the cycle.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import kombu
from sqlalchemy import create_engine

from consumers import embedded
from consumers.bus import KombuBus
from consumers.calls import Calls
from consumers.counts import Counts
from consumers.cycle import Cycle, Limits
from consumers.delivery import BusDown, Delivery, Outgoing
from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from consumers.tracing import Tracer
from gateways.protocol import Gateway
from gateways.sandbox import SandboxGateway
from gateways.sandbox_record import SandboxRecord
from handlers.decision import Call, Policy
from ledger.ledger import Ledger, LedgerDown, Turn
from ledger.records import Due, OutboxEvent
from ledger.schema import migrate
from ledger.stories import Story, story
from ledger.verify import verify
from messages.operation import Operation
from tests.builders import NOON
from tests.keys import KEYRING
from tests.listener import Heard, Listener

WITHIN_S = 10.0

AT_ONCE = Limits(timer_poll_s=0, mark_after_s=0, relay_poll_s=0, retry_s=0, shun_s=3600)
"""Nothing waits for the clock on the wall; the clock of the service is the test's."""


class Killed(BaseException):
    """The process has died here. Not an `Exception`: nothing may catch it, as nothing catches SIGKILL."""


class Clock:
    """The time of the service. It stands still unless it ticks, a little with each look at it."""

    def __init__(self, *, tick: timedelta = timedelta(0)) -> None:
        self.now = NOON
        self._tick = tick

    def __call__(self) -> datetime:
        self.now += self._tick
        return self.now

    def advance(self, **length: float) -> None:
        """Let time pass; arguments as of timedelta."""
        self.now += timedelta(**length)


class Switch:
    """What happens at a place in the cycle: nothing, or something once."""

    def __init__(self) -> None:
        self._then: Callable[[], object] | None = None

    def once(self, then: Callable[[], object]) -> None:
        """Do something the next time the place is passed."""
        self._then = then

    def passed(self) -> None:
        """Here is the place."""
        then, self._then = self._then, None
        if then is not None:
            then()


def dies() -> None:
    """The worker dies."""
    raise Killed


class BusWithSwitches(KombuBus):
    """The bus, whose broker goes away on demand."""

    def __init__(self, url: str) -> None:
        super().__init__(urls=[url], queues=(PAYMENT_COMMANDS, REFUND_COMMANDS), prefetch=1000)
        self.away = False
        self.before_publish = Switch()
        self.before_ack = Switch()
        self._held: set[int] = set()

    @property
    def unsettled(self) -> int:
        """Deliveries of this connection that are neither acked nor handed back."""
        return len(self._held) + (len(self._opened.subscription) if self._opened else 0)

    def cut(self) -> None:
        """The connection breaks: whatever was unacked, the broker delivers again."""
        self._drop()
        self._held.clear()

    def open(self) -> None:
        if self.away:
            raise BusDown("the test has taken the broker away")
        self._held.clear()
        super().open()

    def receive(self, *, wait_s: float, limit: int) -> list[Delivery]:
        deliveries = super().receive(wait_s=wait_s, limit=limit)
        self._held.update(delivery.tag for delivery in deliveries)
        return deliveries

    def publish(self, messages: Sequence[Outgoing]) -> None:
        self.before_publish.passed()
        super().publish(messages)

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        deliveries = list(deliveries)
        if deliveries:
            self.before_ack.passed()
        super().ack(deliveries)
        self._let_go(deliveries)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        deliveries = list(deliveries)
        super().requeue(deliveries)
        self._let_go(deliveries)

    def _let_go(self, deliveries: list[Delivery]) -> None:
        self._held -= {each.tag for each in deliveries if each.generation == self.generation}


class LedgerWithSwitches(Ledger):
    """The ledger, whose database goes away on demand."""

    def __init__(self, url: str) -> None:
        super().__init__(url, keyring=KEYRING)
        self.away = False
        self.turns = 0
        self.before_commit = Switch()
        self.after_commit = Switch()

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        self._check()
        self.turns += 1
        with super().turn() as transaction:
            yield transaction
            self.before_commit.passed()
        self.after_commit.passed()

    def due(self, *, now: datetime, limit: int) -> list[Due]:
        self._check()
        return super().due(now=now, limit=limit)

    def stale_events(self, *, before: datetime, limit: int) -> list[OutboxEvent]:
        self._check()
        return super().stale_events(before=before, limit=limit)

    def _check(self) -> None:
        if self.away:
            raise LedgerDown("the test has taken the database away")


class CallsWithSwitches(Calls):
    """The calls, of which the worker can die just before."""

    def __init__(self, gateways: dict[str, Gateway], tracer: Tracer | None) -> None:
        super().__init__(gateways, tracer=tracer)
        self.before_start = Switch()

    def start(self, calls: Sequence[Call]) -> None:
        if calls:
            self.before_start.passed()
        super().start(calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where workers work."""

    directory: Path
    broker_url: str
    ledger_url: str
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def embedded(cls, directory: Path, *, clock: Clock | None = None) -> Place:
        """The embedded default."""
        return cls(
            clock=clock or Clock(),
            directory=directory,
            broker_url=f"embedded://{directory}",
            ledger_url=f"sqlite:///{directory / 'ledger.db'}",
        )


class Workshop:
    """One worker at a place; several may share it, side by side or one after the other."""

    def __init__(
        self, place: Place, *, limits: Limits = AT_ONCE, tracer: Tracer | None = None, **gateway: Any
    ) -> None:
        migrate(place.ledger_url)
        self.place = place
        self.url = place.broker_url
        self.ledger_url = place.ledger_url
        self.clock = place.clock
        self.gateway = SandboxGateway(
            place.directory / "sandbox.db", now=self.clock, settle_delay=timedelta(minutes=1), **gateway
        )
        self.bus = BusWithSwitches(self.url)
        self.ledger = LedgerWithSwitches(self.ledger_url)
        self.calls = CallsWithSwitches({"sandbox": self.gateway}, tracer)
        self.counts = Counts()
        self.cycle = Cycle(
            worker=f"worker-{id(self)}",
            bus=self.bus,
            ledger=self.ledger,
            calls=self.calls,
            policy=Policy(default_gateway="sandbox", gateways={"sandbox": self.gateway.capabilities}),
            clock=self.clock,
            limits=limits,
            counts=self.counts,
            tracer=tracer,
        )
        self._has_left = False

    def steps(self, count: int = 1) -> None:
        """Go round so many times, waiting for nothing."""
        for _ in range(count):
            self.cycle.step(wait_s=0)

    def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Go round until something is so."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s: {what}"
            self.cycle.step(wait_s=0.01)

    def until_killed(self) -> None:
        """Go round, time passing, until the worker dies, and leave what it leaves."""
        try:
            self.until(self._is_quiet, what="nothing; it should have died")
        except Killed:
            self.vanish()
            return
        raise AssertionError("the worker lives")

    def until_quiet(self) -> None:
        """Go round, time passing, until nothing is under way: no message, no call, no timer, no event unpublished."""
        self.until(self._is_quiet, what="everything has come to rest")

    def _is_quiet(self) -> bool:
        self.steps(3)
        if self._is_busy():
            return False
        waiting = self.rows(
            "SELECT (SELECT count(*) FROM outbox WHERE published_at IS NULL)"
            " + (SELECT count(*) FROM attempts WHERE due_at IS NOT NULL)"
            " + (SELECT count(*) FROM refunds WHERE due_at IS NOT NULL)"
        )
        if waiting != [(0,)]:
            self.clock.advance(seconds=20)
            return False
        # A message on its way to us is counted nowhere: give it time to arrive.
        self.cycle.step(wait_s=0.1)
        return not self._is_busy()

    def _is_busy(self) -> bool:
        return self.calls.in_flight > 0 or self.unsettled() > 0

    def stop(self) -> None:
        """Leave as on SIGTERM."""
        self.cycle.stop()
        self.cycle.run()
        self._has_left = True

    def vanish(self) -> None:
        """Leave as a killed process does: nothing said, nothing saved."""
        if not self._has_left:
            self._has_left = True
            self.bus.cut()
            self.bus.close()
            self.calls.close()
        self.ledger.close()

    def unsettled(self) -> int:
        """How many messages are in the work queues, delivered or not."""
        with Neighbour(self.url) as neighbour:
            ready = sum(neighbour.waiting_in(queue) for queue in (PAYMENT_COMMANDS, REFUND_COMMANDS))
        return ready + self.bus.unsettled

    def rows(self, sql: str) -> list[Any]:
        """What the tables say, or are made to say."""
        engine = create_engine(self.ledger_url)
        try:
            with engine.begin() as connection:
                result = connection.exec_driver_sql(sql)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()

    def story(self, payment_id: str) -> Story:
        """All that the ledger has on a payment."""
        told = story(self.ledger_url, payment_id)
        assert told is not None
        return told

    def executions(self, *operations: Operation) -> dict[str, int]:
        """How often the gateway executed what, by attempt, as its own record says."""
        record = SandboxRecord(self.place.directory / "sandbox.db")
        found: dict[str, int] = {
            each.attempt_id: each.times_executed
            for each in record.executions()
            if not operations or each.operation in operations
        }
        record.close()
        return found


DEATHS: dict[str, Callable[[Workshop], object]] = {
    "before the command is committed": lambda w: w.ledger.before_commit.once(dies),
    "after the commit, before the call": lambda w: w.calls.before_start.once(dies),
    "after the call, before the ack": lambda w: w.bus.before_ack.once(dies),
    "after the ack, before the answer is committed": lambda w: w.bus.before_ack.once(
        lambda: w.ledger.before_commit.once(dies)
    ),
    "after the answer is committed, before the event is published": lambda w: w.bus.before_publish.once(dies),
    "after the event is published, before it is marked": lambda w: w.bus.before_publish.once(
        lambda: w.ledger.before_commit.once(dies)
    ),
}
"""Every arrow of docs/path-of-a-payment.md."""


Hire = Callable[..., Workshop]
"""Hires one more worker; arguments as of Workshop, without the place."""


@contextmanager
def hiring(place: Place) -> Iterator[Hire]:
    """Hire workers for a place. In the end they vanish, and what they leave in the books must prove clean."""
    hired: list[Workshop] = []

    def hire(**how: Any) -> Workshop:
        hired.append(Workshop(place, **how))
        hired[-1].steps()  # declares the queues
        return hired[-1]

    try:
        yield hire
    finally:
        for workshop in hired:
            workshop.vanish()
    assert verify(place.ledger_url).problems == []


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter as it lies in its queue."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]


class Neighbour:
    """Another service on the same broker: publishes commands, hears events, looks at dead letters."""

    def __init__(self, url: str) -> None:
        embedded.register()
        self._client = kombu.Connection(url, transport_options={"confirm_publish": True})
        self._channel = self._client.channel()
        self._listener: Listener | None = None
        self._url = url
        self.traceparent: str | None = None
        """The trace that its commands belong to."""

    def __enter__(self) -> Neighbour:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, kind: str, message_id: str, **data: object) -> None:
        """Publish a command in binary mode."""
        headers = {
            **({"cloudEvents_traceparent": self.traceparent} if self.traceparent else {}),
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": message_id,
            "cloudEvents_type": kind,
            "cloudEvents_source": "/order-service",
        }
        key = "payment.requested" if kind == "PaymentRequested" else "refund.requested"
        self.send(json.dumps(data).encode(), headers=headers, key=key)

    def pay(self, number: int, token: str = "tok_approved", **fields: object) -> None:  # noqa: S107
        """Ask for payment number so-and-so, 19.99 EUR unless told otherwise."""
        usual: dict[str, object] = {
            "payment_id": f"pay_{number}",
            "order_id": f"order_{number}",
            "amount": {"minor": 1999, "currency": "EUR"},
            "payment_method": {"token": token},
        }
        self.ask("PaymentRequested", f"msg_{number}", **usual | fields)

    def refund(self, number: int, manner: str = "approved", **fields: object) -> None:
        """Ask for a refund of payment number so-and-so, all of it unless told otherwise."""
        usual: dict[str, object] = {
            "refund_id": f"ref_{number}",
            "payment_id": f"pay_{number}",
            "metadata": {"sandbox": manner},
        }
        self.ask("RefundRequested", f"msg_ref_{number}", **usual | fields)

    def send(
        self,
        body: bytes,
        *,
        headers: dict[str, Any] | None = None,
        key: str = "payment.requested",
        content_type: str = "application/json",
        **properties: Any,
    ) -> None:
        """Publish any bytes as a command."""
        message = self._channel.prepare_message(
            body,
            content_type=content_type,
            headers=headers or {},
            properties={"delivery_mode": 2, **properties},
        )
        self._channel.basic_publish(message, exchange="payments.commands", routing_key=key)

    def listen(self) -> list[Heard]:
        """Every event heard since the first time this was called, repeats too."""
        if self._listener is None:
            self._listener = Listener(self._url)
        return self._listener.listen()

    def kinds(self, about: str) -> list[str]:
        """The events heard about a payment, refund or command; repeats under one id are dropped."""
        events = {event.id: event for event in self.listen() if event.about == about}
        return [event.type for event in events.values()]

    def waiting_in(self, queue: str) -> int:
        """How many messages a queue holds that were not delivered to anybody."""
        return int(self._channel.queue_declare(queue=queue, passive=True).message_count)

    def dead_letters(self, queue: str = PAYMENT_COMMANDS) -> list[DeadLetter]:
        """Take the dead letters of a queue."""
        letters = []
        while (message := self._channel.basic_get(f"{queue}.dead", no_ack=True)) is not None:
            properties = dict(message.properties)
            headers = properties.pop("application_headers", {})
            letters.append(DeadLetter(body=bytes(message.body), headers=headers, properties=properties))
        return letters

    def close(self) -> None:
        """Leave."""
        self._client.release()
        if self._listener is not None:
            self._listener.close()
