"""The payment's state table (books, 5.3), row by row, and what its events say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from gateways.protocol import Absent, DeclineReason, Firmness, LookupRequest, VoidRequest
from handlers.decision import Decision
from ledger.states import AttemptState, PaymentStatus
from messages import events
from messages.events import Event, FailureReason
from messages.ids import PaymentId
from messages.money import Money
from tests.builders import (
    PRICE,
    a_policy,
    action_required,
    approved,
    declined,
    eur,
    not_sent,
    pending,
    unknown,
)
from tests.handlers.story import Story, a_sale

Step = Callable[[Story], Decision]

ABSENT = Absent(detail="no such payment")


def asks(**fields: Any) -> Step:
    """PaymentRequested arrives."""
    return lambda story: story.ask_payment(**fields)


def asks_for_an_order_that_is_paid(story: Story) -> Decision:
    """PaymentRequested arrives for an order that another payment has paid or is paying."""
    story.known.order_paid_by = PaymentId("pay_0")
    return story.ask_payment()


def answers(answer: Any) -> Step:
    """The call under way is answered."""
    return lambda story: story.answer(answer)


def asked_again(answer: Any) -> Step:
    """The attempt's timer falls due, and the call it makes is answered."""
    return lambda story: story.ask_again_until_answered(answer, attempt=story.sale)


def absence_is_proven(story: Story) -> Decision:
    """Look-ups find nothing until that is proof."""
    for _ in range(20):
        decision = story.ask_again_until_answered(ABSENT, attempt=story.sale)
        if not story.sale.is_open:
            return decision
    raise AssertionError("absence was never taken for proof")


def retries_are_used_up(story: Story) -> Decision:
    """The gateway cannot be reached, again and again."""
    decision = story.answer(not_sent(retryable=True))
    for _ in story.policy.retry_delays:
        decision = asked_again(not_sent(retryable=True))(story)
    return decision


def the_worker_dies_and_the_replay_window_closes(story: Story) -> Decision:
    """The call's lease runs out when the key is no longer safe to send again."""
    story.wait(timedelta(hours=24))
    return story.fall_due(story.sale)


def the_customers_time_runs_out(story: Story) -> Decision:
    """The customer has not acted, and the timer falls due after that."""
    assert story.sale.expires_at is not None
    story.now = max(story.now, story.sale.expires_at)
    return story.fall_due(story.sale)


def called_off(story: Story) -> Decision:
    """The customer's time runs out, and the gateway confirms that it is canceled."""
    cancel = the_customers_time_runs_out(story)
    assert cancel.call is not None
    assert isinstance(cancel.call.request, VoidRequest)
    return story.answer(approved())


