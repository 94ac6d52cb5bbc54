"""How fast this service is, beside the same work done with the usual libraries, on a real RabbitMQ and PostgreSQL.

Everybody takes a command from a quorum queue, de-duplicates it, calls a gateway that takes so long, books the payment
in one transaction (fsync on), publishes an event and waits for its confirm, and acknowledges. They run one after the
other in rounds; rates are medians, and count only when every payment in the books has its event and the reverse.
Read the ratios: the same program varies by a third from hour to hour on a shared machine.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from bench.contenders import OURS, PEERS, Contender, Crew
from bench.embedded import embedded_per_s
from bench.limits import measure_limits
from bench.measure import Servers, Wrong, at_rate, saturation
from bench.report import Case, Results, show
from bench.sdks import measure_sdks
from tests.servers import running_postgres, running_rabbitmq

console = Console(stderr=True)
EVERYBODY = (OURS, *PEERS)


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="One round, a gateway of 0 ms, under three minutes.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="How often everybody has a turn.")] = 3,
    gateway_ms: Annotated[list[int] | None, typer.Option(help="Gateways' times; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(help="How long a full queue is worked on.")] = 8,
    only: Annotated[list[str] | None, typer.Option(help="Workers by name; may be repeated.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures to a file.")] = None,
) -> None:
    """Measure, and print one table a case."""
    rounds, seconds = (1, 4) if quick else (rounds, seconds)
    times = gateway_ms or ([0] if quick else [0, 50, 300])
    cases = [Case(gateway_ms=time, processes=2) for time in times]
    if not quick:
        cases.append(Case(gateway_ms=0, processes=1))
    paced = [100.0] if quick else [100.0, 1000.0]
    contenders = [who for who in EVERYBODY if not only or who.name in only]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    directory = Path(tempfile.mkdtemp(prefix="payments-bench-"))
    with running_rabbitmq(say=_say) as broker, running_postgres(say=_say) as database:
        servers = Servers(broker=broker, database=database)
        results = Results(about=_about(servers))
        for number in range(1, rounds + 1):
            _say(f"round {number} of {rounds}")
            for case in cases:
                _round(servers, case, contenders, results, seconds=seconds, directory=directory)
        for per_s in paced:
            _paced(servers, per_s, contenders, results, seconds=seconds, directory=directory)
        if not quick:
            results.limits = measure_limits(servers, say=_say)
            results.sdks = measure_sdks(
                servers, rounds=rounds, seconds=seconds, directory=directory, say=_say
            )
            results.embedded_per_s = [embedded_per_s(seconds=seconds) for _ in range(rounds)]
    show(results, Console())
    if as_json:
        as_json.write_text(json.dumps(results.as_json(), indent=2) + "\n")
    if results.wrong:
        sys.exit(1)


def _round(
    servers: Servers,
    case: Case,
    contenders: Sequence[Contender],
    results: Results,
    *,
    seconds: float,
    directory: Path,
) -> None:
    crew = Crew(processes=case.processes, gateway_s=case.gateway_ms / 1000)
    for contender in contenders:
        rates = results.rates.setdefault(case, {}).setdefault(contender.name, [])
        try:
            rate = saturation(servers, contender, crew, seconds=seconds, directory=directory)
        except Wrong as error:
            results.wrong.append(f"{contender.name}, {case}: {error}")
            _say(f"  {case}: {contender.name}: {error}")
        else:
            rates.append(rate)
            _say(f"  {case}: {contender.name} {rate.per_s:,.0f}/s")


def _paced(
    servers: Servers,
    per_s: float,
    contenders: Sequence[Contender],
    results: Results,
    *,
    seconds: float,
    directory: Path,
) -> None:
    crew = Crew(processes=2, gateway_s=0)
    for contender in contenders:
        try:
            latency = at_rate(servers, contender, crew, per_s=per_s, seconds=seconds, directory=directory)
        except Wrong as error:
            results.wrong.append(f"{contender.name} at {per_s:.0f}/s: {error}")
        else:
            results.latencies.setdefault(per_s, {}).setdefault(contender.name, []).append(latency)
            _say(f"  at {per_s:.0f}/s: {contender.name} p50 {latency.p50 * 1000:.1f} ms")


def _about(servers: Servers) -> dict[str, str]:
    libraries = ("kombu", "amqp", "psycopg", "SQLAlchemy", "celery", "dramatiq", "faststream", "pika")
    ((postgres,),) = servers.database.psql("SHOW server_version")
    return {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "PostgreSQL": str(postgres),
        "RabbitMQ": servers.broker.version,
        **{name: version(name) for name in libraries},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def _say(text: str) -> None:
    console.print(text, highlight=False)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=__doc__)(main)
    app()
