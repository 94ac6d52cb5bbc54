"""Callbacks shuffled, doubled, forged and in batches, through the ingestor and the worker as they run in earnest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consumers.topology import GATEWAY_CALLBACKS
from ledger.states import PaymentStatus, RefundStatus
from tests.street.street import Street, street
from tests.webhooks.house import Mailbox
from tests.workers import eventually

GATEWAYS = ("stripe", "adyen", "paypal")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with street(tmp_path_factory.mktemp("corpus")) as place:
        yield place


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_shuffled_doubled_and_forged_callbacks_end_as_the_gateway_has_it(gateway: str, place: Street) -> None:
    control = place.gateways[gateway].control
    control.deliver(is_paused=True)
    paid, refund, held, voided = (f"{what}-{gateway}" for what in ("paid", "refund", "held", "voided"))
    place.pay(gateway, paid)
    place.await_event(paid, "PaymentSucceeded")
    place.pay(gateway, held, capture="manual")
    place.await_event(held, "PaymentAuthorized")
    place.capture(f"capture-{gateway}", held)
    place.pay(gateway, voided, capture="manual")
    place.await_event(voided, "PaymentAuthorized")
    place.void(voided)
    place.refund(refund, paid, 2_000)
    eventually(lambda: _all_asked(place, gateway, paid, held, voided), within_s=30, what="all is asked for")

    control.deliver(signature="wrong", is_paused=False)
    eventually(lambda: _counts(place, gateway).get("forged", 0) > 0, within_s=30, what="forged ones came")
    # What was refused waits for its next try as the gateway has it; asked for, it comes at once.
    ids = [webhook["id"] for webhook in control.webhooks()]
    batch = {"batch": 3} if gateway == "adyen" else {}
    control.deliver(signature="good", order="shuffled", copies=2, **batch)
    control.deliver_again(ids)

    place.await_event(f"capture-{gateway}", "PaymentSucceeded")
    place.await_event(voided, "PaymentVoided")
    place.await_event(refund, "RefundProcessed")
    eventually(lambda: _accepted(place, gateway, len(ids)), within_s=30, what="all were taken in")
    with_refund = place.story(paid)
    assert [one.status for one in with_refund.refunds] == [RefundStatus.SUCCEEDED]
    assert with_refund.payment.refunded == 2_000
    assert place.story(held).payment.status is PaymentStatus.CAPTURED
    assert place.story(voided).payment.status is PaymentStatus.VOIDED
    assert place.problems() == []


def test_nothing_the_gateways_sent_was_a_dead_letter(place: Street) -> None:
    mailbox = Mailbox(place.broker_url)
    try:
        dead = mailbox.channel.queue_declare(queue=f"{GATEWAY_CALLBACKS}.dead", passive=True)
    finally:
        mailbox.close()

    assert dead.message_count == 0


def _counts(place: Street, gateway: str) -> dict[str, int]:
    told = httpx.get(f"{place.ingestor.url}/health", trust_env=False).json()
    counts: dict[str, int] = told["callbacks"][gateway]
    return counts


def _accepted(place: Street, gateway: str, webhooks: int) -> bool:
    """Each was posted twice, at Adyen three in one body at most."""
    return _counts(place, gateway).get("accepted", 0) >= 2 * webhooks // (3 if gateway == "adyen" else 1)


def _all_asked(place: Street, gateway: str, *payments: str) -> bool:
    """Whether each operation has happened at the gateway, whatever we know of it."""
    done = {operation for payment in payments for operation, _ in place.moved(gateway, payment)}
    return {"capture", "void", "refund"} <= done


def test_a_cancellation_whose_every_answer_is_lost_ends_with_the_callback_that_bears_the_payments_name_alone(
    tmp_path: Path,
) -> None:
    with street(tmp_path) as place:
        adyen = place.gateways["adyen"].control
        adyen.deliver(is_paused=True)
        adyen.arm("drop_after_executing", match={"idempotency_key": "nameless.a1"})
        adyen.arm("html_502", times=9, match={"idempotency_key": "nameless.a1"})
        adyen.arm("html_502_after", times=9, match={"idempotency_key": "nameless.a2"})
        place.pay("adyen", "nameless", capture="manual")
        place.await_event("nameless", "PaymentInDoubt")
        place.void("nameless")
        eventually(lambda: len(adyen.webhooks()) == 2, within_s=30, what="Adyen has canceled")
        adyen.deliver(is_paused=False)

        place.await_event("nameless", "PaymentVoided")

        def open_attempts() -> list[str]:
            return [attempt.attempt_id for attempt in place.story("nameless").attempts if attempt.is_open]

        eventually(lambda: open_attempts() == [], within_s=30, what="every attempt has ended")
        assert place.problems() == []
