"""The worker's cycle: receive, decode, load, decide, commit; then call, publish, ack.

One loop, one transaction a turn, whatever has piled up. A light load makes small, quick turns, a heavy one large,
cheap ones; there is no timer to tune. What a crash leaves at each arrow is told in docs/path-of-a-payment.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

import structlog

from consumers.calls import Calls
from consumers.counts import Counts
from consumers.delivery import Bus, BusDown, Delivery, Outgoing
from consumers.inbound import Callback, Command, Dead, Rejected, read
from consumers.notices import from_json
from consumers.outbound import DeadLetterReceipt, EventKey, EventReceipt, dead_letter, event_message
from consumers.spans import begin_delivery, begin_publish, begin_turn
from consumers.tracing import Span, Tracer
from consumers.turn import Result, Told, Work, run_turn
from gateways.notice import Reader
from handlers.decision import Policy, TimerDue
from ledger.ledger import Conflict, Ledger, LedgerDown, NotMigrated
from ledger.records import AuditLine, OutboxEvent
from messages.envelope import Unreadable
from messages.events import RejectionReason

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the cycle; the settings decide on those that matter to an operator."""

    turn: int = 500
    """Deliveries a turn takes at most: beyond it a larger batch gains little and waits longer."""
    calls: int = 2000
    """Calls in flight at most; at the bound nothing more is received, so the queue holds the backlog."""
    timers: int = 200
    timer_poll_s: float = 0.5
    shun_s: float = 60.0
    """A timer whose turn fails is left alone for so long."""
    mark_after_s: float = 0.25
    """Confirmed events are marked with the next turn, or alone when none comes for so long."""
    relay_poll_s: float = 1.0
    relay_grace: timedelta = timedelta(seconds=3)
    """Events younger than this are still their own worker's to publish."""
    relay_batch: int = 500
    relay_lease: timedelta = timedelta(seconds=15)
    retry_s: float = 1.0
    """Pause before a broker or database that is away is tried again; doubles up to `retry_most_s`."""
    retry_most_s: float = 15.0
    stop_grace_s: float = 25.0


CONFLICT_TRIES = 3
CONFLICT_TRIES_ALONE = 10
"""Two workers that meet on one row are no fault of the message: it gets its chance before it is given up."""
CONFLICT_PAUSE_S = 0.01
WHATEVER_CLOCKS_SAY = timedelta(days=1)
"""Added to our time to see every event there is: other workers' clocks may be ahead of ours."""


