"""The ingestor over HTTP: `POST /webhooks/{gateway}`, `GET /health` and `GET /metrics`, nothing else.

| answer | when                                                                                          |
|--------|-----------------------------------------------------------------------------------------------|
| 200    | the broker has confirmed it; Adyen's is `[accepted]`                                          |
| 401    | not signed by the gateway, changed, too old, or from the future: nothing more is said         |
| 404    | anything but the three paths, and gateways that are not set up                                |
| 405    | another method                                                                                |
| 408    | the body did not come in time                                                                 |
| 413    | more than 256 KiB                                                                             |
| 415    | not JSON                                                                                      |
| 500    | a fault of ours: the gateway sends it again                                                   |
| 503    | the broker has not confirmed it: the gateway sends it again                                   |

What a callback says is not looked at here: what is authentic and makes no sense is the worker's to sort out, for a
gateway that is told no may hold back all that comes after (Adyen does).
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import structlog
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from consumers.delivery import Outgoing
from gateways.notice import Forged, Verifier
from messages.callbacks import CALLBACK_SOURCE, GatewayCallbackReceived, callback_routing_key
from messages.card_data import find, redacted, redacted_body
from messages.envelope import data_schema, rfc3339
from webhooks.counts import Counts
from webhooks.metrics import IngestorCollector, ingestor_registry
from webhooks.post import Post

log = structlog.get_logger()

MAX_BODY = 256 * 1024
RETRY_AFTER_S = 30
FORGED_TOLD_MOST = 10
"""Lines about forged callbacks between two of the counts, for each gateway: anybody can send more."""
TRACED = ("user-agent", "paypal-transmission-id", "traceparent", "tracestate", "x-request-id")
"""Headers that go on with a callback. Never a signature, never a password."""


class _TooLarge(Exception):
    pass


class Ingestor:
    """Takes callbacks in, one method an endpoint."""

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        post: Post,
        now: Callable[[], datetime],
        *,
        body_within_s: float,
        confirm_within_s: float,
    ) -> None:
        self._verifiers = verifiers
        self._post = post
        self._now = now
        self._body_within_s = body_within_s
        self._confirm_within_s = confirm_within_s
        self._counts = Counts(verifiers)
        self._registry = ingestor_registry(IngestorCollector(self._counts, lambda: post.is_up))

    async def take(self, request: Request) -> Response:
        """Take one callback in."""
        gateway = request.path_params["gateway"]
        verifier = self._verifiers.get(gateway)
        if verifier is None:
            return _plain("no such gateway here", 404)
        self._counts.add(gateway, "received")
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            self._counts.add(gateway, "not_json")
            return _plain("application/json only", 415)
        try:
            async with asyncio.timeout(self._body_within_s):
                body = await _body(request)
        except _TooLarge:
            self._counts.add(gateway, "too_large")
            return _plain("too large", 413)
        except TimeoutError:
            self._counts.add(gateway, "too_slow")
            return _plain("too slow", 408)
        except ClientDisconnect:
            self._counts.add(gateway, "gone")
            return _plain("", 400)
        try:
            return await self._judged(gateway, verifier, body, request.headers)
        except Exception as error:
            # At the edge: its text could quote the body, so that only its kind is told.
            self._counts.add(gateway, "failed")
            log.error("callback_failed", gateway=gateway, kind=type(error).__name__, bytes=len(body))
            return _plain("", 500)

    async def health(self, _: Request) -> Response:
        """Tell whether callbacks can be taken in, and how many were."""
        is_up = self._post.is_up
        told = {"broker": "up" if is_up else "away", "callbacks": self._counts.by_gateway()}
        return JSONResponse(told, 200 if is_up else 503)

    async def metrics(self, request: Request) -> Response:
        """Tell the counts as Prometheus reads them."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), media_type=content_type)

    @asynccontextmanager
    async def at_work(self, *, counts_every_s: float) -> AsyncIterator[None]:
        """Tell the counts from time to time and at the end; then let the verifiers go."""
        teller = asyncio.create_task(self._tell_counts(counts_every_s))
        try:
            yield
        finally:
            teller.cancel()
            with suppress(asyncio.CancelledError):
                await teller
            self._counts.tell()
            for verifier in self._verifiers.values():
                await verifier.close()

    async def _tell_counts(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self._counts.tell()

    async def _judged(
        self, gateway: str, verifier: Verifier, body: bytes, headers: Mapping[str, str]
    ) -> Response:
        now = self._now()
        try:
            await verifier.verify(headers=dict(headers), body=body, now=now)
        except Forged as why:
            self._counts.add(gateway, "forged")
            if self._counts.untold(gateway, "forged") <= FORGED_TOLD_MOST:
                log.warning("callback_forged", gateway=gateway, why=str(why), bytes=len(body))
            return _plain("", 401)
        body = self._without_card_data(gateway, body)
        if not await self._published(callback_message(gateway, body, headers, now)):
            self._counts.add(gateway, "not_confirmed")
            return PlainTextResponse("", 503, {"retry-after": str(RETRY_AFTER_S)})
        self._counts.add(gateway, "accepted")
        return _plain("[accepted]", 200)

    def _without_card_data(self, gateway: str, body: bytes) -> bytes:
        """What the bus may carry. The gateway cannot mend its callback, and what it says of the money must get through:
        so a number is blanked out, the rest goes on, and a person is told (docs/runbook.md)."""
        hits = find(body)
        if not hits:
            return body
        self._counts.add(gateway, "card_data")
        log.error("card_data_blanked_out", gateway=gateway, field=hits[0].path)
        return redacted_body(body)

    async def _published(self, message: Outgoing) -> bool:
        try:
            async with asyncio.timeout(self._confirm_within_s):
                return await self._post.send(message)
        except TimeoutError:
            return False


def callback_message(gateway: str, body: bytes, headers: Mapping[str, str], now: datetime) -> Outgoing:
    """Make the message of a body without card data; the same bytes from the same gateway give the same id."""
    traced = {name: redacted(headers[name])[:255] for name in TRACED if name in headers}
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


def webhooks_app(ingestor: Ingestor, *, counts_every_s: float) -> Starlette:
    """The three paths."""
    app = Starlette(
        routes=[
            Route("/webhooks/{gateway}", ingestor.take, methods=["POST"]),
            Route("/health", ingestor.health, methods=["GET"]),
            Route("/metrics", ingestor.metrics, methods=["GET"]),
        ],
        lifespan=lambda _: ingestor.at_work(counts_every_s=counts_every_s),
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
