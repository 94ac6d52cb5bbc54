"""What the bus needs from one connection to a broker, whichever broker it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmListener:
    """Whom a line tells what became of the messages it published."""

    on_confirm: Callable[[int, bool, bool], None]
    """Publish number (from 1), whether all before it are meant too, whether the broker took it."""
    on_return: Callable[[str | None, str, str], None]
    """Message id, exchange and routing key of a mandatory message that reached no queue; then its confirm."""


class Line(Protocol):
    """One connection with one channel. Anything it raises in `errors` means that the line is lost."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the methods below raise when the line is lost."""

    @property
    def channel(self) -> Any:
        """The kombu channel, for declaring the topology and consuming."""

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no publishes for now (memory or disk alarm)."""

    @property
    def tick_s(self) -> float:
        """How long read() and keep_alive() may go uncalled, in seconds, when nothing becomes readable."""

    def fileno(self) -> int | None:
        """The descriptor that becomes readable when there is something to read, if there is one."""

    def has_buffered(self) -> bool:
        """Whether there is something to read that the descriptor does not show."""

    def read(self) -> None:
        """Take in and dispatch what is here; never waits."""

    def keep_alive(self, now: float) -> None:
        """Send a heartbeat when one is due and notice a broker that fell silent; never waits."""

    def gathered(self) -> AbstractContextManager[None]:
        """Send what is published or settled inside in one go."""

    def consume(self, queue: str, on_delivery: Callable[[Any], None], *, wait: bool) -> None:
        """Start consuming; waiting for the broker's answer is only possible before the first read()."""

    def cancel_all(self, *, timeout_s: float) -> None:
        """Stop consuming; once this returns nothing more is delivered."""

    def listen_for_confirms(self, listener: ConfirmListener) -> None:
        """Have each publish confirmed."""

    def publish(self, content: Any, *, exchange: str, routing_key: str, mandatory: bool) -> None:
        """Send one message from `channel.prepare_message`; the n-th that raises nothing is number n.

        Raises: one of `frames.UNREADABLE`, before anything is sent, if AMQP cannot carry a property.
        """

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Settle one delivery, or all up to the tag."""

    def requeue(self, tag: int, *, multiple: bool) -> None:
        """Hand back one delivery, or all up to the tag."""

    def close(self, *, timeout_s: float) -> None:
        """Say goodbye to the broker, waiting at most `timeout_s` seconds for its answer."""

    def abandon(self) -> None:
        """Drop the connection without a word."""


def report_returns(channel: Any, listener: ConfirmListener) -> None:
    """Tell the listener of mandatory messages that reach no queue."""
    channel.events["basic_return"].add(partial(_returned, listener))


def _returned(listener: ConfirmListener, error: Exception, exchange: str, key: str, message: Any) -> None:
    listener.on_return(message.properties.get("message_id"), exchange, key)
