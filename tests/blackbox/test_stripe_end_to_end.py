"""From the queue to Stripe and back, all of it processes: RabbitMQ, PostgreSQL, a worker, and Stripe's simulator.

Judged from outside: by the events on the bus, and by what the simulator says has really moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.states import AttemptState
from ledger.stories import story
from ledger.verify import verify
from tests.blackbox.stripe_street import API_KEY, Street, street
from tests.servers import Postgres, Rabbitmq
from tests.workers import Worker, eventually

CHARGED = [("charge", 1999)]
SUCCEEDED = ["PaymentSucceeded"]
LOOKED_UP = ["PaymentInDoubt", "PaymentSucceeded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One payment of the day, and how it must end."""

    card: str = "pm_card_visa"
    fields: dict[str, Any] = field(default_factory=dict)
    events: list[str]
    moved: list[tuple[str, int]]


def met(fault: str, *, on: str = "simulate_confirm", events: list[str], charged: bool = True) -> Ending:
    """A payment one of whose calls meets a fault."""
    return Ending(fields={"metadata": {on: fault}}, events=events, moved=CHARGED if charged else [])


PAYMENTS = {
    "approved": Ending(events=SUCCEEDED, moved=CHARGED),
    "held": Ending(fields={"capture": "manual"}, events=["PaymentAuthorized"], moved=[("authorize", 1999)]),
    "declined": Ending(card="pm_card_chargeDeclined", events=["PaymentFailed"], moved=[]),
    "stolen": Ending(card="pm_card_chargeDeclinedStolenCard", events=["PaymentFailed"], moved=[]),
    "confirmed-by-the-customer": Ending(
        card="pm_card_authenticationRequired",
        fields={"return_url": "https://shop.example/back"},
        events=["PaymentActionRequired", "PaymentSucceeded"],
        moved=CHARGED,
    ),
    "refused-by-the-customer": Ending(
        card="pm_card_authenticationRequired",
        fields={"return_url": "https://shop.example/back"},
        events=["PaymentActionRequired", "PaymentFailed"],
        moved=[],
    ),
    "processing": Ending(
        card="pm_simulated_processing_then_succeeds",
        events=["PaymentPending", "PaymentSucceeded"],
        moved=CHARGED,
    ),
    "processing-in-vain": Ending(
        card="pm_simulated_processing_then_fails", events=["PaymentPending", "PaymentFailed"], moved=[]
    ),
    "dropped-after-charging": met("drop_after_executing", events=LOOKED_UP),
    "dropped-before": met("drop_before", events=LOOKED_UP),
    "500-after": met("error_500_after", events=LOOKED_UP),
    "500-before": met("error_500_before", events=LOOKED_UP),
    "500-kept": met("error_500_kept", events=["PaymentInDoubt", "PaymentFailed"], charged=False),
    "502-of-a-proxy": met("html_502", events=LOOKED_UP),
    "502-after": met("html_502_after", events=LOOKED_UP),
    "too-many-requests": met("rate_limit_429", events=SUCCEEDED),
    "answer-too-late": met("slow", events=LOOKED_UP),
    "opening-dropped": met("drop_after_executing", on="simulate", events=SUCCEEDED),
    "opening-500": met("error_500_before", on="simulate", events=SUCCEEDED),
}
REFUNDS: dict[str, tuple[dict[str, Any], list[str], list[tuple[str, int]]]] = {
    "whole": ({}, ["RefundProcessed"], [("refund", 1999)]),
    "part": (
        {"amount": {"minor": 500, "currency": "EUR"}},
        ["RefundProcessed"],
        [("refund", 500)],
    ),
    "dropped": (
        {"metadata": {"simulate": "drop_after_executing"}},
        ["RefundPending", "RefundProcessed"],
        [("refund", 1999)],
    ),
    "dropped-before": (
        {"metadata": {"simulate": "drop_before"}},
        ["RefundPending", "RefundProcessed"],
        [("refund", 1999)],
    ),
    "500-after": (
        {"metadata": {"simulate": "error_500_after"}},
        ["RefundPending", "RefundProcessed"],
        [("refund", 1999)],
    ),
    "too-much": ({"amount": {"minor": 2000, "currency": "EUR"}}, ["RefundFailed"], []),
}


