"""Captures, cancellations, refunds: received with 201 at once, executed later, and told by webhook alone.

Whether there is anything to capture, to let go or to give back is looked at when it is executed.
"""

from __future__ import annotations

from typing import Literal

from simulators.adyen.account import Account, Step
from simulators.adyen.cards import Modification
from simulators.adyen.payments import card_of, open_amount
from simulators.store import Json

NOT_ENOUGH = "Insufficient balance on payment"
NOT_CAPTURED = "Transaction hasn't been captured, refund not possible"
NOT_AUTHORISED = "Transaction is not authorised"
ALREADY_CAPTURED = "Transaction has been captured, cancel not possible"
ALREADY_GONE = "Transaction has been cancelled or has expired"
NOT_FOUND = "Original transaction not found"
REFUSED = "Refused by the simulator, as its card asks"

EVENTS = {
    "capture": "CAPTURE",
    "cancel": "CANCELLATION",
    "refund": "REFUND",
    "reversal": "CANCEL_OR_REFUND",
    "technical_cancel": "TECHNICAL_CANCEL",
}
Kind = Literal["capture", "cancel", "refund", "reversal"]
ByHand = Literal["capture", "cancel", "refund"]
Failure = Literal["CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED"]


def receive(account: Account, psp: str, body: Json, *, kind: Kind) -> Json:
    """Take a modification of a payment. Raises Unprocessable if there is no such payment."""
    payment = account.get("payment", psp)
    modification = _received(account, kind, body, payment=payment["psp"])
    receipt = {"paymentPspReference": payment["psp"], **_receipt(account, modification)}
    if "amount" in body:
        receipt["amount"] = body["amount"]
    if body.get("merchantRefundReason"):
        receipt["merchantRefundReason"] = body["merchantRefundReason"]
    return receipt


def receive_technical_cancel(account: Account, body: Json) -> Json:
    """Take a cancellation by the merchant's own reference, whether there is such a payment or not."""
    reference = body["paymentReference"]
    cancel = _received(account, "technical_cancel", body, payment_reference=reference)
    return {"paymentReference": reference, **_receipt(account, cancel)}


def execute(account: Account, modification: Json, decision: Literal["succeed", "fail"] = "succeed") -> None:
    """Do what was asked, or find that it cannot be done, and tell. What is done already is not done again."""
    if modification["state"] != "received":
        return
    if modification["kind"] == "technical_cancel":
        _cancel_by_reference(account, modification, decision)
        return
    payment = account.get("payment", modification["payment"])
    kind = modification["kind"]
    if kind == "reversal":
        kind = "refund" if payment["captured"] else "cancel"
    reason = REFUSED if decision == "fail" else _why_not(payment, modification, kind)
    if not reason:
        _do(account, payment, modification, kind)
        modification["did"] = {"capture": "captured", "refund": "refunded"}.get(kind, "canceled")
    _done(account, modification, reason)
    more = {"modification.action": kind} if modification["kind"] == "reversal" else None
    account.tell(
        EVENTS[modification["kind"]],
        payment,
        success=not reason,
        reason=reason,
        modification=modification,
        more=more,
    )
    if not reason and card_of(payment).fails_later == kind:
        account.later(Step.UNDO, modification["psp"], in_s=account.settle_after_s)


def by_hand(account: Account, payment: Json, kind: ByHand, amount: int | None) -> str:
    """Take a modification from the customer area; it is told of by the payment's own merchant reference."""
    value = payment["amount"]["value"] if amount is None else amount
    body = {} if kind == "cancel" else {"amount": {**payment["amount"], "value": value}}
    psp: str = _received(account, kind, body, payment=payment["psp"])["psp"]
    return psp


def undo_as_its_card_says(account: Account, psp: str) -> None:
    """What succeeded turns out not to have; a reference of a payment means a sale."""
    modification = account.find("modification", psp)
    payment = account.get("payment", modification["payment"] if modification else psp)
    event = card_of(payment).later_event
    assert event is not None, "only cards that ask for it come here"
    if modification is None:
        undo_sale(account, payment, event)
    elif modification["state"] == "done":  # else somebody was faster
        undo(account, modification, event)


def undo(account: Account, modification: Json, event: Failure) -> None:
    """The card scheme rejected a capture or refund, or the money came back. Raises ValueError if it never went."""
    payment = account.get("payment", modification.get("payment", ""))
    side = "captured" if event == "CAPTURE_FAILED" else "refunded"
    if modification["state"] != "done" or modification["did"] != side:
        raise ValueError(f"{modification['psp']} is no modification that can end as {event}")
    modification["state"] = "undone"
    account.save("modification", modification, event=event)
    _take_back(account, payment, event, modification)


