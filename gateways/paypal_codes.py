"""PayPal's codes for a no, in our words: issues of a 422, banks' answers to a card, refunds that are refused.

Sources: github.com/paypal/paypal-rest-api-specifications (checkout_orders_v2, payments_payment_v2), which list
every issue and code by name; what a bank's code means: developer.paypal.com/docs/api/orders/v2,
`processor_response`. Which of our reasons suits a code is our own judgement.
"""

from __future__ import annotations

from gateways.protocol import DeclineReason, Firmness

SOFT, HARD, PRESENT = Firmness.SOFT, Firmness.HARD, Firmness.NEEDS_AUTHENTICATION

Verdicts = dict[str, tuple[DeclineReason, Firmness]]


def _verdicts(*rows: tuple[DeclineReason, Firmness, str]) -> Verdicts:
    return {code: (reason, firmness) for reason, firmness, codes in rows for code in codes.split()}


PAYMENT_ISSUES: Verdicts = _verdicts(
    (
        DeclineReason.GENERIC_DECLINE,
        SOFT,
        "INSTRUMENT_DECLINED TRANSACTION_REFUSED PAYMENT_SOURCE_DECLINED_BY_PROCESSOR"
        " PAYMENT_SOURCE_CANNOT_BE_USED REDIRECT_PAYER_FOR_ALTERNATE_FUNDING DECLINED_DUE_TO_RELATED_TXN"
        " ALIAS_DECLINED_BY_PROCESSOR MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED",
    ),
    (DeclineReason.INSUFFICIENT_FUNDS, SOFT, "PAYER_CANNOT_PAY"),
    (DeclineReason.EXPIRED_CARD, HARD, "CARD_EXPIRED REFERENCED_CARD_EXPIRED"),
    (DeclineReason.AVS_FAILED, SOFT, "BILLING_ADDRESS_INVALID PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED"),
    (
        DeclineReason.RESTRICTED_CARD,
        HARD,
        "PAYER_ACCOUNT_RESTRICTED PAYER_ACCOUNT_LOCKED_OR_CLOSED CARD_BRAND_NOT_SUPPORTED"
        " DOMESTIC_TRANSACTION_REQUIRED",
    ),
    (
        DeclineReason.SUSPECTED_FRAUD,
        HARD,
        "COMPLIANCE_VIOLATION TRANSACTION_BLOCKED_BY_PAYEE PAYEE_BLOCKED_TRANSACTION",
    ),
    (
        DeclineReason.MANDATE_REVOKED,
        HARD,
        "AGREEMENT_ALREADY_CANCELLED BILLING_AGREEMENT_NOT_FOUND TOKEN_ID_NOT_FOUND TOKEN_EXPIRED",
    ),
    (
        DeclineReason.LIMIT_OR_AMOUNT,
        SOFT,
        "TRANSACTION_LIMIT_EXCEEDED TRANSACTION_RECEIVING_LIMIT_EXCEEDED MAX_VALUE_EXCEEDED",
    ),
    (DeclineReason.DUPLICATE, HARD, "DUPLICATE_INVOICE_ID"),
    (DeclineReason.EXPIRED, HARD, "ORDER_EXPIRED"),
)
"""Issues that are a no to a payment. Any other is no word of a payer's or a bank's: the call must be changed."""

ALREADY_PAID = frozenset({"ORDER_ALREADY_CAPTURED", "ORDER_ALREADY_AUTHORIZED", "ORDER_COMPLETED_OR_VOIDED"})
"""The order is completed: whether by this attempt, the order itself tells."""

CAPTURE_ISSUES: Verdicts = {
    **PAYMENT_ISSUES,
    **_verdicts(
        (DeclineReason.EXPIRED, HARD, "AUTHORIZATION_EXPIRED"),
        (DeclineReason.CANCELED, HARD, "AUTHORIZATION_VOIDED"),
        (DeclineReason.OTHER, HARD, "AUTHORIZATION_DENIED"),
        (
            DeclineReason.LIMIT_OR_AMOUNT,
            HARD,
            "MAX_CAPTURE_AMOUNT_EXCEEDED MAX_CAPTURE_COUNT_EXCEEDED AUTH_CAPTURE_CURRENCY_MISMATCH",
        ),
    ),
}
"""Issues that are a no to a capture of a hold."""

