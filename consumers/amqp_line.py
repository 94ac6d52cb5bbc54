"""One connection to RabbitMQ: it connects, reads without blocking, keeps alive, publishes and settles."""

import os
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import amqp
import structlog
from amqp import spec
from kombu.connection import Connection

from consumers.address import Address, Tls
from consumers.delivery import BusDown, BusRefused
from consumers.frames import FrameWriter, dispatch_frames, tolerant_frame_handler
from consumers.line import ConfirmListener, report_returns

log = structlog.get_logger()

_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOptions:
    """How to connect; times in seconds."""

    tls: Tls | None
    heartbeat_s: float
    """Also how long the broker may take to answer or to take what we write: another line waits meanwhile."""
    connect_timeout_s: float
    name: str
    """Shown by `rabbitmqctl list_connections client_properties`."""


class AmqpLine:
    """A line to RabbitMQ over py-amqp."""

    errors: tuple[type[Exception], ...] = (amqp.AMQPError, OSError)

    def __init__(self, address: Address, options: LineOptions) -> None:
        """Connect. Raises: BusDown, BusRefused."""
        self.address = address
        self.blocked = False
        self._writer = FrameWriter()
        self._rest = b""
        try:
            self._connection = self._connect(address, options)
            self._socket: Any = self._connection.sock
            # From here on nothing must wait for a broker that stands still.
            self._timeout_s = options.heartbeat_s
            self._socket.settimeout(self._timeout_s)
            self._heartbeat_s: float = self._connection.heartbeat  # The shorter of ours and the broker's.
            self.tick_s = self._heartbeat_s / 4
            self._heard_at = monotonic()
            self.channel = self._connection.channel()
            # A body belongs to its reader: py-amqp would turn it into str where a content encoding is named.
            self.channel.auto_decode = False
        except self.errors as error:
            self._writer.close()
            if refusal := _refusal(error):
                raise BusRefused(f"{address}: {refusal}") from error
            raise BusDown(f"{address}: {describe(error)}") from error

    def _connect(self, address: Address, options: LineOptions) -> Any:
        client = Connection(
            hostname=address.host,
            port=address.port,
            userid=address.user,
            password=address.password,
            virtual_host=address.virtual_host,
            transport="pyamqp",
            ssl=_ssl_options(address, options.tls),
            login_method="EXTERNAL" if options.tls and options.tls.login_by_certificate else "PLAIN",
            heartbeat=options.heartbeat_s,
            connect_timeout=options.connect_timeout_s,
            transport_options={
                "client_properties": {"connection_name": options.name},
                "frame_handler": tolerant_frame_handler,
                "frame_writer": self._writer.attach,
                "on_blocked": self._on_blocked,
                "on_unblocked": self._on_unblocked,
                "socket_settings": _socket_settings(options.heartbeat_s),
            },
        )
        return client.transport.establish_connection()

    def fileno(self) -> int | None:
        """The socket's descriptor."""
        descriptor: int = self._socket.fileno()
        return descriptor

    def has_buffered(self) -> bool:
        """Whether TLS has decrypted more than was read."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def read(self) -> None:
        """Take in what the socket holds; the beginning of a frame stays here, so this never waits."""
        if data := self._receive():
            self._heard_at = monotonic()
            self._rest = dispatch_frames(self._rest + data, self._connection.on_inbound_frame)

    def _receive(self) -> bytes:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                data = self._receive_decrypted()
            else:
                # recv() would wait; the descriptor does not, because the socket has a time-out.
                data = os.read(self._socket.fileno(), _READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        return data

    def _receive_decrypted(self) -> bytes:
        self._socket.settimeout(0)
        try:
            data: bytes = self._socket.recv(_READ_BYTES)
            return data
        finally:
            self._socket.settimeout(self._timeout_s)

    def keep_alive(self, now: float) -> None:
        """Send a heartbeat after half an interval of our silence; two of the broker's mean the line is lost.

        Two missed heartbeats make a peer unreachable: rabbitmq.com/docs/heartbeats. Raises: TimeoutError.
        """
        if now - self._heard_at > 2 * self._heartbeat_s:
            raise TimeoutError(f"nothing heard from the broker for {now - self._heard_at:.0f} s")
        if now - self._writer.written_at >= self._heartbeat_s / 2 and _writable(self._socket):
            self._connection.send_heartbeat()

    def gathered(self) -> AbstractContextManager[None]:
        """Write what is sent inside with one system call."""
        return self._writer.gathered()

    def consume(self, queue: str, on_delivery: Callable[[Any], None], *, wait: bool) -> None:
        """Ask for deliveries of a queue."""
        self.channel.basic_consume(queue, consumer_tag=queue, nowait=not wait, callback=on_delivery)

    def cancel_all(self, *, timeout_s: float) -> None:
        """Cancel every consumer and take in what is on its way until the broker says that was all."""
        with self.gathered():
            for consumer_tag in self.channel.callbacks:
                self.channel.send_method(spec.Basic.Cancel, "sb", (consumer_tag, False))
        self._read_until(lambda: not self.channel.callbacks, timeout_s)

    def listen_for_confirms(self, listener: ConfirmListener) -> None:
        """Put the channel in confirm mode (rabbitmq.com/docs/confirms)."""
        self.channel.confirm_select()
        self.channel.events["basic_ack"].add(partial(_confirm, listener, True))
        self.channel.events["basic_nack"].add(partial(_confirm, listener, False))
        report_returns(self.channel, listener)

    def publish(self, content: Any, *, exchange: str, routing_key: str, mandatory: bool) -> None:
        """Write one message."""
        # Not basic_publish: it reads from the socket before every message and may wait there.
        self.channel.send_method(
            spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, mandatory, False), content
        )

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Settle one delivery, or all up to the tag."""
        self.channel.basic_ack(tag, multiple=multiple)

    def requeue(self, tag: int, *, multiple: bool) -> None:
        """Hand back one delivery, or all up to the tag."""
        # basic.nack, which py-amqp has no method for: from RabbitMQ 4.3 on, only basic.reject counts
        # towards the delivery limit.
        self.channel.send_method(spec.Basic.Nack, "Lbb", (tag, multiple, True))

    def close(self, *, timeout_s: float) -> None:
        """Close in order: the broker has then read all our acks. Raises: one of `errors`."""
        if self.blocked:
            return  # A blocked connection is not read by the broker until its alarm ends.
        self._socket.settimeout(timeout_s)
        self._connection.send_method(spec.Connection.Close, "BsBB", (200, "closed by the client", 0, 0))
        self._read_until(lambda: not self._connection.connected, timeout_s)

    def abandon(self) -> None:
        """Drop the connection without waiting for anything."""
        with suppress(OSError):
            self._socket.settimeout(0)  # TLS would wait for the other side's goodbye.
        self._connection.collect()

    def _read_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        while not done():
            left_s = deadline - monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no answer from the broker within {timeout_s:.0f} s")
            if self.has_buffered() or _readable(self._socket, left_s):
                self.read()

    def _on_blocked(self, reason: str) -> None:
        self.blocked = True
        log.warning("broker_blocks_publishing", broker=str(self.address), reason=reason)

    def _on_unblocked(self) -> None:
        self.blocked = False
        log.info("broker_takes_publishes_again", broker=str(self.address))


