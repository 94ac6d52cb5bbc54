"""Runs the ingestor on a port until SIGTERM: bounded in connections, and with no patience for slow callers."""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.applications import Starlette

from webhooks.connections import impatient

log = structlog.get_logger()

BACKLOG = 512
HEADERS_MOST = 32 * 1024
KEEP_ALIVE_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What callers may take of us."""

    connections: int
    request_timeout_s: float
    """For the headers of a request, and once more for its body."""
    stop_grace_s: float
    """For what is under way when SIGTERM comes."""


def serve(app: Starlette, *, host: str, port: int, limits: Limits) -> None:
    """Serve until SIGTERM or SIGINT; what is under way is finished.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    config = uvicorn.Config(
        app,
        http=impatient(connections_most=limits.connections, request_within_s=limits.request_timeout_s),
        ws="none",
        lifespan="on",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        log_level="error",  # It warns of every malformed request: anybody could fill the log with those.
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(limits.stop_grace_s) or 1,
        h11_max_incomplete_event_size=HEADERS_MOST,
    )
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # Until uvicorn has its own; and it raises what it was stopped by once more when it has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log.info("ingestor_listens", host=host, port=listener.getsockname()[1])
    server.run(sockets=[listener])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
