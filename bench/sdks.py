"""The vendors' SDKs over HTTP to the simulators: a worker of this service beside a loop that only makes those calls.

One worker and one loop, in turn, against the same simulator: what the worker adds (queue, books, events) is what its
rate stays below the loop's. A payment here is held, not taken: the same calls at each gateway on both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench.contenders import OURS, ROOT, Command, Contender, Crew, Place
from bench.measure import Servers, saturation
from ops.demo_gateways import TOKENS, three_gateways
from ops.publish import CommandLine, publish


@dataclass(slots=True, kw_only=True)
class Beside:
    """Authorizations per second at one gateway, in rounds."""

    worker: list[float] = field(default_factory=list)
    only_calls: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """What the worker reaches of the loop's rate; medians."""
        return median(self.worker) / median(self.only_calls)


def measure_sdks(
    servers: Servers,
    *,
    rounds: int,
    seconds: float,
    directory: Path,
    say: Callable[[str], None],
    at: Iterable[str] = TOKENS,
) -> dict[str, Beside]:
    """Measure each gateway, in turn.

    Raises:
        Wrong: what the worker booked and what it announced do not agree.
        RuntimeError: the loop was refused.
    """
    found = {name: Beside() for name in at}
    with three_gateways(directory) as gateways:
        for _ in range(rounds):
            for name, beside in found.items():
                contender = _worker(name, gateways.settings)
                crew = Crew(processes=1, gateway_s=0)
                rate = saturation(servers, contender, crew, seconds=seconds, directory=directory)
                beside.worker.append(rate.per_s)
                beside.only_calls.append(_only_calls(name, gateways.settings, seconds, directory))
                say(
                    f"  {name} over HTTP: {beside.worker[-1]:,.0f}/s; only the calls {beside.only_calls[-1]:,.0f}/s"
                )
    return found


def _worker(gateway: str, settings: Mapping[str, str]) -> Contender:
    return replace(
        OURS,
        name=f"worker at {gateway}",
        feed=partial(_feed, gateway=gateway),
        start=lambda _: [[sys.executable, str(ROOT / "run_worker.py")]],
        paid="SELECT payment_id FROM payments WHERE status = 'authorized' AND authorized = requested",
        most_per_s=1_000,
        environment={**settings, "PAYMENTS_DEFAULT_GATEWAY": gateway},
    )


def _feed(place: Place, wanted: Iterable[Command], *, gateway: str) -> None:
    publish([place.broker_url], (_line(command, gateway) for command in wanted))


def _line(command: Command, gateway: str) -> CommandLine:
    data = {name: command[name] for name in ("payment_id", "order_id", "amount")}
    more = {
        "payment_method": {"gateway": gateway, "token": TOKENS[gateway]},
        "capture": "manual",
        "customer_id": "customer-1001",
        "return_url": "https://shop.example/return",
    }
    return CommandLine(
        id=command["message_id"],
        type="PaymentRequested",
        source="/shop",
        data=json.dumps(data | more).encode(),
    )


def _only_calls(gateway: str, settings: Mapping[str, str], seconds: float, directory: Path) -> float:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    environment = {
        **clean,
        **settings,
        "PAYMENTS_DEFAULT_GATEWAY": gateway,
        "PAYMENTS_DATA_DIR": str(directory),
        "PYTHONPATH": str(ROOT),
    }
    argv = [sys.executable, "-m", "bench.only_calls", gateway, TOKENS[gateway], str(seconds)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise RuntimeError(f"the loop at {gateway} ended with {done.stderr[-500:]}")
    return float(done.stdout.splitlines()[-1])
