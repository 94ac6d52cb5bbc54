"""Letters for people and for programs: tables, one letter whole, groups of like cases, counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ledger.letters import Letter, LetterState
from messages.card_data import redacted
from ops.dead_letters.choosing import content_of
from ops.dead_letters.editing import Wrong, shown

_PLAIN: dict[str, Any] = {"box": box.SIMPLE_HEAD, "title_justify": "left", "pad_edge": False}


def age(then: datetime, now: datetime) -> str:
    """How long ago, in one unit."""
    seconds = max(int((now - then).total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def short(letter_id: str) -> str:
    """The beginning of an id: enough to name a letter by."""
    return letter_id[:11]


def table_of(letters: Sequence[Letter], now: datetime) -> Table:
    """One line a letter."""
    table = Table(title=f"{len(letters)} dead letters", **_PLAIN)
    for column in ("letter", "age", "state", "type", "about", "died of"):
        table.add_column(column, overflow="fold", no_wrap=column in ("letter", "age", "state"))
    for letter in letters:
        state = letter.state.value + (" ✋" if letter.proposal else "")
        about = letter.payment_id or letter.order_id or letter.message_id
        reason = letter.reason + (f" ×{letter.deaths}" if letter.deaths > 1 else "")
        row = (
            short(letter.letter_id),
            age(letter.dead_at, now),
            state,
            letter.type,
            about,
            reason,
            letter.detail,
        )
        table.add_row(*(Text(redacted(cell)) for cell in row))
    return table


def groups_of(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    """Like cases together, the largest group first."""
    groups: dict[str, list[Letter]] = {}
    for letter in letters:
        groups.setdefault(letter.fingerprint, []).append(letter)
    told = []
    for fingerprint, members in groups.items():
        members.sort(key=lambda letter: letter.dead_at)
        first = members[0]
        told.append(
            {
                "group": fingerprint,
                "count": len(members),
                "reason": first.reason,
                "type": first.type,
                "queue": first.queue,
                "field": redacted(first.field),
                "detail": redacted(first.detail),
                "oldest": first.dead_at.isoformat(),
                "newest": members[-1].dead_at.isoformat(),
                "sample": first.letter_id,
            }
        )
    return sorted(told, key=lambda group: (-int(str(group["count"])), str(group["group"])))


def table_of_groups(groups: Sequence[dict[str, Any]], now: datetime) -> Table:
    """One line a group."""
    table = Table(title=f"{sum(group['count'] for group in groups)} dead letters by cause", **_PLAIN)
    for column in ("group", "count", "age", "type", "died of", "for instance"):
        table.add_column(
            column,
            justify="right" if column == "count" else "left",
            overflow="fold",
            no_wrap=column not in ("type", "died of"),
        )
    for group in groups:
        newest, oldest = (age(datetime.fromisoformat(group[name]), now) for name in ("newest", "oldest"))
        table.add_row(
            Text(group["group"][:8], style="bold"),
            str(group["count"]),
            newest if newest == oldest else f"{newest}-{oldest}",
            Text(group["type"]),
            Text(_cause(group["reason"], group["detail"])),
            short(group["sample"]),
        )
    return table


def _cause(reason: str, detail: str) -> str:
    return redacted(f"{reason}: {detail}" if detail else reason)


def as_row(letter: Letter) -> dict[str, Any]:
    """A letter for programs, without its body."""
    return {
        "letter": letter.letter_id,
        "state": letter.state.value,
        "queue": letter.queue,
        "type": redacted(letter.type),
        "message_id": redacted(letter.message_id),
        "payment_id": letter.payment_id and redacted(letter.payment_id),
        "order_id": letter.order_id and redacted(letter.order_id),
        "reason": letter.reason,
        "detail": redacted(letter.detail),
        "field": redacted(letter.field),
        "group": letter.fingerprint,
        "first_dead_at": letter.first_dead_at.isoformat(),
        "dead_at": letter.dead_at.isoformat(),
        "deaths": letter.deaths,
        "requeues": letter.requeues,
        "outcome": letter.outcome,
        "redacted": letter.redacted,
        "state_at": letter.state_at.isoformat(),
        "actor": letter.actor,
        "note": redacted(letter.note),
        "snoozed_until": letter.snoozed_until and letter.snoozed_until.isoformat(),
        "replaced_by": letter.replaced_by,
        "proposal": json.loads(letter.proposal) if letter.proposal else None,
    }


def as_whole(letter: Letter) -> dict[str, Any]:
    """A letter for programs with its headers and body; secrets hidden, card numbers blanked out."""
    return as_row(letter) | {
        "exchange": letter.exchange,
        "routing_key": letter.routing_key,
        "properties": shown(dict(letter.properties)),
        "headers": shown(json.loads(json.dumps(dict(letter.headers), default=str))),
        "body": _body(letter),
    }


def whole(letter: Letter) -> RenderableType:
    """One letter for people."""
    told = as_row(letter)
    facts = Table(show_header=False, **_PLAIN)
    for name in told:
        if told[name] not in (None, "", False, 0):
            facts.add_row(name.replace("_", " "), Text(str(told[name])))
    more = as_whole(letter)
    headers = json.dumps({**more["properties"], **more["headers"]}, indent=2, ensure_ascii=False)
    body = more["body"] if isinstance(more["body"], str) else json.dumps(more["body"], indent=2)
    return Group(
        facts,
        Text("properties and headers", style="bold"),
        Text(headers),
        Text("\nbody", style="bold"),
        Text(body),
    )


def _body(letter: Letter) -> Any:
    content = content_of(letter)
    if content is not None:
        return shown(content)
    return redacted(letter.body[:10_000].decode(errors="replace"))


def table_of_wrongs(wrongs: Sequence[Wrong]) -> Table:
    """Where a body differs from its schema."""
    table = Table(title=f"{len(wrongs)} differences from the schema", **_PLAIN)
    for column in ("at", "what is wrong", "it says"):
        table.add_column(column, overflow="fold")
    for wrong in wrongs:
        table.add_row(Text(wrong.at), Text(wrong.problem), Text(wrong.found))
    return table


def counts(letters: Sequence[Letter], now: datetime) -> dict[str, Any]:
    """How many there are, by state, queue and reason, and how old the oldest that waits is, in seconds."""
    waiting = [letter for letter in letters if letter.is_open]
    sent = [letter for letter in letters if letter.requeues]
    return {
        "states": dict(Counter(letter.state.value for letter in letters)),
        "waiting_by_queue": dict(Counter(letter.queue for letter in waiting)),
        "waiting_by_reason": dict(Counter(letter.reason for letter in waiting)),
        "oldest_waiting_s": max(((now - letter.dead_at).total_seconds() for letter in waiting), default=0.0),
        "sent_back": len(sent),
        "sent_back_and_resolved": sum(letter.state is LetterState.RESOLVED for letter in sent),
        "sent_back_and_dead_again": sum(letter.outcome == "died again" for letter in sent),
    }
