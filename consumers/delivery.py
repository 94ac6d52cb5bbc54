"""What crosses the bus: a delivery on its way in, a message on its way out, and how either can go wrong.

BusError
├── BusDown      the broker is out of reach: wait, then open() again
└── BusRefused   the broker or the configuration says no: a person must act
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message handed to us and not yet settled."""

    queue: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, object]
    content_type: str | None
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    type: str | None
    app_id: str | None
    redelivered: bool
    tag: int
    """The broker's delivery tag: an ack carries it back."""
    generation: int
    """The connection the tag belongs to (`Bus.generation`): on any other it names another message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to publish; it is always persistent."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    type: str
    content_type: str = "application/json"
    correlation_id: str | None = None
    reply_to: str | None = None
    app_id: str | None = None
    """None: this service's own."""
    headers: Mapping[str, object] = field(default_factory=dict)
    mandatory: bool = False
    """Whether a message that reaches no queue counts as failed."""
    receipt: Hashable
    """Handed back by `Bus.receipts` when the broker has taken the message or refused it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """What became of earlier publishes: taken durably, or not (as far as anybody knows)."""

    confirmed: list[Hashable]
    failed: list[Hashable]


class BusError(Exception):
    """The bus cannot do what it was asked."""


class BusDown(BusError):
    """The broker cannot be reached or the connection was lost: wait, then open() again."""


class BusRefused(BusError):
    """The broker or the configuration says no and trying again cannot mend it: the text says what to do."""


class Bus(Protocol):
    """How the worker's cycle receives, publishes and settles; all but `wake` belong to one thread."""

    @property
    def generation(self) -> int:
        """Which connection this is: it rises with every open()."""

    def open(self) -> None:
        """Connect, declare the topology and start consuming. Raises: BusDown, BusRefused."""

    def receive(self, *, wait_s: float, limit: int) -> list[Delivery]:
        """Return what is here, at most `limit`, waiting up to `wait_s` seconds for the first.

        Raises: BusDown.
        """

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Write messages out; each is durable once its receipt is confirmed. Raises: BusDown."""

    def receipts(self) -> Receipts:
        """Return which publishes were confirmed or failed since the last call."""

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle deliveries for good. Raises: BusDown."""

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Hand deliveries back to the broker untouched. Raises: BusDown."""

    def wake(self) -> None:
        """Make receive() return, from any thread."""

    def pause(self) -> None:
        """Stop consuming; what was delivered stays ours. Raises: BusDown."""

    def resume(self) -> None:
        """Consume again. Raises: BusDown."""

    def close(self) -> None:
        """Hand back what was not taken and leave. Never hangs, never raises."""
