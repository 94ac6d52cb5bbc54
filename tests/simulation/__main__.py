"""`python -m tests.simulation SEED` tells one story; `--seeds N` tries many, and `--planted` shows what they find.

Exit status 1 if anything is wrong: a violation, or a planted bug that no seed has found.
"""

import os
import sys
import time
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.table import Table

from tests.simulation.many import ONE_IN, Summary, a_stage_on, run_many
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.run import Run, Stage, a_stage
from tests.simulation.shrink import shrink

BUG_SEEDS = 150
"""A planted bug must be found by one of so many seeds."""


def main(
    seed: Annotated[int | None, typer.Argument(help="Tell what happens under this seed.")] = None,
    seeds: Annotated[int, typer.Option(help="Run so many seeds.")] = 0,
    first: Annotated[int, typer.Option("--from", help="The first of them.")] = 0,
    processes: Annotated[int, typer.Option(help="Side by side.")] = os.cpu_count() or 1,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="PAYMENTS_TEST_DATABASE_URL", help="A PostgreSQL server for every 50th seed, or for SEED."
        ),
    ] = None,
    planted: Annotated[bool, typer.Option("--planted", help="Plant bugs, and find them.")] = False,
    shorter: Annotated[int | None, typer.Option("--shrink", help="Tell this seed's story shorter.")] = None,
    bug: Annotated[str, typer.Option(help="Plant the bug of this name before SEED or --shrink.")] = "",
) -> None:
    """Run payments through crashes, lost answers and doubled messages; one seed decides everything."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    if not (seeds or planted) and seed is None and shorter is None:
        sys.exit("nothing to do: name a SEED, or see --help")
    is_well = True
    if seed is not None or shorter is not None:
        is_well = _one(seed, shorter, bug, database_url)
    if seeds:
        is_well = _many(range(first, first + seeds), processes, database_url) and is_well
    if planted:
        is_well = _planted() and is_well
    sys.exit(0 if is_well else 1)


# --- one -----------------------------------------------------------------------------------------------------------


def _one(seed: int | None, shorter: int | None, bug: str, database_url: str | None) -> bool:
    with ExitStack() as stack:
        if bug:
            stack.enter_context(_named(bug).plant())
        on_postgres = stack.enter_context(a_stage_on(database_url))
        stage = on_postgres or stack.enter_context(a_stage())
        if seed is not None:
            run = stage.run(seed)
        else:
            assert shorter is not None
            run = _shortened(stage, stage.run(shorter))
    print("\n".join(run.story))
    print(f"seed {run.seed}: {len(run.problems)} violations", *run.problems, sep="\n   ")
    return not run.problems


def _named(bug: str) -> Mutation:
    for mutation in MUTATIONS:
        if mutation.name == bug:
            return mutation
    sys.exit("no such bug; there are:\n   " + "\n   ".join(mutation.name for mutation in MUTATIONS))


def _shortened(stage: Stage, run: Run) -> Run:
    if not run.problems:
        return run
    short = shrink(stage, run)
    print(f"seed {run.seed}: {len(run.actions)} actions shortened to {len(short.actions)}", file=sys.stderr)
    return short


# --- many ----------------------------------------------------------------------------------------------------------


def _many(seeds: range, processes: int, database_url: str | None) -> bool:
    begun = time.monotonic()
    told_at = begun

    def tell(done: Summary) -> None:
        nonlocal told_at
        if sys.stderr.isatty():
            print(f"\r{done.seeds} of {len(seeds)} seeds, {len(done.failed)} fail", end="", file=sys.stderr)
        elif time.monotonic() - told_at > 10:
            told_at = time.monotonic()
            print(f"{done.seeds} of {len(seeds)} seeds, {len(done.failed)} fail", file=sys.stderr)

    done = run_many(seeds, processes=processes, database_url=database_url, tell=tell)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    took = time.monotonic() - begun
    for what, times in sorted(done.injected.items()):
        print(f"{times:>9,}  {what}")
    print(f"{done.seeds:,} seeds in {took:.0f} s: {done.seeds / took:.0f} seeds/s", end="")
    print(f", {done.on_postgres} of them on PostgreSQL" if done.on_postgres else "")
    print(f"{sum(done.injected.values()):,} faults injected")
    for seed, problems in sorted(done.failed.items()):
        there = " --database-url …" if database_url and seed % ONE_IN == 0 else ""
        print(f"seed {seed}:", *problems, f"replay: python -m tests.simulation {seed}{there}", sep="\n   ")
    print(f"{sum(map(len, done.failed.values()))} violations")
    return not done.failed


# --- planted bugs --------------------------------------------------------------------------------------------------


def _planted() -> bool:
    table = Table("planted bug", "found by seed", "what was found", box=None, pad_edge=False)
    missed = 0
    with a_stage() as stage:
        for mutation in MUTATIONS:
            run = _first_found(stage, mutation)
            missed += run is None
            table.add_row(
                f"it {mutation.name}",
                str(run.seed) if run else "none",
                _in_a_line(run.problems[0]) if run else f"NOT FOUND in {BUG_SEEDS} seeds",
            )
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    print(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} planted bugs were found")
    return missed == 0


def _first_found(stage: Stage, mutation: Mutation) -> Run | None:
    with mutation.plant():
        runs = (stage.run(seed) for seed in range(BUG_SEEDS))
        return next((run for run in runs if run.problems), None)


def _in_a_line(problem: str) -> str:
    lines = problem.strip().splitlines()
    what = lines[0] if len(lines) == 1 else f"{lines[0].partition(': {')[0]}: {lines[-1].strip()}"
    return what if len(what) < 110 else what[:107] + "..."


if __name__ == "__main__":
    typer.run(main)
