"""PayPal's API over HTTP: access tokens, which endpoint it is, and the headers of the answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlencode

from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from simulators.control import control_mount
from simulators.deliveries import webhook_routes
from simulators.faults import Ending
from simulators.paypal.by_hand import Action
from simulators.paypal.calls import Answer, Broken, Call
from simulators.paypal.errors import InvalidRequest, NotFound, PaypalError, Unauthorized
from simulators.paypal.notary import CERTIFICATE_PATH
from simulators.paypal.operations import OPERATIONS, Operation
from simulators.paypal.orders import PAYER_ID
from simulators.paypal.simulator import PaypalSimulator
from simulators.paypal.tokens import TOKEN_PATH
from simulators.serving import HangUp
from simulators.store import Json

BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>\r\n"

Endpoint = Callable[[Request], Awaitable[Response]]


def paypal_app(simulator: PaypalSimulator) -> Starlette:
    """Serve a simulator: the API, PayPal's page for the payer, and the control interface."""
    routes = (
        Route(operation.path, _endpoint(simulator, operation), methods=[operation.method])
        for operation in OPERATIONS
    )
    return Starlette(
        routes=[
            Route(TOKEN_PATH, _token_endpoint(simulator), methods=["POST"]),
            *routes,
            Route("/checkoutnow", _payer_page(simulator), methods=["GET"]),
            Route(CERTIFICATE_PATH, _certificate(simulator), methods=["GET"]),
            Route("/_control/webhooks/authority", _authority(simulator), methods=["GET"]),
            Route("/_control/by_hand", _by_hand(simulator), methods=["POST"]),
            *webhook_routes(simulator.office),
            control_mount(simulator),
        ]
    )


def _endpoint(simulator: PaypalSimulator, operation: Operation) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        debug_id = secrets.token_hex(7)
        try:
            if not simulator.tokens.are_good(request.headers.get("authorization", "")):
                raise Unauthorized()
            call = Call(
                operation=operation,
                path=request.url.path,
                object_id=request.path_params.get("id", ""),
                body=_body(await request.body()),
                request_id=request.headers.get("paypal-request-id"),
                wants_whole=request.headers.get("prefer") == "return=representation",
                debug_id=debug_id,
                base_url=str(request.base_url).rstrip("/"),
            )
        except PaypalError as error:
            return _response(Answer(status=error.status, body=error.body(debug_id)), debug_id)
        return _response(await simulator.answer(call), debug_id)

    return endpoint


def _token_endpoint(simulator: PaypalSimulator) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        debug_id = secrets.token_hex(7)
        form = parse_qs((await request.body()).decode())
        grant_type = form.get("grant_type", [None])[0]
        authorization = request.headers.get("authorization", "")
        return _response(await simulator.give_token(authorization, grant_type, debug_id), debug_id)

    return endpoint


def _payer_page(simulator: PaypalSimulator) -> Endpoint:
    async def page(request: Request) -> Response:
        id, decision = request.query_params.get("token", ""), request.query_params.get("decision", "succeed")
        if decision not in ("succeed", "fail"):
            return PlainTextResponse("decision is succeed or fail", status_code=400)
        try:
            order = simulator.payer_visits(id, "fail" if decision == "fail" else "succeed")
        except NotFound:
            return PlainTextResponse("there is no such order", status_code=404)
        back = order["_experience"].get("cancel_url" if decision == "fail" else "return_url")
        if back is None:
            return PlainTextResponse(f"The order is {order['status']}.")
        added = {"token": id} if decision == "fail" else {"token": id, "PayerID": PAYER_ID}
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}{urlencode(added)}", status_code=303)

    return page


def _certificate(simulator: PaypalSimulator) -> Endpoint:
    async def page(request: Request) -> Response:
        pem = simulator.notary.certificate(request.path_params["name"])
        return PlainTextResponse(pem or "", status_code=200 if pem else 404)

    return page


def _authority(simulator: PaypalSimulator) -> Endpoint:
    async def page(request: Request) -> Response:
        return JSONResponse({"pem": simulator.notary.authority})

    return page


class _ByHand(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: Action
    id: str
    value: str | None = None


def _by_hand(simulator: PaypalSimulator) -> Endpoint:
    async def page(request: Request) -> Response:
        try:
            asked = _ByHand.model_validate_json(await request.body())
            return JSONResponse(simulator.act_by_hand(asked.action, asked.id, asked.value))
        except ValueError as error:  # pydantic's is of this kind
            return JSONResponse({"error": str(error)}, status_code=400)

    return page


def _body(raw: bytes) -> Json | list[Json] | None:
    if not raw:
        return None
    try:
        body: Json | list[Json] = json.loads(raw)
    except ValueError as error:
        raise InvalidRequest("MALFORMED_REQUEST_JSON") from error
    return body


def _response(answer: Answer | Broken, debug_id: str) -> Response:
    headers = {"Paypal-Debug-Id": debug_id}
    match answer:
        case Broken(ending=Ending.HANG_UP):
            return HangUp()
        case Broken():
            return Response(BAD_GATEWAY, status_code=502, media_type="text/html", headers=headers)
        case Answer(body=None):
            return Response(status_code=answer.status, headers=headers)
        case Answer():
            return JSONResponse(answer.body, status_code=answer.status, headers=headers)
