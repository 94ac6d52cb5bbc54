"""The cycle with its database, its broker or another worker in the way, or dead: nothing lost, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ledger.errors import Conflict
from ledger.ledger import LedgerDown, NotMigrated
from ledger.states import PaymentStatus
from tests.consumers.workshop import DEATHS, Hire, Neighbour, Workshop, dies


def raises(error: Exception) -> Callable[[], object]:
    """Something for a switch to do."""

    def fail() -> None:
        raise error

    return fail


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


def test_two_workers_share_the_queue_and_no_payment_is_made_twice(hire: Hire) -> None:
    first = hire()
    second = hire()
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


@pytest.mark.parametrize("token", ["tok_approved", "tok_lost_answer", "tok_not_sent_once"])
@pytest.mark.parametrize("death", DEATHS)
def test_wherever_a_worker_dies_the_next_one_finishes_its_work_once(
    hire: Hire, death: str, token: str
) -> None:
    first = hire()
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.pay(1, token)
        DEATHS[death](first)
        first.until_killed()

        second = hire()
        second.until_quiet()
        heard = neighbour.listen()

    assert second.executions() == {"pay_1.a1": 1}
    by_id = {event.id: event for event in heard}
    assert list(by_id) == [announced.event.event_id for announced in second.story("pay_1").events]
    assert all(event.body == by_id[event.id].body for event in heard)
    kinds = [event.type for event in by_id.values()]
    assert (kinds[-1], kinds.count("PaymentSucceeded")) == ("PaymentSucceeded", 1)


def test_a_call_whose_worker_has_died_is_made_again_under_the_same_key_when_its_lease_ends(
    hire: Hire,
) -> None:
    first = hire()
    with Neighbour(first.url) as neighbour:
        neighbour.pay(1)
        first.bus.before_ack.once(lambda: first.ledger.before_commit.once(dies))
        first.until_killed()

    second = hire()
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
