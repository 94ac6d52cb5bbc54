"""A payment's whole life at Stripe: what its simulator tells by webhook, and what the adapter then finds there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import httpx
import pytest

from gateways.notice import Notice
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    CaptureRequest,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    Operation,
    Outcome,
    Pending,
    Unknown,
    VoidRequest,
)
from gateways.stripe import StripeGateway
from gateways.stripe_webhooks import StripeVerifier, read
from messages.ids import AttemptId, payment_attempt_id
from messages.money import Money
from simulators.running import RunningSimulator, running_stripe
from simulators.stripe.control_client import StripeControlClient
from tests.gateways.gateway_contract import (
    TEN_EUROS,
    Paid,
    asked,
    capture_of,
    look,
    look_after,
    pay,
    refund_of,
    void_of,
)
from tests.simulators.receiver import Receiver, receiving, until

T = TypeVar("T")

FOUR_EUROS, SIX_EUROS = Money(400, "EUR"), Money(600, "EUR")
SETTLE_AFTER_S = 60.0
WEEK_S = 7 * 24 * 3600
SECRET = "whsec_ofThisTest"


class Shop:
    """The adapter and the ingestor's parts, in front of a simulator that tells by webhook."""

    def __init__(self, simulator: RunningSimulator, receiver: Receiver) -> None:
        self.control: StripeControlClient = simulator.control
        self.gateway = StripeGateway(api_key=simulator.api_key, base_url=simulator.url, read_timeout_s=10)
        self._receiver = receiver
        self._runner = asyncio.Runner()
        self._verifier = StripeVerifier([SECRET], livemode=False)
        # The steps of the contract ask for no more of a stage than its gateway and its loop.
        self._stage: Any = self

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def hold(self) -> Paid:
        return self.pay(asked("pm_card_visa", capture=False))

    def sale(self, card: str = "pm_card_visa") -> Paid:
        return self.pay(asked(card))

    def pay(self, request: AuthorizeRequest) -> Paid:
        return pay(self._stage, request)

    def look(self, paid: Paid) -> Outcome | Absent:
        return look(self._stage, paid)

    def look_after(self, request: CaptureRequest | VoidRequest, held: Paid) -> Outcome | Absent:
        """Look up by the hold alone, as after a lost answer."""
        return look_after(self._stage, request, held.reference)

    def look_for(self, notice: Notice, attempt_id: str = "att_ofOurs", **more: Any) -> Outcome | Absent:
        """Look up what a notice is about, as the service does when it has no attempt for it yet."""
        assert notice.operation is not None
        request = LookupRequest(
            attempt_id=notice.attempt_id or AttemptId(attempt_id),
            operation=notice.operation,
            payment_id=asked("").payment_id,
            amount=notice.amount or TEN_EUROS,
            reference=notice.reference,
            parent_reference=notice.parent_reference,
        )
        return self.run(self.gateway.lookup(replace(request, **more)))

    def notices(self, event: str) -> list[Notice]:
        """What was delivered of a kind of event, once all there is has come; each verified."""
        until(lambda: len(self._receiver.deliveries) >= len(self.control.webhooks()))
        for delivery in self._receiver.deliveries:
            verifying = self._verifier.verify(
                headers=delivery.headers, body=delivery.body, now=datetime.now(UTC)
            )
            self.run(verifying)
        told = [notice for delivery in self._receiver.deliveries for notice in read(delivery.body)]
        return [notice for notice in told if notice.event == event]

    def notice(self, event: str) -> Notice:
        """The only delivery of a kind of event."""
        [found] = self.notices(event)
        return found

    def customer_acts(self, waiting: Outcome, decision: Literal["succeed", "fail"]) -> None:
        assert isinstance(waiting, ActionRequired)
        assert waiting.action.url is not None
        httpx.get(waiting.action.url, params={"decision": decision}, trust_env=False)

    def close(self) -> None:
        self.run(self.gateway.close())
        self._runner.close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def shop(receiver: Receiver) -> Iterator[Shop]:
    receiver.clear()
    with running_stripe(settle_after_s=SETTLE_AFTER_S) as simulator:
        simulator.control.deliver(url=receiver.url, secrets=[SECRET])
        shop = Shop(simulator, receiver)
        yield shop
        shop.close()


