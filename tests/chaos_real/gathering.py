"""Gathers the evidence of a chaos run: the gateways' records, the events heard, the books, the dead letters."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import kombu

from consumers.topology import WORK_QUEUES
from gateways.exponents import ADYEN_UNITS, PAYPAL_UNITS, STRIPE_UNITS
from ledger.reading import reading, rows
from ledger.states import OPEN_ATTEMPT, AttemptState
from ledger.verify import verify
from messages.operation import Operation
from simulators.control_client import ControlClient
from tests.chaos_real.evidence import Booked, DeadLetter, Evidence, Move, OpenAttempt
from tests.chaos_real.house import House
from tests.chaos_real.judge import left_to_a_person, unended
from tests.street.street import WORDS

CANNOT_BE_ASKED = ("adyen",)
_ATTEMPTS = "SELECT attempt_id, payment_id, operation, gateway, state FROM attempts"
_UNPUBLISHED = "SELECT count(*) FROM outbox WHERE published_at IS NULL"


def gather(house: House) -> Evidence:
    """Gather everything; the workers should have been sent home before."""
    evidence = so_far(house)
    evidence.problems_in_the_books = verify(house.database_url).problems
    evidence.exits = list(house.staff.exits)
    return evidence


def so_far(house: House) -> Evidence:
    """What there is by now; the books are not verified yet."""
    evidence = Evidence(
        asked=list(house.shop.asked),
        heard=house.ear.heard,
        moves=[move for name in house.place.gateways for move in moves_at(house, name)],
        acted_on={key for gateway in house.place.gateways.values() for key in _acted_on(gateway.control)},
        dead_letters=dead_letters(house.vhost),
    )
    with reading(house.database_url) as books:
        for row in rows(books, "SELECT * FROM payments"):
            evidence.booked[row.payment_id] = Booked(
                payment_id=row.payment_id,
                status=row.status,
                captured=row.captured_gross - row.capture_reversed,
                refunded=row.refunded + row.refunded_external,
                needs_a_person=bool(row.attention),
            )
        for row in rows(books, _ATTEMPTS):
            evidence.attempts.add(row.attempt_id)
            if row.state in OPEN_ATTEMPT:
                evidence.open_attempts.append(_open(row))
        for row in rows(books, "SELECT stream, sequence, published_at FROM outbox"):
            evidence.written_events[f"{row.stream}.e{row.sequence}"] = row.stream
            evidence.unpublished += row.published_at is None
    return evidence


def _acted_on(control: ControlClient) -> list[str]:
    counts = control.requests()["by_idempotency_key"]
    return [key for key, count in counts.items() if count["executed"]]


def _open(row: Any) -> OpenAttempt:
    return OpenAttempt(
        attempt_id=row.attempt_id,
        payment_id=row.payment_id,
        operation=Operation(row.operation),
        is_unknown=row.state == AttemptState.UNKNOWN,
        can_be_asked=row.gateway not in CANNOT_BE_ASKED,
    )


def moves_at(house: House, gateway: str) -> list[Move]:
    """Everything that one gateway really did."""
    return [_move(gateway, line) for line in house.place.gateways[gateway].control.record()]


def _move(gateway: str, line: dict[str, Any]) -> Move:
    match gateway:
        case "stripe":
            payment_id = line["metadata"].get("payment_id", "")
            money = STRIPE_UNITS.from_wire(line["amount"], line["currency"])
        case "adyen":
            payment_id = line["metadata"].get("payment_id", "")
            money = ADYEN_UNITS.from_wire(line["amount"], line["currency"])
        case _:
            payment_id = line["order_custom_id"].rpartition(".")[0]
            money = PAYPAL_UNITS.from_decimal(line["amount"], line["currency"])
    return Move(
        gateway=gateway,
        payment_id=payment_id,
        attempt_id=line["idempotency_key"] or "",
        operation=Operation(WORDS.get(line["operation"], line["operation"])),
        minor=money.minor,
    )


def dead_letters(url: str) -> list[DeadLetter]:
    """Look at every dead letter; they stay where they are."""
    found: list[DeadLetter] = []
    with closing(kombu.Connection(url)) as connection:
        channel = connection.channel()
        for queue in WORK_QUEUES:
            while (message := channel.basic_get(queue.dead_letter_queue, no_ack=False)) is not None:
                found.append(_dead_letter(queue.dead_letter_queue, message.properties))
    return found


def _dead_letter(queue: str, properties: dict[str, Any]) -> DeadLetter:
    headers = properties.get("application_headers") or {}
    brokers_own = headers.get("x-first-death-reason", "no reason given")
    return DeadLetter(
        queue=queue,
        message_id=properties.get("message_id"),
        reason=str(headers.get("fail-reason", brokers_own)),
        detail=str(headers.get("fail-detail", "")),
    )


def unpublished(house: House) -> int:
    """How many events wait in the outbox."""
    with reading(house.database_url) as books:
        return int(rows(books, _UNPUBLISHED)[0][0])


def what_waits(house: House) -> dict[str, int]:
    """What has not come to rest yet: attempts, parts that wait, unpublished events, messages, commands."""
    evidence = so_far(house)
    questions = {
        "waiting captures": "SELECT count(*) FROM captures WHERE due_at IS NOT NULL",
        "waiting refunds": "SELECT count(*) FROM refunds WHERE due_at IS NOT NULL",
        "waiting callbacks": "SELECT count(*) FROM callbacks WHERE due_at IS NOT NULL",
        "unpublished events": _UNPUBLISHED,
    }
    with reading(house.database_url) as books:
        found = {what: int(rows(books, sql)[0][0]) for what, sql in questions.items()}
    with closing(kombu.Connection(house.vhost)) as connection:
        channel = connection.channel()
        for queue in (*(queue.name for queue in WORK_QUEUES), house.ear.name):
            found[queue] = channel.queue_declare(queue=queue, passive=True).message_count
    found["open attempts"] = len(evidence.open_attempts) - len(left_to_a_person(evidence))
    found["commands"] = len(unended(evidence))
    return {what: number for what, number in found.items() if number}