def canceled_after_a_lost_repeat(story: Story) -> Decision:
    """The call-off is confirmed when the gateway, asked once more, has left the payment in doubt."""
    the_customers_time_runs_out(story)
    cancel = story.calls[-1]
    asked_again(ABSENT)(story)
    story.answer(unknown())
    assert story.payment.status is PaymentStatus.IN_DOUBT
    return story.answer(approved(), call=cancel)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table, or one of its cases."""

    id: str
    start: PaymentStatus | None
    before: tuple[Step, ...]
    trigger: Step
    to: PaymentStatus
    event: type[Event] | None
    journals: tuple[str, ...] = ()
    authorized: int = 0
    captured: int = 0
    calls: bool = False
    max_sends: int = field(default=3)


HOLD: tuple[Step, ...] = (asks(capture="manual"),)
SALE: tuple[Step, ...] = (asks(),)


def over_open_states(number: str, *open_states: str, hold: bool = False, **row: Any) -> list[Row]:
    """The cases of a row that starts from several states."""
    asked = HOLD if hold else SALE
    ways: dict[str, tuple[PaymentStatus, Step]] = {
        "action_required": (PaymentStatus.ACTION_REQUIRED, answers(action_required())),
        "pending": (PaymentStatus.PENDING, answers(pending())),
        "in_doubt": (PaymentStatus.IN_DOUBT, answers(unknown())),
    }
    return [
        Row(id=f"{number}-from-{name}", start=ways[name][0], before=(*asked, ways[name][1]), **row)
        for name in open_states
    ]


AUTHORIZING = PaymentStatus.AUTHORIZING

CANNOT_BE_SERVED: dict[str, dict[str, Any]] = {
    "unknown_gateway": {"gateway": "nobody", "payment_method": {"token": "tok"}},
    "currency_not_supported": {"amount": {"minor": 100, "currency": "JPY"}},
    "unknown_payment_method": {"payment_method": None, "payment_method_id": "pm_stored"},
}

ROWS = [
    *(
        Row(
            id=f"P02-{why}",
            start=None,
            before=(),
            trigger=asks(**fields),
            to=PaymentStatus.REJECTED,
            event=events.PaymentFailed,
        )
        for why, fields in CANNOT_BE_SERVED.items()
    ),
    Row(
        id="P02-order_already_paid",
        start=None,
        before=(),
        trigger=asks_for_an_order_that_is_paid,
        to=PaymentStatus.REJECTED,
        event=events.PaymentFailed,
    ),
    Row(id="P04", start=None, before=(), trigger=asks(), to=AUTHORIZING, event=None, calls=True),
    Row(
        id="P10",
        start=AUTHORIZING,
        before=HOLD,
        trigger=answers(approved()),
        to=PaymentStatus.AUTHORIZED,
        event=events.PaymentAuthorized,
        journals=("J01",),
        authorized=PRICE.minor,
    ),
    Row(
        id="P12",
        start=AUTHORIZING,
        before=SALE,
        trigger=answers(approved()),
        to=PaymentStatus.CAPTURED,
        event=events.PaymentSucceeded,
        journals=("J10s",),
        authorized=PRICE.minor,
        captured=PRICE.minor,
    ),
    Row(
        id="P13",
        start=AUTHORIZING,
        before=SALE,
        trigger=answers(action_required()),
        to=PaymentStatus.ACTION_REQUIRED,
        event=events.PaymentActionRequired,
    ),
    Row(
        id="P14",
        start=AUTHORIZING,
        before=SALE,
        trigger=answers(pending()),
        to=PaymentStatus.PENDING,
        event=events.PaymentPending,
    ),
    *(
        Row(
            id=f"P15-{firmness.value}",
            start=AUTHORIZING,
            before=SALE,
            trigger=answers(declined(firmness=firmness)),
            to=PaymentStatus.DECLINED,
            event=events.PaymentFailed,
        )
        for firmness in Firmness
    ),
    Row(
        id="P17-refused",
        start=AUTHORIZING,
        before=SALE,
        trigger=answers(not_sent(retryable=False)),
        to=PaymentStatus.FAILED,
        event=events.PaymentFailed,
    ),
    Row(
        id="P17-retries-used-up",
        start=AUTHORIZING,
        before=SALE,
        trigger=retries_are_used_up,
        to=PaymentStatus.FAILED,
        event=events.PaymentFailed,
    ),
    Row(
        id="P18",
        start=AUTHORIZING,
        before=SALE,
        trigger=answers(unknown()),
        to=PaymentStatus.IN_DOUBT,
        event=events.PaymentInDoubt,
    ),
    Row(
        id="P18-another-amount",
        start=AUTHORIZING,
        before=SALE,
        trigger=answers(approved(eur(1998))),
        to=PaymentStatus.IN_DOUBT,
        event=events.PaymentInDoubt,
    ),
    Row(
        id="P18-lease-expired",
        start=AUTHORIZING,
        before=SALE,
        trigger=the_worker_dies_and_the_replay_window_closes,
        to=PaymentStatus.IN_DOUBT,
        event=events.PaymentInDoubt,
        calls=True,
    ),
    *over_open_states(
        "P19",
        "action_required",
        "pending",
        "in_doubt",
        hold=True,
        trigger=asked_again(approved()),
        to=PaymentStatus.AUTHORIZED,
        event=events.PaymentAuthorized,
        journals=("J01",),
        authorized=PRICE.minor,
    ),
    *over_open_states(
        "P20",
        "action_required",
        "pending",
        "in_doubt",
        trigger=asked_again(approved()),
        to=PaymentStatus.CAPTURED,
        event=events.PaymentSucceeded,
        journals=("J10s",),
        authorized=PRICE.minor,
        captured=PRICE.minor,
    ),
    *over_open_states(
        "P21",
        "action_required",
        "in_doubt",
        trigger=asked_again(pending()),
        to=PaymentStatus.PENDING,
        event=events.PaymentPending,
    ),
    *over_open_states(
        "P22",
        "action_required",
        "pending",
        "in_doubt",
        trigger=asked_again(declined(DeclineReason.AUTHENTICATION_FAILED)),
        to=PaymentStatus.DECLINED,
        event=events.PaymentFailed,
    ),
    *over_open_states(
        "P23-gateway-canceled",
        "action_required",
        trigger=called_off,
        to=PaymentStatus.EXPIRED,
        event=events.PaymentExpired,
    ),
    *over_open_states(
        "P23-inquiry-says-expired",
        "action_required",
        "pending",
        trigger=asked_again(declined(DeclineReason.EXPIRED)),
        to=PaymentStatus.EXPIRED,
        event=events.PaymentExpired,
    ),
    *over_open_states(
        "P25-repeat-lost",
        "action_required",
        "pending",
        trigger=lambda story: (asked_again(ABSENT)(story), story.answer(unknown()))[1],
        to=PaymentStatus.IN_DOUBT,
        event=events.PaymentInDoubt,
    ),
    *over_open_states(
        "P26",
        "in_doubt",
        trigger=asked_again(action_required()),
        to=PaymentStatus.ACTION_REQUIRED,
        event=events.PaymentActionRequired,
    ),
    *over_open_states(
        "P27",
        "in_doubt",
        trigger=absence_is_proven,
        to=PaymentStatus.FAILED,
        event=events.PaymentFailed,
        max_sends=1,
    ),
    Row(
        id="P28",
        start=PaymentStatus.ACTION_REQUIRED,
        before=(*SALE, answers(action_required())),
        trigger=canceled_after_a_lost_repeat,
        to=PaymentStatus.VOIDED,
        event=events.PaymentVoided,
    ),
]

NO_STATE = "accepting and starting are one decision here: the payment is authorizing from its first moment"
NO_FRAUD = "nothing screens payments yet, so there is no review"
NO_CANCEL = "there is no command to cancel a payment"
NO_ROUTE = "there is one gateway per payment: no second route to fail over to"
NO_CAPTURE = "there is no command to capture, void or adjust a hold"
NO_NOTICE = "a hold is not watched after it was made, and gateways' notices are not taken in"
NO_LATE_TRUTH = "what is over is not looked at again"

NOT_REACHED = {
    "P01": NO_STATE,
    "P03": NO_STATE,
    "P05": NO_FRAUD,
    "P06": NO_FRAUD,
    "P07": NO_FRAUD,
    "P08": NO_FRAUD,
    "P09": NO_CANCEL,
    "P11": NO_FRAUD,
    "P16": NO_ROUTE,
    "P24": NO_CANCEL,
    "P29": NO_CAPTURE,
    "P30": NO_CAPTURE,
    "P31": NO_CAPTURE,
    "P32": NO_NOTICE,
    "P33": NO_NOTICE,
    "P34": NO_FRAUD,
    "P35": NO_FRAUD,
    **dict.fromkeys((f"P{number}" for number in range(36, 48)), NO_CAPTURE),
    "P48": NO_NOTICE,
    "P49": NO_NOTICE,
    "P50": NO_LATE_TRUTH,
    "P51": NO_LATE_TRUTH,
    "P52": NO_LATE_TRUTH,
    "P53": "there is no correction by operators",
    "P54": NO_FRAUD,
    "P55": NO_ROUTE,
}
"""Rows of the table that nothing here can reach yet, and why."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Row) -> None:
    story = Story(a_policy(max_sends=row.max_sends))
    for step in row.before:
        step(story)
    start = story.known.payment.status if story.known.payment else None
    announced = len(story.events)
    decision = row.trigger(story)

    assert start is row.start
    assert story.payment.status is row.to
    assert [journal.journal_type for journal in story.journals] == list(row.journals)
    assert [type(event) for event in story.events[announced:]][-1:] == ([row.event] if row.event else [])
    assert (decision.call is not None) is row.calls
    assert (story.payment.authorized, story.payment.captured_gross) == (row.authorized, row.captured)


