"""Adyen's API over HTTP: who may call, which endpoint it is, and the headers of the answer.

Beside what every simulator offers (`simulators.control`, `simulators.deliveries`), the control interface has here:

| call                     | does                                                                               |
|--------------------------|------------------------------------------------------------------------------------|
| `POST /_control/by_hand` | acts as somebody in the customer area: `{payment, action, amount}`, with `capture`, |
|                          | `cancel` or `refund`; answers `{pspReference}`                                     |
| `POST /_control/undo`    | lets what succeeded fail after all: `{reference, event}`, with `CAPTURE_FAILED`,   |
|                          | `REFUND_FAILED` or `REFUNDED_REVERSED`                                             |

Payments and modifications go by their pspReference or by their merchant reference.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from simulators.adyen import errors
from simulators.adyen.errors import AdyenError
from simulators.adyen.modifications import ByHand, Failure
from simulators.adyen.operations import OPERATIONS, Operation
from simulators.adyen.simulator import AdyenSimulator, Answer, Broken, Call
from simulators.control import control_mount
from simulators.deliveries import webhook_routes
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
            *webhook_routes(simulator.office),
            *_own_control(simulator),
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
        if back["name"] == "threeDSResult":  # there is no browser with Adyen's component in it
            return JSONResponse({"details": {back["name"]: back["result"]}})
        url = back["return_url"]
        joint = "&" if "?" in url else "?"
        return RedirectResponse(f"{url}{joint}{urlencode({back['name']: back['result']})}", status_code=303)

    return page


class _ByHand(BaseModel):
    model_config = ConfigDict(extra="forbid")

    payment: str
    action: ByHand
    amount: int | None = Field(default=None, gt=0)


class _Undo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference: str
    event: Failure


def _own_control(simulator: AdyenSimulator) -> list[Route]:
    async def by_hand(request: Request) -> object:
        asked = _ByHand.model_validate_json(await request.body())
        return {"pspReference": simulator.by_hand(asked.payment, asked.action, asked.amount)}

    async def undo(request: Request) -> object:
        asked = _Undo.model_validate_json(await request.body())
        simulator.undo(asked.reference, asked.event)
        return {}

    return [
        Route("/_control/by_hand", _as_json(by_hand), methods=["POST"]),
        Route("/_control/undo", _as_json(undo), methods=["POST"]),
    ]


def _as_json(answer: Callable[[Request], Awaitable[object]]) -> Page:
    async def page(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except ValueError as error:  # pydantic's are of this kind
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
