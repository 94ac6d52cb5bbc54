"""The ingestor over HTTP: `POST /webhooks/{gateway}` and `GET /health`, nothing else.

| answer | when                                                                                          |
|--------|-----------------------------------------------------------------------------------------------|
| 200    | the broker has confirmed it; Adyen's is `[accepted]`                                          |
| 401    | not signed by the gateway, changed, too old, or from the future: nothing more is said         |
| 404    | anything but the two paths, and gateways that are not set up                                  |
| 405    | another method                                                                                |
| 408    | the body did not come in time                                                                 |
| 413    | more than 256 KiB                                                                             |
| 415    | not JSON                                                                                      |
| 503    | the broker has not confirmed it, or too many at once: the gateway sends it again              |

What a callback says is not looked at here: what is authentic and makes no sense is the worker's to sort out, for a
gateway that is told no may hold back all that comes after (Adyen does).
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from consumers.delivery import Outgoing
from gateways.notice import Forged, Verifier
from messages.callbacks import CALLBACK_SOURCE, GatewayCallbackReceived, callback_routing_key
from messages.envelope import data_schema, rfc3339
from webhooks.post import Post

log = structlog.get_logger()

MAX_BODY = 256 * 1024
BODY_WITHIN_S = 10.0
CONFIRM_WITHIN_S = 12.0
RETRY_AFTER_S = 30
TRACED = ("user-agent", "paypal-transmission-id", "traceparent", "tracestate", "x-request-id")
"""Headers that go on with a callback. Never a signature, never a password."""


class _TooLarge(Exception):
    pass


class Ingestor:
    """Takes callbacks in, one method an endpoint."""

    def __init__(self, verifiers: Mapping[str, Verifier], post: Post, now: Callable[[], datetime]) -> None:
        self._verifiers = verifiers
        self._post = post
        self._now = now
        self._counts: dict[str, Counter[str]] = {gateway: Counter() for gateway in verifiers}

    async def take(self, request: Request) -> Response:
        """Take one callback in."""
        gateway = request.path_params["gateway"]
        verifier = self._verifiers.get(gateway)
        if verifier is None:
            return _plain("no such gateway here", 404)
        counts = self._counts[gateway]
        counts["received"] += 1
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            counts["not_json"] += 1
            return _plain("application/json only", 415)
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _body(request)
        except _TooLarge:
            counts["too_large"] += 1
            return _plain("too large", 413)
        except TimeoutError:
            counts["too_slow"] += 1
            return _plain("too slow", 408)
        except ClientDisconnect:
            counts["gone"] += 1
            return _plain("", 400)
        now = self._now()
        try:
            await verifier.verify(headers=dict(request.headers), body=body, now=now)
        except Forged as why:
            counts["forged"] += 1
            log.warning("callback_forged", gateway=gateway, why=str(why), bytes=len(body))
            return _plain("", 401)
        if not await self._published(gateway, body, request.headers, now):
            counts["not_confirmed"] += 1
            return PlainTextResponse("", 503, {"retry-after": str(RETRY_AFTER_S)})
        counts["accepted"] += 1
        return _plain("[accepted]", 200)

    async def health(self, _: Request) -> Response:
        """Tell whether callbacks can be taken in, and how many were."""
        is_up = self._post.is_up
        return JSONResponse(
            {"broker": "up" if is_up else "away", "callbacks": {g: dict(c) for g, c in self._counts.items()}},
            200 if is_up else 503,
        )

    async def close(self) -> None:
        """Let the verifiers' connections go."""
        for verifier in self._verifiers.values():
            await verifier.close()

    async def _published(self, gateway: str, body: bytes, headers: Mapping[str, str], now: datetime) -> bool:
        message = callback_message(gateway, body, headers, now)
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                return await self._post.send(message)
        except TimeoutError:
            return False


def callback_message(gateway: str, body: bytes, headers: Mapping[str, str], now: datetime) -> Outgoing:
    """Make the message; the same bytes from the same gateway give the same id."""
    traced = {name: headers[name][:255] for name in TRACED if name in headers}
    callback = GatewayCallbackReceived.of(gateway, body, headers=traced, received_at=now)
    message_id = f"{gateway}-{hashlib.sha256(body).hexdigest()[:40]}"
    type_name = GatewayCallbackReceived.__name__
    return Outgoing(
        exchange=GatewayCallbackReceived.exchange,
        routing_key=callback_routing_key(gateway),
        body=callback.model_dump_json().encode(),
        message_id=message_id,
        type=type_name,
        headers={
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": message_id,
            "cloudEvents_type": type_name,
            "cloudEvents_source": CALLBACK_SOURCE,
            "cloudEvents_time": rfc3339(now),
            "cloudEvents_dataschema": data_schema(type_name),
        },
        mandatory=True,
        receipt=uuid.uuid4(),
    )


def webhooks_app(ingestor: Ingestor) -> Starlette:
    """The two paths."""

    @asynccontextmanager
    async def until_the_end(_app: Starlette) -> AsyncIterator[None]:
        yield
        await ingestor.close()

    app = Starlette(
        routes=[
            Route("/webhooks/{gateway}", ingestor.take, methods=["POST"]),
            Route("/health", ingestor.health, methods=["GET"]),
        ],
        lifespan=until_the_end,
    )
    app.router.redirect_slashes = False  # a redirected POST would lose its body at some gateways
    return app


async def _body(request: Request) -> bytes:
    """Read the body in pieces, and no further than the limit, whatever its length is said to be."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > MAX_BODY:
        raise _TooLarge
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise _TooLarge
    return bytes(body)


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text, status)
