"""A million payments through two workers: does their memory stay flat, and a payment's cost, as the books grow?

Cost is CPU time (workers and PostgreSQL together) per payment: on a shared machine it is steadier than a rate.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
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
from tests.servers import OwnPostgres, running_own_postgres, running_rabbitmq

_CHUNK = 10_000
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
        problems = verify(place.database_url).problems
        with psycopg.connect(place.plain_database_url) as connection:
            ((journals,),) = connection.execute("SELECT count(*) FROM journals").fetchall()
    _show(looks, journals, problems)


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
    costs: list[float] = []
    for before, look in pairwise(looks):
        taken = look.payments - before.payments
        costs.append((look.cpu_s - before.cpu_s) / taken * 1e6)
        table.add_row(
            f"{look.payments:,}",
            f"{taken / (look.at - before.at):,.0f}",
            f"{costs[-1]:,.0f}",
            " ".join(f"{mb:.0f}" for mb in look.memory_mb),
        )
    out = Console()
    out.print(table)
    out.print(f"journals in the books: {journals:,}; verified: {problems or 'no problem found'}")
    out.print(f"cost of a payment at the end against the beginning: {costs[-1] / costs[0]:.2f}")
    out.print(
        f"memory at the end against a tenth of the way: {max(looks[-1].memory_mb) / max(looks[2].memory_mb):.2f}"
    )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=__doc__)(main)
    app()
