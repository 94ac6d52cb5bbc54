"""Callers who mean harm, or know no better: whoever holds places makes room, and the log is not theirs to fill."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.webhooks.callers import Stripe
from tests.webhooks.house import House, house
from tests.workers import eventually

PLACES = 16
HEAD = b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    """An ingestor with few places, whose callers may be very slow."""
    settings = {"MAX_CONNECTIONS": str(PLACES), "REQUEST_TIMEOUT_S": "60", "COUNTS_EVERY_S": "0.2"}
    with house(
        tmp_path, **{f"PAYMENTS_WEBHOOKS__{name}": value for name, value in settings.items()}
    ) as place:
        yield place


def held(place: House, said: bytes, *, times: int) -> ExitStack:
    """Connections on which nothing more comes."""
    parts = urlsplit(place.ingestor.url)
    lines = ExitStack()
    for _ in range(times):
        line = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)
        lines.enter_context(closing(line)).sendall(said)
    return lines


@pytest.mark.parametrize(
    "said",
    [b"", HEAD[:30], HEAD + b"content-length: 200000\r\n\r\n{", HEAD + b"transfer-encoding: chunked\r\n\r\n"],
    ids=["silent", "half a header", "half a body", "no chunk"],
)
def test_callers_who_hold_every_place_make_room_for_a_gateway(said: bytes, small: House) -> None:
    with held(small, said, times=5 * PLACES):
        answers = [small.call(gateway, 1).status_code for gateway in small.gateways]

    assert answers == [200, 200, 200]
    assert small.log.count("connections_full") == 1


def test_the_counts_are_told_in_the_log_and_again_only_when_they_changed(small: House) -> None:
    small.call("stripe", 1)
    eventually(lambda: '"accepted": 1' in small.log, within_s=10, what="the first is told")
    small.call("stripe", 2)
    eventually(lambda: '"accepted": 2' in small.log, within_s=10, what="the second is told")

    told = [line for line in small.log.splitlines() if "callbacks_counted" in line]
    assert len([line for line in told if '"accepted": 2' in line]) == 1
    assert all("stripe" in line for line in told)


def test_the_log_is_not_filled_by_forged_callbacks_but_each_is_counted(tmp_path: Path) -> None:
    with house(tmp_path) as place:  # whose counts are told once a minute
        body = Stripe().body(1)
        for _ in range(100):
            place.post("stripe", body, Stripe().headers(body, forged=True))

        assert place.counts("stripe")["forged"] == 100
        assert 1 <= place.log.count("callback_forged") < 100


def test_malformed_requests_are_400_and_leave_no_line_in_the_log(small: House) -> None:
    parts = urlsplit(small.ingestor.url)
    before = small.log
    for nonsense in (b"\x16\x03\x01\x02\x00\x01", b"GARBAGE\r\n\r\n", HEAD + b"content-length: -1\r\n\r\n"):
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as line:
            line.sendall(nonsense + b"\r\n\r\n")
            assert line.recv(4096).startswith(b"HTTP/1.1 400 ")

    assert small.log == before