def declined_as(reason: DeclineReason, ending: Outcome | Absent) -> bool:
    return isinstance(ending, Declined) and ending.reason is reason


# --- what a notice names is what the adapter's answers name ------------------------------------------------


def test_a_sale_is_told_under_the_name_and_reference_of_its_attempt(shop: Shop) -> None:
    paid = shop.sale()

    told = shop.notice("payment_intent.succeeded")

    assert told.operation is Operation.SALE
    assert told.attempt_id == paid.request.attempt_id
    assert told.reference == paid.reference
    assert told.amount == TEN_EUROS
    assert shop.look_for(told) == paid.outcome
    assert shop.notices("payment_intent.created") == shop.notices("charge.succeeded") == []


def test_a_payment_in_doubt_is_resolved_by_its_notice(shop: Shop) -> None:
    shop.control.arm("drop_after_executing", match={"path": "/v1/payment_intents/*/confirm"})
    paid = shop.sale()

    told = shop.notice("payment_intent.succeeded")

    assert isinstance(paid.outcome, Unknown)
    assert told.attempt_id == paid.request.attempt_id
    assert isinstance(shop.look_for(told), Approved)


def test_a_pending_payment_that_fails_is_told(shop: Shop) -> None:
    paid = shop.sale("pm_simulated_processing_then_fails")
    shop.control.advance_clock(SETTLE_AFTER_S + 1)

    told = shop.notice("payment_intent.payment_failed")

    assert isinstance(paid.outcome, Pending)
    assert told.attempt_id == paid.request.attempt_id
    assert declined_as(DeclineReason.GENERIC_DECLINE, shop.look_for(told))


# --- holds -------------------------------------------------------------------------------------------------


def test_a_hold_that_is_taken_in_part_stays_authorized_in_full(shop: Shop) -> None:
    held = shop.hold()
    capture = capture_of(held, FOUR_EUROS)
    taken = shop.run(shop.gateway.capture(capture))

    told = shop.notice("payment_intent.succeeded")
    [rest] = shop.notices("refund.created")

    assert isinstance(taken, Approved)
    assert taken.amount == FOUR_EUROS
    assert (told.operation, told.attempt_id) == (Operation.CAPTURE, capture.attempt_id)
    assert (told.reference, told.amount) == (taken.reference, FOUR_EUROS)
    assert shop.look_for(told) == taken
    still = shop.look(held)
    assert isinstance(still, Approved)
    assert still.amount == TEN_EUROS
    assert rest.amount == SIX_EUROS
    assert isinstance(shop.look_for(rest), Absent)  # no money went back: the rest was never taken


def test_a_hold_tells_until_when_it_may_be_captured(shop: Shop) -> None:
    held = shop.hold()

    found = shop.look_for(shop.notice("payment_intent.amount_capturable_updated"))

    assert isinstance(held.outcome, Approved)
    assert held.outcome.capture_before is not None
    assert found == held.outcome
    left = held.outcome.capture_before.timestamp() - shop.control.now()
    assert 0 < left <= WEEK_S


def test_a_hold_that_nobody_captured_in_time_has_expired_for_all_who_ask(shop: Shop) -> None:
    held = shop.hold()
    shop.control.advance_clock(WEEK_S + 1)

    told = shop.notice("payment_intent.canceled")
    expired = shop.notice("charge.expired")

    for notice in (told, expired):
        assert (notice.operation, notice.attempt_id) == (Operation.AUTHORIZE, held.request.attempt_id)
        assert declined_as(DeclineReason.EXPIRED, shop.look_for(notice))
    assert shop.notices("refund.created") == []
    endings = (
        shop.look_after(capture_of(held), held),
        shop.look_after(void_of(held, held.reference), held),
        shop.run(shop.gateway.capture(capture_of(held))),
        shop.run(shop.gateway.void(void_of(held, held.reference))),
    )
    assert all(declined_as(DeclineReason.EXPIRED, ending) for ending in endings)


