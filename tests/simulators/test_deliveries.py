"""Webhooks of any simulator are kept for ever, delivered, and delivered badly when somebody asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators.clock import Clock
from simulators.control_client import ControlClient, Refused
from simulators.deliveries import BatchedEndpoint, Endpoint, Parcel, Patience, PostOffice, webhook_routes
from simulators.serving import listening, served_in_thread
from simulators.store import Json, Store
from tests.gateways.wire import closed_port
from tests.simulators.receiver import Receiver, receiving, until

QUEUE = Patience(pauses_s=(10, 20), give_up_after_s=100, one_by_one=True)
CROWD = Patience(pauses_s=(10, 20), give_up_after_s=100, one_by_one=False)


def pack(contents: Sequence[Json], endpoint: Endpoint) -> Parcel:
    """All that is told in one body, with a word for a signature."""
    headers = {} if endpoint.signature == "missing" else {"Signed": endpoint.signature}
    return Parcel(body=json.dumps({"told": list(contents)}).encode(), headers=headers)


class Telegraph:
    """The least simulator there can be: it repeats what it is told."""

    def __init__(self, patience: Patience, endpoint: Endpoint, data_file: Path | None) -> None:
        self.store = Store(data_file)
        self.clock = Clock()
        self.office = PostOffice(
            self.store,
            self.clock,
            endpoint=endpoint,
            pack=pack,
            patience=patience,
            do_what_is_due=lambda: None,
        )

    async def tell(self, request: Request) -> Response:
        for word in await request.json():
            self.office.put({"word": word}, id=f"id_{word}" if word.isdigit() else None)
        self.office.wake()
        return JSONResponse({})

    async def advance(self, request: Request) -> Response:
        self.clock.advance((await request.json())["advance_s"])
        self.office.wake()
        return JSONResponse({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A telegraph that runs, and a shop that listens."""

    control: ControlClient
    receiver: Receiver

    def tell(self, *words: str) -> None:
        self.control._call("POST", "/tell", list(words))

    @property
    def heard(self) -> list[str]:
        """Words in the order they came."""
        return [told["word"] for delivery in self.receiver.deliveries for told in delivery.json()["told"]]

    def has_heard(self, *words: str) -> bool:
        return self.heard == list(words)

    def tries(self, number: int = 0) -> list[int | None]:
        """How the deliveries of one webhook were answered."""
        return [delivery["status"] for delivery in self.control.webhooks()[number]["deliveries"]]


@contextmanager
def telegraph(
    receiver: Receiver,
    *,
    patience: Patience = CROWD,
    endpoint: Endpoint | None = None,
    data_file: Path | None = None,
) -> Iterator[Line]:
    simulator = Telegraph(patience, endpoint or Endpoint(), data_file)
    routes = [
        Route("/_control/tell", simulator.tell, methods=["POST"]),
        Route("/_control/clock", simulator.advance, methods=["POST"]),
        *webhook_routes(simulator.office),
    ]
    listener = listening("127.0.0.1", 0)
    control = ControlClient(f"http://127.0.0.1:{listener.getsockname()[1]}/_control")
    with served_in_thread(Starlette(routes=routes), listener):
        yield Line(control=control, receiver=receiver)
        simulator.office.stop()
    control.close()
    simulator.store.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(server: Receiver) -> Receiver:
    server.clear()
    return server


@pytest.fixture
def line(receiver: Receiver) -> Iterator[Line]:
    with telegraph(receiver) as line:
        line.control.deliver(url=receiver.url)
        yield line


def test_a_webhook_is_delivered_and_kept(line: Line) -> None:
    line.tell("a")
    until(lambda: line.tries() == [202])

    [delivery] = line.receiver.deliveries
    [kept] = line.control.webhooks()
    assert delivery.headers["signed"] == "good"
    assert delivery.headers["content-type"] == "application/json"
    assert kept["content"] == {"word": "a"}
    assert kept["body"] == delivery.json()


def test_nothing_is_delivered_before_it_is_said_where_to(receiver: Receiver) -> None:
    with telegraph(receiver) as line:
        line.tell("a")
        before = line.control.webhooks()
        line.control.deliver(url=receiver.url)
        until(lambda: line.has_heard("a"))

    assert [webhook["deliveries"] for webhook in before] == [[]]


def test_what_is_not_accepted_comes_again_after_growing_pauses_until_it_is(line: Line) -> None:
    line.receiver.status = 500
    line.tell("a")
    until(partial(line.receiver.has, 1))
    for pause, count in ((10, 2), (20, 3), (20, 4)):
        line.control.advance_clock(pause + 1)
        until(partial(line.receiver.has, count))
    line.receiver.status = 200
    line.control.advance_clock(21)
    until(lambda: line.tries() == [500, 500, 500, 500, 200])
    line.control.advance_clock(1000)
    line.tell("b")
    until(lambda: line.heard[-1] == "b")

    assert line.heard == ["a"] * 5 + ["b"]


