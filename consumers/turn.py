"""One turn: everything that has piled up, decided on in order and written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from consumers.delivery import Delivery
from consumers.outbound import EventKey, event_row, rejection_row, unreadable
from handlers.decision import Answered, Asked, Call, Decision, Happening, Known, Policy, TimerDue
from handlers.dispatch import decide
from ledger.ledger import Ledger
from ledger.records import AuditLine, Changes, InboxRow, Loaded, OutboxEvent, Wanted
from ledger.states import OVER_WITHOUT_MONEY, Attempt, Payment, Refund
from messages.commands import PaymentRequested, RefundRequested
from messages.envelope import Unreadable
from messages.ids import AttemptId, PaymentId, RefundId


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One thing for a turn to settle: a happening, or a message whose sender must be told it was unreadable."""

    happening: Happening | Unreadable
    delivery: Delivery | None = None


@dataclass(slots=True, kw_only=True)
class Result:
    """What is to be done once the turn has committed."""

    calls: list[Call] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)
    attention: list[PaymentId] = field(default_factory=list)
    """Payments that have just come to need a person."""


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
        loaded = transaction.load(_wanted(work))
        turn = _Turn(loaded, policy, now)
        for item in work:
            turn.settle(item)
        changes = turn.changes()
        changes.published.extend(confirmed)
        changes.published_at = now
        transaction.write(changes)
        # One that came before is announced as it was then: the same id always says the same.
        rejections = transaction.stored([row.stream for row in changes.rejections])
    return Result(calls=turn.calls(), events=turn.to_publish(ours) + rejections, attention=turn.attention())


def _wanted(work: list[Work]) -> Wanted:
    wanted = Wanted()
    for item in work:
        match item.happening:
            case Asked(command=command) as asked:
                wanted.messages.add((asked.source, asked.message_id))
                wanted.payment_ids.add(command.payment_id)
                if isinstance(command, PaymentRequested):
                    wanted.order_ids.add(command.order_id)
                if isinstance(command, RefundRequested):
                    wanted.refund_ids.add(command.refund_id)
            case Answered(payment_id=payment_id, attempt_id=attempt_id, refund_id=refund_id):
                wanted.payment_ids.add(payment_id)
                wanted.attempt_ids.add(attempt_id)
                if refund_id is not None:
                    wanted.refund_ids.add(refund_id)
            case TimerDue(payment_id=payment_id, attempt_id=due_attempt, refund_id=refund_id):
                wanted.timer_payment_ids.add(payment_id)
                if due_attempt is not None:
                    wanted.attempt_ids.add(due_attempt)
                if refund_id is not None:
                    wanted.refund_ids.add(refund_id)
            case Unreadable():
                pass
    wanted.timer_payment_ids -= wanted.payment_ids
    return wanted


class _Turn:
    """Folds happenings into states and collects what is to be written."""

    def __init__(self, loaded: Loaded, policy: Policy, now: datetime) -> None:
        self._loaded = loaded
        self._policy = policy
        self._now = now
        self._changes = Changes()
        self._inbox = dict(loaded.inbox)
        self._order_paid_by = dict(loaded.order_paid_by)
        self._known: dict[PaymentId, Known] = {}
        self._payments: dict[PaymentId, Payment] = {}
        self._attempts: dict[AttemptId, Attempt] = {}
        self._refunds: dict[RefundId, Refund] = {}
        self._rejections: dict[str, OutboxEvent] = {}
        self._calls: list[Call] = []
        for payment in loaded.payments.values():
            self._known[payment.payment_id] = Known(payment=payment)
        for attempt in loaded.attempts.values():
            self._of(attempt.payment_id).attempts[attempt.attempt_id] = attempt
        for refund in loaded.refunds.values():
            self._of(refund.payment_id).refunds[refund.refund_id] = refund

    def settle(self, item: Work) -> None:
        """Decide on one happening and take in the decision."""
        happening = item.happening
        if isinstance(happening, Unreadable):
            self._refuse_unreadable(happening)
            return
        if isinstance(happening, TimerDue) and happening.payment_id in self._loaded.skipped:
            return  # another worker holds the payment; the timer is still there for the next look
        known = self._of(happening.payment_id)
        if isinstance(happening, Asked):
            self._introduce(known, happening)
        decision = decide(known, happening, self._policy, self._now)
        self._take_in(known, happening, decision)
        if isinstance(happening, Asked):
            self._remember(happening)

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
        elif command.refund_id not in known.refunds:
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
        if decision.payment is not None:
            self._payments[decision.payment.payment_id] = known.payment = decision.payment
            self._note_order(decision.payment)
        for attempt in decision.attempts:
            self._attempts[attempt.attempt_id] = known.attempts[attempt.attempt_id] = attempt
        for refund in decision.refunds:
            self._refunds[refund.refund_id] = known.refunds[refund.refund_id] = refund
        self._changes.journals.extend(decision.journals)
        for announcement in decision.announcements:
            self._changes.events.append(event_row(announcement, cause=cause, now=self._now))
        if decision.rejection is not None:
            row = rejection_row(decision.rejection, now=self._now)
            self._rejections[row.stream] = row
        if decision.announce_again is not None:
            self._changes.announce_again.add((happening.payment_id, decision.announce_again))
        if decision.call is not None:
            self._calls.append(decision.call)
        if not (isinstance(happening, TimerDue) and decision.result == "stale"):
            self._changes.audit.append(self._audit_line(happening, decision, cause))

    def _note_order(self, payment: Payment) -> None:
        if payment.status not in OVER_WITHOUT_MONEY:
            self._order_paid_by[payment.order_id] = payment.payment_id
        elif self._order_paid_by.get(payment.order_id) == payment.payment_id:
            del self._order_paid_by[payment.order_id]

    def _audit_line(self, happening: Happening, decision: Decision, cause: str) -> AuditLine:
        match happening:
            case Asked(source=source, command=command):
                actor, action = source, type(command).__name__
                subject: str = (
                    command.refund_id if isinstance(command, RefundRequested) else command.payment_id
                )
            case Answered(attempt_id=attempt_id, answer=answer):
                actor, action, subject = "gateway", type(answer).__name__, attempt_id
            case TimerDue(attempt_id=due_attempt, refund_id=refund_id):
                actor, action, subject = "clock", "TimerDue", due_attempt or refund_id or happening.payment_id
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


def _cause(happening: Answered | TimerDue) -> str:
    match happening:
        case Answered(attempt_id=attempt_id):
            return attempt_id
        case TimerDue(attempt_id=due_attempt, refund_id=refund_id):
            return due_attempt or refund_id or happening.payment_id
