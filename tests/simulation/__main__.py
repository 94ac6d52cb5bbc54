"""`python -m tests.simulation SEED` tells what happens under a seed; `… FIRST LAST` tries many and tells what fails."""

import sys

from tests.simulation.run import a_stage

seeds = [int(argument) for argument in sys.argv[1:]]
if len(seeds) not in (1, 2):
    sys.exit("usage: python -m tests.simulation SEED | FIRST LAST")
failed = 0
with a_stage() as stage:
    for seed in range(seeds[0], seeds[-1] + 1):
        run = stage.run(seed)
        if len(seeds) == 1:
            print("\n".join(run.story))
        if run.problems:
            failed += 1
            print(f"seed {seed}:", *run.problems, sep="\n   ")
print(f"{failed} of {seeds[-1] - seeds[0] + 1} seeds failed")
sys.exit(1 if failed else 0)
