"""The ingestor when something is wrong: the broker is away, callers are slow, it is killed, it is told to leave."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.webhooks.callers import SECRETS, callers
from tests.webhooks.house import House, door_of, house
from tests.workers import ROOT, eventually

STREAM = 200
KILLED_AFTER = 60


@pytest.fixture(params=["embedded", "rabbitmq"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """An ingestor that the test may kill."""
    url = request.getfixturevalue("vhost") if request.param == "rabbitmq" else None
    with house(tmp_path, broker_url=url) as place:
        yield place


def test_while_the_broker_is_away_it_is_503_and_200_again_without_a_restart(
    vhost: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        through_the_door, door = stack.enter_context(door_of(vhost))
        place = stack.enter_context(house(tmp_path, broker_url=through_the_door, mailbox_url=vhost))
        assert place.call("stripe", 1).status_code == 200

        door.shut()
        away = place.call("stripe", 2)
        eventually(
            lambda: place.request("GET", "/health").status_code == 503, within_s=10, what="it is noticed"
        )
        noticed = [place.call(gateway, 2) for gateway in place.gateways]
        forged = place.call("stripe", 2, forged=True)
        door.open()
        eventually(lambda: place.request("GET", "/health").status_code == 200, within_s=30, what="it is back")
        back = place.call("stripe", 3)

        assert [answer.status_code for answer in (away, *noticed)] == [503] * 4
        assert all(int(answer.headers["retry-after"]) > 0 for answer in noticed)
        assert forged.status_code == 401
        assert back.status_code == 200
        bodies = place.mailbox.bodies()
        assert place.gateways["stripe"].body(1) in bodies
        assert place.gateways["stripe"].body(3) in bodies
        assert place.counts("stripe")["not_confirmed"] >= 2
        assert str(urlsplit(vhost).password) not in place.log


def test_it_starts_while_the_broker_is_away_and_takes_callbacks_once_it_is_there(
    vhost: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        through_the_door, door = stack.enter_context(door_of(vhost))
        place = stack.enter_context(house(tmp_path, broker_url=through_the_door, mailbox_url=vhost))
        place.ingestor.kill()
        door.shut()

        starting = threading.Thread(target=place.ingestor.start)  # comes back when it is well
        starting.start()
        eventually(lambda: _listens(place), within_s=20, what="it listens")
        before = place.call("adyen", 1)
        door.open()
        starting.join(30)

        assert before.status_code == 503
        assert place.call("adyen", 1).status_code == 200


def test_slow_and_idle_callers_are_hung_up_on_and_stop_nobody(own: House) -> None:
    parts = urlsplit(own.ingestor.url)
    address = (parts.hostname or "", parts.port or 0)
    head = b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    half_sent = [b"", b"POST /web", head, head + b"content-length: 500\r\n\r\n{"]
    whole = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    with ExitStack() as stack:
        lines = [
            stack.enter_context(closing(socket.create_connection(address, timeout=20)))
            for _ in range(20)
            for _ in half_sent
        ]
        for line, said in zip(lines, itertools.cycle(half_sent), strict=False):
            line.sendall(said)
        after_a_whole_one = stack.enter_context(closing(socket.create_connection(address, timeout=20)))
        after_a_whole_one.sendall(whole)
        health = b""
        while not health.endswith(b"}}"):
            health += after_a_whole_one.recv(65536)
        after_a_whole_one.sendall(b"POST /web")

        answers = [own.call(gateway, 1).status_code for gateway in own.gateways]

        assert answers == [200, 200, 200]
        for line, said in zip(lines, itertools.cycle(half_sent), strict=False):
            # Headers that do not come end in a closed line, a body that does not come in an answer first.
            last = line.recv(4096)
            assert last == b"" if b"\r\n\r\n" not in said else last.startswith(b"HTTP/1.1 408")
        assert health.startswith(b"HTTP/1.1 200")
        assert after_a_whole_one.recv(4096) == b""


def test_kill_9_in_the_midst_of_a_stream_loses_nothing_that_was_answered_200(own: House) -> None:
    caller = own.gateways["stripe"]
    answered: list[int] = []
    numbers = iter(range(STREAM))
    lock, enough = threading.Lock(), threading.Event()

    def send() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                body = caller.body(number)
                try:
                    url = f"{own.ingestor.url}/webhooks/stripe"
                    status = client.post(url, content=body, headers=caller.headers(body)).status_code
                except httpx.TransportError:
                    return
                with lock:
                    if status == 200:
                        answered.append(number)
                    if len(answered) >= KILLED_AFTER:
                        enough.set()

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    assert enough.wait(60)
    own.ingestor.kill()
    for sender in senders:
        sender.join(30)

    assert KILLED_AFTER <= len(answered) < STREAM
    kept = set(own.mailbox.bodies())
    assert {caller.body(number) for number in answered} <= kept


def test_sigterm_finishes_what_is_under_way_and_ends_with_0(own: House) -> None:
    caller = own.gateways["stripe"]
    body = caller.body(1)
    parts = urlsplit(own.ingestor.url)
    lines = [f"{name}: {value}\r\n" for name, value in caller.headers(body).items()]
    head = f"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{''.join(lines)}\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as line:
        line.sendall(head.encode() + body[:10])
        eventually(lambda: own.counts("stripe").get("received") == 1, within_s=10, what="it has begun")
        own.ingestor.process.send_signal(signal.SIGTERM)
        eventually(lambda: not _listens(own), within_s=10, what="nobody new is let in")
        line.sendall(body[10:])
        answer = line.recv(4096)

    assert answer.startswith(b"HTTP/1.1 200")
    assert own.ingestor.process.wait(30) == 0
    assert own.mailbox.bodies() == [body]
    assert "Traceback" not in own.log


def _listens(place: House) -> bool:
    parts = urlsplit(place.ingestor.url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def start(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start one that is not to get far."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "run_worker.py"), "webhooks", *arguments],
        env={**clean, "PAYMENTS_DATA_DIR": str(directory), **settings},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (("STRIPE__WEBHOOK", "ADYEN__HMAC", "PAYPAL__WEBHOOK_IDS"), "no gateway has webhook secrets: set "),
        (("ADYEN__WEBHOOK_USERNAME",), "webhook secrets: Adyen's webhooks need HMAC keys, "),
        (("ADYEN__WEBHOOK_PASSWORDS",), "webhook secrets: Adyen's webhooks need HMAC keys, "),
    ],
)
def test_without_what_it_needs_it_says_in_one_sentence_what_to_set(
    left_out: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with callers(tmp_path) as (_, settings):
        left = {
            n: v for n, v in settings.items() if not n.startswith(tuple(f"PAYMENTS_{o}" for o in left_out))
        }
        ended = start(tmp_path, "--port", "0", **left)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"the ingestor cannot run: {said}")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (
            "ADYEN__HMAC_KEYS",
            '["not-hex-7f3a"]',
            "webhook secrets: an HMAC key of Adyen's webhooks is not hex",
        ),
        ("STRIPE__WEBHOOK_SECRETS", '[""]', "webhook secrets: a Stripe webhook endpoint has at least one"),
        ("PAYPAL__WEBHOOK_IDS", '["a b"]', "webhook secrets: PayPal's webhook ids are missing or none"),
        (
            "PAYPAL__WEBHOOK_ORIGINS",
            '["http://x"]',
            "webhook secrets: certificates are not to be fetched from",
        ),
        ("PAYPAL__WEBHOOK_CA_FILE", "/nowhere.pem", "[Errno 2] No such file or directory: '/nowhere.pem'"),
        ("BROKER_URL", "http://u:not-hex-7f3a@h", "A broker URL"),
    ],
)
def test_with_a_setting_that_cannot_be_it_says_so_and_shows_no_secret(
    setting: str, value: str, said: str, tmp_path: Path
) -> None:
    with callers(tmp_path) as (_, settings):
        ended = start(tmp_path, "--port", "0", **{**settings, f"PAYMENTS_{setting}": value})

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"the ingestor cannot run: {said}")
    assert "Traceback" not in ended.stderr
    for secret in (*SECRETS, "not-hex-7f3a"):
        assert secret not in ended.stderr + ended.stdout


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with callers(tmp_path) as (_, settings), socket.create_server(("127.0.0.1", 0)) as taken:
        ended = start(tmp_path, "--port", str(taken.getsockname()[1]), **settings)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("the ingestor cannot run: [Errno 98]")
