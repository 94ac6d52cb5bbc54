"""One turn: everything that has piled up, decided on in order and written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from consumers.delivery import Delivery
from consumers.notices import as_json
from consumers.outbound import EventKey, event_row, in_trace, rejection_row, unreadable
from consumers.tracing import Span
from gateways.notice import Notice
from handlers.decision import Answered, Asked, Call, Decision, Happening, Known, Noticed, Policy, TimerDue
from handlers.dispatch import decide
from handlers.gateway_notice import external_names
from ledger.ledger import Ledger
from ledger.letters import LETTER_HEADER
from ledger.records import (
    AuditLine,
    CallbackKey,
    CallbackRow,
    CallbackState,
    Changes,
    Found,
    InboxRow,
    Loaded,
    OutboxEvent,
    Settled,
    Trace,
    Wanted,
)
from ledger.states import OVER_WITHOUT_MONEY, Attempt, Capture, Payment, Refund
from messages.commands import CaptureRequested, Command, PaymentRequested, RefundRequested
from messages.envelope import Unreadable
from messages.events import RejectionReason
from messages.ids import AttemptId, CaptureId, PaymentId, RefundId


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A callback's notices; which payments they are about is found out in the turn."""

    notices: tuple[Notice, ...]
    since: datetime | None = None
    """When they first came, if they have been waiting for what they are about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One thing for a turn to settle: a happening, a gateway's notices, or a message that could not be read."""

    happening: Happening | Told | Unreadable
    delivery: Delivery | None = None
    not_understood: str | None = None
    """What else the message says, in the gateway's words: it is kept as a dead letter once this is settled."""
    span: Span | None = None
    """Of the delivery, while somebody traces."""

    @property
    def leaves_a_letter(self) -> bool:
        """Whether the message becomes a dead letter although it is settled."""
        return self.not_understood is not None or (
            isinstance(self.happening, Unreadable)
            and self.happening.reason is RejectionReason.CARD_DATA_REFUSED
        )


@dataclass(slots=True, kw_only=True)
class Result:
    """What is to be done once the turn has committed."""

    calls: list[Call] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)
    attention: list[PaymentId] = field(default_factory=list)
    """Payments that have just come to need a person."""
    unmatched: list[CallbackKey] = field(default_factory=list)
    """Notices that were given up: what they are about never came."""
    settled: list[AuditLine] = field(default_factory=list)
    """What was decided on each happening, in order."""


def run_turn(
    ledger: Ledger,
    work: Iterable[Work],
    *,
    policy: Policy,
    now: datetime,
    confirmed: list[EventKey],
    ours: set[EventKey],
) -> Result:
    """Settle the work in one transaction, and mark the events in `confirmed` as published.

    `ours` are events of this worker that are still unmarked: published and not yet confirmed, or confirmed just now.

    Raises:
        LedgerError: nothing was written.
    """
    work = list(work)
    with ledger.turn() as transaction:
        traces = [_trace(notice) for notice in _notices(work)]
        found = transaction.find(traces) if traces else {}
        loaded = transaction.load(_wanted(work, found))
        turn = _Turn(loaded, found, policy, now)
        for item in work:
            turn.settle(item)
        changes = turn.changes()
        changes.published.extend(confirmed)
        changes.published_at = now
        transaction.write(changes)
        # One that came before is announced as it was then: the same id always says the same.
        rejections = transaction.stored([row.stream for row in changes.rejections])
    return Result(
        calls=turn.calls(),
        events=turn.to_publish(ours) + rejections,
        attention=turn.attention(),
        unmatched=turn.unmatched,
        settled=changes.audit,
    )


def _notices(work: list[Work]) -> list[Notice]:
    return [notice for item in work if isinstance(item.happening, Told) for notice in item.happening.notices]


def _trace(notice: Notice) -> Trace:
    return Trace(
        gateway=notice.gateway,
        attempt_id=notice.attempt_id,
        reference=notice.reference,
        parent_reference=notice.parent_reference,
    )


