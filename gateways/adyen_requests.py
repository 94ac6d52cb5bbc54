"""What is sent to Adyen: our requests in the fields of Checkout v72, without account and reference."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from gateways.adyen_codes import REFUND_REASONS
from gateways.exponents import ADYEN_UNITS
from gateways.protocol import AuthorizeRequest, RefundRequest
from messages.money import Money

_MAX_METADATA, _MAX_NAME, _MAX_VALUE = 20, 20, 80  # Checkout v72, PaymentRequest.metadata
_SHOPPER = range(3, 257)  # Checkout v72, PaymentRequest.shopperReference
_NO_CUSTOMER_URL = "https://no-customer.invalid/"
"""Adyen wants a returnUrl even where nobody is there to return."""

_BROUGHT = frozenset(
    {
        "redirectResult",
        "threeDSResult",
        "payload",
        "MD",
        "PaRes",
        "threeds2.fingerprint",
        "threeds2.challengeResult",
    }
)
"""What a customer may bring back from a bank (Checkout v72, PaymentCompletionDetails)."""


def payment(request: AuthorizeRequest) -> dict[str, object]:
    """POST /payments with a stored card, captured at once or by hand.

    Raises:
        NotExpressible: if Adyen cannot write the amount.
    """
    body: dict[str, object] = {
        "amount": written(request.amount),
        "paymentMethod": {"type": "scheme", "storedPaymentMethodId": request.token},
        "shopperInteraction": "ContAuth",  # the card is on file, whoever is there
        "recurringProcessingModel": "UnscheduledCardOnFile" if request.off_session else "CardOnFile",
        "returnUrl": request.return_url or _NO_CUSTOMER_URL,
        "merchantOrderReference": request.order_id,
        "metadata": _metadata(request),
    }
    if request.capture:
        body["captureDelayHours"] = 0
    else:
        body["additionalData"] = {"manualCapture": "true"}
    if request.customer_id and len(request.customer_id) in _SHOPPER:
        body["shopperReference"] = request.customer_id
    if request.statement_descriptor:
        body["shopperStatement"] = request.statement_descriptor
    if request.authenticate:
        # By a link: for a challenge in the shop's own page Adyen has to know more of the browser than we do.
        body["authenticationData"] = {
            "attemptAuthentication": "always",
            "threeDSRequestData": {"nativeThreeDS": "disabled"},
        }
    return body


def details(brought: Mapping[str, str]) -> dict[str, str]:
    """POST /payments/details: what the bank sent along. The rest of the return address' query is the shop's own."""
    return {name: value for name, value in brought.items() if name in _BROUGHT}


def reason(request: RefundRequest) -> dict[str, object]:
    """Why a refund is made, if that is known, in Adyen's words."""
    if not request.reason:
        return {}
    return {"merchantRefundReason": REFUND_REASONS.get(request.reason, "OTHER")}


def written(money: Money) -> dict[str, object]:
    """An amount in Adyen's units.

    Raises:
        NotExpressible: if Adyen cannot write it.
    """
    return {"value": ADYEN_UNITS.to_wire(money), "currency": money.currency}


def _metadata(request: AuthorizeRequest) -> dict[str, str]:
    """Put our ids first, then as many of the sender's as Adyen holds: a surplus must not stop a payment."""
    ids = {"payment_id": request.payment_id, "order_id": request.order_id}
    fitting = (
        (name, value)
        for name, value in request.metadata.items()
        if name not in ids and 0 < len(name) <= _MAX_NAME and 0 < len(value) <= _MAX_VALUE
    )
    return {**ids, **dict(islice(fitting, _MAX_METADATA - len(ids)))}
