"""What PayPal's events become: a hint to look at the right operation, never the word on how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateways.notice import Forged, Notice, NotUnderstood, Reader
from gateways.paypal_certificates import Certificates
from gateways.paypal_webhooks import PaypalVerifier, read
from messages.ids import AttemptId
from messages.money import Money
from messages.operation import Operation
from simulators.paypal.webhooks import DEFAULT_WEBHOOK_ID
from simulators.running import RunningPaypal, running_paypal
from tests.gateways.test_paypal_verifier import VECTORS
from tests.simulators.paypal.contract import SPECS
from tests.simulators.paypal.event_contract import events_spec
from tests.simulators.paypal.shop import Shop, link, open_shop, wallet
from tests.simulators.receiver import Receiver, receiving, until

TEN = Money(1000, "EUR")


@pytest.fixture
def running() -> Iterator[RunningPaypal]:
    with running_paypal() as running:
        yield running


@pytest.fixture
def shop(running: RunningPaypal) -> Iterator[Shop]:
    with open_shop(running) as shop:
        yield shop


def notices(running: RunningPaypal) -> list[Notice]:
    """What has been told so far, read."""
    bodies = [json.dumps(webhook["body"]).encode() for webhook in running.control.webhooks()]
    return [notice for body in bodies for notice in read(body)]


def event(kind: str, resource: object, **changed: object) -> bytes:
    """An event as PayPal writes it."""
    written = {
        "id": "WH-2WR32451HC0233532-67976317FL4543714",
        "event_version": "1.0",
        "create_time": "2026-11-20T12:00:00.000Z",
        "resource_type": "capture",
        "resource_version": "2.0",
        "event_type": kind,
        "summary": "Something happened",
        "resource": resource,
        "links": [],
    }
    return json.dumps({**written, **changed}).encode()


def test_it_is_a_reader() -> None:
    reader: Reader = read

    assert callable(reader)


# --- the simulator's real bodies -----------------------------------------------------------------------


def test_a_sale_is_known_by_the_attempt_that_opened_its_order(running: RunningPaypal, shop: Shop) -> None:
    capture = shop.pay(custom_id="pay_1.a1")
    order, sale = notices(running)

    assert order == Notice(
        gateway="paypal",
        notice_id=order.notice_id,
        event="CHECKOUT.ORDER.COMPLETED",
        operation=Operation.SALE,
        attempt_id=AttemptId("pay_1.a1"),
        reference=order.reference,
        amount=TEN,
        came_through=True,
    )
    assert sale == Notice(
        gateway="paypal",
        notice_id=sale.notice_id,
        event="PAYMENT.CAPTURE.COMPLETED",
        operation=Operation.SALE,
        attempt_id=AttemptId("pay_1.a1"),
        reference=f"capture:{capture['id']}",
        amount=TEN,
        came_through=True,
    )
    assert order.notice_id != sale.notice_id
    assert str(order.reference).startswith("order:")


def test_a_hold_its_captures_and_its_end_are_told_apart(running: RunningPaypal, shop: Shop) -> None:
    hold = shop.hold(custom_id="pay_1.a1")
    capture = shop.capture(hold, value="3.00", invoice_id="cap_1.c1")
    shop.void(hold)
    order, made, taken, gone = notices(running)

    assert (order.operation, order.attempt_id) == (Operation.AUTHORIZE, "pay_1.a1")
    for notice, kind in [(made, "PAYMENT.AUTHORIZATION.CREATED"), (gone, "PAYMENT.AUTHORIZATION.VOIDED")]:
        assert (notice.event, notice.operation) == (kind, Operation.AUTHORIZE)
        assert (notice.attempt_id, notice.reference) == ("pay_1.a1", f"authorization:{hold['id']}")
    assert taken == Notice(
        gateway="paypal",
        notice_id=taken.notice_id,
        event="PAYMENT.CAPTURE.COMPLETED",
        operation=Operation.CAPTURE,
        attempt_id=AttemptId("cap_1.c1"),
        reference=f"capture:{capture['id']}",
        parent_reference=f"authorization:{hold['id']}",
        amount=Money(300, "EUR"),
        came_through=True,
    )
    assert [one.came_through for one in (made, gone)] == [True, False]


@pytest.mark.parametrize(
    ("vault_id", "events"),
    [
        ("sim-wallet", {"PAYMENT.CAPTURE.REFUNDED": True}),
        ("sim-wallet-refund-pending", {"PAYMENT.REFUND.PENDING": False, "PAYMENT.CAPTURE.REFUNDED": True}),
        ("sim-wallet-refund-fails", {"PAYMENT.CAPTURE.REFUNDED": True, "PAYMENT.REFUND.FAILED": False}),
    ],
)
def test_a_refund_of_ours_is_known_by_its_attempt(
    running: RunningPaypal, shop: Shop, vault_id: str, events: dict[str, bool]
) -> None:
    capture = shop.pay(vault_id, custom_id="pay_1.a1")
    refund = shop.refund(capture, custom_id="ref_1.r1", value="4.00")
    running.control.advance_clock(61)
    told = notices(running)[2:]

    assert {notice.event: notice.came_through for notice in told} == events
    for notice in told:
        assert (notice.operation, notice.attempt_id) == (Operation.REFUND, "ref_1.r1")
        assert notice.reference == f"refund:{refund['id']}"
        assert notice.parent_reference == f"capture:{capture['id']}"
        assert notice.amount == Money(400, "EUR")


def test_what_was_done_by_hand_is_no_attempt_of_ours(running: RunningPaypal, shop: Shop) -> None:
    hold = shop.hold(custom_id="pay_1.a1")
    capture = running.control.by_hand("capture", hold["id"], value="4.00")
    refund = running.control.by_hand("refund", capture["id"])
    taken, given = notices(running)[2:]

    assert (taken.operation, taken.attempt_id) == (Operation.CAPTURE, None)
    assert taken.parent_reference == f"authorization:{hold['id']}"
    assert refund["custom_id"] == "pay_1.a1"
    assert (given.operation, given.attempt_id) == (Operation.REFUND, None)
    assert (given.reference, given.parent_reference) == (f"refund:{refund['id']}", f"capture:{capture['id']}")
    assert given.amount == Money(400, "EUR")


def test_an_approval_and_what_is_declined_are_hints_alike(running: RunningPaypal, shop: Shop) -> None:
    page = link(shop.order(source=wallet(), custom_id="pay_1.a1"), "payer-action")
    assert page is not None
    httpx.get(page, trust_env=False)
    declined = shop.pay("sim-card-5120", custom_id="pay_2.a1")
    approved, _, refused = notices(running)

    assert (approved.event, approved.operation) == ("CHECKOUT.ORDER.APPROVED", Operation.SALE)
    assert (approved.attempt_id, approved.came_through) == ("pay_1.a1", False)
    assert (refused.event, refused.reference) == (
        "PAYMENT.CAPTURE.DECLINED",
        f"capture:{declined['id']}",
    )
    assert not refused.came_through


def test_a_capture_that_was_taken_back_is_told_of_the_capture(running: RunningPaypal, shop: Shop) -> None:
    capture = shop.pay(custom_id="pay_1.a1")
    running.control.decide(capture["id"], "fail")
    taken_back = notices(running)[-1]

    assert (taken_back.event, taken_back.attempt_id) == ("PAYMENT.CAPTURE.REVERSED", "pay_1.a1")
    assert taken_back.reference == f"capture:{capture['id']}"


def test_no_notice_of_paypals_says_how_it_ended(running: RunningPaypal, shop: Shop) -> None:
    shop.refund(shop.pay("sim-wallet-refund-fails"))
    running.control.advance_clock(61)

    assert [notice.says for notice in notices(running)] == [None] * 4


# --- other forms ---------------------------------------------------------------------------------------


def test_a_reversal_that_shows_the_movement_is_about_the_capture_it_names() -> None:
    resource = {
        "id": "1Y107995YT783435V",
        "status": "COMPLETED",
        "amount": {"value": "5.00", "currency_code": "EUR"},
        "links": [
            {"href": "https://api.paypal.com/v2/payments/refunds/1Y107995YT783435V", "rel": "self"},
            {"href": "https://api.paypal.com/v2/payments/captures/0JF852973C016714D", "rel": "up"},
        ],
    }
    [notice] = read(event("PAYMENT.CAPTURE.REVERSED", resource))

    assert (notice.operation, notice.reference) == (Operation.CAPTURE, "capture:0JF852973C016714D")


def test_an_order_that_we_called_off_bears_no_attempt() -> None:
    unit = {"custom_id": "pay_1.a2:void", "amount": {"value": "10.00", "currency_code": "EUR"}}
    order = {"id": "5O190127TN364715T", "intent": "CAPTURE", "purchase_units": [unit]}
    [notice] = read(event("CHECKOUT.ORDER.APPROVED", order))

    assert (notice.attempt_id, notice.reference) == (None, "order:5O190127TN364715T")


@pytest.mark.parametrize("status", ["VOIDED", "EXPIRED", "DENIED", "PENDING"])
def test_whatever_becomes_of_a_hold_is_a_hint_to_look_at_it(status: str) -> None:
    [notice] = read(event(f"PAYMENT.AUTHORIZATION.{status}", {"id": "0VF52814937998046", "status": status}))

    assert (notice.operation, notice.came_through) == (Operation.AUTHORIZE, False)
    assert notice.reference == "authorization:0VF52814937998046"


@pytest.mark.parametrize(
    "kind",
    [
        "CUSTOMER.DISPUTE.CREATED",
        "CHECKOUT.PAYMENT-APPROVAL.REVERSED",
        "VAULT.PAYMENT-TOKEN.CREATED",
        "PAYMENT.SALE.COMPLETED",
        "SOMETHING.NEW",
    ],
)
def test_an_event_we_do_not_act_upon_is_a_notice_all_the_same(kind: str) -> None:
    assert read(event(kind, {})) == [
        Notice(
            gateway="paypal",
            notice_id="WH-2WR32451HC0233532-67976317FL4543714",
            event=kind,
            operation=None,
        )
    ]


@pytest.mark.parametrize(
    "amount", [None, 10, {"value": "10.00"}, {"value": "1e3", "currency_code": "EUR"}, {"total": "7.47"}]
)
def test_an_amount_that_cannot_be_read_is_none(amount: object) -> None:
    [notice] = read(event("PAYMENT.CAPTURE.COMPLETED", {"id": "2GG279541U471931P", "amount": amount}))

    assert notice.amount is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"id": 1}',
        event("PAYMENT.CAPTURE.COMPLETED", None),
        event("PAYMENT.CAPTURE.COMPLETED", []),
        event("PAYMENT.CAPTURE.COMPLETED", {}),
        event("PAYMENT.CAPTURE.COMPLETED", {"id": 1}),
        event("PAYMENT.CAPTURE.COMPLETED", {"id": "../../x"}),
        event("PAYMENT.REFUND.FAILED", {"id": None}),
        event("CHECKOUT.ORDER.APPROVED", {"id": "5O190127TN364715T"}),
        event("CHECKOUT.ORDER.APPROVED", {"id": "5O190127TN364715T", "intent": ["CAPTURE"]}),
        event("CHECKOUT.ORDER.APPROVED", {"intent": "CAPTURE"}),
        event("", {}),
        event("A\nB", {}),
        event("X", {}, id=None),
        event("X", {}, id="WH-" + "9" * 126),
        event("X", {}, event_type=7),
    ],
)
def test_a_body_of_another_form_is_not_understood_and_not_quoted(body: bytes) -> None:
    with pytest.raises(NotUnderstood) as refused:
        read(body)

    assert str(refused.value).isascii()
    assert len(str(refused.value)) < 60


def test_paypals_own_samples_are_read() -> None:
    path, spec = VECTORS / "webhook_signature_vectors.json", events_spec()
    if spec is None or not path.is_file():
        pytest.skip(f"no samples in {SPECS}: set PAYMENTS_SPECS_DIR")
    for vector in json.loads(path.read_text()):
        [notice] = read(vector["body"].encode())
        assert (notice.event, notice.operation) == ("PAYMENT.SALE.COMPLETED", None)
    call = spec["paths"]["/v1/notifications/verify-webhook-signature"]["post"]
    examples = call["requestBody"]["content"]["application/json"]["examples"]
    sample: Any = examples["verify_webhook_signature"]["value"]["webhook_event"]
    [notice] = read(json.dumps(sample).encode())

    assert (notice.operation, notice.attempt_id) == (Operation.AUTHORIZE, None)
    assert notice.reference == "authorization:2DC87612EK520411B"


# --- from the simulator's signature to the notice ------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_what_the_simulator_delivers_is_verified_and_what_is_wrong_with_it_is_not(
    running: RunningPaypal, shop: Shop, server: Receiver, tmp_path: Path
) -> None:
    ca_file = tmp_path / "authority.pem"
    ca_file.write_text(running.control.authority())
    ways: list[dict[str, object]] = [
        {},
        {"webhook_id": "NEW1"},
        {"signature": "wrong"},
        {"signature": "missing"},
        {"signature": "good", "signed_ahead_s": -5 * 24 * 3600},
        {"signed_ahead_s": 3600},
        {"signed_ahead_s": -3600, "webhook_id": "ANOTHER"},
        {"webhook_id": DEFAULT_WEBHOOK_ID},
    ]
    for number, changes in enumerate(ways, start=1):
        running.control.deliver(url=server.url, **changes)
        shop.order(source=wallet())
        shop.pay(custom_id="pay_1.a1")
        until(lambda number=number: server.has(2 * number))  # type: ignore[misc]

    async def judged() -> list[bool]:
        certificates = Certificates(origins=[running.url], ca_file=ca_file)
        verifier = PaypalVerifier(webhook_ids=[DEFAULT_WEBHOOK_ID, "NEW1"], certificates=certificates)
        verdicts = []
        for delivery in server.deliveries:
            try:
                await verifier.verify(headers=delivery.headers, body=delivery.body, now=datetime.now(UTC))
            except Forged:
                verdicts.append(False)
            else:
                verdicts.append(True)
        await verifier.close()
        return verdicts

    verdicts = asyncio.run(judged())
    assert verdicts[::2] == verdicts[1::2] == [True, True, False, False, False, False, False, True]
    assert [read(delivery.body)[0].attempt_id for delivery in server.deliveries] == ["pay_1.a1"] * 16
