"""The worker's cycle, stepped by hand on the embedded default: what goes in comes out once, whatever breaks between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.cycle import Cycle
from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from ledger.errors import Conflict
from ledger.ledger import LedgerDown, NotMigrated
from ledger.states import PaymentStatus
from messages.envelope import MAX_BODY_BYTES, STRUCTURED
from messages.operation import Operation
from tests.consumers.workshop import AT_ONCE, Neighbour, Workshop, dies


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A worker that has not begun; its books must prove clean in the end."""
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.vanish()
    assert workshop.problems() == []


@pytest.fixture
def neighbour(workshop: Workshop) -> Iterator[Neighbour]:
    """The service next door. The worker has declared its queues, and what is announced is heard."""
    workshop.steps()
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        yield neighbour


def raises(error: Exception) -> Callable[[], object]:
    """Something for a switch to do."""

    def fail() -> None:
        raise error

    return fail


# --- the way of a command ---


def test_a_command_becomes_an_event_and_a_booking(workshop: Workshop, neighbour: Neighbour) -> None:
    neighbour.pay(1)

    workshop.until(lambda: bool(neighbour.listen()), what="an event")

    (event,) = neighbour.listen()
    assert (event.type, event.id, event.routing_key) == ("PaymentSucceeded", "pay_1.e1", "payment.succeeded")
    assert event.body["amount"] == {"minor": 1999, "currency": "EUR"}
    assert event.headers["cloudEvents_correlationid"] == "msg_1"
    assert workshop.executions() == {"pay_1.a1": 1}
    workshop.until_quiet()
    assert workshop.story("pay_1").events[0].published_at is not None


def test_a_payment_and_its_refund_go_all_the_way(workshop: Workshop, neighbour: Neighbour) -> None:
    neighbour.pay(1)
    neighbour.refund(1)

    workshop.until_quiet()

    assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert neighbour.kinds("ref_1") == ["RefundProcessed"]
    assert workshop.executions() == {"pay_1.a1": 1, "ref_1.r1": 1}


def test_a_command_in_structured_mode_is_served_as_well(workshop: Workshop, neighbour: Neighbour) -> None:
    neighbour.send(
        b'{"specversion": "1.0", "id": "m", "source": "/shop", "type": "PaymentRequested", "data": '
        b'{"payment_id": "pay_1", "order_id": "1", "amount": {"minor": 5, "currency": "EUR"},'
        b' "payment_method": {"token": "tok_approved"}}}',
        content_type=STRUCTURED,
    )

    workshop.until(lambda: neighbour.kinds("pay_1") == ["PaymentSucceeded"], what="the payment succeeds")


def test_what_has_piled_up_is_settled_in_one_turn(workshop: Workshop, neighbour: Neighbour) -> None:
    turns: list[int] = []
    for number in range(100):
        neighbour.pay(number)

    def count() -> None:
        turns.append(1)
        workshop.ledger.after_commit.once(count)

    workshop.ledger.after_commit.once(count)
    workshop.until(lambda: workshop.rows("SELECT count(*) FROM payments") == [(100,)], what="all taken in")

    assert len(turns) < 10
    workshop.until_quiet()


def test_nothing_is_received_while_as_many_calls_are_in_flight_as_allowed(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, limits=replace(AT_ONCE, calls=3), latency_s=0.2)
    workshop.steps()
    seen: list[int] = []
    with Neighbour(workshop.url) as neighbour:
        for number in range(10):
            neighbour.pay(number)
        workshop.until(lambda: workshop.calls.in_flight == 3, what="calls are in flight")
        backlog = workshop.unsettled()

        def all_have_succeeded() -> bool:
            seen.append(workshop.calls.in_flight)
            return workshop.rows("SELECT count(*) FROM payments WHERE status = 'captured'") == [(10,)]

        workshop.until(all_have_succeeded, what="all have succeeded")

    assert backlog == 7
    assert max(seen) == 3
    workshop.vanish()