class Cycle:
    """Runs turns until told to stop. All of it belongs to one thread, but `stop`."""

    def __init__(
        self,
        *,
        worker: str,
        bus: Bus,
        ledger: Ledger,
        calls: Calls,
        policy: Policy,
        clock: Callable[[], datetime],
        limits: Limits,
        readers: Mapping[str, Reader] | None = None,
        counts: Counts | None = None,
        tells_each: bool = False,
        tracer: Tracer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._worker = worker
        self._bus = bus
        self._ledger = ledger
        self._calls = calls
        self._policy = policy
        self._clock = clock
        self._limits = limits
        self._readers = readers or {}
        self._counts = counts or Counts(monotonic)
        self._tells_each = tells_each
        self._tracer = tracer
        self._publishing: dict[Hashable, Span] = {}
        self._monotonic = monotonic
        self._sleep = sleep
        self._stopping = False
        self._bus_is_up = False
        self._bus_retry = _Backoff(limits, monotonic)
        self._ledger_retry = _Backoff(limits, monotonic)
        self._work: list[Work] = []
        self._dying: dict[DeadLetterReceipt, Delivery] = {}
        self._in_flight: set[EventKey] = set()
        self._confirmed: list[EventKey] = []
        self._shunned: dict[TimerDue, float] = {}
        self._told_shut: set[str] = set()
        self._last_turn = 0.0
        self._next_timer_look = 0.0
        self._next_relay_look = 0.0
        calls.on_news(bus.wake)

    def stop(self) -> None:
        """Stop soon, from a signal handler or another thread: finish what is under way, start nothing new."""
        self._stopping = True
        self._bus.wake()

    def run(self) -> None:
        """Run until stopped.

        Raises:
            BusRefused: the broker will not have us as we are configured; a person must act.
            NotMigrated: the database is older than this code; a person must act.
        """
        while not self._stopping:
            self.step(wait_s=self._limits.timer_poll_s)
        self._wind_down()

    def step(self, *, wait_s: float) -> None:
        """Wait at most `wait_s` for something to do, and do it."""
        self._gather(wait_s)
        self._look_at_timers()
        if self._work or self._marks_are_due:
            self._settle()
        self._relay()
        self._counts.stepped()

    # --- receive and decode --------------------------------------------------------------------------------------

    def _gather(self, wait_s: float) -> None:
        """Take in deliveries, answers, and the broker's word on what was published."""
        ready = bool(self._work) and not self._ledger_retry.waiting
        if not self._bus_is_up and not self._open_bus():
            self._calls.wait(0 if ready else wait_s)
        else:
            room = min(self._limits.turn, self._room_for_calls)
            if self._ledger_retry.waiting or self._stopping:
                room = 0
            try:
                self._take_deliveries(self._bus.receive(wait_s=0 if ready else wait_s, limit=room))
            except BusDown as error:
                self._lose_bus(error)
        self._take_receipts()
        self._work.extend(Work(happening=answered) for answered in self._calls.take())

    @property
    def _room_for_calls(self) -> int:
        """How many more things may be taken in: each may make a call, and so may those that wait for their turn."""
        return max(self._calls.room(self._limits.calls) - len(self._work), 0)

    def _take_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self._counts.deliveries += len(deliveries)
        dead: list[Outgoing] = []
        for delivery in deliveries:
            match read(delivery, self._readers):
                case Command(asked=asked):
                    span = self._span_of(delivery, payment_id=asked.payment_id)
                    if span:
                        asked = replace(asked, traceparent=span.traceparent)
                    self._work.append(Work(happening=asked, delivery=delivery, span=span))
                case Callback(notices=notices, not_understood=words, card_data=hit):
                    if hit is not None:
                        self._counts.card_data[delivery.queue] += 1
                        log.error("card_data_blanked_out", queue=delivery.queue, field=hit.path)
                    self._work.append(
                        Work(
                            happening=Told(notices=notices),
                            delivery=delivery,
                            not_understood=words,
                            span=self._span_of(delivery, payment_id=None),
                        )
                    )
                case Rejected(why=why):
                    self._note_card_data(delivery, why)
                    span = self._span_of(delivery, payment_id=None)
                    self._work.append(Work(happening=why, delivery=delivery, span=span))
                case Dead(why=why):
                    self._note_card_data(delivery, why)
                    log.warning(
                        "message_unreadable", queue=delivery.queue, reason=why.reason, field=why.field
                    )
                    dead.append(
                        self._dead_letter(
                            delivery, reason=why.reason, detail=why.message, at=why.field, attempts=1
                        )
                    )
        self._publish(dead)

    def _span_of(self, delivery: Delivery, *, payment_id: str | None) -> Span | None:
        return begin_delivery(self._tracer, delivery, payment_id=payment_id) if self._tracer else None

    def _note_card_data(self, delivery: Delivery, why: Unreadable) -> None:
        """Raise the alarm: somebody sends what must not be here at all (docs/runbook.md)."""
        if why.reason is RejectionReason.CARD_DATA_REFUSED:
            self._counts.card_data[delivery.queue] += 1
            log.error("card_data_refused", queue=delivery.queue, field=why.field, source=why.sender.source)

    def _take_receipts(self) -> None:
        receipts = self._bus.receipts()
        settled: list[Delivery] = []
        for receipt in receipts.confirmed:
            match receipt:
                case EventReceipt(key=key):
                    self._in_flight.discard(key)
                    self._confirmed.append(key)
                    self._published(receipt, failed_with=None)
                case DeadLetterReceipt():
                    settled.extend(self._no_longer_dying(receipt))
        returned: list[Delivery] = []
        for receipt in receipts.failed:
            match receipt:
                case EventReceipt(key=key):
                    self._in_flight.discard(key)  # still in the outbox: the relay's now
                    self._published(receipt, failed_with="not_confirmed")
                case DeadLetterReceipt():
                    returned.extend(self._no_longer_dying(receipt))
        self._counts.confirmed += len(receipts.confirmed)
        if receipts.failed:
            self._counts.unconfirmed += len(receipts.failed)
            log.warning("publishes_failed", count=len(receipts.failed))
        try:
            self._bus.ack(settled)
            self._bus.requeue(returned)
        except BusDown as error:
            self._lose_bus(error)

    def _look_at_timers(self) -> None:
        if self._monotonic() < self._next_timer_look or self._ledger_retry.waiting or self._stopping:
            return
        self._next_timer_look = self._monotonic() + self._limits.timer_poll_s
        room = min(self._limits.timers, self._room_for_calls)
        if room == 0:
            return
        self._shunned = {timer: until for timer, until in self._shunned.items() if until > self._monotonic()}
        try:
            # What is shunned is still due, and first in line: it must not crowd out all the others.
            due = self._ledger.due(now=self._clock(), limit=room + len(self._shunned))
            waiting = self._ledger.waiting_callbacks(now=self._clock(), limit=room)
        except LedgerDown as error:
            self._lose_ledger(error)
            return
        timers = (
            TimerDue(
                payment_id=row.payment_id,
                attempt_id=row.attempt_id,
                # An attempt's timer is the attempt's, whatever it belongs to.
                capture_id=row.capture_id if row.attempt_id is None else None,
                refund_id=row.refund_id,
            )
            for row in due
        )
        healthy = (timer for timer in timers if timer not in self._shunned)
        self._work.extend(Work(happening=timer) for timer in islice(healthy, room))
        self._work.extend(
            Work(happening=Told(notices=(from_json(row.notice),), since=row.received_at)) for row in waiting
        )

    @property
    def _marks_are_due(self) -> bool:
        return bool(self._confirmed) and self._monotonic() - self._last_turn >= self._limits.mark_after_s

    # --- load, decide, commit ------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Run a turn over all the work; if it fails, run it again message by message."""
        if self._ledger_retry.waiting:
            return
        work, self._work = self._work, []
        try:
            self._turn(work)
        except LedgerDown as error:
            self._work = work
            self._lose_ledger(error)
        except NotMigrated:
            raise
        except Exception as error:
            self._counts.turns_failed += 1
            log.warning("turn_failed", work=len(work), error=type(error).__name__)
            self._settle_one_by_one(work)

    def _settle_one_by_one(self, work: list[Work]) -> None:
        while work:
            item = work[0]
            try:
                self._turn([item], tries=CONFLICT_TRIES_ALONE)
            except LedgerDown as error:
                self._work = work
                self._lose_ledger(error)
                return
            except NotMigrated:
                raise
            except Exception as error:
                self._give_up(item, error)
            work = work[1:]

    def _turn(self, work: list[Work], *, tries: int = CONFLICT_TRIES) -> None:
        """One transaction, then what follows from it. Conflicts with other workers are tried again."""
        began = self._monotonic()
        span = begin_turn(self._tracer, len(work)) if self._tracer else None
        confirmed = list(self._confirmed)
        ours = self._in_flight | set(confirmed)
        for tried in range(1, tries + 1):
            try:
                result = run_turn(
                    self._ledger,
                    work,
                    policy=replace(self._policy, unwell=self._calls.unwell),
                    now=self._clock(),
                    confirmed=confirmed,
                    ours=ours,
                )
                break
            except Conflict:
                if tried == tries:
                    raise
                self._sleep(CONFLICT_PAUSE_S * tried)
        self._ledger_retry.reset()
        self._confirmed.clear()
        self._last_turn = self._monotonic()
        self._counts.turn_sizes.add(len(work))
        self._counts.turn_seconds.add(self._last_turn - began)
        log.debug("turn_committed", work=len(work), calls=len(result.calls), events=len(result.events))
        if span:
            span.end()
            for item in work:
                if item.span:
                    item.span.link(span.traceparent)
        self._follow_up(work, result)

    def _follow_up(self, work: list[Work], result: Result) -> None:
        """What a commit allows: call, publish, ack. If we die before any of it, the rows bring it back."""
        self._counts.events.update(event.type for event in result.events)
        self._counts.attention += len(result.attention)
        self._counts.unmatched += len(result.unmatched)
        for payment_id in result.attention:
            log.warning("payment_needs_a_person", payment_id=payment_id)
        for gateway, notice_id in result.unmatched:
            log.warning("callback_matches_nothing", gateway=gateway, notice_id=notice_id)
        self._calls.start(result.calls)
        if self._tells_each:
            _tell_each(result.settled)
        self._publish([event_message(event) for event in result.events])
        letters = [self._letter_of(item) for item in work]
        for item in work:
            if item.span:
                item.span.end()
        self._publish([letter for letter in letters if letter is not None])
        try:
            self._bus.ack(
                item.delivery
                for item, letter in zip(work, letters, strict=True)
                if item.delivery is not None and letter is None
            )
        except BusDown as error:
            self._lose_bus(error)

    def _letter_of(self, item: Work) -> Outgoing | None:
        """The dead letter a message leaves although it has been settled; None: it is acked."""
        if item.delivery is None:
            return None
        if item.not_understood is not None:
            detail = f"authentic, and nothing we act upon: {item.not_understood}"
            origin = item.not_understood
            return self._dead_letter(
                item.delivery, reason="not_understood", detail=detail, at=None, attempts=1, origin=origin
            )
        match item.happening:
            # Its sender is told, and a person must look all the same: card data was sent, and how far did it get?
            case Unreadable(reason=RejectionReason.CARD_DATA_REFUSED) as why:
                return self._dead_letter(
                    item.delivery, reason=why.reason, detail=why.message, at=why.field, attempts=1
                )
            case _:
                return None

    def _give_up(self, item: Work, error: Exception) -> None:
        """A message that fails alone, too, is a bug or a row gone bad: a person's. Anything else has its timer."""
        if item.span:
            item.span.end(failed_with=type(error).__name__)
        log.error("work_failed", kind=type(item.happening).__name__, exc_info=error)
        if isinstance(item.happening, TimerDue):
            self._shunned[item.happening] = self._monotonic() + self._limits.shun_s
        if item.delivery is None:
            return
        name = type(error).__name__
        letter = self._dead_letter(
            item.delivery, reason="handler_failed", detail=name, at=None, attempts=2, origin=_origin(error)
        )
        self._publish([letter])

    def _dead_letter(
        self,
        delivery: Delivery,
        *,
        reason: str,
        detail: str,
        at: str | None,
        attempts: int,
        origin: str | None = None,
    ) -> Outgoing:
        letter = dead_letter(
            delivery,
            reason=reason,
            detail=detail,
            at=at,
            attempts=attempts,
            origin=origin or at or "",
            now=self._clock(),
        )
        self._dying[DeadLetterReceipt(delivery.generation, delivery.tag)] = delivery
        self._counts.dead_letters[delivery.queue, reason] += 1
        return letter

    # --- publish and relay ---------------------------------------------------------------------------------------

    def _publish(self, messages: list[Outgoing]) -> None:
        if not messages:
            return
        for message in messages:
            if isinstance(message.receipt, EventReceipt):
                self._in_flight.add(message.receipt.key)
                if self._tracer:
                    self._publishing[message.receipt] = begin_publish(self._tracer, message)
        try:
            if self._bus_is_up:
                self._bus.publish(messages)
                return
        except BusDown as error:
            self._lose_bus(error)
        # Events wait in the outbox for the relay; the originals of dead letters are delivered again.
        for message in messages:
            if isinstance(message.receipt, EventReceipt):
                self._in_flight.discard(message.receipt.key)
                self._published(message.receipt, failed_with="broker_away")
            elif isinstance(message.receipt, DeadLetterReceipt):
                self._no_longer_dying(message.receipt)

    def _published(self, receipt: Hashable, *, failed_with: str | None) -> None:
        if span := self._publishing.pop(receipt, None):
            span.end(failed_with=failed_with)

    def _no_longer_dying(self, receipt: DeadLetterReceipt) -> list[Delivery]:
        delivery = self._dying.pop(receipt, None)
        return [delivery] if delivery is not None else []

    def _relay(self) -> None:
        """Publish what a crash or a lost connection left in the outbox; one worker at a time does it."""
        if self._monotonic() < self._next_relay_look or not self._bus_is_up or self._ledger_retry.waiting:
            return
        self._next_relay_look = self._monotonic() + self._limits.relay_poll_s
        now = self._clock()
        before, until = now - self._limits.relay_grace, now + self._limits.relay_lease
        ours = self._in_flight | set(self._confirmed)
        limit = self._limits.relay_batch
        try:
            stale = self._ledger.stale_events(before=before, limit=limit)
            self._tell_shut()
            if all(event.key in ours for event in stale):
                return
            if not self._ledger.claim("relay", holder=self._worker, now=now, until=until):
                return
            waiting = self._ledger.stale_events(before=now + WHATEVER_CLOCKS_SAY, limit=limit)
        except LedgerDown as error:
            self._lose_ledger(error)
            return
        except Conflict:
            return  # another worker is at it, for longer than a lock is waited for
        left = _left_behind(waiting, before=before, ours=ours)
        log.info("relay_publishes", count=len(left))
        self._counts.relayed += len(left)
        self._publish([event_message(event) for event in left])

    def _tell_shut(self) -> None:
        """Say once of each stream that an event of it does not open: it waits for its key, the others go on."""
        for stream in self._ledger.shut.keys() - self._told_shut:
            log.error("event_does_not_open", stream=stream, error=str(self._ledger.shut[stream]))
        self._told_shut = set(self._ledger.shut)

    # --- outages -------------------------------------------------------------------------------------------------

    def _open_bus(self) -> bool:
        if self._bus_retry.waiting:
            return False
        try:
            self._bus.open()
            if self._stopping:
                self._bus.pause()
        except BusDown as error:
            self._bus_retry.failed()
            log.warning("broker_away", error=str(error), retry_s=self._bus_retry.pause_s)
            return False
        self._bus_is_up = self._counts.broker_is_up = True
        self._counts.broker_connections += 1
        self._bus_retry.reset()
        # What an earlier connection delivered is delivered again: doing it from here would only be double work.
        self._work = [
            w for w in self._work if w.delivery is None or w.delivery.generation == self._bus.generation
        ]
        log.info("broker_connected", generation=self._bus.generation)
        return True

    def _lose_bus(self, error: BusDown) -> None:
        if self._bus_is_up:
            self._bus_is_up = self._counts.broker_is_up = False
            self._bus_retry.failed()
            log.warning("broker_lost", error=str(error))

    def _lose_ledger(self, error: LedgerDown) -> None:
        """Stop receiving and keep what is unacked; deliveries are not burned on a database that is away."""
        first = not self._ledger_retry.waiting and self._ledger_retry.pause_s == 0
        self._ledger_retry.failed()
        log.warning("database_away", error=str(error), retry_s=self._ledger_retry.pause_s, first=first)

    # --- the end -------------------------------------------------------------------------------------------------

    def _wind_down(self) -> None:
        """Let running calls end and settle them, wait for the broker's confirms, then leave."""
        log.info("worker_stopping", calls_in_flight=self._calls.in_flight)
        deadline = self._monotonic() + self._limits.stop_grace_s
        try:
            if self._bus_is_up:
                self._bus.pause()
        except BusDown as error:
            self._lose_bus(error)
        while self._unfinished and self._monotonic() < deadline:
            self.step(wait_s=0.1)
        self._bus.close()
        self._calls.close()
        log.info("worker_stopped", unfinished=self._unfinished)

    @property
    def _unfinished(self) -> bool:
        waits_for_bus = self._bus_is_up and (self._in_flight or self._dying)
        return bool(self._work or self._confirmed or self._calls.in_flight or waits_for_bus)


def _left_behind(
    waiting: Sequence[OutboxEvent], *, before: datetime, ours: Set[EventKey]
) -> list[OutboxEvent]:
    """What may be published now, in order: an event waits for the earlier ones of its stream, though it looks older.

    Two workers' clocks differ, and a turn that waited for a lock writes the time at which it began to wait.
    """
    left: list[OutboxEvent] = []
    held_up: set[str] = set()
    for event in waiting:
        if event.key in ours:
            continue
        if event.created_at >= before:
            held_up.add(event.stream)
        elif event.stream not in held_up:
            left.append(event)
    return left


def _tell_each(settled: Sequence[AuditLine]) -> None:
    """One line for each happening; the audit log has the same, and its proof."""
    for line in settled:
        log.info(
            "settled",
            payment_id=line.payment_id,
            action=line.action,
            subject=line.subject,
            cause=line.cause,
            actor=line.actor,
            result=line.result,
        )


class _Backoff:
    """A pause that doubles while something stays away."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._first = limits.retry_s
        self._most = limits.retry_most_s
        self._until = 0.0
        self.pause_s = 0.0

    @property
    def waiting(self) -> bool:
        return self._monotonic() < self._until

    def failed(self) -> None:
        self.pause_s = min(self.pause_s * 2 or self._first, self._most)
        self._until = self._monotonic() + self.pause_s

    def reset(self) -> None:
        self.pause_s = 0.0
        self._until = 0.0


def _origin(error: BaseException) -> str:
    """The innermost place an exception came from: groups like failures."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error).__name__}@{trace.tb_frame.f_code.co_qualname}" if trace else type(error).__name__
