"""The form of Adyen's webhooks, and the signature of each of their items.

Only eight fields are signed. What else an item says (`reason`, `eventDate`, `additionalData`, `live`) may
have been changed on the way: require Basic authentication over TLS as well, and never take money from them.
There is no time among the eight: an item can be sent again at any time, so it must be remembered for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateways.notice import NotUnderstood


class Signed(NamedTuple):
    """The eight fields, as the text that was signed; a value that is missing or null is empty."""

    psp_reference: str
    original_reference: str
    merchant_account: str
    merchant_reference: str
    value: str
    currency: str
    event_code: str
    success: str


def items_of(body: bytes) -> list[Mapping[str, Any]]:
    """The items of a webhook's body: mostly one, but the form has room for many, and each has its signature.

    Raises:
        NotUnderstood: if it is no webhook of Adyen's form.
    """
    try:
        read = json.loads(body.decode(), object_pairs_hook=_once_each, parse_constant=_no_number)
        items = [wrapped["NotificationRequestItem"] for wrapped in read["notificationItems"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotUnderstood("not a webhook of Adyen's form") from error
    if not items or not all(isinstance(item, Mapping) for item in items):
        raise NotUnderstood("a webhook without items")
    return items


def signed_of(item: Mapping[str, Any]) -> Signed:
    """What of a `NotificationRequestItem` is signed."""
    amount = item.get("amount")
    amount = amount if isinstance(amount, Mapping) else {}
    return Signed(
        psp_reference=_text(item.get("pspReference")),
        original_reference=_text(item.get("originalReference")),
        merchant_account=_text(item.get("merchantAccountCode")),
        merchant_reference=_text(item.get("merchantReference")),
        value=_text(amount.get("value")),
        currency=_text(amount.get("currency")),
        event_code=_text(item.get("eventCode")),
        success=_text(item.get("success")),
    )


def verify(item: Mapping[str, Any], hmac_keys: Sequence[str]) -> bool:
    """Whether a `NotificationRequestItem` was signed with one of the keys, each as Adyen shows it, in hex.

    While a key is being changed both the old and the new one are in use, so several may be given.
    The eight values are joined by colons, and nothing is escaped
    (docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures).

    Raises:
        ValueError: if a key is not hex, which is a fault of ours and not of the item's.
    """
    more = item.get("additionalData")
    signature = more.get("hmacSignature") if isinstance(more, Mapping) else None
    if not isinstance(signature, str):
        return False
    text = ":".join(signed_of(item))
    # Every key is tried, so that the time it takes does not tell which one fitted.
    fits = [hmac.compare_digest(sign(text, key).encode(), _bytes(signature)) for key in hmac_keys]
    return any(fits)


def sign(text: str, hmac_key: str) -> str:
    """HMAC-SHA256 under a key in hex, in base64."""
    return b64encode(hmac.new(bytes.fromhex(hmac_key), _bytes(text), hashlib.sha256).digest()).decode()


def digest(signed: Signed) -> str:
    """64 letters and digits that name what was signed: told twice, it is the same."""
    return hashlib.sha256(json.dumps(signed).encode()).hexdigest()


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a name comes twice: readers differ in which of the two they take."""
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a name comes twice")
    return read


def _no_number(word: str) -> None:
    raise ValueError("not a number")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _bytes(text: str) -> bytes:
    """UTF-8, half characters included: JSON can carry those, and whoever sends them must not stop us."""
    return text.encode(errors="surrogatepass")
