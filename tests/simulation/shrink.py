"""Shortens a failing run: leaves out whatever of its actions it fails without (Zeller's delta debugging)."""

from __future__ import annotations

from tests.simulation.plan import Action
from tests.simulation.run import Run, Stage

TRIES = 600
"""How many shorter runs are tried at most; half a minute."""


def shrink(stage: Stage, failing: Run) -> Run:
    """The shortest run found that still fails; each of its actions is needed, unless the tries have run out."""
    best, parts, tries = failing, 2, 0
    while len(best.actions) > 1 and tries < TRIES:
        size = -(-len(best.actions) // parts)
        for start in range(0, len(best.actions), size):
            tries += 1
            shorter: tuple[Action, ...] = best.actions[:start] + best.actions[start + size :]
            run = stage.replay(best.seed, best.setting, shorter)
            if run.problems:
                best, parts = run, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(best.actions))
    return best
