"""One chaos run from its beginning to its judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from ledger.stories import story
from ops.story.text import render_story
from tests.chaos_real.course import Bounds, Course
from tests.chaos_real.evidence import Violation
from tests.chaos_real.gathering import gather
from tests.chaos_real.house import House, house
from tests.chaos_real.judge import judge
from tests.chaos_real.report import Result, make_result


def run(
    directory: Path,
    bounds: Bounds,
    *,
    orders_per_s: float,
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> Result:
    """Run it, judge it, and keep in `directory` what explains the violations."""
    began_at = datetime.now(UTC)
    with house(directory, seed=bounds.seed, orders_per_s=orders_per_s, say=say) as place:
        figures = Course(place, bounds, progress=progress).run()
        evidence = gather(place)
        violations = judge(evidence)
        violations += [Violation(kind="not recovered", text=what) for what in figures.unrecovered]
        keep_stories(place, violations)
        return make_result(place, figures, evidence, violations, seed=bounds.seed, began_at=began_at)


def keep_stories(place: House, violations: list[Violation]) -> None:
    """Write what `payments show` says of each payment concerned: the database does not outlive the run."""
    for payment_id in sorted({v.payment_id for v in violations if v.payment_id}):
        told = story(place.database_url, payment_id)
        if told is not None:
            with (place.directory / f"{payment_id}.txt").open("w") as file:
                Console(file=file, width=160).print(render_story(told))
