"""Run a simulator on a socket, and let it hang up on a caller, which HTTP servers do not do by themselves."""

from __future__ import annotations

import signal
import socket
import threading
from asyncio import Transport
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_HANG_UP = "simulator.hang_up"
_START_TIMEOUT_S = 10.0


class HangUp(Response):
    """Close the connection without a byte of answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][_HANG_UP]()
        while (await receive())["type"] != "http.disconnect":
            pass


class _Protocol(H11Protocol):
    """Lends the application its connection, so that `HangUp` can close it."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Head and body are written apart; held back for an acknowledgement, each answer would take 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app: ASGIApp = self.app

        async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[_HANG_UP] = transport.close
            await app(scope, receive, send)

        self.app = with_connection


def listening(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    return socket.create_server((host, port))


def serve_here(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then come back."""
    with listener, _terminated_quietly():
        _server(app).run(sockets=[listener])


@contextmanager
def served_in_thread(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve from a thread for the length of the block.

    Raises RuntimeError if the server does not start.
    """
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with listener:
        thread.start()
        started = threading.Event()
        for _ in range(int(_START_TIMEOUT_S / 0.01)):
            if server.started or not thread.is_alive() or started.wait(0.01):
                break
        if not server.started:
            raise RuntimeError("the simulator did not start")
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(_START_TIMEOUT_S)


def _server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
    )


@contextmanager
def _terminated_quietly() -> Iterator[None]:
    """Uvicorn repeats the signal that ended it; asked to end, a simulator has ended well."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
