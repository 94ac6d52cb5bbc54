"""What Adyen's answers and errors mean: from payments, receipts and exceptions to the endings of the protocol.

Money comes back as Adyen says it, never as we asked; what cannot be read is Unknown, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from Adyen import AdyenError

from gateways.adyen_codes import LOST_OR_STOLEN, NEVER_AGAIN, NO_SUCH_TOKEN, REFUSAL_TABLE
from gateways.adyen_http import LineBroke, never_left
from gateways.adyen_references import of_capture
from gateways.exponents import ADYEN_UNITS
from gateways.protocol import (
    ActionRequired,
    Approved,
    Declined,
    DeclineReason,
    Firmness,
    NextAction,
    NotSent,
    Outcome,
    Pending,
    Unknown,
)
from messages.money import Money

IN_PROGRESS = "704"
"""`errorCode` of a call that came while another under the same key was still being processed
(docs.adyen.com/development-resources/api-idempotency)."""

# --- payments ----------------------------------------------------------------------------------------


def read_payment(said: Mapping[str, Any], asked: Money, ours: str) -> Outcome:
    """What the answer to POST /payments says; `ours` is our own reference, by which Adyen finds it too."""
    if said.get("merchantReference", ours) != ours:
        return Unknown(detail="the answer is about another payment", reference=ours)
    reference = _psp(said) or ours
    match said.get("resultCode"):
        case "Authorised" | "PartiallyAuthorised" if reference == ours:
            return Unknown(detail="authorised, and no pspReference told", reference=ours)
        case "Authorised":
            return _authorised(said, asked, reference)
        case "PartiallyAuthorised":
            if "amount" in said:
                return Approved(reference=reference, amount=_amount(said))
            return Unknown(detail="authorised in part, and not said how much", reference=reference)
        case "Refused" | "Error":
            return _refused(said, reference)
        case "Cancelled":
            reason = DeclineReason.CANCELED_BY_CUSTOMER
            return Declined(reason=reason, firmness=Firmness.SOFT, code="Cancelled", reference=reference)
        case "Pending" | "Received":
            return Pending(reference=reference)
        case "RedirectShopper" | "IdentifyShopper" | "ChallengeShopper" | "PresentToShopper":
            # Our reference, as the payment may yet get another pspReference when the customer has acted.
            return ActionRequired(reference=ours, action=_next_action(said))
        case code:
            return Unknown(detail=f"the result code is {_word(code)}, unexpected here", reference=reference)


def read_details(said: Mapping[str, Any], asked: Money, ours: str) -> Outcome:
    """What the answer to POST /payments/details says.

    It must name our payment: what the customer brought back may be that of another, cheaper one.
    """
    if said.get("merchantReference") != ours:
        return Unknown(detail="what the customer brought back is of another payment", reference=ours)
    return read_payment(said, asked, ours)


def _authorised(said: Mapping[str, Any], asked: Money, reference: str) -> Outcome:
    # The amount is optional in the answer. Authorised means all that was asked, part of it has its own code.
    amount = _amount(said) if "amount" in said else asked
    return Approved(reference=reference, amount=amount)


def _refused(said: Mapping[str, Any], reference: str) -> Declined:
    """Read a refusal: by its code, made firmer or clearer by what the issuer itself said."""
    more = said.get("additionalData") or {}
    code = str(said.get("refusalReasonCode") or "unknown")
    reason, firmness = REFUSAL_TABLE.get(code, (DeclineReason.OTHER, Firmness.SOFT))
    if _leading(more.get("refusalReasonRaw")) in LOST_OR_STOLEN:
        reason, firmness = DeclineReason.LOST_OR_STOLEN, Firmness.HARD
    elif _leading(more.get("merchantAdviceCode")) in NEVER_AGAIN and firmness is not Firmness.HARD:
        reason, firmness = DeclineReason.DO_NOT_RETRY, Firmness.HARD
    return Declined(reason=reason, firmness=firmness, code=_word(code), reference=reference)


def _next_action(said: Mapping[str, Any]) -> NextAction:
    """A link where a link will do; anything else is for Adyen's component in the browser, as JSON."""
    action = said["action"]
    if action["type"] == "redirect" and action.get("method", "GET") == "GET":
        return NextAction(kind="redirect", url=action["url"])
    return NextAction(kind="sdk", client_secret=json.dumps(action))


# --- captures, cancellations, refunds ----------------------------------------------------------------


