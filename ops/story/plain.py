"""One payment's story for programs."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import Any

from ledger.stories import Story
from messages.card_data import redacted
from ops.events import data_of
from ops.story.moments import moments

SECRET_FIELDS = ("request", "request_hash", "brought")
"""The command holds a token, and what a customer brought back from the bank may complete a payment: never shown."""


def story_as_json(story: Story) -> str:
    """The story as JSON; amounts in minor units, times in UTC, no token. `moments` tells it in the order of time."""
    parts = {
        "payment": _plain(story.payment),
        "attempts": [_plain(attempt) for attempt in story.attempts],
        "captures": [_plain(capture) for capture in story.captures],
        "refunds": [_plain(refund) for refund in story.refunds],
        "journals": [_plain(line) for line in story.journal_lines],
        "events": [
            {
                "id": announced.event.event_id,
                "type": announced.event.type,
                "published_at": announced.published_at,
                "data": data_of(announced.event),
            }
            for announced in story.events
        ],
        "callbacks": [_plain(callback) for callback in story.callbacks],
        "dead_letters": [_plain(letter) for letter in story.letters],
        "audit": [_plain(row) for row in story.audit],
        "moments": [_plain(moment) for moment in moments(story)],
    }
    return redacted(json.dumps(parts, indent=2, default=_written))


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain(value: Any) -> dict[str, Any]:
    return {name: item for name, item in dataclasses.asdict(value).items() if name not in SECRET_FIELDS}
