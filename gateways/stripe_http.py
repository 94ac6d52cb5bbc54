"""The HTTP client under the Stripe SDK: one pool of connections, our own time-outs, no redirects.

On aiohttp, as in the SDK's `AIOHTTPClient`: a call costs a tenth of the CPU it costs on httpx, whose pool
gets slower with every connection in use. A POST is sent once; aiohttp repeats a GET whose connection
was closed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import aiohttp
import stripe
from yarl import URL

IDLE_CONNECTION_S = 20
"""Let an idle connection go well before a load balancer cuts it under a request: that would be Unknown."""


class PooledTransport(stripe.HTTPClient):
    """Carry the SDK's requests; the SDK's own client follows redirects and knows one time-out for all."""

    name = "aiohttp"

    def __init__(self, *, connect_timeout_s: float, read_timeout_s: float, max_connections: int) -> None:
        """Prepare; the session is opened by the first request, on the loop that makes it."""
        super().__init__()
        self._tls = ssl.create_default_context(cafile=stripe.ca_bundle_path)
        self._max_connections = max_connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s, sock_read=read_timeout_s
        )
        self._session: aiohttp.ClientSession | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request.

        Raises:
            stripe.APIConnectionError: if no whole answer came; its `__cause__` tells how far the request got.
        """
        if self._session is None:
            self._session = self._opened()
        body = post_data.encode() if post_data else None
        address = URL(url, encoded=True)
        try:
            async with self._session.request(
                method, address, headers=headers, data=body, allow_redirects=False
            ) as answer:
                return await answer.read(), answer.status, answer.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _line_broke(error) from error

    async def close_async(self) -> None:
        """Let the connections go."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections, keepalive_timeout=IDLE_CONNECTION_S, ssl=self._tls
        )
        return aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )


def _line_broke(error: Exception) -> stripe.APIConnectionError:
    broke: Callable[[str], stripe.APIConnectionError] = stripe.APIConnectionError  # untyped in the SDK
    return broke(f"no answer ({type(error).__name__})")


_BEFORE_ANY_BYTE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Raised while a connection is awaited from the pool, looked up, made or secured: nothing was written yet.
A connection that breaks later is a ServerDisconnectedError, a SocketTimeoutError, another ClientOSError …
(docs.aiohttp.org/en/stable/client_reference.html#hierarchy-of-exceptions)."""


def never_left(error: stripe.APIConnectionError) -> bool:
    """Whether it is certain that no byte of the request was sent."""
    return isinstance(error.__cause__, _BEFORE_ANY_BYTE)
