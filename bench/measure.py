"""One measurement: a fresh place, commands laid ready, workers started, events counted, and the result checked."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu
import psycopg

from bench.contenders import Command, Contender, Crew, Place, commands
from bench.processes import children, cpu_s, resident_mb
from tests.servers import Postgres, Rabbitmq

HEARD = "bench.heard"
_LOOK_S = 0.05


class Wrong(Exception):
    """A contender's result does not hold: its rate counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The two servers everybody works on."""

    broker: Rabbitmq
    database: Postgres


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a contender was at saturation."""

    per_s: float
    payments: int
    memory_mb: float
    """The largest resident set of one of its processes."""
    cpu_us: float
    """CPU time of all its processes per payment, in µs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From a command's publish to its event, at a fixed rate; seconds."""

    asked_per_s: float
    answered: float
    """Share of the commands whose events came within the time."""
    p50: float
    p99: float


def saturation(
    servers: Servers, contender: Contender, crew: Crew, *, seconds: float, directory: Path
) -> Rate:
    """Let a contender work through a full queue for some seconds.

    Raises:
        Wrong: what it booked and what it announced do not agree.
    """
    slow = 1 + crew.gateway_s * 12  # a slower gateway is met with fewer commands laid ready
    count = max(600, int(contender.most_per_s * seconds / slow))
    prefix = secrets.token_hex(3)
    with place(servers, contender) as where, kombu.Connection(where.broker_url) as connection:
        contender.feed(where, commands(count, prefix=prefix))
        channel = connection.channel()
        log = directory / f"{contender.name.replace(' ', '-')}.log"
        with running(contender, where, crew, log) as processes:
            seen = watch(channel, processes, count=count, seconds=seconds, log=log)
            everyone = [pid for process in processes for pid in (process.pid, *children(process.pid))]
            memory = max(map(resident_mb, everyone))
            spent = sum(map(cpu_s, everyone))
        paid = _check(contender, where, channel, prefix)
    return Rate(per_s=slope(seen), payments=paid, memory_mb=memory, cpu_us=spent / max(seen[-1][1], 1) * 1e6)