def test_every_row_of_the_table_is_walked_or_named_as_not_reached() -> None:
    walked = {row.id.partition("-")[0] for row in ROWS}
    every = {f"P{number:02d}" for number in range(1, 56)}

    assert walked | NOT_REACHED.keys() == every
    assert not walked & NOT_REACHED.keys()


ELSEWHERE = {
    PaymentStatus.CAPTURING,
    PaymentStatus.PARTIALLY_CAPTURED,
    PaymentStatus.VOIDING,
    PaymentStatus.CANCELED,
    PaymentStatus.REVERSED,
}
"""Reached by captures, voids and late truth, which have tests of their own."""


def test_every_state_of_the_payment_is_reached_by_a_row() -> None:
    assert {row.to for row in ROWS} == set(PaymentStatus) - ELSEWHERE


# --- what the events say ---


def test_an_authorization_is_announced_with_what_is_held() -> None:
    story = a_sale(capture="manual")
    story.answer(approved())
    event = story.events[-1]

    assert isinstance(event, events.PaymentAuthorized)
    assert (event.amount, event.gateway, event.order_id) == (PRICE, "stripe", "1001")


def test_a_sale_is_announced_with_what_was_captured_and_what_is_left() -> None:
    story = a_sale()
    story.answer(approved())
    event = story.events[-1]

    assert isinstance(event, events.PaymentSucceeded)
    assert (event.amount, event.captured, event.capturable) == (PRICE, PRICE, eur(0))
    assert event.occurred_at == story.now


