"""A door in front of a simulator: open it forwards, shut it refuses the connection, as a host without a server does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Door:
    """Forwards 127.0.0.1:`port` to another port while it is open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._through: set[asyncio.StreamWriter] = set()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.open()

    @property
    def url(self) -> str:
        """Where to knock."""
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let callers through."""
        self._run(self._listen())

    def shut(self) -> None:
        """Refuse whoever calls, and cut off who is inside."""
        self._run(self._stop())

    def close(self) -> None:
        """Take the door away."""
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._through:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._through |= {writer, inner_writer}
        try:
            await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))
        finally:
            self._through -= {writer, inner_writer}


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def door_to(url: str) -> Iterator[Door]:
    """Put a door in front of a simulator for the length of the block."""
    door = Door(int(url.rsplit(":", 1)[-1]))
    try:
        yield door
    finally:
        door.close()
