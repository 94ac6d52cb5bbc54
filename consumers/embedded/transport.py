"""What kombu sees: the transport and its connection, which polls the file and dispatches deliveries."""

import errno
import time
from pathlib import Path
from time import monotonic
from typing import Any

import amqp
from kombu.transport import base

from consumers.embedded.channel import Channel
from consumers.embedded.errors import BrokerDown, BrokerUnusable
from consumers.embedded.routing import EXCHANGE_KINDS
from consumers.embedded.store import Store

POLL_S = 0.02
"""How often to look for messages of other processes; one look at an idle broker takes microseconds."""

_FORBIDDING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What waiting does not mend."""


class Connection:
    """One connection to the broker in a directory; it belongs to the thread that opened it."""

    def __init__(self, client: Any, directory: Path) -> None:
        """Open the broker, creating the directory if need be. Raises: BrokerDown, BrokerUnusable, OSError."""
        self.client = client
        self.channels: set[Channel] = set()
        self._store: Store | None = None
        self._last_channel = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = Store(directory)
        except OSError as error:
            if error.errno not in _FORBIDDING:
                raise
            raise BrokerUnusable(
                f"The embedded broker cannot keep its messages in {directory} ({error.strerror}): give this "
                f"user write access or set PAYMENTS_DATA_DIR to another directory."
            ) from error

    @property
    def store(self) -> Store:
        """The messages. Raises: BrokerDown after close."""
        if self._store is None:
            raise BrokerDown("the connection is closed")
        return self._store

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._store is not None

    def channel(self) -> Channel:
        """Open a channel. Raises: BrokerDown after close."""
        if self._store is None:
            raise BrokerDown("the connection is closed")
        self._last_channel += 1
        channel = Channel(self, self._last_channel)
        self.channels.add(channel)
        return channel

    def drain_events(self, timeout: float | None = None) -> None:
        """Dispatch one delivery, waiting up to `timeout` seconds for it (None: for ever).

        Raises: socket.timeout, amqp.ConsumerCancelled, BrokerDown, BrokerUnusable.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            self._fetch()
            if any(channel.deliver_one() for channel in tuple(self.channels)):
                return
            left_s = POLL_S if deadline is None else deadline - monotonic()
            if left_s <= 0:
                raise TimeoutError("no delivery")
            time.sleep(min(POLL_S, left_s))

    def dispatch(self) -> int:
        """Dispatch what is here, as far as prefetch counts allow; never waits. Returns how many it was.

        Raises: amqp.ConsumerCancelled, BrokerDown, BrokerUnusable.
        """
        self._fetch()
        delivered = 0
        for channel in tuple(self.channels):
            while channel.deliver_one():
                delivered += 1
        return delivered

    @property
    def has_more(self) -> bool:
        """Whether a dispatch right now may deliver more, without anybody else publishing."""
        if any(channel.subscriptions.have_fetched for channel in self.channels):
            return True
        return self.store.may_have_news and any(channel.subscriptions.have_room for channel in self.channels)

    def _fetch(self) -> None:
        store = self.store
        if any(channel.subscriptions.have_fetched for channel in self.channels) or not store.look_around():
            return
        more = [channel.subscriptions.fetch() for channel in tuple(self.channels)]
        store.may_have_news = any(more)

    def close(self) -> None:
        """Return what is unacked and leave. Raises: BrokerDown, BrokerUnusable."""
        if self._store is None:
            return
        try:
            for channel in tuple(self.channels):
                channel.close()
        finally:
            store, self._store = self._store, None
            store.close()

    def collect(self) -> None:
        """Leave without a word: others return what is unacked."""
        if self._store is not None:
            self._store.abandon()
            self._store = None
        for channel in self.channels:
            channel.connection = None
        self.channels.clear()


class Transport(base.Transport):
    """kombu's `embedded` transport: the URL's path is the directory."""

    driver_type = "embedded"
    driver_name = "sqlite3"

    connection_errors = amqp.Connection.connection_errors
    channel_errors = amqp.Connection.channel_errors
    recoverable_connection_errors = amqp.Connection.recoverable_connection_errors
    recoverable_channel_errors = amqp.Connection.recoverable_channel_errors

    client: Any
    implements = base.Transport.implements.extend(exchange_type=EXCHANGE_KINDS)

    def establish_connection(self) -> Connection:
        """Open the broker. Raises: BrokerDown, BrokerUnusable."""
        return Connection(self.client, Path("/", self.client.virtual_host))

    def close_connection(self, connection: Connection) -> None:
        """Close a connection."""
        connection.close()

    def create_channel(self, connection: Connection) -> Channel:
        """Open a channel."""
        return connection.channel()

    def close_channel(self, channel: Channel) -> None:
        """Close a channel."""
        channel.close()

    def drain_events(self, connection: Connection, **kwargs: float | None) -> None:
        """Dispatch one delivery. Raises: socket.timeout."""
        connection.drain_events(**kwargs)

    def verify_connection(self, connection: Connection) -> bool:
        """Whether a connection is open."""
        return connection.connected

    def _collect(self, connection: Connection | None) -> None:
        if connection is not None:
            connection.collect()
