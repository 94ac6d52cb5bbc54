"""The refund's state table (books, 5.4), row by row, and what its events say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import Absent, DeclineReason, LookupRequest
from handlers.decision import Decision
from ledger.accounts import Account
from ledger.states import AttemptState, PaymentStatus, RefundStatus
from messages import events
from messages.events import Event, FailureReason
from tests.builders import (
    PRICE,
    REFUND,
    REFUND_REFERENCE,
    a_policy,
    action_required,
    approved,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story, a_captured_story, a_sale, approved_in_full

Step = Callable[[Story], Decision]

ABSENT = Absent(detail="no such refund")
ASKED = 500


def asks(story: Story) -> Decision:
    """RefundRequested arrives for a part of the money."""
    return story.ask_refund(amount=eur(ASKED))


def answers(answer: Any) -> Step:
    """The call under way is answered."""
    return lambda story: story.answer(answer)


def asked_again(answer: Any) -> Step:
    """The attempt's timer falls due, and the call it makes is answered."""
    return lambda story: story.ask_again_until_answered(answer, attempt=story.refunding)


def in_full(story: Story) -> Decision:
    """The gateway gave back what was asked for."""
    return story.answer(approved_in_full(story.refunding, REFUND_REFERENCE))


def turns_out_done(story: Story) -> Decision:
    """A look-up says it was given back."""
    return asked_again(approved_in_full(story.refunding, REFUND_REFERENCE))(story)


def absence_is_proven(story: Story) -> Decision:
    """Look-ups find nothing until that is proof."""
    for _ in range(20):
        decision = asked_again(ABSENT)(story)
        if not story.refunding.is_open:
            return decision
    raise AssertionError("absence was never taken for proof")


def is_sent_again(story: Story) -> Decision:
    """A look-up finds nothing while the key is still safe."""
    return asked_again(ABSENT)(story)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table, or one of its cases."""

    id: str
    before: tuple[Step, ...]
    start: RefundStatus | None
    trigger: Step
    to: RefundStatus
    event: type[Event] | None = None
    journals: tuple[str, ...] = ("J30",)
    pending: int = ASKED
    refunded: int = 0
    calls: bool = False
    max_sends: int = 3
    captured: bool = True


S = RefundStatus
OPEN: dict[str, tuple[RefundStatus, tuple[Step, ...]]] = {
    "submitted": (S.SUBMITTED, (asks,)),
    "pending": (S.PENDING, (asks, answers(pending(REFUND_REFERENCE)))),
    "action_required": (S.PENDING, (asks, answers(action_required(REFUND_REFERENCE)))),
    "unknown": (S.UNKNOWN, (asks, answers(unknown()))),
}
"""A refund that waits for the customer's bank details is pending here: the same events, the same way out."""


def over_open_states(number: str, *names: str, trigger: Step, first: Step, **row: Any) -> list[Row]:
    """The cases of a row from several states; `first` is its trigger while the call is under way."""
    return [
        Row(
            id=f"{number}-from-{name}",
            before=OPEN[name][1],
            start=OPEN[name][0],
            trigger=first if name == "submitted" else trigger,
            **row,
        )
        for name in names
    ]


