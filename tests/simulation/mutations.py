"""Planted bugs, each one that was made before, somewhere: a simulation that does not find them proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import consumers.cycle
import consumers.turn
import handlers.attempt
import handlers.dispatch
import handlers.payment_requested
import handlers.requests
import handlers.void_requested
from consumers.cycle import Cycle
from consumers.delivery import Delivery, Outgoing
from consumers.outbound import DeadLetterReceipt, EventReceipt, event_message
from consumers.turn import Result, Work
from gateways.protocol import Approved, LookupRequest
from handlers.attempt import Ask
from handlers.conclude import conclude
from handlers.decision import Answered, Asked, Decision, Known, Noticed, Policy
from handlers.late_truth import late_truth
from ledger.ledger import Ledger, LedgerDown
from ledger.records import Changes, Due, Found, InboxRow, Loaded, MessageKey, OutboxEvent, Trace, Wanted
from ledger.states import Attempt, AttemptState, Payment
from messages.events import FailureReason
from messages.operation import Operation
from tests.simulation.books import LedgerWithEdges, TurnWithEdges, described
from tests.simulation.edges import Edge


@dataclass(frozen=True, slots=True)
class Mutation:
    """A bug that can be planted, and what it is."""

    name: str
    plant: Callable[[], Any]
    """Makes a context manager; inside it the bug is there."""


MUTATIONS: list[Mutation] = []


def mutation(name: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Add a planted bug to the list."""

    def add(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        @contextmanager
        def planted() -> Iterator[None]:
            with ExitStack() as stack:
                plant(Patch(stack))
                yield

        MUTATIONS.append(Mutation(name, planted))
        return plant

    return add


@dataclass(frozen=True, slots=True)
class Patch:
    """Replaces what a name stands for, until the stack is left."""

    stack: ExitStack

    def __call__(self, owner: Any, name: str, new: Any) -> Any:
        """Put `new` in the place, and return what was there."""
        old = owner.__dict__[name]
        self.stack.callback(setattr, owner, name, old)
        setattr(owner, name, new)
        return old


# --- the order of commit, call, publish and ack ------------------------------------------------------------------


@mutation("acks a command before the commit")
def _acks_first(patch: Patch) -> None:
    def take(cycle: Any, deliveries: Sequence[Delivery]) -> None:
        old(cycle, deliveries)
        cycle._bus.ack(work.delivery for work in cycle._work if work.delivery is not None)
        cycle._work = [replace(work, delivery=None) for work in cycle._work]

    old = patch(Cycle, "_take_deliveries", take)


@mutation("calls the gateway before the commit")
def _calls_first(patch: Patch) -> None:
    def inside(cycle: Any, turn: Any) -> None:
        cycle._calls.start(turn.calls())
        turn._calls = []

    _before_the_commit(patch, inside)


@mutation("publishes an event before the commit")
def _publishes_first(patch: Patch) -> None:
    def inside(cycle: Any, turn: Any) -> None:
        cycle._publish([event_message(event) for event in turn._changes.events])

    _before_the_commit(patch, inside)
    patch(consumers.turn._Turn, "to_publish", lambda _turn, _ours: [])


def _before_the_commit(patch: Patch, inside: Callable[[Any, Any], None]) -> None:
    """Have something done while the turn can still be undone."""
    cycles: list[Any] = []

    def turn(cycle: Any, work: list[Work], **options: Any) -> None:
        cycles.append(cycle)
        try:
            old_turn(cycle, work, **options)
        finally:
            cycles.pop()

    def changes(turn: Any) -> Changes:
        made: Changes = old_changes(turn)
        inside(cycles[-1], turn)
        return made

    old_turn = patch(Cycle, "_turn", turn)
    old_changes = patch(consumers.turn._Turn, "changes", changes)


@mutation("remembers a message in a transaction of its own")
def _dedupes_apart(patch: Patch) -> None:
    def run_turn(ledger: Any, work: list[Work], **options: Any) -> Result:
        asked = {_key(item): item.happening for item in work if isinstance(item.happening, Asked)}
        with ledger.turn() as transaction:
            seen = transaction.load(Wanted(messages=set(asked))).inbox
            rows = [_row(new, options["now"]) for key, new in asked.items() if key not in seen]
            transaction.write(Changes(inbox=rows))
        fresh = [item for item in work if _key(item) not in seen]
        result: Result = old(ledger, fresh, **options)
        return result

    old = patch(consumers.cycle, "run_turn", run_turn)


def _key(item: Work) -> MessageKey:
    happening = item.happening
    return (happening.source, happening.message_id) if isinstance(happening, Asked) else ("", "")


def _row(asked: Asked, now: datetime) -> InboxRow:
    return InboxRow(
        source=asked.source,
        message_id=asked.message_id,
        body_hash=asked.body_hash,
        subject=asked.payment_id,
        received_at=now,
    )


@mutation("acks a command before its dead letter is confirmed")
def _acks_the_dying(patch: Patch) -> None:
    def dead_letter(cycle: Any, delivery: Delivery, **why: Any) -> Outgoing:
        letter = old(cycle, delivery, **why)
        del cycle._dying[DeadLetterReceipt(delivery.generation, delivery.tag)]
        cycle._bus.ack([delivery])
        return letter  # type: ignore[no-any-return]

    old = patch(Cycle, "_dead_letter", dead_letter)


@mutation("forgets its work when the database goes away")
def _forgets_work(patch: Patch) -> None:
    def lose(cycle: Any, error: LedgerDown) -> None:
        cycle._work = []
        old(cycle, error)

    old = patch(Cycle, "_lose_ledger", lose)


# --- events ------------------------------------------------------------------------------------------------------


@mutation("marks as published what was not confirmed")
def _marks_unconfirmed(patch: Patch) -> None:
    def publish(cycle: Any, messages: list[Outgoing]) -> None:
        old(cycle, messages)
        keys = [message.receipt.key for message in messages if isinstance(message.receipt, EventReceipt)]
        cycle._confirmed.extend(keys)

    old = patch(Cycle, "_publish", publish)


@mutation("relays what is newer than the last it has relayed")
def _relays_by_last_id(patch: Patch) -> None:
    last: list[datetime] = []

    def stale_events(ledger: Any, *, before: datetime, limit: int) -> list[OutboxEvent]:
        found: list[OutboxEvent] = old(ledger, before=before, limit=limit)
        return [event for event in found if not last or event.created_at > last[0]]

    def left_behind(waiting: list[OutboxEvent], **options: Any) -> list[OutboxEvent]:
        left: list[OutboxEvent] = old_left(waiting, **options)
        last[:] = [max(event.created_at for event in left)] if left else last
        return left

    old = patch(LedgerWithEdges, "stale_events", stale_events)
    old_left = patch(consumers.cycle, "_left_behind", left_behind)


@mutation("publishes an event before an earlier one that another worker has left")
def _publishes_out_of_order(patch: Patch) -> None:
    def to_publish(turn: Any, _ours: Any) -> list[OutboxEvent]:
        return list(turn._changes.events)

    patch(consumers.turn._Turn, "to_publish", to_publish)


# --- locks and timers --------------------------------------------------------------------------------------------


@mutation("locks no rows")
def _locks_nothing(patch: Patch) -> None:
    """What is loaded comes from a transaction before: on SQLite nothing less lets two workers in at once."""

    class Unlocked(TurnWithEdges):
        def __init__(self, ledger: LedgerWithEdges) -> None:
            self.written = ""
            self._ledger = ledger

        def find(self, traces: Iterable[Trace]) -> dict[Trace, Found]:
            with Ledger.turn(self._ledger) as turn:
                return turn.find(traces)

        def load(self, wanted: Wanted) -> Loaded:
            with Ledger.turn(self._ledger) as turn:
                loaded = turn.load(wanted)
            self._ledger._passed(Edge.LOADED)
            return loaded

        def write(self, changes: Changes) -> None:
            self.written = described(changes)
            with Ledger.turn(self._ledger) as turn:
                turn.load(Wanted())  # it takes its audit chain with what it loads
                turn.write(changes)

        def stored(self, streams: list[str]) -> list[OutboxEvent]:
            with Ledger.turn(self._ledger) as turn:
                return turn.stored(streams)

    @contextmanager
    def turn(ledger: Any) -> Iterator[Unlocked]:
        ledger._passed(Edge.BEFORE_TURN)
        unlocked = Unlocked(ledger)
        yield unlocked
        ledger._tell(unlocked.written)
        ledger._passed(Edge.AFTER_COMMIT)

    patch(LedgerWithEdges, "turn", turn)


@mutation("takes a timer away when it looks at it")
def _loses_timers(patch: Patch) -> None:
    seen: set[Due] = set()

    def due(ledger: Any, *, now: datetime, limit: int) -> list[Due]:
        found = [timer for timer in old(ledger, now=now, limit=limit) if timer not in seen]
        seen.update(found)
        return found

    old = patch(LedgerWithEdges, "due", due)


# --- what an answer means ----------------------------------------------------------------------------------------


@mutation("takes unknown for failed")
def _unknown_is_failed(patch: Patch) -> None:
    def in_doubt(attempt: Attempt, detail: str, _policy: Policy, now: datetime) -> Attempt:
        reason = FailureReason.GATEWAY_UNAVAILABLE.value
        failed = replace(attempt, reason=reason, detail=detail)
        return handlers.attempt.closed(failed, AttemptState.FAILED, now)

    patch(handlers.attempt, "in_doubt", in_doubt)


@mutation("applies an answer once more")
def _applies_twice(patch: Patch) -> None:
    def answered(known: Known, happening: Answered, policy: Policy, now: datetime) -> Decision:
        attempt = known.attempts[happening.attempt_id]
        step = handlers.attempt.when_answered(
            attempt, happening.answer, is_lookup=happening.is_lookup, policy=policy, now=now
        )
        return conclude(known, step, happening.answer, policy, now)

    patch(handlers.dispatch, "_answered", answered)


@mutation("takes a refused call for proof that no earlier one was executed")
def _forgets_doubt(patch: Patch) -> None:
    def not_sent(attempt: Attempt, answer: Any, **options: Any) -> Any:
        return old(replace(attempt, doubtful=False), answer, **options)

    old = patch(handlers.attempt, "_not_sent", not_sent)


@mutation("takes one absence for proof")
def _one_absence(patch: Patch) -> None:
    def absent(attempt: Attempt, detail: str, policy: Policy, now: datetime) -> Any:
        return old(attempt, detail, replace(policy, absence_window=timedelta()), now)

    old = patch(handlers.attempt, "_absent", absent)


# --- what is sent ------------------------------------------------------------------------------------------------


@mutation("makes the key when it calls")
def _key_at_call_time(patch: Patch) -> None:
    def request(ask: Ask, attempt: Attempt, *rest: Any) -> Any:
        made = old(ask, attempt, *rest)
        return (
            made if ask == "lookup" else replace(made, attempt_id=f"{made.attempt_id}.{attempt.call_number}")
        )

    old = patch(handlers.requests, "_request", request)


@mutation("sends again under a new key")
def _new_key(patch: Patch) -> None:
    def request(ask: Ask, attempt: Attempt, *rest: Any) -> Any:
        made = old(ask, attempt, *rest)
        if isinstance(made, LookupRequest) or attempt.tries < 2:
            return made
        return replace(made, attempt_id=f"{made.attempt_id}.{attempt.tries}")

    old = patch(handlers.requests, "_request", request)


@mutation("sends again outside the replay window")
def _after_the_window(patch: Patch) -> None:
    def may_send_again(attempt: Attempt, policy: Policy, _now: datetime) -> bool:
        return attempt.tries < policy.max_sends

    patch(handlers.attempt, "may_send_again", may_send_again)


@mutation("reserves nothing for a refund under way")
def _reserves_nothing(patch: Patch) -> None:
    def refundable(payment: Payment) -> int:
        return payment.captured_gross - payment.refunded

    patch(Payment, "refundable", property(refundable))


@mutation("does not look whether the order is being paid")
def _no_order_guard(patch: Patch) -> None:
    def refusal(known: Known, *rest: Any) -> Any:
        return old(replace(known, order_paid_by=None), *rest)

    old = patch(handlers.payment_requested, "_refusal", refusal)


@mutation("forgets that a payment under way was called off")
def _forgets_calling_off(patch: Patch) -> None:
    def in_flight(known: Known, payment: Payment, policy: Policy, now: datetime) -> Decision:
        decision: Decision = old(known, payment, policy, now)
        if decision.payment is None:
            return decision
        return replace(decision, payment=replace(decision.payment, cancel_requested=False))

    old = patch(handlers.void_requested, "_in_flight", in_flight)


# --- what is told ------------------------------------------------------------------------------------------------


@mutation("applies a notice twice")
def _applies_notices_twice(patch: Patch) -> None:
    def noticed(known: Known, told: Noticed, policy: Policy, now: datetime) -> Decision:
        attempt = known.attempts.get(told.attempt_id) if told.attempt_id is not None else None
        is_known = (
            attempt is not None
            and attempt.operation is Operation.SALE
            and attempt.state is AttemptState.SUCCEEDED
            and told.notice.came_through
        )
        if attempt is None or not is_known:
            return old(known, told, policy, now)  # type: ignore[no-any-return]
        again = replace(attempt, call_number=attempt.call_number + 1, state=AttemptState.UNKNOWN)
        return late_truth(known, again, _as_told(again), policy, now)

    old = patch(handlers.dispatch, "noticed", noticed)


def _as_told(attempt: Attempt) -> Approved:
    return Approved(reference=attempt.reference or attempt.attempt_id, amount=attempt.money())