def at_rate(
    servers: Servers, contender: Contender, crew: Crew, *, per_s: float, seconds: float, directory: Path
) -> Latency:
    """Publish at a fixed rate and time each payment from the publish of its command to its event."""
    prefix = secrets.token_hex(3)
    with place(servers, contender) as where, kombu.Connection(where.broker_url) as connection:
        channel = connection.channel()
        log = directory / f"{contender.name.replace(' ', '-')}.log"
        with running(contender, where, crew, log), contender.sender(where) as send:
            heard: dict[str, float] = {}

            def take(message: Any) -> None:
                heard.setdefault(json.loads(message.body)["payment_id"], time.monotonic())

            channel.basic_consume(HEARD, callback=take, no_ack=True)
            for command in commands(50, prefix=f"{prefix}-warm"):
                send(command)
            _listen(connection, until=lambda: len(heard) >= 50, within_s=60)
            if len(heard) < 50:
                raise Wrong(f"{contender.name} did not start: see {log}")
            sent = _paced(
                connection, send, commands(int(per_s * seconds), prefix=prefix), per_s, within_s=seconds
            )
            _listen(connection, until=lambda: len(heard) >= 50 + len(sent), within_s=3)
    took = sorted(heard[name] - at for name, at in sent.items() if name in heard)
    return Latency(
        asked_per_s=per_s,
        answered=len(took) / int(per_s * seconds),
        p50=took[len(took) // 2],
        p99=took[int(len(took) * 0.99)],
    )


def _paced(
    connection: kombu.Connection,
    send: Callable[[Command], None],
    wanted: Iterable[Command],
    per_s: float,
    *,
    within_s: float,
) -> dict[str, float]:
    sent: dict[str, float] = {}
    begun = time.monotonic()
    for number, command in enumerate(wanted):
        due = begun + number / per_s
        while (left := due - time.monotonic()) > 0:
            with suppress(TimeoutError):
                connection.drain_events(timeout=left)
        if time.monotonic() > begun + within_s * 1.5:
            break
        sent[command["payment_id"]] = time.monotonic()
        send(command)
    return sent


def _listen(connection: kombu.Connection, *, until: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not until() and (left := deadline - time.monotonic()) > 0:
        with suppress(TimeoutError):
            connection.drain_events(timeout=left)


@contextmanager
def place(servers: Servers, contender: Contender) -> Iterator[Place]:
    """Give a contender a virtual host and a database of its own, and a queue that hears its events."""
    where = Place(broker_url=servers.broker.fresh_vhost(), database_url=servers.database.fresh_database())
    try:
        contender.prepare(where)
        with kombu.Connection(where.broker_url) as connection:
            channel = connection.channel()
            channel.queue_declare(
                HEARD, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
            )
            channel.queue_bind(HEARD, exchange=contender.events, routing_key="#")
        servers.database.psql("CHECKPOINT")
        yield where
    finally:
        servers.broker.drop_vhost(where.broker_url)
        servers.database.drop_database(where.database_url)


@contextmanager
def running(
    contender: Contender, where: Place, crew: Crew, log: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run a contender's processes; at the end they are asked to stop, and killed if they do not."""
    processes = contender.processes(where, crew, log)
    try:
        yield processes
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
    finally:
        for process in processes:
            if process.poll() is None:
                for pid in children(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.kill()
                process.wait()


def watch(
    channel: Any, processes: list[subprocess.Popen[bytes]], *, count: int, seconds: float, log: Path
) -> list[tuple[float, int]]:
    """Look how many events there are, until all are there or the time is over."""
    seen: list[tuple[float, int]] = []
    idle = time.monotonic()
    end = idle + 60
    while time.monotonic() < end and (len(seen) < 3 or seen[-1][1] < count):
        here = channel.queue_declare(HEARD, passive=True).message_count
        if not here:
            idle = time.monotonic()
        else:
            if not seen:
                end = time.monotonic() + seconds
                seen.append((idle, 0))
            seen.append((time.monotonic(), here))
        if any(process.poll() is not None for process in processes):
            raise Wrong(f"a worker ended by itself: see {log}")
        time.sleep(_LOOK_S)
    if len(seen) < 3:
        raise Wrong(f"nothing was announced within 60 s: see {log}")
    return seen


def slope(seen: list[tuple[float, int]]) -> float:
    """Events per second, without the first fifth (workers still starting) and the very end (a queue running dry).

    Where everything was done between two looks there is no such middle: then it is the rate of the whole.
    """
    begun, over = seen[0][0], seen[-1][0]
    first = next(look for look in seen if look[0] >= begun + (over - begun) * 0.2)
    last = next((look for look in seen if look[1] >= seen[-1][1] * 0.97), seen[-1])
    if last[1] <= first[1]:
        first = seen[0]
    return (last[1] - first[1]) / max(last[0] - first[0], _LOOK_S)


def _check(contender: Contender, where: Place, channel: Any, prefix: str) -> int:
    """Compare the books with the events; returns how many payments were made.

    Raises:
        Wrong: they differ, or something is in them that nobody asked for.
    """
    announced: list[str] = []
    count = channel.queue_declare(HEARD, passive=True).message_count
    channel.basic_consume(
        HEARD, callback=lambda message: announced.append(json.loads(message.body)["payment_id"]), no_ack=True
    )
    while len(announced) < count:
        channel.connection.drain_events(timeout=10)
    with psycopg.connect(where.plain_database_url) as connection:
        paid = {row[0] for row in connection.execute(contender.paid)}
    if not all(name.startswith(f"pay-{prefix}-") for name in paid):
        raise Wrong(f"{contender.name} booked payments nobody asked for")
    if missing := paid.symmetric_difference(announced):
        raise Wrong(
            f"{contender.name}: {len(missing)} of {len(paid)} payments were booked and not announced, or the reverse"
        )
    return len(paid)
