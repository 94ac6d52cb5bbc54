"""What operators do to letters: each step one transaction, with its line in the audit log, and nobody overrun."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from consumers.topology import WORK_QUEUES
from ledger.ledger import Ledger
from ledger.letters import Letter, LetterState
from ledger.letters import Letters as LetterRows
from ledger.records import AuditLine, Changes, Wanted
from messages.ids import PaymentId
from ops.dead_letters.choosing import content_of, whats_at
from ops.people import is_same_person

MOVES_MONEY = ("PaymentRequested", "CaptureRequested", "RefundRequested")
TYPE_HEADERS = ("cloudEvents_type", "cloudEvents:type")
OPEN = (LetterState.NEW, LetterState.PARKED)


class Refused(Exception):
    """A letter cannot be changed like this; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who acts, and why; written into the audit log."""

    name: str
    reason: str = ""

    @property
    def actor(self) -> str:
        """As the audit log names them."""
        return f"operator:{self.name}"


@dataclass(slots=True, kw_only=True)
class Done:
    """What came of a step that was meant for several letters."""

    changed: list[Letter] = field(default_factory=list)
    proposed: list[str] = field(default_factory=list)
    """Too much money for one person: they wait for another one's approval."""
    refused: dict[str, str] = field(default_factory=dict)
    """Letters that could not be changed, and why."""


