"""Follows what is announced: events as the broker confirms them, from the outbox that keeps them all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ledger.records import OutboxEvent
from ledger.reports import OVERLAP, AnnouncedEvent, announced_events
from messages.card_data import redacted
from messages.money import Money

POLL_S = 0.5


def follow(
    url: str, *, payment_id: str | None = None, since_s: float = 0, once: bool = False
) -> Iterator[AnnouncedEvent]:
    """Give each announced event once, for ever, or until there is nothing more.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    after = datetime.now(UTC) - timedelta(seconds=since_s)
    seen: dict[tuple[str, int], datetime | None] = {}
    while True:
        # A turn that began earlier may commit later, so the last seconds are looked at again.
        found = announced_events(url, after=after, payment_id=payment_id)
        news = [event for event in found if event.event.key not in seen]
        for announced in news:
            seen[announced.event.key] = announced.published_at
            yield announced
        latest = max((at for at in seen.values() if at), default=None)
        if latest is not None:
            after = max(after, latest - OVERLAP)
            seen = {key: at for key, at in seen.items() if at is None or at > after - OVERLAP}
        if not news:
            if once:
                return
            time.sleep(POLL_S)


def render_event(announced: AnnouncedEvent) -> str:
    """One line for people: when, what, about what, how much."""
    event = announced.event
    body = json.loads(event.body)
    amount = body.get("amount")
    parts = [
        f"{announced.published_at:%H:%M:%S}" if announced.published_at else "        ",
        f"{event.type:22}",
        f"{body.get('refund_id') or body.get('payment_id') or body.get('command_id', ''):28}",
        f"{Money(**amount)!s:>16}" if amount else " " * 16,
        str(body.get("message") or ""),
    ]
    return redacted(" ".join(parts).rstrip())


def event_as_json(announced: AnnouncedEvent) -> str:
    """The event as one line of JSON: id, type, routing key, and its data."""
    event = announced.event
    at = announced.published_at
    return redacted(
        json.dumps(
            {
                "id": event.event_id,
                "type": event.type,
                "routing_key": event.routing_key,
                "published_at": at.isoformat() if at else None,
                "data": data_of(event),
            }
        )
    )


def data_of(event: OutboxEvent) -> dict[str, Any]:
    """The event's data, without the links and secrets that let whoever has them act as the customer."""
    data: dict[str, Any] = json.loads(event.body)
    action = data.get("next_action")
    if action:
        data["next_action"] = {name: value if name == "type" else "***" for name, value in action.items()}
    return data
