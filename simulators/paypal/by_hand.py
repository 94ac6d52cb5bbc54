"""What somebody does in PayPal's own pages: under no request id of the shop's, and with none of its names.

A refund made there bears the ids of the payment it gives back.
"""

from __future__ import annotations

from typing import Literal

from simulators.paypal import authorizations, captures
from simulators.paypal.errors import PaypalError
from simulators.paypal.merchant import Merchant
from simulators.paypal.requests import CaptureRequest, Money, RefundRequest
from simulators.store import Json

Action = Literal["capture", "void", "refund"]


def act(merchant: Merchant, action: Action, id: str, value: str | None) -> Json:
    """Capture or void an authorization, or refund a capture, all that is left or `value` of it.

    Raises ValueError for what PayPal does not allow.
    """
    kind = "capture" if action == "refund" else "authorization"
    found = merchant.find(kind, id)
    if found is None:
        raise ValueError(f"there is no {kind} {id}")
    currency = found["amount"]["currency_code"]
    amount = Money(currency_code=currency, value=value) if value is not None else None
    try:
        match action:
            case "capture":
                return authorizations.capture(merchant, id, CaptureRequest(amount=amount))
            case "void":
                return authorizations.void(merchant, id)
            case "refund":
                made = captures.refund(merchant, id, RefundRequest(amount=amount))
                made |= {name: found[name] for name in ("custom_id", "invoice_id") if name in found}
                return merchant.save("refund", made, event=None)
    except PaypalError as error:
        raise ValueError(str(error)) from error
