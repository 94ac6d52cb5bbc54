"""A server on a raw socket that answers as it is told, well or badly: to see what an adapter makes of it."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl

_WAIT_S = 30
"""Nothing in here outlives this, even if a test forgets to close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer; `announced` overrides the length it claims to have."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None


def said(status: int, body: object, **headers: str) -> Answer:
    """A JSON answer."""
    return Answer(
        status=status,
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Request-Id": "req_1", **headers},
    )


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection, before or after the request was read; `reset` sends a RST instead of a FIN."""

    after_reading: bool
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Read the request and never answer."""


@dataclass(frozen=True, slots=True)
class Trickle:
    """Answer with a byte every tenth of a second, without end."""


Behaviour = Answer | HangUp | Silence | Trickle


@dataclass(frozen=True, slots=True)
class Request:
    """What the adapter sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def form(self) -> dict[str, str]:
        """The body's fields."""
        return dict(parse_qsl(self.body, keep_blank_values=True, strict_parsing=bool(self.body)))


class Wire:
    """Listen on a free port; each request takes the next behaviour."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.requests: list[Request] = []
        self._behaviours = deque(behaviours)
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for open_socket in (self._listener, *self._connections):
            with suppress(OSError):  # wakes a thread that waits on it
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_WAIT_S)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(_WAIT_S)
        with connection:
            if self._behaviours and self._behaviours[0] == HangUp(after_reading=False):
                self._behaviours.popleft()
                return
            while (request := self._read(connection)) is not None:
                self.requests.append(request)
                if not self._behave(connection, self._behaviours.popleft()):
                    return

    def _read(self, connection: socket.socket) -> Request | None:
        raw = b""
        while not self._closing.is_set():
            head, blank, body = raw.partition(b"\r\n\r\n")
            if blank:
                first, *lines = head.decode().split("\r\n")
                headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
                if len(body) >= int(headers.get("content-length", 0)):
                    method, path, _ = first.split(" ")
                    return Request(method, path, headers, body.decode())
            try:
                piece = connection.recv(65536)
            except OSError:
                return None
            if not piece:
                return None
            raw += piece
        return None

    def _behave(self, connection: socket.socket, behaviour: Behaviour) -> bool:
        """Do as told; whether the connection stays open for another request."""
        match behaviour:
            case Answer():
                length = len(behaviour.body) if behaviour.announced is None else behaviour.announced
                headers = {"Content-Length": str(length), **behaviour.headers}
                head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
                connection.sendall(f"HTTP/1.1 {behaviour.status} X\r\n{head}\r\n".encode() + behaviour.body)
                return behaviour.announced is None
            case HangUp():
                if behaviour.reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Silence():
                self._closing.wait(_WAIT_S)
                return False
            case Trickle():
                connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(_WAIT_S * 10):
                    if self._closing.wait(0.1):
                        break
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        break
                return False


def closed_port() -> str:
    """The address of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
