"""The HTTP client under the Adyen SDK: one pool of connections, our own time-outs, no redirects.

The SDK is synchronous and calls its HTTP client once, in the middle of its own work. So each call is made
twice. The first time the client notes what the SDK would send, and breaks off. What was noted is sent on
aiohttp, beside hundreds of others. The second time the client hands the answer over, and the SDK reads it.
A POST is sent once: only the SDK's own work, tens of microseconds, is done twice, and no thread waits.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from json import dumps
from typing import Any

import aiohttp
from yarl import URL

IDLE_CONNECTION_S = 20
"""Let an idle connection go well before a load balancer cuts it under a request: that would be Unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What the SDK would send."""

    method: str
    url: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came back."""

    status: int
    body: str = field(repr=False)
    headers: Mapping[str, str]


@dataclass(slots=True)
class Exchange:
    """One call of the SDK's: first noted, then answered."""

    noted: Noted | None = None
    heard: Heard | None = None


class LineBroke(Exception):
    """No whole answer came; `__cause__` tells how far the request got."""


class _NotYet(Exception):
    """Ends the SDK's first run: there is no answer yet."""


class PooledTransport:
    """Stands where the SDK has its own client; see `carry`."""

    user_agent = "payment-service adyen-python-api-library"

    def __init__(self, *, connect_timeout_s: float, read_timeout_s: float, max_connections: int) -> None:
        """Prepare; the session is opened by the first request, on the loop that makes it."""
        self._tls = ssl.create_default_context()
        self._max_connections = max_connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s, sock_read=read_timeout_s
        )
        self._session: aiohttp.ClientSession | None = None

    async def carry(self, call: Callable[..., Any], *args: object, **options: object) -> Any:
        """Make a call of the SDK's; give what the SDK read.

        Raises:
            LineBroke: if no whole answer came.
            Adyen.AdyenError: what the SDK makes of an answer other than 2xx.
        """
        exchange = Exchange()
        with suppress(_NotYet):
            call(*args, exchange=exchange, **options)
        assert exchange.noted is not None, "the SDK did not come to the point of sending"
        exchange.heard = await self._send(exchange.noted)
        return call(*args, exchange=exchange, **options)

    def request(
        self,
        method: str,
        url: str,
        *,
        json: object,
        xapikey: str,
        headers: dict[str, str],
        exchange: Exchange,
    ) -> tuple[str, None, int, Mapping[str, str]]:
        """What the SDK calls: note the request, or hand over the answer to it.

        The request is not handed back, as the SDK would keep it, token and all, in its errors.
        """
        if exchange.heard is None:
            sent = {**headers, "x-api-key": xapikey, "Content-Type": "application/json"}
            exchange.noted = Noted(method=method, url=url, body=dumps(json).encode(), headers=sent)
            raise _NotYet
        return exchange.heard.body, None, exchange.heard.status, exchange.heard.headers

    async def close(self) -> None:
        """Let the connections go."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, noted: Noted) -> Heard:
        if self._session is None:
            self._session = self._opened()
        address = URL(noted.url, encoded=True)
        try:
            async with self._session.request(
                noted.method, address, headers=noted.headers, data=noted.body, allow_redirects=False
            ) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LineBroke(f"no answer ({type(error).__name__})") from error
        return Heard(status=answer.status, body=raw.decode(), headers=answer.headers)

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections, keepalive_timeout=IDLE_CONNECTION_S, ssl=self._tls
        )
        return aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )


_BEFORE_ANY_BYTE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Raised while a connection is awaited from the pool, looked up, made or secured: nothing was written yet.
A connection that breaks later is a ServerDisconnectedError, a SocketTimeoutError, another ClientOSError …
(docs.aiohttp.org/en/stable/client_reference.html#hierarchy-of-exceptions)."""


def never_left(error: LineBroke) -> bool:
    """Whether it is certain that no byte of the request was sent."""
    return isinstance(error.__cause__, _BEFORE_ANY_BYTE)