ROWS = [
    Row(
        id="R01",
        before=(),
        start=None,
        trigger=asks,
        to=S.REQUESTED,
        journals=(),
        pending=0,
        captured=False,
    ),
    *(
        Row(
            id=f"R02-{why}",
            before=(),
            start=None,
            trigger=lambda story, fields=fields: story.ask_refund(**fields),  # type: ignore[misc]
            to=S.REJECTED,
            event=events.RefundFailed,
            journals=(),
            pending=0,
        )
        for why, fields in {
            "more-than-refundable": {"amount": eur(PRICE.minor + 1)},
            "other-currency": {"amount": {"minor": 1, "currency": "USD"}},
        }.items()
    ),
    Row(id="R03", before=(), start=None, trigger=asks, to=S.SUBMITTED, calls=True),
    Row(id="R04", before=(), start=None, trigger=asks, to=S.SUBMITTED, calls=True),
    *over_open_states(
        "R06",
        *OPEN,
        first=in_full,
        trigger=turns_out_done,
        to=S.SUCCEEDED,
        event=events.RefundProcessed,
        journals=("J30", "J31"),
        pending=0,
        refunded=ASKED,
    ),
    *over_open_states(
        "R07",
        "submitted",
        "unknown",
        first=answers(pending(REFUND_REFERENCE)),
        trigger=asked_again(pending(REFUND_REFERENCE)),
        to=S.PENDING,
        event=events.RefundPending,
    ),
    *over_open_states(
        "R07-announced-before",
        "action_required",
        first=answers(pending(REFUND_REFERENCE)),
        trigger=asked_again(pending(REFUND_REFERENCE)),
        to=S.PENDING,
    ),
    *over_open_states(
        "R08",
        "submitted",
        "unknown",
        first=answers(action_required(REFUND_REFERENCE)),
        trigger=asked_again(action_required(REFUND_REFERENCE)),
        to=S.PENDING,
        event=events.RefundPending,
    ),
    *over_open_states(
        "R08-announced-before",
        "pending",
        first=answers(action_required(REFUND_REFERENCE)),
        trigger=asked_again(action_required(REFUND_REFERENCE)),
        to=S.PENDING,
    ),
    *over_open_states(
        "R09",
        "submitted",
        first=answers(unknown()),
        trigger=asked_again(unknown()),
        to=S.UNKNOWN,
        event=events.RefundPending,
    ),
    *over_open_states(
        "R10-declined",
        *OPEN,
        first=answers(declined(DeclineReason.NOT_REFUNDABLE)),
        trigger=asked_again(declined(DeclineReason.NOT_REFUNDABLE)),
        to=S.FAILED,
        event=events.RefundFailed,
        journals=("J30", "J32"),
        pending=0,
    ),
    *over_open_states(
        "R10-failed",
        "submitted",
        first=answers(not_sent(retryable=False)),
        trigger=absence_is_proven,
        to=S.FAILED,
        event=events.RefundFailed,
        journals=("J30", "J32"),
        pending=0,
    ),
    *over_open_states(
        "R10-absence-proven",
        "unknown",
        first=absence_is_proven,
        trigger=absence_is_proven,
        to=S.FAILED,
        event=events.RefundFailed,
        journals=("J30", "J32"),
        pending=0,
        max_sends=1,
    ),
    *over_open_states(
        "R11-the-gateway-canceled-it",
        "pending",
        "action_required",
        first=answers(declined(DeclineReason.EXPIRED)),
        trigger=asked_again(declined(DeclineReason.EXPIRED)),
        to=S.FAILED,
        event=events.RefundFailed,
        journals=("J30", "J32"),
        pending=0,
    ),
    *over_open_states(
        "R12",
        "unknown",
        first=is_sent_again,
        trigger=is_sent_again,
        to=S.SUBMITTED,
        calls=True,
    ),
]

NO_LATE_TRUTH = "what is over is not looked at again, and gateways' notices are not taken in"

