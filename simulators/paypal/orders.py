"""Orders: made, perhaps approved by the payer, and paid by one authorization or one capture.

CREATED → COMPLETED                               with a saved method, given when the order is completed
CREATED → PAYER_ACTION_REQUIRED → APPROVED → COMPLETED    with the payer's approval, or the cardholder's

PayPal itself does nothing when the payer has approved: the merchant must authorize or capture.
There is no call to cancel an order; one that is not completed is forgotten after three hours (from memory).
"""

from __future__ import annotations

from typing import Any, Literal

from simulators.paypal import authorizations, captures
from simulators.paypal.amounts import checked
from simulators.paypal.errors import InvalidRequest, NotFound, Unprocessable
from simulators.paypal.merchant import Merchant, Step
from simulators.paypal.requests import CompletionRequest, OrderRequest, PatchRequest, Source
from simulators.paypal.vault import WALLET_OF_A_PAYER, Instrument, instrument
from simulators.store import Json

OPEN_FOR_S = 3 * 3600
UNIT_PATH = "/purchase_units/@reference_id=='{}'/"
PATCHABLE = ("custom_id", "invoice_id", "description", "soft_descriptor", "amount")
PAYER_ID = "SMBUYER222222"


def create(merchant: Merchant, request: OrderRequest) -> Json:
    """Make an order; with a saved method, pay it at once. Raises PaypalError."""
    unit = request.purchase_units[0].model_dump(exclude_none=True)
    checked(unit["amount"], "/purchase_units/0/amount", decimals_issue="DECIMAL_PRECISION")
    source = request.payment_source
    if source and source.vault_id and merchant.executing.request_id is None:
        raise InvalidRequest("PAYPAL_REQUEST_ID_REQUIRED")
    order: Json = {
        "id": merchant.new_id(),
        "intent": request.intent,
        "status": "CREATED",
        "create_time": merchant.time(),
        "_unit": unit,
        "_vault_id": None,
        "_experience": {},
    }
    if source and source.vault_id:
        found = _instrument(source, unknown="PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED")
        return _pay_with(merchant, order, source, found)
    if source and source.paypal:
        _take_source(order, source, WALLET_OF_A_PAYER)
        order["status"] = "PAYER_ACTION_REQUIRED"
    merchant.later(Step.EXPIRE_ORDER, order["id"], in_s=OPEN_FOR_S)
    return merchant.save("order", order, event=None)


def complete(
    merchant: Merchant, id: str, request: CompletionRequest, intent: Literal["CAPTURE", "AUTHORIZE"]
) -> Json:
    """Authorize or capture an order. Raises PaypalError."""
    order = merchant.get("order", id)
    if order["intent"] != intent:
        wrong = {"AUTHORIZE": "ACTION_DOES_NOT_MATCH_INTENT", "CAPTURE": "INCOMPATIBLE_PARAMETER_VALUE"}
        raise Unprocessable(wrong[intent])
    if order["status"] == "COMPLETED":
        already = {"AUTHORIZE": "ORDER_ALREADY_AUTHORIZED", "CAPTURE": "ORDER_ALREADY_CAPTURED"}
        raise Unprocessable(already[intent])
    source = request.payment_source
    if source and source.vault_id:
        return _pay_with(merchant, order, source, _instrument(source, unknown="TOKEN_ID_NOT_FOUND"))
    if order["status"] != "APPROVED":
        raise Unprocessable("ORDER_NOT_APPROVED")
    return _pay(merchant, order, captures.instrument_of(order))


def patch(merchant: Merchant, id: str, request: PatchRequest) -> Json:
    """Change an order that is not completed. Raises Unprocessable, NotFound."""
    order = merchant.get("order", id)
    if order["status"] == "COMPLETED":
        raise Unprocessable("ORDER_ALREADY_COMPLETED")
    prefix = UNIT_PATH.format(order["_unit"]["reference_id"])
    for change in request.root:
        name = change.path.removeprefix(prefix)
        if name == change.path or name not in PATCHABLE:
            raise Unprocessable("NOT_PATCHABLE", field=change.path)
        if change.op == "remove":
            order["_unit"].pop(name, None)
        elif change.value is None:
            raise Unprocessable("PATCH_VALUE_REQUIRED", field=change.path)
        else:
            order["_unit"][name] = change.value
    return merchant.save("order", order, event=None)


def payer_decides(merchant: Merchant, order: Json, decision: Literal["succeed", "fail"]) -> Json:
    """The payer has seen PayPal's page, or the cardholder the bank's. A link followed once more changes nothing.

    A payer who turns away leaves the order as it is; a cardholder who fails is not asked again.
    """
    if order["status"] != "PAYER_ACTION_REQUIRED":
        return order
    is_card = "card" in order["payment_source"]
    if is_card:
        status, shift = ("Y", "POSSIBLE") if decision == "succeed" else ("N", "NO")
        order["payment_source"]["card"]["authentication_result"] = {
            "liability_shift": shift,
            "three_d_secure": {"authentication_status": status, "enrollment_status": "Y"},
        }
    if decision == "succeed":
        order["status"] = "APPROVED"
        return merchant.save("order", order, event="CHECKOUT.ORDER.APPROVED")
    if is_card:
        order["status"] = "CREATED"
    return merchant.save("order", order, event=None)