def _wanted(work: list[Work], found: dict[Trace, Found]) -> Wanted:
    wanted = Wanted()
    for notice in _notices(work):
        wanted.callbacks.add((notice.gateway, notice.notice_id))
        about = found.get(_trace(notice))
        if about is None:
            continue
        wanted.payment_ids.add(about.payment_id)
        if about.refund_id is not None:
            wanted.refund_ids.add(about.refund_id)
        if notice.reference is not None:
            wanted.refund_ids.add(external_names(about.payment_id, notice.reference)[0])
    for item in work:
        match item.happening:
            case Asked(command=command) as asked:
                wanted.messages.add((asked.source, asked.message_id))
                wanted.payment_ids.add(command.payment_id)
                if isinstance(command, PaymentRequested):
                    wanted.order_ids.add(command.order_id)
                if isinstance(command, CaptureRequested):
                    wanted.capture_ids.add(command.capture_id)
                if isinstance(command, RefundRequested):
                    wanted.refund_ids.add(command.refund_id)
            case Answered(payment_id=payment_id, refund_id=refund_id):
                wanted.payment_ids.add(payment_id)
                if refund_id is not None:
                    wanted.refund_ids.add(refund_id)
            case TimerDue(payment_id=payment_id, capture_id=capture_id, refund_id=refund_id):
                wanted.timer_payment_ids.add(payment_id)
                if capture_id is not None:
                    wanted.capture_ids.add(capture_id)
                if refund_id is not None:
                    wanted.refund_ids.add(refund_id)
            case Told() | Noticed() | Unreadable():
                pass
    wanted.timer_payment_ids -= wanted.payment_ids
    return wanted


