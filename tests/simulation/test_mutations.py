"""Bugs are planted one by one, and the simulation finds each; left alone, the same seeds are clean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.run import Stage, a_stage

SEEDS = range(150)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One stage for all."""
    with a_stage() as stage:
        yield stage


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_bug_is_found_and_the_same_seed_is_clean_without_it(
    stage: Stage, mutation: Mutation
) -> None:
    with mutation.plant():
        found = next((seed for seed in SEEDS if stage.run(seed).problems), None)

    assert found is not None, f"no seed below {SEEDS.stop} finds that it {mutation.name}"
    assert stage.run(found).problems == ()


def test_at_least_twelve_different_bugs_are_planted() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) >= 12
