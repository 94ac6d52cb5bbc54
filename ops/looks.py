"""Looks at servers, remembered for a while: who asks often costs them no more than who asks seldom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from consumers.delivery import BusError
from ledger.errors import LedgerError

Seen = TypeVar("Seen")


class Look(Generic[Seen]):
    """Something to look at, from any thread; what was seen is remembered, and that it could not be seen as well."""

    def __init__(self, look: Callable[[], Seen], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._monotonic = monotonic
        self._alone = threading.Lock()
        self._looked_at: float | None = None
        self._seen: Seen | None = None
        self.trouble: str | None = None
        """Why nothing was seen the last time; never a secret."""

    def of_the_last(self, seconds: float) -> Seen | None:
        """What was seen within the last so many seconds, else look again; None if there is no answer."""
        with self._alone:
            if self._looked_at is None or self._monotonic() - self._looked_at > seconds:
                try:
                    self._seen, self.trouble = self._look(), None
                except (BusError, LedgerError) as error:
                    self._seen, self.trouble = None, str(error)
                self._looked_at = self._monotonic()
            return self._seen
