"""The simulator's clock: the wall clock, moved ahead when somebody says so."""

from __future__ import annotations

import time


class Clock:
    """Tell the time a simulator lives in, in seconds since 1970 UTC."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def now(self) -> float:
        """Seconds since 1970 UTC, with everything the clock was moved ahead."""
        return time.time() + self.ahead_s

    def advance(self, seconds: float) -> None:
        """Move ahead. Raises ValueError for a step back: what expired would come to life again."""
        if seconds < 0:
            raise ValueError("the clock only moves ahead")
        self.ahead_s += seconds