@pytest.fixture(scope="module")
def day(rabbitmq: Rabbitmq, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """A day on the street: everything was asked, has ended, and was then asked again, late."""
    vhost, database = rabbitmq.fresh_vhost(), postgres.fresh_database()
    with street(vhost, database, tmp_path_factory.mktemp("street")) as place:
        for name, ending in PAYMENTS.items():
            place.pay(name, ending.card, **ending.fields)
        for name, (fields, _, _) in REFUNDS.items():
            place.pay(f"refunded-{name}")
            place.refund(name, f"refunded-{name}", **fields)
        _be_the_customers(place)
        _let_the_bank_decide(place)
        for name, ending in PAYMENTS.items():
            place.await_event(f"pay_{name}", ending.events[-1])
        for name, (_, events, _) in REFUNDS.items():
            place.await_event(f"ref_{name}", events[-1])
        place.refund("the-rest", "refunded-part")
        place.await_event("ref_the-rest", "RefundProcessed")
        _ask_again(place)
        assert place.worker.terminate() == 0
        yield place
    rabbitmq.drop_vhost(vhost)
    postgres.drop_database(database)


def _be_the_customers(place: Street) -> None:
    for name, decision in (("confirmed", "succeed"), ("refused", "fail")):
        asked = place.await_event(f"pay_{name}-by-the-customer", "PaymentActionRequired")
        url = asked.body["next_action"]["url"]
        httpx.get(url, params={"decision": decision} if decision == "fail" else None, trust_env=False)


def _let_the_bank_decide(place: Street) -> None:
    for name in ("processing", "processing-in-vain"):
        place.await_event(f"pay_{name}", "PaymentPending")
    place.stripe.control.advance_clock(120)


def _ask_again(place: Street) -> None:
    """Every command comes once more; its latest event is announced again, and that is all."""
    before = len(place.all_heard())
    place.ask_everything_again()
    count = len(PAYMENTS) + 2 * len(REFUNDS) + 1
    eventually(lambda: len(place.all_heard()) >= before + count, within_s=60, what="all is announced again")


@pytest.mark.parametrize("name", PAYMENTS)
def test_a_payment_ends_as_it_should_and_stripe_has_moved_the_money_once(day: Street, name: str) -> None:
    ending = PAYMENTS[name]

    assert day.kinds(f"pay_{name}") == ending.events
    assert day.stripe.moved(f"pay_{name}") == ending.moved


@pytest.mark.parametrize("name", REFUNDS)
def test_a_refund_ends_as_it_should_and_stripe_has_given_back_once(day: Street, name: str) -> None:
    _, events, moved = REFUNDS[name]

    assert day.kinds(f"ref_{name}") == events
    assert day.stripe.moved(f"ref_{name}") == moved
    assert day.stripe.moved(f"pay_refunded-{name}") == CHARGED


def test_the_rest_of_a_payment_can_be_refunded_later(day: Street) -> None:
    assert day.stripe.moved("ref_the-rest") == [("refund", 1499)]


def test_declines_say_why_and_whether_another_try_makes_sense(day: Street) -> None:
    (declined,) = day.heard("pay_declined")
    (stolen,) = day.heard("pay_stolen")

    assert (declined.body["reason"], declined.body["retryable"]) == ("generic_decline", True)
    assert (stolen.body["reason"], stolen.body["retryable"]) == ("lost_or_stolen", False)


def test_what_never_ran_although_its_answers_were_errors_ends_as_never_executed(day: Street) -> None:
    failed = day.heard("pay_500-kept")[-1]

    assert (failed.body["category"], failed.body["reason"]) == ("failed", "never_executed")


def test_repeats_of_an_event_say_the_same_and_the_sequence_has_no_gaps(day: Street) -> None:
    first: dict[str, dict[str, Any]] = {}
    sequences: dict[str, list[int]] = {}
    for event in day.all_heard():
        if event.id not in first:
            first[event.id] = event.body
            sequences.setdefault(event.body["payment_id"], []).append(event.body["sequence"])
        assert event.body == first[event.id]

    assert len(day.all_heard()) > len(first)
    for sequence in sequences.values():
        assert sequence == list(range(1, len(sequence) + 1))


def test_no_idempotency_key_was_executed_twice(day: Street) -> None:
    executed = day.stripe.control.requests()["by_idempotency_key"]

    assert len(executed) >= len(PAYMENTS) + len(REFUNDS)
    assert not [key for key, counts in executed.items() if counts["executed"] > 1]


def test_the_books_are_clean(day: Street) -> None:
    assert verify(day.database_url).problems == []


def test_no_token_secret_or_key_is_in_any_log(day: Street) -> None:
    log = day.log()

    assert "worker_stopped" in log
    assert not [secret for secret in ("pm_card", "pm_simulated", "_secret_", API_KEY) if secret in log]
    assert "Traceback" not in log


def test_while_stripe_cannot_be_reached_payments_wait_and_are_charged_once(
    vhost: str, database: str, tmp_path: Path
) -> None:
    with street(vhost, database, tmp_path) as place:
        place.pay("before")
        place.await_event("pay_before", "PaymentSucceeded")
        place.stripe.stop()
        for number in range(5):
            place.pay(f"away-{number}")
        place.refund("away", "before")
        eventually(lambda: _was_not_sent(place), within_s=30, what="the worker could not reach Stripe")
        place.stripe.start()

        for number in range(5):
            place.await_event(f"pay_away-{number}", "PaymentSucceeded")
        place.await_event("ref_away", "RefundProcessed")

        assert [place.stripe.moved(f"pay_away-{number}") for number in range(5)] == [CHARGED] * 5
        assert place.stripe.moved("ref_away") == [("refund", 1999)]
    assert verify(database).problems == []


def _was_not_sent(place: Street) -> bool:
    told = story(place.database_url, "pay_away-0")
    return told is not None and told.attempts[0].state is AttemptState.CREATED


def test_a_worker_killed_while_stripe_works_on_its_calls_has_charged_once(
    vhost: str, database: str, tmp_path: Path
) -> None:
    count = 20
    with street(vhost, database, tmp_path) as place:
        place.stripe.control.arm(
            "slow", times=2 * count, seconds=1.5, match={"path": "/v1/payment_intents/*/confirm"}
        )
        for number in range(count):
            place.pay(f"{number}")
        eventually(
            lambda: len(place.stripe.control.record()) >= count // 2,
            within_s=30,
            what="Stripe has charged and has not answered",
        )
        heard = len(place.all_heard())
        place.worker.kill()
        successor = Worker(place.settings, tmp_path)

        for number in range(count):
            place.await_event(f"pay_{number}", "PaymentSucceeded")
        assert successor.terminate() == 0

        assert heard < count
        assert [place.stripe.moved(f"pay_{number}") for number in range(count)] == [CHARGED] * count
    assert verify(database).problems == []
