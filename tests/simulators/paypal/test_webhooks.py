"""Every change is told as an event of PayPal's form, signed as PayPal signs, and sent until it is accepted."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from simulators.control_client import Refused
from simulators.paypal.control_client import PaypalControlClient
from simulators.paypal.webhooks import DEFAULT_WEBHOOK_ID
from simulators.running import RunningPaypal, running_paypal
from tests.simulators.paypal.contract import SPECS, Json
from tests.simulators.paypal.event_contract import SPEC, events_spec, faults_of_event
from tests.simulators.paypal.shop import Shop, link, open_shop, wallet
from tests.simulators.paypal.stage import SETTLE_AFTER_S
from tests.simulators.receiver import Delivery, Receiver, receiving, until

MONTH_S, DAY_S = 30 * 24 * 3600, 24 * 3600


@pytest.fixture(scope="module")
def shop_server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(shop_server: Receiver, control: PaypalControlClient) -> Receiver:
    shop_server.clear()
    control.deliver(url=shop_server.url)
    return shop_server


@pytest.fixture(autouse=True)
def conforms(control: PaypalControlClient) -> Iterator[None]:
    """Whatever a test has made happen was told as PayPal's files say."""
    yield
    if events_spec() is None:
        return
    for webhook in control.webhooks():
        assert faults_of_event(webhook["body"]) == []


def told(control: PaypalControlClient) -> list[str]:
    """What was, or would have been, told: the types of events, first to last."""
    return [webhook["body"]["event_type"] for webhook in control.webhooks()]


def resources(control: PaypalControlClient) -> list[Json]:
    return [webhook["body"]["resource"] for webhook in control.webhooks()]


