"""One connection to the embedded broker: all the differences from RabbitMQ that the bus can see.

There is no socket, so deliveries are looked for every few milliseconds. What is published or settled together
is one SQLite transaction, and its commit is the confirm.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import amqp
from amqp import serialization
from kombu.connection import Connection

from consumers import embedded
from consumers.address import EmbeddedAddress
from consumers.delivery import BusDown, BusRefused
from consumers.line import ConfirmListener, report_returns


class EmbeddedLine:
    """A line to the broker in a directory."""

    errors: tuple[type[Exception], ...] = (amqp.AMQPError, OSError)
    tick_s: float = embedded.POLL_S
    blocked = False

    def __init__(self, address: EmbeddedAddress) -> None:
        """Open the directory's broker. Raises: BusDown, BusRefused."""
        self._listener: ConfirmListener | None = None
        self._published = 0
        self._consumer_tags: list[str] = []
        embedded.register()
        client = Connection(f"embedded://{quote(str(address.directory))}")
        try:
            self._connection = client.transport.establish_connection()
            self.channel = self._connection.channel()
            self.channel.tx_select()
        except embedded.BrokerUnusable as error:
            raise BusRefused(f"{address}: {error}") from error
        except self.errors as error:
            raise BusDown(f"{address}: {error}") from error

    def fileno(self) -> int | None:
        """There is nothing to wait on."""
        return None

    def has_buffered(self) -> bool:
        """Whether more is here than one reading took: a backlog must not wait for the next poll."""
        return bool(self._connection.has_more)

    def read(self) -> None:
        """Dispatch every delivery that is here."""
        self._connection.dispatch()

    def keep_alive(self, now: float) -> None:
        """The broker is a file: it does not fall silent."""

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Commit what is published or settled inside as one transaction."""
        yield
        self.channel.tx_commit()
        if self._listener is not None and self._published:
            self._listener.on_confirm(self._published, True, True)

    def consume(self, queue: str, on_delivery: Callable[[Any], None], *, wait: bool) -> None:
        """Ask for deliveries of a queue; the answer is there at once."""
        self._consumer_tags.append(
            self.channel.basic_consume(queue, consumer_tag=queue, callback=on_delivery)
        )

    def cancel_all(self, *, timeout_s: float) -> None:
        """Stop consuming."""
        while self._consumer_tags:
            self.channel.basic_cancel(self._consumer_tags.pop())

    def listen_for_confirms(self, listener: ConfirmListener) -> None:
        """Have the listener told of every commit and of messages that reach no queue."""
        self._listener = listener
        report_returns(self.channel, listener)

    def publish(self, content: Any, *, exchange: str, routing_key: str, mandatory: bool) -> None:
        """Add one message to the transaction."""
        serialization.dumps("ss", (exchange, routing_key))  # No longer than AMQP can carry: 255 bytes each.
        self.channel.basic_publish(content, exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        self._published += 1

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Settle one delivery, or all up to the tag, in the transaction."""
        self.channel.basic_ack(tag, multiple=multiple)

    def requeue(self, tag: int, *, multiple: bool) -> None:
        """Hand back one delivery, or all up to the tag, in the transaction."""
        self.channel.basic_nack(tag, multiple=multiple, requeue=True)

    def close(self, *, timeout_s: float) -> None:
        """Hand back what is unsettled and leave."""
        self._connection.close()

    def abandon(self) -> None:
        """Leave; the others notice."""
        self._connection.collect()
