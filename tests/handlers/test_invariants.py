"""What must hold whatever happens: random commands, answers and timers, folded, and checked after each.

The gateway here says anything at all, in any order, also what no honest gateway would say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
from ledger.states import (
    OPEN_ATTEMPT,
    OVER_WITHOUT_MONEY,
    Attempt,
    AttemptState,
    CaptureStatus,
    Payment,
    PaymentStatus,
    RefundStatus,
)
from messages.events import (
    FailureReason,
    PaymentAuthorized,
    PaymentEvent,
    PaymentFailed,
    PaymentSucceeded,
    RefundFailed,
)
from messages.money import Money
from messages.operation import Operation
from tests.builders import (
    PAYMENT,
    PRICE,
    REFERENCE,
    a_policy,
    action_required,
    capabilities,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story

# --- what can happen ---

REFUNDS = ["ref_1", "ref_2", "ref_3"]
CAPTURES = ["cap_1", "cap_2", "cap_3"]
AMOUNTS = [None, eur(1), eur(999), eur(1000), PRICE, eur(2000), Money(1, "USD")]
WAITS = [timedelta(seconds=s) for s in (1, 46, 600, 15 * 60, 3600, 24 * 3600, 7 * 24 * 3600)]

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
    declined(DeclineReason.CANCELED, Firmness.HARD),
    declined(DeclineReason.AUTHENTICATION_REQUIRED, Firmness.NEEDS_AUTHENTICATION),
]

answers_to_an_operation = st.sampled_from([*ANYTHING, Opened(reference=REFERENCE)])
answers_to_a_look_up = st.sampled_from([*ANYTHING, *[Absent(detail="no trace")] * 4])
actions = st.sampled_from(
    [
        *["payment", "another payment", "capture", "capture", "void", "refund", "notice", "notice", "wait"],
        *["answer"] * 6,
        *["timer"] * 3,
    ]
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


def the_gateway_tells_something(data: st.DataObject, story: Story, evidence: Evidence) -> None:
    """A callback about an attempt of ours, or about a refund that somebody made at the gateway."""
    if story.known.payment is None:
        return
    attempts = [*story.known.attempts.values()]
    if not attempts or data.draw(st.integers(0, 4)) == 0:
        if not story.payment.captured_gross:
            return
        reference = data.draw(st.sampled_from(["re_dashboard_1", "re_dashboard_2"]))
        decision = story.notice(
            operation=Operation.REFUND, reference=reference, parent_reference=REFERENCE, amount=eur(5)
        )
    else:
        about = data.draw(st.sampled_from(attempts))
        decision = story.notice(attempt=about, came_through=data.draw(st.booleans()))
    evidence.decided(decision)


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
        case "capture":
            capture_id = data.draw(st.sampled_from(CAPTURES))
            amount, final = data.draw(st.sampled_from(AMOUNTS)), data.draw(st.booleans())
            message_id = f"msg_{capture_id}_{amount}_{final}"
            evidence.decided(
                story.ask_capture(message_id=message_id, capture_id=capture_id, amount=amount, final=final)
            )
        case "void":
            evidence.decided(story.ask_void(message_id=data.draw(st.sampled_from(["msg_v1", "msg_v2"]))))
        case "notice":
            the_gateway_tells_something(data, story, evidence)
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
    failed: set[str] = field(default_factory=set)
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
                self.absences.setdefault(call.attempt_id, []).append(now)
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

    def total(*operations: Operation, states: Collection[AttemptState]) -> int:
        attempts = story.known.attempts.values()
        return sum(a.amount for a in attempts if a.operation in operations and a.state in states)

    happened = (AttemptState.SUCCEEDED, AttemptState.REVERSED)
    reversed_refunds = [
        refund.amount or 0
        for refund in story.known.refunds.values()
        if refund.status is RefundStatus.REVERSED
    ]
    assert payment.authorized == total(Operation.SALE, Operation.AUTHORIZE, states=happened)
    assert payment.captured_gross == total(Operation.SALE, Operation.CAPTURE, states=happened)
    assert payment.capture_reversed == total(
        Operation.SALE, Operation.CAPTURE, states=[AttemptState.REVERSED]
    )
    assert payment.capture_pending == total(Operation.CAPTURE, states=OPEN_ATTEMPT)
    given_back = payment.refunded + payment.refunded_external
    assert given_back == total(Operation.REFUND, states=[AttemptState.SUCCEEDED])
    pending = total(Operation.REFUND, states=OPEN_ATTEMPT) + sum(reversed_refunds)
    assert payment.refund_pending == pending


def check_books(story: Story) -> None:
    """Journals balance by construction; here: none twice, and the accounts stand where the payment says."""
    payment = story.payment
    ids = [journal.journal_id for journal in story.journals]
    on_hold = payment.authorized - payment.captured_gross - payment.released
    owed_for_refunds = payment.refund_pending
    given_back = payment.refunded + payment.refunded_external + payment.capture_reversed

    assert len(ids) == len(set(ids))
    assert story.balance(Account.GATEWAY_RECEIVABLE) == payment.captured_gross - given_back
    assert story.balance(Account.REFUND_PAYABLE) == -owed_for_refunds
    assert story.balance(Account.ORDER_CLEARING) == -(payment.captured_gross - given_back - owed_for_refunds)
    assert story.balance(Account.AUTHORIZATION_HOLD) == on_hold
    assert story.balance(Account.AUTHORIZATION_HOLD_CONTRA) == -on_hold


def check_states(story: Story) -> None:
    """Nothing waits without a timer, and a payment stands where its attempts and amounts put it."""
    sales = (Operation.SALE, Operation.AUTHORIZE)
    attempts = list(story.known.attempts.values())
    assert sum(a.operation in sales and a.is_open for a in attempts) <= 1
    for attempt in attempts:
        assert attempt.due_at is not None or not attempt.is_open
        assert attempt.tries <= story.policy.max_sends + len(story.policy.retry_delays)
    for capture in story.known.captures.values():
        assert (capture.due_at is not None) is (capture.status is CaptureStatus.REQUESTED)
        under_way = any(a.capture_id == capture.capture_id and a.is_open for a in attempts)
        assert under_way is (capture.status is CaptureStatus.SUBMITTED)
    for refund in story.known.refunds.values():
        if refund.status is not RefundStatus.REVERSED:
            assert (refund.due_at is not None) is (refund.status is RefundStatus.REQUESTED)
        waits = refund.status in (RefundStatus.SUBMITTED, RefundStatus.PENDING, RefundStatus.UNKNOWN)
        assert any(a.refund_id == refund.refund_id and a.is_open for a in attempts) is waits
    if story.known.payment is not None:
        check_status(story.payment, attempts)


def check_status(payment: Payment, attempts: Sequence[Attempt]) -> None:
    """As `ledger.verify` does."""
    sales = (Operation.SALE, Operation.AUTHORIZE)
    being_paid = any(a.operation in sales and a.is_open for a in attempts)
    net = payment.captured_gross - payment.capture_reversed
    waiting = (
        PaymentStatus.AUTHORIZING,
        PaymentStatus.ACTION_REQUIRED,
        PaymentStatus.PENDING,
        PaymentStatus.IN_DOUBT,
    )
    assert (payment.status in waiting) is being_paid
    match payment.status:
        case PaymentStatus.AUTHORIZED:
            assert payment.capturable > 0 == payment.captured_gross
        case PaymentStatus.CAPTURING:
            assert payment.capture_pending > 0
        case PaymentStatus.PARTIALLY_CAPTURED:
            assert payment.capturable > 0 < net
        case PaymentStatus.VOIDING:
            assert payment.capturable > 0
            assert any(a.operation is Operation.VOID and a.is_open for a in attempts)
        case PaymentStatus.CAPTURED:
            assert net > 0
            assert payment.authorized == payment.captured_gross + payment.released
        case PaymentStatus.REVERSED:
            assert 0 < payment.captured_gross == payment.capture_reversed
        case status if status in OVER_WITHOUT_MONEY:
            assert payment.capturable == 0 or any(
                a.operation is Operation.VOID and a.is_open for a in attempts
            )
            kept = net - payment.refunded - payment.refund_pending - payment.refunded_external
            assert not payment.captured_gross or (payment.attention and kept <= 0)
        case _:
            assert payment.status in waiting


def check_events(story: Story) -> None:
    """The sequence has no gaps, and what comes after PaymentFailed is said to be late."""
    numbers = [event.sequence for event in story.events if isinstance(event, PaymentEvent)]
    assert numbers == list(range(1, len(story.events) + 1))
    assert [announcement.sequence for announcement in story.announcements] == numbers
    if story.known.payment is not None:
        assert story.payment.sequence == len(numbers)
    names = story.event_names()
    assert names.count("PaymentFailed") <= 1
    if "PaymentFailed" in names:
        for event in story.events[names.index("PaymentFailed") :]:
            if isinstance(event, PaymentSucceeded) and event.capture_id is None:
                assert event.late
            if isinstance(event, PaymentAuthorized):
                assert event.late


def check_conclusions(story: Story, evidence: Evidence, decision: Decision) -> None:
    """Unknown is never announced as failed, unless absence was proven."""
    for attempt in decision.attempts:
        refund = story.known.refunds.get(attempt.refund_id) if attempt.refund_id else None
        if refund is not None and refund.external:
            continue  # it was made elsewhere, and is nothing to us until it is confirmed
        if attempt.state is AttemptState.FAILED and attempt.attempt_id not in evidence.failed:
            evidence.failed.add(attempt.attempt_id)
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
    several = {"stripe": capabilities(multiple_capture=data.draw(st.booleans()))}
    policy = a_policy(max_sends=data.draw(st.integers(1, 3)), gateways=several)
    capture = data.draw(st.sampled_from(["automatic", "manual", "manual"]))
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
