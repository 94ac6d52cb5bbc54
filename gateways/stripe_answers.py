"""What Stripe's answers and failures mean, in our endings: declines, payment intents, refunds, errors.

Rules: `stripe.py` asks, this module only reads. No message, body or parameter value of Stripe's is passed on,
as they may quote a token; only its machine words and request ids are.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import stripe

from gateways.exponents import STRIPE_UNITS
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    DeclineReason,
    Firmness,
    NextAction,
    NotSent,
    Operation,
    Outcome,
    Pending,
    Unknown,
)
from gateways.stripe_codes import CAPTURE_MARK, DECLINE_TABLE, LAPSED, NOTHING_TO_REFUND, REFUND_FAILED
from gateways.stripe_http import never_left
from messages.money import Money

# --- payment intents ---------------------------------------------------------------------------------


def read_payment(intent: stripe.PaymentIntent, operation: Operation) -> Outcome | Absent:
    """What an intent says about the authorization or sale it stands for."""
    match intent.status:
        case "succeeded":
            held_once = operation is Operation.AUTHORIZE
            return _approved(intent, intent.amount if held_once else intent.amount_received)
        case "requires_capture" if operation is Operation.AUTHORIZE:
            return _approved(intent, intent.amount_capturable, capture_before=_capture_before(intent))
        case "processing":
            return Pending(reference=intent.id)
        case "requires_action":
            return ActionRequired(reference=intent.id, action=_next_action(intent))
        case "canceled":
            return _canceled(intent)
        case "requires_payment_method" if getattr(intent, "last_payment_error", None):
            return _decline(intent.last_payment_error, intent.id)
        case "requires_payment_method" | "requires_confirmation":
            return Absent(detail="the intent was not confirmed", reference=intent.id)
        case _:
            return _unheard_of(intent)


def read_confirmation(intent: stripe.PaymentIntent, operation: Operation) -> Outcome:
    """What the answer to a confirmation says; one that leaves the intent unconfirmed makes no sense."""
    ending = read_payment(intent, operation)
    return _unheard_of(intent) if isinstance(ending, Absent) else ending


def read_capture(intent: stripe.PaymentIntent, attempt_id: str) -> Outcome | Absent:
    """What an intent says about one attempt to capture it."""
    match intent.status:
        case "succeeded" if _captured_by(intent) == attempt_id:
            return _approved(intent, intent.amount_received)
        case "succeeded" if _captured_by(intent) is not None:
            return _refused(
                intent, DeclineReason.DUPLICATE
            )  # a hold is captured once: it was another attempt
        case "succeeded":
            return Unknown(detail="captured, and nothing says by whom", reference=intent.id)
        case "requires_capture":
            return Absent(detail="not captured", reference=intent.id)
        case "processing":
            return Pending(reference=intent.id)
        case "canceled":
            return _canceled(intent)
        case _:
            return _unheard_of(intent)


def refused_capture(intent: stripe.PaymentIntent, attempt_id: str) -> Outcome:
    """What is true when Stripe refuses a capture because of the intent's state, which it sends along."""
    match read_capture(intent, attempt_id):
        case Unknown() if intent.status == "succeeded":
            return _refused(intent, DeclineReason.DUPLICATE)
        case Absent() | Unknown():
            return _unheard_of(intent)
        case ending:
            return ending


def read_void(intent: stripe.PaymentIntent, expected: Money) -> Outcome | Absent:
    """What an intent says about an attempt to cancel it; a canceled one has let go what was expected.

    One that had lapsed was not let go by us: there was nothing left to cancel.
    """
    match intent.status:
        case "canceled" if getattr(intent, "cancellation_reason", None) in LAPSED:
            return _canceled(intent)
        case "canceled":
            return Approved(reference=intent.id, amount=expected)
        case "succeeded":
            return _refused(intent, DeclineReason.OTHER)
        case "processing" | "requires_capture" | "requires_action":
            return Absent(detail="not canceled", reference=intent.id)
        case "requires_confirmation" | "requires_payment_method":
            return Absent(detail="not canceled", reference=intent.id)
        case _:
            return _unheard_of(intent)


