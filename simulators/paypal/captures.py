"""Captures and their refunds: money taken, at once or later, and given back, at once, later or not after all.

Capture: COMPLETED, DECLINED, or PENDING until decided; then PARTIALLY_REFUNDED, REFUNDED; or FAILED, if PayPal
takes it back.
Refund: COMPLETED, or PENDING until decided; FAILED, even after it was COMPLETED.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Literal

from simulators.paypal.amounts import breakdown, checked, money, value_of
from simulators.paypal.errors import Unprocessable
from simulators.paypal.merchant import Merchant, Step
from simulators.paypal.requests import RefundRequest
from simulators.paypal.vault import (
    APPROVED_CODE,
    WALLET_OF_A_PAYER,
    WANTS_AUTHENTICATION_CODE,
    Instrument,
    instrument,
)
from simulators.store import Json

REFUNDABLE_FOR_S = 180 * 24 * 3600
"""From memory; the OpenAPI files name only the issue REFUND_TIME_LIMIT_EXCEEDED."""


def instrument_of(order: Json) -> Instrument:
    """What an order was paid with; a bank that wants its cardholder asked is content once that was done."""
    vault_id = order["_vault_id"]
    found = (instrument(vault_id) if vault_id else None) or WALLET_OF_A_PAYER
    shown = order.get("payment_source", {}).get("card", {})
    was_asked = shown.get("authentication_result", {}).get("liability_shift") == "POSSIBLE"
    if was_asked and found.response_code == WANTS_AUTHENTICATION_CODE:
        return replace(found, response_code=APPROVED_CODE)
    return found


def processor_response(instrument: Instrument) -> Json:
    """What the bank of a card answered."""
    response = {"avs_code": "Y", "cvv_code": "M", "response_code": instrument.response_code}
    return {**response, "payment_advice_code": instrument.advice_code} if instrument.advice_code else response


def make(
    merchant: Merchant,
    order: Json,
    instrument: Instrument,
    *,
    amount: Json,
    invoice_id: str | None,
    is_final: bool,
    authorization_id: str | None = None,
) -> Json:
    """Take money, of a hold or without one."""
    ids = {"custom_id": order["_unit"].get("custom_id"), "invoice_id": invoice_id}
    related = {"order_id": order["id"], "authorization_id": authorization_id}
    capture: Json = {
        "id": merchant.new_id(),
        "status": "COMPLETED",
        "amount": {name: amount[name] for name in ("currency_code", "value")},
        "final_capture": is_final,
        **{name: value for name, value in ids.items() if value is not None},
        "create_time": merchant.time(),
        "supplementary_data": {"related_ids": {name: id for name, id in related.items() if id is not None}},
        "_order_id": order["id"],
        "_operation": "capture" if authorization_id else "sale",
        "_refunded": "0",
        "_made_at": merchant.clock.now(),
    }
    if instrument.source == "card" and authorization_id is None:
        capture["processor_response"] = processor_response(instrument)
    if instrument.response_code != APPROVED_CODE:
        capture["status"] = "DECLINED"
        return merchant.save("capture", capture, event="PAYMENT.CAPTURE.DECLINED")
    if instrument.stays_pending_then and authorization_id is None:
        capture |= {"status": "PENDING", "status_details": {"reason": "PENDING_REVIEW"}}
        merchant.later(Step.FINISH_PENDING, capture["id"], in_s=merchant.settle_after_s)
        return merchant.save("capture", capture, event="PAYMENT.CAPTURE.PENDING")
    return _taken(merchant, capture)


def decide(merchant: Merchant, capture: Json, decision: Literal["succeed", "fail"]) -> None:
    """End a pending capture, or take back one that was completed. Raises ValueError if it is beyond that.

    Under which status PayPal shows a capture that it took back is not known; FAILED is one of those there are.
    """
    if capture["status"] == "COMPLETED" and decision == "fail":
        authorization = capture["supplementary_data"]["related_ids"].get("authorization_id")
        ids = {"authorization": authorization} if authorization else {}
        merchant.moved("capture_failed", capture, capture=capture["id"], **ids)
        merchant.save("capture", {**capture, "status": "FAILED"}, event="PAYMENT.CAPTURE.REVERSED")
        return
    if capture["status"] != "PENDING":
        raise ValueError(f"the capture is {capture['status']}, not PENDING")
    del capture["status_details"]
    if decision == "succeed":
        _taken(merchant, capture)
        return
    capture["status"] = "DECLINED"
    merchant.save("capture", capture, event="PAYMENT.CAPTURE.DENIED")


def refund(merchant: Merchant, capture_id: str, request: RefundRequest) -> Json:
    """Give back what was captured, or a part. Raises Unprocessable."""
    capture = merchant.get("capture", capture_id)
    currency = capture["amount"]["currency_code"]
    left = value_of(capture["amount"]) - Decimal(capture["_refunded"])
    _require_refundable(merchant, capture, left)
    value = left
    if request.amount is not None:
        if request.amount.currency_code != currency:
            raise Unprocessable("REFUND_CAPTURE_CURRENCY_MISMATCH", field="/amount/currency_code")
        value = checked(request.amount.model_dump(), "/amount")
    if value > left:
        raise Unprocessable("REFUND_AMOUNT_EXCEEDED", field="/amount/value")
    merchant.use_invoice("refund", request.invoice_id)
    amount, how = money(value, currency), instrument_of(merchant.get("order", capture["_order_id"])).refunds
    ids = request.model_dump(include={"custom_id", "invoice_id", "note_to_payer"}, exclude_none=True)
    made: Json = {
        "id": merchant.new_id(),
        "status": "PENDING" if how == "pend" else "COMPLETED",
        "amount": amount,
        **ids,
        "create_time": merchant.time(),
        "_order_id": capture["_order_id"],
        "_capture_id": capture_id,
    }
    _set_refunded(merchant, capture, by=value)
    made["seller_payable_breakdown"] = {
        "gross_amount": amount,
        "net_amount": amount,
        "total_refunded_amount": money(Decimal(capture["_refunded"]), currency),
    }
    if how != "succeed":
        merchant.later(Step.FINISH_REFUND, made["id"], in_s=merchant.settle_after_s)
    if how == "pend":
        made["status_details"] = {"reason": "ECHECK"}
        return merchant.save("refund", made, event="PAYMENT.REFUND.PENDING")
    merchant.moved("refund", made, capture=capture_id, refund=made["id"])
    return merchant.save("refund", made, event="PAYMENT.CAPTURE.REFUNDED")


def decide_refund(merchant: Merchant, refund: Json, decision: Literal["succeed", "fail"]) -> None:
    """End a pending refund, or let one that was completed fail. Raises ValueError if it is beyond that."""
    capture = merchant.get("capture", refund["_capture_id"])
    refund.pop("status_details", None)
    match refund["status"], decision:
        case "PENDING", "succeed":
            refund["status"] = "COMPLETED"
            merchant.moved("refund", refund, capture=capture["id"], refund=refund["id"])
            merchant.save("refund", refund, event="PAYMENT.CAPTURE.REFUNDED")
        case "PENDING" | "COMPLETED" as before, "fail":
            refund["status"] = "FAILED"
            if before == "COMPLETED":
                merchant.moved("refund_failed", refund, capture=capture["id"], refund=refund["id"])
            _set_refunded(merchant, capture, by=-value_of(refund["amount"]))
            merchant.save("refund", refund, event="PAYMENT.REFUND.FAILED")
        case status, _:
            raise ValueError(f"a refund that is {status} cannot {decision}")


def finish_refund(merchant: Merchant, refund: Json) -> None:
    """End a refund the way its payment method says, if nobody has decided before."""
    how = instrument_of(merchant.get("order", refund["_order_id"])).refunds
    if how == "fail_later" and refund["status"] == "COMPLETED":
        decide_refund(merchant, refund, "fail")
    elif how == "pend" and refund["status"] == "PENDING":
        decide_refund(merchant, refund, "succeed")


def _taken(merchant: Merchant, capture: Json) -> Json:
    capture |= {
        "status": "COMPLETED",
        "seller_protection": {
            "status": "ELIGIBLE",
            "dispute_categories": ["ITEM_NOT_RECEIVED", "UNAUTHORIZED_TRANSACTION"],
        },
        "seller_receivable_breakdown": breakdown(capture["amount"]),
    }
    authorization = capture["supplementary_data"]["related_ids"].get("authorization_id")
    ids = {"authorization": authorization} if authorization else {}
    merchant.moved(capture["_operation"], capture, capture=capture["id"], **ids)
    return merchant.save("capture", capture, event="PAYMENT.CAPTURE.COMPLETED")


def _require_refundable(merchant: Merchant, capture: Json, left: Decimal) -> None:
    if capture["status"] == "PENDING":
        raise Unprocessable("PENDING_CAPTURE")
    if capture["status"] in ("DECLINED", "FAILED"):
        raise Unprocessable("REFUND_NOT_ALLOWED")
    if merchant.clock.now() > capture["_made_at"] + REFUNDABLE_FOR_S:
        raise Unprocessable("REFUND_TIME_LIMIT_EXCEEDED")
    if left == 0:
        raise Unprocessable("CAPTURE_FULLY_REFUNDED")


def _set_refunded(merchant: Merchant, capture: Json, *, by: Decimal) -> None:
    refunded = Decimal(capture["_refunded"]) + by
    status = "PARTIALLY_REFUNDED" if refunded else "COMPLETED"
    if refunded == value_of(capture["amount"]):
        status = "REFUNDED"
    capture |= {"_refunded": str(refunded), "status": status}
    merchant.save("capture", capture, event=None)
