"""Hundreds of seeded runs, workers dying at every boundary: charged once, booked once, announced, nothing lost.

`python -m tests.simulation SEED` tells the story of a seed that fails.
"""

from __future__ import annotations

from tests.servers import Postgres
from tests.simulation.database import postgres_on
from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import Stage, a_stage
from tests.simulation.shrink import shrink

SEEDS = 500
ON_POSTGRES = 20


def test_whatever_dies_whenever_every_payment_is_charged_booked_and_announced_once() -> None:
    with a_stage() as stage:
        problems = {seed: found for seed in range(SEEDS) if (found := stage.run(seed).problems)}

    assert problems == {}


def test_it_is_no_different_on_postgresql(postgres: Postgres) -> None:
    stage = Stage(postgres_on(postgres))

    assert {seed: found for seed in range(ON_POSTGRES) if (found := stage.run(seed).problems)} == {}


def test_a_failing_story_is_told_shorter_and_still_fails() -> None:
    (planted,) = (mutation for mutation in MUTATIONS if mutation.name == "takes one absence for proof")
    with a_stage() as stage, planted.plant():
        failing = next(run for seed in range(150) if (run := stage.run(seed)).problems)
        short = shrink(stage, failing)

    assert short.problems
    assert len(short.actions) < len(failing.actions)


def test_a_seed_tells_the_same_story_again() -> None:
    with a_stage() as stage:
        told, again = stage.run(7).story, stage.run(7).story

    assert told == again
    assert told
