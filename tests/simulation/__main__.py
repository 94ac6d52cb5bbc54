"""`python -m tests.simulation SEED` tells what happens under a seed."""

import sys
import time

from tests.simulation.run import a_stage

with a_stage() as stage:
    first, last = (int(a) for a in (sys.argv[1:] * 2)[:2])
    begun = time.time()
    for seed in range(first, last + 1):
        run = stage.run(seed)
        if first == last:
            print("\n".join(run.story))
        if run.problems:
            print(seed, len(run.actions), *[p[:1500] for p in run.problems], sep="\n   ")
    print((time.time() - begun) / (last - first + 1), "s per seed")
