"""The endpoints: what each takes, what runs, and how its result is shown, in short or in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from simulators.paypal import authorizations, captures, orders
from simulators.paypal.idempotency import ORDERS_KEPT_FOR_S, PAYMENTS_KEPT_FOR_S
from simulators.paypal.merchant import Merchant
from simulators.paypal.requests import (
    CaptureRequest,
    CompletionRequest,
    OrderRequest,
    PatchRequest,
    ReauthorizeRequest,
    RefundRequest,
    VoidRequest,
)
from simulators.store import Json

Kind = Literal["order", "authorization", "capture", "refund"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint."""

    verb: str
    method: str
    path: str
    kind: Kind
    """What comes of it."""
    run: Callable[[Merchant, str, Any], Json]
    takes: type[BaseModel] | None = None
    kept_for_s: int | None = None
    """How long a PayPal-Request-Id counts; None: not at all."""
    status: int = 200
    replayed_status: int = 200
    minimal_status: int | None = None
    """Instead of `status`, and without a body, unless the whole representation is preferred."""
    is_silent: bool = False
    """204, whatever is preferred."""


def shown(merchant: Merchant, kind: Kind, id: str, *, whole: bool) -> Json:
    """A resource as PayPal shows it: whole, or its id, status and links. Raises NotFound."""
    if kind == "order":
        order = public(orders.read(merchant, id))
        brief = {name: order[name] for name in ("id", "status", "payment_source", "links") if name in order}
        payments = order["purchase_units"][0].get("payments")
        if payments and not whole:
            unit = order["purchase_units"][0]
            brief["purchase_units"] = [{"reference_id": unit["reference_id"], "payments": payments}]
        return order if whole else brief
    found = merchant.get(kind, id)
    linked = {**public(found), "links": _links(merchant, kind, found)}
    return linked if whole else {name: linked[name] for name in ("id", "status", "links")}


def public(value: Any) -> Any:
    """The value without what the simulator keeps to itself."""
    if isinstance(value, dict):
        return {key: public(inner) for key, inner in value.items() if not key.startswith("_")}
    return [public(inner) for inner in value] if isinstance(value, list) else value


def _links(merchant: Merchant, kind: Kind, found: Json) -> list[Json]:
    path = f"/v2/payments/{kind}s/{found['id']}"
    links = [merchant.link("self", path)]
    match kind:
        case "authorization" if found["status"] in ("CREATED", "PARTIALLY_CAPTURED"):
            links += [merchant.link(verb, f"{path}/{verb}", "POST") for verb in ("capture", "void")]
        case "capture" if found["status"] in ("COMPLETED", "PARTIALLY_REFUNDED"):
            links.append(merchant.link("refund", f"{path}/refund", "POST"))
        case "refund":
            links.append(merchant.link("up", f"/v2/payments/captures/{found['_capture_id']}"))
        case _:
            pass
    return links


def _reads(kind: Kind) -> Callable[[Merchant, str, Any], Json]:
    return lambda merchant, id, request: merchant.get(kind, id)


ORDER = "/v2/checkout/orders/{id}"
AUTHORIZATION = "/v2/payments/authorizations/{id}"
CAPTURE = "/v2/payments/captures/{id}"

OPERATIONS = (
    Operation(
        verb="create",
        method="POST",
        path="/v2/checkout/orders",
        kind="order",
        takes=OrderRequest,
        run=lambda merchant, id, request: orders.create(merchant, request),
        kept_for_s=ORDERS_KEPT_FOR_S,
        status=201,
    ),
    Operation(verb="get_order", method="GET", path=ORDER, kind="order", run=_reads("order")),
    Operation(
        verb="patch_order",
        method="PATCH",
        path=ORDER,
        kind="order",
        takes=PatchRequest,
        run=orders.patch,
        is_silent=True,
    ),
    Operation(
        verb="authorize_order",
        method="POST",
        path=f"{ORDER}/authorize",
        kind="order",
        takes=CompletionRequest,
        run=lambda merchant, id, request: orders.complete(merchant, id, request, "AUTHORIZE"),
        kept_for_s=ORDERS_KEPT_FOR_S,
        status=201,
    ),
    Operation(
        verb="capture_order",
        method="POST",
        path=f"{ORDER}/capture",
        kind="order",
        takes=CompletionRequest,
        run=lambda merchant, id, request: orders.complete(merchant, id, request, "CAPTURE"),
        kept_for_s=ORDERS_KEPT_FOR_S,
        status=201,
    ),
    Operation(
        verb="get_authorization",
        method="GET",
        path=AUTHORIZATION,
        kind="authorization",
        run=_reads("authorization"),
    ),
    Operation(
        verb="capture",
        method="POST",
        path=f"{AUTHORIZATION}/capture",
        kind="capture",
        takes=CaptureRequest,
        run=authorizations.capture,
        kept_for_s=PAYMENTS_KEPT_FOR_S,
        status=201,
        replayed_status=201,
    ),
    Operation(
        verb="void",
        method="POST",
        path=f"{AUTHORIZATION}/void",
        kind="authorization",
        takes=VoidRequest,
        run=lambda merchant, id, request: authorizations.void(merchant, id),
        kept_for_s=PAYMENTS_KEPT_FOR_S,
        minimal_status=204,
    ),
    Operation(
        verb="reauthorize",
        method="POST",
        path=f"{AUTHORIZATION}/reauthorize",
        kind="authorization",
        takes=ReauthorizeRequest,
        run=authorizations.reauthorize,
        kept_for_s=PAYMENTS_KEPT_FOR_S,
        status=201,
        replayed_status=201,
    ),
    Operation(verb="get_capture", method="GET", path=CAPTURE, kind="capture", run=_reads("capture")),
    Operation(
        verb="refund",
        method="POST",
        path=f"{CAPTURE}/refund",
        kind="refund",
        takes=RefundRequest,
        run=captures.refund,
        kept_for_s=PAYMENTS_KEPT_FOR_S,
        status=201,
        replayed_status=201,
    ),
    Operation(
        verb="get_refund", method="GET", path="/v2/payments/refunds/{id}", kind="refund", run=_reads("refund")
    ),
)
"""Every endpoint but the one for access tokens."""
