"""Authorizations: money held for 29 days, then captured in one part or several, let go, or renewed once.

CREATED → PARTIALLY_CAPTURED → CAPTURED, or VOIDED by the merchant or by time; PENDING → CREATED or DENIED.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from simulators.paypal import captures
from simulators.paypal.amounts import checked, money, value_of
from simulators.paypal.errors import Unprocessable
from simulators.paypal.merchant import Merchant, Step
from simulators.paypal.requests import CaptureRequest, ReauthorizeRequest
from simulators.paypal.vault import APPROVED_CODE, Instrument
from simulators.store import Json

HOLDS_FOR_S = 29 * 24 * 3600
HONOURED_FOR_S = 3 * 24 * 3600
OVERAGE_SHARE, OVERAGE_MOST = Decimal("1.15"), Decimal(75)
"""How much more than is held may be captured in all: 115 %, at most 75 more; 75 US dollars at PayPal, 75 of
any currency here (developer.paypal.com/docs/api/payments/v2, MAX_CAPTURE_AMOUNT_EXCEEDED)."""
MAX_CAPTURES = 10  # from memory: PayPal says only that there is a maximum


def make(merchant: Merchant, order: Json, instrument: Instrument) -> Json:
    """Ask for the order's amount to be held."""
    unit = order["_unit"]
    authorization = _new(merchant, order["id"], unit["amount"], unit.get("custom_id"), unit.get("invoice_id"))
    if instrument.source == "card":
        authorization["_processor_response"] = captures.processor_response(instrument)
    if instrument.response_code != APPROVED_CODE:
        authorization["status"] = "DENIED"
        return merchant.save("authorization", authorization, event="PAYMENT.AUTHORIZATION.DENIED")
    if instrument.stays_pending_then:
        authorization |= {"status": "PENDING", "status_details": {"reason": "PENDING_REVIEW"}}
        merchant.later(Step.FINISH_PENDING, authorization["id"], in_s=merchant.settle_after_s)
        return merchant.save("authorization", authorization, event="PAYMENT.AUTHORIZATION.PENDING")
    return _held(merchant, authorization)


def capture(merchant: Merchant, id: str, request: CaptureRequest) -> Json:
    """Take what is held, or a part. Raises Unprocessable."""
    authorization = merchant.get("authorization", id)
    held = _root(merchant, authorization)
    _require_held(held)
    currency = held["amount"]["currency_code"]
    taken, asked = Decimal(held["_captured"]), value_of(held["amount"])
    amount = asked - taken
    if request.amount is not None:
        if request.amount.currency_code != currency:
            raise Unprocessable("AUTH_CAPTURE_CURRENCY_MISMATCH", field="/amount/currency_code")
        amount = checked(request.amount.model_dump(), "/amount")
    if taken + amount > min(asked * OVERAGE_SHARE, asked + OVERAGE_MOST):
        raise Unprocessable("MAX_CAPTURE_AMOUNT_EXCEEDED", field="/amount/value")
    if held["_captures"] >= MAX_CAPTURES:
        raise Unprocessable("MAX_CAPTURE_COUNT_EXCEEDED")
    merchant.use_invoice("capture", request.invoice_id)
    order = merchant.get("order", held["_order_id"])
    is_final = request.final_capture or taken + amount >= asked
    made = captures.make(
        merchant,
        order,
        captures.instrument_of(order),
        amount=money(amount, currency),
        invoice_id=request.invoice_id,
        authorization_id=id,
        is_final=request.final_capture,
    )
    if made["status"] != "DECLINED":
        held |= {"_captured": str(taken + amount), "_captures": held["_captures"] + 1}
        if is_final and taken + amount < asked:
            _release(merchant, held, asked - taken - amount)
        _set_status(merchant, held, "CAPTURED" if is_final else "PARTIALLY_CAPTURED", event=None)
    return made


def void(merchant: Merchant, id: str) -> Json:
    """Let go what is held, or what is left of it. Raises Unprocessable."""
    authorization = merchant.get("authorization", id)
    if authorization["_parent"]:
        raise Unprocessable("CANNOT_BE_VOIDED")
    if authorization["status"] == "VOIDED":
        raise Unprocessable("PREVIOUSLY_VOIDED")
    if authorization["status"] not in ("CREATED", "PARTIALLY_CAPTURED", "PENDING"):
        raise Unprocessable("PREVIOUSLY_CAPTURED")
    return _let_go(merchant, authorization)


