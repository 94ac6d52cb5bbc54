"""What a run is made of: a setting, commands, and actions. All values, so that a run can be told and shortened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tests.simulation.broker import Sent
from tests.simulation.edges import Trouble
from tests.simulation.gateway import Manner


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What holds for a whole run."""

    manner: Manner
    skews: tuple[timedelta, ...]
    """One worker each: how far its clock is from the true time."""
    max_sends: int
    mark_after_s: float
    commands: tuple[Sent, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """A sender publishes a command, perhaps once more."""

    command: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A worker makes one step of its cycle."""

    worker: int
    most: int = 1000
    """Deliveries that come at once."""
    confirms_are_slow: bool = False
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Arrive:
    """A request reaches the gateway."""

    call: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The gateway's answer reaches its worker."""

    call: str


@dataclass(frozen=True, slots=True)
class Lose:
    """The line of a call breaks; its request may still arrive."""

    call: str


@dataclass(frozen=True, slots=True)
class Vanish:
    """A request never arrives."""

    call: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The gateway takes a call not at all."""

    call: str


@dataclass(frozen=True, slots=True)
class Notify:
    """The gateway tells unasked how one of its operations stands: early, late, or once more."""

    entry: int
    names_it: bool
    """Whether it says our own name for the operation, or its own only."""


@dataclass(frozen=True, slots=True)
class Elapse:
    """Time passes."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A worker's connection to the broker breaks between two steps."""

    worker: int
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A worker dies between two steps."""

    worker: int
    taken: int


@dataclass(frozen=True, slots=True)
class Start:
    """A worker is started again."""

    worker: int


@dataclass(frozen=True, slots=True)
class Shuffle:
    """What is ready in the queues changes its order."""

    seed: int


Action = (
    Publish | Step | Arrive | Reply | Lose | Vanish | Refuse | Notify | Elapse | Cut | Kill | Start | Shuffle
)
