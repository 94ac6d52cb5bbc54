"""AMQP frames between py-amqp and the socket: read and written many at a time, survived when malformed.

py-amqp reads a frame with three system calls and waits in the middle of one; it writes each message with a
call of its own. Its extension points used here, `frame_handler` and `frame_writer`, are parameters of
`amqp.Connection`.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import amqp
import structlog
from amqp import method_framing, serialization, spec

log = structlog.get_logger()

_FRAME_HEADER = struct.Struct(">BHI")  # AMQP 0-9-1 section 4.2.3: type, channel, size
_FRAME_END = 0xCE
_METHOD_FRAME = 1
_HEADER_FRAME = 2
_CHANNEL_CLOSE = struct.pack(">HH", *spec.Channel.Close)
_PROPERTY_FLAGS_AT = 12  # section 4.2.6.1: class (2), weight (2), body size (8), then the property flags
_FLUSH_BYTES = 64 * 1024

UNREADABLE = (ValueError, ArithmeticError, RecursionError, struct.error, amqp.FrameSyntaxError)
"""What py-amqp raises for properties it cannot read or write (UnicodeDecodeError is a ValueError)."""

FrameHandler = Callable[[tuple[int, int, bytes]], Any]


def dispatch_frames(data: bytes, handle: FrameHandler) -> bytes:
    """Hand every whole frame in `data` to py-amqp and return the rest.

    Raises: amqp.ChannelError if the broker closes a channel. py-amqp would reopen it at once and wait for the
    answer; we drop the connection instead.
    """
    at, end = 0, len(data)
    while end - at >= _FRAME_HEADER.size:
        kind, channel, size = _FRAME_HEADER.unpack_from(data, at)
        payload_at = at + _FRAME_HEADER.size
        frame_end_at = payload_at + size
        if frame_end_at >= end:
            break
        if data[frame_end_at] != _FRAME_END:
            raise amqp.UnexpectedFrame("frame does not end where it says")
        payload = data[payload_at:frame_end_at]
        if kind == _METHOD_FRAME and payload.startswith(_CHANNEL_CLOSE):
            (code, text, class_id, method_id), _ = serialization.loads("BsBB", payload, 4)
            raise amqp.error_for_code(code, text, (class_id, method_id), amqp.ChannelError)
        handle((kind, channel, payload))
        at = frame_end_at + 1
    return data[at:]


def tolerant_frame_handler(connection: Any, callback: Callable[..., Any]) -> FrameHandler:
    """Make py-amqp's frame handler survive messages whose properties or routing key cannot be read.

    Otherwise one such message breaks the connection each time it is delivered. It arrives without properties
    instead, and its reader can make a dead letter of it.
    """

    def deliver(channel: int, method: tuple[int, int], arguments: bytes, content: Any) -> None:
        try:
            callback(channel, method, arguments, content)
        except UnicodeDecodeError:
            if method not in (spec.Basic.Deliver, spec.Basic.Return):
                raise
            callback(channel, method, _with_ascii_names(method, arguments), content)

    handle = method_framing.frame_handler(connection, deliver)

    def on_frame(frame: tuple[int, int, bytes]) -> Any:
        try:
            return handle(frame)
        except UNREADABLE:
            kind, channel, payload = frame
            if kind != _HEADER_FRAME:
                raise
            log.warning("delivery_properties_unreadable")
            return handle((kind, channel, payload[:_PROPERTY_FLAGS_AT] + b"\0\0"))

    return on_frame


def _with_ascii_names(method: tuple[int, int], arguments: bytes) -> bytes:
    """Replace what is not ASCII in the exchange and routing key of a delivery."""
    exchange_at = 4 + 1 + arguments[4] + 9  # method, consumer tag, delivery tag (8), redelivered (1)
    if method == spec.Basic.Return:
        exchange_at = 4 + 2 + 1 + arguments[6]  # method, reply code (2), reply text
    rest = bytearray(arguments)
    at = exchange_at
    for _ in ("exchange", "routing key"):
        after = at + 1 + rest[at]
        rest[at + 1 : after] = bytes(byte if byte < 0x80 else ord("?") for byte in rest[at + 1 : after])
        at = after
    return bytes(rest)


class FrameWriter:
    """Writes frames at once, or gathered while in `gathered()`."""

    def __init__(self) -> None:
        self.written_at = monotonic()
        self._gathering = False
        self._buffer = bytearray()
        self._transport: Any = None

    def attach(self, connection: Any, transport: Any) -> Callable[..., None]:
        """Stand between py-amqp's frame writer and its transport (the `frame_writer` parameter)."""
        self._transport = transport
        writer: Callable[..., None] = method_framing.frame_writer(connection, self)
        return writer

    def write(self, frame: Any) -> None:
        """Take one encoded frame. Raises: OSError if the socket does not take it in time."""
        if not self._gathering:
            self._transport.write(frame)
            self.written_at = monotonic()
            return
        self._buffer += frame
        if len(self._buffer) >= _FLUSH_BYTES:
            self._flush()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Write what is sent inside together: one system call for many messages or acks."""
        self._gathering = True
        try:
            yield
            self._flush()
        finally:
            self._gathering = False
            self._buffer.clear()

    def close(self) -> None:
        """Close the transport: py-amqp leaves it open where a handshake fails."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._buffer:
            self._transport.write(bytes(self._buffer))
            self._buffer.clear()
            self.written_at = monotonic()