ALREADY_CAPTURED = frozenset({"AUTHORIZATION_ALREADY_CAPTURED", "DUPLICATE_INVOICE_ID"})
"""The hold, or the attempt's own invoice id, is used up: whether by this attempt, the order's captures tell."""

VOID_ISSUES: Verdicts = _verdicts(
    (DeclineReason.CANCELED, HARD, "PREVIOUSLY_VOIDED"),
    (DeclineReason.OTHER, HARD, "PREVIOUSLY_CAPTURED CANNOT_BE_VOIDED"),
)
"""Issues that are a no to letting a hold go."""

REFUND_ISSUES: Verdicts = _verdicts(
    (
        DeclineReason.NOT_REFUNDABLE,
        HARD,
        "CAPTURE_FULLY_REFUNDED REFUND_AMOUNT_EXCEEDED REFUND_NOT_ALLOWED REFUND_IS_RESTRICTED"
        " REFUND_TIME_LIMIT_EXCEEDED REFUND_AMOUNT_TOO_LOW PARTIAL_REFUND_NOT_ALLOWED"
        " MAX_NUMBER_OF_REFUNDS_EXCEEDED REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK TRANSACTION_DISPUTED"
        " REFUND_CAPTURE_CURRENCY_MISMATCH CURRENCY_MISMATCH PAYER_ACCOUNT_LOCKED_OR_CLOSED",
    ),
    # The funds are the merchant's.
    (DeclineReason.INSUFFICIENT_FUNDS, SOFT, "REFUND_FAILED_INSUFFICIENT_FUNDS"),
)
"""Issues that are a no to a refund."""

LATER_ISSUES = frozenset({"PENDING_CAPTURE"})
"""Nothing was done, and the same call may succeed later."""

BANK_CODES: Verdicts = _verdicts(
    (DeclineReason.INSUFFICIENT_FUNDS, SOFT, "5120 PPAX PPEL"),
    (DeclineReason.GENERIC_DECLINE, SOFT, "0500 5100 10BR 0100 9540"),
    (DeclineReason.ISSUER_UNAVAILABLE, SOFT, "5910 5920 9100 8000 8100 8110 8220 0960 PPNT PPER"),
    (DeclineReason.EXPIRED_CARD, HARD, "5400 PPEF PPEX 1380"),
    (DeclineReason.INVALID_CARD, HARD, "1330 1335 0390 6300 7800 5950 PPFI"),
    (DeclineReason.CVC_FAILED, SOFT, "00N7 5110 1382 PCVV PPC2"),
    (DeclineReason.AVS_FAILED, SOFT, "5170 5190 PPAD PPAV"),
    (DeclineReason.AUTHENTICATION_REQUIRED, PRESENT, "5650"),
    (DeclineReason.AUTHENTICATION_FAILED, PRESENT, "7700 7710 PPD3"),
    (DeclineReason.LOST_OR_STOLEN, HARD, "9520 5150"),
    (DeclineReason.RESTRICTED_CARD, HARD, "5140 5180 1352 5700 PP06 PPAB PPCT PPFR"),
    (DeclineReason.SUSPECTED_FRAUD, HARD, "9500 9510 PPSC"),
    (DeclineReason.DO_NOT_RETRY, HARD, "PPRN"),
    (DeclineReason.LIMIT_OR_AMOUNT, SOFT, "1310 PPAI"),
    # Hard: it was taken for a repeat, and another try would be the double charge that guards against.
    (DeclineReason.DUPLICATE, HARD, "5200"),
    (DeclineReason.CANCELED_BY_CUSTOMER, HARD, "0R00"),
    (DeclineReason.PIN_REQUIRED, SOFT, "5130 5135 0890"),
)
"""`processor_response.response_code` of a declined card payment."""

BANK_APPROVED = "0000"
"""`processor_response.response_code` of a card payment the bank has approved."""

DO_NOT_TRY_AGAIN = frozenset({"03", "21"})
"""`processor_response.payment_advice_code`: never again with this card, or not for this merchant."""

STATUS_REASONS: Verdicts = _verdicts(
    (DeclineReason.SUSPECTED_FRAUD, HARD, "DECLINED_BY_RISK_FRAUD_FILTERS"),
)
"""`status_details.reason` of a declined payment (developer.paypal.com/docs/api/payments/v2)."""
