"""A caller's connection: few at a time, and none kept by somebody who does not get on with it.

uvicorn by itself takes connections without end, and waits for ever for headers that come byte by byte. Here, when all
places are taken, whoever has kept us waiting longest makes room: a gateway is done in milliseconds.
"""

from __future__ import annotations

import socket
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from time import monotonic
from typing import ClassVar

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = structlog.get_logger()

TELL_AGAIN_S = 60.0


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with a caller who must not be slow; `impatient` sets how slow, and how many there may be."""

    connections_most: ClassVar[int]
    request_within_s: ClassVar[float]
    _told_at: ClassVar[float] = -TELL_AGAIN_S

    _timer: TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Take a place, if need be another's."""
        super().connection_made(transport)
        # So that an answer of two writes does not wait for the caller's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_request()
        if len(self.connections) > self.connections_most:
            self._make_room()

    def on_response_complete(self) -> None:
        """Wait for the next request: uvicorn's own patience would begin anew with every byte of it."""
        self._expect_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the place go."""
        self._set_timer(None)
        super().connection_lost(exc)

    @property
    def _waits_for_headers(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    @property
    def _waits_for_caller(self) -> bool:
        """Not for us: there are headers or a body to come, or answers that are not read."""
        return self._waits_for_headers or self.cycle.more_body or self.flow.write_paused

    def _expect_request(self) -> None:
        self._since = self.loop.time()
        self._set_timer(self.request_within_s)

    def _set_timer(self, delay_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self.loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        """Hang up on a caller who sends no request or reads no answer; a body that is late is answered by the app."""
        if self._waits_for_headers or self.flow.write_paused:
            self.transport.abort()
        else:
            self._set_timer(self.request_within_s)

    def _make_room(self) -> None:
        others = list(self._others())
        if len(others) < self.connections_most:
            return
        slow = [other for other in others if other._waits_for_caller]
        # Everybody waits for us: then the newcomer has to come again.
        leaves = min(slow, key=lambda other: other._since, default=self)
        leaves.transport.abort()
        if monotonic() - ImpatientProtocol._told_at >= TELL_AGAIN_S:
            ImpatientProtocol._told_at = monotonic()
            log.warning("connections_full", connections=self.connections_most, slow=len(slow))

    def _others(self) -> Iterator[ImpatientProtocol]:
        for other in self.connections:
            if (
                isinstance(other, ImpatientProtocol)
                and other is not self
                and not other.transport.is_closing()
            ):
                yield other


def impatient(*, connections_most: int, request_within_s: float) -> type[ImpatientProtocol]:
    """Make the protocol for one server. `request_within_s`: from the connection, or the last answer, to all headers."""
    limits = {"connections_most": connections_most, "request_within_s": request_within_s}
    return type("Impatient", (ImpatientProtocol,), limits)
