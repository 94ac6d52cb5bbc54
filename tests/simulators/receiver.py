"""A shop's own server, where webhooks are delivered: it remembers what came, and answers as it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulators.serving import listening, served_in_thread

DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came: the bytes, and the headers with names in lower case."""

    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Receiver:
    """What came to it, first to last; `status` is what it answers with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 202
        self.deliveries: list[Delivery] = []

    def clear(self) -> None:
        """Forget what came, and accept again."""
        self.status = 202
        self.deliveries.clear()

    def has(self, count: int) -> bool:
        """Whether so many deliveries have come."""
        return len(self.deliveries) == count

    async def take(self, request: Request) -> Response:
        """Remember a delivery."""
        self.deliveries.append(Delivery(headers=dict(request.headers), body=await request.body()))
        return Response(status_code=self.status)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive for the length of the block."""
    listener = listening("127.0.0.1", 0)
    receiver = Receiver(f"http://127.0.0.1:{listener.getsockname()[1]}/webhooks")
    app = Starlette(routes=[Route("/webhooks", receiver.take, methods=["POST"])])
    with served_in_thread(app, listener):
        yield receiver


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that happens by itself. Raises AssertionError if it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
