"""Events as PayPal writes them, and the signature under which they are delivered.

The signature bears the true time, not that of the simulator's clock: who receives it has no other. Each delivery has
a transmission id of its own, all of an event's the same event id.
"""

from __future__ import annotations

import json
import secrets
import uuid
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zlib import crc32

from pydantic import Field

from simulators.deliveries import Endpoint, Parcel, Patience
from simulators.paypal.notary import CERTIFICATE_PATH, Notary
from simulators.store import Json

DEFAULT_WEBHOOK_ID = "4SM1LATOR0WEBH00K"

HOURS_S = 3600.0
PATIENCE = Patience(
    # "25 times over the course of three days" (developer.paypal.com/api/rest/webhooks); the pauses are not documented.
    pauses_s=(60, 120, 300, 600, 1800, 1 * HOURS_S, 3.7 * HOURS_S),
    give_up_after_s=3 * 24 * HOURS_S,
    one_by_one=False,
)

RESOURCE_TYPES = {"order": "checkout-order"}
"""What PayPal calls what an event is about, where that is not its kind."""


class PaypalEndpoint(Endpoint):
    """Where events go, and the id PayPal has given to that place: each place has its own."""

    webhook_id: str = Field(default=DEFAULT_WEBHOOK_ID, pattern="^[a-zA-Z0-9]{1,50}$")
    signed_ahead_s: float = 0.0
    """How far the signature's time is ahead of the true one; less than nothing: behind."""


def event_of(type: str, kind: str, resource: Json, *, time: str, new_id: str, address: str) -> Json:
    """An event about something that is `resource` now."""
    id = f"WH-{new_id}-{secrets.token_hex(8).upper()}"
    here = f"{address}/v1/notifications/webhooks-events/{id}"
    return {
        "id": id,
        "event_version": "1.0",
        "create_time": time,
        "resource_type": RESOURCE_TYPES.get(kind, kind),
        "resource_version": "2.0",
        "event_type": type,
        "summary": f"{type.replace('.', ' ').capitalize()}.",
        "resource": resource,
        "links": [
            {"href": here, "rel": "self", "method": "GET"},
            {"href": f"{here}/resend", "rel": "resend", "method": "POST"},
        ],
    }


def pack(contents: Sequence[Json], endpoint: PaypalEndpoint, notary: Notary, address: str) -> Parcel:
    """One event, as its delivery is signed now."""
    [event] = contents
    body = json.dumps(event).encode()
    if endpoint.signature == "missing":
        return Parcel(body=body)
    id = str(uuid.uuid4())
    at = datetime.now(UTC) + timedelta(seconds=endpoint.signed_ahead_s)
    sent_at = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"{id}|{sent_at}|{endpoint.webhook_id}|{crc32(body)}".encode()
    signature = notary.signature(message, by_somebody_else=endpoint.signature == "wrong")
    headers = {
        "Paypal-Transmission-Id": id,
        "Paypal-Transmission-Time": sent_at,
        "Paypal-Transmission-Sig": b64encode(signature).decode(),
        "Paypal-Cert-Url": f"{address}{CERTIFICATE_PATH.format(name=notary.name)}",
        "Paypal-Auth-Algo": "SHA256withRSA",
        "Paypal-Auth-Version": "v2",
        "User-Agent": "PayPal/AUHD-simulated",
    }
    return Parcel(body=body, headers=headers)
