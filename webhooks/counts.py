"""How many callbacks came and what was answered, by gateway: in memory, shown on `/health`, told in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import structlog

log = structlog.get_logger()

Kind = Literal[
    "received",
    "accepted",
    "forged",
    "not_json",
    "too_large",
    "too_slow",
    "gone",
    "not_confirmed",
    "failed",
    "card_data",
]


class Counts:
    """Counters since the start. All belong to one event loop."""

    def __init__(self, gateways: Iterable[str]) -> None:
        self._counts: dict[str, Counter[Kind]] = {gateway: Counter() for gateway in gateways}
        self._told: dict[str, Counter[Kind]] = {gateway: Counter() for gateway in self._counts}

    def add(self, gateway: str, kind: Kind) -> None:
        """Count one."""
        self._counts[gateway][kind] += 1

    def untold(self, gateway: str, kind: Kind) -> int:
        """How many came since the log was told."""
        return self._counts[gateway][kind] - self._told[gateway][kind]

    def by_gateway(self) -> dict[str, dict[Kind, int]]:
        """All of them; what never came is 0."""
        kinds: tuple[Kind, ...] = get_args(Kind)
        return {gateway: {kind: counts[kind] for kind in kinds} for gateway, counts in self._counts.items()}

    def tell(self) -> None:
        """Write the counts of each gateway that called since the last time into the log."""
        for gateway, counts in self._counts.items():
            if counts != self._told[gateway]:
                self._told[gateway] = counts.copy()
                log.info("callbacks_counted", gateway=gateway, **{str(kind): n for kind, n in counts.items()})
