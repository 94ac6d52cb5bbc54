"""What must hold whatever happens: random commands, answers and timers, folded, and checked after each.

The gateway here says anything at all, in any order, also what no honest gateway would say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    DeclineReason,
    Firmness,
    LookupRequest,
    NotSent,
    Opened,
    Pending,
    Unknown,
)
from handlers.decision import Call, Decision, TimerDue
from handlers.dispatch import STALE
from ledger.accounts import Account
from ledger.states import OVER_WITHOUT_MONEY, AttemptState, PaymentStatus, RefundStatus
from messages.events import FailureReason, PaymentEvent, PaymentFailed, RefundFailed
from messages.money import Money
from messages.operation import Operation
from tests.builders import (
    PAYMENT,
    PRICE,
    REFERENCE,
    a_policy,
    action_required,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story

# --- what can happen ---

REFUNDS = ["ref_1", "ref_2", "ref_3"]
AMOUNTS = [None, eur(1), eur(999), eur(1000), PRICE, eur(2000), Money(1, "USD")]
WAITS = [timedelta(seconds=s) for s in (1, 46, 600, 15 * 60, 3600, 24 * 3600)]

ANYTHING: list[Any] = [
    "in full",
    "another amount",
    action_required(),
    pending(),
    unknown(),
    unknown(REFERENCE),
    not_sent(retryable=True),
    not_sent(retryable=False),
    declined(),
    declined(DeclineReason.EXPIRED, Firmness.HARD),
]

answers_to_an_operation = st.sampled_from([*ANYTHING, Opened(reference=REFERENCE)])
answers_to_a_look_up = st.sampled_from([*ANYTHING, *[Absent(detail="no trace")] * 4])
actions = st.sampled_from(
    ["payment", "another payment", "refund", "answer", "answer", "answer", "answer", "timer", "timer", "wait"]
)


def answer_something(data: st.DataObject, story: Story, evidence: Evidence) -> None:
    """A call is answered: mostly the latest, sometimes one that was answered or given up long ago.

    A call ends once: told again, after a commit whose fate was not known, its answer is the same.
    """
    if not story.calls:
        return
    call = story.calls[-1] if data.draw(st.booleans()) else data.draw(st.sampled_from(story.calls))
    is_lookup = isinstance(call.request, LookupRequest)
    answer = data.draw(answers_to_a_look_up if is_lookup else answers_to_an_operation)
    if answer == "in full":
        answer = Approved(reference=f"{call.attempt_id}-done", amount=call.request.amount)
    elif answer == "another amount":
        answer = Approved(reference=REFERENCE, amount=Money(call.request.amount.minor + 1, "EUR"))
    answer = evidence.answers.setdefault((call.attempt_id, call.call_number), answer)
    decision = story.answer(answer, call=call)
    evidence.heard(call, answer, decision, story.now)


def something_falls_due(data: st.DataObject, story: Story, evidence: Evidence) -> None:
    """Time goes on to the next timer, and one of those that are due is told."""
    due_at = story.next_timer_at()
    if due_at is None:
        return
    story.now = max(story.now, due_at)
    decision = story.tell(data.draw(st.sampled_from(story.timers())))
    evidence.decided(decision)


def something_happens(data: st.DataObject, story: Story, evidence: Evidence) -> None:
    """One random happening."""
    match data.draw(actions):
        case "payment":
            evidence.decided(story.ask_payment(capture=evidence.capture))
        case "another payment":
            evidence.decided(story.ask_payment(message_id="msg_7", capture=evidence.capture, order_id="7"))
        case "refund":
            refund_id = data.draw(st.sampled_from(REFUNDS))
            amount = data.draw(st.sampled_from(AMOUNTS))
            message_id = f"msg_{refund_id}_{amount}"
            evidence.decided(story.ask_refund(message_id=message_id, refund_id=refund_id, amount=amount))
        case "answer":
            answer_something(data, story, evidence)
        case "timer":
            something_falls_due(data, story, evidence)
        case "wait":
            story.wait(data.draw(st.sampled_from(WAITS)))


# --- what may be concluded ---


@dataclass
class Evidence:
    """What the gateway has said of each attempt, kept apart from the rows that the handlers keep."""

    capture: str
    window: timedelta
    answers: dict[tuple[str, int], Any] = field(default_factory=dict)
    unanswered: dict[str, Call] = field(default_factory=dict)
    perhaps_executed: set[str] = field(default_factory=set)
    absences: dict[str, list[datetime]] = field(default_factory=dict)

    def decided(self, decision: Decision) -> None:
        """A call may have been decided; if one was unanswered, its fate is not known."""
        call = decision.call
        if call is None:
            return
        if call.attempt_id in self.unanswered:
            self.perhaps_executed.add(call.attempt_id)
            del self.unanswered[call.attempt_id]
        if not isinstance(call.request, LookupRequest):
            self.unanswered[call.attempt_id] = call
            self.absences[call.attempt_id] = []

    def heard(self, call: Call, answer: Any, decision: Decision, now: datetime) -> None:
        """An answer arrived."""
        if decision == STALE:
            return
        self.unanswered.pop(call.attempt_id, None)
        if isinstance(call.request, LookupRequest):
            if isinstance(answer, Absent):
                self.absences[call.attempt_id].append(now)
            elif not isinstance(answer, Unknown | NotSent):
                self.absences[call.attempt_id] = []
                self.perhaps_executed.add(call.attempt_id)
        elif isinstance(answer, Unknown | Pending | ActionRequired | Approved):
            self.perhaps_executed.add(call.attempt_id)
        self.decided(decision)

    def allows_failure_of(self, attempt_id: str) -> bool:
        """Whether it is certain that the attempt was never executed."""
        if attempt_id in self.unanswered:
            return False
        seen = self.absences[attempt_id]
        proven = bool(seen) and seen[-1] - seen[0] >= self.window
        return attempt_id not in self.perhaps_executed or proven


# --- what must hold ---


def check_amounts(story: Story) -> None:
    """The checks of the books (5.1), and the three ways to compute what was taken and given back (I12)."""
    payment = story.payment
    amounts = [
        payment.authorized,
        payment.released,
        payment.captured_gross,
        payment.capture_pending,
        payment.capture_reversed,
        payment.refunded,
        payment.refund_pending,
        payment.refunded_external,
        payment.disputed_open,
        payment.charged_back,
    ]
    assert all(amount >= 0 for amount in amounts)
    assert payment.refunded + payment.refund_pending <= payment.captured_gross
    assert payment.captured_gross + payment.capture_pending + payment.released <= payment.authorized
    assert payment.authorized <= payment.requested

    attempts = list(story.known.attempts.values())
    taken = [
        a.amount for a in attempts if a.operation is Operation.SALE and a.state is AttemptState.SUCCEEDED
    ]
    refunds = [a for a in attempts if a.operation is Operation.REFUND]
    assert sum(taken) == payment.captured_gross
    assert sum(a.amount for a in refunds if a.state is AttemptState.SUCCEEDED) == payment.refunded
    assert sum(a.amount for a in refunds if a.is_open) == payment.refund_pending


def check_books(story: Story) -> None:
    """Journals balance by construction; here: none twice, and the accounts stand where the payment says."""
    payment = story.payment
    ids = [journal.journal_id for journal in story.journals]
    on_hold = payment.authorized - payment.captured_gross - payment.released
    owed_for_refunds = payment.refund_pending
    given_back = payment.refunded

    assert len(ids) == len(set(ids))
    assert story.balance(Account.GATEWAY_RECEIVABLE) == payment.captured_gross - given_back
    assert story.balance(Account.REFUND_PAYABLE) == -owed_for_refunds
    assert story.balance(Account.ORDER_CLEARING) == -(payment.captured_gross - given_back - owed_for_refunds)
    assert story.balance(Account.AUTHORIZATION_HOLD) == on_hold
    assert story.balance(Account.AUTHORIZATION_HOLD_CONTRA) == -on_hold


def check_states(story: Story) -> None:
    """Nothing waits without a timer, nothing that is over has money, and one sale is under way at most."""
    sales = (Operation.SALE, Operation.AUTHORIZE)
    attempts = list(story.known.attempts.values())
    assert sum(a.operation in sales and a.is_open for a in attempts) <= 1
    assert sum(a.operation in sales and a.state is AttemptState.SUCCEEDED for a in attempts) <= 1
    for attempt in attempts:
        assert (attempt.due_at is not None) is attempt.is_open
        assert attempt.tries <= story.policy.max_sends + len(story.policy.retry_delays)
    for refund in story.known.refunds.values():
        assert (refund.due_at is not None) is (refund.status is RefundStatus.REQUESTED)
        under_way = refund.status in (RefundStatus.SUBMITTED, RefundStatus.PENDING, RefundStatus.UNKNOWN)
        assert any(a.refund_id == refund.refund_id and a.is_open for a in attempts) is under_way
    if story.known.payment is None:
        return
    payment = story.payment
    if payment.status in OVER_WITHOUT_MONEY:
        assert payment.captured_gross == 0
        assert not any(a.operation in sales and a.is_open for a in attempts)
    if payment.status in (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED):
        assert any(a.operation in sales and a.state is AttemptState.SUCCEEDED for a in attempts)


def check_events(story: Story) -> None:
    """The sequence has no gaps, and after PaymentFailed nobody is charged."""
    numbers = [event.sequence for event in story.events if isinstance(event, PaymentEvent)]
    assert numbers == list(range(1, len(story.events) + 1))
    assert [announcement.sequence for announcement in story.announcements] == numbers
    if story.known.payment is not None:
        assert story.payment.sequence == len(numbers)
    names = story.event_names()
    assert names.count("PaymentFailed") + names.count("PaymentSucceeded") <= 1


def check_conclusions(story: Story, evidence: Evidence, decision: Decision) -> None:
    """Unknown is never announced as failed, unless absence was proven."""
    for attempt in decision.attempts:
        if attempt.state is AttemptState.FAILED:
            assert evidence.allows_failure_of(attempt.attempt_id), attempt
    for announcement in decision.announcements:
        event = announcement.event
        if isinstance(event, PaymentFailed | RefundFailed) and event.category == "failed":
            assert any(a.state is AttemptState.FAILED for a in decision.attempts)
            assert event.reason in (
                FailureReason.NEVER_EXECUTED,
                FailureReason.GATEWAY_UNAVAILABLE,
                FailureReason.REFUSED_BY_GATEWAY,
            )
    if "PaymentFailed" in story.event_names()[:-1] and decision.call is not None:
        assert not isinstance(decision.call.request, AuthorizeRequest)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_happens_the_books_and_the_announcements_hold(data: st.DataObject) -> None:
    policy = a_policy(max_sends=data.draw(st.integers(1, 3)))
    capture = data.draw(st.sampled_from(["automatic", "automatic", "manual"]))
    story, evidence = Story(policy), Evidence(capture=capture, window=policy.absence_window)
    for _ in range(data.draw(st.integers(1, 40))):
        decided = len(story.decisions)
        something_happens(data, story, evidence)
        check_states(story)
        check_events(story)
        if story.known.payment is not None:
            check_amounts(story)
            check_books(story)
        for decision in story.decisions[decided:]:
            check_conclusions(story, evidence, decision)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*AMOUNTS, *AMOUNTS]), min_size=1, max_size=12), st.data())
def test_refunds_never_give_back_more_than_was_taken(
    amounts: list[Money | None], data: st.DataObject
) -> None:
    story = Story()
    story.ask_payment()
    story.answer(Approved(reference=REFERENCE, amount=PRICE))
    for number, amount in enumerate(amounts):
        story.ask_refund(refund_id=f"ref_{number}", amount=amount, message_id=f"msg_r{number}")
    for call in [call for call in story.calls if call.refund_id is not None]:
        fate = data.draw(st.sampled_from(["done", "declined", "lost"]))
        done = Approved(reference=f"re_{call.attempt_id}", amount=call.request.amount)
        story.answer({"done": done, "declined": declined(), "lost": unknown()}[fate], call=call)

        check_amounts(story)
        check_books(story)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["payment", "refund", "timer"]), min_size=1, max_size=20))
def test_redelivery_in_any_order_asks_the_gateway_once(happenings: list[str]) -> None:
    story = Story()
    for happening in happenings:
        if happening == "payment":
            story.ask_payment()
        elif happening == "refund":
            story.ask_refund()
        else:
            story.tell(TimerDue(payment_id=PAYMENT))

    assert len(story.calls) == ("payment" in happenings)