class Desk:
    """Where letters are worked on."""

    def __init__(
        self, ledger: Ledger, *, clock: Callable[[], datetime], second_person_above: int | None = None
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._second_person_above = second_person_above

    def letters(self, states: Iterable[LetterState] = ()) -> list[Letter]:
        """All letters, or those of some states."""
        with self._ledger.letters() as letters:
            return letters.find(states=states)

    def requeue(self, ids: Sequence[str], by: Operator, *, to: str | None = None) -> Done:
        """Send letters back to the queue they died in, or to another one: a worker's relay publishes them."""
        if to is not None and to not in {queue.name for queue in WORK_QUEUES}:
            names = ", ".join(queue.name for queue in WORK_QUEUES)
            raise Refused(f"there is no queue {to}: letters go back to {names}")

        def send(letter: Letter, done: Done) -> Letter:
            if letter.redacted:
                raise Refused(
                    "card data was blanked out of it, so it is not what was sent: have it sent anew without"
                )
            if moves_too_much(letter, self._second_person_above):
                done.proposed.append(letter.letter_id)
                return replace(
                    letter,
                    proposal=json.dumps({"by": by.name, "reason": by.reason, "to": to or letter.queue}),
                )
            return _sent(letter, to or letter.queue)

        return self._each(ids, by, "DeadLetterRequeued", send, sends=True)

    def approve(self, ids: Sequence[str], by: Operator) -> Done:
        """Do what another operator proposed."""

        def send(letter: Letter, _done: Done) -> Letter:
            proposal = _proposal(letter)
            if is_same_person(proposal["by"], by.name):
                raise Refused(f"{by.name} has proposed it: another person must approve")
            return _sent(replace(letter, proposal=None), proposal["to"])

        return self._each(ids, by, "DeadLetterApproved", send, sends=True)

    def park(self, ids: Sequence[str], by: Operator, *, until: datetime | None = None) -> Done:
        """Put letters aside with a note, for good or until a time."""

        def aside(letter: Letter, _done: Done) -> Letter:
            return replace(letter, state=LetterState.PARKED, note=by.reason, snoozed_until=until)

        return self._each(ids, by, "DeadLetterParked", aside)

    def discard(self, ids: Sequence[str], by: Operator) -> Done:
        """Give letters up. They stay in the table, and can be restored."""

        def away(letter: Letter, _done: Done) -> Letter:
            return replace(letter, state=LetterState.DISCARDED, note=by.reason, proposal=None)

        return self._each(ids, by, "DeadLetterDiscarded", away)

    def restore(self, ids: Sequence[str], by: Operator) -> Done:
        """Take letters up again that were discarded or parked."""

        def back(letter: Letter, _done: Done) -> Letter:
            return replace(letter, state=LetterState.NEW, note=by.reason, snoozed_until=None)

        states = (LetterState.DISCARDED, LetterState.PARKED)
        return self._each(ids, by, "DeadLetterRestored", back, states=states)

    def replace(self, old: Letter, new: Letter, by: Operator) -> None:
        """Put an edited letter in the place of another.

        Raises:
            Refused: somebody has changed the other meanwhile.
        """
        with self._step() as (letters, audit):
            here = letters.named([old.letter_id]).get(old.letter_id)
            if here is None or here.state_at != old.state_at or not here.is_open:
                raise Refused(_overtaken(here))
            now = self._clock()
            edited = replace(
                here,
                state=LetterState.EDITED,
                replaced_by=new.letter_id,
                note=by.reason,
                actor=by.name,
                state_at=now,
            )
            letters.keep([edited, new])
            audit.append(_line(edited, by, "DeadLetterEdited", now, replaced_by=new.letter_id))

    def add(self, brought: Sequence[Letter], by: Operator) -> int:
        """Take in letters that were exported elsewhere; those that are here already stay as they are."""
        with self._step() as (letters, audit):
            here = letters.named([letter.letter_id for letter in brought])
            # What somebody has proposed elsewhere is not proposed here: a file could say anything.
            fresh = [replace(letter, proposal=None) for letter in brought if letter.letter_id not in here]
            letters.add(fresh)
            now = self._clock()
            audit.extend(_line(letter, by, "DeadLetterImported", now) for letter in fresh)
        return len(fresh)

    def _each(
        self,
        ids: Sequence[str],
        by: Operator,
        action: str,
        change: Callable[[Letter, Done], Letter],
        *,
        states: Sequence[LetterState] = OPEN,
        sends: bool = False,
    ) -> Done:
        """Change letters in one transaction; one that another operator was quicker with is left alone."""
        done = Done()
        with self._step() as (letters, audit):
            here = letters.named(ids)
            now = self._clock()
            for letter_id in ids:
                letter = here.get(letter_id)
                try:
                    if letter is None or letter.state not in states:
                        raise Refused(_overtaken(letter))
                    changed = replace(change(letter, done), actor=by.name, state_at=now)
                except Refused as why:
                    done.refused[letter_id] = str(why)
                    continue
                letters.keep([changed])
                if letter_id in done.proposed:
                    audit.append(_line(changed, by, "DeadLetterProposed", now))
                else:
                    done.changed.append(changed)
                    audit.append(_line(changed, by, action, now, queue=changed.queue))
            if sends:
                letters.send_back(done.changed, now=now)
        return done

    @contextmanager
    def _step(self) -> Iterator[tuple[LetterRows, list[AuditLine]]]:
        audit: list[AuditLine] = []
        with self._ledger.turn() as turn:
            turn.load(Wanted())
            yield turn.letters, audit
            turn.write(Changes(audit=audit))


def moves_too_much(letter: Letter, limit: int | None) -> bool:
    """Whether a second person must look: it moves more than the limit, in minor units, or nobody knows how much."""
    content = content_of(letter)
    # The worker goes by the CloudEvents type; a sender may have written another one beside it.
    told = (letter.type, *map(letter.headers.get, TYPE_HEADERS), whats_at(content, ["type"]))
    if limit is None or not any(kind in MOVES_MONEY for kind in told):
        return False
    data = content.get("data", content) if isinstance(content, dict) else None
    minor = whats_at(data, ["amount", "minor"])
    return not isinstance(minor, int) or minor > limit


def _sent(letter: Letter, queue: str) -> Letter:
    return replace(
        letter,
        state=LetterState.REQUEUED,
        queue=queue,
        requeues=letter.requeues + 1,
        outcome="",
        snoozed_until=None,
    )


def _proposal(letter: Letter) -> dict[str, Any]:
    if letter.proposal is None:
        raise Refused("nobody has proposed anything: nothing is to be approved")
    found: dict[str, Any] = json.loads(letter.proposal)
    return found


def _overtaken(letter: Letter | None) -> str:
    if letter is None:
        return "there is no such letter: `payments dead-letters list --state any` shows them all"
    who = f" by {letter.actor}" if letter.actor else ""
    return f"it is {letter.state.value} since {letter.state_at:%Y-%m-%d %H:%M:%S}{who}: nothing was changed"


def _line(letter: Letter, by: Operator, action: str, now: datetime, **details: object) -> AuditLine:
    told = {"reason": by.reason, "message_id": letter.message_id, **details}
    return AuditLine(
        actor=by.actor,
        action=action,
        payment_id=PaymentId(letter.payment_id) if letter.payment_id else None,
        subject=letter.letter_id,
        cause="payments dead-letters",
        result=letter.state.value if letter.proposal is None else "proposed",
        details=json.dumps(told, sort_keys=True, separators=(",", ":")),
        happened_at=now,
    )
