"""A payment's life as a test tells it: happenings in, decisions taken in as the worker's turn does it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gateways.notice import Notice
from gateways.protocol import Approved, LookupRequest
from handlers.decision import Announcement, Call, Decision, Happening, Known, Noticed, Policy, TimerDue
from handlers.dispatch import decide
from ledger.accounts import Account, Side
from ledger.journals import Journal
from ledger.states import Attempt, Capture, Payment, Refund
from messages.commands import Command
from messages.events import Event
from messages.operation import Operation
from tests.builders import (
    NOON,
    PAYMENT,
    REFERENCE,
    REFUND,
    a_capture_requested,
    a_payment_requested,
    a_policy,
    a_refund_requested,
    a_void_requested,
    answer_to,
    asked,
)


class Story:
    """What is known of one payment, the time, and all that was decided so far."""

    def __init__(
        self, policy: Policy | None = None, *, known: Known | None = None, now: datetime = NOON
    ) -> None:
        self.policy = policy or a_policy()
        self.known = known or Known()
        self.now = now
        self.decisions: list[Decision] = []
        self.announcements: list[Announcement] = []
        self.journals: list[Journal] = []
        self.calls: list[Call] = []
        self.called_at: list[datetime] = []
        self._messages: dict[tuple[str, str], str] = {}

    # --- what happens ---

    def tell(self, happening: Happening) -> Decision:
        """Decide on a happening and take the decision in; deciding must leave what it was given alone."""
        # The rows themselves are frozen: a copy of the shelves is a copy of it all.
        before = replace(
            self.known,
            attempts=dict(self.known.attempts),
            captures=dict(self.known.captures),
            refunds=dict(self.known.refunds),
        )
        decision = decide(self.known, happening, self.policy, self.now)
        assert self.known == before, "deciding changed its inputs"
        assert decide(self.known, happening, self.policy, self.now) == decision, (
            "not a function of its inputs"
        )
        self._take_in(decision)
        return decision

    def ask(self, command: Command, *, message_id: str = "msg_1", source: str = "/order-service") -> Decision:
        """A command arrives."""
        happening = asked(command, message_id=message_id, source=source)
        self.known.earlier_body_hash = self._messages.get((source, message_id))
        decision = self.tell(happening)
        self._messages.setdefault((source, message_id), happening.body_hash)
        return decision

    def ask_payment(self, *, message_id: str = "msg_1", **fields: Any) -> Decision:
        """A PaymentRequested arrives."""
        return self.ask(a_payment_requested(**fields), message_id=message_id)

    def ask_refund(self, *, message_id: str = "msg_2", **fields: Any) -> Decision:
        """A RefundRequested arrives."""
        return self.ask(a_refund_requested(**fields), message_id=message_id)

    def ask_capture(self, *, message_id: str = "msg_3", **fields: Any) -> Decision:
        """A CaptureRequested arrives."""
        return self.ask(a_capture_requested(**fields), message_id=message_id)

    def ask_void(self, *, message_id: str = "msg_4", **fields: Any) -> Decision:
        """A VoidRequested arrives."""
        return self.ask(a_void_requested(**fields), message_id=message_id)

    def notice(self, *, attempt: Attempt | None = None, **fields: Any) -> Decision:
        """The gateway tells something unasked."""
        defaults: dict[str, Any] = {
            "gateway": "stripe",
            "notice_id": f"evt_{len(self.decisions)}",
            "event": "something",
            "operation": attempt.operation if attempt is not None else None,
        }
        return self.tell(
            Noticed(
                payment_id=PAYMENT,
                attempt_id=attempt.attempt_id if attempt is not None else None,
                notice=Notice(**defaults | fields),
            )
        )

    def answer(self, answer: Any, *, call: Call | None = None) -> Decision:
        """The gateway answers a call, the latest unless told otherwise."""
        call = call or self.calls[-1]
        return self.tell(answer_to(call, answer, is_lookup=isinstance(call.request, LookupRequest)))

    def fall_due(self, attempt: Attempt | None = None) -> Decision:
        """Time passes until the timer of an attempt, the earliest unless told otherwise, is due."""
        attempt = attempt or min(self.open_attempts(), key=lambda a: a.due_at or NOON)
        assert attempt.due_at is not None
        self.now = max(self.now, attempt.due_at)
        return self.tell(
            TimerDue(
                payment_id=attempt.payment_id, attempt_id=attempt.attempt_id, refund_id=attempt.refund_id
            )
        )

    def refund_falls_due(self) -> Decision:
        """Time passes until the waiting refund is to be looked at; then it is."""
        assert self.refund.due_at is not None
        self.now = max(self.now, self.refund.due_at)
        return self.tell(TimerDue(payment_id=self.refund.payment_id, refund_id=self.refund.refund_id))

    def wait(self, time: timedelta) -> None:
        """Time passes and nothing happens."""
        self.now += time

    def ask_again_until_answered(self, answer: Any, *, attempt: Attempt) -> Decision:
        """The attempt's timer falls due and the call it makes is answered."""
        decision = self.fall_due(attempt)
        assert decision.call is not None, f"no call but {decision.result}"
        return self.answer(answer)

    # --- what is known ---

    @property
    def payment(self) -> Payment:
        """The payment."""
        assert self.known.payment is not None
        return self.known.payment

    @property
    def sale(self) -> Attempt:
        """The payment's first attempt, to authorize or to take."""
        return next(
            a for a in self.known.attempts.values() if a.operation in (Operation.SALE, Operation.AUTHORIZE)
        )

    @property
    def cancellation(self) -> Attempt:
        """The latest attempt to call the payment off."""
        return [a for a in self.known.attempts.values() if a.operation is Operation.VOID][-1]

    @property
    def refund(self) -> Refund:
        """The refund."""
        return self.known.refunds[REFUND]

    @property
    def refunding(self) -> Attempt:
        """The refund's attempt."""
        return next(a for a in self.known.attempts.values() if a.operation is Operation.REFUND)

    @property
    def events(self) -> list[Event]:
        """What was announced, in order."""
        return [announcement.event for announcement in self.announcements]

    def event_names(self) -> list[str]:
        """The types of what was announced, in order."""
        return [type(event).__name__ for event in self.events]

    def open_attempts(self) -> list[Attempt]:
        """Attempts that wait for something."""
        return [attempt for attempt in self.known.attempts.values() if attempt.is_open]

    def timers(self) -> list[TimerDue]:
        """What would be due now, as the ledger would find it."""
        attempts = [
            TimerDue(payment_id=a.payment_id, attempt_id=a.attempt_id, refund_id=a.refund_id)
            for a in self.known.attempts.values()
            if a.due_at is not None and a.due_at <= self.now
        ]
        captures = [
            TimerDue(payment_id=c.payment_id, capture_id=c.capture_id)
            for c in self.known.captures.values()
            if c.due_at is not None and c.due_at <= self.now
        ]
        refunds = [
            TimerDue(payment_id=r.payment_id, refund_id=r.refund_id)
            for r in self.known.refunds.values()
            if r.due_at is not None and r.due_at <= self.now
        ]
        return attempts + captures + refunds

    def next_timer_at(self) -> datetime | None:
        """When something is due next."""
        known = self.known
        rows: list[Attempt | Capture | Refund] = [
            *known.attempts.values(),
            *known.captures.values(),
            *known.refunds.values(),
        ]
        return min((row.due_at for row in rows if row.due_at is not None), default=None)

    def balance(self, account: Account) -> int:
        """What the journals so far leave on an account: debits less credits, in minor units."""
        return sum(
            entry.amount if entry.side is Side.DEBIT else -entry.amount
            for journal in self.journals
            for entry in journal.entries
            if entry.account is account
        )

    def _take_in(self, decision: Decision) -> None:
        if decision.payment is not None:
            self.known.payment = decision.payment
        for attempt in decision.attempts:
            self.known.attempts[attempt.attempt_id] = attempt
        for capture in decision.captures:
            self.known.captures[capture.capture_id] = capture
        for refund in decision.refunds:
            self.known.refunds[refund.refund_id] = refund
        self.decisions.append(decision)
        self.announcements.extend(decision.announcements)
        self.journals.extend(decision.journals)
        if decision.call is not None:
            self.calls.append(decision.call)
            self.called_at.append(self.now)


def a_sale(policy: Policy | None = None, **fields: Any) -> Story:
    """A sale whose first call is under way."""
    story = Story(policy)
    story.ask_payment(**fields)
    return story


def a_captured_story(policy: Policy | None = None) -> Story:
    """A sale of 19.99 EUR that went through."""
    story = a_sale(policy)
    story.answer(approved_in_full(story.sale))
    return story


def approved_in_full(attempt: Attempt, reference: str = REFERENCE) -> Approved:
    """What a gateway says that did just what the attempt asked for."""
    return Approved(reference=reference, amount=attempt.money())