def _confirm(listener: ConfirmListener, taken: bool, number: int, multiple: bool) -> None:
    listener.on_confirm(number, multiple, taken)


def _ssl_options(address: Address, tls: Tls | None) -> dict[str, Any] | bool:
    if not address.encrypted:
        return False
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": address.host}
    if tls is not None:
        options |= {"ca_certs": tls.ca_file, "certfile": tls.cert_file, "keyfile": tls.key_file}
    return options


def _socket_settings(heartbeat_s: float) -> dict[int, int]:
    """Let the heartbeats decide when a peer is dead: py-amqp has the kernel do so after one second."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only.
        return {}
    return {socket.TCP_USER_TIMEOUT: int(2 * heartbeat_s * 1000)}


def _refusal(error: Exception) -> str | None:
    """Say what a person must change; None if waiting may help."""
    match error:
        case amqp.AccessRefused():
            return f"the broker refuses the user and password, or the certificate ({error.reply_text})"
        case amqp.NotAllowed() if "limit" not in str(error.reply_text):
            return f"the broker refuses the virtual host ({error.reply_text})"
        case ssl.SSLCertVerificationError():
            return f"the broker's certificate is not trusted ({error.verify_message})"
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return f"the broker refuses our TLS certificate or version ({error.reason})"
        case ssl.SSLError() if error.reason == "WRONG_VERSION_NUMBER":
            return "the port does not speak TLS: use amqp:// or the broker's TLS port"
        case amqp.exceptions.ConnectionError() if "auth mechanism" in str(error):
            return f"the broker does not offer this way of logging in ({error})"
    return None


def describe(error: BaseException) -> str:
    """Show an error of the line, with its kind where its text alone says little."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _readable(sock: Any, timeout_s: float) -> bool:
    return _poll(sock, select.POLLIN, timeout_s)


def _writable(sock: Any) -> bool:
    return _poll(sock, select.POLLOUT, 0)


def _poll(sock: Any, event: int, timeout_s: float) -> bool:
    poller = select.poll()  # Unlike select(), it takes descriptors above 1023.
    poller.register(sock, event)
    return bool(poller.poll(timeout_s * 1000))
