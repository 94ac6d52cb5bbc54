"""How the tests drive a bus: messages to send, and waiting with a deadline for what should come."""

import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from consumers import topology
from consumers.bus import KombuBus
from consumers.delivery import BusDown, Delivery, Outgoing, Receipts

ALL_QUEUES = tuple(queue.name for queue in topology.WORK_QUEUES)
ROOT = Path(__file__).parents[2]
WITHIN_S = 20.0


def make_bus(url: str, **settings: Any) -> KombuBus:
    """Build a bus on the payment commands, unless told otherwise."""
    defaults: dict[str, Any] = {"urls": [url], "queues": [topology.PAYMENT_COMMANDS], "prefetch": 100}
    return KombuBus(**defaults | settings)


@contextmanager
def opened(url: str, **settings: Any) -> Iterator[KombuBus]:
    """Open a bus and close it afterwards."""
    bus = make_bus(url, **settings)
    try:
        bus.open()
        yield bus
    finally:
        bus.close()


def command(
    number: int = 1,
    *,
    exchange: str = topology.COMMANDS.name,
    routing_key: str = "payment.requested",
    body: bytes = b"{}",
    headers: Mapping[str, object] | None = None,
    mandatory: bool = False,
) -> Outgoing:
    """A message whose id and receipt are its number."""
    return Outgoing(
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        message_id=str(number),
        type="PaymentRequested",
        headers=headers or {},
        mandatory=mandatory,
        receipt=number,
    )


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    """The numbers of the messages that were delivered."""
    return [int(delivery.message_id or -1) for delivery in deliveries]


def await_deliveries(bus: KombuBus, count: int) -> list[Delivery]:
    """Receive until `count` deliveries are here."""
    deliveries: list[Delivery] = []
    deadline = monotonic() + WITHIN_S
    while len(deliveries) < count:
        assert monotonic() < deadline, f"{len(deliveries)} of {count} deliveries came"
        deliveries += bus.receive(wait_s=0.5, limit=count - len(deliveries))
    return deliveries


def await_receipts(bus: KombuBus, count: int, *, within_s: float = WITHIN_S) -> Receipts:
    """Wait until `count` publishes are answered; deliveries are left in the bus."""
    confirmed: list[Hashable] = []
    failed: list[Hashable] = []
    deadline = monotonic() + within_s
    while len(confirmed) + len(failed) < count:
        assert monotonic() < deadline, f"{len(confirmed) + len(failed)} of {count} receipts came"
        bus.receive(wait_s=0.5, limit=0)
        receipts = bus.receipts()
        confirmed += receipts.confirmed
        failed += receipts.failed
    return Receipts(confirmed=confirmed, failed=failed)


def publish(bus: KombuBus, messages: Sequence[Outgoing]) -> None:
    """Publish and see to it that the broker has taken everything."""
    bus.publish(messages)
    receipts = await_receipts(bus, len(messages))
    assert not receipts.failed


def await_condition(condition: Callable[[], bool]) -> None:
    """Wait until something outside the bus has become true."""
    deadline = monotonic() + WITHIN_S
    while not condition():
        assert monotonic() < deadline, "the awaited condition did not come true"


def assert_queue_holds(url: str, expected: Sequence[int], queue: str = topology.PAYMENT_COMMANDS) -> None:
    """Check, as a newcomer, that these messages wait in the queue and nothing after them; take them."""
    with opened(url, queues=[queue]) as newcomer:
        waiting = await_deliveries(newcomer, len(expected))
        publish(newcomer, [_marker(queue)])
        marker = await_deliveries(newcomer, 1)
        newcomer.ack([*waiting, *marker])

        assert sorted(numbers(waiting)) == sorted(expected)
        assert numbers(marker) == [_MARKER]


_MARKER = 0


def _marker(queue: str) -> Outgoing:
    return command(_MARKER, exchange="", routing_key=queue)  # The default exchange routes by queue name.


def run_reader_that_is_killed(url: str, count: int) -> None:
    """Let another process receive `count` payment commands and die by SIGKILL without settling them."""
    program = (
        "import os, signal\n"
        "from tests.consumers.bus_driver import await_deliveries, make_bus\n"
        f"bus = make_bus({url!r})\n"
        "bus.open()\n"
        f"await_deliveries(bus, {count})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == -9


def open_and_close(url: str, **settings: Any) -> None:
    """Open a bus that is not used any further."""
    with opened(url, **settings):
        pass


def reopen(bus: KombuBus) -> None:
    """Open the bus as soon as the broker is back."""

    def opens() -> bool:
        try:
            bus.open()
        except BusDown:
            return False
        return True

    await_condition(opens)


def lose(bus: KombuBus) -> None:
    """Receive until the bus notices that its connection is lost."""
    deadline = monotonic() + WITHIN_S
    while monotonic() < deadline:
        try:
            bus.receive(wait_s=WITHIN_S, limit=0)
        except BusDown:
            return
    pytest.fail("the bus did not notice")


def with_parts(
    url: str, *, user: str | None = None, password: str | None = None, vhost: str | None = None
) -> str:
    """The URL with another user, password or virtual host."""
    parts = urlsplit(url)
    netloc = f"{user or parts.username}:{password or parts.password}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{vhost}" if vhost else parts.path))
