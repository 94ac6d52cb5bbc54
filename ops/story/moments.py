"""What happened to a payment, moment by moment, in the order of time: each with its id and its cause."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from ledger.stories import AuditRow, Callback, JournalLine, LetterNote, Story
from messages.card_data import redacted
from messages.money import Money


class Lane(StrEnum):
    """Who acts, or what is written."""

    ASKED = "asked"
    """A command of another service."""
    GATEWAY = "gateway"
    """An answer to a call of ours."""
    CALLBACK = "callback"
    """A gateway told us by itself."""
    CLOCK = "clock"
    """A time has come: to send again, to look up, to let go."""
    BOOKS = "books"
    EVENT = "event"
    DEAD_LETTER = "dead letter"
    PERSON = "person"


_ORDER = {lane: number for number, lane in enumerate(Lane)}
"""Of one moment: causes first, then the books, then what is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened. Its texts hold no secret, and no card data."""

    at: datetime
    lane: Lane
    what: str
    about: str
    """The id of what it is about: payment, attempt, capture, refund, letter."""
    came: str
    """What came of it; lines."""
    id: str
    cause: str
    """The id of what brought it about."""
    names: tuple[str, ...] = ()
    """Other ids by which a later moment may name this one as its cause."""


def moments(story: Story) -> list[Moment]:
    """All moments, first to last."""
    told = {callback.notice_id: callback for callback in story.callbacks}
    letters = {letter.letter_id: letter for letter in story.letters}
    # A refund made at the gateway has the callback that told of it for its command.
    made_there = {refund.command_id: refund.refund_id for refund in story.refunds if refund.external}
    made = [
        _decision(row, told.get(row.cause), letters, made_there.get(row.cause, "")) for row in story.audit
    ]
    made += [_booked(list(lines)) for _, lines in groupby(story.journal_lines, key=attrgetter("journal_id"))]
    made += _announcements(story)
    replacements = {letter.replaced_by for letter in story.letters}
    made += [_died(letter) for letter in story.letters if letter.letter_id not in replacements]
    made += [_settled(letter) for letter in story.letters if letter.state == "resolved"]
    heard = {row.cause for row in story.audit}
    made += [_unheard(callback) for callback in story.callbacks if callback.notice_id not in heard]
    return sorted(map(_clean, made), key=lambda moment: (moment.at, _ORDER[moment.lane]))


def causes(told: list[Moment]) -> list[int | None]:
    """For each moment the place of the one that brought it about; None: it came from outside."""
    places: dict[str, int] = {}
    found: list[int | None] = []
    for number, moment in enumerate(told):
        # An attempt's id begins with the id of the payment, capture or refund that it is for.
        likely = (
            moment.cause,
            moment.about,
            moment.cause.rpartition(".")[0],
            moment.about.rpartition(".")[0],
        )
        found.append(next((places[name] for name in likely if name and name in places), None))
        places |= dict.fromkeys((moment.id, *moment.names), number)
    return found


def _clean(moment: Moment) -> Moment:
    return replace(
        moment,
        what=redacted(moment.what),
        about=redacted(moment.about),
        came=redacted(moment.came),
        id=redacted(moment.id),
        cause=redacted(moment.cause),
    )


def _decision(
    row: AuditRow, callback: Callback | None, letters: dict[str, LetterNote], refund_id: str
) -> Moment:
    actor, _, person = row.actor.partition(":")
    came = [row.result]
    names: tuple[str, ...] = (row.subject, row.cause)
    match actor:
        case "gateway" if person:
            lane, what, names = Lane.CALLBACK, f"{person}: {row.action}", (row.cause, refund_id)
        case "gateway":
            lane, what = Lane.GATEWAY, f"gateway: {row.action}"
        case "clock":
            lane, what = Lane.CLOCK, f"clock: {row.action}"
        case "operator":
            lane, what, names = Lane.PERSON, f"{person}: {row.action}", _letter_names(row.subject, letters)
        case _:
            lane, what = Lane.ASKED, f"{row.actor}: {row.action}"
    if callback is not None and (amount := callback.notice.get("amount")):
        came.append(str(Money(**amount)))
    if lane is Lane.PERSON and row.details.get("reason"):
        came.append(f"“{row.details['reason']}”")
    return Moment(
        at=row.happened_at,
        lane=lane,
        what=what,
        about=row.subject,
        came="\n".join(came),
        id=f"audit {row.shard}/{row.position}",
        cause=row.cause,
        names=names,
    )


def _letter_names(letter_id: str, letters: dict[str, LetterNote]) -> tuple[str, ...]:
    """A letter, the one that took its place, and the messages they are."""
    known = [letters[letter_id]] if letter_id in letters else []
    known += [letters[one.replaced_by] for one in known if one.replaced_by in letters]
    return (letter_id, *(name for one in known for name in (one.letter_id, one.message_id)))


def _booked(lines: list[JournalLine]) -> Moment:
    first = lines[0]
    source = first.journal_id.removesuffix(f"/{first.journal_type}")
    legs = "\n".join(_leg(line) for line in sorted(lines, key=attrgetter("side"), reverse=True))
    return Moment(
        at=first.effective_at,
        lane=Lane.BOOKS,
        what=f"booked {first.journal_type}",
        about=source,
        came=legs,
        id=first.journal_id,
        cause=source,
    )


def _leg(line: JournalLine) -> str:
    side = {"D": "debit", "C": "credit"}[line.side]
    return f"{side} {line.account.value} {line.account.words} {Money(line.amount, line.currency)}"


def _announcements(story: Story) -> list[Moment]:
    made = []
    for announced in story.events:
        event, confirmed = announced.event, announced.published_at
        amount = json.loads(event.body).get("amount")
        came = [f"confirmed {confirmed:%H:%M:%S}" if confirmed else "not confirmed yet"]
        if amount:
            came.append(str(Money(**amount)))
        made.append(
            Moment(
                at=event.created_at,
                lane=Lane.EVENT,
                what=f"announced {event.type}",
                about=event.subject,
                came="\n".join(came),
                id=event.event_id,
                cause=event.headers.get("cloudEvents_causationid", ""),
            )
        )
    return made


def _died(letter: LetterNote) -> Moment:
    came = (f"{letter.reason} {letter.field}".strip(), letter.detail, letter.queue)
    return Moment(
        at=letter.first_dead_at,
        lane=Lane.DEAD_LETTER,
        what=f"dead: {letter.type or 'a message'}",
        about=letter.letter_id,
        came="\n".join(filter(None, came)),
        id=letter.letter_id,
        cause=letter.message_id,
        names=(letter.message_id,),
    )


def _settled(letter: LetterNote) -> Moment:
    return Moment(
        at=letter.state_at,
        lane=Lane.DEAD_LETTER,
        what="settled after all",
        about=letter.letter_id,
        came=letter.outcome,
        id=letter.letter_id,
        cause=letter.message_id,
    )


def _unheard(callback: Callback) -> Moment:
    came = {"waiting": "fits nothing yet", "unmatched": "fits nothing: a person must look"}
    return Moment(
        at=callback.received_at,
        lane=Lane.CALLBACK,
        what=f"{callback.gateway}: {callback.event}",
        about=callback.attempt_id or "",
        came=came.get(callback.state, callback.state),
        id=callback.notice_id,
        cause=callback.notice_id,
    )
