"""Holds, captures and refunds: in parts, too much, later, and never after all."""

from __future__ import annotations

import pytest

from simulators.control_client import ControlClient
from simulators.control_client import Refused as CannotDecide
from tests.simulators.paypal.shop import TEN, Refused, Shop

DAY_S = 24 * 3600


def test_a_hold_is_captured_in_parts_and_the_rest_let_go(shop: Shop, control: ControlClient) -> None:
    hold = shop.hold()
    first = shop.capture(hold, value="3.00", invoice_id="i1")
    between = shop.now("authorization", hold["id"])["status"]
    shop.capture(hold, value="2.00", invoice_id="i2", final_capture=True)

    assert (hold["status"], between) == ("CREATED", "PARTIALLY_CAPTURED")
    assert (first["status"], first["final_capture"], first["invoice_id"]) == ("COMPLETED", False, "i1")
    assert shop.now("authorization", hold["id"])["status"] == "CAPTURED"
    with pytest.raises(Refused) as refused:
        shop.capture(hold, value="1.00")
    assert refused.value.issue == "AUTHORIZATION_ALREADY_CAPTURED"
    assert [(line["operation"], line["amount"]) for line in control.record()] == [
        ("authorize", "10.00"),
        ("capture", "3.00"),
        ("capture", "2.00"),
        ("release", "5.00"),
    ]


def test_somewhat_more_than_is_held_may_be_captured_in_all(shop: Shop) -> None:
    hold = shop.hold()
    shop.capture(hold, value="9.00")
    with pytest.raises(Refused) as too_much:
        shop.capture(hold, value="2.51")

    assert too_much.value.issue == "MAX_CAPTURE_AMOUNT_EXCEEDED"
    assert shop.capture(hold, value="2.50")["amount"]["value"] == "2.50"
    assert shop.now("authorization", hold["id"])["status"] == "CAPTURED"


def test_an_invoice_id_comes_once(shop: Shop) -> None:
    hold = shop.hold()
    shop.capture(hold, value="1.00", invoice_id="i1")

    with pytest.raises(Refused) as again:
        shop.capture(hold, value="1.00", invoice_id="i1")
    assert again.value.issue == "DUPLICATE_INVOICE_ID"


def test_a_hold_can_be_let_go_once(shop: Shop, control: ControlClient) -> None:
    hold = shop.hold()
    voided = shop.void(hold)

    assert (shop.answer.status_code, voided["status"]) == (200, "VOIDED")
    for call, issue in [(shop.void, "PREVIOUSLY_VOIDED"), (shop.capture, "AUTHORIZATION_VOIDED")]:
        with pytest.raises(Refused) as refused:
            call(hold)
        assert refused.value.issue == issue
    assert [line["operation"] for line in control.record()] == ["authorize", "release"]


def test_a_void_is_silent_unless_asked_to_speak(shop: Shop) -> None:
    hold = shop.hold()
    shop.http.headers["Prefer"] = "return=minimal"

    assert shop.void(hold) == {}
    assert shop.answer.status_code == 204


def test_what_is_captured_cannot_be_let_go(shop: Shop) -> None:
    hold = shop.hold()
    shop.capture(hold)

    with pytest.raises(Refused) as refused:
        shop.void(hold)
    assert refused.value.issue == "PREVIOUSLY_CAPTURED"


def test_a_hold_lasts_29_days(shop: Shop, control: ControlClient) -> None:
    hold = shop.hold()
    control.advance_clock(29 * DAY_S - 60)
    shop.sign_in()
    shop.capture(hold, value="1.00")
    control.advance_clock(60)

    after = shop.now("authorization", hold["id"])
    assert (after["status"], after["update_time"] >= hold["expiration_time"]) == ("VOIDED", True)
    with pytest.raises(Refused) as refused:
        shop.capture(hold, value="1.00")
    assert refused.value.issue == "AUTHORIZATION_EXPIRED"
    assert control.record()[-1]["amount"] == "9.00"


def test_a_hold_can_be_renewed_once_after_three_days(shop: Shop, control: ControlClient) -> None:
    hold = shop.hold()
    path = f"/v2/payments/authorizations/{hold['id']}/reauthorize"
    issues = []
    for ahead_s in (0, 4 * DAY_S):
        control.advance_clock(ahead_s)
        shop.sign_in()
        try:
            renewed = shop.call("POST", path, {"amount": {"currency_code": "EUR", "value": "11.00"}})
        except Refused as refused:
            issues.append(refused.issue)
    for again in (path, f"/v2/payments/authorizations/{renewed['id']}/reauthorize"):
        with pytest.raises(Refused) as refused_again:
            shop.call("POST", again, {})
        issues.append(refused_again.value.issue)
    with pytest.raises(Refused) as cannot:
        shop.void(renewed)
    shop.capture(renewed, value="11.00")

    assert issues == ["TRANSACTION_REFUSED", "REAUTHORIZATION_NOT_SUPPORTED", "REAUTHORIZATION_NOT_SUPPORTED"]
    assert cannot.value.issue == "CANNOT_BE_VOIDED"
    assert {shop.now("authorization", one["id"])["status"] for one in (hold, renewed)} == {"CAPTURED"}