NOT_REACHED = {
    "R05": "there is no command to cancel a refund",
    **dict.fromkeys((f"R{number}" for number in range(13, 18)), NO_LATE_TRUTH),
    "R18": NO_LATE_TRUTH,
    "R19": NO_LATE_TRUTH,
}
"""Rows of the table that nothing here can reach yet, and why."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Row) -> None:
    policy = a_policy(max_sends=row.max_sends)
    story = a_captured_story(policy) if row.captured else a_sale(policy)
    for step in row.before:
        step(story)
    start = story.known.refunds[REFUND].status if REFUND in story.known.refunds else None
    paid, announced = story.payment, len(story.events)
    decision = row.trigger(story)

    assert start is row.start
    assert story.refund.status is row.to
    assert [j.journal_type for j in story.journals if j.journal_type != "J10s"] == list(row.journals)
    assert [type(event) for event in story.events[announced:]] == ([row.event] if row.event else [])
    assert (decision.call is not None) is row.calls
    assert (story.payment.refund_pending, story.payment.refunded) == (row.pending, row.refunded)
    assert (story.payment.status, story.payment.captured_gross) == (paid.status, paid.captured_gross)
    assert story.balance(Account.REFUND_PAYABLE) == -row.pending


def test_every_row_of_the_table_is_walked_or_named_as_not_reached() -> None:
    walked = {row.id.partition("-")[0] for row in ROWS}
    every = {f"R{number:02d}" for number in range(1, 20)}

    assert walked | NOT_REACHED.keys() == every
    assert not walked & NOT_REACHED.keys()


def test_every_state_of_the_refund_is_reached_by_a_row() -> None:
    assert {row.to for row in ROWS} == set(RefundStatus) - {RefundStatus.REVERSED}  # late truth's


# --- what the events say ---


def a_refund_under_way() -> Story:
    """A refund of 5.00 EUR whose call is under way."""
    story = a_captured_story()
    asks(story)
    return story


def test_a_refund_is_announced_with_what_was_given_back_and_what_is_left() -> None:
    story = a_refund_under_way()
    in_full(story)
    event = story.events[-1]

    assert isinstance(event, events.RefundProcessed)
    assert (event.amount, event.refunded, event.refundable) == (eur(500), eur(500), eur(1499))
    assert (event.refund_id, event.payment_id, event.order_id) == (REFUND, "pay_1", "1001")


def test_refunds_in_all_are_summed_up() -> None:
    story = a_refund_under_way()
    in_full(story)
    story.ask_refund(refund_id="ref_2", amount=eur(1499), message_id="msg_3")
    story.answer(approved(eur(1499), "re_2"))
    event = story.events[-1]

    assert isinstance(event, events.RefundProcessed)
    assert (event.refunded, event.refundable) == (PRICE, eur(0))


@pytest.mark.parametrize(
    ("answer", "in_doubt"),
    [(pending(REFUND_REFERENCE), False), (action_required(REFUND_REFERENCE), False), (unknown(), True)],
    ids=["pending", "action", "unknown"],
)
def test_a_pending_refund_says_whether_it_is_in_doubt(answer: Any, in_doubt: bool) -> None:
    story = a_refund_under_way()
    story.answer(answer)
    event = story.events[-1]

    assert isinstance(event, events.RefundPending)
    assert event.in_doubt is in_doubt


@pytest.mark.parametrize("reason", DeclineReason)
def test_a_declined_refund_is_announced_with_our_reason_and_the_gateways_code(reason: DeclineReason) -> None:
    story = a_refund_under_way()
    story.answer(declined(reason))
    event = story.events[-1]

    assert isinstance(event, events.RefundFailed)
    assert (event.category, event.reason.value, event.gateway_code) == (
        "declined",
        reason.value,
        f"code_{reason.value}",
    )


def test_a_refund_that_was_not_executed_is_announced_as_failed() -> None:
    story = a_refund_under_way()
    story.answer(not_sent(retryable=False))
    event = story.events[-1]

    assert isinstance(event, events.RefundFailed)
    assert (event.category, event.reason) == ("failed", FailureReason.REFUSED_BY_GATEWAY)
    assert event.gateway_code is None


def test_a_refunds_events_stand_in_its_payments_sequence_under_its_own_subject() -> None:
    story = a_refund_under_way()
    in_full(story)

    assert [(a.sequence, a.subject) for a in story.announcements] == [(1, "pay_1"), (2, "ref_1")]
    assert [a.correlation_id for a in story.announcements] == ["msg_1", "msg_2"]


# --- in doubt ---


def test_an_unknown_refund_keeps_its_reservation_and_calls_a_person_in_the_end() -> None:
    story = a_refund_under_way()
    story.answer(unknown())
    for look_up in range(1, 21):
        assert story.payment.attention is (look_up > len(story.policy.inquiry_delays))
        asked_again(unknown())(story)

    assert (story.refund.status, story.payment.refund_pending) == (S.UNKNOWN, ASKED)
    assert "RefundFailed" not in story.event_names()


def test_another_amount_given_back_is_not_booked_and_calls_a_person() -> None:
    story = a_refund_under_way()
    story.answer(approved(eur(499), REFUND_REFERENCE))

    assert story.refund.status is S.UNKNOWN
    assert story.payment.attention
    assert [journal.journal_type for journal in story.journals] == ["J10s", "J30"]


def test_an_unknown_refund_is_looked_up_under_what_it_acts_on() -> None:
    story = a_refund_under_way()
    story.answer(unknown())
    call = story.fall_due(story.refunding).call

    assert call is not None
    assert isinstance(call.request, LookupRequest)
    assert (call.request.parent_reference, call.request.attempt_id) == ("pi_1", "ref_1.r1")
    assert call.refund_id == REFUND


def test_a_refund_sent_again_has_the_same_key_and_the_same_body() -> None:
    story = a_refund_under_way()
    first = story.calls[-1]
    story.answer(unknown())
    again = is_sent_again(story).call

    assert again is not None
    assert again.request == first.request
    assert again.call_number > first.call_number


def test_a_refund_retried_because_it_was_not_sent_stays_submitted() -> None:
    story = a_refund_under_way()
    story.answer(not_sent(retryable=True))

    assert (story.refund.status, story.refunding.state) == (S.SUBMITTED, AttemptState.CREATED)
    assert len(story.events) == 1


# --- the customer's bank details ---


def test_a_refund_that_waits_too_long_for_the_customer_is_looked_up_and_never_calls_its_payment_off() -> None:
    story = a_refund_under_way()
    story.answer(action_required(REFUND_REFERENCE))
    story.wait(timedelta(days=2))
    decision = story.fall_due(story.refunding)

    assert decision.call is not None
    assert isinstance(decision.call.request, LookupRequest)
    assert len(story.known.attempts) == 2


def test_a_refunds_customer_never_ends_the_payment() -> None:
    story = a_refund_under_way()
    story.answer(action_required(REFUND_REFERENCE))
    story.wait(timedelta(days=2))
    story.fall_due(story.refunding)
    story.answer(approved_in_full(story.refunding, REFUND_REFERENCE))

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.refund.status is S.SUCCEEDED
    assert not story.refunding.is_open