@pytest.mark.parametrize("reason", sorted(set(DeclineReason) - {DeclineReason.AUTHENTICATION_REQUIRED}))
def test_a_decline_is_announced_with_our_reason_and_the_gateways_code(reason: DeclineReason) -> None:
    story = a_sale()
    story.answer(declined(reason))
    event = story.events[-1]

    if reason is DeclineReason.EXPIRED:
        assert isinstance(event, events.PaymentExpired)
    else:
        assert isinstance(event, events.PaymentFailed)
        assert (event.category, event.reason.value, event.gateway_code) == (
            "declined",
            reason.value,
            f"code_{reason.value}",
        )


@pytest.mark.parametrize(
    ("firmness", "retryable"),
    [(Firmness.SOFT, True), (Firmness.HARD, False), (Firmness.NEEDS_AUTHENTICATION, True)],
)
def test_only_a_hard_decline_is_not_to_be_tried_again(firmness: Firmness, retryable: bool) -> None:
    story = a_sale()
    story.answer(declined(firmness=firmness))
    event = story.events[-1]

    assert isinstance(event, events.PaymentFailed)
    assert event.retryable is retryable


@pytest.mark.parametrize(
    ("ending", "reason", "retryable"),
    [
        (answers(not_sent(retryable=False)), FailureReason.REFUSED_BY_GATEWAY, False),
        (retries_are_used_up, FailureReason.GATEWAY_UNAVAILABLE, True),
        (
            lambda story: (story.answer(unknown()), absence_is_proven(story))[1],
            FailureReason.NEVER_EXECUTED,
            True,
        ),
    ],
    ids=["refused", "unreachable", "never-executed"],
)
def test_a_failure_is_announced_with_its_reason(ending: Step, reason: FailureReason, retryable: bool) -> None:
    story = a_sale(a_policy(max_sends=1))
    ending(story)
    event = story.events[-1]

    assert isinstance(event, events.PaymentFailed)
    assert (event.category, event.reason, event.retryable) == ("failed", reason, retryable)