def is_signed(delivery: Delivery, key: RSAPublicKey, webhook_id: str = DEFAULT_WEBHOOK_ID) -> bool:
    id, at, signature = (delivery.headers[f"paypal-transmission-{name}"] for name in ("id", "time", "sig"))
    message = f"{id}|{at}|{webhook_id}|{zlib.crc32(delivery.body)}".encode()
    try:
        key.verify(base64.b64decode(signature), message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def key_of(delivery: Delivery, control: PaypalControlClient) -> RSAPublicKey:
    """The key behind a delivery. Raises InvalidSignature if the simulator's authority did not sign it."""
    pem = httpx.get(delivery.headers["paypal-cert-url"], trust_env=False).raise_for_status().content
    certificate = x509.load_pem_x509_certificate(pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(control.authority().encode()))
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    return key


# --- which events --------------------------------------------------------------------------------------


def test_a_sale_is_told_with_its_order_and_its_capture(shop: Shop, control: PaypalControlClient) -> None:
    capture = shop.pay(custom_id="pay_1.a1")
    order, sale = resources(control)

    assert told(control) == ["CHECKOUT.ORDER.COMPLETED", "PAYMENT.CAPTURE.COMPLETED"]
    assert order["purchase_units"][0]["payments"]["captures"][0]["id"] == capture["id"]
    assert (sale["id"], sale["status"], sale["custom_id"]) == (capture["id"], "COMPLETED", "pay_1.a1")
    assert sale["supplementary_data"]["related_ids"] == {"order_id": order["id"]}


def test_a_hold_its_captures_and_its_end_are_told(shop: Shop, control: PaypalControlClient) -> None:
    hold = shop.hold(custom_id="pay_1.a1")
    shop.capture(hold, value="3.00", invoice_id="cap_1.c1")
    shop.void(hold)

    assert told(control)[1:] == [
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.AUTHORIZATION.VOIDED",
    ]
    capture, voided = resources(control)[2:]
    assert (capture["custom_id"], capture["invoice_id"]) == ("pay_1.a1", "cap_1.c1")
    assert capture["supplementary_data"]["related_ids"]["authorization_id"] == hold["id"]
    assert (voided["id"], voided["status"]) == (hold["id"], "VOIDED")


def test_a_hold_that_runs_out_is_told_as_voided(shop: Shop, control: PaypalControlClient) -> None:
    hold = shop.hold()
    control.advance_clock(MONTH_S)

    assert told(control)[-1] == "PAYMENT.AUTHORIZATION.VOIDED"
    assert resources(control)[-1]["id"] == hold["id"]


def test_an_approval_is_told_and_nothing_is_paid(shop: Shop, control: PaypalControlClient) -> None:
    order = shop.order(source=wallet(), custom_id="pay_1.a1")
    page = link(order, "payer-action")
    assert page is not None
    httpx.get(page, trust_env=False)

    assert told(control) == ["CHECKOUT.ORDER.APPROVED"]
    assert resources(control)[0]["status"] == "APPROVED"


@pytest.mark.parametrize(
    ("vault_id", "events"),
    [
        ("sim-wallet-pending", ["PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.COMPLETED"]),
        ("sim-wallet-pending-declined", ["PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.DENIED"]),
        ("sim-card-5120", ["PAYMENT.CAPTURE.DECLINED"]),
    ],
)
def test_what_waits_and_what_is_declined_is_told(
    shop: Shop, control: PaypalControlClient, vault_id: str, events: list[str]
) -> None:
    shop.pay(vault_id)
    control.advance_clock(SETTLE_AFTER_S + 1)

    assert told(control) == ["CHECKOUT.ORDER.COMPLETED", *events]


@pytest.mark.parametrize(
    ("vault_id", "events"),
    [
        ("sim-wallet", ["PAYMENT.CAPTURE.REFUNDED"]),
        ("sim-wallet-refund-pending", ["PAYMENT.REFUND.PENDING", "PAYMENT.CAPTURE.REFUNDED"]),
        ("sim-wallet-refund-fails", ["PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.FAILED"]),
    ],
)
def test_a_refund_is_told_and_that_it_failed_later(
    shop: Shop, control: PaypalControlClient, vault_id: str, events: list[str]
) -> None:
    capture = shop.pay(vault_id)
    refund = shop.refund(capture, custom_id="ref_1.r1")
    control.advance_clock(SETTLE_AFTER_S + 1)

    assert told(control)[2:] == events
    for resource in resources(control)[2:]:
        assert (resource["id"], resource["custom_id"]) == (refund["id"], "ref_1.r1")
        assert [one["href"].rpartition("/")[2] for one in resource["links"] if one["rel"] == "up"] == [
            capture["id"]
        ]


def test_a_capture_may_be_taken_back(shop: Shop, control: PaypalControlClient) -> None:
    capture = shop.pay()
    control.decide(capture["id"], "fail")

    assert told(control)[-1] == "PAYMENT.CAPTURE.REVERSED"
    assert shop.now("capture", capture["id"])["status"] == "FAILED"
    assert [line["operation"] for line in control.record()] == ["sale", "capture_failed"]


# --- by hand -------------------------------------------------------------------------------------------


def test_somebody_acts_in_paypals_pages_under_none_of_our_names(
    shop: Shop, control: PaypalControlClient
) -> None:
    hold = shop.hold(custom_id="pay_1.a1")
    capture = control.by_hand("capture", hold["id"], value="4.00")
    refund = control.by_hand("refund", capture["id"], value="1.00")
    control.by_hand("refund", capture["id"])
    control.by_hand("void", hold["id"])

    assert "invoice_id" not in capture
    assert (refund["custom_id"], refund["amount"]["value"]) == ("pay_1.a1", "1.00")
    assert told(control)[2:] == [
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.AUTHORIZATION.VOIDED",
    ]
    assert resources(control)[3]["custom_id"] == "pay_1.a1"
    assert [(line["operation"], line["amount"], line["idempotency_key"]) for line in control.record()][
        1:
    ] == [
        ("capture", "4.00", None),
        ("refund", "1.00", None),
        ("refund", "3.00", None),
        ("release", "6.00", None),
    ]


def test_what_paypal_does_not_allow_is_not_done_by_hand_either(
    shop: Shop, control: PaypalControlClient
) -> None:
    capture = shop.pay()
    with pytest.raises(Refused, match="there is no capture"):
        control.by_hand("refund", "NONE")
    with pytest.raises(Refused, match="there is no authorization"):
        control.by_hand("void", capture["id"])
    with pytest.raises(Refused, match="REFUND_AMOUNT_EXCEEDED"):
        control.by_hand("refund", capture["id"], value="10.01")

    assert len(told(control)) == 2


# --- how they are delivered ----------------------------------------------------------------------------


def test_events_are_signed_as_paypal_signs(
    shop: Shop, control: PaypalControlClient, receiver: Receiver
) -> None:
    shop.pay()
    until(lambda: receiver.has(2))

    for delivery in receiver.deliveries:
        assert is_signed(delivery, key_of(delivery, control))
        assert not is_signed(delivery, key_of(delivery, control), "ANOTHER")
        assert delivery.headers["paypal-auth-algo"] == "SHA256withRSA"
        assert delivery.headers["content-type"] == "application/json"
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1/notifications/certs/[\w-]+", _cert_url(delivery))
    ids = {delivery.headers["paypal-transmission-id"] for delivery in receiver.deliveries}
    assert len(ids) == 2


def test_a_certificate_that_is_not_there_is_not_found(control: PaypalControlClient, shop: Shop) -> None:
    assert shop.http.get("/v1/notifications/certs/CERT-0").status_code == 404


@pytest.mark.parametrize("signature", ["wrong", "missing"])
def test_signatures_go_wrong_on_demand(
    shop: Shop, control: PaypalControlClient, receiver: Receiver, signature: str
) -> None:
    control.deliver(signature=signature)
    shop.pay()
    until(lambda: receiver.has(2))

    for delivery in receiver.deliveries:
        if signature == "missing":
            assert not any(name.startswith("paypal-") for name in delivery.headers)
        else:
            assert not is_signed(delivery, key_of(delivery, control))


def test_the_webhook_id_can_be_changed_and_the_signatures_time(
    shop: Shop, control: PaypalControlClient, receiver: Receiver
) -> None:
    control.deliver(webhook_id="NEW1", signed_ahead_s=-2 * DAY_S)
    shop.pay()
    until(lambda: receiver.has(2))

    assert is_signed(receiver.deliveries[0], key_of(receiver.deliveries[0], control), "NEW1")


def test_what_is_refused_comes_again_under_another_transmission_id(
    shop: Shop, control: PaypalControlClient, receiver: Receiver
) -> None:
    receiver.status = 503
    shop.pay()
    until(lambda: [len(webhook["deliveries"]) for webhook in control.webhooks()] == [1, 1])
    receiver.status = 200
    control.advance_clock(61)
    until(lambda: receiver.has(4))

    events = [delivery.json()["id"] for delivery in receiver.deliveries]
    assert sorted(events[:2]) == sorted(events[2:])
    assert len({delivery.headers["paypal-transmission-id"] for delivery in receiver.deliveries}) == 4


def test_events_are_tried_for_three_days_and_then_given_up(
    shop: Shop, control: PaypalControlClient, receiver: Receiver
) -> None:
    def tries(number: int) -> int:
        return len(control.webhooks()[number]["deliveries"])

    receiver.status = 500
    shop.pay()
    until(lambda: tries(0) == tries(1) == 1)
    for advance_s, count in [(61, 2), (121, 3), (4 * DAY_S, 4)]:
        control.advance_clock(advance_s)
        until(lambda count=count: tries(0) == tries(1) == count)  # type: ignore[misc]
    control.advance_clock(4 * DAY_S)
    shop.sign_in()
    shop.pay()
    until(lambda: tries(2) == tries(3) == 1)

    assert tries(0) == tries(1) == 4


def test_they_come_twice_late_and_in_another_order_on_demand(
    shop: Shop, control: PaypalControlClient, receiver: Receiver
) -> None:
    control.deliver(copies=2, order="last_to_first", delay_s=100)
    shop.void(shop.hold())
    control.advance_clock(101)
    until(lambda: receiver.has(6))

    types = [delivery.json()["event_type"] for delivery in receiver.deliveries]
    assert types == [
        *["PAYMENT.AUTHORIZATION.VOIDED"] * 2,
        *["PAYMENT.AUTHORIZATION.CREATED"] * 2,
        *["CHECKOUT.ORDER.COMPLETED"] * 2,
    ]


def test_a_restarted_simulator_signs_under_the_same_authority(tmp_path: Path) -> None:
    authorities = []
    for _ in range(2):
        with running_paypal(data_file=tmp_path / "paypal.sqlite") as running:
            authorities.append(running.control.authority())
            _pay_at(running)

    assert authorities[0] == authorities[1]


# --- the contract --------------------------------------------------------------------------------------


def test_an_event_that_is_not_as_paypals_files_say_is_noticed(
    shop: Shop, control: PaypalControlClient
) -> None:
    if events_spec() is None:
        pytest.skip(f"no {SPEC} in {SPECS}: set PAYMENTS_SPECS_DIR; the events were not checked by it")
    shop.pay()
    good = control.webhooks()[-1]["body"]
    without_id = {name: value for name, value in good.items() if name != "id"}

    assert faults_of_event(good) == []
    for bad in [
        without_id,
        {**good, "event_version": "one"},
        {**good, "events": 1},
        {**good, "resource_type": "sale"},
        {**good, "resource_type": "refund"},
        {**good, "resource": {**good["resource"], "status": "DONE"}},
        {**good, "resource": {**good["resource"], "state": "completed"}},
        {**good, "links": [{"rel": "self"}]},
    ]:
        assert faults_of_event(bad) != []


def _cert_url(delivery: Delivery) -> str:
    return delivery.headers["paypal-cert-url"]


def _pay_at(running: RunningPaypal) -> None:
    with open_shop(running) as shop:
        shop.pay()