def read_receipt(said: Mapping[str, Any], sent: Mapping[str, Any]) -> Outcome:
    """What the answer to a modification says: that it was received. How it ended, only a webhook tells.

    A receipt for something else than was sent is an earlier one under the same key, so nothing is known of what
    was sent now.
    """
    reference = _psp(said)
    if said.get("status") != "received" or reference is None:
        return Unknown(detail=f"the status is {_word(said.get('status'))}, unexpected here")
    if any(said.get(field, sent[field]) != sent[field] for field in ("reference", "amount") if field in sent):
        return Unknown(detail="the receipt is for another request", reference=reference)
    return Pending(reference=reference)


def read_capture_receipt(said: Mapping[str, Any], sent: Mapping[str, Any]) -> Outcome:
    """As `read_receipt`, and whose capture it is, as refunds are asked of the payment."""
    payment, outcome = said.get("paymentPspReference"), read_receipt(said, sent)
    if not isinstance(outcome, Pending):
        return outcome
    if not isinstance(payment, str) or not payment:
        return Unknown(detail="a capture of no payment", reference=outcome.reference)
    return Pending(reference=of_capture(payment, outcome.reference))


# --- failures ----------------------------------------------------------------------------------------


def read_failure(error: Exception, ours: str) -> Outcome:
    """What is true when the call failed: the one place that decides between NotSent, Declined and Unknown.

    Anything not listed is Unknown: an answer that cannot be read, any 5xx, a redirect. A call that came
    while another under its key was in progress did nothing itself, but that other one may have moved money.
    `transient-error: true` promises that a repeat under the same key will be processed, not that
    nothing was: that is Unknown too (docs.adyen.com/development-resources/api-idempotency).
    """
    match error:
        case LineBroke() if never_left(error):
            return NotSent(detail=f"not connected ({type(error.__cause__).__name__})", retryable=True)
        case LineBroke():
            return Unknown(detail=f"the line broke ({type(error.__cause__).__name__})", reference=ours)
        case AdyenError():
            return _read_error(error, ours)
        case TimeoutError():
            return Unknown(detail="no whole answer in time", reference=ours)
        case _:
            return Unknown(detail=f"the answer cannot be read ({type(error).__name__})", reference=ours)


def read_failed_details(error: Exception, reference: str | None) -> Outcome:
    """What is true when handing in failed: nothing new. The payment was made before, and may have ended since."""
    match error:
        case AdyenError():
            detail = _described(error)
        case _:
            detail = f"not handed in ({type(error.__cause__ or error).__name__})"
    return Unknown(detail=detail, reference=reference)


def _read_error(error: AdyenError, ours: str) -> Outcome:
    code = str(error.error_code)
    match error.status_code:
        case _ if code == IN_PROGRESS or _is_transient(error):
            return Unknown(detail=_described(error), reference=ours)
        case 422 if code in NO_SUCH_TOKEN:
            return Declined(reason=DeclineReason.INVALID_CARD, firmness=Firmness.HARD, code=code)
        case 401 | 403 | 429:
            # A wrong key or account is for a person to mend; the payment can wait for that.
            return NotSent(detail=_described(error), retryable=True)
        case 400 | 404 | 422:
            return NotSent(detail=_described(error), retryable=False)
        case _:
            return Unknown(detail=_described(error), reference=ours)


def _is_transient(error: AdyenError) -> bool:
    headers = error.headers if isinstance(error.headers, Mapping) else {}
    return str(headers.get("transient-error", "")).lower() == "true"


def _described(error: AdyenError) -> str:
    """Status, error code and the reference to ask Adyen with; never its sentence, which may quote us."""
    words = (error.error_code, error.psp or _psp_of_error(error))
    return " ".join([f"HTTP {error.status_code}", *(_word(word) for word in words if word)])


def _psp_of_error(error: AdyenError) -> object:
    return error.message.get("pspReference") if isinstance(error.message, Mapping) else None


# --- pieces ------------------------------------------------------------------------------------------


def _amount(said: Mapping[str, Any]) -> Money:
    amount = said["amount"]
    return ADYEN_UNITS.from_wire(amount["value"], amount["currency"])


def _psp(said: Mapping[str, Any]) -> str | None:
    psp = said.get("pspReference")
    return psp if isinstance(psp, str) and psp else None


def _leading(text: object) -> str:
    found = re.match(r"\d+", str(text or ""))
    return found[0] if found else ""


def _word(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) else "unreadable"
