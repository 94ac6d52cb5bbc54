"""AMQP frames that arrive in pieces, malformed, or with bad news."""

import struct

import amqp
import pytest
from amqp.serialization import dumps

from consumers.frames import dispatch_frames

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


def frame(payload: bytes, *, kind: int = 3, channel: int = 1) -> bytes:
    """One frame as it is on the wire."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


STREAM = frame(b"first") + HEARTBEAT + frame(b"\xce" * 20, channel=2) + frame(b"")
DISPATCHED = [(3, 1, b"first"), (8, 0, b""), (3, 2, b"\xce" * 20), (3, 1, b"")]


@pytest.mark.parametrize("piece", range(1, len(STREAM) + 1))
def test_frames_are_whole_however_the_stream_is_cut(piece: int) -> None:
    dispatched: list[tuple[int, int, bytes]] = []
    rest = b""
    for start in range(0, len(STREAM), piece):
        rest = dispatch_frames(rest + STREAM[start : start + piece], dispatched.append)

    assert dispatched == DISPATCHED
    assert rest == b""


def test_a_frame_that_does_not_end_where_it_says_is_an_error() -> None:
    with pytest.raises(amqp.UnexpectedFrame):
        dispatch_frames(frame(b"first")[:-1] + b"\x00", lambda _: None)


def test_a_closed_channel_is_raised_with_the_brokers_words() -> None:
    close = struct.pack(">HH", 20, 40) + dumps("BsBB", (406, "PRECONDITION_FAILED - too late", 60, 80))
    dispatched: list[tuple[int, int, bytes]] = []

    with pytest.raises(amqp.PreconditionFailed, match="too late"):
        dispatch_frames(HEARTBEAT + frame(close, kind=1), dispatched.append)

    assert dispatched == [(8, 0, b"")]
