"""PaymentIntents: from created through confirmed, authenticated and captured, or canceled.

requires_payment_method → requires_confirmation → requires_action → processing → requires_capture → succeeded
and from each but processing and succeeded: canceled (docs.stripe.com/payments/paymentintents/lifecycle)
"""

from __future__ import annotations

from typing import Literal

from simulators.store import Json
from simulators.stripe import charges, refunds
from simulators.stripe.account import Account, Step
from simulators.stripe.cards import AUTHENTICATION_REQUIRED, GENERIC_DECLINE, Decline
from simulators.stripe.errors import CardDeclined, InvalidRequest, Refusal, unexpected_state
from simulators.stripe.new_intent import new_intent, three_d_secure_wish
from simulators.stripe.parameters import MAX_METADATA_KEYS, Params
from simulators.stripe.payment_methods import card_of, obtain

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")
ONLY_WITH_CONFIRM = ("error_on_requires_action", "mandate", "mandate_data", "off_session", "return_url")

AUTHENTICATION_FAILED = Decline(
    code="payment_intent_authentication_failure",
    message="We are unable to authenticate your payment method. "
    "Please choose a different payment method and try again.",
)


def create(account: Account, params: Params) -> Json:
    """Make an intent, and confirm it at once if asked. Raises InvalidRequest, CardDeclined."""
    if not params.get("confirm") and (early := [name for name in ONLY_WITH_CONFIRM if name in params]):
        raise InvalidRequest(f"The parameter {early[0]} can only be used with confirm=true.", param=early[0])
    if "customer" in params:
        account.get("customer", params["customer"], param="customer")
    intent = new_intent(account, params)
    if "payment_method" in params:
        intent |= {
            "payment_method": obtain(account, params["payment_method"]),
            "status": "requires_confirmation",
        }
    account.save(intent, event="payment_intent.created")
    return _confirm(account, intent, params) if params.get("confirm") else intent


def confirm(account: Account, id: str, params: Params) -> Json:
    """Try to pay. Raises Refusal for a wrong state, CardDeclined for a no."""
    intent = _get(account, id)
    _require(intent, CONFIRMABLE, "confirmed")
    if "payment_method" in params:
        intent["payment_method"] = obtain(account, params["payment_method"])
    intent["capture_method"] = params.get("capture_method", intent["capture_method"])
    return _confirm(account, intent, params)


def capture(account: Account, id: str, params: Params) -> Json:
    """Take what is authorized, all of it or `amount_to_capture`; the rest is let go unless more is to follow.

    Raises Refusal for a wrong state or more than is authorized.
    """
    intent = _get(account, id)
    _require(intent, ("requires_capture",), "captured")
    capturable: int = intent["amount_capturable"]
    amount: int = params.get("amount_to_capture", capturable)
    final = params.get("final_capture", True)
    if amount > capturable:
        raise Refusal(
            "The requested capture amount is greater than the amount you can capture for this charge.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    if not final and not intent["_multicapture"]:
        raise Refusal("This PaymentIntent does not support multicapture.", param="final_capture")
    metadata = {**intent["metadata"], **params.get("metadata", {})}
    if len(metadata) > MAX_METADATA_KEYS:
        raise InvalidRequest(f"You can have up to {MAX_METADATA_KEYS} keys in metadata.", param="metadata")
    charge = account.get("charge", intent["latest_charge"], param="charge")
    done = final or amount == capturable
    only = done and charge["amount_captured"] == 0
    # A single partial capture is booked in full and the rest reversed; see `balance.book_uncaptured_rest`.
    charges.captured(account, intent, charge, amount=amount, booked=capturable if only else amount)
    account.moved("capture", charge, amount=amount)
    intent["metadata"] = metadata
    intent["amount_received"] += amount
    intent["amount_capturable"] = 0 if done else capturable - amount
    if done and amount < capturable:
        refunds.release(account, charge, amount=capturable - amount, booked=only)
    if not done:
        return account.save(intent, event="payment_intent.amount_capturable_updated")
    intent["status"] = "succeeded"
    return account.save(intent, event="payment_intent.succeeded")


def cancel(account: Account, id: str, params: Params) -> Json:
    """Give the intent up, and let go of what it holds. Raises Refusal for a wrong state."""
    intent = _get(account, id)
    _require(intent, CANCELABLE, "canceled")
    return _cancel(account, intent, reason=params.get("cancellation_reason"))


def expire(account: Account, intent: Json) -> None:
    """Cancel an authorization that nobody captured in time."""
    if intent["status"] == "requires_capture":
        _cancel(account, intent, reason="automatic", refund_reason="expired_uncaptured_charge")
        account.happened("charge.expired", account.get("charge", intent["latest_charge"], param="charge"))


def authenticate(account: Account, intent: Json, decision: Literal["succeed", "fail"]) -> Json:
    """The customer came back from the bank's page. A link followed once more changes nothing."""
    if intent["status"] != "requires_action":
        return intent
    if decision == "fail":
        return _fail(account, intent, _error(account, intent, AUTHENTICATION_FAILED))
    try:
        return _submit(account, intent, authenticated=True)
    except CardDeclined as declined:
        refused: Json = declined.error["payment_intent"]
        return refused


def decide(account: Account, intent: Json, decision: Literal["succeed", "fail"]) -> None:
    """End an intent that is processing. Raises ValueError if it is not."""
    if intent["status"] != "processing":
        raise ValueError(f"the intent is {intent['status']}, not processing")
    charge = account.get("charge", intent["latest_charge"], param="charge")
    if decision == "succeed":
        _take(account, intent, charge)
        return
    charge |= {
        "status": "failed",
        "failure_code": GENERIC_DECLINE.code,
        "failure_message": GENERIC_DECLINE.message,
    }
    account.save(charge, event="charge.failed")
    _fail(account, intent, _error(account, intent, GENERIC_DECLINE, charge))


def finish_processing(account: Account, intent: Json) -> None:
    """End an intent the way its card says, if nobody has decided before."""
    if intent["status"] == "processing":
        _, card = card_of(account, intent["payment_method"])
        decide(account, intent, card.stays_processing_then or "succeed")


def _get(account: Account, id: str) -> Json:
    return account.get("payment_intent", id, param="intent", status=404)


def _require(intent: Json, statuses: tuple[str, ...], done: str) -> None:
    if intent["status"] not in statuses:
        raise unexpected_state(
            f"This PaymentIntent could not be {done} because it has a status of {intent['status']}. "
            f"Only a PaymentIntent with one of the following statuses may be {done}: {', '.join(statuses)}.",
            intent,
        )


def _confirm(account: Account, intent: Json, params: Params) -> Json:
    if intent["payment_method"] is None:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method.", intent
        )
    automatic = intent["automatic_payment_methods"]
    redirects = automatic and automatic["enabled"] and automatic["allow_redirects"] == "always"
    if redirects and "return_url" not in params:
        raise InvalidRequest(
            "This PaymentIntent is configured to accept payment methods that might redirect your customer "
            "off of your page, so you must provide a `return_url`. Or set `automatic_payment_methods"
            "[allow_redirects]` to `never`, or name `allowed_payment_method_types`.",
            param="return_url",
        )
    options = intent["payment_method_options"]["card"]
    options |= {"request_three_d_secure": three_d_secure_wish(params) or options["request_three_d_secure"]}
    is_asked_for = options["request_three_d_secure"] in ("any", "challenge")
    _, card = card_of(account, intent["payment_method"])
    if card.authenticates == "always" or (is_asked_for and card.decline is None):
        return _ask_for_authentication(account, intent, params)
    if card.authenticates == "when_asked_for":
        raise _declined(account, intent, AUTHENTICATION_REQUIRED)
    return _submit(account, intent, authenticated=False)


