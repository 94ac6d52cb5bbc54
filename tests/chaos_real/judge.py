"""The judge of a chaos run: the gateways' own records against the books and the events. It asks no worker.

It does not prescribe how a command ends, for a kill may rightly end it as never executed. It insists that it ends, that
what was announced is what the gateway did, and that nothing was done twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain

from messages.operation import Operation
from tests.chaos_real.evidence import DELIVERED_TOO_OFTEN, Asked, Evidence, Move, OpenAttempt, Violation
from tests.listener import Heard

ENDS_OF_PAYMENTS = {
    "PaymentSucceeded",
    "PaymentAuthorized",
    "PaymentFailed",
    "PaymentVoided",
    "PaymentExpired",
}
ENDS_OF_CAPTURES = {"PaymentSucceeded", "PaymentCaptureFailed"}
ENDS_OF_VOIDS = {"PaymentVoided", "PaymentVoidFailed", "PaymentFailed", "PaymentExpired"}
ENDS_OF_REFUNDS = {"RefundProcessed", "RefundFailed"}
NOTHING_TAKEN = {"PaymentFailed", "PaymentVoided", "PaymentExpired"}
TAKES = (Operation.SALE, Operation.CAPTURE)
BEGINS = (Operation.SALE, Operation.AUTHORIZE)


class Events:
    """What was heard, each id once."""

    def __init__(self, heard: list[Heard]) -> None:
        self.by_id: dict[str, Heard] = {}
        self.of_payment: dict[str, list[Heard]] = defaultdict(list)
        self.rejected: dict[str, Heard] = {}
        self.said_otherwise: list[Heard] = []
        for event in heard:
            first = self.by_id.setdefault(event.id, event)
            if first is event:
                self._take_in(event)
            elif (first.type, first.body) != (event.type, event.body):
                self.said_otherwise.append(event)

    def _take_in(self, event: Heard) -> None:
        if event.type == "CommandRejected":
            self.rejected[event.body["command_id"]] = event
        else:
            self.of_payment[event.body["payment_id"]].append(event)

    def kinds(self, payment_id: str) -> list[str]:
        """The types of a payment's own events, in the order they were heard; not those of its refunds."""
        return [event.type for event in self.of_payment[payment_id] if "refund_id" not in event.body]

    def of_part(self, payment_id: str, part_id: str) -> list[Heard]:
        """The events about a capture or a refund."""
        names = ("capture_id", "refund_id")
        return [e for e in self.of_payment[payment_id] if part_id in (e.body.get(name) for name in names)]

    def has_ended(self, asked: Asked) -> bool:
        """Whether the command has ended in an event or a rejection."""
        if asked.command_id in self.rejected:
            return True
        own = set(self.kinds(asked.payment_id))
        match asked.kind:
            case "PaymentRequested":
                return bool(own & ENDS_OF_PAYMENTS) or self._was_given_back(asked.payment_id)
            case "VoidRequested":
                return bool(own & ENDS_OF_VOIDS) or self._was_given_back(asked.payment_id)
            case "CaptureRequested":
                ends = ENDS_OF_CAPTURES
            case _:
                ends = ENDS_OF_REFUNDS
        return any(e.type in ends for e in self.of_part(asked.payment_id, asked.part_id or ""))

    def _was_given_back(self, payment_id: str) -> bool:
        """A payment called off too late is given back, by a refund named after it."""
        return any(e.type in ENDS_OF_REFUNDS for e in self.of_part(payment_id, f"{payment_id}.void"))


def left_to_a_person(evidence: Evidence) -> list[OpenAttempt]:
    """What stays in doubt, as promised, until a person acts.

    No send was answered, the gateway cannot be asked, and a person has been told. The gateway must never have come to
    act on it: what came of that, it would have said in a callback.
    """
    alone = [
        attempt
        for attempt in evidence.open_attempts
        if attempt.is_unknown
        and not attempt.can_be_asked
        and attempt.attempt_id not in evidence.acted_on
        and evidence.booked[attempt.payment_id].needs_a_person
    ]
    in_doubt = {attempt.payment_id for attempt in alone if attempt.operation in BEGINS}
    # Until then the payment is called off at the gateway again and again.
    called_off = [
        attempt
        for attempt in evidence.open_attempts
        if attempt.operation is Operation.VOID and attempt.payment_id in in_doubt
    ]
    return alone + called_off


