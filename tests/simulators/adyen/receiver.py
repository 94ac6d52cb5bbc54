"""A shop's own server, where webhooks are delivered: it remembers what came, and answers as it is told."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulators.serving import listening, served_in_thread
from tests.simulators.adyen.contract import Json

DEADLINE_S = 10.0


class Receiver:
    """What came to it, first to last; `status` is what it answers with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 202
        self.bodies: list[Json] = []
        self.authorizations: list[str] = []

    @property
    def items(self) -> list[Json]:
        """The items of all bodies."""
        return [
            wrapped["NotificationRequestItem"]
            for body in list(self.bodies)
            for wrapped in body["notificationItems"]
        ]

    @property
    def references(self) -> list[str]:
        """Which payments were told of."""
        return [item["merchantReference"] for item in self.items]

    def has(self, deliveries: int) -> bool:
        """Whether so many items have come."""
        return len(self.items) == deliveries

    async def take(self, request: Request) -> Response:
        """Remember a delivery."""
        name_and_password = request.headers.get("authorization", "").removeprefix("Basic ")
        self.authorizations.append(base64.b64decode(name_and_password).decode())
        self.bodies.append(await request.json())
        return Response(status_code=self.status)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive for the length of the block."""
    listener = listening("127.0.0.1", 0)
    receiver = Receiver(f"http://127.0.0.1:{listener.getsockname()[1]}/adyen")
    app = Starlette(routes=[Route("/adyen", receiver.take, methods=["POST"])])
    with served_in_thread(app, listener):
        yield receiver


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that happens by itself. Raises AssertionError if it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