@pytest.mark.parametrize(
    ("vault_id", "decision", "status"),
    [
        ("sim-wallet-pending", None, "COMPLETED"),
        ("sim-wallet-pending-declined", None, "DECLINED"),
        ("sim-wallet-pending", "fail", "DECLINED"),
        ("sim-wallet-pending-declined", "succeed", "COMPLETED"),
    ],
)
def test_a_pending_capture_is_decided_later_or_when_told(
    shop: Shop, control: ControlClient, vault_id: str, decision: str | None, status: str
) -> None:
    capture = shop.pay(vault_id)
    before = control.record()
    with pytest.raises(Refused) as too_early:
        shop.refund(capture)
    if decision is not None:
        control.decide(capture["id"], "succeed" if decision == "succeed" else "fail")
    control.advance_clock(60)

    assert (capture["status"], capture["status_details"], before) == (
        "PENDING",
        {"reason": "PENDING_REVIEW"},
        [],
    )
    assert too_early.value.issue == "PENDING_CAPTURE"
    assert shop.now("capture", capture["id"])["status"] == status
    assert len(control.record()) == (status == "COMPLETED")


def test_a_pending_hold_is_decided_later(shop: Shop, control: ControlClient) -> None:
    good, bad = shop.hold("sim-wallet-pending"), shop.hold("sim-wallet-pending-declined")
    control.advance_clock(60)

    assert (good["status"], bad["status"]) == ("PENDING", "PENDING")
    assert shop.now("authorization", good["id"])["status"] == "CREATED"
    assert shop.now("authorization", bad["id"])["status"] == "DENIED"
    assert len(control.record()) == 1


def test_refunds_in_parts_end_where_the_capture_ends(shop: Shop, control: ControlClient) -> None:
    capture = shop.pay()
    part = shop.refund(capture, value="3.00", custom_id="r1")
    with pytest.raises(Refused) as too_much:
        shop.refund(capture, value="7.01")
    rest = shop.refund(capture)
    with pytest.raises(Refused) as nothing_left:
        shop.refund(capture, value="0.01")

    assert (part["status"], part["custom_id"], rest["amount"]["value"]) == ("COMPLETED", "r1", "7.00")
    assert (too_much.value.issue, nothing_left.value.issue) == (
        "REFUND_AMOUNT_EXCEEDED",
        "CAPTURE_FULLY_REFUNDED",
    )
    assert shop.now("capture", capture["id"])["status"] == "REFUNDED"
    assert sum(float(line["amount"]) for line in control.record(operation="refund")) == 10


@pytest.mark.parametrize(
    ("body", "issue"),
    [
        ({"amount": {"currency_code": "USD", "value": "1.00"}}, "REFUND_CAPTURE_CURRENCY_MISMATCH"),
        ({"amount": {"currency_code": "EUR", "value": "1.001"}}, "DECIMAL_PRECISION"),
        ({"amount": {"currency_code": "EUR", "value": "0"}}, "CANNOT_BE_ZERO_OR_NEGATIVE"),
    ],
)
def test_a_wrong_refund_is_refused(shop: Shop, body: dict[str, object], issue: str) -> None:
    with pytest.raises(Refused) as refused:
        shop.call("POST", f"/v2/payments/captures/{shop.pay()['id']}/refund", body)

    assert refused.value.issue == issue


def test_refunds_end_after_180_days_and_never_begin_for_what_was_declined(
    shop: Shop, control: ControlClient
) -> None:
    declined, capture = shop.pay("sim-card-0500"), shop.pay()
    with pytest.raises(Refused) as never:
        shop.refund(declined)
    control.advance_clock(181 * DAY_S)
    shop.sign_in()
    with pytest.raises(Refused) as too_late:
        shop.refund(capture)

    assert (never.value.issue, too_late.value.issue) == ("REFUND_NOT_ALLOWED", "REFUND_TIME_LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    ("decision", "status"), [("succeed", "COMPLETED"), ("fail", "FAILED"), (None, "COMPLETED")]
)
def test_a_pending_refund_ends_when_told_or_later(
    shop: Shop, control: ControlClient, decision: str | None, status: str
) -> None:
    capture = shop.pay("sim-wallet-refund-pending")
    refund = shop.refund(capture, value="4.00")
    with pytest.raises(Refused):
        shop.refund(capture, value="6.01")
    if decision is not None:
        control.decide(refund["id"], "succeed" if decision == "succeed" else "fail")
    control.advance_clock(60)

    assert refund["status"] == "PENDING"
    assert shop.now("refund", refund["id"])["status"] == status
    assert len(control.record(operation="refund")) == (status == "COMPLETED")


def test_a_refund_that_was_completed_can_fail_later(shop: Shop, control: ControlClient) -> None:
    capture = shop.pay("sim-wallet-refund-fails")
    refund = shop.refund(capture)
    control.advance_clock(60)

    assert refund["status"] == "COMPLETED"
    assert shop.now("refund", refund["id"])["status"] == "FAILED"
    assert shop.now("capture", capture["id"])["status"] == "COMPLETED"
    assert [line["operation"] for line in control.record()] == ["sale", "refund", "refund_failed"]


def test_what_has_ended_cannot_be_decided(shop: Shop, control: ControlClient) -> None:
    capture, hold = shop.pay(), shop.hold()
    refund = shop.refund(capture)
    control.decide(refund["id"], "fail")

    for reference in (capture["id"], hold["id"], refund["id"], "NOSUCH"):
        with pytest.raises(CannotDecide):
            control.decide(reference, "succeed")


def test_the_fee_is_told_with_the_capture(shop: Shop) -> None:
    capture = shop.pay()
    yen = shop.pay(amount={"currency_code": "JPY", "value": "1000"})

    assert capture["seller_receivable_breakdown"] == {
        "gross_amount": TEN,
        "paypal_fee": {"currency_code": "EUR", "value": "0.83"},
        "net_amount": {"currency_code": "EUR", "value": "9.17"},
    }
    assert yen["seller_receivable_breakdown"]["paypal_fee"]["value"] == "35"
