"""HTTP to PayPal: one access token for all calls, one pool of connections, our own time-outs, no redirects.

On aiohttp, as for Stripe: a call costs a tenth of the CPU it costs on httpx. A POST is sent once, but for one
case: PayPal did not know its access token, so it executed nothing, and the call is made again with a new one.
aiohttp repeats a GET whose connection was closed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp

IDLE_CONNECTION_S = 20
"""Let an idle connection go well before a load balancer cuts it under a request: that would be Unknown."""

RENEW_BEFORE_S = 120
"""A token is renewed this long before it ends, at most half its life before."""

_BEFORE_ANY_BYTE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Raised while a connection is awaited from the pool, looked up, made or secured: nothing was written yet
(docs.aiohttp.org/en/stable/client_reference.html#hierarchy-of-exceptions)."""


class NotDelivered(Exception):
    """It is certain that PayPal did not get the request: no connection, or no token to send it with."""


class AnswerLost(Exception):
    """The request may have been executed, and no whole answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What PayPal said. The body may quote what we sent, so it is never shown."""

    status: int
    body: Any = field(repr=False)
    """The body's JSON; None if it is none."""
    debug_id: str | None = None
    """PayPal's name for the call, for asking its support."""


class PaypalHttp:
    """Calls in the name of one PayPal client; one instance serves one asyncio loop."""

    def __init__(
        self,
        *,
        base_url: str,
        client_id: str,
        client_secret: str,
        connect_timeout_s: float,
        read_timeout_s: float,
        max_connections: int,
    ) -> None:
        """Prepare; the session is opened by the first request, on the loop that makes it."""
        self._base_url = base_url.rstrip("/")
        credentials = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._credentials = f"Basic {credentials}"
        self._max_connections = max_connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s, sock_read=read_timeout_s
        )
        # The read time-out starts anew with every piece of an answer: a trickling one needs its own limit.
        self.call_limit_s = 2 * connect_timeout_s + read_timeout_s + 1
        self._session: aiohttp.ClientSession | None = None
        self._token: str | None = None
        self._renew_at = 0.0
        self._renewal: asyncio.Task[str] | None = None

    async def call(
        self, method: str, path: str, *, body: object = None, request_id: str | None = None
    ) -> Answer:
        """Make one call.

        Raises:
            NotDelivered: if nothing was executed, as far as the line can tell.
            AnswerLost: if no whole answer came.
        """
        headers = {"Prefer": "return=representation", "Content-Type": "application/json"}
        if request_id is not None:
            headers["PayPal-Request-Id"] = request_id
        data = json.dumps(body).encode() if body is not None else None
        token = await self._good_token()
        answer = await self._send(method, path, {**headers, "Authorization": f"Bearer {token}"}, data)
        if answer.status == 401:
            # Calls side by side meet it together: the first drops the token, the others find it gone.
            self._token = None if self._token == token else self._token
            token = await self._good_token()
            answer = await self._send(method, path, {**headers, "Authorization": f"Bearer {token}"}, data)
        return answer

    async def close(self) -> None:
        """Let the connections go."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._session is not None:
            await self._session.close()

    async def _good_token(self) -> str:
        if self._token is not None and asyncio.get_running_loop().time() < self._renew_at:
            return self._token
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renewed())
            self._renewal.add_done_callback(self._renewal_ended)
        # Shielded: a caller that gives up must not take the token from all the others that wait for it.
        return await asyncio.shield(self._renewal)

    async def _renewed(self) -> str:
        headers = {
            "Authorization": self._credentials,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        asked_at = asyncio.get_running_loop().time()
        try:
            answer = await self._send("POST", "/v1/oauth2/token", headers, b"grant_type=client_credentials")
        except AnswerLost as error:
            raise NotDelivered("no access token: the line broke") from error
        match answer.body:
            case {"access_token": str(token), "expires_in": int(lasts_s)} if answer.status == 200:
                self._token = token
                self._renew_at = asked_at + max(lasts_s - RENEW_BEFORE_S, lasts_s / 2)
                return token
            case _:
                raise NotDelivered(f"no access token: HTTP {answer.status}")

    def _renewal_ended(self, renewal: asyncio.Task[str]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # its callers hear of it; if they all gave up, nobody needs to

    async def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer:
        if self._session is None:
            self._session = self._opened()
        try:
            async with (
                asyncio.timeout(self.call_limit_s),
                self._session.request(
                    method, f"{self._base_url}{path}", headers=headers, data=data, allow_redirects=False
                ) as answer,
            ):
                raw = await answer.read()
        except _BEFORE_ANY_BYTE as error:
            raise NotDelivered(f"not connected ({type(error).__name__})") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AnswerLost(f"the line broke ({type(error).__name__})") from error
        return Answer(status=answer.status, body=_json(raw), debug_id=answer.headers.get("Paypal-Debug-Id"))

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=IDLE_CONNECTION_S)
        return aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
