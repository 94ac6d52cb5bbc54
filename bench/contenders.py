"""Who takes part: how each is set up, fed and started, and where its work can be checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import kombu
import psycopg

from bench.peers import work
from consumers.topology import declare
from ledger.schema import migrate
from messages.commands import PaymentRequested
from ops.key_files import new_key
from ops.publish import CommandLine, publish

ROOT = Path(__file__).parent.parent
Command = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A fresh virtual host and a fresh database."""

    broker_url: str
    database_url: str
    """As SQLAlchemy spells it."""

    @property
    def plain_database_url(self) -> str:
        """As psycopg spells it."""
        return self.database_url.replace("postgresql+psycopg", "postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How a contender is run: so many processes, so many payments at once, a gateway so slow."""

    processes: int
    gateway_s: float

    @property
    def at_once(self) -> int:
        """Threads, tasks or child processes that a competent user gives the peers for such a gateway."""
        return 8 if self.gateway_s == 0 else 64 if self.gateway_s < 0.1 else 128


Argv = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One worker program."""

    name: str
    prepare: Callable[[Place], None]
    feed: Callable[[Place, Iterable[Command]], None]
    """Lay commands ready; they are in the queue when it returns."""
    way: str
    """How one command is published: `ours`, `plain`, or a module with a task `pay`."""
    start: Callable[[Crew], Sequence[Argv]]
    """The command lines to run side by side."""
    paid: str
    """SQL: the ids of the payments that are booked whole, each with its balanced journal and its audit line."""
    events: str
    """The exchange its events come from."""
    most_per_s: int
    """More than it can do: so many commands are laid ready for each second of a run."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def processes(self, place: Place, crew: Crew, log: Path) -> list[subprocess.Popen[bytes]]:
        """Start it."""
        settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")},
            "BENCH_BROKER_URL": place.broker_url,
            "BENCH_DATABASE_URL": place.plain_database_url,
            "BENCH_GATEWAY_S": str(crew.gateway_s),
            "BENCH_THREADS": str(crew.at_once),
            "PAYMENTS_BROKER_URL": place.broker_url,
            "PAYMENTS_DATABASE_URL": place.database_url,
            "PAYMENTS_DEFAULT_GATEWAY": "bench",
            "PAYMENTS_KEYS_DIR": str(_keys(log.parent)),
            "PAYMENTS_LOG__LEVEL": "warning",
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
        with log.open("ab") as output:
            return [
                subprocess.Popen(argv, env=settings, cwd=log.parent, stdout=output, stderr=output)
                for argv in self.start(crew)
            ]

    def sender(self, place: Place) -> AbstractContextManager[Callable[[Command], None]]:
        """Publish commands one by one."""
        return _sending(place, self.way)


def _keys(directory: Path) -> Path:
    """Where the key is that our worker encrypts tokens with."""
    keys = directory / "keys"
    if not keys.exists():
        new_key(keys)
    return keys


def commands(count: int, *, prefix: str) -> Iterable[Command]:
    """Make commands, all different."""
    for number in range(count):
        yield {
            "message_id": f"msg-{prefix}-{number:07d}",
            "payment_id": f"pay-{prefix}-{number:07d}",
            "order_id": f"order-{prefix}-{number:07d}",
            "amount": {"minor": 1999, "currency": "EUR"},
        }


def _module(name: str) -> Callable[[Crew], Sequence[Argv]]:
    return lambda crew: [[sys.executable, "-m", name]] * crew.processes


# --- ours ------------------------------------------------------------------------------------------------------------


def _prepare_ours(place: Place) -> None:
    migrate(place.database_url)
    with kombu.Connection(place.broker_url) as connection:
        declare(
            connection.channel()
        )  # a worker does it, too; here the commands are laid ready before it comes


def _feed_ours(place: Place, wanted: Iterable[Command]) -> None:
    publish([place.broker_url], (line(command) for command in wanted))


def line(command: Command) -> CommandLine:
    data = {name: command[name] for name in ("payment_id", "order_id", "amount")}
    return CommandLine(
        id=command["message_id"],
        type="PaymentRequested",
        source="/shop",
        data=json.dumps({**data, "payment_method": {"token": "tok_approved"}}).encode(),
    )


OURS = Contender(
    name="this service",
    prepare=_prepare_ours,
    feed=_feed_ours,
    way="ours",
    start=_module("bench.our_worker"),
    paid=(
        "SELECT p.payment_id FROM payments p"
        " JOIN inbox i ON i.subject = p.payment_id JOIN journals j ON j.payment_id = p.payment_id"
        " JOIN entries e ON e.journal_id = j.journal_id"
        " WHERE p.status = 'captured' AND p.captured_gross = p.requested GROUP BY p.payment_id"
        " HAVING sum(CASE e.side WHEN 'D' THEN e.amount ELSE -e.amount END) = 0"
    ),
    events="payments.events",
    most_per_s=5_000,
)

# --- the others ------------------------------------------------------------------------------------------------------


def _prepare_peer(place: Place) -> None:
    with psycopg.connect(place.plain_database_url, autocommit=True) as connection:
        connection.execute(work.SCHEMA)
    with kombu.Connection(place.broker_url) as connection:
        channel = connection.channel()
        channel.exchange_declare(work.EVENTS, type="topic", durable=True, auto_delete=False)


def _feed_plain(place: Place, wanted: Iterable[Command]) -> None:
    with kombu.Connection(place.broker_url) as connection:
        channel = connection.channel()
        channel.queue_declare(work.COMMANDS, durable=True, auto_delete=False, arguments=work.QUORUM)
        count = 0
        for command in wanted:
            count += 1
            message = channel.prepare_message(
                json.dumps(command).encode(),
                content_type="application/json",
                properties={"delivery_mode": 2, "message_id": command["message_id"]},
            )
            channel.basic_publish(message, exchange="", routing_key=work.COMMANDS)
        await_messages(channel, work.COMMANDS, count)


def await_messages(channel: Any, queue: str, count: int) -> None:
    """Wait until so many messages lie in a queue. Raises: TimeoutError."""
    deadline = time.monotonic() + 60
    while channel.queue_declare(queue, passive=True).message_count < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{queue} did not take {count} messages within 60 s")
        time.sleep(0.02)


def _feed_task(place: Place, wanted: Iterable[Command], module: str) -> None:
    with _sending(place, module) as send:
        for command in wanted:
            send(command)


@contextmanager
def _sending(place: Place, way: str) -> Iterator[Callable[[Command], None]]:
    """Send commands from a process of its own: the task libraries read their settings once in a process."""
    environment = {**os.environ, "BENCH_BROKER_URL": place.broker_url, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "bench.contenders", way]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment, stdout=subprocess.DEVNULL) as process:
        pipe = process.stdin
        assert pipe is not None

        def send(command: Command) -> None:
            pipe.write(json.dumps(command).encode() + b"\n")
            pipe.flush()

        yield send
        pipe.close()
        if process.wait(120):
            raise RuntimeError(f"commands could not be sent by {way}")


