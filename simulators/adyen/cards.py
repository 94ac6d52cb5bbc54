"""The stored payment methods: the token alone decides how a payment with it, and what follows, ends.

All are the simulator's own: at Adyen a token is made when a card is stored. What Adyen's test platform has
is kept too: `additionalData.RequestedTestAcquirerResponseCode` refuses with that code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulators.faults import FAULTS

REFUSALS = {
    "2": "Refused",
    "3": "Referral",
    "4": "Acquirer Error",
    "5": "Blocked Card",
    "6": "Expired Card",
    "7": "Invalid Amount",
    "8": "Invalid Card Number",
    "9": "Issuer Unavailable",
    "10": "Not supported",
    "11": "3D Not Authenticated",
    "12": "Not enough balance",
    "14": "Acquirer Fraud",
    "15": "Cancelled",
    "16": "Shopper Cancelled",
    "17": "Invalid Pin",
    "18": "Pin tries exceeded",
    "19": "Pin validation not possible",
    "20": "FRAUD",
    "21": "Not Submitted",
    "22": "FRAUD-CANCELLED",
    "23": "Transaction Not Permitted",
    "24": "CVC Declined",
    "25": "Restricted Card",
    "26": "Revocation Of Auth",
    "27": "Declined Non Generic",
    "28": "Withdrawal amount exceeded",
    "29": "Withdrawal count exceeded",
    "31": "Issuer Suspected Fraud",
    "32": "AVS Declined",
    "33": "Card requires online pin",
    "34": "No checking account available on Card",
    "35": "No savings account available on Card",
    "36": "Mobile pin required",
    "37": "Contactless fallback",
    "38": "Authentication required",
    "39": "RReq not received from DS",
    "40": "Current AID is in Penalty Box",
    "41": "CVM Required Restart Payment",
    "42": "3DS Authentication Error",
    "43": "Online PIN required",
    "46": "Transaction blocked by Adyen to prevent excessive retry fees",
    "50": "Revocation of auth",
}
"""`refusalReasonCode` and its words (docs.adyen.com/development-resources/refusal-reasons)."""

AUTHENTICATION_FAILED = "11"
NOT_AUTHENTICATED = "38"
DECLINED_LATER = "2"

Modification = Literal["capture", "cancel", "refund"]
Asks = Literal["redirect", "challenge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A no, in Adyen's words and, if it is told, in the card network's."""

    code: str
    result_code: Literal["Refused", "Error", "Cancelled"] = "Refused"
    raw: str | None = None

    @property
    def reason(self) -> str:
        """What `refusalReason` says."""
        return REFUSALS[self.code]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a token stands for; without more, a card that pays."""

    refusal: Refusal | None = None
    asks: Asks | None = None
    wants_authentication: bool = False
    """Refused as 38, unless the merchant has asked for authentication."""
    waits: Literal["Pending", "Received"] | None = None
    then: Literal["succeed", "fail"] = "succeed"
    part_of_amount: bool = False
    """Half of what is asked is authorised."""
    refuses: Modification | None = None
    """This modification ends with `success` false."""
    fails_later: Modification | None = None
    """This modification succeeds, and is undone later."""
    later_event: Literal["CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED"] | None = None
    fault: str | None = None
    """Goes wrong when the card is to pay."""


CARDS: dict[str, Card] = {
    "sim_authorised": Card(),
    "sim_stolen_card": Card(refusal=Refusal(code="5", raw="43 : Stolen card")),
    "sim_error": Card(refusal=Refusal(code="4", result_code="Error")),
    "sim_cancelled": Card(refusal=Refusal(code="16", result_code="Cancelled")),
    "sim_redirect": Card(asks="redirect"),
    "sim_challenge": Card(asks="challenge"),
    "sim_authentication_required": Card(wants_authentication=True),
    "sim_pending_then_authorised": Card(waits="Pending"),
    "sim_pending_then_refused": Card(waits="Pending", then="fail"),
    "sim_received_then_authorised": Card(waits="Received"),
    "sim_partially_authorised": Card(part_of_amount=True),
    "sim_capture_refused": Card(refuses="capture"),
    "sim_cancel_refused": Card(refuses="cancel"),
    "sim_refund_refused": Card(refuses="refund"),
    "sim_capture_fails_later": Card(fails_later="capture", later_event="CAPTURE_FAILED"),
    "sim_refund_fails_later": Card(fails_later="refund", later_event="REFUND_FAILED"),
    "sim_refund_reversed_later": Card(fails_later="refund", later_event="REFUNDED_REVERSED"),
    **{f"sim_refused_{code}": Card(refusal=Refusal(code=code)) for code in REFUSALS},
    **{f"sim_{fault}": Card(fault=fault) for fault in FAULTS},
}
"""Every card by its token."""
