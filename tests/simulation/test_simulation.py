"""Hundreds of seeded runs, workers dying at every boundary: charged once, booked once, announced, nothing lost.

`python -m tests.simulation SEED` tells the story of a seed that fails.
"""

from __future__ import annotations

from tests.simulation.run import a_stage

SEEDS = 300


def test_whatever_dies_whenever_every_payment_is_charged_booked_and_announced_once() -> None:
    with a_stage() as stage:
        problems = {seed: found for seed in range(SEEDS) if (found := stage.run(seed).problems)}

    assert problems == {}


def test_a_seed_tells_the_same_story_again() -> None:
    with a_stage() as stage:
        told, again = stage.run(7).story, stage.run(7).story

    assert told == again
    assert told
