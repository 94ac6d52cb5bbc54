"""Adyen's codes for a no, in our words: why an authorisation was refused."""

from __future__ import annotations

from gateways.protocol import DeclineReason, Firmness

SOFT, HARD, PRESENT = Firmness.SOFT, Firmness.HARD, Firmness.NEEDS_AUTHENTICATION

_REFUSALS: list[tuple[DeclineReason, Firmness, str]] = [
    (DeclineReason.INSUFFICIENT_FUNDS, SOFT, "12 28 29"),
    (DeclineReason.GENERIC_DECLINE, SOFT, "2 3 27"),
    (DeclineReason.ISSUER_UNAVAILABLE, SOFT, "4 9 39 40"),
    (DeclineReason.EXPIRED_CARD, HARD, "6"),
    (DeclineReason.INVALID_CARD, HARD, "8"),
    (DeclineReason.CVC_FAILED, SOFT, "24"),
    (DeclineReason.AVS_FAILED, SOFT, "32"),
    (DeclineReason.AUTHENTICATION_REQUIRED, PRESENT, "38"),
    (DeclineReason.AUTHENTICATION_FAILED, PRESENT, "11 42"),
    (DeclineReason.RESTRICTED_CARD, HARD, "5 10 23 25"),
    (DeclineReason.SUSPECTED_FRAUD, HARD, "14 20 22 31"),
    (DeclineReason.MANDATE_REVOKED, HARD, "26 50"),
    (DeclineReason.DO_NOT_RETRY, HARD, "46"),
    (DeclineReason.LIMIT_OR_AMOUNT, SOFT, "7"),
    (DeclineReason.CANCELED_BY_CUSTOMER, SOFT, "15 16"),
    (DeclineReason.PIN_REQUIRED, SOFT, "17 18 19 33 34 35 36 37 41 43"),
]

REFUSAL_TABLE: dict[str, tuple[DeclineReason, Firmness]] = {
    code: (reason, firmness) for reason, firmness, codes in _REFUSALS for code in codes.split()
}
"""`refusalReasonCode` in our words (docs.adyen.com/development-resources/refusal-reasons)."""

LOST_OR_STOLEN = frozenset({"41", "43"})
"""ISO 8583 codes at the start of `additionalData.refusalReasonRaw`, as in `43 : Stolen card`.

To Adyen itself such a card is only blocked (5); an account must have raw acquirer results switched on.
"""

NEVER_AGAIN = frozenset({"03", "21"})
"""Mastercard's advice to a merchant, `additionalData.merchantAdviceCode`: do not try this card again.

It begins with the code, as in `03 : Do not try again`.
"""

NO_SUCH_TOKEN = frozenset({"800", "803"})
"""`errorCode` of a stored payment method that is not there, or not this shopper's
(docs.adyen.com/development-resources/error-codes)."""

REFUND_REASONS = {
    "duplicate": "DUPLICATE",
    "fraudulent": "FRAUD",
    "requested_by_customer": "CUSTOMER REQUEST",
    "return": "RETURN",
}
"""Our senders' words for `merchantRefundReason`; any other reason is `OTHER`."""
