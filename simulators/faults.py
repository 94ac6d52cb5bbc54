"""What can go wrong between a caller and a gateway, and for which calls it is to go wrong.

| fault                  | executes        | the caller sees                  | kept under the key |
|------------------------|-----------------|----------------------------------|--------------------|
| `drop_before`          | no              | the connection closed, no answer | nothing            |
| `drop_after_executing` | yes             | the connection closed, no answer | the true answer    |
| `error_500_before`     | no              | 500                              | nothing            |
| `error_500_after`      | yes             | 500                              | the 500            |
| `error_500_kept`       | no              | 500                              | the 500            |
| `html_502`             | no              | 502 and a page of HTML           | nothing            |
| `html_502_after`       | yes             | 502 and a page of HTML           | the true answer    |
| `rate_limit_429`       | no              | 429                              | nothing            |
| `conflict_409`         | no              | 409, as for a key that is in use | nothing            |
| `slow`                 | yes, at once    | the true answer, `seconds` later | the true answer    |
| `slow_before`          | after `seconds` | the true answer                  | the true answer    |

A call that replays a kept answer executes nothing, whatever the fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count


class Ending(Enum):
    """What the caller gets to see."""

    ANSWER = auto()
    HANG_UP = auto()
    ERROR_500 = auto()
    HTML_502 = auto()
    RATE_LIMIT_429 = auto()
    CONFLICT_409 = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way a call can go wrong."""

    executes: bool
    ending: Ending
    ending_is_kept: bool = False
    """The ending, not the true answer, is what a repeat under the same key will hear."""
    waits_before: bool = False
    waits_after: bool = False


FAULTS: dict[str, Fault] = {
    "drop_before": Fault(executes=False, ending=Ending.HANG_UP),
    "drop_after_executing": Fault(executes=True, ending=Ending.HANG_UP),
    "error_500_before": Fault(executes=False, ending=Ending.ERROR_500),
    "error_500_after": Fault(executes=True, ending=Ending.ERROR_500, ending_is_kept=True),
    "error_500_kept": Fault(executes=False, ending=Ending.ERROR_500, ending_is_kept=True),
    "html_502": Fault(executes=False, ending=Ending.HTML_502),
    "html_502_after": Fault(executes=True, ending=Ending.HTML_502),
    "rate_limit_429": Fault(executes=False, ending=Ending.RATE_LIMIT_429),
    "conflict_409": Fault(executes=False, ending=Ending.CONFLICT_409),
    "slow": Fault(executes=True, ending=Ending.ANSWER, waits_after=True),
    "slow_before": Fault(executes=True, ending=Ending.ANSWER, waits_before=True),
}
"""Every fault by its name."""

DEFAULT_SECONDS = 5.0
"""How long `slow` and `slow_before` wait when nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What a fault may know a call by."""

    method: str
    path: str
    idempotency_key: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which calls a fault is for; what is None matches all. In `path`, `*` stands for one segment."""

    method: str | None = None
    path: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None
    idempotency_key: str | None = None

    def fits(self, call: Signs) -> bool:
        """Whether the call bears every sign that is asked for."""
        return (
            self.method in (None, call.method)
            and (self.path is None or _glob(self.path).fullmatch(call.path) is not None)
            and self.metadata.items() <= call.metadata.items()
            and self.token in (None, call.token)
            and self.idempotency_key in (None, call.idempotency_key)
        )


@dataclass(slots=True, kw_only=True)
class Armed:
    """A fault that waits for its next calls."""

    id: int
    name: str
    times: int
    seconds: float
    match: Match


class FaultBox:
    """The faults armed at present, oldest first."""

    def __init__(self) -> None:
        self._armed: list[Armed] = []
        self._ids = count(1)

    def arm(self, name: str, *, times: int = 1, seconds: float = DEFAULT_SECONDS, match: Match) -> Armed:
        """Let the next `times` calls that match go wrong. Raises ValueError for a fault nobody knows."""
        if name not in FAULTS:
            raise ValueError(f"no fault is named {name!r}; there are {', '.join(FAULTS)}")
        if times < 1 or seconds < 0:
            raise ValueError("times must be at least 1, seconds at least 0")
        armed = Armed(id=next(self._ids), name=name, times=times, seconds=seconds, match=match)
        self._armed.append(armed)
        return armed

    def take(self, call: Signs) -> Armed | None:
        """Use up one call's worth of the first fault that matches."""
        for armed in self._armed:
            if armed.match.fits(call):
                armed.times -= 1
                if armed.times == 0:
                    self._armed.remove(armed)
                return armed
        return None

    def armed(self) -> list[Armed]:
        """What is still armed."""
        return list(self._armed)

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in pattern.split("*")))
