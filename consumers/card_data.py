"""The firewall at the queue: whether a delivery brings card data, and what it is without."""

from __future__ import annotations

from dataclasses import replace

from consumers.delivery import Delivery
from messages.card_data import Hit, find, find_in, redacted_body, redacted_value
from messages.card_patterns import may_hold_card_data
from messages.envelope import HEADER_PREFIX, MAX_BODY_BYTES

_ATTRIBUTES = frozenset(
    HEADER_PREFIX + name
    for name in ("specversion", "id", "type", "source", "subject", "time", "dataschema", "correlationid")
)
"""Names of headers that nearly every message has: they hold nothing but themselves."""
_PROPERTIES = ("message_id", "correlation_id", "reply_to", "type", "app_id", "content_type", "routing_key")


def card_data_in(delivery: Delivery) -> list[Hit]:
    """Tell where a delivery brings card data: in its body, its headers or its properties."""
    named = (delivery.message_id, delivery.correlation_id, delivery.reply_to, delivery.type, delivery.app_id)
    # One look at all of it: a byte that is no separator keeps the digits of two values apart.
    values = delivery.headers.values()
    written = "\x01".join(map(str, (*(delivery.headers.keys() - _ATTRIBUTES), *values, *named)))
    beside = written.encode(errors="replace")
    body = delivery.body if len(delivery.body) <= MAX_BODY_BYTES else b""  # that is refused for its size
    if not may_hold_card_data(body + b"\x01" + beside):
        return []
    hits = find(body)
    if may_hold_card_data(beside):
        around = {name: getattr(delivery, name) for name in _PROPERTIES}
        hits += find_in({"headers": dict(delivery.headers), "properties": around})
    return hits


def without_card_data(delivery: Delivery) -> Delivery:
    """The delivery with all card data blanked out; the very same one where it brings none."""
    around = {name: getattr(delivery, name) for name in _PROPERTIES}
    changed = redacted_value(around)
    headers = redacted_value(dict(delivery.headers))
    body = _body_without(delivery.body)
    if (changed, headers, body) == (around, dict(delivery.headers), delivery.body):
        return delivery
    return replace(delivery, body=body, headers=headers, **changed)


def _body_without(body: bytes) -> bytes:
    if len(body) <= MAX_BODY_BYTES:
        return redacted_body(body)
    if not may_hold_card_data(body):
        return body
    return f"[redacted: {len(body)} bytes are too many to be looked through]".encode()