def refused_void(intent: stripe.PaymentIntent) -> Outcome:
    """What is true when Stripe refuses to cancel: the money was taken, or the hold is gone already."""
    if intent.status == "canceled":
        return _canceled(intent)
    if intent.status in {"succeeded", "processing"}:
        return _refused(intent, DeclineReason.OTHER)
    return _unheard_of(intent)


def _approved(intent: stripe.PaymentIntent, wire: int, capture_before: datetime | None = None) -> Approved:
    amount = STRIPE_UNITS.from_wire(wire, intent.currency)
    return Approved(reference=intent.id, amount=amount, capture_before=capture_before)


def _captured_by(intent: stripe.PaymentIntent) -> str | None:
    mark: str | None = getattr(intent.metadata, CAPTURE_MARK, None)
    return mark


def _capture_before(intent: stripe.PaymentIntent) -> datetime | None:
    """When the hold ends, if the charge was sent along (`expand`)."""
    ends_at = _part(intent, "latest_charge.payment_method_details.card.capture_before")
    return datetime.fromtimestamp(ends_at, UTC) if isinstance(ends_at, int) else None


def _next_action(intent: stripe.PaymentIntent) -> NextAction:
    redirect = getattr(intent.next_action, "redirect_to_url", None)
    if url := getattr(redirect, "url", None):
        return NextAction(kind="redirect", url=url)
    return NextAction(kind="sdk", client_secret=intent.client_secret)


def _canceled(intent: stripe.PaymentIntent) -> Declined:
    lapsed = getattr(intent, "cancellation_reason", None) in LAPSED
    return _refused(intent, DeclineReason.EXPIRED if lapsed else DeclineReason.CANCELED)


def _refused(intent: stripe.PaymentIntent, reason: DeclineReason) -> Declined:
    return Declined(
        reason=reason, firmness=Firmness.HARD, code=f"payment_intent_{intent.status}", reference=intent.id
    )


def _unheard_of(intent: stripe.PaymentIntent) -> Unknown:
    return Unknown(detail=f"the intent is {_word(intent.status)}, unexpected here", reference=intent.id)


# --- refunds -----------------------------------------------------------------------------------------


def read_refund(refund: stripe.Refund) -> Outcome:
    """What a refund says about itself."""
    match refund.status:
        case "succeeded":
            amount = STRIPE_UNITS.from_wire(refund.amount, refund.currency)
            return Approved(reference=refund.id, amount=amount)
        case "pending" | "requires_action":  # the action is asked of the customer by Stripe's own e-mail
            return Pending(reference=refund.id)
        case "failed" | "canceled":
            code = _word(getattr(refund, "failure_reason", None) or refund.status)
            reason, firmness = REFUND_FAILED.get(code, (DeclineReason.NOT_REFUNDABLE, Firmness.HARD))
            return Declined(reason=reason, firmness=firmness, code=code, reference=refund.id)
        case status:
            return Unknown(detail=f"the refund is {_word(status)}, unexpected here", reference=refund.id)


def read_refund_by_id(refund: stripe.Refund, parent: str | None) -> Outcome | Absent:
    """What a refund says that is known by its id alone: it may be no refund of ours, or none at all."""
    if parent is not None and _part(refund, "payment_intent") not in (None, parent):
        return Unknown(detail="the refund is of another payment", reference=refund.id)
    if _let_a_hold_go(refund):
        return Absent(detail="what was held was let go, and nothing given back", reference=refund.id)
    return read_refund(refund)


def _let_a_hold_go(refund: stripe.Refund) -> bool:
    """Whether it is how Stripe writes down that what was held will not be captured; of `expand`ed parts."""
    booked_as = _part(refund, "balance_transaction.reporting_category")
    return _part(refund, "charge.captured") is False or booked_as == "partial_capture_reversal"