class _Turn:
    """Folds happenings into states and collects what is to be written."""

    def __init__(self, loaded: Loaded, found: dict[Trace, Found], policy: Policy, now: datetime) -> None:
        self._loaded = loaded
        self._found = found
        self._policy = policy
        self._now = now
        self._changes = Changes()
        self._inbox = dict(loaded.inbox)
        self._order_paid_by = dict(loaded.order_paid_by)
        self._known: dict[PaymentId, Known] = {}
        self._payments: dict[PaymentId, Payment] = {}
        self._attempts: dict[AttemptId, Attempt] = {}
        self._captures: dict[CaptureId, Capture] = {}
        self._refunds: dict[RefundId, Refund] = {}
        self._callbacks: dict[CallbackKey, CallbackState] = dict(loaded.callbacks)
        self.unmatched: list[CallbackKey] = []
        self._rejections: dict[str, OutboxEvent] = {}
        self._calls: list[Call] = []
        for payment in loaded.payments.values():
            self._known[payment.payment_id] = Known(payment=payment)
        for attempt in loaded.attempts.values():
            self._of(attempt.payment_id).attempts[attempt.attempt_id] = attempt
        for capture in loaded.captures.values():
            self._of(capture.payment_id).captures[capture.capture_id] = capture
        for refund in loaded.refunds.values():
            self._of(refund.payment_id).refunds[refund.refund_id] = refund

    def settle(self, item: Work) -> None:
        """Decide on one thing and take in what was decided."""
        audit = self._changes.audit
        before = len(audit)
        self._take_up(item)
        delivery = item.delivery
        if delivery is not None and LETTER_HEADER in delivery.headers and not item.leaves_a_letter:
            # A dead letter that was sent back has arrived: what came of it is noted with it.
            self._changes.settled_letters.append(
                Settled(
                    letter_id=str(delivery.headers[LETTER_HEADER]),
                    message_id=delivery.message_id or "",
                    outcome=audit[-1].result if len(audit) > before else "taken before",
                    at=self._now,
                )
            )

    def _take_up(self, item: Work) -> None:
        happening = item.happening
        if isinstance(happening, Unreadable):
            self._refuse_unreadable(happening)
            return
        if isinstance(happening, Told):
            for notice in happening.notices:
                self._take_notice(notice, since=happening.since or self._now)
            return
        if isinstance(happening, TimerDue) and happening.payment_id in self._loaded.skipped:
            return  # another worker holds the payment; the timer is still there for the next look
        self._settle(happening)

    def _settle(self, happening: Happening) -> None:
        known = self._of(happening.payment_id)
        if isinstance(happening, Asked):
            self._introduce(known, happening)
        decision = decide(known, happening, self._policy, self._now)
        self._take_in(known, happening, decision)
        if isinstance(happening, Asked):
            self._remember(happening)

    def _take_notice(self, notice: Notice, *, since: datetime) -> None:
        """Take a notice in, once: its row is written with whatever comes of it."""
        key = (notice.gateway, notice.notice_id)
        if self._callbacks.get(key) in ("taken", "unmatched"):
            return
        found = self._found.get(_trace(notice))
        state: CallbackState = "taken"
        if found is None:
            state = "waiting" if self._now < since + self._policy.callback_patience else "unmatched"
        if found is not None:
            self._settle(Noticed(payment_id=found.payment_id, attempt_id=found.attempt_id, notice=notice))
        elif state == "unmatched":
            self.unmatched.append(key)
        self._callbacks[key] = state
        self._changes.callbacks.append(
            CallbackRow(
                gateway=notice.gateway,
                notice_id=notice.notice_id,
                event=notice.event,
                payment_id=found.payment_id if found else None,
                attempt_id=found.attempt_id if found else None,
                state=state,
                notice=as_json(notice),
                received_at=since,
                due_at=self._now + self._policy.callback_poll if state == "waiting" else None,
            )
        )

    def calls(self) -> list[Call]:
        """The calls to make; one that a later happening of the same turn has overtaken is left out."""
        return [c for c in self._calls if self._attempts[c.attempt_id].call_number == c.call_number]

    def attention(self) -> list[PaymentId]:
        """Payments that need a person now and did not before."""
        before = self._loaded.payments
        return [
            payment_id
            for payment_id, payment in self._payments.items()
            if payment.attention and not (payment_id in before and before[payment_id].attention)
        ]

    def changes(self) -> Changes:
        """Everything to be written."""
        loaded, changes = self._loaded, self._changes
        changes.rejections.extend(self._rejections.values())
        for payment in self._payments.values():
            (changes.payments if payment.payment_id in loaded.payments else changes.new_payments).append(
                payment
            )
        for attempt in self._attempts.values():
            (changes.attempts if attempt.attempt_id in loaded.attempts else changes.new_attempts).append(
                attempt
            )
        for capture in self._captures.values():
            (changes.captures if capture.capture_id in loaded.captures else changes.new_captures).append(
                capture
            )
        for refund in self._refunds.values():
            (changes.refunds if refund.refund_id in loaded.refunds else changes.new_refunds).append(refund)
        return changes

    def to_publish(self, ours: set[EventKey]) -> list[OutboxEvent]:
        """The turn's events, without those that must queue behind earlier ones another worker has left."""
        held_up = {stream for stream, sequence in self._loaded.unpublished if (stream, sequence) not in ours}
        return [event for event in self._changes.events if event.stream not in held_up]

    def _of(self, payment_id: PaymentId) -> Known:
        known = self._known.get(payment_id)
        if known is None:
            known = self._known[payment_id] = Known()
        return known

    def _introduce(self, known: Known, asked: Asked) -> None:
        command = asked.command
        known.earlier_body_hash = self._inbox.get((asked.source, asked.message_id))
        if isinstance(command, PaymentRequested):
            paid_by = self._order_paid_by.get(command.order_id)
            known.order_paid_by = paid_by if paid_by != command.payment_id else None
        elif isinstance(command, CaptureRequested) and command.capture_id not in known.captures:
            taken = self._captures.get(command.capture_id) or self._loaded.captures.get(command.capture_id)
            if taken is not None:
                known.captures[command.capture_id] = taken
        elif isinstance(command, RefundRequested) and command.refund_id not in known.refunds:
            # A refund id is unique over all payments: one that came for another payment is a conflict.
            elsewhere = self._refunds.get(command.refund_id) or self._loaded.refunds.get(command.refund_id)
            if elsewhere is not None:
                known.refunds[command.refund_id] = elsewhere

    def _remember(self, asked: Asked) -> None:
        key = (asked.source, asked.message_id)
        if key not in self._inbox:
            self._inbox[key] = asked.body_hash
            self._changes.inbox.append(
                InboxRow(
                    source=asked.source,
                    message_id=asked.message_id,
                    body_hash=asked.body_hash,
                    subject=asked.payment_id,
                    received_at=self._now,
                )
            )

    def _take_in(self, known: Known, happening: Happening, decision: Decision) -> None:
        cause = happening.message_id if isinstance(happening, Asked) else _cause(happening)
        # A timer or a notice begins no trace, and knows none: what comes of it stands alone.
        traceparent = happening.traceparent if isinstance(happening, Asked | Answered) else None
        if decision.payment is not None:
            self._payments[decision.payment.payment_id] = known.payment = decision.payment
            self._note_order(decision.payment)
        for attempt in decision.attempts:
            self._attempts[attempt.attempt_id] = known.attempts[attempt.attempt_id] = attempt
        for capture in decision.captures:
            self._captures[capture.capture_id] = known.captures[capture.capture_id] = capture
        for refund in decision.refunds:
            self._refunds[refund.refund_id] = known.refunds[refund.refund_id] = refund
        self._changes.journals.extend(decision.journals)
        for announcement in decision.announcements:
            event = event_row(announcement, cause=cause, now=self._now)
            self._changes.events.append(in_trace(event, traceparent))
        if decision.rejection is not None:
            row = in_trace(rejection_row(decision.rejection, now=self._now), traceparent)
            self._rejections[row.stream] = row
        if decision.announce_again is not None:
            self._changes.announce_again.add((happening.payment_id, decision.announce_again))
        if decision.call is not None:
            call = decision.call
            self._calls.append(call if traceparent is None else replace(call, traceparent=traceparent))
        if not (isinstance(happening, TimerDue) and decision.result == "stale"):
            self._changes.audit.append(self._audit_line(happening, decision, cause))

    def _note_order(self, payment: Payment) -> None:
        if payment.status not in OVER_WITHOUT_MONEY and not payment.late:
            self._order_paid_by[payment.order_id] = payment.payment_id
        elif self._order_paid_by.get(payment.order_id) == payment.payment_id:
            del self._order_paid_by[payment.order_id]

    def _audit_line(self, happening: Happening, decision: Decision, cause: str) -> AuditLine:
        match happening:
            case Asked(source=source, command=command):
                actor, action = source, type(command).__name__
                subject: str = _subject(command)
            case Noticed(notice=notice):
                actor, action = f"gateway:{notice.gateway}", notice.event
                subject = happening.attempt_id or happening.payment_id
            case Answered(attempt_id=attempt_id, answer=answer):
                actor, action, subject = "gateway", type(answer).__name__, attempt_id
            case TimerDue():
                actor, action, subject = "clock", "TimerDue", _cause(happening)
        return AuditLine(
            actor=actor,
            action=action,
            payment_id=happening.payment_id,
            subject=subject,
            cause=cause,
            result=decision.result,
            details=decision.details(),
            happened_at=self._now,
        )

    def _refuse_unreadable(self, why: Unreadable) -> None:
        row = rejection_row(unreadable(why.sender, why, self._now), now=self._now)
        self._rejections[row.stream] = row
        self._changes.audit.append(
            AuditLine(
                actor=why.sender.source or "",
                action=why.sender.type or "",
                payment_id=None,
                subject=row.stream,
                cause=why.sender.id or "",
                result="rejected",
                details=f'{{"reason":"{why.reason.value}"}}',
                happened_at=self._now,
            )
        )


def _subject(command: Command) -> str:
    match command:
        case CaptureRequested():
            return command.capture_id
        case RefundRequested():
            return command.refund_id
        case _:
            return command.payment_id


def _cause(happening: Answered | Noticed | TimerDue) -> str:
    match happening:
        case Answered(attempt_id=attempt_id):
            return attempt_id
        case Noticed(notice=notice):
            return notice.notice_id
        case TimerDue():
            return happening.attempt_id or happening.capture_id or happening.refund_id or happening.payment_id
