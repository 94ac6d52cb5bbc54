"""One turn on a real ledger with the real handlers: many happenings, one transaction, everything or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from consumers.outbound import EventKey
from consumers.turn import Result, Told, Work, run_turn
from gateways.protocol import AuthorizeRequest, LookupRequest, RefundRequest
from handlers.decision import Answered, Call, Happening, TimerDue
from ledger.ledger import Ledger
from ledger.records import Wanted
from ledger.schema import migrate
from ledger.states import AttemptState, PaymentStatus, RefundStatus
from ledger.stories import Story, story
from ledger.verify import verify
from messages.envelope import Sender, Unreadable
from messages.events import RejectionReason
from messages.ids import AttemptId, PaymentId, RefundId
from tests.builders import (
    NOON,
    a_payment_requested,
    a_policy,
    a_refund_requested,
    answer_to,
    approved,
    asked,
    declined,
    eur,
    pending,
    unknown,
)
from tests.keys import KEYRING

MINUTE = timedelta(minutes=1)


class Desk:
    """A ledger, and the turns a worker runs on it. Time stands still at noon unless moved."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ledger = Ledger(url, keyring=KEYRING)
        self.policy = a_policy()
        self.now = NOON
        self.unconfirmed: set[EventKey] = set()
        """Events this worker has published; the broker's word is still out."""

    def turn(
        self, *happenings: Happening | Told | Unreadable, confirmed: list[EventKey] | None = None
    ) -> Result:
        """Run one turn over them, publish what it says may be published."""
        result = run_turn(
            self.ledger,
            [Work(happening=happening) for happening in happenings],
            policy=self.policy,
            now=self.now,
            confirmed=confirmed or [],
            ours=self.unconfirmed | set(confirmed or []),
        )
        self.unconfirmed -= set(confirmed or [])
        self.unconfirmed |= {event.key for event in result.events}
        return result

    def story(self, payment_id: str = "pay_1") -> Story:
        """All that the ledger has on a payment."""
        told = story(self.url, payment_id)
        assert told is not None
        return told

    def status(self, payment_id: str = "pay_1") -> PaymentStatus:
        """Where a payment stands."""
        return self.story(payment_id).payment.status

    def rows(self, sql: str) -> list[Any]:
        """What the tables say."""
        engine = create_engine(self.url)
        try:
            with engine.begin() as connection:
                result = connection.execute(text(sql))
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A fresh ledger on SQLite; whatever the test did, its books must prove clean."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(url)
    desk = Desk(url)
    yield desk
    desk.ledger.close()
    assert verify(url).problems == []


def a_payment(number: int, **fields: Any) -> Happening:
    """PaymentRequested number so-and-so, each with an order and a message id of its own."""
    payment_id, order_id = f"pay_{number}", str(1000 + number)
    command = a_payment_requested(**{"payment_id": payment_id, "order_id": order_id} | fields)
    return asked(command, message_id=f"msg_{number}")


def a_refund(number: int = 1, *, message_id: str | None = None, **fields: Any) -> Happening:
    """RefundRequested number so-and-so, of `pay_1` unless told otherwise."""
    command = a_refund_requested(**{"refund_id": f"ref_{number}"} | fields)
    return asked(command, message_id=message_id or f"msg_ref_{number}")


def answered(call: Call, answer: Any | None = None) -> Answered:
    """The gateway's answer to a call: approved in full under a name of its own, unless told otherwise."""
    request = call.request
    answer = answer or approved(request.amount, reference=f"pi_{call.attempt_id}")
    return answer_to(call, answer, is_lookup=isinstance(request, LookupRequest))


def only_call(result: Result) -> Call:
    """The one call that a turn leads to."""
    (call,) = result.calls
    return call


def captured(desk: Desk, number: int = 1) -> None:
    """Let a payment go through, its event confirmed and marked."""
    result = desk.turn(answered(only_call(desk.turn(a_payment(number)))))
    desk.turn(confirmed=[event.key for event in result.events])


def types(result: Result) -> list[str]:
    """The events a turn hands over to be published."""
    return [event.type for event in result.events]


# --- many payments in one turn ---


def test_one_turn_takes_in_hundreds_of_payments_and_calls_for_each(desk: Desk) -> None:
    result = desk.turn(*(a_payment(number) for number in range(300)))

    assert len(result.calls) == 300
    assert {call.payment_id for call in result.calls} == {f"pay_{number}" for number in range(300)}
    assert desk.rows("SELECT count(*) FROM inbox") == [(300,)]


