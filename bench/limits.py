"""What the servers can do alone: publishing with confirms, consuming, and the service's own SQL sent by pgbench."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.contenders import OURS, commands
from bench.measure import Servers, place
from bench.recorded import pgbench_per_s
from consumers.bus import KombuBus
from consumers.topology import WORK_QUEUES

_COUNT = 20_000
_BATCH = 200


def measure_limits(servers: Servers, *, say: Callable[[str], None]) -> dict[str, float]:
    """Measure, one after the other."""
    limits: dict[str, float] = {}
    with place(servers, OURS) as where:
        begun = time.monotonic()
        OURS.feed(where, commands(_COUNT, prefix="limit"))
        limits["publish with confirm, one process"] = _COUNT / (time.monotonic() - begun)
        limits["consume and acknowledge, one process"] = _consumed_per_s(where.broker_url)
    limits["pgbench with this service's SQL, 200 payments a transaction, two clients"] = pgbench_per_s(
        servers
    )
    for name, per_s in limits.items():
        say(f"  {name}: {per_s:,.0f}/s")
    return limits


def _consumed_per_s(broker_url: str) -> float:
    bus = KombuBus(urls=[broker_url], queues=[queue.name for queue in WORK_QUEUES], prefetch=2 * _BATCH)
    bus.open()
    taken, begun = 0, time.monotonic()
    try:
        while taken < _COUNT:
            deliveries = bus.receive(wait_s=1, limit=_BATCH)
            bus.ack(deliveries)
            taken += len(deliveries)
    finally:
        bus.close()
    return taken / (time.monotonic() - begun)
