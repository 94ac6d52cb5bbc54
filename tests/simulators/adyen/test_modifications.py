"""Captures, refunds and cancellations: received at once, executed later, told by webhook."""

from __future__ import annotations

import pytest
from Adyen import AdyenAPIUnprocessableEntity

from simulators.adyen.control_client import AdyenControlClient
from simulators.adyen.modifications import ByHand, Failure
from simulators.control_client import Refused
from tests.simulators.adyen.contract import Json
from tests.simulators.adyen.shop import Shop, come_back


def operations(control: AdyenControlClient) -> list[tuple[str, int]]:
    """What was done to money, first to last."""
    return [(line["operation"], line["amount"]) for line in control.record()]


def ended(shop: Shop, event: str) -> list[tuple[str, str]]:
    """Who was told how it ended."""
    return [(item["success"], item["reason"]) for item in shop.told(event)]


def test_a_capture_is_received_and_the_truth_comes_later(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold(reference="order-1")
    receipt = shop.capture(held["pspReference"], reference="capture-1")
    before = (operations(control), len(shop.told()))
    shop.settle()

    assert receipt["status"] == "received"
    assert receipt["paymentPspReference"] == held["pspReference"] != receipt["pspReference"]
    assert receipt["amount"] == {"currency": "EUR", "value": 1000}
    assert before == ([("authorise", 1000)], 1)
    assert operations(control) == [("authorise", 1000), ("capture", 1000)]
    [item] = shop.told("CAPTURE")
    assert item["success"] == "true"
    assert item["pspReference"] == receipt["pspReference"]
    assert item["originalReference"] == held["pspReference"]
    assert item["merchantReference"] == "capture-1"


def test_a_modification_without_a_name_goes_by_its_payments(shop: Shop) -> None:
    shop.cancel(shop.hold(reference="order-1")["pspReference"])
    shop.settle()

    assert shop.told("CANCELLATION")[0]["merchantReference"] == "order-1"


def test_what_a_partial_capture_leaves_is_let_go(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold()
    shop.capture(held["pspReference"], 400)
    shop.settle()
    shop.capture(held["pspReference"], 600)
    shop.settle()

    assert operations(control) == [("authorise", 1000), ("capture", 400), ("release", 600)]
    assert ended(shop, "CAPTURE") == [("true", ""), ("false", "Insufficient balance on payment")]


@pytest.mark.parametrize("many_captures", [True])
def test_an_account_may_take_a_hold_in_parts(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold()
    for value in (400, 500, 101, 100):
        shop.capture(held["pspReference"], value)
        shop.settle()

    assert operations(control) == [
        ("authorise", 1000),
        ("capture", 400),
        ("capture", 500),
        ("capture", 100),
    ]
    assert [success for success, _ in ended(shop, "CAPTURE")] == ["true", "true", "false", "true"]


def test_two_captures_at_once_race_and_one_wins(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold()
    shop.capture(held["pspReference"], 1000)
    shop.capture(held["pspReference"], 1000)
    shop.settle()

    assert operations(control) == [("authorise", 1000), ("capture", 1000)]
    assert [success for success, _ in ended(shop, "CAPTURE")] == ["true", "false"]


def test_more_than_was_taken_is_never_given_back(shop: Shop, control: AdyenControlClient) -> None:
    paid = shop.pay()
    for value in (600, 401, 400, 1):
        shop.refund(paid["pspReference"], value, merchantRefundReason="RETURN")
        shop.settle()

    assert operations(control) == [("sale", 1000), ("refund", 600), ("refund", 400)]
    assert [success for success, _ in ended(shop, "REFUND")] == ["true", "false", "true", "false"]


def test_what_was_not_taken_cannot_be_given_back(shop: Shop) -> None:
    shop.refund(shop.hold()["pspReference"])
    shop.settle()

    reason = "Transaction hasn't been captured, refund not possible"
    assert ended(shop, "REFUND") == [("false", reason)]


def test_a_hold_is_cancelled_once(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold()
    for _ in range(2):
        shop.cancel(held["pspReference"])
        shop.settle()

    assert operations(control) == [("authorise", 1000), ("cancel", 1000)]
    assert [success for success, _ in ended(shop, "CANCELLATION")] == ["true", "false"]


def test_what_was_taken_cannot_be_cancelled(shop: Shop, control: AdyenControlClient) -> None:
    shop.cancel(shop.pay()["pspReference"])
    shop.settle()

    assert operations(control) == [("sale", 1000)]
    assert [success for success, _ in ended(shop, "CANCELLATION")] == ["false"]


@pytest.mark.parametrize("taken", [False, True])
def test_a_reversal_cancels_or_refunds(shop: Shop, control: AdyenControlClient, taken: bool) -> None:
    paid = shop.pay() if taken else shop.hold()
    shop.reverse(paid["pspReference"])
    shop.settle()

    [item] = shop.told("CANCEL_OR_REFUND")
    action = "refund" if taken else "cancel"
    assert item["additionalData"] == {"modification.action": action}
    assert operations(control)[1:] == [(action, 1000)]


def test_a_payment_is_cancelled_by_its_own_name(shop: Shop, control: AdyenControlClient) -> None:
    held = shop.hold(reference="order-1")
    receipt = shop.cancel_by_reference("order-1", reference="cancel-1")
    shop.settle()

    assert (receipt["paymentReference"], receipt["reference"]) == ("order-1", "cancel-1")
    assert operations(control) == [("authorise", 1000), ("cancel", 1000)]
    [item] = shop.told("TECHNICAL_CANCEL")
    assert item["success"] == "true"
    assert (item["merchantReference"], item["originalReference"]) == ("order-1", held["pspReference"])
    assert item["pspReference"] == receipt["pspReference"]


@pytest.mark.parametrize(("token", "taken"), [("sim_redirect", False), ("sim_authorised", True)])
def test_a_name_may_stand_for_what_is_still_open_or_done(
    shop: Shop, control: AdyenControlClient, token: str, taken: bool
) -> None:
    asked = shop.pay(token, reference="order-1")
    shop.cancel_by_reference("order-1")
    shop.settle()

    assert [success for success, _ in ended(shop, "TECHNICAL_CANCEL")] == ["false" if taken else "true"]
    if not taken:
        assert shop.details(come_back(asked["action"]))["resultCode"] == "Cancelled"
        assert control.record() == []


def test_a_name_nobody_goes_by_is_received_and_then_refused(shop: Shop) -> None:
    shop.cancel_by_reference("nobody")
    shop.settle()

    [(success, reason)] = ended(shop, "TECHNICAL_CANCEL")
    assert (success, reason) == ("false", "Original transaction not found")


def test_a_payment_that_is_not_there_cannot_be_modified(shop: Shop) -> None:
    for call in (shop.capture, shop.refund, shop.cancel, shop.reverse):
        with pytest.raises(AdyenAPIUnprocessableEntity) as refused:
            call("ABCDEFGHJKLMNPQR")
        assert refused.value.error_code == "167"


@pytest.mark.parametrize("verb", ["capture", "cancel", "refund"])
def test_a_card_can_ask_for_a_modification_to_be_refused(
    shop: Shop, control: AdyenControlClient, verb: str
) -> None:
    paid = shop.pay(f"sim_{verb}_refused") if verb == "refund" else shop.hold(f"sim_{verb}_refused")
    getattr(shop, verb)(paid["pspReference"])
    shop.settle()

    assert shop.told()[-1]["success"] == "false"
    assert len(control.record()) == 1


def test_a_modification_can_be_decided_on_request(shop: Shop, control: AdyenControlClient) -> None:
    paid = shop.pay()
    first, second = (shop.refund(paid["pspReference"], 100) for _ in range(2))
    control.decide(first["pspReference"], "fail")
    control.decide(second["pspReference"], "succeed")
    shop.settle()

    assert [success for success, _ in ended(shop, "REFUND")] == ["false", "true"]
    assert operations(control) == [("sale", 1000), ("refund", 100)]


@pytest.mark.parametrize(
    ("token", "event", "operation"),
    [
        ("sim_capture_fails_later", "CAPTURE_FAILED", "capture_failed"),
        ("sim_refund_fails_later", "REFUND_FAILED", "refund_failed"),
        ("sim_refund_reversed_later", "REFUNDED_REVERSED", "refund_failed"),
    ],
)
def test_what_succeeded_may_be_undone_later(
    shop: Shop, control: AdyenControlClient, token: str, event: str, operation: str
) -> None:
    if operation == "capture_failed":
        receipt = shop.capture(shop.hold(token)["pspReference"])
    else:
        receipt = shop.refund(shop.pay(token)["pspReference"])
    shop.settle()
    before = shop.told()[-1]
    shop.settle()
    after: Json = shop.told()[-1]

    assert before["success"] == "true"
    assert before["eventCode"] != event
    assert (after["eventCode"], after["success"]) == (event, "true")
    assert after["pspReference"] == receipt["pspReference"]
    assert operations(control)[-1] == (operation, 1000)


@pytest.mark.parametrize("action", ["capture", "cancel", "refund"])
@pytest.mark.parametrize("by", ["pspReference", "merchantReference"])
def test_what_is_done_by_hand_goes_by_the_payments_own_name(
    shop: Shop, control: AdyenControlClient, action: ByHand, by: str
) -> None:
    paid = shop.pay(reference="order-1") if action == "refund" else shop.hold(reference="order-1")

    psp = control.by_hand(paid[by], action)
    before = operations(control)
    shop.settle()

    item = shop.told()[-1]
    assert item["eventCode"] == {"capture": "CAPTURE", "cancel": "CANCELLATION", "refund": "REFUND"}[action]
    assert (item["pspReference"], item["originalReference"]) == (psp, paid["pspReference"])
    assert (item["merchantReference"], item["success"]) == ("order-1", "true")
    assert len(before) == 1
    assert operations(control)[1:] == [(action, 1000)]


def test_a_part_can_be_given_back_by_hand(shop: Shop, control: AdyenControlClient) -> None:
    control.by_hand(shop.pay()["pspReference"], "refund", amount=400)
    shop.settle()

    assert operations(control) == [("sale", 1000), ("refund", 400)]
    with pytest.raises(Refused, match="there is no payment"):
        control.by_hand("nobody", "refund")


@pytest.mark.parametrize("by", ["pspReference", "reference"])
def test_a_capture_that_succeeded_may_fail_on_demand(
    shop: Shop, control: AdyenControlClient, by: str
) -> None:
    held = shop.hold(reference="order-1")
    receipt = shop.capture(held["pspReference"], 600, reference="capture-1")
    with pytest.raises(Refused):
        control.undo(receipt[by], "CAPTURE_FAILED")
    shop.settle()
    with pytest.raises(Refused):
        control.undo(receipt[by], "REFUND_FAILED")
    control.undo(receipt[by], "CAPTURE_FAILED")
    with pytest.raises(Refused):
        control.undo(receipt[by], "CAPTURE_FAILED")

    [item] = shop.told("CAPTURE_FAILED")
    assert (item["pspReference"], item["originalReference"]) == (
        receipt["pspReference"],
        held["pspReference"],
    )
    assert (item["merchantReference"], item["success"]) == ("capture-1", "true")
    assert item["amount"]["value"] == 600
    assert operations(control)[-1] == ("capture_failed", 600)


@pytest.mark.parametrize("event", ["REFUND_FAILED", "REFUNDED_REVERSED"])
def test_a_refund_that_succeeded_may_come_back_on_demand_and_be_made_again(
    shop: Shop, control: AdyenControlClient, event: Failure
) -> None:
    paid = shop.pay()
    shop.refund(paid["pspReference"], reference="refund-1")
    shop.settle()
    control.undo("refund-1", event)
    shop.refund(paid["pspReference"], reference="refund-2")
    shop.settle()

    [item] = shop.told(event)
    assert item["merchantReference"] == "refund-1"
    assert operations(control)[1:] == [("refund", 1000), ("refund_failed", 1000), ("refund", 1000)]


def test_a_sale_may_turn_out_not_to_be_captured(shop: Shop, control: AdyenControlClient) -> None:
    sold = shop.pay(reference="order-1")
    control.undo("order-1", "CAPTURE_FAILED")

    [item] = shop.told("CAPTURE_FAILED")
    assert item["originalReference"] == sold["pspReference"] != item["pspReference"]
    assert item["merchantReference"] == "order-1"
    assert operations(control) == [("sale", 1000), ("capture_failed", 1000)]
    for reference, event in (
        ("order-1", "CAPTURE_FAILED"),
        ("order-1", "REFUND_FAILED"),
        ("x", "REFUND_FAILED"),
    ):
        with pytest.raises(Refused):
            control.undo(reference, event)  # type: ignore[arg-type]
