"""Planted bugs, each one that was made before, somewhere: a simulation that does not find them proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from consumers.cycle import Cycle
from consumers.delivery import Delivery, Outgoing
from consumers.outbound import DeadLetterReceipt, EventReceipt, event_message
from consumers.turn import Result, Work
from gateways.protocol import LookupRequest
from handlers.decision import Answered, Decision, Known, Policy
from ledger.ledger import LedgerDown
from ledger.records import Changes, Due, Loaded, OutboxEvent, Wanted
from ledger.states import Attempt, AttemptState, Payment
from messages.events import FailureReason
from tests.simulation.books import LedgerWithEdges, TurnWithEdges
from tests.simulation.edges import Edge

Planting = Callable[[], Iterator[None]]


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
    def inside(cycle: Any, result: Result) -> None:
        cycle._calls.start(result.calls)
        result.calls = []

    _within_the_transaction(patch, inside)


@mutation("publishes an event before the commit, outside the outbox")
def _publishes_first(patch: Patch) -> None:
    def inside(cycle: Any, result: Result) -> None:
        cycle._publish([event_message(event) for event in result.events])
        result.events = []

    _within_the_transaction(patch, inside)


def _within_the_transaction(patch: Patch, inside: Callable[[Any, Result], None]) -> None:
    """Have something done while the turn can still be undone."""
    cycles: list[Any] = []

    def turn(cycle: Any, work: list[Work], **options: Any) -> None:
        cycles.append(cycle)
        try:
            old_turn(cycle, work, **options)
        finally:
            cycles.pop()

    def run_turn(ledger: Any, work: Any, *, policy: Any, now: Any, confirmed: Any, ours: Any) -> Result:
        work = list(work)
        with ledger.turn() as transaction:
            folded = consumers.turn._Turn(transaction.load(consumers.turn._wanted(work)), policy, now)
            for item in work:
                folded.settle(item)
            changes = folded.changes()
            changes.published.extend(confirmed)
            changes.published_at = now
            result = Result(calls=folded.calls(), events=folded.to_publish(ours))
            inside(cycles[-1], result)
            transaction.write(changes)
        return result

    old_turn = patch(Cycle, "_turn", turn)
    patch(consumers.cycle, "run_turn", run_turn)


@mutation("remembers a message in a transaction of its own")
def _dedupes_apart(patch: Patch) -> None:
    def run_turn(ledger: Any, work: Any, **options: Any) -> Result:
        work = list(work)
        asked = [item for item in work if isinstance(item.happening, handlers.dispatch.Asked)]
        with ledger.turn() as transaction:
            known = transaction.load(consumers.turn._wanted(asked)).inbox
            changes = Changes(inbox=[])
            fresh: list[Work] = []
            folded = consumers.turn._Turn(Loaded(inbox=dict(known)), options["policy"], options["now"])
            for item in work:
                key = (getattr(item.happening, "source", ""), getattr(item.happening, "message_id", ""))
                if item not in asked or key not in folded._inbox:
                    fresh.append(item)
                if item in asked:
                    folded._remember(item.happening)
            changes.inbox = folded._changes.inbox
            transaction.write(changes)
        return old(ledger, fresh, **options)

    def remember(_turn: Any, _asked: Any) -> None:
        pass

    class Forgetful(consumers.turn._Turn):
        _remember = remember

    def turn_without_inbox(ledger: Any, work: Any, **options: Any) -> Result:
        return original(ledger, work, **options)

    original = consumers.turn.run_turn
    old_remember = consumers.turn._Turn._remember
    old = turn_without_inbox

    def settle(turn: Any, item: Work) -> None:
        patched = consumers.turn._Turn.__dict__["_remember"]
        consumers.turn._Turn._remember = remember  # type: ignore[method-assign]
        try:
            old_settle(turn, item)
        finally:
            consumers.turn._Turn._remember = patched  # type: ignore[method-assign]

    old_settle = patch(consumers.turn._Turn, "settle", settle)
    patch(consumers.cycle, "run_turn", run_turn)
    del old_remember


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
        return [*turn._changes.events, *turn._rejections.values()]

    patch(consumers.turn._Turn, "to_publish", to_publish)


# --- locks and timers --------------------------------------------------------------------------------------------


@mutation("locks no rows")
def _locks_nothing(patch: Patch) -> None:
    """What is loaded comes from a transaction before: on SQLite nothing less lets two workers in at once."""

    class Unlocked(TurnWithEdges):
        def __init__(self, ledger: Any) -> None:
            self.written = ""
            self._ledger = ledger

        def load(self, wanted: Wanted) -> Loaded:
            with super(LedgerWithEdges, self._ledger).turn() as turn:
                loaded = turn.load(wanted)
            self._ledger._passed(Edge.LOADED)
            return loaded

        def write(self, changes: Changes) -> None:
            with super(LedgerWithEdges, self._ledger).turn() as turn:
                turn.load(Wanted())
                turn.write(changes)

    @contextmanager
    def turn(ledger: Any) -> Iterator[Unlocked]:
        ledger._passed(Edge.BEFORE_TURN)
        yield Unlocked(ledger)
        ledger._tell("without a lock")
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
        return handlers.attempt._closed(failed, AttemptState.FAILED, now)

    patch(handlers.attempt, "in_doubt", in_doubt)


@mutation("applies an answer once more")
def _applies_twice(patch: Patch) -> None:
    def answered(known: Known, happening: Answered, policy: Policy, now: datetime) -> Decision:
        attempt = known.attempts[happening.attempt_id]
        step = handlers.attempt.when_answered(
            attempt, happening.answer, is_lookup=happening.is_lookup, policy=policy, now=now
        )
        return handlers.dispatch._conclude(known, step, happening, policy, now)

    patch(handlers.dispatch, "_answered", answered)


@mutation("takes the answer of a call that another has overtaken")
def _no_fencing(patch: Patch) -> None:
    def answered(known: Known, happening: Answered, policy: Policy, now: datetime) -> Decision:
        attempt = known.attempts[happening.attempt_id]
        decision: Decision = old(
            known, replace(happening, call_number=attempt.call_number), policy, now
        )
        return decision

    old = patch(handlers.dispatch, "_answered", answered)


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


@mutation("counts an absence from when it is read, not from when it was asked")
def _reads_late(patch: Patch) -> None:
    def absent(attempt: Attempt, detail: str, policy: Policy, now: datetime) -> Any:
        return old(replace(attempt, updated_at=now), detail, policy, now)

    old = patch(handlers.attempt, "_absent", absent)


# --- what is sent ------------------------------------------------------------------------------------------------


@mutation("makes the key when it calls")
def _key_at_call_time(patch: Patch) -> None:
    def request(ask: Any, attempt: Attempt, *rest: Any) -> Any:
        made = old(ask, attempt, *rest)
        return made if ask == "lookup" else replace(made, attempt_id=f"{made.attempt_id}.{attempt.call_number}")

    old = patch(handlers.requests, "_request", request)


@mutation("sends again under a new key")
def _new_key(patch: Patch) -> None:
    def request(ask: Any, attempt: Attempt, *rest: Any) -> Any:
        made = old(ask, attempt, *rest)
        if isinstance(made, LookupRequest) or attempt.tries < 2:
            return made
        return replace(made, attempt_id=f"{made.attempt_id}.{attempt.tries}")

    old = patch(handlers.requests, "_request", request)


@mutation("sends again outside the replay window")
def _after_the_window(patch: Patch) -> None:
    def may_send_again(attempt: Attempt, policy: Policy, _now: datetime) -> bool:
        return attempt.tries < policy.max_sends

    patch(handlers.attempt, "_may_send_again", may_send_again)


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