def test_timers_that_are_due_do_not_exceed_the_bound_on_calls_either(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, limits=replace(AT_ONCE, calls=4), latency_s=0.1)
    workshop.steps()
    seen: list[int] = []
    with Neighbour(workshop.url) as neighbour:
        for number in range(8):
            neighbour.pay(number, "tok_lost_answer")
        in_doubt = "SELECT count(*) FROM payments WHERE status = 'in_doubt'"
        workshop.until(lambda: workshop.rows(in_doubt) == [(8,)], what="all in doubt")
        for number in range(8, 16):
            neighbour.pay(number)
        workshop.clock.advance(minutes=2)

        def all_have_succeeded() -> bool:
            seen.append(workshop.calls.in_flight)
            return workshop.rows("SELECT count(*) FROM payments WHERE status = 'captured'") == [(16,)]

        workshop.until(all_have_succeeded, what="all have succeeded")

    assert max(seen) <= 4
    workshop.vanish()


# --- what cannot be read ---


def test_unreadable_bytes_become_a_dead_letter_with_every_byte_and_header(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    body = bytes(range(256))
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tries": 3}
    neighbour.send(body, headers=headers, content_type="image/png", message_id="m", correlation_id="c")

    workshop.until_quiet()

    (letter,) = neighbour.dead_letters()
    assert letter.body == body
    assert {name: letter.headers[name] for name in headers} == headers
    assert letter.headers["fail-reason"] == "missing_field"
    assert letter.headers["fail-queue"] == PAYMENT_COMMANDS
    assert letter.headers["fail-exchange"] == "payments.commands"
    assert letter.headers["fail-routing-key"] == "payment.requested"
    assert letter.headers["fail-attempts"] == 1
    assert letter.properties["content_type"] == "image/png"
    assert (letter.properties["message_id"], letter.properties["correlation_id"]) == ("m", "c")
    assert neighbour.listen() == []


def test_an_oversized_body_is_refused_whole_and_its_sender_told(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, description="x" * MAX_BODY_BYTES)
    neighbour.send(b"x" * (MAX_BODY_BYTES + 1))

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.body["reason"], event.body["command_id"]) == (
        "CommandRejected",
        "too_large",
        "msg_1",
    )
    (letter,) = neighbour.dead_letters()
    assert letter.body == b"x" * (MAX_BODY_BYTES + 1)
    assert letter.headers["fail-reason"] == "too_large"


BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a float for an amount": ({"amount": {"minor": 19.99, "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "a whole float": ({"amount": {"minor": 20.0, "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "a string for an amount": ({"amount": {"minor": "1999", "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "a bool for an amount": ({"amount": {"minor": True, "currency": "EUR"}}, "invalid_field", "amount.minor"),
    "nothing": ({"amount": {"minor": 0, "currency": "EUR"}}, "invalid_field", "amount"),
    "less than nothing": ({"amount": {"minor": -1, "currency": "EUR"}}, "invalid_field", "amount"),
    "no such currency": ({"amount": {"minor": 1, "currency": "XXX"}}, "invalid_field", "amount.currency"),
    "a currency in lower case": ({"amount": {"minor": 1, "currency": "eur"}}, "invalid_field", "amount.currency"),
    "a misspelt field": ({"amonut": {"minor": 1, "currency": "EUR"}}, "unknown_field", "amonut"),
    "an id with a blank": ({"payment_id": "pay 1"}, "invalid_field", "payment_id"),
    "an id that is too long": ({"payment_id": "p" * 65}, "invalid_field", "payment_id"),
    "an empty id": ({"order_id": ""}, "invalid_field", "order_id"),
    "a card number for a method": ({"payment_method": "4242424242424242"}, "invalid_field", "payment_method"),
    "two methods": ({"payment_method_id": "pm_1"}, "invalid_field", None),
    "an unknown way to capture": ({"capture": "later"}, "invalid_field", "capture"),
}


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_known_sender_is_told_which_field_is_wrong(
    workshop: Workshop, neighbour: Neighbour, bad: str
) -> None:
    fields, reason, field = BAD_FIELDS[bad]
    neighbour.pay(1, **fields)

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.routing_key) == ("CommandRejected", "command.rejected")
    assert (event.body["reason"], event.body.get("field")) == (reason, field)
    assert (event.body["command_id"], event.body["command_source"]) == ("msg_1", "/order-service")
    assert "4242" not in str(event)
    assert workshop.rows("SELECT count(*) FROM payments") == [(0,)]
    assert neighbour.dead_letters() == []


GOOD = {
    "cloudEvents_specversion": "1.0",
    "cloudEvents_id": "msg_1",
    "cloudEvents_source": "/order-service",
    "cloudEvents_type": "PaymentRequested",
}


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        (GOOD, b"\xff\xfe", "unreadable"),
        (GOOD, b"", "unreadable"),
        (GOOD, b'{"payment_id": ', "unreadable"),
        (GOOD, b"[1, 2]", "invalid_field"),
        (GOOD, b"{}", "missing_field"),
        ({**GOOD, "cloudEvents_type": "PaymentRequestd"}, b"{}", "unknown_type"),
        ({**GOOD, "cloudEvents_specversion": "0.3"}, b"{}", "invalid_field"),
        (
            {**GOOD, "cloudEvents_dataschema": "urn:payment-service:PaymentRequested:2"},
            b"{}",
            "unknown_version",
        ),
    ],
)
def test_a_known_sender_is_told_what_else_is_wrong(
    workshop: Workshop, neighbour: Neighbour, headers: dict[str, str], body: bytes, reason: str
) -> None:
    neighbour.send(body, headers=headers)

    workshop.until_quiet()

    (event,) = neighbour.listen()
    assert (event.type, event.body["reason"]) == ("CommandRejected", reason)
    assert neighbour.dead_letters() == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {name: value for name, value in GOOD.items() if name != "cloudEvents_id"},
        {name: value for name, value in GOOD.items() if name != "cloudEvents_source"},
        {**GOOD, "cloudEvents_source": 7},
        {**GOOD, "cloudEvents_id": "x" * 256},
        {**GOOD, "cloudEvents_id": "msg\0", "cloudEvents_specversion": "0.3"},
    ],
)
def test_a_command_whose_sender_cannot_be_told_is_kept_for_a_person(
    workshop: Workshop, neighbour: Neighbour, headers: dict[str, Any]
) -> None:
    neighbour.send(b"{}", headers=headers)

    workshop.until_quiet()

    (letter,) = neighbour.dead_letters()
    assert letter.body == b"{}"
    assert {name: letter.headers[name] for name in headers} == headers
    assert neighbour.listen() == []


