"""Every change is told as an Event of Stripe's form, signed as Stripe signs, and sent until it is accepted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
import stripe

from simulators.control_client import Refused
from simulators.running import RunningSimulator, running_stripe
from simulators.stripe.control_client import StripeControlClient
from tests.simulators.receiver import Receiver, receiving, until
from tests.simulators.stripe.contract import CONTRACT, SPECS, Json, contract
from tests.simulators.stripe.shop import RETURN_URL, Shop, open_shop

SECRET, NEW_SECRET = "whsec_old", "whsec_new"
WEEK_S = 7 * 24 * 3600


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(server: Receiver, control: StripeControlClient) -> Receiver:
    server.clear()
    control.deliver(url=server.url, secrets=[SECRET])
    return server


def verified(receiver: Receiver, secret: str = SECRET) -> list[stripe.Event]:
    """The events that came, as the SDK takes them. Raises if one is not signed."""
    return [
        stripe.Webhook.construct_event(d.body, d.headers["stripe-signature"], secret)
        for d in receiver.deliveries
    ]


def told(control: StripeControlClient) -> list[str]:
    """What was, or would have been, told: the types of events, first to last."""
    return [webhook["body"]["type"] for webhook in control.webhooks()]


def last(control: StripeControlClient, type: str) -> Json:
    """The last event of a type."""
    found: Json = [w["body"] for w in control.webhooks() if w["body"]["type"] == type][-1]
    return found


def authenticate(intent: Json, decision: str) -> None:
    httpx.get(intent["next_action"]["redirect_to_url"]["url"], params={"decision": decision}, trust_env=False)


# --- which events --------------------------------------------------------------------------------------


def test_a_sale_is_told(shop: Shop, control: StripeControlClient) -> None:
    shop.pay(capture_method="automatic")

    assert told(control) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def test_a_decline_is_told(shop: Shop, control: StripeControlClient) -> None:
    with pytest.raises(stripe.CardError):
        shop.pay("pm_card_chargeDeclined")

    assert told(control) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def test_a_hold_and_its_partial_capture_are_told(shop: Shop, control: StripeControlClient) -> None:
    shop.capture(shop.hold()["id"], amount_to_capture=400)

    assert told(control) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "charge.refunded",
        "refund.created",
        "payment_intent.succeeded",
    ]
    assert last(control, "charge.captured")["data"]["previous_attributes"]["amount_captured"] == 0


def test_a_hold_that_is_let_go_is_told(shop: Shop, control: StripeControlClient) -> None:
    shop.cancel(shop.hold()["id"])

    assert told(control)[3:] == ["charge.refunded", "refund.created", "payment_intent.canceled"]


def test_a_hold_that_nobody_captures_expires_when_it_said_it_would(
    shop: Shop, control: StripeControlClient
) -> None:
    held = shop.hold(expand=["latest_charge"])
    ends_at = held["latest_charge"]["payment_method_details"]["card"]["capture_before"]
    control.advance_clock(ends_at - control.now() - 60)
    before = told(control)
    control.advance_clock(120)

    assert "payment_intent.canceled" not in before
    assert told(control)[len(before) :] == [
        "charge.refunded",
        "refund.created",
        "payment_intent.canceled",
        "charge.expired",
    ]
    canceled = last(control, "payment_intent.canceled")
    assert canceled["data"]["object"]["cancellation_reason"] == "automatic"
    assert canceled["request"] == {"id": None, "idempotency_key": None}


@pytest.mark.parametrize(
    ("decision", "end"), [("succeed", "payment_intent.succeeded"), ("fail", "payment_intent.payment_failed")]
)
def test_a_customer_at_the_bank_is_told(
    shop: Shop, control: StripeControlClient, decision: str, end: str
) -> None:
    authenticate(shop.pay("pm_card_authenticationRequired", return_url=RETURN_URL), decision)

    assert told(control)[:2] == ["payment_intent.created", "payment_intent.requires_action"]
    assert told(control)[-1] == end


def test_a_payment_that_takes_its_time_is_told(shop: Shop, control: StripeControlClient) -> None:
    shop.pay("pm_simulated_processing_then_fails")
    control.advance_clock(61)

    assert told(control)[1:] == [
        "charge.pending",
        "payment_intent.processing",
        "charge.failed",
        "payment_intent.payment_failed",
    ]


@pytest.mark.parametrize(
    ("ending", "end"),
    [
        ("fail_later", ["refund.failed"]),
        ("pend_then_succeed", ["refund.updated"]),
        ("pend_then_fail", ["refund.failed"]),
        ("succeed", []),
    ],
)
def test_a_refund_goes_as_its_metadata_asks(
    shop: Shop, control: StripeControlClient, ending: str, end: list[str]
) -> None:
    paid = shop.pay(capture_method="automatic")
    refund = shop.refund(payment_intent=paid["id"], metadata={"simulate_refund_ending": ending})
    control.advance_clock(61)

    assert [type for type in told(control)[3:] if type.startswith("refund.")] == ["refund.created", *end]
    if end == ["refund.failed"]:
        failed = last(control, "refund.failed")["data"]
        assert failed["object"]["failure_reason"] == "expired_or_canceled_card"
        assert failed["previous_attributes"]["status"] == refund["status"]


def test_a_refund_goes_as_its_intents_metadata_asks(shop: Shop) -> None:
    paid = shop.pay(metadata={"simulate_refund_ending": "pend_then_fail"})

    assert shop.refund(payment_intent=paid["id"])["status"] == "pending"


def test_a_refund_that_ends_as_none_does_is_refused(shop: Shop) -> None:
    paid = shop.pay()

    with pytest.raises(stripe.InvalidRequestError, match="No refund ends so"):
        shop.refund(payment_intent=paid["id"], metadata={"simulate_refund_ending": "well"})


def test_what_is_refused_before_it_began_is_not_told(shop: Shop, control: StripeControlClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        shop.create(amount=0)

    assert told(control) == []


# --- the form of events ----------------------------------------------------------------------------------


def test_every_event_is_as_the_contract_says(shop: Shop, control: StripeControlClient) -> None:
    by = contract()
    if by is None:
        pytest.skip(f"no {CONTRACT} in {SPECS}: set PAYMENTS_SPECS_DIR; events were not checked by it")
    whole_life(shop, control)
    bodies = [webhook["body"] for webhook in control.webhooks()]

    assert {body["type"] for body in bodies} >= EVERY_EVENT
    assert [(body["type"], fault) for body in bodies for fault in by.faults_of_objects(body)] == []


EVERY_EVENT = {
    "charge.captured",
    "charge.expired",
    "charge.failed",
    "charge.pending",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "refund.created",
    "refund.failed",
    "refund.updated",
}


def whole_life(shop: Shop, control: StripeControlClient) -> None:
    """Everything that can happen to payments, so that everything is told."""
    with pytest.raises(stripe.CardError):
        shop.pay("pm_card_chargeDeclined")
    for decision in ("succeed", "fail"):
        authenticate(shop.pay("pm_card_authenticationRequired", return_url=RETURN_URL), decision)
    shop.pay("pm_simulated_processing_then_succeeds")
    shop.pay("pm_simulated_processing_then_fails")
    shop.refund(payment_intent=shop.pay("pm_card_refundFail")["id"], amount=300)
    shop.refund(payment_intent=shop.pay("pm_card_pendingRefund")["id"])
    shop.capture(shop.hold()["id"], amount_to_capture=400)
    shop.cancel(shop.hold()["id"])
    shop.hold()
    control.advance_clock(WEEK_S + 60)


def test_an_event_names_the_call_that_led_to_it(shop: Shop, control: StripeControlClient) -> None:
    shop.pay(key="order-7", capture_method="automatic")
    event = last(control, "payment_intent.succeeded")

    assert event["request"] == {"id": shop.answer.last_response.request_id, "idempotency_key": "order-7"}
    assert event["data"]["object"]["status"] == "succeeded"
    assert "previous_attributes" not in event["data"]


def test_an_event_shows_its_object_as_it_was_then(shop: Shop, control: StripeControlClient) -> None:
    paid = shop.pay(capture_method="automatic")
    shop.refund(payment_intent=paid["id"])
    was, now = (last(control, type)["data"] for type in ("charge.succeeded", "charge.refunded"))

    assert (was["object"]["amount_refunded"], now["object"]["amount_refunded"]) == (0, 1000)
    assert now["previous_attributes"] == {"amount_refunded": 0, "refunded": False}


# --- the dashboard -----------------------------------------------------------------------------------------


def test_what_is_done_in_the_dashboard_bears_no_name_of_ours(
    shop: Shop, control: StripeControlClient
) -> None:
    held = shop.hold(metadata={"attempt_id": "a1"})
    captured = control.in_dashboard("capture", held["id"], amount=600)
    refund = control.in_dashboard("refund", held["id"], amount=100)
    let_go = control.in_dashboard("cancel", shop.hold()["id"])

    assert (captured["status"], captured["amount_received"]) == ("succeeded", 600)
    assert (refund["amount"], refund["metadata"]) == (100, {})
    assert let_go["status"] == "canceled"
    told_of = last(control, "refund.created")
    assert told_of["request"]["idempotency_key"] is None
    assert [line["idempotency_key"] for line in control.record(operation="capture")] == [None]


def test_the_dashboard_allows_no_more_than_stripe_does(shop: Shop, control: StripeControlClient) -> None:
    paid = shop.pay()

    with pytest.raises(Refused, match="could not be canceled"):
        control.in_dashboard("cancel", paid["id"])
    with pytest.raises(Refused, match="greater than unrefunded amount"):
        control.in_dashboard("refund", paid["id"], amount=1001)
    with pytest.raises(Refused, match="No such payment_intent"):
        control.in_dashboard("refund", "pi_none")


# --- 3-D Secure on request -----------------------------------------------------------------------------------


def test_a_shop_can_ask_for_the_customer_outright(shop: Shop) -> None:
    options = {"card": {"request_three_d_secure": "challenge"}}

    asked = shop.pay(payment_method_options=options, return_url=RETURN_URL)
    authenticate(asked, "succeed")

    assert asked["status"] == "requires_action"
    after = shop.intent(asked["id"], "latest_charge")
    card = after["latest_charge"]["payment_method_details"]["card"]
    assert (after["status"], card["three_d_secure"]["result"]) == ("succeeded", "authenticated")


def test_a_bank_may_decline_softly_until_the_customer_is_asked_for(shop: Shop) -> None:
    card = "pm_simulated_authenticationSoftDecline"

    with pytest.raises(stripe.CardError) as refused:
        shop.pay(card)
    options = {"card": {"request_three_d_secure": "challenge"}}
    stepped_up = shop.pay(card, payment_method_options=options, return_url=RETURN_URL)

    assert refused.value.code == "authentication_required"
    assert stepped_up["status"] == "requires_action"


# --- delivery --------------------------------------------------------------------------------------------------


def test_an_event_is_delivered_as_the_sdk_wants_it(shop: Shop, receiver: Receiver) -> None:
    paid = shop.pay(capture_method="automatic", metadata={"name": "Zoë"})
    until(partial(receiver.has, 3))

    events = verified(receiver)
    assert [event.type for event in events] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    assert events[-1].data.object["id"] == paid["id"]
    assert {event.api_version for event in events} == {"2026-10-28.endive"}


def test_a_late_event_is_signed_with_the_time_it_is_sent(
    shop: Shop, receiver: Receiver, control: StripeControlClient
) -> None:
    receiver.status = 500
    shop.create()
    until(partial(receiver.has, 1))
    control.advance_clock(3600)
    until(partial(receiver.has, 2))

    first, second = verified(receiver)
    assert first.id == second.id
    times = [int(d.headers["stripe-signature"][2:12]) for d in receiver.deliveries]
    assert all(abs(at - time.time()) < 60 for at in times)


def test_an_event_that_is_not_accepted_is_sent_for_three_days(
    shop: Shop, receiver: Receiver, control: StripeControlClient
) -> None:
    receiver.status = 500
    shop.create()
    until(partial(receiver.has, 1))
    for hours in (1, 13, 13, 13, 13, 13, 13):
        tries = len(receiver.deliveries)
        control.advance_clock(hours * 3600)
        until(lambda before=tries: len(receiver.deliveries) > before)  # type: ignore[misc]
    control.advance_clock(WEEK_S)
    shop.create()
    until(lambda: len({event.id for event in verified(receiver)}) == 2)

    assert len(receiver.deliveries) == 9


def test_while_a_secret_is_rolled_each_event_bears_two_signatures(
    shop: Shop, receiver: Receiver, control: StripeControlClient
) -> None:
    control.deliver(secrets=[SECRET, NEW_SECRET])
    shop.create()
    until(partial(receiver.has, 1))

    assert receiver.deliveries[0].headers["stripe-signature"].count("v1=") == 2
    assert verified(receiver, SECRET)[0].id == verified(receiver, NEW_SECRET)[0].id


@pytest.mark.parametrize(
    "endpoint", [{"signature": "wrong"}, {"signed_ahead_s": -301}, {"secrets": [NEW_SECRET]}]
)
def test_an_event_can_be_badly_signed(
    shop: Shop, receiver: Receiver, control: StripeControlClient, endpoint: Json
) -> None:
    control.deliver(**endpoint)
    shop.create()
    until(partial(receiver.has, 1))

    with pytest.raises(stripe.SignatureVerificationError):
        verified(receiver)


def test_an_event_can_come_unsigned_or_of_the_other_mode(
    shop: Shop, receiver: Receiver, control: StripeControlClient
) -> None:
    control.deliver(signature="missing", livemode=True)
    shop.create()
    until(partial(receiver.has, 1))

    [delivery] = receiver.deliveries
    assert "stripe-signature" not in delivery.headers
    assert delivery.json()["livemode"] is True


def test_what_falls_due_is_told_without_anybody_asking(server: Receiver) -> None:
    server.clear()
    with running_stripe(settle_after_s=0.2) as quick, open_shop(quick) as shop:
        quick.control.deliver(url=server.url)
        shop.pay("pm_simulated_processing_then_succeeds")
        until(lambda: bool(server.deliveries) and last_type(server) == "payment_intent.succeeded")


def last_type(receiver: Receiver) -> str:
    return str(receiver.deliveries[-1].json()["type"])


def test_an_endpoint_with_a_slip_is_refused(simulator: RunningSimulator) -> None:
    slips: list[Json] = [{"secrets": []}, {"secrets": ["a", "b", "c"]}, {"hmac_key": "5A"}, {"batch": 2}]
    for slip in slips:
        with pytest.raises(Refused):
            simulator.control.deliver(**slip)
