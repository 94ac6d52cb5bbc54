"""A million payments through two workers: does their memory stay flat, and a payment's cost, as the books grow?

Cost is CPU time (workers and PostgreSQL together) per payment: on a shared machine it is steadier than a rate. At the
end the old books are fed in turn with young ones that begin at 10,000 payments, so that both meet the same machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import kombu
import psycopg
import structlog
import typer
from rich.console import Console
from rich.table import Table

from bench.contenders import OURS, Crew, Place, commands
from bench.measure import running
from bench.processes import children, cpu_s, resident_mb
from ledger.verify import verify
from tests.servers import OwnPostgres, Rabbitmq, running_own_postgres, running_rabbitmq

_CHUNK = 10_000
_ROUNDS = 5
_QUEUE = "payments.payment-commands"
console = Console(stderr=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen when so many payments had been taken."""

    payments: int
    at: float
    cpu_s: float
    memory_mb: list[float]


def main(
    payments: Annotated[int, typer.Option(help="How many.")] = 1_000_000,
    processes: Annotated[int, typer.Option(help="Workers.")] = 2,
) -> None:
    """Feed payments as fast as they are taken, and look at the workers after every twentieth of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    directory = Path(tempfile.mkdtemp(prefix="payments-soak-"))
    with running_rabbitmq() as broker, running_own_postgres() as database:
        place = Place(broker_url=broker.fresh_vhost(), database_url=database.fresh_database())
        OURS.prepare(place)
        with running(
            OURS, place, Crew(processes=processes, gateway_s=0), directory / "workers.log"
        ) as workers:
            pids = [worker.pid for worker in workers]
            looks = list(_looks(place, database, pids, payments))
            old, young = _beside_young_books(place, broker, database, pids, directory)
        problems = verify(place.database_url).problems
        with psycopg.connect(place.plain_database_url) as connection:
            ((journals,),) = connection.execute("SELECT count(*) FROM journals").fetchall()
    _show(looks, journals, problems)
    print(f"memory at the end against a tenth of the way: {_growth(looks):.2f}")
    print(
        f"CPU µs a payment with {journals:,} journals: {median(old):,.0f}, with 10,000 and more: {median(young):,.0f}"
    )
    print(f"cost with old books against young ones: {median(old) / median(young):.2f}")


def _beside_young_books(
    place: Place, broker: Rabbitmq, database: OwnPostgres, pids: list[int], directory: Path
) -> tuple[list[float], list[float]]:
    """Feed old and young books in turn; the cost of each round, in µs a payment."""
    other = Place(broker_url=broker.fresh_vhost(), database_url=database.fresh_database())
    OURS.prepare(other)
    crew = Crew(processes=len(pids), gateway_s=0)
    old: list[float] = []
    young: list[float] = []
    with running(OURS, other, crew, directory / "young.log") as workers:
        _cost(other, database, [worker.pid for worker in workers], "first")
        for number in range(_ROUNDS):
            old.append(_cost(place, database, pids, f"old{number}"))
            young.append(_cost(other, database, [worker.pid for worker in workers], f"young{number}"))
            console.print(
                f"round {number + 1}: {old[-1]:,.0f} and {young[-1]:,.0f} µs a payment", highlight=False
            )
    return old, young


def _cost(place: Place, database: OwnPostgres, workers: list[int], prefix: str) -> float:
    pids = [*workers, database.pid]
    with kombu.Connection(place.broker_url) as connection:
        _await_fewer(connection.channel(), 1)
        before = sum(map(cpu_s, [*pids, *children(database.pid)]))
        OURS.feed(place, commands(_CHUNK, prefix=prefix))
        _await_fewer(connection.channel(), 1)
    return (sum(map(cpu_s, [*pids, *children(database.pid)])) - before) / _CHUNK * 1e6


def _growth(looks: list[Look]) -> float:
    return max(looks[-1].memory_mb) / max(looks[2].memory_mb)


def _looks(place: Place, database: OwnPostgres, workers: list[int], payments: int) -> Iterator[Look]:
    fed, step = 0, max(payments // 20, _CHUNK)
    with kombu.Connection(place.broker_url) as connection:
        channel = connection.channel()
        while fed < payments:
            OURS.feed(place, commands(_CHUNK, prefix=f"soak{fed:08d}"))
            fed += _CHUNK
            _await_fewer(channel, _CHUNK)
            if fed == _CHUNK or fed % step == 0:
                look = Look(
                    payments=fed,
                    at=time.monotonic(),
                    cpu_s=sum(map(cpu_s, [*workers, *children(database.pid)])),
                    memory_mb=[resident_mb(pid) for pid in workers],
                )
                memory = " and ".join(f"{mb:.0f}" for mb in look.memory_mb)
                console.print(f"{fed:>10,} payments, workers hold {memory} MB", highlight=False)
                yield look
        _await_fewer(channel, 1)


def _await_fewer(channel: Any, count: int) -> None:
    deadline = time.monotonic() + 300
    while channel.queue_declare(_QUEUE, passive=True).message_count >= count:
        if time.monotonic() > deadline:
            raise TimeoutError("the workers took nothing for five minutes")
        time.sleep(0.1)


def _show(looks: list[Look], journals: int, problems: list[Any]) -> None:
    table = Table(title="A worker over time", title_justify="left")
    for heading in ("payments", "payments/s", "CPU µs a payment", "MB a worker"):
        table.add_column(heading, justify="right")
    for before, look in pairwise(looks):
        taken = look.payments - before.payments
        table.add_row(
            f"{look.payments:,}",
            f"{taken / (look.at - before.at):,.0f}",
            f"{(look.cpu_s - before.cpu_s) / taken * 1e6:,.0f}",
            " ".join(f"{mb:.0f}" for mb in look.memory_mb),
        )
    out = Console()
    out.print(table)
    out.print(f"journals in the books: {journals:,}; verified: {problems or 'no problem found'}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=__doc__)(main)
    app()