def test_a_shop_that_is_not_there_is_given_up_on_in_the_end(line: Line) -> None:
    line.control.deliver(url=closed_port())
    line.tell("a")
    until(lambda: line.tries() == [None])
    line.control.advance_clock(101)
    until(lambda: line.tries() == [None, None])
    line.control.deliver(url=line.receiver.url)
    line.control.advance_clock(1000)
    line.tell("b")
    until(lambda: line.has_heard("b"))

    assert line.tries() == [None, None]


def test_where_each_goes_its_own_way_one_that_fails_holds_up_no_other(line: Line) -> None:
    line.receiver.status = 503
    line.tell("a")
    until(lambda: line.tries() == [503])
    line.receiver.status = 200
    line.tell("b")
    until(lambda: line.has_heard("a", "b"))
    line.control.advance_clock(11)
    until(lambda: line.has_heard("a", "b", "a"))


def test_where_there_is_one_queue_one_that_fails_holds_up_the_rest(receiver: Receiver) -> None:
    with telegraph(receiver, patience=QUEUE) as line:
        line.control.deliver(url=receiver.url)
        receiver.status = 503
        line.tell("a", "b")
        until(lambda: line.tries() == [503])
        receiver.status = 200
        line.tell("c")
        line.control.advance_clock(11)
        until(lambda: line.has_heard("a", "a", "b", "c"))


def test_webhooks_can_come_twice(line: Line) -> None:
    line.control.deliver(copies=2)
    line.tell("a")
    until(lambda: line.has_heard("a", "a"))

    first, second = line.receiver.deliveries
    assert first.body == second.body


def test_webhooks_can_come_late(line: Line) -> None:
    line.control.deliver(delay_s=3600)
    line.tell("late")
    line.control.deliver(delay_s=0)
    line.tell("prompt")
    until(lambda: line.has_heard("prompt"))
    line.control.advance_clock(3601)
    until(lambda: line.has_heard("prompt", "late"))


@pytest.mark.parametrize("order", ["last_to_first", "shuffled"])
def test_webhooks_can_come_out_of_order(line: Line, order: str) -> None:
    words = list("abcdefghij")
    line.control.deliver(is_paused=True, order=order)
    line.tell(*words)
    line.control.deliver(is_paused=False)
    until(partial(line.receiver.has, len(words)))

    assert sorted(line.heard) == words
    assert line.heard != words
    if order == "last_to_first":
        assert line.heard == words[::-1]


def test_many_can_come_in_one_body_where_the_gateway_has_that(receiver: Receiver) -> None:
    with telegraph(receiver, endpoint=BatchedEndpoint()) as line:
        line.control.deliver(url=receiver.url, is_paused=True, batch=2)
        line.tell("a", "b", "c")
        line.control.deliver(is_paused=False)
        until(partial(receiver.has, 2))

        assert [len(delivery.json()["told"]) for delivery in receiver.deliveries] == [2, 1]
        assert line.heard == ["a", "b", "c"]


def test_what_is_wrong_with_the_signature_is_the_gateways_to_write(line: Line) -> None:
    for signature in ("wrong", "missing"):
        line.control.deliver(signature=signature)
        line.tell(signature)
        until(lambda word=signature: line.heard[-1:] == [word])  # type: ignore[misc]

    assert [delivery.headers.get("signed") for delivery in line.receiver.deliveries] == ["wrong", None]


def test_webhooks_can_be_asked_for_again_by_their_ids(line: Line) -> None:
    line.tell("a", "1")
    until(lambda: line.has_heard("a", "1"))
    line.control.deliver_again(["id_1", "webhook_1"])
    until(lambda: line.has_heard("a", "1", "1", "a"))

    with pytest.raises(Refused, match="there is no webhook"):
        line.control.deliver_again(["webhook_99"])


@pytest.mark.parametrize(
    "slip", [{"uri": "http://x"}, {"url": "x"}, {"order": "random"}, {"copies": 0}, {"batch": 2}]
)
def test_an_endpoint_with_a_slip_is_refused(line: Line, slip: dict[str, object]) -> None:
    with pytest.raises(Refused):
        line.control.deliver(**slip)

    assert line.control.deliver()["url"] == line.receiver.url


def test_webhooks_and_their_endpoint_outlive_the_simulator(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 503
    with telegraph(receiver, data_file=tmp_path / "kept") as line:
        line.control.deliver(url=receiver.url)
        line.tell("a")
        until(lambda: line.tries() == [503])
    receiver.status = 200
    with telegraph(receiver, data_file=tmp_path / "kept") as line:
        line.control.advance_clock(11)
        until(lambda: line.tries() == [503, 200])