def test_a_hold_that_was_let_go_in_the_dashboard_is_canceled(shop: Shop) -> None:
    held = shop.hold()
    shop.control.in_dashboard("cancel", held.reference)

    told = shop.notice("payment_intent.canceled")

    assert told.attempt_id == held.request.attempt_id
    assert declined_as(DeclineReason.CANCELED, shop.look_for(told))
    assert shop.notices("refund.created") == []
    taken = shop.run(shop.gateway.capture(capture_of(held)))
    assert declined_as(DeclineReason.CANCELED, taken)


def test_a_capture_in_the_dashboard_is_none_of_ours(shop: Shop) -> None:
    held = shop.hold()
    shop.control.in_dashboard("capture", held.reference, amount=600)

    told = shop.notice("payment_intent.succeeded")
    ours = capture_of(held)

    assert (told.operation, told.attempt_id) == (Operation.CAPTURE, None)
    assert (told.reference, told.amount) == (held.reference, SIX_EUROS)
    assert isinstance(shop.look_after(ours, held), Unknown)
    assert declined_as(DeclineReason.DUPLICATE, shop.run(shop.gateway.capture(ours)))
    assert isinstance(shop.look(held), Approved)


def test_a_second_capture_is_refused_and_the_first_one_stands(shop: Shop) -> None:
    held = shop.hold()
    first = capture_of(held, FOUR_EUROS)
    second = replace(first, attempt_id=payment_attempt_id(first.payment_id, 9))
    taken = shop.run(shop.gateway.capture(first))

    refused = shop.run(shop.gateway.capture(second))

    assert declined_as(DeclineReason.DUPLICATE, refused)
    assert declined_as(DeclineReason.DUPLICATE, shop.look_after(second, held))
    assert shop.look_after(first, held) == taken


def test_a_void_whose_answer_is_lost_is_found_and_the_hold_with_it(shop: Shop) -> None:
    held = shop.hold()
    shop.control.arm("drop_after_executing", match={"path": "/v1/payment_intents/*/cancel"})
    void = void_of(held, held.reference)

    voided = shop.run(shop.gateway.void(void))

    assert isinstance(voided, Unknown)
    assert shop.look_after(void, held) == Approved(reference=held.reference, amount=TEN_EUROS)
    assert declined_as(DeclineReason.CANCELED, shop.look(held))


# --- the customer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "event", "ending"),
    [
        ("succeed", "payment_intent.succeeded", Approved),
        ("fail", "payment_intent.payment_failed", Declined),
    ],
)
def test_a_soft_decline_is_paid_by_a_step_up(
    shop: Shop, decision: Literal["succeed", "fail"], event: str, ending: type[Outcome]
) -> None:
    token = "pm_simulated_authenticationSoftDecline"
    first = shop.sale(token)
    attempt_id = payment_attempt_id(first.request.payment_id, 2)
    again = replace(first.request, attempt_id=attempt_id, reference=None, authenticate=True)
    stepped_up = shop.pay(again)
    shop.customer_acts(stepped_up.outcome, decision)

    told = shop.notices(event)[-1]

    assert declined_as(DeclineReason.AUTHENTICATION_REQUIRED, first.outcome)
    assert isinstance(first.outcome, Declined)
    assert first.outcome.firmness is Firmness.NEEDS_AUTHENTICATION
    assert shop.notice("payment_intent.requires_action").attempt_id == attempt_id
    assert told.attempt_id == attempt_id
    assert isinstance(shop.look_for(told), ending)


def test_a_step_up_of_an_absent_customer_is_declined(shop: Shop) -> None:
    request = replace(asked("pm_card_visa"), off_session=True, authenticate=True)

    paid = shop.pay(request)

    assert declined_as(DeclineReason.AUTHENTICATION_REQUIRED, paid.outcome)


def test_a_payment_the_merchant_starts_needs_no_customer(shop: Shop) -> None:
    paid = shop.pay(replace(asked("pm_card_visa"), off_session=True))

    assert isinstance(paid.outcome, Approved)


