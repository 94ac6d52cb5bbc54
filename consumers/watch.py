"""What an operator watches at the broker, by a connection of its own: how many messages wait in which queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import amqp

from consumers.address import EmbeddedAddress, Tls, parse_addresses
from consumers.amqp_line import AmqpLine, LineOptions, describe
from consumers.delivery import BusDown, BusError

_HEARTBEAT_S = 60.0
"""Whoever watches asks more often than that, and each question is a sign of life. If nobody does, the broker hangs
up, and the next question connects anew."""


class BrokerWatch:
    """Asks the broker that answers first. One thread at a time; nothing is connected before it is asked."""

    def __init__(
        self, *, urls: Sequence[str], queues: Sequence[str], tls: Tls | None, patience_s: float
    ) -> None:
        """Read the configuration.

        Raises:
            BusRefused: naming the setting that cannot be.
        """
        self._addresses = parse_addresses(urls)
        self._queues = tuple(queues)
        self._tls = tls
        self._patience_s = patience_s
        self._line: AmqpLine | None = None

    def waiting(self) -> dict[str, int]:
        """Messages that are ready in each queue, delivered to nobody.

        Raises:
            BusDown: no broker answers within the patience, or a queue is not there.
            BusRefused: a person must act.
        """
        if isinstance(self._addresses, EmbeddedAddress):
            return self._waiting_embedded(self._addresses)
        if self._line is not None:
            try:
                return self._asked(self._line.channel)
            except AmqpLine.errors:
                self.close()  # it may have been idle for too long
        self._line = self._connected()
        try:
            return self._asked(self._line.channel)
        except AmqpLine.errors as error:
            self.close()
            raise BusDown(describe(error)) from error

    def close(self) -> None:
        """Let the connection go."""
        if self._line is not None:
            self._line.abandon()
            self._line = None

    def _asked(self, channel: Any) -> dict[str, int]:
        return {
            queue: int(channel.queue_declare(queue=queue, passive=True).message_count)
            for queue in self._queues
        }

    def _connected(self) -> AmqpLine:
        assert not isinstance(self._addresses, EmbeddedAddress)
        options = LineOptions(
            tls=self._tls,
            heartbeat_s=_HEARTBEAT_S,
            connect_timeout_s=self._patience_s,
            name="payments watch",
        )
        failures: list[BusError] = []
        for address in self._addresses:
            try:
                line = AmqpLine(address, options)
            except BusError as error:
                failures.append(error)
            else:
                line.channel.connection.sock.settimeout(self._patience_s)
                return line
        raise failures[-1]

    def _waiting_embedded(self, address: EmbeddedAddress) -> dict[str, int]:
        from consumers.embedded_line import EmbeddedLine  # A worker on RabbitMQ never loads that broker.

        line = EmbeddedLine(address)  # a file that is quickly opened, and belongs to one thread
        try:
            return self._asked(line.channel)
        except (amqp.AMQPError, OSError) as error:
            raise BusDown(describe(error)) from error
        finally:
            line.abandon()