def test_one_turn_settles_new_commands_answers_and_timers_of_different_payments(desk: Desk) -> None:
    first = only_call(desk.turn(a_payment(1)))
    desk.turn(answered(only_call(desk.turn(a_payment(2))), unknown()))
    desk.now += MINUTE

    result = desk.turn(
        a_payment(3),
        answered(first),
        TimerDue(payment_id=PaymentId("pay_2"), attempt_id=AttemptId("pay_2.a1")),
    )

    assert [(call.payment_id, type(call.request)) for call in result.calls] == [
        ("pay_3", AuthorizeRequest),
        ("pay_2", LookupRequest),
    ]
    assert types(result) == ["PaymentSucceeded"]


def test_a_turn_with_nothing_to_settle_writes_nothing(desk: Desk) -> None:
    result = desk.turn()

    assert (result.calls, result.events) == ([], [])
    assert desk.rows("SELECT count(*) FROM audit") == [(0,)]


# --- several happenings of one payment ---


def test_a_payment_and_its_refund_in_one_turn_make_the_refund_wait(desk: Desk) -> None:
    result = desk.turn(a_payment(1), a_refund())

    assert [type(call.request) for call in result.calls] == [AuthorizeRequest]
    assert [refund.status for refund in desk.story().refunds] == [RefundStatus.REQUESTED]


def test_a_refund_that_comes_before_its_payment_in_one_turn_waits_for_it(desk: Desk) -> None:
    desk.turn(a_refund(), a_payment(1))

    assert desk.status() is PaymentStatus.AUTHORIZING
    assert [refund.status for refund in desk.story().refunds] == [RefundStatus.REQUESTED]


def test_an_answer_and_a_refund_in_one_turn_are_folded_in_their_order(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))

    result = desk.turn(answered(call), a_refund())

    assert desk.status() is PaymentStatus.CAPTURED
    assert types(result) == ["PaymentSucceeded"]
    assert isinstance(only_call(result).request, RefundRequest)


def test_refunds_in_one_turn_see_what_the_ones_before_them_have_reserved(desk: Desk) -> None:
    captured(desk)

    result = desk.turn(
        a_refund(1, amount=eur(1500)), a_refund(2, amount=eur(500)), a_refund(3, amount=eur(499)), a_refund(4)
    )

    assert [call.refund_id for call in result.calls] == ["ref_1", "ref_3"]
    assert types(result) == ["RefundFailed", "RefundFailed"]
    assert [event.sequence for event in result.events] == [2, 3]
    assert desk.story().payment.refundable == 0


def test_a_decline_frees_the_order_for_a_payment_later_in_the_same_turn(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))

    result = desk.turn(answered(call, declined()), a_payment(2, order_id="1001"))

    assert types(result) == ["PaymentFailed"]
    assert only_call(result).payment_id == "pay_2"


def test_two_payments_of_one_order_in_one_turn_are_not_both_made(desk: Desk) -> None:
    result = desk.turn(a_payment(1, order_id="7"), a_payment(2, order_id="7"))

    assert only_call(result).payment_id == "pay_1"
    assert desk.status("pay_2") is PaymentStatus.REJECTED


def test_a_call_that_a_later_happening_of_the_turn_has_overtaken_is_not_made(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))
    desk.now += timedelta(hours=1)

    # The lease has run out, and in the same turn the answer is here after all.
    result = desk.turn(
        TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1")), answered(call)
    )

    assert [call.call_number for call in result.calls] == [2]
    assert desk.status() is PaymentStatus.AUTHORIZING


