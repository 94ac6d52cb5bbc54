"""On the queues themselves, for when the database is away: looking loses nothing, sending back is confirmed first.

A letter that is looked at is handed back unchanged. One that is sent back is published with its old id, confirmed,
and only then acknowledged: a crash in between leaves it twice, and the worker knows the second by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic

from consumers.delivery import Bus, BusDown, Delivery, Outgoing
from ledger.letters import LETTER_HEADER, Letter
from ops.dead_letters.draining import QUIET_S
from ops.dead_letters.reading import read_letter

CONFIRM_WITHIN_S = 30.0


def look(bus: Bus, *, limit: int, now: datetime) -> list[tuple[Letter, Delivery]]:
    """Read what lies in the queues, up to so many, without acknowledging any of it.

    Raises:
        BusDown: the broker was lost.
    """
    found: list[tuple[Letter, Delivery]] = []
    while len(found) < limit:
        deliveries = bus.receive(wait_s=QUIET_S, limit=limit - len(found))
        if not deliveries:
            break
        found += [(read_letter(delivery, now), delivery) for delivery in deliveries]
    return found


def send_back(
    bus: Bus,
    chosen: Sequence[tuple[Letter, Delivery]],
    *,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Publish letters to the queues they died in, and acknowledge each that the broker has confirmed.

    Raises:
        BusDown: the broker was lost, or did not confirm in time; what is not acknowledged is there again.
    """
    waiting = {letter.letter_id: delivery for letter, delivery in chosen}
    bus.publish([_message(letter) for letter, _ in chosen])
    deadline = monotonic() + CONFIRM_WITHIN_S
    done = 0
    while waiting:
        bus.receive(wait_s=0.1, limit=0)
        receipts = bus.receipts()
        confirmed = [waiting.pop(str(name)) for name in receipts.confirmed]
        bus.ack(confirmed)
        done += len(confirmed)
        progress(done)
        if receipts.failed or monotonic() > deadline:
            raise BusDown(f"{len(waiting)} letters were not confirmed: they lie where they lay")
    bus.receive(wait_s=0.1, limit=0)
    return done


def _message(letter: Letter) -> Outgoing:
    return Outgoing(
        exchange="",
        routing_key=letter.queue,
        body=letter.body,
        headers={**letter.headers, LETTER_HEADER: letter.letter_id},
        mandatory=True,
        receipt=letter.letter_id,
        **letter.properties,
    )
