"""A short chaos run keeps every promise; and the judge, shown a broken one, says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from messages.operation import Operation
from tests.chaos_real.course import Bounds
from tests.chaos_real.evidence import Asked, Booked, DeadLetter, Evidence, Move, OpenAttempt
from tests.chaos_real.judge import judge
from tests.chaos_real.outages import OUTAGES
from tests.chaos_real.run import run
from tests.listener import Heard
from tests.servers import NoServer, Say

KILLS = 8
SECONDS = 25
KINDS = ("database killed", "broker connections cut")


def test_a_short_run_of_kills_and_outages_breaks_no_promise(tmp_path: Path, say: Say) -> None:
    bounds = Bounds(
        kills=KILLS,
        seconds=SECONDS,
        seed=8,
        outages=[outage for outage in OUTAGES if outage.name in KINDS],
    )
    try:
        result = run(tmp_path, bounds, orders_per_s=2.5, say=say, progress=lambda _: None)
    except NoServer as error:
        pytest.fail(str(error), pytrace=False)

    assert result.violations == [], f"logs are in {tmp_path}"
    assert sum(result.kills.values()) == KILLS
    assert set(result.figures.outages) == set(KINDS)
    assert result.figures.rested_after_s is not None
    assert result.endings["PaymentSucceeded"] > 10
    assert result.counts["refunds executed"] > 0


# --- the judge ---


def _heard(kind: str, sequence: int, minor: int = 0, payment_id: str = "pay-1", **more: object) -> Heard:
    body = {
        "payment_id": payment_id,
        "sequence": sequence,
        "amount": {"minor": minor, "currency": "EUR"},
        **more,
    }
    event_id = f"{payment_id}.e{sequence}"
    return Heard(id=event_id, type=kind, routing_key="", headers={}, body=body)


def _asked(number: int, kind: str, payment_id: str, part_id: str | None = None) -> Asked:
    return Asked(
        command_id=f"msg-{number}", kind=kind, payment_id=payment_id, gateway="stripe", part_id=part_id
    )


def _move(operation: Operation, attempt_id: str, minor: int, payment_id: str = "pay-1") -> Move:
    return Move(
        gateway="stripe", payment_id=payment_id, attempt_id=attempt_id, operation=operation, minor=minor
    )


def _open(attempt_id: str, payment_id: str, *, can_be_asked: bool = False) -> OpenAttempt:
    return OpenAttempt(
        attempt_id=attempt_id,
        payment_id=payment_id,
        operation=Operation.SALE,
        is_unknown=True,
        can_be_asked=can_be_asked,
    )


def a_good_run() -> Evidence:
    """One payment sold and partly refunded, one held and captured, one that failed."""
    heard = [
        _heard("PaymentSucceeded", 1, 1000),
        _heard("RefundProcessed", 2, 300, refund_id="ref-1"),
        _heard("RefundProcessed", 2, 300, refund_id="ref-1"),
        _heard("PaymentAuthorized", 1, 500, "pay-2"),
        _heard("PaymentSucceeded", 2, 500, "pay-2", capture_id="cap-2"),
        _heard("PaymentFailed", 1, 700, "pay-3"),
    ]
    moves = [
        _move(Operation.SALE, "pay-1.a1", 1000),
        _move(Operation.REFUND, "ref-1.r1", 300),
        _move(Operation.AUTHORIZE, "pay-2.a1", 500, "pay-2"),
        _move(Operation.CAPTURE, "cap-2.c1", 500, "pay-2"),
    ]
    return Evidence(
        asked=[
            _asked(1, "PaymentRequested", "pay-1"),
            _asked(2, "RefundRequested", "pay-1", "ref-1"),
            _asked(3, "PaymentRequested", "pay-2"),
            _asked(4, "CaptureRequested", "pay-2", "cap-2"),
            _asked(5, "PaymentRequested", "pay-3"),
        ],
        heard=heard,
        moves=moves,
        booked={
            "pay-1": Booked(payment_id="pay-1", status="captured", captured=1000, refunded=300),
            "pay-2": Booked(payment_id="pay-2", status="captured", captured=500, refunded=0),
            "pay-3": Booked(payment_id="pay-3", status="failed", captured=0, refunded=0),
        },
        attempts={"pay-1.a1", "ref-1.r1", "pay-2.a1", "cap-2.c1", "pay-3.a1"},
        written_events={event.id: event.body["payment_id"] for event in heard},
    )


def test_a_good_run_is_found_good() -> None:
    assert judge(a_good_run()) == []


def _charged_twice(run: Evidence) -> None:
    run.moves.append(_move(Operation.SALE, "pay-1.a2", 1000))
    run.attempts.add("pay-1.a2")


def _charged_at_two_gateways(run: Evidence) -> None:
    run.moves.append(replace(run.moves[0], gateway="adyen"))


def _captured_twice(run: Evidence) -> None:
    run.moves.append(run.moves[3])


def _refunded_twice(run: Evidence) -> None:
    run.moves.append(run.moves[1])


def _more_given_back_than_taken(run: Evidence) -> None:
    run.moves[1] = replace(run.moves[1], minor=1001)


def _an_ending_was_never_heard(run: Evidence) -> None:
    run.heard = [event for event in run.heard if event.id != "pay-3.e1"]
    del run.written_events["pay-3.e1"]


def _an_event_in_the_outbox_was_never_heard(run: Evidence) -> None:
    run.written_events["pay-2.e3"] = "pay-2"


def _an_event_is_missing_between_others(run: Evidence) -> None:
    run.heard[1] = run.heard[2] = replace(run.heard[1], body={**run.heard[1].body, "sequence": 3})


def _events_came_in_another_order(run: Evidence) -> None:
    run.heard[3], run.heard[4] = run.heard[4], run.heard[3]


def _an_id_stands_for_two_contents(run: Evidence) -> None:
    run.heard[2] = replace(run.heard[2], body={**run.heard[2].body, "reason": "other"})


def _unknown_was_called_failed(run: Evidence) -> None:
    run.moves.append(_move(Operation.SALE, "pay-3.a1", 700, "pay-3"))
    run.booked["pay-3"] = replace(run.booked["pay-3"], captured=700)


def _a_refund_was_called_failed_and_executed(run: Evidence) -> None:
    run.heard[1] = run.heard[2] = replace(run.heard[1], type="RefundFailed")


def _a_success_was_announced_that_never_was(run: Evidence) -> None:
    del run.moves[0]


def _announced_under_two_ids(run: Evidence) -> None:
    run.heard.append(_heard("PaymentFailed", 2, 700, "pay-3"))
    run.written_events["pay-3.e2"] = "pay-3"


def _the_books_say_another_amount(run: Evidence) -> None:
    run.booked["pay-2"] = replace(run.booked["pay-2"], captured=499)


def _money_moved_that_is_not_in_the_books(run: Evidence) -> None:
    del run.booked["pay-2"]


def _the_gateway_was_asked_under_a_key_of_nobody(run: Evidence) -> None:
    run.attempts.remove("cap-2.c1")


def _the_books_do_not_balance(run: Evidence) -> None:
    run.problems_in_the_books.append("journal pay-1.a1/J10s: posted EUR is off by 1 minor units")


def _something_is_still_under_way(run: Evidence) -> None:
    run.open_attempts.append(_open("pay-2.a1", "pay-2"))


def _an_event_is_not_published(run: Evidence) -> None:
    run.unpublished = 1


def _a_message_was_put_aside(run: Evidence) -> None:
    run.dead_letters.append(
        DeadLetter(queue="payments.payment-commands.dead", message_id="msg-1", reason="handler_failed")
    )


def _a_worker_gave_up(run: Evidence) -> None:
    run.exits.append("worker 17 ended with 1")


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (_charged_twice, "double charge"),
        (_charged_at_two_gateways, "double charge"),
        (_captured_twice, "double capture"),
        (_refunded_twice, "double refund"),
        (_more_given_back_than_taken, "over-refund"),
        (_an_ending_was_never_heard, "lost"),
        (_an_event_in_the_outbox_was_never_heard, "lost event"),
        (_an_event_is_missing_between_others, "gap"),
        (_events_came_in_another_order, "out of order"),
        (_an_id_stands_for_two_contents, "said otherwise"),
        (_unknown_was_called_failed, "failed but executed"),
        (_a_refund_was_called_failed_and_executed, "failed but executed"),
        (_a_success_was_announced_that_never_was, "amounts differ"),
        (_announced_under_two_ids, "announced twice"),
        (_the_books_say_another_amount, "amounts differ"),
        (_money_moved_that_is_not_in_the_books, "not booked"),
        (_the_gateway_was_asked_under_a_key_of_nobody, "key from nowhere"),
        (_the_books_do_not_balance, "books"),
        (_something_is_still_under_way, "not at rest"),
        (_an_event_is_not_published, "not at rest"),
        (_a_message_was_put_aside, "dead letter"),
        (_a_worker_gave_up, "gave up"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_the_judge_finds_what_is_broken(broken: Callable[[Evidence], None], kind: str) -> None:
    evidence = a_good_run()
    broken(evidence)

    assert kind in {violation.kind for violation in judge(evidence)}


def test_a_command_that_ended_as_a_dead_letter_or_a_rejection_is_not_lost() -> None:
    evidence = a_good_run()
    evidence.asked += [_asked(6, "PaymentRequested", "pay-6"), _asked(7, "RefundRequested", "pay-7", "ref-7")]
    evidence.dead_letters.append(
        DeadLetter(queue="payments.payment-commands.dead", message_id="msg-6", reason="delivery_limit")
    )
    rejected = {"command_id": "msg-7", "reason": "payment_not_found"}
    evidence.heard.append(
        Heard(id="rejected-7", type="CommandRejected", routing_key="", headers={}, body=rejected)
    )
    evidence.written_events["rejected-7"] = "msg-7"

    assert judge(evidence) == []


def _left_in_doubt(*, can_be_asked: bool = False, needs_a_person: bool = True) -> Evidence:
    evidence = a_good_run()
    evidence.asked.append(_asked(8, "PaymentRequested", "pay-8"))
    evidence.heard.append(_heard("PaymentInDoubt", 1, payment_id="pay-8"))
    evidence.written_events["pay-8.e1"] = "pay-8"
    evidence.booked["pay-8"] = Booked(
        payment_id="pay-8", status="in_doubt", captured=0, refunded=0, needs_a_person=needs_a_person
    )
    evidence.attempts.add("pay-8.a1")
    evidence.open_attempts.append(_open("pay-8.a1", "pay-8", can_be_asked=can_be_asked))
    return evidence


def test_what_nobody_can_be_asked_about_may_be_left_to_a_person() -> None:
    assert judge(_left_in_doubt()) == []


def test_what_is_left_in_doubt_without_a_person_or_though_the_gateway_could_tell_is_lost() -> None:
    acted_on = _left_in_doubt()
    acted_on.acted_on.add("pay-8.a1")

    for evidence in (_left_in_doubt(can_be_asked=True), _left_in_doubt(needs_a_person=False), acted_on):
        assert {"lost", "not at rest"} <= {violation.kind for violation in judge(evidence)}
