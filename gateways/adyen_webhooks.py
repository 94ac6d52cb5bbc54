"""Whether a webhook comes from Adyen: the signature of each of its items.

Only eight fields are signed. What else an item says (`reason`, `eventDate`, `additionalData`, `live`) may
have been changed on the way: require Basic authentication over TLS as well, and never take money from them.
There is no time among the eight: an item can be sent again at any time, so it must be remembered for ever.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

_SIGNED = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "amount.value",
    "amount.currency",
    "eventCode",
    "success",
)


def verify(item: Mapping[str, Any], hmac_keys: Sequence[str]) -> bool:
    """Whether a `NotificationRequestItem` was signed with one of the keys, each as Adyen shows it, in hex.

    While a key is being changed both the old and the new one are in use, so several may be given.
    A value that is missing or null is empty in what was signed, and nothing is escaped
    (docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures).

    Raises:
        ValueError: if a key is not hex, which is a fault of ours and not of the item's.
    """
    more = item.get("additionalData")
    signature = more.get("hmacSignature") if isinstance(more, Mapping) else None
    if not isinstance(signature, str):
        return False
    text = signed_text(item)
    # Every key is tried, so that the time it takes does not tell which one fitted.
    fits = [hmac.compare_digest(sign(text, key).encode(), _bytes(signature)) for key in hmac_keys]
    return any(fits)


def items_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items of a webhook's body: mostly one, but the form has room for many, and each has its signature.

    Raises:
        ValueError: if it is no webhook of Adyen's form.
    """
    try:
        items = [wrapped["NotificationRequestItem"] for wrapped in body["notificationItems"]]
    except (KeyError, TypeError) as error:
        raise ValueError("not a webhook of Adyen's form") from error
    if not items or not all(isinstance(item, Mapping) for item in items):
        raise ValueError("a webhook without items")
    return items


def verify_all(body: Mapping[str, Any], hmac_keys: Sequence[str]) -> bool:
    """Whether every item of a webhook's body was signed; one that was not spoils them all.

    Raises:
        ValueError: if it is no webhook of Adyen's form, or a key is not hex.
    """
    return all(verify(item, hmac_keys) for item in items_of(body))


def signed_text(item: Mapping[str, Any]) -> str:
    """What Adyen signs: eight values, joined by colons."""
    return ":".join(_value(item, name) for name in _SIGNED)


def sign(text: str, hmac_key: str) -> str:
    """HMAC-SHA256 under a key in hex, in base64."""
    return b64encode(hmac.new(bytes.fromhex(hmac_key), _bytes(text), hashlib.sha256).digest()).decode()


def _bytes(text: str) -> bytes:
    """UTF-8, half characters included: JSON can carry those, and whoever sends them must not stop us."""
    return text.encode(errors="surrogatepass")


def _value(item: Mapping[str, Any], name: str) -> str:
    value: Any = item
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
