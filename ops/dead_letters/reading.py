"""From a delivery of a `.dead` queue to a letter: what it was, why it died, and what it is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from consumers.card_data import without_card_data
from consumers.delivery import Delivery
from ledger.letters import LETTER_HEADER, PREFIX, Letter
from messages.envelope import rfc3339

_DEAD = ".dead"
_MAX_NAME = 255
_PROPERTIES = ("message_id", "type", "content_type", "correlation_id", "reply_to", "app_id")


def read_letter(delivery: Delivery, now: datetime) -> Letter:
    """Make a letter; never raises. Card data that the broker dead-lettered by itself is blanked out here."""
    clean = without_card_data(delivery)
    headers = {
        name: value
        for name, value in clean.headers.items()
        if not name.startswith(("fail-", "x-")) and name != LETTER_HEADER
    }
    why = _why(clean)
    content = _content(clean)
    # A broken publisher may leave out what makes it a message: it goes back as it came, and dies again.
    properties = {name: value for name in _PROPERTIES if (value := getattr(clean, name)) is not None}
    properties.setdefault("message_id", "")
    properties.setdefault("type", "")
    dead_at = _time(why["at"], now)
    return Letter(
        letter_id=letter_name(clean, str(why["at"])),
        queue=why["queue"],
        exchange=why["exchange"],
        routing_key=why["routing_key"],
        message_id=clean.message_id or "",
        type=_short(clean.type or headers.get("cloudEvents_type") or ""),
        source=_short(headers.get("cloudEvents_source") or content.get("source") or ""),
        payment_id=_named(content, "payment_id"),
        order_id=_named(content, "order_id"),
        reason=why["reason"],
        detail=why["detail"],
        field=why["field"],
        fingerprint=why["fingerprint"],
        properties=properties,
        headers=headers,
        body=clean.body,
        redacted=clean is not delivery or clean.headers.get("fail-redacted") is True,
        first_dead_at=dead_at,
        dead_at=dead_at,
        state_at=now,
    )


def letter_name(delivery: Delivery, died_at: str) -> str:
    """Name a death: the same delivery, seen twice, has the same name."""
    parts = (delivery.queue, delivery.message_id or "", died_at)
    digest = hashlib.sha256("\0".join(parts).encode() + b"\0" + delivery.body).hexdigest()
    return PREFIX + digest[:16]


def _why(delivery: Delivery) -> dict[str, str]:
    headers = delivery.headers
    deaths = headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    if "fail-reason" in headers:
        told = {
            name: str(headers.get(f"fail-{name.replace('_', '-')}", ""))
            for name in ("reason", "detail", "field", "exchange", "routing_key", "at", "fingerprint")
        }
        # Its sender may have written headers like ours: where it goes back to is where it lay, not what they say.
        return told | {"queue": delivery.queue.removesuffix(_DEAD)}
    # The broker itself gave it up, for it killed its readers (rabbitmq.com/docs/dlx#effects).
    reason = str(death.get("reason") or headers.get("x-first-death-reason") or "unknown")
    keys = death.get("routing-keys") or [""]
    died = death.get("time")
    return {
        "reason": reason,
        "detail": f"the broker gave it up: {reason}",
        "field": "",
        "queue": delivery.queue.removesuffix(_DEAD),
        "exchange": str(death.get("exchange") or ""),
        "routing_key": str(keys[0]),
        "at": rfc3339(died.astimezone(UTC)) if isinstance(died, datetime) else "",
        "fingerprint": hashlib.sha256(f"{reason}|{delivery.type}|".encode()).hexdigest()[:16],
    }


def _content(delivery: Delivery) -> Mapping[str, Any]:
    """What it says, as far as it can be read: of a structured CloudEvent, its data and its source."""
    try:
        content = json.loads(delivery.body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    data = content.get("data")
    return {**data, "source": content.get("source")} if isinstance(data, dict) else content


def _named(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    return _short(value) if isinstance(value, str) and value else None


def _short(value: object) -> str:
    return str(value).replace("\0", "")[:_MAX_NAME]


def _time(text: str, now: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return now
