"""The payment method a token of ours names at PayPal, and how it is written into a request.

| token                                | means                                                             |
|--------------------------------------|-------------------------------------------------------------------|
| `<vault id>` or `paypal:<vault id>`  | a PayPal account the payer saved with the shop                    |
| `card:<vault id>`                    | a card the payer saved with the shop                              |
| `payer`                              | nothing saved: the payer approves the payment on PayPal's page    |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from gateways.protocol import AuthorizeRequest

_TOKEN = re.compile(r"(?:(paypal|card):)?([0-9a-zA-Z_-]{1,255})")  # vault_id in checkout_orders_v2
_PAYER = "payer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a payment is made with."""

    kind: Literal["paypal", "card", "payer"]
    vault_id: str = field(default="", repr=False)

    @classmethod
    def named_by(cls, token: str) -> Method | None:
        """What a token names, or None if it names nothing."""
        if token == _PAYER:
            return cls(kind="payer")
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        return cls(kind="card" if match[1] == "card" else "paypal", vault_id=match[2])

    def source(self, request: AuthorizeRequest) -> dict[str, Any]:
        """Write `payment_source`: for a saved method when it is charged, for a payer when the order is made."""
        page = {}
        if request.return_url and not request.off_session:
            page = {"return_url": request.return_url, "cancel_url": request.return_url}
        if self.kind == "payer":
            asks = {**page, "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING"}
            return {"paypal": {"experience_context": asks}}
        saved: dict[str, Any] = {"vault_id": self.vault_id}
        initiator = "MERCHANT" if request.off_session else "CUSTOMER"
        saved["stored_credential"] = {"payment_initiator": initiator, "usage": "SUBSEQUENT"}
        if self.kind == "paypal":
            if request.off_session:
                saved["stored_credential"]["usage_pattern"] = "UNSCHEDULED_PREPAID"
            return {"paypal": {**saved, **({"experience_context": page} if page else {})}}
        kind = "UNSCHEDULED" if request.off_session else "ONE_TIME"
        saved["stored_credential"]["payment_type"] = kind
        if page:
            # Without a page to come back to, the cardholder could not be asked.
            verification = "SCA_ALWAYS" if request.authenticate else "SCA_WHEN_REQUIRED"
            saved |= {
                "attributes": {"verification": {"method": verification}},
                "experience_context": page,
            }
        return {"card": saved}
