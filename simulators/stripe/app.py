"""Stripe's API over HTTP: who may call, which endpoint it is, and the headers of the answer.

Beside what every simulator offers (`simulators.control`, `simulators.deliveries`), the control interface has here:

| call                       | does                                                                               |
|----------------------------|------------------------------------------------------------------------------------|
| `POST /_control/dashboard` | acts as a person in the dashboard does: `{action, payment_intent, amount}`, with   |
|                            | `capture`, `cancel` or `refund`; gives the object                                  |
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from simulators.control import control_mount
from simulators.deliveries import webhook_routes
from simulators.faults import Ending
from simulators.serving import HangUp
from simulators.stripe.dashboard import Action
from simulators.stripe.errors import InvalidRequest, StripeError, bad_key, unknown_url
from simulators.stripe.forms import decode
from simulators.stripe.operations import OPERATIONS, Operation
from simulators.stripe.simulator import Answer, Broken, Call, StripeSimulator
from simulators.stripe.webhooks import API_VERSION

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>\r\n"
)

Endpoint = Callable[[Request], Awaitable[Response]]


def stripe_app(simulator: StripeSimulator, *, api_key: str) -> Starlette:
    """Serve a simulator: the API, the page of the bank, and the control interface."""
    return Starlette(
        routes=[
            *(
                Route(operation.path, _endpoint(simulator, operation, api_key), methods=[operation.method])
                for operation in OPERATIONS
            ),
            Route("/v1/{rest:path}", _nowhere, methods=METHODS),
            Route("/3d_secure/{id}", _bank_page(simulator), methods=["GET"]),
            *webhook_routes(simulator.office),
            Route("/_control/dashboard", _dashboard(simulator), methods=["POST"]),
            control_mount(simulator),
        ]
    )


def _endpoint(simulator: StripeSimulator, operation: Operation, api_key: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        request_id = f"req_{secrets.token_hex(8)}"
        try:
            _authenticate(request, api_key)
            sent = request.url.query if operation.method == "GET" else (await request.body()).decode()
            call = Call(
                operation=operation,
                path=request.url.path,
                object_id=request.path_params.get("id", ""),
                form=decode(sent),
                idempotency_key=request.headers.get("idempotency-key"),
                request_id=request_id,
                base_url=str(request.base_url).rstrip("/"),
            )
        except StripeError as error:
            return _response(request, request_id, Answer(status=error.status, body=error.body))
        match await simulator.answer(call):
            case Answer() as answer:
                return _response(request, request_id, answer)
            case Broken(ending=Ending.HANG_UP):
                return HangUp()
            case Broken():
                return Response(BAD_GATEWAY, status_code=502, media_type="text/html")

    return endpoint


async def _nowhere(request: Request) -> Response:
    error = unknown_url(request.method, request.url.path)
    return JSONResponse(error.body, status_code=error.status)


def _bank_page(simulator: StripeSimulator) -> Endpoint:
    async def page(request: Request) -> Response:
        decision = request.query_params.get("decision", "succeed")
        if decision not in ("succeed", "fail"):
            return PlainTextResponse("decision is succeed or fail", status_code=400)
        try:
            end = simulator.follow_3d_secure_link(
                request.path_params["id"], "fail" if decision == "fail" else "succeed"
            )
        except InvalidRequest as error:
            return PlainTextResponse(str(error), status_code=error.status)
        intent, return_url = end["intent"], end["return_url"]
        if return_url is None:
            return PlainTextResponse(f"The payment is {intent['status']}.")
        # docs.stripe.com/payments/3d-secure/authentication-flow: what is added to return_url
        added = {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": "failed" if intent["last_payment_error"] else "succeeded",
        }
        joint = "&" if "?" in return_url else "?"
        return RedirectResponse(f"{return_url}{joint}{urlencode(added)}", status_code=303)

    return page


class _Action(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: Action
    payment_intent: str
    amount: int | None = None


def _dashboard(simulator: StripeSimulator) -> Endpoint:
    async def page(request: Request) -> Response:
        try:
            asked = _Action.model_validate_json(await request.body())
            done = simulator.in_dashboard(asked.action, asked.payment_intent, amount=asked.amount)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(done)

    return page


def _authenticate(request: Request, api_key: str) -> None:
    authorization = request.headers.get("authorization", "")
    scheme, _, sent = authorization.partition(" ")
    if scheme.lower() == "basic":
        sent = _user_of(sent)
    if not secrets.compare_digest(sent.encode(), api_key.encode()):
        raise bad_key(authorization)
    version = request.headers.get("stripe-version", API_VERSION)
    if version != API_VERSION:
        raise InvalidRequest(f"Invalid Stripe API version: {version}")


def _user_of(basic: str) -> str:
    try:
        return base64.b64decode(basic, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _response(request: Request, request_id: str, answer: Answer) -> Response:
    headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
    if key := request.headers.get("idempotency-key"):
        headers["Idempotency-Key"] = key
    if answer.original_request is not None:
        headers |= {"Original-Request": answer.original_request, "Idempotent-Replayed": "true"}
    # A repeat that would only hear the kept answer again is no use; one that met a conflict is.
    if answer.status == 409:
        headers["Stripe-Should-Retry"] = "true"
    elif answer.original_request is not None and answer.status >= 500:
        headers["Stripe-Should-Retry"] = "false"
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)