def reauthorize(merchant: Merchant, id: str, request: ReauthorizeRequest) -> Json:
    """Hold the money anew, once, after the three days for which the bank honours a hold. Raises Unprocessable."""
    authorization = merchant.get("authorization", id)
    if authorization["_parent"] or authorization["_renewed_by"]:
        raise Unprocessable("REAUTHORIZATION_NOT_SUPPORTED")
    if authorization["status"] == "VOIDED":
        raise Unprocessable("AUTHORIZATION_VOIDED")
    if authorization["status"] != "CREATED":
        raise Unprocessable("AUTHORIZATION_ALREADY_CAPTURED")
    if merchant.clock.now() < authorization["_made_at"] + HONOURED_FOR_S:
        raise Unprocessable("TRANSACTION_REFUSED")
    asked = authorization["amount"]
    if request.amount is not None:
        if request.amount.currency_code != asked["currency_code"]:
            raise Unprocessable("AUTH_CURRENCY_MISMATCH", field="/amount/currency_code")
        value = checked(request.amount.model_dump(), "/amount")
        if value > min(value_of(asked) * OVERAGE_SHARE, value_of(asked) + OVERAGE_MOST):
            raise Unprocessable("TRANSACTION_REFUSED", field="/amount/value")
        asked = request.amount.model_dump()
    renewed = _new(
        merchant,
        authorization["_order_id"],
        asked,
        authorization.get("custom_id"),
        authorization.get("invoice_id"),
    )
    renewed |= {"_parent": id, "status": "CREATED", "expiration_time": authorization["expiration_time"]}
    authorization |= {"_renewed_by": renewed["id"], "amount": asked}
    merchant.save("authorization", authorization, event=None)
    return merchant.save("authorization", renewed, event="PAYMENT.AUTHORIZATION.CREATED")


def expire(merchant: Merchant, authorization: Json) -> None:
    """Let go what nobody captured in time. PayPal calls that VOIDED, too."""
    if authorization["status"] in ("CREATED", "PARTIALLY_CAPTURED") and not authorization["_parent"]:
        authorization["_expired"] = True
        _let_go(merchant, authorization)


def decide(merchant: Merchant, authorization: Json, decision: Literal["succeed", "fail"]) -> None:
    """End the review of a pending authorization. Raises ValueError if it is not pending."""
    if authorization["status"] != "PENDING":
        raise ValueError(f"the authorization is {authorization['status']}, not PENDING")
    del authorization["status_details"]
    if decision == "succeed":
        _held(merchant, authorization)
        return
    authorization["status"] = "DENIED"
    merchant.save("authorization", authorization, event="PAYMENT.AUTHORIZATION.DENIED")


def _new(
    merchant: Merchant, order_id: str, amount: Json, custom_id: str | None, invoice_id: str | None
) -> Json:
    ids = {"custom_id": custom_id, "invoice_id": invoice_id}
    return {
        "id": merchant.new_id(),
        "status": "CREATED",
        "amount": {name: amount[name] for name in ("currency_code", "value")},
        **{name: value for name, value in ids.items() if value is not None},
        "seller_protection": {
            "status": "ELIGIBLE",
            "dispute_categories": ["ITEM_NOT_RECEIVED", "UNAUTHORIZED_TRANSACTION"],
        },
        "expiration_time": merchant.time(in_s=HOLDS_FOR_S),
        "create_time": merchant.time(),
        "supplementary_data": {"related_ids": {"order_id": order_id}},
        "_order_id": order_id,
        "_parent": None,
        "_renewed_by": None,
        "_captured": "0",
        "_captures": 0,
        "_made_at": merchant.clock.now(),
        "_expired": False,
    }


def _held(merchant: Merchant, authorization: Json) -> Json:
    authorization["status"] = "CREATED"
    merchant.moved("authorize", authorization, authorization=authorization["id"])
    merchant.later(Step.EXPIRE_AUTHORIZATION, authorization["id"], in_s=HOLDS_FOR_S)
    return merchant.save("authorization", authorization, event="PAYMENT.AUTHORIZATION.CREATED")


def _let_go(merchant: Merchant, authorization: Json) -> Json:
    if authorization["status"] != "PENDING":
        left = value_of(authorization["amount"]) - Decimal(authorization["_captured"])
        _release(merchant, authorization, left)
    return _set_status(merchant, authorization, "VOIDED", event="PAYMENT.AUTHORIZATION.VOIDED")


def _release(merchant: Merchant, authorization: Json, value: Decimal) -> None:
    amount = money(value, authorization["amount"]["currency_code"])
    merchant.moved("release", authorization, amount=amount, authorization=authorization["id"])


def _root(merchant: Merchant, authorization: Json) -> Json:
    """The authorization that counts what was captured: of a renewed one, the first."""
    parent = authorization["_parent"]
    return merchant.get("authorization", parent) if parent else authorization


def _set_status(merchant: Merchant, authorization: Json, status: str, *, event: str | None) -> Json:
    if authorization["_renewed_by"]:
        renewed = merchant.get("authorization", authorization["_renewed_by"])
        merchant.save("authorization", {**renewed, "status": status}, event=event)
    return merchant.save("authorization", {**authorization, "status": status}, event=event)


def _require_held(authorization: Json) -> None:
    match authorization["status"]:
        case "CREATED" | "PARTIALLY_CAPTURED":
            return
        case "VOIDED" if authorization["_expired"]:
            raise Unprocessable("AUTHORIZATION_EXPIRED")
        case "VOIDED":
            raise Unprocessable("AUTHORIZATION_VOIDED")
        case "CAPTURED":
            raise Unprocessable("AUTHORIZATION_ALREADY_CAPTURED")
        case _:
            raise Unprocessable("AUTHORIZATION_DENIED")
