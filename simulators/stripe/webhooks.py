"""Events as Stripe writes them, and the signature under which they are delivered.

The signature bears the true time, not that of the simulator's clock: who receives it has no other.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from simulators.deliveries import Endpoint, Parcel, Patience
from simulators.store import Json

API_VERSION = "2026-10-28.endive"
"""The only version spoken; it is the one the pinned SDK asks for."""

DEFAULT_SECRET = "whsec_simulator"  # noqa: S105 - known to everybody, it guards nothing
SOMEBODY_ELSES_SECRET = "whsec_somebody_elses"  # noqa: S105

HOURS_S = 3600.0
PATIENCE = Patience(
    # "For up to three days with an exponential back off" (docs.stripe.com/webhooks); the pauses are not documented.
    pauses_s=(10, 60, 300, 0.5 * HOURS_S, 2 * HOURS_S, 5 * HOURS_S, 10 * HOURS_S, 12 * HOURS_S),
    give_up_after_s=3 * 24 * HOURS_S,
    one_by_one=False,
)

TELL_WHAT_WAS = ("charge.captured", "charge.expired", "charge.refunded", "refund.failed")
"""Events with `previous_attributes`, beside all that end in `.updated`."""


class StripeEndpoint(Endpoint):
    """Where events go, and the secrets they are signed with: two while one is being replaced by the other."""

    secrets: Annotated[tuple[str, ...], Field(min_length=1, max_length=2, repr=False)] = (DEFAULT_SECRET,)
    signed_ahead_s: float = 0.0
    """How far the signature's time is ahead of the true one; less than nothing: behind."""
    livemode: bool = False
    """What the events say of themselves."""


def event_of(
    type: str,
    *,
    changed: Json,
    before: Json | None,
    at: int,
    request_id: str | None,
    idempotency_key: str | None,
) -> Json:
    """An Event about an object that was `before` (None: that was not there)."""
    told: Json = {"object": changed}
    if before is not None and (type.endswith(".updated") or type in TELL_WHAT_WAS):
        was = {name: value for name, value in before.items() if value != changed.get(name)}
        told["previous_attributes"] = was
    return {
        "id": f"evt_{secrets.token_hex(12)}",
        "object": "event",
        "api_version": API_VERSION,
        "created": at,
        "data": told,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": request_id, "idempotency_key": idempotency_key},
        "type": type,
    }


def signed(body: bytes, secret: str, *, at: int) -> str:
    """The value of `v1`: HMAC-SHA256 over time and body, in hex (docs.stripe.com/webhooks/signature)."""
    return hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()


def pack(contents: Sequence[Json], endpoint: StripeEndpoint) -> Parcel:
    """One event, as its delivery is signed now."""
    [event] = contents
    body = json.dumps({**event, "livemode": endpoint.livemode}, indent=2).encode()
    if endpoint.signature == "missing":
        return Parcel(body=body)
    at = int(time.time() + endpoint.signed_ahead_s)
    keys = (SOMEBODY_ELSES_SECRET,) if endpoint.signature == "wrong" else endpoint.secrets
    signature = ",".join([f"t={at}", *(f"v1={signed(body, key, at=at)}" for key in keys)])
    return Parcel(body=body, headers={"Stripe-Signature": signature, "User-Agent": "Stripe/1.0 (simulated)"})
