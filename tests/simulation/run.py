"""One run: from a seed, or from the actions of an earlier one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.chance import Chance
from tests.simulation.database import Place, sqlite_in
from tests.simulation.judge import judge
from tests.simulation.plan import Action, Setting
from tests.simulation.world import World, observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened, and what was wrong with it."""

    seed: int
    setting: Setting
    actions: tuple[Action, ...]
    story: tuple[str, ...]
    problems: tuple[str, ...]
    injected: Mapping[str, int]
    """What went wrong on purpose, and how often."""


@dataclass(slots=True)
class Stage:
    """Where runs take place: each begins with empty books."""

    place: Place

    def run(self, seed: int) -> Run:
        """Run what a seed decides."""
        chance = Chance(seed)
        actions: list[Action] = []

        def drawn(world: World) -> Iterator[Action]:
            for _ in range(chance.length):
                action = chance.next_action(world)
                actions.append(action)
                yield action

        return self._run(seed, chance.setting, drawn, actions)

    def replay(self, seed: int, setting: Setting, actions: Sequence[Action]) -> Run:
        """Run given actions."""
        return self._run(seed, setting, lambda _world: iter(actions), actions)

    def _run(
        self,
        seed: int,
        setting: Setting,
        happening: Callable[[World], Iterator[Action]],
        actions: Sequence[Action],
    ) -> Run:
        with self.place() as books:
            world = World(setting, books)
            try:
                with observed(world):
                    for action in happening(world):
                        world.perform(action)
                    world.come_to_rest()
                problems = tuple(judge(world))
            finally:
                world.close()
        return Run(
            seed=seed,
            setting=setting,
            actions=tuple(actions),
            story=tuple(world.story),
            problems=problems,
            injected=world.injected,
        )


@contextmanager
def a_stage() -> Iterator[Stage]:
    """A stage in memory, if there is a file system for it: the books are real, but need not outlive the run."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Stage(sqlite_in(Path(directory)))
