"""The worker's cycle, stepped by hand on the embedded default: from a command to its event, its bounds, and its end."""

from __future__ import annotations

from dataclasses import replace

from consumers.topology import PAYMENT_COMMANDS
from messages.envelope import STRUCTURED
from messages.operation import Operation
from tests.consumers.workshop import AT_ONCE, Hire, Neighbour, Workshop

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


def test_nothing_is_received_while_as_many_calls_are_in_flight_as_allowed(hire: Hire) -> None:
    workshop = hire(limits=replace(AT_ONCE, calls=3), latency_s=0.2)
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


def test_timers_that_are_due_do_not_exceed_the_bound_on_calls_either(hire: Hire) -> None:
    workshop = hire(limits=replace(AT_ONCE, calls=4), latency_s=0.1)
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
    workshop.until(
        lambda: neighbour.kinds("pay_1") == ["PaymentActionRequired"], what="the customer is asked"
    )

    workshop.clock.advance(minutes=61)
    workshop.until_quiet()

    assert neighbour.kinds("pay_1") == ["PaymentActionRequired", "PaymentExpired"]
    assert workshop.executions(Operation.SALE) == {}


# --- leaving ---


def test_stopping_lets_running_calls_end_and_settles_and_announces_them(hire: Hire) -> None:
    workshop = hire(slow_s=1.0)
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1, "tok_slow")
        workshop.until(lambda: workshop.calls.in_flight == 1, what="the call is under way")

        workshop.stop()

        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert workshop.story("pay_1").events[0].published_at is not None
    assert workshop.calls.in_flight == 0


def test_stopping_takes_nothing_new_and_hands_back_what_was_not_begun(hire: Hire) -> None:
    workshop = hire(limits=replace(AT_ONCE, turn=1), slow_s=1.0)
    with Neighbour(workshop.url) as neighbour:
        for number in range(5):
            neighbour.pay(number, "tok_slow")
        workshop.until(lambda: workshop.calls.in_flight == 1, what="the first call is under way")

        workshop.stop()

        begun = len(workshop.executions())
        assert begun < 5
        assert neighbour.waiting_in(PAYMENT_COMMANDS) == 5 - begun


def test_calls_that_outlast_the_grace_are_left_to_the_next_worker(hire: Hire) -> None:
    limits = replace(AT_ONCE, stop_grace_s=0.2)
    first = hire(limits=limits, slow_s=60)
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1, "tok_slow")
        first.until(lambda: bool(first.executions()), what="the gateway has charged")
        first.stop()

        second = hire(slow_s=0)
        second.clock.advance(minutes=5)
        second.until_quiet()

        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
    assert second.executions() == {"pay_1.a1": 1}


def test_a_worker_stopped_while_the_broker_is_away_leaves_its_events_to_the_relay(hire: Hire) -> None:
    first = hire(limits=replace(AT_ONCE, retry_s=60), latency_s=0.2)
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1)
        first.until(lambda: first.calls.in_flight == 1, what="the call is under way")
        first.bus.away = True
        first.bus.cut()
        first.stop()
        unheard = neighbour.kinds("pay_1")

        second = hire()
        second.clock.advance(seconds=10)
        second.until_quiet()

        assert unheard == []
        assert neighbour.kinds("pay_1") == ["PaymentSucceeded"]
