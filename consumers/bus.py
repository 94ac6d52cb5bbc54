"""The bus: the worker's one way to the broker, RabbitMQ or embedded, and the loop that waits on it.

Two connections, so that publishing never waits behind deliveries nor the other way round; one thread, because
a channel belongs to one; one `select` over both sockets and a socket pair that wakes it.
"""

import selectors
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic

import structlog

from consumers import topology
from consumers.address import Address, EmbeddedAddress, Tls, parse_addresses
from consumers.amqp_line import AmqpLine, LineOptions, describe
from consumers.delivery import BusDown, BusError, BusRefused, Delivery, Outgoing, Receipts
from consumers.line import Line
from consumers.publisher import Publisher
from consumers.subscription import Subscription

__all__ = ["BusDown", "BusError", "BusRefused", "KombuBus", "Tls"]

log = structlog.get_logger()

_CLOSE_TIMEOUT_S = 2.0
_WAKE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What exists between open() and the loss of the connection."""

    inbound: Line
    outbound: Line
    subscription: Subscription
    selector: selectors.BaseSelector


class KombuBus:
    """The bus over kombu: `amqp(s)://` hosts to fail over between, or one `embedded:///directory`.

    All methods but `wake` belong to one thread. Every message given to `publish` is answered exactly once by
    `receipts`, also when BusDown was raised.
    """

    def __init__(
        self,
        *,
        urls: Sequence[str],
        queues: Sequence[str],
        prefetch: int,
        heartbeat_s: float = 10,
        confirm_timeout_s: float = 10,
        connect_timeout_s: float = 5,
        tls: Tls | None = None,
        client_name: str = "payments",
        declares: bool = True,
    ) -> None:
        """Read the configuration; nothing is connected yet. `prefetch` counts per queue.

        `declares=False` is for a broker user who may not configure: the topology must be there.

        Raises: BusRefused naming the setting that cannot be.
        """
        if heartbeat_s < 1 or prefetch < 1 or confirm_timeout_s <= 0:
            raise BusRefused("heartbeat_s and prefetch must be at least 1, confirm_timeout_s above 0.")
        self.generation = 0
        self._addresses = parse_addresses(urls)
        self._queues = tuple(queues)
        self._prefetch = prefetch
        self._heartbeat_s = heartbeat_s
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls
        self._client_name = client_name
        self._declares = declares
        self._preferred = 0
        self._publisher = Publisher(confirm_timeout_s=confirm_timeout_s)
        self._opened: _Opened | None = None
        self._woken, self._waker = _wake_sockets()

    def __repr__(self) -> str:
        return f"<KombuBus {self.safe_url()} generation {self.generation}>"

    def safe_url(self) -> str:
        """Show where the broker is, without passwords."""
        if isinstance(self._addresses, EmbeddedAddress):
            return str(self._addresses)
        return ", ".join(map(str, self._addresses))

    def open(self) -> None:
        """Connect, declare the topology and start consuming.

        Raises: BusDown if the broker cannot be reached, BusRefused if a person must act.
        """
        self._drop()
        if self._woken.fileno() < 0:
            self._woken, self._waker = _wake_sockets()
        inbound = self._connect("consume")
        lines = [inbound]
        try:
            outbound = self._connect("publish")
            lines.append(outbound)
            if self._declares:
                topology.declare(inbound.channel)
            self.generation += 1
            subscription = Subscription(
                inbound, queues=self._queues, prefetch=self._prefetch, generation=self.generation
            )
            self._publisher.use(outbound)
        except Exception as error:
            for line in lines:
                line.abandon()
            if isinstance(error, inbound.errors):
                raise BusDown(f"{self.safe_url()}: {describe(error)}") from error
            raise
        self._opened = _Opened(
            inbound=inbound,
            outbound=outbound,
            subscription=subscription,
            selector=self._selector(inbound, outbound),
        )
        log.info("bus_opened", broker=self.safe_url(), generation=self.generation)

    def receive(self, *, wait_s: float, limit: int) -> list[Delivery]:
        """Return what is here, at most `limit`, waiting up to `wait_s` seconds for the first.

        Returns early when woken or when a receipt is there; `limit` 0 serves only heartbeats and receipts.
        What exceeds the limit stays for the next call. Raises: BusDown.
        """
        deadline = monotonic() + wait_s
        with self._losing() as opened:
            woken = self._turn(opened, wait_until=0)
            while not (woken or self._publisher.has_receipts or (limit and opened.subscription)):
                if monotonic() >= deadline:
                    break
                woken = self._turn(opened, wait_until=deadline)
            return opened.subscription.take(limit)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Write messages out without waiting for confirms; each is durable once its receipt is confirmed.

        Raises: BusDown; the receipts of all of them are then failed.
        """
        if self._opened is None:
            self._publisher.fail(messages)
        with self._losing():
            self._publisher.publish(messages)

    def receipts(self) -> Receipts:
        """Return which publishes were confirmed or failed since the last call.

        Failed is one that was returned as unroutable, nacked, not confirmed in time, or lost with its
        connection; the latter two may have arrived all the same.
        """
        return self._publisher.receipts()

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries for good; those of an older connection are dropped. Raises: BusDown."""
        if self._opened is not None:
            with self._losing() as opened:
                opened.subscription.ack(deliveries)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Hand deliveries back untouched; those of an older connection are dropped. Raises: BusDown."""
        if self._opened is not None:
            with self._losing() as opened:
                opened.subscription.requeue(deliveries)

    def wake(self) -> None:
        """Make receive() return, from any thread or signal handler."""
        with suppress(OSError):  # Full means that it will wake anyway.
            self._waker.send(b"\0")

    def pause(self) -> None:
        """Stop consuming; what was delivered stays ours. Raises: BusDown."""
        with self._losing() as opened:
            opened.subscription.pause(timeout_s=self._heartbeat_s)

    def resume(self) -> None:
        """Consume again. Raises: BusDown."""
        with self._losing() as opened:
            opened.subscription.resume()

    def close(self) -> None:
        """Hand back what was not taken and leave; waits a few seconds at most and never raises."""
        if (opened := self._opened) is not None:
            with suppress(BusDown), self._losing():
                opened.subscription.pause(timeout_s=_CLOSE_TIMEOUT_S)
                opened.subscription.requeue_buffered()
                opened.inbound.close(timeout_s=_CLOSE_TIMEOUT_S)
                opened.outbound.close(timeout_s=_CLOSE_TIMEOUT_S)
        self._drop()
        self._woken.close()
        self._waker.close()

    def _connect(self, purpose: str) -> Line:
        if isinstance(self._addresses, EmbeddedAddress):
            from consumers.embedded_line import EmbeddedLine  # A worker on RabbitMQ never loads that broker.

            return EmbeddedLine(self._addresses)
        if self._tls is not None:
            self._tls.check()
        options = LineOptions(
            tls=self._tls,
            heartbeat_s=self._heartbeat_s,
            connect_timeout_s=self._connect_timeout_s,
            name=f"{self._client_name} {purpose}",
        )
        return self._connect_to_first(self._addresses, options)

    def _connect_to_first(self, addresses: tuple[Address, ...], options: LineOptions) -> Line:
        """Try every address once, beginning with the one that answered last."""
        failures: list[BusError] = []
        for turn in range(len(addresses)):
            position = (self._preferred + turn) % len(addresses)
            try:
                line = AmqpLine(addresses[position], options)
            except BusError as error:
                failures.append(error)
            else:
                self._preferred = position
                return line
        kind = BusRefused if all(isinstance(failure, BusRefused) for failure in failures) else BusDown
        raise kind("; ".join(map(str, failures))) from failures[-1]

    def _selector(self, *lines: Line) -> selectors.BaseSelector:
        selector = selectors.DefaultSelector()
        selector.register(self._woken, selectors.EVENT_READ)
        for line in lines:
            if (descriptor := line.fileno()) is not None:
                selector.register(descriptor, selectors.EVENT_READ, line.read)
        return selector

    def _turn(self, opened: _Opened, *, wait_until: float) -> bool:
        """Wait for something to read, read what is here, keep the connections alive; True if woken."""
        woken = False
        for key, _ in opened.selector.select(self._timeout(opened, wait_until)):
            if key.data is None:
                woken = True
                self._woken.recv(_WAKE_BYTES)
            else:
                key.data()
        for line in (opened.inbound, opened.outbound):
            if line.fileno() is None or line.has_buffered():
                line.read()
            line.keep_alive(monotonic())
        self._publisher.write_waiting()
        self._publisher.expire(monotonic())
        return woken

    def _timeout(self, opened: _Opened, wait_until: float) -> float:
        lines = (opened.inbound, opened.outbound)
        if any(line.has_buffered() for line in lines):
            return 0
        limits = [wait_until - monotonic(), *(line.tick_s for line in lines)]
        if (confirm_deadline := self._publisher.next_deadline) is not None:
            limits.append(confirm_deadline - monotonic())
        return max(0, min(limits))

    @contextmanager
    def _losing(self) -> Iterator[_Opened]:
        """Give what is open, and lose it with the first error."""
        if (opened := self._opened) is None:
            raise BusDown(f"{self.safe_url()}: not open")
        try:
            yield opened
        except Exception as error:
            self._drop()
            if not isinstance(error, opened.inbound.errors):
                raise
            log.warning("bus_lost", broker=self.safe_url(), generation=self.generation, error=describe(error))
            raise BusDown(f"{self.safe_url()}: {describe(error)}") from error

    def _drop(self) -> None:
        if (opened := self._opened) is not None:
            self._opened = None
            opened.selector.close()
            opened.inbound.abandon()
            opened.outbound.abandon()
        self._publisher.fail_all()


def _wake_sockets() -> tuple[socket.socket, socket.socket]:
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    return woken, waker
