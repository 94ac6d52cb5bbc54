"""`python -m tests.chaos_real --kills 200 --minutes 12`: kills, outages, the judge; exit status 1 on a violation."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import structlog
import typer

from tests.chaos_real.course import Bounds
from tests.chaos_real.outages import OUTAGES
from tests.chaos_real.report import as_markdown, as_text
from tests.chaos_real.run import run

ROOT = Path(__file__).parents[2]
TOLD_EVERY_S = 15.0
"""How often a line of progress is printed where there is no terminal."""


def say(line: str) -> None:
    """Tell a person at once."""
    print(line, flush=True)


def make_progress() -> Callable[[str], None]:
    """On a terminal one line that changes; in a log a line now and then."""
    told_at = 0.0

    def tell(line: str) -> None:
        nonlocal told_at
        if sys.stdout.isatty():
            print(f"\r{line:<118.118}", end="", flush=True)
        elif time.monotonic() - told_at > TOLD_EVERY_S:
            told_at = time.monotonic()
            say(line)

    return tell


def main(
    kills: Annotated[int, typer.Option(help="How many processes to kill.")] = 200,
    minutes: Annotated[float, typer.Option(help="For how long, before all is healed.")] = 12.0,
    seed: Annotated[
        int, typer.Option(help="Decides what is random; the machine's pace it does not decide.")
    ] = 1,
    orders_per_s: Annotated[float, typer.Option(help="How many orders come in a second.")] = 3.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the logs, also when all is well.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write them into docs/chaos.md.")] = False,
) -> None:
    """Kill, stop, freeze and cut everything for a while, and judge from outside what came of the money."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    directory = Path(tempfile.mkdtemp(prefix="payments-chaos-"))
    say(f"Logs are in {directory}")
    bounds = Bounds(kills=kills, seconds=minutes * 60, seed=seed, outages=OUTAGES)
    result = run(directory, bounds, orders_per_s=orders_per_s, say=say, progress=make_progress())
    say(as_text(result))
    if json_file:
        json_file.write_text(json.dumps(result.as_json(), indent=2) + "\n")
    if markdown:
        (ROOT / "docs" / "chaos.md").write_text(as_markdown(result))
    if result.violations:
        for violation in result.violations:
            say(f"{violation.kind}: {violation.payment_id or ''} {violation.text}")
        for payment_id in sorted({v.payment_id for v in result.violations if v.payment_id}):
            say(f"payments show {payment_id}    # kept in {directory / payment_id}.txt")
        raise SystemExit(1)
    if (made := sum(result.kills.values())) < kills:
        say(f"Only {made} of {kills} kills could be made in time.")
        raise SystemExit(1)
    if not keep:
        shutil.rmtree(directory)


if __name__ == "__main__":
    typer.run(main)
