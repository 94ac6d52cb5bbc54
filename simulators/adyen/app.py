"""Adyen's API over HTTP: who may call, which endpoint it is, and the headers of the answer.

Beside what every simulator offers (`simulators.control`), the control interface has here:

| call                               | does                                                                |
|------------------------------------|---------------------------------------------------------------------|
| `GET /_control/webhooks`           | every webhook, first to last: `{id, at, item, body, deliveries}`    |
| `GET /_control/webhooks/endpoint`  | tells where webhooks go, and how                                    |
| `POST /_control/webhooks/endpoint` | changes some of that: see `simulators.adyen.webhooks.Endpoint`      |
| `POST /_control/webhooks/again`    | delivers some once more, in this order: `{ids}`                     |
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from simulators.adyen import errors
from simulators.adyen.errors import AdyenError
from simulators.adyen.operations import OPERATIONS, Operation
from simulators.adyen.simulator import AdyenSimulator, Answer, Broken, Call
from simulators.adyen.webhooks import Endpoint
from simulators.control import control_mount
from simulators.faults import Ending
from simulators.serving import HangUp
from simulators.store import Json

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>\r\n"
)

Page = Callable[[Request], Awaitable[Response]]


def adyen_app(simulator: AdyenSimulator, *, api_key: str) -> Starlette:
    """Serve a simulator: the API, the page of the bank, and the control interface."""
    return Starlette(
        routes=[
            *(
                Route(operation.path, _endpoint(simulator, operation, api_key), methods=["POST"])
                for operation in OPERATIONS
            ),
            Route("/3ds/{psp}", _bank_page(simulator), methods=["GET"]),
            Mount("/_control/webhooks", routes=_webhook_routes(simulator)),
            control_mount(simulator),
            Route("/{rest:path}", _nowhere, methods=METHODS),
        ]
    )


def _endpoint(simulator: AdyenSimulator, operation: Operation, api_key: str) -> Page:
    async def endpoint(request: Request) -> Response:
        try:
            if not secrets.compare_digest(request.headers.get("x-api-key", "").encode(), api_key.encode()):
                raise errors.unauthorized()
            call = Call(
                operation=operation,
                path=request.url.path,
                psp=request.path_params.get("psp", ""),
                body=_decoded(await request.body()),
                idempotency_key=request.headers.get("idempotency-key"),
                base_url=str(request.base_url).rstrip("/"),
            )
        except AdyenError as error:
            return JSONResponse(error.body, status_code=error.status)
        match await simulator.answer(call):
            case Answer() as answer:
                return _response(request, answer)
            case Broken(ending=Ending.HANG_UP):
                return HangUp()
            case Broken():
                return Response(BAD_GATEWAY, status_code=502, media_type="text/html")

    return endpoint


async def _nowhere(request: Request) -> Response:
    error = errors.unknown_url()
    return JSONResponse(error.body, status_code=error.status)


def _bank_page(simulator: AdyenSimulator) -> Page:
    async def page(request: Request) -> Response:
        decision = request.query_params.get("decision", "succeed")
        if decision not in ("succeed", "fail"):
            return PlainTextResponse("decision is succeed or fail", status_code=400)
        try:
            back = simulator.follow_3ds_link(
                request.path_params["psp"], "fail" if decision == "fail" else "succeed"
            )
        except AdyenError as error:
            return PlainTextResponse(str(error), status_code=error.status)
        url = back["return_url"]
        joint = "&" if "?" in url else "?"
        added = urlencode({"redirectResult": back["redirect_result"]})
        return RedirectResponse(f"{url}{joint}{added}", status_code=303)

    return page


class _Again(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[str]


def _webhook_routes(simulator: AdyenSimulator) -> list[Route]:
    shelf = simulator.shelf

    async def webhooks(request: Request) -> object:
        return shelf.all()

    async def endpoint(request: Request) -> object:
        if request.method == "POST":
            changed = {**shelf.endpoint.model_dump(), **_decoded(await request.body())}
            shelf.set_endpoint(Endpoint(**changed))
            simulator.courier.wake()
        return shelf.endpoint.model_dump()

    async def again(request: Request) -> object:
        asked = _Again.model_validate_json(await request.body())
        for id in asked.ids:
            shelf.get(id)
            shelf.done_with(id)
            shelf.wait(id, not_before=simulator.clock.now())
        simulator.courier.wake()
        return {}

    return [
        Route("/", _as_json(webhooks), methods=["GET"]),
        Route("/endpoint", _as_json(endpoint), methods=["GET", "POST"]),
        Route("/again", _as_json(again), methods=["POST"]),
    ]


def _as_json(answer: Callable[[Request], Awaitable[object]]) -> Page:
    async def page(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except (ValidationError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except AdyenError as error:
            return JSONResponse({"error": str(error)}, status_code=error.status)

    return page


def _decoded(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise errors.unreadable("Unable to parse the request") from error
    if not isinstance(body, dict):
        raise errors.unreadable("Unable to parse the request")
    return body


def _response(request: Request, answer: Answer) -> Response:
    headers = {}
    if key := request.headers.get("idempotency-key"):
        headers["Idempotency-Key"] = key
    if answer.is_transient:
        headers["transient-error"] = "true"
    if psp := answer.body.get("pspReference"):
        headers["pspReference"] = psp
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)
