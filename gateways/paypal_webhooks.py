"""PayPal's webhooks: whether a callback is PayPal's own, and what it tells us in the form of all notices.

The signature covers the body only by its CRC-32, which anybody can make come out as he likes, and PayPal can be
asked: a notice never says how something ended, only that it is time to look.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from gateways.exponents import PAYPAL_UNITS, NotExpressible
from gateways.notice import Forged, Notice, NotUnderstood
from gateways.paypal_answers import Kind, Reference, dig
from gateways.paypal_certificates import Certificates
from messages.ids import AttemptId
from messages.money import Money
from messages.operation import Operation

# --- whether it is PayPal's ------------------------------------------------------------------------------------

ALGORITHM = "SHA256withRSA"
"""The only one believed, whatever the header names."""

MAX_AGE = timedelta(days=4)
"""PayPal sends again for three days, and is not known to put a new time under it: in its samples the time is that
of the event. A shorter window would lose what it tells after our outage; a longer one gains nothing, as what is
told twice is known by its id, and nothing is booked that was not read again at PayPal."""

MAX_AHEAD = timedelta(minutes=5)

_TRANSMISSION_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,50}")
_SIGNATURE_MOST = 2048
_URL_MOST = 512


class PaypalVerifier:
    """Tells PayPal's callbacks from anybody else's: RSA over ids, time and the body's CRC-32.

    The scheme: developer.paypal.com/api/rest/webhooks/rest, "Self verification method".
    """

    def __init__(
        self,
        *,
        webhook_ids: Collection[str],
        certificates: Certificates | None = None,
        max_age: timedelta = MAX_AGE,
        max_ahead: timedelta = MAX_AHEAD,
    ) -> None:
        """Take the ids PayPal gave our endpoint: several while one is being replaced by another.

        Raises:
            ValueError: there is no id, or one that cannot be PayPal's.
        """
        if not webhook_ids or not all(_WEBHOOK_ID.fullmatch(id) for id in webhook_ids):
            raise ValueError("PayPal's webhook ids are missing or none of PayPal's form")
        self._webhook_ids = tuple(webhook_ids)
        self._certificates = certificates or Certificates()
        self._max_age, self._max_ahead = max_age, max_ahead

    async def verify(self, *, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Return if the callback is authentic.

        Raises:
            Forged: it is not, or its certificate cannot be had now; PayPal sends again what is refused.
        """
        id = _header(headers, "paypal-transmission-id", 64)
        sent_at = _header(headers, "paypal-transmission-time", 40)
        if _header(headers, "paypal-auth-algo", 32) != ALGORITHM:
            raise Forged("the algorithm is not PayPal's")
        if not _TRANSMISSION_ID.fullmatch(id):
            raise Forged("the transmission id is none")
        self._require_recent(sent_at, now)
        try:
            signature = b64decode(_header(headers, "paypal-transmission-sig", _SIGNATURE_MOST), validate=True)
        except ValueError as error:
            raise Forged("the signature is not base64") from error
        key = await self._certificates.key(_header(headers, "paypal-cert-url", _URL_MOST), now)
        # Every id is tried, so that the time it takes does not tell which one fitted.
        fits = [
            is_signed(signed_message(id, sent_at, webhook_id, body), signature, key)
            for webhook_id in self._webhook_ids
        ]
        if not any(fits):
            raise Forged("the signature does not fit")

    async def close(self) -> None:
        """Let connections go."""
        await self._certificates.close()

    def _require_recent(self, sent_at: str, now: datetime) -> None:
        try:
            at = datetime.fromisoformat(sent_at) if _TIME.fullmatch(sent_at) else None
        except ValueError:
            at = None
        if at is None:
            raise Forged("the transmission time is none")
        if at < now - self._max_age:
            raise Forged("it is too old")
        if at > now + self._max_ahead:
            raise Forged("it comes from the future")


def signed_message(transmission_id: str, transmission_time: str, webhook_id: str, body: bytes) -> bytes:
    """What PayPal signs; of the body only its CRC-32, as an unsigned decimal."""
    return f"{transmission_id}|{transmission_time}|{webhook_id}|{crc32(body)}".encode()


def is_signed(message: bytes, signature: bytes, key: RSAPublicKey) -> bool:
    """Whether the signature is RSASSA-PKCS1-v1_5 with SHA-256 over the message."""
    try:
        key.verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _header(headers: Mapping[str, str], name: str, length_most: int) -> str:
    value = headers.get(name, "")
    if not value or len(value) > length_most or not (value.isascii() and value.isprintable()):
        raise Forged(f"{name} is missing or malformed")
    return value


# --- what it tells ---------------------------------------------------------------------------------------------

Reading = Callable[[Mapping[str, Any]], dict[str, Any]]

