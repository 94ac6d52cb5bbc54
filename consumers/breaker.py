"""A circuit breaker for each gateway: a line that keeps failing is left alone for a while, and tried with one call.

It stands between the worker's calls and the adapters. The known libraries (pybreaker, aiobreaker, purgatory) count
exceptions; here failures are values, and a call that is not made must end in one, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NewType, assert_never

import structlog

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    NotSent,
    Opened,
    Outcome,
    Pending,
    Unknown,
)

log = structlog.get_logger()

LONGEST_PAUSE_S = 60.0
"""However long a gateway has been away: its return is noticed within this time, as soon as there is a payment."""

Ticket = NewType("Ticket", int)
"""Which phase of the circuit a call was begun in."""


State = Literal["closed", "open", "on_trial"]
"""Closed: calls go through. Open: none does, or the next will be the trial. On trial: one call decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How much of a failing line is borne, and how long it is then left alone."""

    failures: int = 10
    """Failures in a row that open the circuit."""
    pause_s: float = 5.0
    """How long nothing is sent, the first time; each trial that fails doubles it, up to `LONGEST_PAUSE_S`."""


class Circuit:
    """One gateway's circuit: closed while all is well, open while nothing is sent, on trial while one call decides.

    Driven by one thread; `is_unwell` may be asked from any.
    """

    def __init__(self, gateway: str, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._patience = patience
        self._clock = clock
        self._phase = Ticket(0)
        self._failures = 0
        self._pause_s = patience.pause_s
        self._open_until: float | None = None
        """None: closed. While a call is on trial the pause is over, and this is in the past."""
        self._on_trial = False

    @property
    def is_unwell(self) -> bool:
        """Whether other gateways should be tried first.

        No longer once the pause is over: if every payment went elsewhere, no trial would ever be made.
        """
        open_until = self._open_until
        return open_until is not None and (self._on_trial or self._clock() < open_until)

    @property
    def state(self) -> State:
        """How it stands; may be asked from any thread."""
        if self._open_until is None:
            return "closed"
        return "on_trial" if self._on_trial else "open"

    def enter(self) -> Ticket | None:
        """Let a call through, to be reported by `leave`; None: it must not be made."""
        if self._open_until is not None:
            if self.is_unwell:
                return None
            self._on_trial = True
        return self._phase

    def leave(self, ticket: Ticket, answer: Outcome | Opened | Absent) -> None:
        """Take note of how a call ended."""
        # Hundreds may be in flight. What ends after the circuit has changed tells of the time before, and a call
        # that has timed out since must not open what a trial has just closed.
        if ticket != self._phase:
            return
        if not _line_failed(answer):
            self._failures = 0
            if self._open_until is not None:
                self._close()
            return
        self._failures += 1
        if self._on_trial:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
            self._open()
        elif self._failures >= self._patience.failures:
            log.warning(
                "circuit_opened", gateway=self._gateway, failures=self._failures, pause_s=self._pause_s
            )
            self._open()

    def _open(self) -> None:
        self._open_until = self._clock() + self._pause_s
        self._on_trial = False
        self._begin_phase()

    def _close(self) -> None:
        self._open_until = None
        self._on_trial = False
        self._pause_s = self._patience.pause_s
        self._begin_phase()
        log.info("circuit_closed", gateway=self._gateway)

    def _begin_phase(self) -> None:
        self._phase = Ticket(self._phase + 1)


def _line_failed(answer: Outcome | Opened | Absent) -> bool:
    """Whether an answer is none, or a "not now". A no is a sign of health: somebody was there to say it."""
    match answer:
        case Unknown():
            return True
        case NotSent(retryable=retryable):
            return retryable
        case Approved() | ActionRequired() | Pending() | Declined() | Opened() | Absent():
            return False
        case _:
            assert_never(answer)
