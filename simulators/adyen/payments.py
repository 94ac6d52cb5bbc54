"""Payments: answered at once, or after the customer has acted, or some time later by webhook alone.

A payment is `authorised`, `refused`, `cancelled`, `waiting` (Pending, Received) or `asking` (for the customer).
Of what is authorised, parts are `captured`, `released` and `refunded`.
"""

from __future__ import annotations

import secrets
from typing import Literal

from simulators.adyen.account import Account, Step
from simulators.adyen.cards import (
    AUTHENTICATION_FAILED,
    CARDS,
    DECLINED_LATER,
    NOT_AUTHENTICATED,
    REFUSALS,
    Asks,
    Card,
    Refusal,
)
from simulators.adyen.errors import Unprocessable, no_contract
from simulators.store import Json

AUTHORISATION_LASTS_S = 28 * 24 * 3600
TEST_CODE = "requestedtestacquirerresponsecode"
"""Adyen's own way to ask its test platform for a refusal, in `additionalData`; case does not matter."""


def pay(account: Account, body: Json) -> Json:
    """Try to pay. Raises Unprocessable for a token that is not there."""
    method = body["paymentMethod"]
    card = CARDS.get(method["storedPaymentMethodId"])
    if card is None or "shopperReference" not in body:
        raise no_contract()
    payment = _new(account, body)
    asks, wanted = _asks(card, body), _authentication(body).get("attemptAuthentication")
    refusal = _asked_for(body) or card.refusal
    if refusal is None and card.wants_authentication and wanted != "always":
        refusal = Refusal(code=NOT_AUTHENTICATED)
    if refusal is None and asks and (_is_off_session(body) or wanted == "never"):
        refusal = Refusal(code=NOT_AUTHENTICATED)
    if refusal is not None:
        return _refuse(account, payment, refusal)
    if asks:
        return _ask(account, payment, asks)
    if card.waits:
        payment |= {"state": "waiting", "result": card.waits}
        account.save("payment", payment, event=card.waits.upper())
        account.later(Step.FINISH_PAYMENT, payment["psp"], in_s=account.settle_after_s)
        return {"pspReference": payment["psp"], **_result(payment)}
    return _authorise(account, payment)


def follow_link(account: Account, psp: str, decision: Literal["succeed", "fail"]) -> Json:
    """The customer was at the bank: what the shop is sent back with. Nothing is paid before it hands that in."""
    payment = account.get("payment", psp)
    result = secrets.token_urlsafe(24)
    name = "threeDSResult" if payment["asks"] == "challenge" else "redirectResult"
    brought = {"psp": result, "payment": psp, "name": name, "decision": decision}
    account.save("redirect", brought, event="REDIRECTED")
    return {"name": name, "result": result, "return_url": payment["return_url"]}


def hand_in(account: Account, body: Json) -> Json:
    """POST /payments/details: what the customer came back with. Handed in again, it tells the same."""
    [(name, result)] = body["details"].items()
    redirect = account.find("redirect", result)
    if redirect is None or redirect["name"] != name:
        raise Unprocessable("Invalid payment details", code="14_005")
    payment = account.get("payment", redirect["payment"])
    if payment["state"] == "asking":
        return decide(account, payment, redirect["decision"])
    if payment["state"] == "cancelled":
        return _told(payment, Refusal(code="16", result_code="Cancelled"))
    return _told(payment, payment["refusal"] and Refusal(**payment["refusal"]))


def decide(account: Account, payment: Json, decision: Literal["succeed", "fail"]) -> Json:
    """End a payment that waits, or asks for its customer. Raises ValueError if it does neither."""
    match payment["state"], decision:
        case "waiting" | "asking", "succeed":
            return _authorise(account, payment)
        case "waiting", "fail":
            return _refuse(account, payment, Refusal(code=DECLINED_LATER))
        case "asking", "fail":
            return _refuse(account, payment, Refusal(code=AUTHENTICATION_FAILED))
        case state, _:
            raise ValueError(f"a payment that is {state} cannot {decision}")


def finish(account: Account, payment: Json) -> None:
    """End a payment as its card says, if nobody has before."""
    if payment["state"] == "waiting":
        decide(account, payment, CARDS[payment["token"]].then)


def capture_by_itself(account: Account, payment: Json) -> None:
    """The delay before automatic capture is over. No webhook: Adyen sends CAPTURE for those asked for."""
    if payment["state"] == "authorised" and (amount := open_amount(payment)):
        payment["captured"] += amount
        account.save("payment", payment, event="CAPTURED")
        account.moved("capture", payment, amount=amount)


def expire(account: Account, payment: Json) -> None:
    """Let go of what nobody captured in time."""
    if payment["state"] == "authorised" and (amount := open_amount(payment)):
        payment["released"] += amount
        payment["expired"] = True
        account.save("payment", payment, event="EXPIRED")
        account.moved("expire", payment, amount=amount)
        account.tell("EXPIRE", payment)