def expire(merchant: Merchant, order: Json) -> None:
    """Forget an order that nobody completed."""
    if order["status"] != "COMPLETED":
        merchant.forget("order", order["id"])


def read(merchant: Merchant, id: str) -> Json:
    """An order with its payments, as PayPal shows it. Raises NotFound."""
    order = merchant.find("order", id)
    if order is None:
        raise NotFound()
    payments: dict[str, Any] = {
        "authorizations": [_authorization(one) for one in merchant.of_order("authorization", id)],
        "captures": merchant.of_order("capture", id),
        "refunds": merchant.of_order("refund", id),
    }
    present = {kind: [_bare(one) for one in found] for kind, found in payments.items() if found}
    unit = {**order["_unit"], **({"payments": present} if present else {})}
    return {**order, "purchase_units": [unit], "links": _links(merchant, order)}


def payer_link(merchant: Merchant, order: Json, rel: str) -> Json:
    """Where the payer is sent; PayPal's several links for several sorts of payer are one here."""
    return merchant.link(rel, f"/checkoutnow?token={order['id']}")


def _instrument(source: Source, *, unknown: str) -> Instrument:
    assert source.vault_id is not None
    found = instrument(source.vault_id)
    if found is None:
        raise Unprocessable(unknown, field="/payment_source")
    if found.source != ("card" if source.card else "paypal"):
        raise Unprocessable("MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE", field="/payment_source")
    return found


def _pay_with(merchant: Merchant, order: Json, source: Source, instrument: Instrument) -> Json:
    verification = source.card.attributes.verification if source.card and source.card.attributes else None
    asks_cardholder = verification is not None and (
        instrument.wants == "three_d_secure" or verification.method == "SCA_ALWAYS"
    )
    merchant_starts = any(
        chosen and chosen.stored_credential and chosen.stored_credential.payment_initiator == "MERCHANT"
        for chosen in (source.card, source.paypal)
    )
    _take_source(order, source, instrument)
    if asks_cardholder:
        order["status"] = "PAYER_ACTION_REQUIRED"
        merchant.later(Step.EXPIRE_ORDER, order["id"], in_s=OPEN_FOR_S)
        return merchant.save("order", order, event=None)
    if instrument.wants == "payer_action":
        if merchant_starts:
            raise Unprocessable("PAYER_CANNOT_PAY")
        order["status"] = "PAYER_ACTION_REQUIRED"
        merchant.later(Step.EXPIRE_ORDER, order["id"], in_s=OPEN_FOR_S)
        merchant.save("order", order, event=None)
        raise Unprocessable("PAYER_ACTION_REQUIRED", links=[payer_link(merchant, order, "payer-action")])
    return _pay(merchant, order, instrument)


def _pay(merchant: Merchant, order: Json, instrument: Instrument) -> Json:
    if instrument.issue:
        raise Unprocessable(instrument.issue)
    unit = order["_unit"]
    merchant.use_invoice("order", unit.get("invoice_id"), field="/purchase_units/0/invoice_id")
    order |= {"status": "COMPLETED", "payer": {"payer_id": PAYER_ID, "email_address": "payer@example.com"}}
    merchant.save("order", order, event="CHECKOUT.ORDER.COMPLETED")
    if order["intent"] == "AUTHORIZE":
        authorizations.make(merchant, order, instrument)
    else:
        captures.make(
            merchant,
            order,
            instrument,
            amount=unit["amount"],
            invoice_id=unit.get("invoice_id"),
            is_final=True,
        )
    return order


def _take_source(order: Json, source: Source, instrument: Instrument) -> None:
    order["_vault_id"] = source.vault_id
    order["_experience"] = source.experience.model_dump(
        include={"return_url", "cancel_url"}, exclude_none=True
    )
    if instrument.source == "card":
        shown: Json = {
            "card": {"last_digits": "1111", "brand": "VISA", "type": "CREDIT", "expiry": "2034-12"}
        }
    else:
        shown = {"paypal": {"email_address": "payer@example.com", "account_id": PAYER_ID}}
        if source.vault_id:
            shown["paypal"]["account_status"] = "VERIFIED"
    order["payment_source"] = shown


def _authorization(authorization: Json) -> Json:
    """In an order, and only there, PayPal shows what the bank answered to an authorization."""
    response = authorization.get("_processor_response")
    return {**authorization, "processor_response": response} if response else authorization


def _bare(payment: Json) -> Json:
    return {name: value for name, value in payment.items() if name != "supplementary_data"}


def _links(merchant: Merchant, order: Json) -> list[Json]:
    links = [merchant.link("self", f"/v2/checkout/orders/{order['id']}")]
    if order["status"] == "PAYER_ACTION_REQUIRED":
        links.append(payer_link(merchant, order, "payer-action"))
    elif order["status"] == "CREATED":
        links.append(payer_link(merchant, order, "approve"))
    if order["status"] in ("CREATED", "APPROVED"):
        verb = order["intent"].lower()
        links.append(merchant.link("update", f"/v2/checkout/orders/{order['id']}", "PATCH"))
        links.append(merchant.link(verb, f"/v2/checkout/orders/{order['id']}/{verb}", "POST"))
    return links