# --- failures ----------------------------------------------------------------------------------------


def read_failure(error: Exception, reference: str | None = None) -> Outcome:
    """What is true when the SDK raised: the one place that decides between NotSent, Declined and Unknown.

    Anything not listed is Unknown, such as an answer that cannot be read, or a saved 500 that is replayed.
    An idempotency error is Unknown too: this call did nothing, but it proves that Stripe has seen another
    call under the same attempt id, which may have moved money. A look-up tells.
    """
    match error:
        case stripe.APIConnectionError() if never_left(error):
            return NotSent(detail=f"not connected ({type(error.__cause__).__name__})", retryable=True)
        case stripe.CardError():
            return _decline(error.error, reference)
        case stripe.RateLimitError() | stripe.AuthenticationError() | stripe.PermissionError():
            # A wrong key is for a person to mend; the payment can wait for that.
            return NotSent(detail=_described(error), retryable=True)
        case stripe.InvalidRequestError(code="amount_too_large" | "amount_too_small" as code):
            return Declined(
                reason=DeclineReason.LIMIT_OR_AMOUNT, firmness=Firmness.SOFT, code=code, reference=reference
            )
        case stripe.InvalidRequestError():
            return NotSent(detail=_described(error), retryable=False)
        case stripe.APIConnectionError():
            return Unknown(detail=f"the line broke ({type(error.__cause__).__name__})", reference=reference)
        case stripe.StripeError():
            return Unknown(detail=_described(error), reference=reference)
        case TimeoutError():
            return Unknown(detail="no whole answer in time", reference=reference)
        case _:
            return Unknown(detail=f"the answer cannot be read ({type(error).__name__})", reference=reference)


def read_refund_failure(error: Exception, reference: str | None) -> Outcome:
    """As `read_failure`; that nothing is left to give back is a definite no."""
    if isinstance(error, stripe.InvalidRequestError) and (
        error.code in NOTHING_TO_REFUND or error.param == "amount"
    ):
        code = _word(error.code or "amount")
        return Declined(
            reason=DeclineReason.NOT_REFUNDABLE, firmness=Firmness.HARD, code=code, reference=None
        )
    return read_failure(error, reference)


def intent_in(error: Exception) -> stripe.PaymentIntent | None:
    """The intent Stripe sends along when it refuses a call because of the intent's state."""
    if isinstance(error, stripe.InvalidRequestError) and error.code == "payment_intent_unexpected_state":
        intent = getattr(error.error, "payment_intent", None)
        return intent if isinstance(intent, stripe.PaymentIntent) else None
    return None


def _decline(said: object, reference: str | None) -> Declined:
    """Read a card error: its decline code if the table has it, else its code; advice may make it firmer."""
    codes = [_word(code) for name in ("decline_code", "code") if (code := getattr(said, name, None))]
    code = codes[0] if codes else "unknown"
    other = (DeclineReason.OTHER, Firmness.SOFT)
    reason, firmness = next((DECLINE_TABLE[known] for known in codes if known in DECLINE_TABLE), other)
    if getattr(said, "advice_code", None) == "do_not_try_again" and firmness is not Firmness.HARD:
        reason, firmness = DeclineReason.DO_NOT_RETRY, Firmness.HARD
    return Declined(reason=reason, firmness=firmness, code=code, reference=reference)


def _described(error: stripe.StripeError) -> str:
    """Status, machine words and request id; never Stripe's sentence, which may quote what we sent."""
    words = (getattr(error.error, name, None) for name in ("type", "code", "param"))
    parts = [f"HTTP {error.http_status}", *(_word(word) for word in words if word)]
    if error.request_id:
        parts.append(_word(error.request_id))
    return " ".join(parts)


def _part(item: object, path: str) -> object:
    """What is there; None if a step of the path is missing, or an id that was not expanded."""
    for name in path.split("."):
        item = getattr(item, name, None)
    return item


def _word(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,64}", text) else "unreadable"