def open_amount(payment: Json) -> int:
    """What is authorised, and neither captured nor released."""
    amount: int = payment["amount"]["value"] - payment["captured"] - payment["released"]
    return amount


def _new(account: Account, body: Json) -> Json:
    more = body.get("additionalData", {})
    return {
        "psp": account.new_psp(),
        "reference": body["reference"],
        "amount": body["amount"],
        "token": body["paymentMethod"]["storedPaymentMethodId"],
        "state": "new",
        "result": "Received",
        "refusal": None,
        "captured": 0,
        "released": 0,
        "refunded": 0,
        "expired": False,
        "by_hand": more.get("manualCapture") == "true",
        "delay_hours": body.get("captureDelayHours", 0),
        "metadata": body.get("metadata", {}),
        "return_url": body["returnUrl"],
        "asks": None,
    }


def _asked_for(body: Json) -> Refusal | None:
    more = {name.lower(): value for name, value in body.get("additionalData", {}).items()}
    code = more.get(TEST_CODE)
    return Refusal(code=code) if code in REFUSALS else None


def _is_off_session(body: Json) -> bool:
    return body.get("recurringProcessingModel") in ("Subscription", "UnscheduledCardOnFile")


def _authentication(body: Json) -> Json:
    asked: Json = body.get("authenticationData", {})
    return asked


def _asks(card: Card, body: Json) -> Asks | None:
    """Whether and how the customer is asked: because of the card, or because the merchant wants it so."""
    asked = _authentication(body)
    if card.asks or asked.get("attemptAuthentication") != "always":
        return card.asks
    is_native = asked.get("threeDSRequestData", {}).get("nativeThreeDS") == "preferred"
    return "challenge" if is_native else "redirect"


def _ask(account: Account, payment: Json, how: Asks) -> Json:
    payment |= {
        "asks": how,
        "state": "asking",
        "result": "RedirectShopper" if how == "redirect" else "ChallengeShopper",
    }
    account.save("payment", payment, event="ASKED_CUSTOMER")
    # No pspReference yet: for such payments it is told by /payments/details (Checkout v72, PaymentResponse).
    return {**_result(payment), "action": _action(account, payment, how)}


def _action(account: Account, payment: Json, how: Asks) -> Json:
    url = f"{account.executing.base_url}/3ds/{payment['psp']}"
    if how == "redirect":
        return {"type": "redirect", "paymentMethodType": "scheme", "method": "GET", "url": url}
    return {
        "type": "threeDS2",
        "subtype": "challenge",
        "paymentMethodType": "scheme",
        "url": url,
        "token": secrets.token_urlsafe(48),
        "authorisationToken": secrets.token_urlsafe(48),
    }


def _authorise(account: Account, payment: Json) -> Json:
    card = CARDS[payment["token"]]
    payment |= {"state": "authorised", "result": "Authorised"}
    if card.part_of_amount:
        payment["result"] = "PartiallyAuthorised"
        payment["amount"] = {**payment["amount"], "value": max(payment["amount"]["value"] // 2, 1)}
    amount = payment["amount"]["value"]
    if payment["by_hand"] or payment["delay_hours"]:
        account.moved("authorise", payment, amount=amount)
        account.later(Step.EXPIRE, payment["psp"], in_s=AUTHORISATION_LASTS_S)
    else:
        payment["captured"] = amount
        account.moved("sale", payment, amount=amount)
        if card.fails_later == "capture":
            account.later(Step.UNDO, payment["psp"], in_s=account.settle_after_s)
    if payment["delay_hours"] and not payment["by_hand"]:
        account.later(Step.CAPTURE_BY_ITSELF, payment["psp"], in_s=payment["delay_hours"] * 3600)
    account.save("payment", payment, event="AUTHORISED")
    account.tell("AUTHORISATION", payment, reason="082338:1142:3/2030")
    return _told(payment, None)


def _refuse(account: Account, payment: Json, refusal: Refusal) -> Json:
    payment |= {
        "state": "refused",
        "result": refusal.result_code,
        "refusal": {"code": refusal.code, "result_code": refusal.result_code, "raw": refusal.raw},
    }
    account.save("payment", payment, event="REFUSED")
    account.tell("AUTHORISATION", payment, success=False, reason=refusal.reason)
    return _told(payment, refusal)


def _told(payment: Json, refusal: Refusal | None) -> Json:
    told = {"pspReference": payment["psp"], **_result(payment)}
    if refusal is None:
        if payment["state"] == "authorised":
            told |= {"amount": payment["amount"], "paymentMethod": {"brand": "visa", "type": "scheme"}}
        return told
    told |= {"refusalReason": refusal.reason, "refusalReasonCode": refusal.code}
    told["resultCode"] = refusal.result_code
    if refusal.raw:
        told["additionalData"] = {"refusalReasonRaw": refusal.raw}
    return told


def _result(payment: Json) -> Json:
    return {"resultCode": payment["result"], "merchantReference": payment["reference"]}


def card_of(payment: Json) -> Card:
    """What the payment was paid with."""
    return CARDS[payment["token"]]