def test_an_action_is_announced_with_where_to_go_and_until_when() -> None:
    story = a_sale()
    story.answer(action_required())
    event = story.events[-1]

    assert isinstance(event, events.PaymentActionRequired)
    assert (event.next_action.type, event.next_action.url) == ("redirect", "https://bank.example/3ds")
    assert event.expires_at == story.now + story.policy.action_time


def test_a_state_that_goes_on_is_announced_once() -> None:
    for answer in (pending(), action_required(), unknown()):
        story = a_sale()
        story.answer(answer)
        for _ in range(4):
            story.ask_again_until_answered(answer, attempt=story.sale)

        assert len(story.events) == 1, story.event_names()


def test_what_is_under_way_is_looked_up_by_the_gateways_own_reference() -> None:
    story = a_sale()
    story.answer(pending("pi_77"))
    call = story.fall_due().call

    assert call is not None
    assert isinstance(call.request, LookupRequest)
    assert (call.request.reference, call.request.attempt_id) == ("pi_77", "pay_1.a1")


def test_a_bank_may_ask_for_the_customer_after_all() -> None:
    story = a_sale()
    story.answer(pending())
    story.ask_again_until_answered(action_required(), attempt=story.sale)

    assert story.payment.status is PaymentStatus.ACTION_REQUIRED
    assert story.event_names() == ["PaymentPending", "PaymentActionRequired"]


# --- another amount ---


def test_another_amount_is_neither_booked_nor_announced_and_a_person_is_called() -> None:
    story = a_sale()
    story.answer(approved(eur(2999)))

    assert story.payment.attention
    assert story.sale.state is AttemptState.UNKNOWN
    assert story.journals == []
    assert story.event_names() == ["PaymentInDoubt"]
    detail = story.decisions[-1].detail
    assert detail["attempt"] == story.sale.attempt_id
    assert detail["contradiction"] == "the gateway says 29.99 EUR, asked was 19.99 EUR"


def test_another_amount_in_a_look_up_brings_what_was_under_way_into_doubt() -> None:
    story = a_sale()
    story.answer(pending())
    story.ask_again_until_answered(approved(eur(1)), attempt=story.sale)

    assert story.payment.status is PaymentStatus.IN_DOUBT
    assert story.payment.attention
    assert story.journals == []


def test_another_currency_is_another_amount() -> None:
    story = a_sale()
    story.answer(approved(Money(PRICE.minor, "USD")))

    assert story.payment.status is PaymentStatus.IN_DOUBT
    assert story.payment.attention


def test_when_the_gateway_corrects_the_amount_the_payment_goes_on() -> None:
    story = a_sale()
    story.answer(approved(eur(1)))
    story.ask_again_until_answered(approved(), attempt=story.sale)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.payment.attention, "a person still has to look"


# --- nobody knows ---


def test_an_unknown_outcome_calls_a_person_when_the_schedule_is_exhausted_and_never_fails() -> None:
    story = a_sale()
    story.answer(unknown())
    for look_up in range(1, 31):
        assert story.payment.attention is (look_up > len(story.policy.inquiry_delays))
        story.ask_again_until_answered(unknown(), attempt=story.sale)

    assert story.payment.status is PaymentStatus.IN_DOUBT
    assert story.event_names() == ["PaymentInDoubt"]
    assert story.sale.due_at is not None
    told = [one.detail["nobody_can_tell"] for one in story.decisions if "nobody_can_tell" in one.detail]
    assert told == [story.sale.attempt_id], "the audit log says why, once"


def test_the_truth_is_taken_in_even_after_a_person_was_called() -> None:
    story = a_sale()
    story.answer(unknown())
    while not story.payment.attention:
        story.ask_again_until_answered(unknown(), attempt=story.sale)
    story.ask_again_until_answered(approved(), attempt=story.sale)

    assert story.payment.status is PaymentStatus.CAPTURED
    assert story.event_names() == ["PaymentInDoubt", "PaymentSucceeded"]
