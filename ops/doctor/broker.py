"""Checks of the broker: that every node answers, that queues are as declared, and that it takes messages."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import amqp

from consumers.address import Address, EmbeddedAddress, Tls, parse_addresses
from consumers.amqp_line import AmqpLine, LineOptions
from consumers.delivery import BusDown, BusRefused
from consumers.line import ConfirmListener, Line
from consumers.topology import DEAD_LETTERS, EXCHANGES, WORK_QUEUES
from ops.doctor.finding import Finding, each, not_looked_at, unsure, well, wrong
from ops.settings import Settings

PATIENCE_S = 5.0
OLDEST, NEXT = (3, 10), (5,)
"""RabbitMQ versions this was written for: from the first up to, and without, the second."""
PROBE = "payments.doctor"
"""A routing key that is bound to nothing: what is published under it reaches no queue."""


@dataclass(slots=True, kw_only=True)
class Broker:
    """A broker that answers, and what was declared on it so far."""

    line: Line
    tls: Tls | None
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Messages and consumers of each queue that is there."""

    @property
    def version(self) -> str:
        """What the server says of itself; empty: the embedded one, which is part of this program."""
        told = getattr(self.line.channel.connection, "server_properties", None) or {}
        return str(told.get("version", ""))

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel for one question: a refused one closes its channel."""
        if isinstance(self.line, AmqpLine):
            channel = self.line.channel.connection.channel()
            try:
                yield channel
            finally:
                if channel.is_open:
                    channel.close()
        else:
            yield self.line.channel


def examine_broker(settings: Settings) -> Iterator[Finding]:
    """Look at everything about the broker; one that is away is one finding for each of its nodes."""
    addresses = parse_addresses(settings.broker_urls)
    broker: Broker | None = None
    for address in (addresses,) if isinstance(addresses, EmbeddedAddress) else addresses:
        try:
            line = _line_to(address, settings.broker.tls)
        except BusDown as error:
            yield wrong("broker", str(error), "start it, or correct PAYMENTS_BROKER_URL; workers wait for it")
        except BusRefused as error:
            yield wrong("broker", str(error), "correct PAYMENTS_BROKER_URL or what the message names")
        else:
            yield well("broker", f"answers: {address}")
            if broker is None:
                broker = Broker(line=line, tls=settings.broker.tls)
            else:
                line.abandon()
    if broker is None:
        yield not_looked_at(CHECKS, "no broker answers")
        return
    try:
        yield from each(CHECKS, broker)
    finally:
        broker.line.abandon()


def _line_to(address: Address | EmbeddedAddress, tls: Tls | None) -> Line:
    if isinstance(address, EmbeddedAddress):
        from consumers.embedded_line import EmbeddedLine  # who has a RabbitMQ never loads that broker

        if not address.directory.is_dir():
            raise BusDown(f"{address}: there is no such directory yet; the first worker makes it")
        return EmbeddedLine(address)
    options = LineOptions(tls=tls, heartbeat_s=60, connect_timeout_s=PATIENCE_S, name="payments doctor")
    line = AmqpLine(address, options)
    line.channel.connection.sock.settimeout(PATIENCE_S)
    return line


def broker_version(broker: Broker) -> Iterator[Finding]:
    """Whether it is a RabbitMQ that the queue arguments were written for."""
    if not broker.version:
        yield well("broker version", "the embedded one")
        return
    numbers = tuple(int(part) for part in broker.version.split("-")[0].split(".") if part.isdigit())
    if OLDEST <= numbers < NEXT:
        yield well("broker version", f"RabbitMQ {broker.version}")
    else:
        yield wrong("broker version", f"RabbitMQ {broker.version}", "use RabbitMQ 3.10 to 4.x")


def topology(broker: Broker) -> Iterator[Finding]:
    """Whether every exchange and queue is there, with the arguments that keep it from losing messages."""
    wrongs: list[tuple[str, str]] = []
    for exchange in EXCHANGES:
        options = {"type": exchange.kind, "durable": True, "auto_delete": False}
        wrongs += _differs(broker, "exchange", exchange.name, options)
    for queue in WORK_QUEUES:
        for name, arguments in (
            (queue.name, queue.arguments),
            (queue.dead_letter_queue, queue.dead_letter_arguments),
        ):
            options = {"durable": True, "auto_delete": False, "arguments": arguments}
            wrongs += _differs(broker, "queue", name, options)
    for told, to_do in wrongs:
        yield wrong("topology", told, to_do)
    if not wrongs:
        yield well(
            "topology",
            f"{len(EXCHANGES)} exchanges and {2 * len(WORK_QUEUES)} queues are as declared: quorum, at least once",
        )
    if broker.version:
        yield unsure(
            "policies and bindings",
            "cannot be seen over AMQP",
            "`rabbitmqctl list_policies`: none may set message-ttl, expires, max-length or delivery-limit on "
            "payments.*; `payments topology` binds what is not bound",
        )


def _differs(broker: Broker, what: str, name: str, options: dict[str, Any]) -> list[tuple[str, str]]:
    """Ask without changing anything: first whether it is there, then for the very same once more."""
    try:
        with broker.channel() as channel:
            declare = channel.exchange_declare if what == "exchange" else channel.queue_declare
            if what == "queue":
                found = declare(queue=name, passive=True)
                broker.counts[name] = int(found.message_count), int(found.consumer_count)
                declare(queue=name, **options)
            else:
                declare(exchange=name, passive=True, **options)
                declare(exchange=name, **options)
    except amqp.NotFound:
        return [(f"{what} {name} is not there", "run `payments topology`")]
    except amqp.PreconditionFailed as error:
        return [
            (
                f"{what} {name} is another than this version declares ({error.reply_text})",
                "move its messages away, delete it, run `payments topology`",
            )
        ]
    except amqp.AccessRefused as error:
        return [
            (
                f"this user may not look at {what} {name} ({error.reply_text})",
                "run the doctor as the worker's user, or give that user its permissions",
            )
        ]
    return []


def consumers(broker: Broker) -> Iterator[Finding]:
    """Whether somebody takes what comes in, and no pile has grown."""
    for queue in WORK_QUEUES:
        waiting, readers = broker.counts.get(queue.name, (0, 0))
        if queue.name not in broker.counts:
            continue
        if not readers:
            yield wrong(
                queue.name, f"nobody consumes it; {waiting} messages wait", "start workers; read their log"
            )
        else:
            yield well(queue.name, f"{readers} consumers, {waiting} messages wait")


def dead_letters(broker: Broker) -> Iterator[Finding]:
    """Whether messages that nobody could settle wait."""
    found = {
        queue.dead_letter_queue: broker.counts[queue.dead_letter_queue][0]
        for queue in WORK_QUEUES
        if queue.dead_letter_queue in broker.counts
    }
    piled = {name: count for name, count in found.items() if count}
    for name, count in piled.items():
        yield wrong("dead letters", f"{count} in {name}", "see DeadLetters in docs/runbook.md")
    if found and not piled:
        yield well("dead letters", "none wait")


def publishing(broker: Broker) -> Iterator[Finding]:
    """Whether it takes messages now: one that reaches no queue is published, and its confirm awaited."""
    line = broker.line
    if not isinstance(line, AmqpLine):
        yield well("publishing", "into the same directory")
        return
    confirmed: list[bool] = []
    line.listen_for_confirms(
        ConfirmListener(
            on_confirm=lambda _number, _multiple, taken: confirmed.append(taken),
            on_return=lambda *_: None,
        )
    )
    deadline = time.monotonic() + PATIENCE_S
    for number in (1, 2):  # an alarm lets the first through, and reads no second
        content = line.channel.prepare_message(PROBE.encode(), properties={"delivery_mode": 1})
        line.publish(content, exchange=DEAD_LETTERS.name, routing_key=PROBE, mandatory=False)
        while len(confirmed) < number and not line.blocked and time.monotonic() < deadline:
            readable, _, _ = select.select([line.channel.connection.sock], [], [], 0.2)
            if readable:
                line.read()
    if line.blocked:
        yield wrong(
            "publishing",
            "the broker blocks all who publish: its memory or disk alarm is on",
            "`rabbitmq-diagnostics alarms`; make room; it goes on by itself, and nothing is lost",
        )
    elif confirmed == [True, True]:
        yield well("publishing", "the broker confirms")
    else:
        yield wrong(
            "publishing", f"no confirm within {PATIENCE_S:.0f} s", "look at the broker's log and load"
        )


CHECKS = (broker_version, topology, consumers, dead_letters, publishing)