_PAYMENT_ATTEMPT = re.compile(r"[A-Za-z0-9_.-]{1,100}\.a[0-9]{1,9}")
_CAPTURE_ATTEMPT = re.compile(r"[A-Za-z0-9_.-]{1,100}\.[ac][0-9]{1,9}")
_REFUND_ATTEMPT = re.compile(r"[A-Za-z0-9_.-]{1,100}\.r[0-9]{1,9}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


def read(body: bytes) -> list[Notice]:
    """Give the one notice of a body.

    Raises:
        NotUnderstood: it is no event of PayPal's, or one of a known type without what that type is about.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood("the body is no JSON") from error
    id, kind, resource = (dig(event, name) for name in ("id", "event_type", "resource"))
    if not isinstance(id, str) or not _NAME.fullmatch(id):
        raise NotUnderstood("the event has no id")
    if not isinstance(kind, str) or not _NAME.fullmatch(kind):
        raise NotUnderstood("the event has no type")
    if not isinstance(resource, dict):
        raise NotUnderstood("the event has no resource")
    reading = _READINGS.get(kind)
    fields: dict[str, Any] = {"operation": None} if reading is None else reading(resource)
    came_through = kind in _CAME_THROUGH and resource.get("status") in (None, "CREATED", "COMPLETED")
    return [Notice(gateway="paypal", notice_id=id, event=kind, came_through=came_through, **fields)]


def _order(order: Mapping[str, Any]) -> dict[str, Any]:
    """An order, known by the attempt that opened it; one that was called off bears another mark."""
    operations = {"CAPTURE": Operation.SALE, "AUTHORIZE": Operation.AUTHORIZE}
    intent = order.get("intent")
    if not isinstance(intent, str) or intent not in operations:
        raise NotUnderstood("the order has no intent")
    unit = dig(order, "purchase_units", 0)
    return {
        "operation": operations[intent],
        "attempt_id": _ours(dig(unit, "custom_id"), _PAYMENT_ATTEMPT),
        "reference": _own("order", order),
        "amount": _amount(unit),
    }


def _authorization(authorization: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "operation": Operation.AUTHORIZE,
        "attempt_id": _ours(authorization.get("custom_id"), _PAYMENT_ATTEMPT),
        "reference": _own("authorization", authorization),
        "amount": _amount(authorization),
    }


def _capture(capture: Mapping[str, Any]) -> dict[str, Any]:
    """A capture of a hold bears the attempt as its invoice id; a sale has the order's custom id, as holds have."""
    hold = _related("authorization", capture)
    common = {"reference": _own("capture", capture), "amount": _amount(capture)}
    if hold is None:
        attempt_id = _ours(capture.get("custom_id"), _PAYMENT_ATTEMPT)
        return {"operation": Operation.SALE, "attempt_id": attempt_id, **common}
    attempt_id = _ours(capture.get("invoice_id"), _CAPTURE_ATTEMPT)
    return {"operation": Operation.CAPTURE, "attempt_id": attempt_id, "parent_reference": hold, **common}


def _reversed(resource: Mapping[str, Any]) -> dict[str, Any]:
    """A capture that PayPal took back. Some of its samples show the movement, which names the capture, instead."""
    capture = _related("capture", resource)
    if capture is None:
        return _capture(resource)
    return {"operation": Operation.CAPTURE, "reference": capture, "amount": _amount(resource)}


def _refund(refund: Mapping[str, Any]) -> dict[str, Any]:
    """One made by hand in PayPal's pages may bear the ids of the payment it gives back: it is no attempt of ours."""
    return {
        "operation": Operation.REFUND,
        "attempt_id": _ours(refund.get("custom_id"), _REFUND_ATTEMPT),
        "reference": _own("refund", refund),
        "parent_reference": _related("capture", refund),
        "amount": _amount(refund),
    }


_READINGS: Mapping[str, Reading] = {
    "CHECKOUT.ORDER.APPROVED": _order,
    "CHECKOUT.ORDER.COMPLETED": _order,
    "CHECKOUT.ORDER.VOIDED": _order,
    "PAYMENT.AUTHORIZATION.CREATED": _authorization,
    "PAYMENT.AUTHORIZATION.PENDING": _authorization,
    "PAYMENT.AUTHORIZATION.DENIED": _authorization,
    "PAYMENT.AUTHORIZATION.EXPIRED": _authorization,
    # Of one that ran out, too (developer.paypal.com/api/rest/webhooks/event-names).
    "PAYMENT.AUTHORIZATION.VOIDED": _authorization,
    "PAYMENT.CAPTURE.COMPLETED": _capture,
    "PAYMENT.CAPTURE.PENDING": _capture,
    "PAYMENT.CAPTURE.DECLINED": _capture,
    "PAYMENT.CAPTURE.DENIED": _capture,
    "PAYMENT.CAPTURE.REVERSED": _reversed,
    # Its resource is the refund.
    "PAYMENT.CAPTURE.REFUNDED": _refund,
    "PAYMENT.REFUND.COMPLETED": _refund,
    "PAYMENT.REFUND.PENDING": _refund,
    "PAYMENT.REFUND.FAILED": _refund,
}


_CAME_THROUGH = frozenset(
    {
        "CHECKOUT.ORDER.COMPLETED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.REFUND.COMPLETED",
    }
)


def _own(kind: Kind, resource: Mapping[str, Any]) -> str:
    reference = Reference.of(kind, resource)
    if reference is None:
        raise NotUnderstood(f"the {kind} has no id")
    return str(reference)


def _related(kind: Kind, resource: Mapping[str, Any]) -> str | None:
    """What a payment belongs to: by its related ids, or by its link upwards."""
    id = dig(resource, "supplementary_data", "related_ids", f"{kind}_id")
    links = resource.get("links")
    if not isinstance(id, str):
        ups = (
            (dig(link, "href") for link in links if dig(link, "rel") == "up")
            if isinstance(links, list)
            else ()
        )
        found = (re.search(rf"/{kind}s/([A-Z0-9-]+)$", href) for href in ups if isinstance(href, str))
        id = next((match[1] for match in found if match), None)
    reference = Reference.parse(f"{kind}:{id}")
    return str(reference) if reference else None


def _ours(value: object, form: re.Pattern[str]) -> AttemptId | None:
    return AttemptId(value) if isinstance(value, str) and form.fullmatch(value) else None


def _amount(body: object) -> Money | None:
    amount = dig(body, "amount")
    try:
        return PAYPAL_UNITS.from_decimal(dig(amount, "value"), dig(amount, "currency_code"))
    except NotExpressible:
        return None
