"""Webhooks as Adyen writes and signs them, and how patient it is with who does not accept them."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field

from simulators.deliveries import BatchedEndpoint, Parcel, Patience
from simulators.store import Json

DEFAULT_HMAC_KEY = "5A" * 32
"""In hex, as Adyen shows it in its customer area."""

PATIENCE = Patience(
    pauses_s=(9, 9, 9, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800),
    give_up_after_s=30 * 24 * 3600,
    one_by_one=True,
)
"""Three tries within half a minute, then after 2, 5, 10, 15 and 30 minutes, 1, 2, 4 and 8 hours, and every
8 hours for 30 days; one queue, held up by what fails (docs.adyen.com/development-resources/webhooks/troubleshoot)."""


class Endpoint(BatchedEndpoint):
    """Where webhooks go, and with what secrets."""

    username: str = "adyen"
    password: str = Field(default="adyen", repr=False)
    hmac_key: str = Field(default=DEFAULT_HMAC_KEY, pattern="^([0-9A-Fa-f]{2})+$", repr=False)


def pack(items: Sequence[Json], endpoint: Endpoint) -> Parcel:
    """One delivery: its items signed as the endpoint is to see them, and with user name and password."""
    credentials = b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode()
    return Parcel(
        body=json.dumps(body_of(items, endpoint)).encode(),
        headers={"Authorization": f"Basic {credentials}"},
    )


def item_of(
    event_code: str,
    *,
    psp_reference: str,
    reference: str,
    amount: Json,
    account: str,
    at: float,
    success: bool = True,
    reason: str = "",
    original: str | None = None,
    more: Json | None = None,
) -> Json:
    """A `NotificationRequestItem`, not signed yet."""
    item: Json = {
        "additionalData": dict(more or {}),
        "amount": dict(amount),
        "eventCode": event_code,
        "eventDate": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        "merchantAccountCode": account,
        "merchantReference": reference,
        "paymentMethod": "visa",
        "pspReference": psp_reference,
        "reason": reason,
        "success": "true" if success else "false",
    }
    if event_code == "EXPIRE":
        del item["paymentMethod"]
    if original is not None:
        item["originalReference"] = original
    if event_code == "AUTHORISATION" and success:
        item["operations"] = ["CANCEL", "CAPTURE", "REFUND"]
    return item


def signature_of(item: Json, hmac_key: str) -> str:
    """HMAC-SHA256 over eight values joined by colons, in base64; a missing value is empty."""
    values = (
        item["pspReference"],
        item.get("originalReference", ""),
        item["merchantAccountCode"],
        item["merchantReference"],
        item["amount"]["value"],
        item["amount"]["currency"],
        item["eventCode"],
        item["success"],
    )
    text = ":".join(str(value) for value in values)
    digest = hmac.new(bytes.fromhex(hmac_key), text.encode(), hashlib.sha256).digest()
    return b64encode(digest).decode()


def body_of(items: Sequence[Json], endpoint: Endpoint) -> Json:
    """The body of one delivery, its items signed as the endpoint is to see them."""
    return {
        "live": "false",
        "notificationItems": [{"NotificationRequestItem": _signed(item, endpoint)} for item in items],
    }


def _signed(item: Json, endpoint: Endpoint) -> Json:
    if endpoint.signature == "missing":
        return item
    signature = signature_of(item, endpoint.hmac_key)
    if endpoint.signature == "wrong":
        signature = signature_of({**item, "success": "perhaps"}, endpoint.hmac_key)
    return {**item, "additionalData": {**item["additionalData"], "hmacSignature": signature}}
