"""Stripe's codes for a no, in our words: declines, cancellations, refunds that fail."""

from __future__ import annotations

from gateways.protocol import DeclineReason, Firmness

ATTEMPT_MARK = "attempt_id"
"""Metadata key of an intent or refund: which attempt of ours opened it."""
CAPTURE_MARK = "capture_attempt_id"
"""Metadata key of an intent: which attempt of ours captured it."""
CAPTURED_BY_HAND = "manual"
"""`capture_method` of an intent that holds money first; any other takes it at once."""

SOFT, HARD, PRESENT = Firmness.SOFT, Firmness.HARD, Firmness.NEEDS_AUTHENTICATION

_DECLINES: list[tuple[DeclineReason, Firmness, str]] = [
    (
        DeclineReason.INSUFFICIENT_FUNDS,
        SOFT,
        "insufficient_funds card_velocity_exceeded withdrawal_count_limit_exceeded",
    ),
    (
        DeclineReason.GENERIC_DECLINE,
        SOFT,
        "generic_decline card_declined do_not_honor call_issuer no_action_taken approve_with_id"
        " try_again_later",
    ),
    (DeclineReason.ISSUER_UNAVAILABLE, SOFT, "issuer_not_available reenter_transaction processing_error"),
    (DeclineReason.EXPIRED_CARD, HARD, "expired_card"),
    (
        DeclineReason.INVALID_CARD,
        HARD,
        "incorrect_number invalid_number invalid_account new_account_information_available"
        " invalid_expiry_month invalid_expiry_year",
    ),
    (DeclineReason.CVC_FAILED, SOFT, "incorrect_cvc invalid_cvc"),
    (DeclineReason.AVS_FAILED, SOFT, "incorrect_zip incorrect_address"),
    (DeclineReason.AUTHENTICATION_REQUIRED, PRESENT, "authentication_required authentication_not_handled"),
    (DeclineReason.AUTHENTICATION_FAILED, PRESENT, "payment_intent_authentication_failure"),
    (DeclineReason.LOST_OR_STOLEN, HARD, "lost_card stolen_card pickup_card"),
    (
        DeclineReason.RESTRICTED_CARD,
        HARD,
        "restricted_card card_not_supported not_permitted service_not_allowed transaction_not_allowed"
        " currency_not_supported",
    ),
    (DeclineReason.SUSPECTED_FRAUD, HARD, "fraudulent merchant_blacklist security_violation"),
    (
        DeclineReason.MANDATE_REVOKED,
        HARD,
        "stop_payment_order revocation_of_authorization revocation_of_all_authorizations",
    ),
    (DeclineReason.DO_NOT_RETRY, HARD, "do_not_try_again"),
    (DeclineReason.LIMIT_OR_AMOUNT, SOFT, "invalid_amount amount_too_large amount_too_small"),
    # Hard: the issuer took it for a repeat, and another try would be the double charge it guards against.
    (DeclineReason.DUPLICATE, HARD, "duplicate_transaction"),
    (DeclineReason.PIN_REQUIRED, SOFT, "offline_pin_required incorrect_pin pin_try_exceeded"),
]

DECLINE_TABLE: dict[str, tuple[DeclineReason, Firmness]] = {
    code: (reason, firmness) for reason, firmness, codes in _DECLINES for code in codes.split()
}
"""Stripe's decline codes and error codes in our words.

Sources: docs.stripe.com/declines/codes, docs.stripe.com/error-codes.
"""

LAPSED = frozenset({"automatic", "expired"})
"""`cancellation_reason` of an intent that Stripe canceled by itself, as its time was over; with any other, or
none, somebody canceled it (docs.stripe.com/api/payment_intents/object)."""

REFUND_FAILED = {
    "lost_or_stolen_card": (DeclineReason.LOST_OR_STOLEN, HARD),
    "expired_or_canceled_card": (DeclineReason.EXPIRED_CARD, HARD),
    "insufficient_funds": (DeclineReason.INSUFFICIENT_FUNDS, SOFT),
    "declined": (DeclineReason.GENERIC_DECLINE, SOFT),
}
"""`failure_reason` of a refund (docs.stripe.com/api/refunds/object); the funds are the merchant's."""

NOTHING_TO_REFUND = frozenset({"charge_already_refunded", "charge_disputed", "amount_too_large"})
"""Error codes of POST /v1/refunds: nothing (left) to give back (docs.stripe.com/error-codes)."""
