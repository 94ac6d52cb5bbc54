"""A broker in memory: durable queues, unacked deliveries that come again, confirms that may be lost."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from consumers.delivery import BusDown, Delivery, Outgoing, Receipts
from consumers.topology import DEAD_LETTERS
from messages.events import EVENTS_EXCHANGE
from tests.simulation.edges import Edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A command as its sender published it."""

    queue: str
    routing_key: str
    message_id: str
    type: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, eq=False)
class Connection:
    """One worker's line: what was delivered over it and is unacked, what was written and is not confirmed."""

    unacked: dict[int, Sent] = field(default_factory=dict)
    written: list[Outgoing] = field(default_factory=list)
    is_open: bool = True


class Broker:
    """Keeps commands until they are acked, and all that was ever published."""

    def __init__(self) -> None:
        self.ready: list[Sent] = []
        self.connections: list[Connection] = []
        self.events: list[Outgoing] = []
        self.dead_letters: list[Outgoing] = []
        self._last_tag = 0

    def connect(self) -> Connection:
        """Take on a consumer."""
        connection = Connection()
        self.connections.append(connection)
        return connection

    def deliver(self, connection: Connection, *, limit: int) -> list[tuple[int, Sent]]:
        """Hand out what is ready; it stays unacked."""
        given, self.ready = self.ready[:limit], self.ready[limit:]
        deliveries = []
        for sent in given:
            self._last_tag += 1
            connection.unacked[self._last_tag] = sent
            deliveries.append((self._last_tag, sent))
        return deliveries

    def take(self, connection: Connection) -> list[Outgoing]:
        """Take what was written, durably and in order; the confirms are the caller's to hand on."""
        taken, connection.written = connection.written, []
        for message in taken:
            if message.exchange == EVENTS_EXCHANGE:
                self.events.append(message)
            else:
                assert message.exchange == DEAD_LETTERS.name, message.exchange
                self.dead_letters.append(message)
        return taken

    def drop(self, connection: Connection, *, taken: int) -> None:
        """The line is gone: the first few of what was written arrived all the same, what was unacked comes again."""
        lost = connection.written[taken:]
        del connection.written[taken:]
        self.take(connection)
        connection.written = lost
        connection.is_open = False
        self.connections.remove(connection)
        self.ready[:0] = connection.unacked.values()
        connection.unacked.clear()

    def shuffle(self, chance: Random) -> None:
        """Reorder what is ready: redeliveries, several queues and several senders keep no order."""
        chance.shuffle(self.ready)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is ready, unacked or on a line."""
        return not self.ready and not any(c.unacked or c.written for c in self.connections)


class SimulatedBus:
    """One worker's bus; implements `consumers.delivery.Bus`."""

    def __init__(self, broker: Broker, passed: Callable[[Edge], None]) -> None:
        self.generation = 0
        self.most = 1000
        """How many deliveries come at once."""
        self.confirms_are_slow = False
        self._broker = broker
        self._passed = passed
        self._line: Connection | None = None
        self._confirmed: list[Hashable] = []
        self._failed: list[Hashable] = []

    def lose_line(self, *, taken: int) -> None:
        """The connection breaks. What was written and not confirmed has failed, as far as we know."""
        line, self._line = self._line, None
        if line is not None:
            unconfirmed = [message.receipt for message in line.written]
            self._broker.drop(line, taken=taken)
            self._failed.extend(unconfirmed)

    def open(self) -> None:
        """See `Bus`."""
        self.lose_line(taken=0)
        self._passed(Edge.OPENING)
        self._line = self._broker.connect()
        self.generation += 1

    def receive(self, *, wait_s: float, limit: int) -> list[Delivery]:
        """See `Bus`; never waits."""
        self._passed(Edge.RECEIVING)
        line = self._opened()
        if not self.confirms_are_slow:
            self._confirmed.extend(message.receipt for message in self._broker.take(line))
        given = self._broker.deliver(line, limit=min(limit, self.most))
        deliveries = [self._delivery(tag, sent) for tag, sent in given]
        if deliveries:
            self._passed(Edge.RECEIVED)
        return deliveries

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """See `Bus`."""
        done = 0
        try:
            for message in messages:
                self._passed(Edge.BEFORE_PUBLISH)
                self._opened().written.append(message)
                done += 1
                self._passed(Edge.AFTER_PUBLISH)
        except BusDown:
            self._failed.extend(message.receipt for message in messages[done:])
            raise

    def receipts(self) -> Receipts:
        """See `Bus`."""
        receipts = Receipts(confirmed=self._confirmed, failed=self._failed)
        self._confirmed, self._failed = [], []
        if receipts.confirmed:
            self._passed(Edge.CONFIRMED)
        return receipts

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """See `Bus`."""
        for delivery in self._of_this_line(deliveries):
            self._passed(Edge.BEFORE_ACK)
            del self._opened().unacked[delivery.tag]
            self._passed(Edge.AFTER_ACK)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """See `Bus`."""
        for delivery in self._of_this_line(deliveries):
            self._broker.ready.insert(0, self._opened().unacked.pop(delivery.tag))

    def wake(self) -> None:
        """See `Bus`: nobody waits here."""

    def pause(self) -> None:
        """See `Bus`."""

    def resume(self) -> None:
        """See `Bus`."""

    def close(self) -> None:
        """See `Bus`."""
        self.lose_line(taken=0)

    def _opened(self) -> Connection:
        if self._line is None:
            raise BusDown("not open")
        return self._line

    def _of_this_line(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        return [d for d in deliveries if self._line is not None and d.generation == self.generation]

    def _delivery(self, tag: int, sent: Sent) -> Delivery:
        return Delivery(
            queue=sent.queue,
            exchange="payments.commands",
            routing_key=sent.routing_key,
            body=sent.body,
            headers=sent.headers,
            content_type="application/json",
            message_id=sent.message_id,
            correlation_id=None,
            reply_to=None,
            type=sent.type,
            app_id=None,
            redelivered=False,
            tag=tag,
            generation=self.generation,
        )
