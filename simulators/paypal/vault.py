"""The vault: which saved payment method an id stands for. The id alone decides how a payment with it ends.

Card codes are PayPal's processor response codes (`processor_response.response_code` in its OpenAPI files).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from simulators.faults import FAULTS

APPROVED_CODE = "0000"
WANTS_AUTHENTICATION_CODE = "5650"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What a vault id stands for; without more, one that pays."""

    source: Literal["paypal", "card"]
    issue: str | None = None
    """PayPal itself refuses: 422 with this issue, and no payment is made."""
    response_code: str = APPROVED_CODE
    """The bank's answer; any other than 0000 makes a payment that is declined."""
    advice_code: str | None = None
    wants: Literal["three_d_secure", "payer_action"] | None = None
    stays_pending_then: Literal["succeed", "fail"] | None = None
    refunds: Literal["succeed", "pend", "fail_later"] = "succeed"
    fault: str | None = None
    """Goes wrong when the order is captured or authorized."""


_INSTRUMENTS = {
    "sim-wallet": Instrument(source="paypal"),
    "sim-wallet-payer-action": Instrument(source="paypal", wants="payer_action"),
    "sim-wallet-pending": Instrument(source="paypal", stays_pending_then="succeed"),
    "sim-wallet-pending-declined": Instrument(source="paypal", stays_pending_then="fail"),
    "sim-wallet-refund-pending": Instrument(source="paypal", refunds="pend"),
    "sim-wallet-refund-fails": Instrument(source="paypal", refunds="fail_later"),
    "sim-card": Instrument(source="card"),
    "sim-card-3ds": Instrument(source="card", wants="three_d_secure"),
    **{f"sim-wallet-fault-{fault}": Instrument(source="paypal", fault=fault) for fault in FAULTS},
}
_BANK = re.compile(r"sim-card-([0-9A-Z]{4})(?:-([0-9]{2}))?")
_ISSUE = re.compile(r"sim-wallet-([A-Z][A-Z_]+)")


def instrument(vault_id: str) -> Instrument | None:
    """What the id stands for, or None."""
    if bank := _BANK.fullmatch(vault_id):
        return Instrument(source="card", response_code=bank[1], advice_code=bank[2])
    if issue := _ISSUE.fullmatch(vault_id):
        return Instrument(source="paypal", issue=issue[1])
    return _INSTRUMENTS.get(vault_id)


WALLET_OF_A_PAYER = Instrument(source="paypal")
"""What a payer pays with who approves the order on PayPal's page."""
