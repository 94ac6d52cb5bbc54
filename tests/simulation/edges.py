"""The edges of the money boundary, and what can go wrong at each: between two steps nothing else can."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Died(BaseException):
    """The process has died here. Not an `Exception`: nothing may catch it, as nothing catches SIGKILL."""


class Edge(StrEnum):
    """A place in the cycle, named as the story tells it."""

    OPENING = "before connecting to the broker"
    RECEIVING = "before receiving"
    RECEIVED = "after receiving"
    LOOKING_FOR_TIMERS = "before looking for timers"
    BEFORE_TURN = "before the transaction"
    LOADED = "after the load"
    BEFORE_COMMIT = "before the commit"
    AFTER_COMMIT = "after the commit"
    BEFORE_CALL = "before a call"
    AFTER_CALL = "after a call has left"
    BEFORE_PUBLISH = "before a publish"
    AFTER_PUBLISH = "after a publish"
    CONFIRMED = "after a confirm"
    BEFORE_ACK = "before an ack"
    AFTER_ACK = "after an ack"
    LOOKING_INTO_OUTBOX = "before looking into the outbox"
    CLAIMING = "before claiming the relay"
    CLAIMED = "after claiming the relay"


Fault = Literal["dies", "is overtaken", "loses the database", "meets another", "loses the broker"]

_ALWAYS: tuple[Fault, ...] = ("dies", "is overtaken")

FAULTS: dict[Edge, tuple[Fault, ...]] = {
    Edge.OPENING: (*_ALWAYS, "loses the broker"),
    Edge.RECEIVING: (*_ALWAYS, "loses the broker"),
    Edge.RECEIVED: _ALWAYS,
    Edge.LOOKING_FOR_TIMERS: (*_ALWAYS, "loses the database"),
    Edge.BEFORE_TURN: (*_ALWAYS, "loses the database"),
    # Inside the transaction nobody overtakes: what it has loaded is locked.
    Edge.LOADED: ("dies", "loses the database", "meets another", "is overtaken"),
    Edge.BEFORE_COMMIT: ("dies", "loses the database", "meets another"),
    # A connection lost in the very commit: it is done, and nobody knows.
    Edge.AFTER_COMMIT: (*_ALWAYS, "loses the database"),
    Edge.BEFORE_CALL: _ALWAYS,
    Edge.AFTER_CALL: _ALWAYS,
    Edge.BEFORE_PUBLISH: (*_ALWAYS, "loses the broker"),
    Edge.AFTER_PUBLISH: (*_ALWAYS, "loses the broker"),
    Edge.CONFIRMED: _ALWAYS,
    Edge.BEFORE_ACK: (*_ALWAYS, "loses the broker"),
    Edge.AFTER_ACK: (*_ALWAYS, "loses the broker"),
    Edge.LOOKING_INTO_OUTBOX: (*_ALWAYS, "loses the database"),
    Edge.CLAIMING: (*_ALWAYS, "loses the database", "meets another"),
    Edge.CLAIMED: (*_ALWAYS, "loses the database"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What goes wrong in one step of a worker, and where."""

    edge: Edge | None = None
    """None: whichever comes, and whatever can go wrong there."""
    passage: int = 1
    """At the first, second, … time that the step comes by."""
    fault: Fault | None = None
    pick: int = 0
    """Which of the faults that are possible, where none is named."""
    taken: int = 0
    """How many of the messages on the line the broker still takes, should the line break."""
    pause_s: float = 0.0
    """How long the worker stands still while it is overtaken."""
    busy: bool = False
    """Whether everything on the line to the gateway comes home meanwhile."""


@dataclass(slots=True)
class Passage:
    """Counts a step's passages of edges, and says when its trouble has come."""

    trouble: Trouble | None = None
    passed: int = 0

    def comes_to(self, edge: Edge) -> tuple[Fault, Trouble] | None:
        """Here is an edge: is there trouble, and which?"""
        trouble = self.trouble
        if trouble is None or trouble.edge not in (None, edge):
            return None
        self.passed += 1
        if self.passed < trouble.passage:
            return None
        self.trouble = None
        possible = FAULTS[edge]
        return trouble.fault or possible[trouble.pick % len(possible)], trouble