def unended(evidence: Evidence, events: Events | None = None) -> list[Asked]:
    """The commands that have ended in neither an event, a rejection nor a dead letter, and are not a person's."""
    events = events or Events(evidence.heard)
    dead = {letter.message_id for letter in evidence.dead_letters}
    left = {attempt.part_id for attempt in left_to_a_person(evidence)}
    return [
        asked
        for asked in evidence.asked
        if asked.command_id not in dead
        and (asked.part_id or asked.payment_id) not in left
        and not events.has_ended(asked)
    ]


def judge(evidence: Evidence) -> list[Violation]:
    """Say every promise that was broken."""
    events = Events(evidence.heard)
    moves: dict[str, list[Move]] = defaultdict(list)
    for move in evidence.moves:
        moves[move.payment_id].append(move)
    payments = sorted(moves.keys() | events.of_payment.keys() | evidence.booked.keys())
    return list(
        chain(
            _commands(evidence, events),
            *(_once(payment_id, moves[payment_id]) for payment_id in payments),
            *(_amounts(payment_id, moves[payment_id], events, evidence) for payment_id in payments),
            *(_failures(payment_id, moves[payment_id], events) for payment_id in payments),
            *(_endings(payment_id, events) for payment_id in payments),
            _sequences(events),
            _outbox(evidence, events),
            _keys(evidence),
            _rest(evidence),
        )
    )


def _commands(evidence: Evidence, events: Events) -> Iterator[Violation]:
    for asked in unended(evidence, events):
        yield Violation(
            kind="lost",
            payment_id=asked.payment_id,
            text=f"{asked.kind} {asked.command_id} ({asked.part_id or asked.payment_id}) ended in nothing",
        )


def _once(payment_id: str, moves: list[Move]) -> Iterator[Violation]:
    """Charged at most once, each capture taken once, each refund given back once."""
    begun = [move for move in moves if move.operation in BEGINS]
    if len(begun) > 1:
        where = ", ".join(f"{move.operation} {move.attempt_id} at {move.gateway}" for move in begun)
        yield Violation(
            kind="double charge", payment_id=payment_id, text=f"executed {len(begun)} times: {where}"
        )
    for operation, kind in ((Operation.CAPTURE, "double capture"), (Operation.REFUND, "double refund")):
        parts = Counter(move.part_id for move in moves if move.operation is operation)
        for part_id, times in parts.items():
            if times > 1:
                yield Violation(kind=kind, payment_id=payment_id, text=f"{part_id}: executed {times} times")


def _amounts(payment_id: str, moves: list[Move], events: Events, evidence: Evidence) -> Iterator[Violation]:
    """What was taken and given back is the same at the gateway, in the books and in the events."""
    heard = events.of_payment[payment_id]
    booked = evidence.booked.get(payment_id)
    if booked is None:
        if moves or heard:
            yield Violation(kind="not booked", payment_id=payment_id, text="it is not in the books")
        return
    taken = sum(move.minor for move in moves if move.operation in TAKES)
    given = sum(move.minor for move in moves if move.operation is Operation.REFUND)
    told_taken = sum(e.body["amount"]["minor"] for e in heard if e.type == "PaymentSucceeded")
    told_given = sum(e.body["amount"]["minor"] for e in heard if e.type == "RefundProcessed")
    if taken != booked.captured:
        yield _differs(payment_id, "captured", taken, f"{booked.captured} is booked")
    if given != booked.refunded:
        yield _differs(payment_id, "refunded", given, f"{booked.refunded} is booked")
    if taken != told_taken:
        yield _differs(payment_id, "captured", taken, f"{told_taken} was announced")
    if given != told_given:
        yield _differs(payment_id, "refunded", given, f"{told_given} was announced")
    if given > taken:
        yield Violation(
            kind="over-refund", payment_id=payment_id, text=f"{given} was given back of {taken} taken"
        )


def _differs(payment_id: str, what: str, really: int, but: str) -> Violation:
    return Violation(
        kind="amounts differ", payment_id=payment_id, text=f"{what} at the gateway: {really}, but {but}"
    )