def _submit(account: Account, intent: Json, *, authenticated: bool) -> Json:
    """Ask the bank."""
    _, card = card_of(account, intent["payment_method"])
    intent["next_action"] = None
    if card.decline:
        raise _declined(account, intent, card.decline)
    if card.stays_processing_then:
        intent |= {"status": "processing", "latest_charge": charges.under_way(account, intent)["id"]}
        account.later(Step.FINISH_PROCESSING, intent["id"], in_s=account.settle_after_s)
        return account.save(intent, event="payment_intent.processing")
    return _pay(account, intent, authenticated=authenticated)


def _ask_for_authentication(account: Account, intent: Json, params: Params) -> Json:
    if params.get("off_session"):
        raise _declined(account, intent, AUTHENTICATION_REQUIRED)
    if params.get("error_on_requires_action"):
        error = _error(account, intent, AUTHENTICATION_REQUIRED)
        raise CardDeclined(error, _fail(account, intent, error))
    link = f"{account.executing.base_url}/3d_secure/{intent['id']}"
    if "return_url" in params:
        redirect = {"return_url": params["return_url"], "url": link}
        intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": redirect}
    else:
        sdk = {"type": "three_d_secure_redirect", "stripe_js": link}
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
    intent["status"] = "requires_action"
    return account.save(intent, event="payment_intent.requires_action")


def _pay(account: Account, intent: Json, *, authenticated: bool) -> Json:
    charge = charges.approved(account, intent, authenticated=authenticated)
    intent |= {"latest_charge": charge["id"], "next_action": None, "last_payment_error": None}
    return _take(account, intent, charge)


def _take(account: Account, intent: Json, charge: Json) -> Json:
    """The bank said yes: hold the money, or take it, as the intent says."""
    if intent["capture_method"] == "manual":
        charges.held(account, charge)
        account.moved("authorize", charge, amount=intent["amount"])
        account.later(Step.EXPIRE_AUTHORIZATION, intent["id"], in_s=charges.AUTHORIZATION_HOLDS_S)
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        return account.save(intent, event="payment_intent.amount_capturable_updated")
    charges.captured(account, intent, charge, amount=intent["amount"], booked=intent["amount"])
    account.moved("charge", charge, amount=intent["amount"])
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    return account.save(intent, event="payment_intent.succeeded")


def _declined(account: Account, intent: Json, decline: Decline) -> CardDeclined:
    charge = charges.declined(account, intent, decline)
    intent["latest_charge"] = charge["id"]
    error = _error(account, intent, decline, charge)
    return CardDeclined(error, _fail(account, intent, error))


def _fail(account: Account, intent: Json, error: Json) -> Json:
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": error,
    }
    return account.save(intent, event="payment_intent.payment_failed")


def _error(account: Account, intent: Json, decline: Decline, charge: Json | None = None) -> Json:
    method, _ = card_of(account, intent["payment_method"])
    error = {
        "type": "card_error" if decline is not AUTHENTICATION_FAILED else "invalid_request_error",
        "charge": charge["id"] if charge else None,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "advice_code": decline.advice_code,
        "network_decline_code": decline.network_decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
        "payment_method": method,
    }
    return {name: value for name, value in error.items() if value is not None}


def _cancel(account: Account, intent: Json, *, reason: str | None, refund_reason: str | None = None) -> Json:
    if intent["status"] == "requires_capture":
        charge = account.get("charge", intent["latest_charge"], param="charge")
        refunds.release(
            account, charge, amount=intent["amount_capturable"], booked=False, reason=refund_reason
        )
    intent |= {
        "status": "canceled",
        "amount_capturable": 0,
        "canceled_at": account.now(),
        "cancellation_reason": reason,
        "next_action": None,
    }
    return account.save(intent, event="payment_intent.canceled")