def test_a_payment_that_is_called_off_while_the_customer_is_away_is_canceled(shop: Shop) -> None:
    waiting = shop.sale("pm_card_authenticationRequired")
    assert isinstance(waiting.outcome, ActionRequired)

    voided = shop.run(shop.gateway.void(void_of(waiting, waiting.outcome.reference)))

    told = shop.notice("payment_intent.canceled")
    assert isinstance(voided, Approved)
    assert (told.operation, told.attempt_id) == (Operation.SALE, waiting.request.attempt_id)
    assert declined_as(DeclineReason.CANCELED, shop.look_for(told))


# --- refunds -------------------------------------------------------------------------------------------------


def test_a_refund_that_fails_late_is_declined_from_then_on(shop: Shop) -> None:
    paid = shop.sale()
    refund = refund_of(paid, metadata={"simulate_refund_ending": "fail_later"})
    given = shop.run(shop.gateway.refund(refund))
    shop.control.advance_clock(SETTLE_AFTER_S + 1)

    told = shop.notice("refund.failed")

    assert isinstance(given, Approved)
    assert (told.operation, told.attempt_id) == (Operation.REFUND, refund.attempt_id)
    assert (told.reference, told.parent_reference) == (given.reference, paid.reference)
    assert declined_as(DeclineReason.EXPIRED_CARD, shop.look_for(told))
    assert declined_as(DeclineReason.EXPIRED_CARD, shop.look_for(told, reference=None))
    assert isinstance(shop.look(paid), Approved)


@pytest.mark.parametrize(
    ("ending", "event", "found"),
    [("pend_then_succeed", "refund.updated", Approved), ("pend_then_fail", "refund.failed", Declined)],
)
def test_a_pending_refund_is_told_when_it_ends(
    shop: Shop, ending: str, event: str, found: type[Outcome]
) -> None:
    refund = refund_of(shop.sale(), metadata={"simulate_refund_ending": ending})
    given = shop.run(shop.gateway.refund(refund))
    pending = shop.look_for(shop.notice("refund.created"))
    shop.control.advance_clock(SETTLE_AFTER_S + 1)

    told = shop.notice(event)

    assert isinstance(given, Pending)
    assert pending == given
    assert told.attempt_id == refund.attempt_id
    assert isinstance(shop.look_for(told), found)


def test_a_refund_in_the_dashboard_is_found_by_the_id_its_notice_names(shop: Shop) -> None:
    paid = shop.sale()
    made = shop.control.in_dashboard("refund", paid.reference, amount=400)

    told = shop.notice("refund.created")

    assert (told.operation, told.attempt_id) == (Operation.REFUND, None)
    assert (told.reference, told.parent_reference) == (made["id"], paid.reference)
    assert told.amount == FOUR_EUROS
    assert shop.look_for(told) == Approved(reference=made["id"], amount=FOUR_EUROS)


def test_a_refund_in_the_dashboard_can_fail_late(shop: Shop) -> None:
    paid = shop.sale("pm_card_refundFail")
    shop.control.in_dashboard("refund", paid.reference)
    shop.control.advance_clock(SETTLE_AFTER_S + 1)

    told = shop.notice("refund.failed")

    assert told.attempt_id is None
    assert declined_as(DeclineReason.EXPIRED_CARD, shop.look_for(told))


def test_a_refund_of_another_payment_is_not_taken_for_one_of_ours(shop: Shop) -> None:
    theirs, ours = shop.sale(), shop.sale()
    shop.control.in_dashboard("refund", theirs.reference)
    told = shop.notice("refund.created")

    assert isinstance(shop.look_for(told, parent_reference=ours.reference), Unknown)


# --- how notices come ------------------------------------------------------------------------------------------


def test_a_notice_that_comes_twice_and_out_of_order_has_one_id(shop: Shop, receiver: Receiver) -> None:
    shop.control.deliver(copies=2, is_paused=True, order="shuffled")
    shop.sale()
    shop.control.deliver(is_paused=False)
    until(lambda: receiver.has(2 * len(shop.control.webhooks())))

    told = shop.notices("payment_intent.succeeded")

    assert len(told) == 2
    assert told[0] == told[1]