def _failures(payment_id: str, moves: list[Move], events: Events) -> Iterator[Violation]:
    """Unknown is never announced as failed: of what was called failed, the gateway knows nothing."""
    executed = {move.part_id for move in moves if move.operation in (Operation.CAPTURE, Operation.REFUND)}
    kinds = events.kinds(payment_id)
    if "PaymentFailed" in kinds and any(move.operation in BEGINS for move in moves):
        yield Violation(
            kind="failed but executed", payment_id=payment_id, text="announced as failed, and it was executed"
        )
    for event in events.of_payment[payment_id]:
        part_id = event.body.get("refund_id") or event.body.get("capture_id")
        if event.type in ("RefundFailed", "PaymentCaptureFailed") and part_id in executed:
            yield Violation(
                kind="failed but executed", payment_id=payment_id, text=f"{event.type} {part_id}: executed"
            )
    held = any(move.operation is Operation.AUTHORIZE for move in moves)
    if "PaymentAuthorized" in kinds and not held:
        yield Violation(
            kind="announced, not executed", payment_id=payment_id, text="authorized, and nothing is held"
        )


def _endings(payment_id: str, events: Events) -> Iterator[Violation]:
    """One subject, one ending."""
    kinds = Counter(events.kinds(payment_id))
    for kind in ("PaymentAuthorized", "PaymentFailed", "PaymentVoided", "PaymentExpired"):
        if kinds[kind] > 1:
            yield Violation(
                kind="announced twice", payment_id=payment_id, text=f"{kind} under {kinds[kind]} ids"
            )
    if kinds["PaymentSucceeded"] and NOTHING_TAKEN & kinds.keys():
        yield Violation(
            kind="contradiction", payment_id=payment_id, text=f"announced as {', '.join(sorted(kinds))}"
        )
    parts: dict[str, list[str]] = defaultdict(list)
    for event in events.of_payment[payment_id]:
        part_id = event.body.get("refund_id") or event.body.get("capture_id")
        if part_id and event.type in ENDS_OF_REFUNDS | ENDS_OF_CAPTURES:
            parts[part_id].append(event.type)
    for part_id, ends in parts.items():
        if len(ends) > 1:
            yield Violation(
                kind="announced twice", payment_id=payment_id, text=f"{part_id}: {', '.join(ends)}"
            )


def _sequences(events: Events) -> Iterator[Violation]:
    for payment_id, heard in events.of_payment.items():
        numbers = [event.body["sequence"] for event in heard]
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield Violation(kind="gap", payment_id=payment_id, text=f"events {numbers} were heard")
        elif numbers != sorted(numbers):
            yield Violation(
                kind="out of order", payment_id=payment_id, text=f"events were first heard as {numbers}"
            )
    for event in events.said_otherwise:
        yield Violation(
            kind="said otherwise",
            payment_id=event.body.get("payment_id"),
            text=f"event {event.id} was heard with two contents",
        )


def _outbox(evidence: Evidence, events: Events) -> Iterator[Violation]:
    """What is written down was heard, and the other way round."""
    for event_id in sorted(evidence.written_events.keys() - events.by_id.keys()):
        yield Violation(
            kind="lost event",
            payment_id=evidence.written_events[event_id],
            text=f"event {event_id} is in the outbox and was never heard",
        )
    for event_id in sorted(events.by_id.keys() - evidence.written_events.keys()):
        yield Violation(
            kind="event from nowhere",
            payment_id=events.by_id[event_id].body.get("payment_id"),
            text=f"event {event_id} was heard and is not in the outbox",
        )


def _keys(evidence: Evidence) -> Iterator[Violation]:
    for move in evidence.moves:
        if move.attempt_id not in evidence.attempts:
            yield Violation(
                kind="key from nowhere",
                payment_id=move.payment_id,
                text=f"the gateway executed {move.attempt_id}, which is not written down",
            )


def _rest(evidence: Evidence) -> Iterator[Violation]:
    """The books prove themselves, nothing waits, nothing was put aside without a reason, nobody gave up."""
    for problem in evidence.problems_in_the_books:
        yield Violation(kind="books", text=problem)
    left = left_to_a_person(evidence)
    for attempt in evidence.open_attempts:
        if attempt not in left:
            yield Violation(
                kind="not at rest",
                payment_id=attempt.payment_id,
                text=f"{attempt.attempt_id} is still under way",
            )
    if evidence.unpublished:
        yield Violation(kind="not at rest", text=f"{evidence.unpublished} events are not published")
    payment_of = {asked.command_id: asked.payment_id for asked in evidence.asked}
    for letter in evidence.dead_letters:
        if letter.reason != DELIVERED_TOO_OFTEN:
            yield Violation(
                kind="dead letter",
                payment_id=payment_of.get(letter.message_id or ""),
                text=f"{letter.queue}: {letter.message_id}: {letter.reason} {letter.detail}".rstrip(),
            )
    for exit_ in evidence.exits:
        yield Violation(kind="gave up", text=exit_)
