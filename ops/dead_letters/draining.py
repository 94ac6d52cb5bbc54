"""Takes dead letters out of their queues: written down first, acknowledged after the commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from consumers.delivery import Bus, Delivery
from consumers.topology import WORK_QUEUES
from ledger.ledger import Ledger
from ledger.letters import LETTER_HEADER, Letter, LetterState
from ledger.records import AuditLine, Changes, Wanted
from ops.dead_letters.reading import read_letter

DEAD_QUEUES = tuple(queue.dead_letter_queue for queue in WORK_QUEUES)
BATCH = 200
QUIET_S = 1.5
"""When nothing has come for so long, the queues are empty."""


@dataclass(slots=True, kw_only=True)
class Drained:
    """What was taken in."""

    new: int = 0
    again: int = 0
    """Sent back before, and dead once more."""
    seen: int = 0
    """Here already: a drain before this one died between its commit and its ack."""


def drain(
    bus: Bus,
    ledger: Ledger,
    *,
    actor: str,
    clock: Callable[[], datetime],
    goes_on: Callable[[], bool] = lambda: False,
    progress: Callable[[Drained], None] = lambda _drained: None,
) -> Drained:
    """Drain until the queues are empty and `goes_on` says no. The bus is open, and consumes the dead queues alone.

    Raises:
        BusDown: the broker was lost; what was not acknowledged is there again.
        LedgerError: the database was lost, and nothing is acknowledged that it does not have.
    """
    drained = Drained()
    while True:
        deliveries = bus.receive(wait_s=QUIET_S, limit=BATCH)
        if deliveries:
            _take_in(ledger, deliveries, drained, actor=actor, now=clock())
            bus.ack(deliveries)
            progress(drained)
        elif not goes_on():
            return drained


def _take_in(
    ledger: Ledger, deliveries: Sequence[Delivery], drained: Drained, *, actor: str, now: datetime
) -> None:
    letters = [read_letter(delivery, now) for delivery in deliveries]
    claimed = [str(delivery.headers.get(LETTER_HEADER) or "") for delivery in deliveries]
    counted = Drained()
    with ledger.turn() as turn:
        turn.load(Wanted())
        known = turn.letters.named([*(letter.letter_id for letter in letters), *filter(None, claimed)])
        for letter, claim in zip(letters, claimed, strict=True):
            before = known.get(claim) or known.get(letter.letter_id)
            if before is None or before.message_id != letter.message_id:
                before = known.get(letter.letter_id)
            if before is None:
                counted.new += 1
                known[letter.letter_id] = letter
            elif letter.dead_at > before.dead_at:
                counted.again += 1
                known[before.letter_id] = _died_again(before, letter, now)
            else:
                counted.seen += 1
        turn.letters.keep(known.values())
        turn.write(Changes(audit=[_line(actor, counted, now)]))
    drained.new += counted.new
    drained.again += counted.again
    drained.seen += counted.seen


def _died_again(before: Letter, now_dead: Letter, now: datetime) -> Letter:
    return replace(
        before,
        reason=now_dead.reason,
        detail=now_dead.detail,
        field=now_dead.field,
        fingerprint=now_dead.fingerprint,
        dead_at=now_dead.dead_at,
        deaths=before.deaths + 1,
        state=LetterState.NEW,
        state_at=now,
        outcome="died again",
    )


def _line(actor: str, counted: Drained, now: datetime) -> AuditLine:
    counts = {"new": counted.new, "again": counted.again, "seen": counted.seen}
    return AuditLine(
        actor=actor,
        action="DeadLettersDrained",
        payment_id=None,
        subject="dead-letters",
        cause="payments dead-letters drain",
        result="drained",
        details=json.dumps(counts, sort_keys=True, separators=(",", ":")),
        happened_at=now,
    )
