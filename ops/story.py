"""One payment's story, in the order of time: for people as lines, for programs as JSON."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ledger.reports import JournalLine, Story
from ledger.states import Capture, Payment, Refund
from messages.card_data import redacted
from messages.money import Money
from ops.events import data_of

SECRET_FIELDS = ("request", "request_hash", "brought")
"""The command holds a token, and what a customer brought back from the bank may complete a payment: never shown."""

_PLAIN: dict[str, Any] = {"box": box.SIMPLE_HEAD, "title_justify": "left", "pad_edge": False}


def render_story(story: Story) -> RenderableType:
    """Draw the whole story: what it is, what happened and when, what became of each attempt and refund."""
    parts: list[RenderableType] = [_heading(story.payment), _timeline(story)]
    if story.attempts:
        parts.append(_attempts(story))
    if story.captures:
        parts.append(_captures(story))
    if story.refunds:
        parts.append(_refunds(story))
    return Group(*parts)


def _heading(payment: Payment) -> Text:
    money = payment.money
    text = Text()
    text.append(f"{payment.payment_id}", style="bold")
    text.append(f"  order {payment.order_id}  {money(payment.requested)}  {payment.gateway}  ")
    text.append(payment.status.value, style="bold")
    if payment.attention:
        text.append("  a person must look", style="bold red")
    amounts = {
        "authorized": payment.authorized,
        "captured": payment.captured_gross,
        "being captured": payment.capture_pending,
        "let go": payment.released,
        "taken back": payment.capture_reversed,
        "refunded": payment.refunded,
        "refunded at the gateway": payment.refunded_external,
        "being refunded": payment.refund_pending,
        "left to capture": payment.capturable,
        "left to refund": max(payment.refundable, 0),
    }
    told = "  ".join(f"{name} {money(minor)}" for name, minor in amounts.items() if minor)
    text.append(
        f"\n{told or 'no money has moved'}\nasked by {payment.source}, command {payment.command_id}\n"
    )
    return text


def _timeline(story: Story) -> Table:
    table = Table(title=f"What happened ({story.payment.created_at:%Y-%m-%d} and on, UTC)", **_PLAIN)
    for column in ("when", "what", "about", "came of it"):
        table.add_column(column, overflow="fold")
    for at, _, what, about, came in sorted(_moments(story)):
        table.add_row(f"{at:%H:%M:%S.%f}"[:-3], *map(redacted, (what, about, came)))
    return table


def _moments(story: Story) -> list[tuple[datetime, int, str, str, str]]:
    """Decisions, journals and events; those of one moment in the order cause, books, event."""
    moments: list[tuple[datetime, int, str, str, str]] = []
    for row in story.audit:
        place = f"{row.result}   [audit {row.shard}/{row.position}]"
        moments.append((row.happened_at, 0, f"{row.actor}: {row.action}", row.subject, place))
    for journal_id, lines in groupby(story.journal_lines, key=attrgetter("journal_id")):
        legs = list(lines)
        first = legs[0]
        sides = "\n".join(_leg(line) for line in sorted(legs, key=attrgetter("side"), reverse=True))
        source = journal_id.removesuffix(f"/{first.journal_type}")
        moments.append((first.effective_at, 1, f"booked {first.journal_type}", source, sides))
    for announced in story.events:
        event, at = announced.event, announced.published_at
        told = f"confirmed {at:%H:%M:%S}" if at else "not confirmed yet"
        moments.append((event.created_at, 2, f"announced {event.type}", event.event_id, told))
    return moments


def _leg(line: JournalLine) -> str:
    side = {"D": "debit", "C": "credit"}[line.side]
    return f"{side} {line.account.value} {line.account.words} {Money(line.amount, line.currency)}"


def _attempts(story: Story) -> Table:
    table = Table(title="Attempts (their ids are the idempotency keys)", **_PLAIN)
    for column in ("attempt", "asked", "state", "sent", "looked up", "gateway's id, and why"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("sent", "looked up") else "left"
        )
    for attempt in story.attempts:
        why = (attempt.reference, attempt.reason, attempt.code and f"({attempt.code})", attempt.detail)
        asked = f"{attempt.operation} {attempt.money()}"
        table.add_row(
            attempt.attempt_id,
            asked,
            attempt.state.value,
            str(attempt.tries),
            str(attempt.inquiries),
            redacted("\n".join(filter(None, why))),
        )
    return table


def _captures(story: Story) -> Table:
    table = _commands("Captures", "capture")
    for capture in story.captures:
        asked_by = f"{capture.source} {capture.command_id}"
        table.add_row(capture.capture_id, _amount(capture), capture.status.value, asked_by)
    return table


def _refunds(story: Story) -> Table:
    table = _commands("Refunds", "refund")
    for refund in story.refunds:
        asked_by = f"{refund.source} {refund.command_id}"
        table.add_row(refund.refund_id, _amount(refund), refund.status.value, asked_by)
    return table


def _commands(title: str, name: str) -> Table:
    table = Table(title=title, **_PLAIN)
    for column in (name, "amount", "status", "asked by"):
        table.add_column(column, overflow="fold")
    return table


def _amount(asked: Capture | Refund) -> str:
    if asked.amount is None or asked.currency is None:
        return "all that is left"
    return str(Money(asked.amount, asked.currency))


def story_as_json(story: Story) -> str:
    """The story as JSON; amounts in minor units, times in UTC, no token."""
    return redacted(
        json.dumps(
            {
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
                "audit": [_plain(row) for row in story.audit],
            },
            indent=2,
            default=_written,
        )
    )


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain(value: Any) -> dict[str, Any]:
    return {name: item for name, item in dataclasses.asdict(value).items() if name not in SECRET_FIELDS}