@pytest.mark.parametrize("name", ["m" * 255, "ü" * 255])
def test_an_id_as_long_as_may_be_is_served(workshop: Workshop, neighbour: Neighbour, name: str) -> None:
    neighbour.ask(
        "PaymentRequested",
        name,
        payment_id="pay_1",
        order_id="1",
        amount={"minor": 1, "currency": "EUR"},
        payment_method={"token": "tok_approved"},
    )

    workshop.until(lambda: neighbour.kinds("pay_1") == ["PaymentSucceeded"], what="the payment succeeds")

    assert neighbour.listen()[0].headers["cloudEvents_correlationid"] == name


def test_bad_refund_commands_have_a_dead_letter_queue_of_their_own(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.send(b"?", key="refund.requested")

    workshop.until_quiet()

    assert neighbour.dead_letters(PAYMENT_COMMANDS) == []
    assert [letter.headers["fail-queue"] for letter in neighbour.dead_letters(REFUND_COMMANDS)] == [
        REFUND_COMMANDS
    ]


# --- what a handler fails on ---


def spoil(workshop: Workshop, neighbour: Neighbour, *numbers: int) -> None:
    """Let payments wait for their first call to be made again, with a command that cannot be read any more."""
    for number in numbers:
        neighbour.pay(number, "tok_not_sent_once")
    waiting = "SELECT count(*) FROM attempts WHERE state = 'created'"
    workshop.until(lambda: workshop.rows(waiting) == [(len(numbers),)], what="all wait for another try")
    workshop.rows("UPDATE payments SET request = '{\"token\": \"tok_secret\"}'")


def test_a_message_that_a_handler_fails_on_does_not_hurt_its_neighbours(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.until_quiet()
    # The gateway's reference is gone bad: whoever refunds pay_1 cannot build the request.
    workshop.rows("UPDATE attempts SET state = 'declined' WHERE attempt_id = 'pay_1.a1'")
    neighbour.pay(2)
    neighbour.refund(1)
    neighbour.pay(3)

    workshop.until_quiet()

    assert neighbour.kinds("pay_2") == neighbour.kinds("pay_3") == ["PaymentSucceeded"]
    (letter,) = neighbour.dead_letters(REFUND_COMMANDS)
    assert letter.headers["cloudEvents_id"] == "msg_ref_1"
    assert b'"refund_id": "ref_1"' in letter.body
    assert letter.headers["fail-reason"] == "handler_failed"
    assert letter.headers["fail-attempts"] == 2
    assert letter.headers["fail-detail"] == "StopIteration"
    assert workshop.rows("SELECT count(*) FROM refunds") == [(0,)]
    workshop.rows("UPDATE attempts SET state = 'succeeded' WHERE attempt_id = 'pay_1.a1'")


def test_a_dead_letter_sent_back_is_served_once_the_row_is_mended(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.until_quiet()
    workshop.rows("UPDATE attempts SET state = 'declined' WHERE attempt_id = 'pay_1.a1'")
    neighbour.refund(1)
    workshop.until_quiet()
    (letter,) = neighbour.dead_letters(REFUND_COMMANDS)
    workshop.rows("UPDATE attempts SET state = 'succeeded' WHERE attempt_id = 'pay_1.a1'")

    neighbour.send(letter.body, headers=letter.headers, key=letter.headers["fail-routing-key"])
    workshop.until_quiet()

    assert neighbour.kinds("ref_1") == ["RefundProcessed"]


def test_a_timer_that_a_handler_fails_on_is_left_alone_for_a_while_and_does_not_hurt_others(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    spoil(workshop, neighbour, 1)
    neighbour.pay(2, "tok_lost_answer")
    workshop.until(lambda: neighbour.kinds("pay_2") == ["PaymentInDoubt"], what="the other one is in doubt")
    turns: list[int] = []
    workshop.clock.advance(minutes=1)

    workshop.until(lambda: "PaymentSucceeded" in neighbour.kinds("pay_2"), what="the other one is looked up")
    workshop.ledger.after_commit.once(lambda: turns.append(1))
    workshop.steps(20)

    assert turns == []
    assert neighbour.kinds("pay_1") == []
    mend(workshop, 1)


def test_many_timers_gone_bad_do_not_crowd_out_the_good_ones(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, limits=replace(AT_ONCE, timers=2))
    workshop.steps()
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        spoil(workshop, neighbour, *range(1, 8))
        workshop.clock.advance(seconds=5)
        neighbour.pay(8, "tok_lost_answer")
        workshop.until(lambda: neighbour.kinds("pay_8") == ["PaymentInDoubt"], what="it is in doubt")
        workshop.clock.advance(minutes=1)

        workshop.until(lambda: "PaymentSucceeded" in neighbour.kinds("pay_8"), what="it is looked up")
    workshop.vanish()


def mend(workshop: Workshop, number: int) -> None:
    """Put a readable command back."""
    payment = workshop.story(f"pay_{number}").payment
    request = (
        f'{{"payment_id":"pay_{number}","order_id":"{payment.order_id}",'
        f'"amount":{{"minor":{payment.requested},"currency":"EUR"}},"payment_method":{{"token":"tok_approved"}}}}'
    )
    workshop.rows(f"UPDATE payments SET request = '{request}' WHERE payment_id = 'pay_{number}'")


# --- the database is away ---


def test_while_the_database_is_away_nothing_is_acked_or_lost(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    workshop.ledger.away = True
    for number in range(5):
        neighbour.pay(number)

    workshop.steps(20)
    held = workshop.unsettled()
    workshop.ledger.away = False
    workshop.until_quiet()

    assert held == 5
    assert workshop.executions() == {f"pay_{number}.a1": 1 for number in range(5)}
    assert neighbour.dead_letters() == []


def test_an_answer_that_comes_while_the_database_is_away_is_kept(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.calls.before_start.once(lambda: setattr(workshop.ledger, "away", True))
    workshop.until(lambda: bool(workshop.executions()), what="the gateway has charged")
    workshop.steps(20)
    workshop.ledger.away = False

    workshop.until(lambda: neighbour.kinds("pay_1") == ["PaymentSucceeded"], what="the answer is settled")

    assert [attempt.tries for attempt in workshop.story("pay_1").attempts] == [1]


def test_a_commit_whose_own_answer_is_lost_has_no_second_effect(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.ledger.after_commit.once(raises(LedgerDown("the line broke during the commit")))

    workshop.until_quiet()

    # Nobody knew that the call had been decided; its lease brought it back.
    assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert workshop.executions() == {"pay_1.a1": 1}


def test_a_commit_of_the_outcome_whose_own_answer_is_lost_announces_it_all_the_same(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.calls.before_start.once(
        lambda: workshop.ledger.after_commit.once(raises(LedgerDown("the line broke during the commit")))
    )

    workshop.until_quiet()

    assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert [line.journal_id for line in workshop.story("pay_1").journal_lines] == ["pay_1.a1/J10s"] * 2


def test_tables_that_are_missing_stop_the_worker_and_lose_nothing(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.ledger.before_commit.once(raises(NotMigrated("no such table")))

    with pytest.raises(NotMigrated):
        workshop.steps(50)

    assert workshop.unsettled() == 1


# --- two workers meet ---


def test_a_turn_that_met_another_worker_is_run_again(workshop: Workshop, neighbour: Neighbour) -> None:
    conflicts: list[int] = []

    def conflict_twice() -> None:
        conflicts.append(1)
        if len(conflicts) < 2:
            workshop.ledger.before_commit.once(conflict_twice)
        raise Conflict("uq_payments_live_order")

    neighbour.pay(1)
    workshop.ledger.before_commit.once(conflict_twice)
    workshop.until_quiet()

    assert len(conflicts) == 2
    assert workshop.executions() == {"pay_1.a1": 1}
    assert neighbour.dead_letters() == []


def test_a_conflict_that_stays_puts_only_its_message_aside(workshop: Workshop, neighbour: Neighbour) -> None:
    def conflict() -> None:
        workshop.ledger.before_commit.once(conflict)
        raise Conflict("uq_payments_live_order")

    neighbour.pay(1)
    workshop.ledger.before_commit.once(conflict)
    workshop.until(lambda: workshop.unsettled() == 0, what="the message is settled")

    (letter,) = neighbour.dead_letters()
    assert (letter.headers["fail-reason"], letter.headers["fail-detail"]) == ("handler_failed", "Conflict")
    workshop.ledger.before_commit.once(lambda: None)


def test_two_workers_share_the_queue_and_no_payment_is_made_twice(tmp_path: Path) -> None:
    first = Workshop(tmp_path)
    second = Workshop(tmp_path, clock=first.clock)
    first.steps()
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        for number in range(50):
            neighbour.pay(number)
            neighbour.pay(number)
        captured = "SELECT count(*) FROM payments WHERE status = 'captured'"

        def both_have_worked() -> bool:
            second.steps()
            return first.rows(captured) == [(50,)] and len({e.id for e in neighbour.listen()}) == 50

        first.until(both_have_worked, what="everything is announced")

    assert first.executions() == {f"pay_{number}.a1": 1 for number in range(50)}
    assert first.problems() == []
    first.vanish()
    second.vanish()


def test_a_relay_that_another_worker_keeps_waiting_does_not_stop_this_one(
    workshop: Workshop, neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour.pay(1)
    workshop.bus.before_publish.once(workshop.bus.cut)
    claims: list[str] = []

    def held(name: str, **_: object) -> bool:
        claims.append(name)
        if len(claims) == 1:
            raise Conflict("LockNotAvailable")
        monkeypatch.undo()
        return False

    monkeypatch.setattr(workshop.ledger, "claim", held)
    workshop.until_quiet()

    assert claims == ["relay", "relay"]
    assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]


# --- the broker is away ---


def test_events_that_could_not_be_published_are_relayed_in_their_order(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, "tok_pending_then_approved")
    neighbour.pay(2, "tok_lost_answer")
    workshop.until(lambda: workshop.calls.in_flight == 2, what="the calls are made")
    workshop.bus.away = True
    workshop.bus.cut()
    workshop.until(lambda: workshop.calls.in_flight == 0, what="the answers are settled")
    for _ in range(20):
        workshop.clock.advance(minutes=1)
        workshop.steps(3)
    unheard = [event.id for event in neighbour.listen()]
    statuses = {workshop.story(f"pay_{number}").payment.status for number in (1, 2)}

    workshop.bus.away = False
    workshop.until_quiet()

    assert statuses == {PaymentStatus.CAPTURED}  # settled without a broker
    assert unheard == []
    assert neighbour.kinds("pay_1") == ["PaymentPending", "PaymentSucceeded"]
    assert neighbour.kinds("pay_2") == ["PaymentInDoubt", "PaymentSucceeded"]
    ids = [event.id for event in neighbour.listen()]
    assert len(ids) == len(set(ids))


def test_a_broker_lost_before_the_ack_delivers_again_and_nothing_happens_twice(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1)
    workshop.bus.before_ack.once(workshop.bus.cut)

    workshop.until_quiet()

    assert [row.result for row in workshop.story("pay_1").audit].count("repeated") == 1
    assert workshop.executions() == {"pay_1.a1": 1}
    assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]


def test_a_broker_lost_before_a_dead_letter_is_confirmed_keeps_the_message(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.send(b"?")
    workshop.bus.before_publish.once(workshop.bus.cut)

    workshop.until_quiet()

    assert [letter.body for letter in neighbour.dead_letters()] == [b"?"]


def test_what_an_old_connection_delivered_is_not_acked_on_the_new_one(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    workshop.ledger.away = True
    neighbour.pay(1)
    workshop.until(lambda: workshop.bus.unsettled == 1, what="it is delivered")
    workshop.steps(3)
    workshop.bus.cut()
    workshop.steps(3)
    workshop.ledger.away = False

    workshop.until_quiet()

    assert workshop.executions() == {"pay_1.a1": 1}
    assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]


# --- the worker dies ---

DEATHS: dict[str, Callable[[Workshop], object]] = {
    "before the command is committed": lambda w: w.ledger.before_commit.once(dies),
    "after the commit, before the call": lambda w: w.calls.before_start.once(dies),
    "after the call, before the ack": lambda w: w.bus.before_ack.once(dies),
    "after the ack, before the answer is committed": lambda w: w.bus.before_ack.once(
        lambda: w.ledger.before_commit.once(dies)
    ),
    "after the answer is committed, before the event is published": lambda w: w.bus.before_publish.once(dies),
    "after the event is published, before it is marked": lambda w: w.bus.before_publish.once(
        lambda: w.ledger.before_commit.once(dies)
    ),
}


@pytest.mark.parametrize("token", ["tok_approved", "tok_lost_answer", "tok_not_sent_once"])
@pytest.mark.parametrize("death", DEATHS)
def test_wherever_a_worker_dies_the_next_one_finishes_its_work_once(
    tmp_path: Path, death: str, token: str
) -> None:
    first = Workshop(tmp_path)
    first.steps()
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1, token)
        DEATHS[death](first)
        first.until_killed()

        second = Workshop(tmp_path, clock=first.clock)
        second.until_quiet()
        second.until(lambda: second.story("pay_1").payment.status == "captured", what="it is captured")
        second.until_quiet()
        heard = neighbour.listen()

    assert second.executions() == {"pay_1.a1": 1}
    assert {(event.id, str(event.body)) for event in heard} == {
        (announced.event.event_id, str(event.body))
        for announced, event in zip(
            second.story("pay_1").events, {event.id: event for event in heard}.values(), strict=True
        )
    }
    assert neighbour_kinds(heard)[-1] == "PaymentSucceeded"
    assert neighbour_kinds(heard).count("PaymentSucceeded") == 1
    assert second.problems() == []
    second.vanish()


def neighbour_kinds(heard: list[Any]) -> list[str]:
    """The types of events, repeats under one id dropped."""
    return [event.type for event in {event.id: event for event in heard}.values()]


def test_a_call_whose_worker_has_died_is_made_again_under_the_same_key_when_its_lease_ends(
    tmp_path: Path,
) -> None:
    first = Workshop(tmp_path)
    first.steps()
    with Neighbour(first.url) as neighbour:
        neighbour.pay(1)
        first.bus.before_ack.once(lambda: first.ledger.before_commit.once(dies))
        first.until_killed()

    second = Workshop(tmp_path, clock=first.clock)
    second.steps(10)
    before = second.story("pay_1").attempts
    second.clock.advance(minutes=5)
    second.until_quiet()

    assert [(attempt.attempt_id, attempt.tries) for attempt in before] == [("pay_1.a1", 1)]
    after = second.story("pay_1").attempts
    assert [(attempt.attempt_id, attempt.tries, attempt.doubtful) for attempt in after] == [
        ("pay_1.a1", 2, True)
    ]
    assert second.executions() == {"pay_1.a1": 1}
    second.vanish()


# --- answers ---


def test_a_lost_answer_is_looked_up_and_never_taken_for_a_failure(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, "tok_lost_answer")

    workshop.until(lambda: neighbour.kinds("pay_1") == ["PaymentInDoubt"], what="it is in doubt")
    workshop.clock.advance(seconds=15)
    workshop.until_quiet()

    assert neighbour.kinds("pay_1") == ["PaymentInDoubt", "PaymentSucceeded"]
    assert [(a.tries, a.inquiries) for a in workshop.story("pay_1").attempts] == [(1, 1)]
    assert workshop.executions() == {"pay_1.a1": 1}


def test_a_refund_whose_answer_is_lost_is_given_back_once(workshop: Workshop, neighbour: Neighbour) -> None:
    neighbour.pay(1)
    neighbour.refund(1, "lost_answer")
    workshop.until_quiet()

    workshop.until(lambda: "RefundProcessed" in neighbour.kinds("ref_1"), what="it is looked up")

    assert workshop.executions(Operation.REFUND) == {"ref_1.r1": 1}


def test_a_customer_who_does_not_come_back_is_given_up_after_an_hour(
    workshop: Workshop, neighbour: Neighbour
) -> None:
    neighbour.pay(1, "tok_requires_action")
    workshop.until(lambda: neighbour.kinds("pay_1") == ["PaymentActionRequired"], what="the customer is asked")

    workshop.clock.advance(minutes=61)
    workshop.until_quiet()

    assert neighbour.kinds("pay_1") == ["PaymentActionRequired", "PaymentExpired"]
    assert workshop.executions(Operation.SALE) == {}


# --- leaving ---


def run_in_thread(cycle: Cycle) -> threading.Thread:
    """Run a worker until it is stopped."""
    thread = threading.Thread(target=cycle.run)
    thread.start()
    return thread


def test_stopping_lets_running_calls_end_and_settles_and_announces_them(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, slow_s=1.0)
    workshop.steps()
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1, "tok_slow")
        workshop.until(lambda: workshop.calls.in_flight == 1, what="the call is under way")

        running = run_in_thread(workshop.cycle)
        workshop.cycle.stop()
        running.join(30)

        assert not running.is_alive()
        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert workshop.story("pay_1").events[0].published_at is not None
    assert workshop.calls.in_flight == 0
    workshop.ledger.close()


def test_stopping_takes_nothing_new_and_hands_back_what_was_not_begun(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, limits=replace(AT_ONCE, turn=1), slow_s=1.0)
    workshop.steps()
    with Neighbour(workshop.url) as neighbour:
        for number in range(5):
            neighbour.pay(number, "tok_slow")
        workshop.until(lambda: workshop.calls.in_flight == 1, what="the first call is under way")

        running = run_in_thread(workshop.cycle)
        workshop.cycle.stop()
        running.join(30)

        begun = len(workshop.executions())
        assert begun < 5
        assert neighbour.waiting_in(PAYMENT_COMMANDS) == 5 - begun
    workshop.ledger.close()


def test_calls_that_outlast_the_grace_are_left_to_the_next_worker(tmp_path: Path) -> None:
    limits = replace(AT_ONCE, stop_grace_s=0.2)
    first = Workshop(tmp_path, limits=limits, slow_s=60)
    first.steps()
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1, "tok_slow")
        first.until(lambda: bool(first.executions()), what="the gateway has charged")
        running = run_in_thread(first.cycle)
        first.cycle.stop()
        running.join(30)
        assert not running.is_alive()

        second = Workshop(tmp_path, clock=first.clock, slow_s=0)
        second.clock.advance(minutes=5)
        second.until_quiet()

        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert second.executions() == {"pay_1.a1": 1}
    second.vanish()
    first.ledger.close()


def test_a_worker_stopped_while_the_broker_is_away_leaves_its_events_to_the_relay(tmp_path: Path) -> None:
    first = Workshop(tmp_path, limits=replace(AT_ONCE, retry_s=60), latency_s=0.2)
    first.steps()
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1)
        first.until(lambda: first.calls.in_flight == 1, what="the call is under way")
        first.bus.away = True
        first.bus.cut()
        running = run_in_thread(first.cycle)
        first.cycle.stop()
        running.join(30)
        assert not running.is_alive()
        unheard = neighbour.kinds("pay_1")

        second = Workshop(tmp_path, clock=first.clock)
        second.clock.advance(seconds=10)
        second.until_quiet()

        assert unheard == []
        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    second.vanish()
    first.ledger.close()


def test_leases_are_longer_than_any_call_can_take(workshop: Workshop) -> None:
    limit = workshop.gateway.capabilities.call_time_limit

    assert limit > timedelta(seconds=2)
