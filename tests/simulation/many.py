"""Many runs side by side: what was injected, and which seeds fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.servers import Postgres
from tests.simulation.database import postgres_on
from tests.simulation.run import Stage, a_stage

BATCH = 100
"""Seeds that one process takes at a time."""
ONE_IN = 50
"""Where there is a PostgreSQL, every so many'th seed keeps its books there."""


@dataclass(slots=True)
class Summary:
    """What came of some seeds."""

    seeds: int = 0
    on_postgres: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    failed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """What was wrong, by seed."""

    def add(self, other: Summary) -> None:
        """Take in what came of others."""
        self.seeds += other.seeds
        self.on_postgres += other.on_postgres
        self.injected.update(other.injected)
        self.failed.update(other.failed)


def run_many(
    seeds: range, *, processes: int, database_url: str | None, tell: Callable[[Summary], None]
) -> Summary:
    """Run seeds in several processes; `tell` hears of the progress."""
    whole = Summary()
    batches = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_batch, batch, database_url) for batch in batches]):
            whole.add(done.result())
            tell(whole)
    return whole


def run_batch(seeds: range, database_url: str | None = None) -> Summary:
    """Run seeds one by one."""
    summary = Summary(seeds=len(seeds))
    with a_stage() as in_a_file, a_stage_on(database_url) as on_postgres:
        for seed in seeds:
            stage = in_a_file
            if on_postgres is not None and seed % ONE_IN == 0:
                stage, summary.on_postgres = on_postgres, summary.on_postgres + 1
            run = stage.run(seed)
            summary.injected.update(run.injected)
            if run.problems:
                summary.failed[seed] = run.problems
    return summary


@contextmanager
def a_stage_on(database_url: str | None) -> Iterator[Stage | None]:
    """A stage on a PostgreSQL server whose user may make databases; what is made is dropped again."""
    if database_url is None:
        yield None
        return
    server = Postgres(database_url)
    try:
        yield Stage(postgres_on(server))
    finally:
        server.close()