def _send(way: str) -> None:
    """Publish each line of standard input, as `way` does it."""
    if way not in ("ours", "plain"):
        pay = import_module(way).pay
        send = getattr(pay, "delay", None) or pay.send
        for text in sys.stdin:
            send(json.loads(text))
        return
    with kombu.Connection(work.BROKER_URL) as connection:
        channel = connection.channel()
        for text in sys.stdin:
            if way == "ours":
                command = line(json.loads(text))
                message = channel.prepare_message(
                    command.data,
                    content_type="application/json",
                    headers=command.headers(),
                    properties={"delivery_mode": 2, "message_id": command.id, "type": command.type},
                )
                channel.basic_publish(
                    message, exchange=PaymentRequested.exchange, routing_key=PaymentRequested.routing_key
                )
            else:
                message = channel.prepare_message(
                    text.encode(), content_type="application/json", properties={"delivery_mode": 2}
                )
                channel.basic_publish(message, exchange="", routing_key=work.COMMANDS)


_PEERS_PAID = (
    "SELECT p.payment_id FROM payments p"
    " JOIN audit a ON a.subject = p.payment_id JOIN journals j ON j.payment_id = p.payment_id"
    " JOIN entries e ON e.journal_id = j.journal_id"
    " WHERE p.status = 'captured' GROUP BY p.payment_id"
    " HAVING sum(CASE e.side WHEN 'D' THEN e.amount ELSE -e.amount END) = 0"
)


def _peer(name: str, start: Callable[[Crew], Sequence[Argv]], *, tasks: str | None = None) -> Contender:
    return Contender(
        name=name,
        prepare=_prepare_peer,
        feed=partial(_feed_task, module=tasks) if tasks else _feed_plain,
        way=tasks or "plain",
        start=start,
        paid=_PEERS_PAID,
        events=work.EVENTS,
        most_per_s=800,
    )


def _celery(crew: Crew) -> Sequence[Argv]:
    # celery's unit is a child process: a gateway that takes its time is met with more of them.
    children = crew.processes if crew.gateway_s == 0 else 32
    options = ["--pool", "prefork", "--concurrency", str(children), "--loglevel", "WARNING"]
    return [[sys.executable, "-m", "celery", "-A", "bench.peers.celery_worker", "worker", *options]]


def _dramatiq(crew: Crew) -> Sequence[Argv]:
    options = ["--processes", str(crew.processes), "--threads", str(crew.at_once)]
    return [[sys.executable, "-m", "dramatiq", "bench.peers.dramatiq_worker", *options]]


def _faststream(crew: Crew) -> Sequence[Argv]:
    # Its `--workers` are processes like these.
    run = [sys.executable, "-m", "faststream", "run", "bench.peers.faststream_worker:app"]
    return [[*run, "--log-level", "warning"]] * crew.processes


PEERS = (
    _peer("celery", _celery, tasks="bench.peers.celery_worker"),
    _peer("dramatiq", _dramatiq, tasks="bench.peers.dramatiq_worker"),
    _peer("FastStream", _faststream),
    _peer("kombu", _module("bench.peers.kombu_worker")),
    _peer("pika", _module("bench.peers.pika_worker")),
)

if __name__ == "__main__":
    _send(sys.argv[1])
