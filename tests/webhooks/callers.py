"""Gateways as the ingestor sees them: bodies, and the headers that vouch for them, signed as each one signs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.gateways.paypal_signing import WEBHOOK_ID, Issuer, pem, rsa_key, shelf, signed_headers

JSON = "application/json"
STRIPE_SECRETS = ("whsec_old-7f3a", "whsec_new-7f3a")
HMAC_KEYS = ("0A" * 32, "0B" * 32)
USERNAME = "adyen-user-7f3a"
PASSWORDS = ("old-password-7f3a", "new-password-7f3a")
ACCOUNT = "ShopECOM"
MARK_IN_BODY = "in-the-body-7f3a"
"""Stands in every body, so that it can be looked for where it must not be."""

SECRETS = (*STRIPE_SECRETS, *HMAC_KEYS, *PASSWORDS)


class Caller(Protocol):
    """One gateway."""

    @property
    def gateway(self) -> str: ...

    def body(self, number: int) -> bytes:
        """A callback of its own for each number."""

    def headers(self, body: bytes, *, forged: bool = False) -> dict[str, str]:
        """What vouches for the body; `forged`: by somebody who does not know the secret."""


@dataclass(frozen=True)
class Stripe:
    """Signs time and body."""

    gateway: str = "stripe"

    def body(self, number: int) -> bytes:
        event = {
            "id": f"evt_{number}",
            "object": "event",
            "type": "payment_intent.succeeded",
            "data": {"object": {"id": f"pi_{number}", "description": MARK_IN_BODY}},
        }
        return json.dumps(event).encode()

    def headers(
        self, body: bytes, *, forged: bool = False, secret: str = STRIPE_SECRETS[0], ahead_s: float = 0
    ) -> dict[str, str]:
        at = int(time.time() + ahead_s)
        key = "whsec_somebody-elses" if forged else secret
        signature = hmac.new(key.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
        return {"content-type": JSON, "stripe-signature": f"t={at},v1={signature}"}


@dataclass(frozen=True)
class Adyen:
    """Signs eight fields of each item, and comes with a password."""

    gateway: str = "adyen"

    def body(self, number: int, *, key: str = HMAC_KEYS[0]) -> bytes:
        item = {
            "additionalData": {},
            "amount": {"value": 1000 + number, "currency": "EUR"},
            "eventCode": "AUTHORISATION",
            "eventDate": "2026-11-20T12:00:00+01:00",
            "merchantAccountCode": ACCOUNT,
            "merchantReference": f"pay-{number}.a1",
            "pspReference": f"PSP{number:013}",
            "reason": MARK_IN_BODY,
            "success": "true",
        }
        fields = f"{item['pspReference']}::{ACCOUNT}:pay-{number}.a1:{1000 + number}:EUR:AUTHORISATION:true"
        digest = hmac.new(bytes.fromhex(key), fields.encode(), hashlib.sha256).digest()
        item["additionalData"] = {"hmacSignature": base64.b64encode(digest).decode()}
        return json.dumps(
            {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}
        ).encode()

    def headers(self, body: bytes, *, forged: bool = False, password: str = PASSWORDS[0]) -> dict[str, str]:
        shown = "guessed-password" if forged else password
        credentials = base64.b64encode(f"{USERNAME}:{shown}".encode()).decode()
        return {"content-type": JSON, "authorization": f"Basic {credentials}"}


@dataclass(frozen=True)
class Paypal:
    """Signs with the key of a certificate that lies on a shelf."""

    key: RSAPrivateKey
    url: str
    gateway: str = "paypal"

    def body(self, number: int) -> bytes:
        event = {
            "id": f"WH-{number}",
            "event_type": "PAYMENT.CAPTURE.COMPLETED",
            "resource": {"id": f"CAP{number}", "note": MARK_IN_BODY},
        }
        return json.dumps(event).encode()

    def headers(
        self, body: bytes, *, forged: bool = False, ahead: timedelta = timedelta(0)
    ) -> dict[str, str]:
        sent_at = (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
        return signed_headers(rsa_key() if forged else self.key, self.url, body, sent_at=sent_at)


@contextmanager
def callers(directory: Path) -> Iterator[tuple[dict[str, Caller], Mapping[str, str]]]:
    """The three gateways, and the settings under which the ingestor knows them."""
    issuer, key = Issuer("Test Root"), rsa_key()
    now = datetime.now(UTC)
    leaf = issuer.leaf(key.public_key(), since=now - timedelta(days=1), until=now + timedelta(days=2))
    authority = directory / "authority.pem"
    authority.write_bytes(pem(issuer.root()))
    with shelf() as kept:
        url = kept.put("CERT-1", pem(leaf))
        settings = {
            "PAYMENTS_STRIPE__API_KEY": "unused",
            "PAYMENTS_STRIPE__WEBHOOK_SECRETS": json.dumps(STRIPE_SECRETS),
            "PAYMENTS_ADYEN__API_KEY": "unused",
            "PAYMENTS_ADYEN__MERCHANT_ACCOUNT": ACCOUNT,
            "PAYMENTS_ADYEN__HMAC_KEYS": json.dumps(HMAC_KEYS),
            "PAYMENTS_ADYEN__WEBHOOK_USERNAME": USERNAME,
            "PAYMENTS_ADYEN__WEBHOOK_PASSWORDS": json.dumps(PASSWORDS),
            "PAYMENTS_PAYPAL__CLIENT_ID": "unused",
            "PAYMENTS_PAYPAL__CLIENT_SECRET": "unused",
            "PAYMENTS_PAYPAL__WEBHOOK_IDS": json.dumps([WEBHOOK_ID]),
            "PAYMENTS_PAYPAL__WEBHOOK_ORIGINS": json.dumps([kept.origin]),
            "PAYMENTS_PAYPAL__WEBHOOK_CA_FILE": str(authority),
        }
        paypal = Paypal(key=key, url=url)
        yield {one.gateway: one for one in (Stripe(), Adyen(), paypal)}, settings
