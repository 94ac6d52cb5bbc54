"""Webhooks as Adyen writes and signs them, and the shelf on which they wait to be delivered.

Each is kept for ever, delivered or not, so that a test can read what was, or would have been, told.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from simulators.store import Json, Store

DEFAULT_HMAC_KEY = "5A" * 32
"""In hex, as Adyen shows it in its customer area."""


class Endpoint(BaseModel):
    """Where webhooks go, and how badly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    """None: nothing is delivered, everything waits."""
    username: str = "adyen"
    password: str = Field(default="adyen", repr=False)
    hmac_key: str = Field(default=DEFAULT_HMAC_KEY, pattern="^([0-9A-Fa-f]{2})+$", repr=False)
    signature: Literal["good", "wrong", "missing"] = "good"
    is_paused: bool = False
    order: Literal["first_to_last", "last_to_first", "shuffled"] = "first_to_last"
    copies: int = Field(default=1, ge=1, le=10)
    batch: int = Field(default=1, ge=1, le=100)
    """Items in one body at most."""
    delay_s: float = Field(default=0.0, ge=0)
    """By the simulator's clock."""


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


def body_of(items: list[Json], endpoint: Endpoint) -> Json:
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


class Shelf:
    """All webhooks there ever were, and those that still wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        kept = store.get("endpoint", "endpoint")
        self.endpoint = Endpoint(**kept) if kept else Endpoint()

    def set_endpoint(self, endpoint: Endpoint) -> None:
        """Deliver there from now on, what waits included."""
        self.endpoint = endpoint
        self._store.put("endpoint", "endpoint", endpoint.model_dump())

    def add(self, item: Json, *, at: float) -> None:
        """Put a webhook on the shelf, to be delivered when its time has come."""
        number = self._store.get("webhooks", "count") or {"count": 0}
        id = f"webhook_{number['count'] + 1}"
        self._store.put("webhooks", "count", {"count": number["count"] + 1})
        self._store.put("webhook", id, {"id": id, "at": at, "item": item, "deliveries": []})
        self.wait(id, not_before=at + self.endpoint.delay_s)

    def wait(self, id: str, *, not_before: float, failures: int = 0, since: float | None = None) -> None:
        """Let a webhook wait, for the first time or for another try."""
        waiting = {"id": id, "not_before": not_before, "failures": failures, "since": since or not_before}
        self._store.put("waiting", id, waiting)

    def waiting(self) -> list[Json]:
        """What waits, first to last: `{id, not_before, failures, since}`."""
        return list(self._store.newest_first("waiting"))[::-1]

    def tried(self, id: str, *, at: float, status: int | None) -> None:
        """Note a delivery and how it was answered; None: not at all."""
        webhook = self.get(id)
        webhook["deliveries"].append({"at": at, "status": status})
        self._store.put("webhook", id, webhook)

    def done_with(self, id: str) -> None:
        """Deliver it no more."""
        self._store.delete("waiting", id)

    def get(self, id: str) -> Json:
        """A webhook: `{id, at, item, deliveries}`. Raises ValueError if there is none."""
        webhook = self._store.get("webhook", id)
        if webhook is None:
            raise ValueError(f"there is no webhook {id}")
        return webhook

    def all(self) -> list[Json]:
        """Every webhook, first to last, with the body as it is delivered on its own."""
        webhooks = list(self._store.newest_first("webhook"))[::-1]
        return [{**webhook, "body": body_of([webhook["item"]], self.endpoint)} for webhook in webhooks]
