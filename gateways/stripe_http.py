"""The HTTP client under the Stripe SDK: one pool of connections, our own time-outs, no retry of its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import httpx
import stripe

IDLE_CONNECTION_S = 20
"""Let an idle connection go well before a load balancer cuts it under a request: that would be Unknown."""


class PooledTransport(stripe.HTTPClient):
    """Carry the SDK's requests over httpx.

    The SDK's own `HTTPXClient` fixes the pool's size and sends bodies by `data=`, which httpx deprecates.
    """

    name = "httpx"

    def __init__(self, *, connect_timeout_s: float, read_timeout_s: float, max_connections: int) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=stripe.ca_bundle_path),
            timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=connect_timeout_s),
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=IDLE_CONNECTION_S,
            ),
        )

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request once.

        Raises:
            stripe.APIConnectionError: if no whole answer came; its `__cause__` tells how far the request got.
        """
        try:
            answer = await self._client.request(method, url, headers=headers, content=post_data)
        except httpx.HTTPError as error:
            raise _line_broke(error) from error
        return answer.content, answer.status_code, answer.headers

    async def close_async(self) -> None:
        """Let the connections go."""
        await self._client.aclose()


def _line_broke(error: httpx.HTTPError) -> stripe.APIConnectionError:
    broke: Callable[[str], stripe.APIConnectionError] = stripe.APIConnectionError  # untyped in the SDK
    return broke(f"no answer ({type(error).__name__})")


_BEFORE_ANY_BYTE = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""Raised while a connection is awaited, made, tunnelled or secured: the request itself was never written.
A connection that breaks later is a ReadError, WriteError or RemoteProtocolError."""


def never_left(error: stripe.APIConnectionError) -> bool:
    """Whether it is certain that no byte of the request was sent."""
    return isinstance(error.__cause__, _BEFORE_ANY_BYTE)
