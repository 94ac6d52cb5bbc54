"""Runs the ingestor on a port until SIGTERM: bounded in connections, and with no patience for slow callers."""

from __future__ import annotations

import asyncio
import signal
import socket
from asyncio import TimerHandle, Transport

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MAX_CONNECTIONS = 512
REQUEST_WITHIN_S = 10.0
"""From the connection to the last header: uvicorn itself would wait for ever."""
STOP_WITHIN_S = 20
BACKLOG = 512


class _ImpatientProtocol(H11Protocol):
    """Hangs up on a caller that has not sent its headers in time."""

    _impatience: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_headers()

    def on_response_complete(self) -> None:
        self._wait_for_headers()  # of the next request: uvicorn's own patience ends with its first byte
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
        self._impatience = asyncio.get_running_loop().call_later(REQUEST_WITHIN_S, self._hang_up_if_idle)

    def _hang_up_if_idle(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:  # no request has begun since
            self.transport.close()


def serve(app: Starlette, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; what is under way is finished.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    config = uvicorn.Config(
        app,
        http=_ImpatientProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        h11_max_incomplete_event_size=32 * 1024,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises it once more when it has stopped
    uvicorn.Server(config).run(sockets=[listener])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
