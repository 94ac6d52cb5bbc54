"""The test cards: the token alone decides how an attempt with it ends.

Stripe's own are listed on docs.stripe.com/testing. Those that begin with `pm_simulated_` exist here only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulators.faults import FAULTS

RefundEnding = Literal["succeed", "fail_later", "pend_then_succeed", "pend_then_fail"]
"""How a refund goes: at once, or some time after it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """A bank's no, in Stripe's words and in the card network's (ISO 8583, field 39)."""

    code: str
    message: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a token stands for; without more, a card that pays."""

    brand: str = "visa"
    last4: str = "4242"
    decline: Decline | None = None
    authenticates: Literal["always", "when_asked_for", "never"] = "never"
    """`when_asked_for`: without authentication the bank says no, and that it wants it (a soft decline)."""
    stays_processing_then: Literal["succeed", "fail"] | None = None
    refunds: RefundEnding = "succeed"
    fault: str | None = None
    """Goes wrong when the card is confirmed."""


GENERIC_DECLINE = Decline(
    code="card_declined",
    decline_code="generic_decline",
    message="Your card was declined.",
    advice_code="try_again_later",
    network_decline_code="05",
)
AUTHENTICATION_REQUIRED = Decline(
    code="authentication_required",
    decline_code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
    network_decline_code="1A",
)


def _declines(last4: str, decline: Decline) -> Card:
    return Card(last4=last4, decline=decline)


CARDS: dict[str, Card] = {
    "pm_card_visa": Card(),
    "pm_card_mastercard": Card(brand="mastercard", last4="4444"),
    "pm_card_authenticationRequired": Card(last4="3184", authenticates="always"),
    "pm_card_refundFail": Card(last4="5126", refunds="fail_later"),
    "pm_card_pendingRefund": Card(last4="7726", refunds="pend_then_succeed"),
    "pm_card_chargeDeclined": _declines("0002", GENERIC_DECLINE),
    "pm_card_chargeDeclinedInsufficientFunds": _declines(
        "9995",
        Decline(
            code="card_declined",
            decline_code="insufficient_funds",
            message="Your card has insufficient funds.",
            advice_code="try_again_later",
            network_decline_code="51",
        ),
    ),
    "pm_card_chargeDeclinedLostCard": _declines(
        "9987",
        Decline(
            code="card_declined",
            decline_code="lost_card",
            message="Your card was declined.",
            advice_code="do_not_try_again",
            network_decline_code="41",
        ),
    ),
    "pm_card_chargeDeclinedStolenCard": _declines(
        "9979",
        Decline(
            code="card_declined",
            decline_code="stolen_card",
            message="Your card was declined.",
            advice_code="do_not_try_again",
            network_decline_code="43",
        ),
    ),
    "pm_card_chargeDeclinedExpiredCard": _declines(
        "0069",
        Decline(
            code="expired_card",
            message="Your card has expired.",
            advice_code="do_not_try_again",
            network_decline_code="54",
        ),
    ),
    "pm_card_chargeDeclinedIncorrectCvc": _declines(
        "0127", Decline(code="incorrect_cvc", message="Your card's security code is incorrect.")
    ),
    "pm_card_chargeDeclinedProcessingError": _declines(
        "0119",
        Decline(
            code="processing_error",
            message="An error occurred while processing your card. Try again in a little bit.",
            advice_code="try_again_later",
            network_decline_code="96",
        ),
    ),
    "pm_simulated_authenticationSoftDecline": Card(last4="3220", authenticates="when_asked_for"),
    "pm_simulated_processing_then_succeeds": Card(stays_processing_then="succeed"),
    "pm_simulated_processing_then_fails": Card(stays_processing_then="fail"),
    **{f"pm_simulated_{fault}": Card(fault=fault) for fault in FAULTS},
}
"""Every card by its token."""
