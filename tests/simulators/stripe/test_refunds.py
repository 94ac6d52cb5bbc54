"""Refunds: in parts, too much, later, and never after all."""

from __future__ import annotations

import pytest
import stripe

from simulators.control_client import ControlClient, Refused
from tests.simulators.stripe.shop import Shop


def test_a_refund_gives_back_all_that_is_left(shop: Shop) -> None:
    paid = shop.pay()
    part = shop.refund(payment_intent=paid["id"], amount=300, reason="requested_by_customer")
    rest = shop.refund(charge=paid["latest_charge"])

    assert (part["status"], part["amount"], part["reason"]) == ("succeeded", 300, "requested_by_customer")
    assert (rest["status"], rest["amount"]) == ("succeeded", 700)
    charge = shop.charge(paid["latest_charge"])
    assert (charge["refunded"], charge["amount_refunded"]) == (True, 1000)


def test_a_refund_is_booked_without_giving_back_the_fee(shop: Shop) -> None:
    refund = shop.refund(payment_intent=shop.pay()["id"], expand=["balance_transaction"])

    booked = refund["balance_transaction"]
    assert (booked["amount"], booked["fee"], booked["source"]) == (-1000, 0, refund["id"])


def test_more_than_is_left_cannot_be_refunded(shop: Shop, control: ControlClient) -> None:
    paid = shop.pay()
    shop.refund(payment_intent=paid["id"], amount=300)

    with pytest.raises(stripe.InvalidRequestError) as too_much:
        shop.refund(payment_intent=paid["id"], amount=701)
    shop.refund(payment_intent=paid["id"], amount=700)
    with pytest.raises(stripe.InvalidRequestError) as nothing_left:
        shop.refund(payment_intent=paid["id"], amount=1)

    assert too_much.value.code == "amount_too_large"
    assert nothing_left.value.code == "charge_already_refunded"
    assert sum(line["amount"] for line in control.record(operation="refund")) == 1000


def test_only_what_was_captured_can_be_refunded(shop: Shop) -> None:
    held = shop.hold()
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        shop.refund(payment_intent=held["id"])
    shop.capture(held["id"], amount_to_capture=600)

    with pytest.raises(stripe.InvalidRequestError) as too_much:
        shop.refund(payment_intent=held["id"], amount=601)
    assert too_much.value.code == "amount_too_large"
    assert shop.refund(payment_intent=held["id"], amount=600)["status"] == "succeeded"


def test_refunds_are_listed_by_payment_in_pages(shop: Shop) -> None:
    other = shop.pay()
    shop.refund(payment_intent=other["id"])
    paid = shop.pay()
    ids = [shop.refund(payment_intent=paid["id"], amount=100, metadata={"n": str(n)})["id"] for n in range(4)]

    first = shop.refunds(payment_intent=paid["id"], limit=3)
    rest = shop.refunds(payment_intent=paid["id"], starting_after=first["data"][-1]["id"])

    assert ([refund["id"] for refund in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    assert ([refund["id"] for refund in rest["data"]], rest["has_more"]) == (ids[:1], False)
    assert rest["data"][0]["metadata"] == {"n": "0"}


@pytest.mark.parametrize("how", ["told", "later"])
def test_a_refund_that_succeeded_can_fail_later(shop: Shop, control: ControlClient, how: str) -> None:
    paid = shop.pay("pm_card_refundFail")
    refund = shop.refund(payment_intent=paid["id"])
    if how == "told":
        control.decide(refund["id"], "fail")
    else:
        control.advance_clock(60)

    assert refund["status"] == "succeeded"
    failed = shop.refund_now(refund["id"])
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    assert failed["failure_balance_transaction"].startswith("txn_")
    charge = shop.charge(paid["latest_charge"])
    assert (charge["refunded"], charge["amount_refunded"]) == (False, 0)
    assert [line["operation"] for line in control.record()] == ["charge", "refund", "refund_failed"]


@pytest.mark.parametrize(("decision", "status"), [("succeed", "succeeded"), ("fail", "failed")])
def test_a_pending_refund_ends_when_told(
    shop: Shop, control: ControlClient, decision: str, status: str
) -> None:
    paid = shop.pay("pm_card_pendingRefund")
    refund = shop.refund(payment_intent=paid["id"], amount=400)
    with pytest.raises(stripe.InvalidRequestError):
        shop.refund(payment_intent=paid["id"], amount=601)
    control.decide(refund["id"], "succeed" if decision == "succeed" else "fail")
    control.advance_clock(60)

    assert (refund["status"], refund["pending_reason"]) == ("pending", "processing")
    assert shop.refund_now(refund["id"])["status"] == status
    assert len(control.record(operation="refund")) == (decision == "succeed")


def test_a_pending_refund_succeeds_later_by_itself(shop: Shop, control: ControlClient) -> None:
    refund = shop.refund(payment_intent=shop.pay("pm_card_pendingRefund")["id"])
    control.advance_clock(60)

    assert shop.refund_now(refund["id"])["status"] == "succeeded"


def test_what_has_ended_cannot_be_decided(shop: Shop, control: ControlClient) -> None:
    refund = shop.refund(payment_intent=shop.pay()["id"])
    control.decide(refund["id"], "fail")

    with pytest.raises(Refused, match="failed"):
        control.decide(refund["id"], "succeed")
    with pytest.raises(Refused, match="no payment and no refund"):
        control.decide("re_nosuch", "succeed")


def test_a_refund_names_one_payment_that_exists(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="payment_intent or charge"):
        shop.refund(amount=100)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.refund(payment_intent="pi_nosuch")

    assert (refused.value.http_status, refused.value.code) == (400, "resource_missing")