def test_an_answer_that_another_call_has_overtaken_changes_nothing(desk: Desk) -> None:
    late = only_call(desk.turn(a_payment(1)))
    desk.now += timedelta(hours=1)
    second = only_call(desk.turn(TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1"))))

    stale = desk.turn(answered(late, declined()))
    counted = desk.turn(answered(second))

    assert types(stale) == []
    assert types(counted) == ["PaymentSucceeded"]


def test_the_same_answer_twice_in_one_turn_is_booked_once(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))

    result = desk.turn(answered(call), answered(call))

    assert types(result) == ["PaymentSucceeded"]
    assert {line.journal_id for line in desk.story().journal_lines} == {"pay_1.a1/J10s"}


# --- repeats ---


def test_a_command_that_comes_twice_in_one_turn_is_one_payment(desk: Desk) -> None:
    result = desk.turn(a_payment(1), a_payment(1))

    assert len(result.calls) == 1
    assert desk.rows("SELECT count(*) FROM inbox") == [(1,)]
    assert [row.result for row in desk.story().audit] == ["authorizing", "repeated"]


def test_a_command_sent_again_under_another_message_id_is_one_payment(desk: Desk) -> None:
    command = a_payment_requested()

    result = desk.turn(asked(command, message_id="msg_1"), asked(command, message_id="msg_2"))

    assert len(result.calls) == 1
    assert desk.rows("SELECT message_id FROM inbox ORDER BY 1") == [("msg_1",), ("msg_2",)]


def test_a_repeat_has_the_latest_event_published_once_more_under_its_id(desk: Desk) -> None:
    captured(desk)
    assert desk.rows("SELECT count(*) FROM outbox WHERE published_at IS NULL") == [(0,)]

    result = desk.turn(a_payment(1))

    assert (result.calls, result.events) == ([], [])
    assert desk.rows("SELECT stream, sequence FROM outbox WHERE published_at IS NULL") == [("pay_1", 1)]


@pytest.mark.parametrize("same_turn", [True, False])
def test_a_message_id_with_another_body_is_rejected_once_however_often_it_comes(
    desk: Desk, same_turn: bool
) -> None:
    other = asked(a_payment_requested(payment_id="pay_2", order_id="1002"), message_id="msg_1")
    first = a_payment(1)
    happenings = [first, other, other]

    results = [desk.turn(*happenings)] if same_turn else [desk.turn(each) for each in happenings]

    rejections = [event for result in results for event in result.events]
    assert {event.type for event in rejections} == {"CommandRejected"}
    assert len({event.event_id for event in rejections}) == 1
    assert desk.rows("SELECT payment_id FROM payments") == [("pay_1",)]
    assert desk.rows("SELECT count(*) FROM outbox") == [(1,)]


def test_two_sources_may_use_the_same_message_id(desk: Desk) -> None:
    result = desk.turn(
        asked(a_payment_requested(), message_id="m", source="/a"),
        asked(a_payment_requested(payment_id="pay_2", order_id="2"), message_id="m", source="/b"),
    )

    assert len(result.calls) == 2


def test_a_payment_id_with_another_body_in_the_same_turn_is_rejected(desk: Desk) -> None:
    other = asked(a_payment_requested(amount=eur(5)), message_id="msg_2")

    result = desk.turn(a_payment(1), other)

    assert len(result.calls) == 1
    (rejection,) = [json.loads(event.body) for event in result.events]
    assert (rejection["reason"], rejection["field"], rejection["command_id"]) == (
        "idempotency_conflict",
        "payment_id",
        "msg_2",
    )


def test_a_refund_id_that_belongs_to_another_payment_is_rejected(desk: Desk) -> None:
    captured(desk, 1)
    captured(desk, 2)
    first = a_refund(1, amount=eur(100))
    elsewhere = a_refund(1, payment_id="pay_2", amount=eur(100), message_id="msg_other")

    desk.turn(first)
    result = desk.turn(elsewhere)

    assert result.calls == []
    assert types(result) == ["CommandRejected"]
    assert desk.story("pay_2").refunds == []


# --- what cannot be read, and what goes wrong ---


def test_the_sender_of_what_could_not_be_read_is_told_in_the_turn_of_its_neighbours(desk: Desk) -> None:
    why = Unreadable(
        RejectionReason.MISSING_FIELD,
        "amount: Field required",
        at="amount",
        sender=Sender(id="msg_9", source="/order-service", type="PaymentRequested"),
    )

    result = desk.turn(a_payment(1), why, a_payment(2), why)

    assert len(result.calls) == 2
    (rejection,) = [json.loads(event.body) for event in result.events]
    assert (rejection["command_id"], rejection["reason"], rejection["field"]) == (
        "msg_9",
        "missing_field",
        "amount",
    )


def test_a_turn_in_which_one_decision_fails_writes_nothing_at_all(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))
    desk.rows("UPDATE payments SET request = '{}' WHERE payment_id = 'pay_1'")
    desk.now += timedelta(hours=1)

    with pytest.raises(ValueError, match="PaymentRequested"):
        desk.turn(a_payment(2), TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1")))

    assert desk.rows("SELECT payment_id FROM payments") == [("pay_1",)]
    assert desk.rows("SELECT count(*) FROM inbox") == [(1,)]
    assert types(desk.turn(answered(call))) == ["PaymentSucceeded"]


# --- publishing ---


def test_events_are_left_to_the_relay_while_earlier_ones_of_another_worker_are_unpublished(
    desk: Desk,
) -> None:
    call = only_call(desk.turn(a_payment(1)))
    desk.turn(answered(call, unknown()))  # PaymentInDoubt
    desk.unconfirmed.clear()  # ... was committed by a worker that died before it published
    desk.now += MINUTE
    look_up = only_call(desk.turn(TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1"))))

    result = desk.turn(answered(look_up), a_payment(2))

    assert result.events == []
    assert desk.rows("SELECT sequence FROM outbox WHERE published_at IS NULL ORDER BY 1") == [(1,), (2,)]


def test_events_follow_earlier_ones_this_worker_has_published_itself(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))
    desk.turn(answered(call, pending()))
    desk.now += MINUTE
    look_up = only_call(desk.turn(TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1"))))

    result = desk.turn(answered(look_up))

    assert [(event.type, event.sequence) for event in result.events] == [("PaymentSucceeded", 2)]


def test_other_payments_do_not_wait_for_an_event_that_was_left_behind(desk: Desk) -> None:
    first, second = desk.turn(a_payment(1), a_payment(2)).calls
    desk.turn(answered(first, unknown()))
    desk.unconfirmed.clear()

    result = desk.turn(answered(second))

    assert [event.stream for event in result.events] == ["pay_2"]


def test_what_the_broker_has_confirmed_is_marked_with_the_next_turn(desk: Desk) -> None:
    result = desk.turn(answered(only_call(desk.turn(a_payment(1)))))
    desk.now += MINUTE

    desk.turn(a_payment(2), confirmed=[event.key for event in result.events])

    assert [announced.published_at for announced in desk.story().events] == [desk.now]


def test_each_event_names_what_caused_it_and_the_command_that_began_it(desk: Desk) -> None:
    call = only_call(desk.turn(a_payment(1)))
    succeeded = desk.turn(answered(call))
    refund = only_call(desk.turn(a_refund()))
    refunded = desk.turn(answered(refund))

    headers = [event.headers for result in (succeeded, refunded) for event in result.events]
    assert [
        (each["cloudEvents_causationid"], each["cloudEvents_correlationid"], each["cloudEvents_subject"])
        for each in headers
    ] == [("pay_1.a1", "msg_1", "pay_1"), ("ref_1.r1", "msg_ref_1", "ref_1")]


# --- timers ---


def test_a_timer_whose_reason_is_gone_changes_nothing(desk: Desk) -> None:
    captured(desk)
    before = desk.story()

    result = desk.turn(
        TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1")),
        TimerDue(payment_id=PaymentId("pay_1"), refund_id=RefundId("ref_1")),
        TimerDue(payment_id=PaymentId("pay_9"), refund_id=RefundId("ref_9")),
    )

    assert (result.calls, result.events) == ([], [])
    assert desk.story() == before


def test_a_refund_that_waited_in_vain_is_refused_even_if_its_payment_never_came(desk: Desk) -> None:
    desk.turn(a_refund())
    desk.now += desk.policy.refund_patience

    result = desk.turn(TimerDue(payment_id=PaymentId("pay_1"), refund_id=RefundId("ref_1")))

    (event,) = result.events
    assert json.loads(event.body)["reason"] == "payment_not_found"


def test_timers_of_a_payment_that_another_worker_holds_are_passed_over(database: str) -> None:
    migrate(database)
    desk, other = Desk(database), Desk(database)
    calls = desk.turn(a_payment(1), a_payment(2)).calls
    desk.turn(*(answered(call, unknown()) for call in calls))
    desk.now += MINUTE
    timers = [
        TimerDue(payment_id=PaymentId(f"pay_{number}"), attempt_id=AttemptId(f"pay_{number}.a1"))
        for number in (1, 2)
    ]

    with other.ledger.turn() as transaction:
        transaction.load(Wanted(payment_ids={PaymentId("pay_1")}))
        meanwhile = desk.turn(*timers)
    later = desk.turn(*timers)

    assert [call.payment_id for call in meanwhile.calls] == ["pay_2"]
    assert [call.payment_id for call in later.calls] == ["pay_1"]
    assert [a.state for a in desk.story().attempts] == [AttemptState.UNKNOWN]
    assert verify(database).problems == []
    desk.ledger.close()
    other.ledger.close()