def undo_sale(account: Account, payment: Json, event: Failure) -> None:
    """A payment that captured by itself turns out not to be captured. Raises ValueError if it was not."""
    if event != "CAPTURE_FAILED" or not payment["captured"]:
        raise ValueError(f"{payment['psp']} is no payment that can end as {event}")
    amount = {**payment["amount"], "value": payment["captured"]}
    capture: Json = {"psp": account.new_psp(), "reference": None, "amount": amount}
    _take_back(account, payment, event, capture)


def _take_back(account: Account, payment: Json, event: Failure, modification: Json) -> None:
    side = "captured" if event == "CAPTURE_FAILED" else "refunded"
    amount = (modification["amount"] or {**payment["amount"], "value": payment[side]})["value"]
    payment[side] -= amount
    operation = "capture_failed" if event == "CAPTURE_FAILED" else "refund_failed"
    account.moved(operation, payment, amount=amount, modification=modification)
    account.save("payment", payment, event=event)
    account.tell(event, payment, modification=modification, reason=f"{event} by the simulator")


def _received(account: Account, kind: str, body: Json, **names: str) -> Json:
    modification: Json = {
        "psp": account.new_psp(),
        "kind": kind,
        "reference": body.get("reference"),
        "amount": body.get("amount"),
        "state": "received",
        "did": None,
        "idempotency_key": account.executing.idempotency_key,
        **names,
    }
    account.save("modification", modification, event=f"{EVENTS[kind]}_RECEIVED")
    account.later(Step.EXECUTE, modification["psp"], in_s=account.settle_after_s)
    return modification


def _receipt(account: Account, modification: Json) -> Json:
    receipt = {"merchantAccount": account.code, "pspReference": modification["psp"], "status": "received"}
    return receipt | ({"reference": modification["reference"]} if modification["reference"] else {})


def _why_not(payment: Json, modification: Json, kind: Modification) -> str:
    """Why a modification cannot be done; empty if it can."""
    if card_of(payment).refuses == kind:
        return REFUSED
    if payment["state"] != "authorised":
        return NOT_AUTHORISED
    if kind == "cancel":
        return ALREADY_CAPTURED if payment["captured"] else "" if open_amount(payment) else ALREADY_GONE
    if kind == "refund" and not payment["captured"]:
        return NOT_CAPTURED
    asked = modification["amount"] or {**payment["amount"], "value": payment["captured"]}
    left = open_amount(payment) if kind == "capture" else payment["captured"] - payment["refunded"]
    if asked["currency"] != payment["amount"]["currency"] or asked["value"] > left:
        return NOT_ENOUGH
    return ""


def _do(account: Account, payment: Json, modification: Json, kind: Modification) -> None:
    match kind:
        case "capture":
            amount = modification["amount"]["value"]
            payment["captured"] += amount
            account.moved("capture", payment, amount=amount, modification=modification)
            if not account.many_captures:
                _release(account, payment, modification, "release")
        case "cancel":
            _release(account, payment, modification, "cancel")
        case "refund":
            amount = (modification["amount"] or {"value": payment["captured"] - payment["refunded"]})["value"]
            payment["refunded"] += amount
            account.moved("refund", payment, amount=amount, modification=modification)
    account.save("payment", payment, event=f"{kind.upper()}_DONE")


def _release(account: Account, payment: Json, modification: Json, operation: str) -> None:
    if amount := open_amount(payment):
        payment["released"] += amount
        account.moved(operation, payment, amount=amount, modification=modification)


def _done(account: Account, modification: Json, reason: str) -> None:
    modification["state"] = "refused" if reason else "done"
    account.save("modification", modification, event=f"{EVENTS[modification['kind']]}_ENDED")


def _cancel_by_reference(account: Account, cancel: Json, decision: Literal["succeed", "fail"]) -> None:
    """Cancel every payment of that reference; one that still asks for its customer comes to nothing."""
    payments = account.payments_of(cancel["payment_reference"])
    reasons = []
    for payment in payments:
        if payment["state"] in ("waiting", "asking"):
            payment |= {"state": "cancelled", "result": "Cancelled"}
            account.save("payment", payment, event="CANCELLED")
            reasons.append("")
            continue
        reason = REFUSED if decision == "fail" else _why_not(payment, cancel, "cancel")
        if not reason:
            _do(account, payment, cancel, "cancel")
        reasons.append(reason)
    # One that was refused holds nothing; another under the same reference decides.
    reason = "" if "" in reasons else (reasons or [NOT_FOUND])[-1]
    _done(account, cancel, reason)
    account.tell_of_technical_cancel(cancel, payments[-1] if payments else None, reason=reason)
