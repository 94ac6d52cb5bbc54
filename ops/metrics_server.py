"""Answers Prometheus and whoever watches over the process, on a port of its own and in threads of its own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

log = structlog.get_logger()

CALLER_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether something is well, and what there is to say about it."""

    is_well: bool
    told: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is answered: `/metrics` from the registry, `/health/…` by name."""

    registry: CollectorRegistry
    health: Mapping[str, Callable[[], Health]]


@contextmanager
def showing(shown: Shown, *, host: str, port: int) -> Iterator[int]:
    """Answer for the length of the block; gives the port, a free one for 0.

    Raises:
        OSError: the address cannot be listened on.
    """
    server = _Server((host, port), shown)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics_shown", host=host, port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], shown: Shown) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.shown = shown
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # As the base does it, but for a name look-up of our own address, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: object, client_address: object) -> None:
        log.exception("metrics_not_shown")


class _Handler(BaseHTTPRequestHandler):
    timeout = CALLER_PATIENCE_S
    server: _Server

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.path.partition("?")[0]
        health = self.server.shown.health.get(path.removeprefix("/health/"))
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("accept", ""))
            self._answer(200, content_type, encode(self.server.shown.registry))
        elif health is not None and path.startswith("/health/"):
            found = health()
            body = json.dumps({"well": found.is_well, **found.told}).encode()
            self._answer(200 if found.is_well else 503, "application/json", body)
        else:
            self._answer(404, "text/plain", b"there is /metrics, /health/live and /health/ready\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: a scrape is no news."""
