"""Adyen's webhooks from one end to the other: signed and sent by the simulator, verified and read here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gateways.adyen_webhooks import AdyenVerifier, read
from gateways.notice import Forged, Notice
from gateways.protocol import Approved, Declined
from simulators.running import RunningAdyen, running_adyen
from tests.simulators.adyen.shop import Shop, open_shop
from tests.simulators.receiver import Delivery, Receiver, receiving, until

KEY, NEXT_KEY, STRANGE_KEY = "AB" * 32, "CD" * 32, "EF" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def adyen(server: Receiver) -> Iterator[RunningAdyen]:
    server.clear()
    with running_adyen(settle_after_s=60) as adyen:
        adyen.control.deliver(url=server.url, hmac_key=KEY, username="adyen", password="secret")
        yield adyen


@pytest.fixture
def shop(adyen: RunningAdyen) -> Iterator[Shop]:
    with open_shop(adyen) as shop:
        yield shop


def accept(delivery: Delivery, *, merchant_account: str = "SimulatorECOM") -> list[Notice]:
    """What a delivery says. Raises Forged if it is not let in."""
    verifier = AdyenVerifier(
        hmac_keys=[KEY, NEXT_KEY],
        merchant_account=merchant_account,
        username="adyen",
        passwords=["secret", "next"],
    )
    asyncio.run(verifier.verify(headers=delivery.headers, body=delivery.body, now=datetime.now(UTC)))
    return read(delivery.body)


def test_a_payments_life_is_let_in_and_read(shop: Shop, server: Receiver) -> None:
    held = shop.hold(reference="pay_1.a1")
    shop.capture(held["pspReference"], reference="cap_1.c1")
    shop.settle()
    shop.refund(held["pspReference"], 400, reference="ref_1.r1")
    shop.refund(held["pspReference"], 601, reference="ref_2.r1")
    shop.settle()
    until(lambda: server.has(4))

    notices = [notice for delivery in server.deliveries for notice in accept(delivery)]

    assert [notice.attempt_id for notice in notices] == ["pay_1.a1", "cap_1.c1", "ref_1.r1", "ref_2.r1"]
    assert [type(notice.says) for notice in notices] == [Approved, Approved, Approved, Declined]
    assert {notice.parent_reference for notice in notices[1:]} == {held["pspReference"]}


def test_what_comes_twice_has_one_name(adyen: RunningAdyen, shop: Shop, server: Receiver) -> None:
    adyen.control.deliver(copies=2)
    shop.pay(reference="pay_1.a1")
    shop.pay(reference="pay_2.a1")
    until(lambda: server.has(4))
    adyen.control.deliver(copies=1)
    adyen.control.deliver_again([webhook["id"] for webhook in adyen.control.webhooks()])
    until(lambda: server.has(6))

    names = [notice.notice_id for delivery in server.deliveries for notice in accept(delivery)]

    assert len(names) == 6
    assert len(set(names)) == 2


def test_a_batch_is_read_item_by_item(adyen: RunningAdyen, shop: Shop, server: Receiver) -> None:
    adyen.control.deliver(is_paused=True, batch=10, order="last_to_first")
    for n in (1, 2, 3):
        shop.pay(reference=f"pay_{n}.a1")
    adyen.control.deliver(is_paused=False)
    until(lambda: server.has(1))

    assert [notice.attempt_id for notice in accept(server.deliveries[0])] == [
        "pay_3.a1",
        "pay_2.a1",
        "pay_1.a1",
    ]


@pytest.mark.parametrize("change", [{"hmac_key": NEXT_KEY}, {"password": "next"}], ids=["key", "password"])
def test_secrets_are_changed_without_a_pause(
    adyen: RunningAdyen, shop: Shop, server: Receiver, change: dict[str, str]
) -> None:
    shop.pay(reference="pay_1.a1")
    until(lambda: server.has(1))
    adyen.control.deliver(**change)
    shop.pay(reference="pay_2.a1")
    until(lambda: server.has(2))

    assert [accept(delivery)[0].attempt_id for delivery in server.deliveries] == ["pay_1.a1", "pay_2.a1"]


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "wrong"},
        {"signature": "missing"},
        {"hmac_key": STRANGE_KEY},
        {"password": "guess"},
        {"username": "somebody"},
    ],
    ids=str,
)
def test_what_is_badly_sent_is_not_let_in(
    adyen: RunningAdyen, shop: Shop, server: Receiver, change: dict[str, str]
) -> None:
    adyen.control.deliver(**change)
    shop.pay()
    until(lambda: server.has(1))

    with pytest.raises(Forged):
        accept(server.deliveries[0])


def test_what_is_for_another_account_is_not_let_in(shop: Shop, server: Receiver) -> None:
    shop.pay()
    until(lambda: server.has(1))

    with pytest.raises(Forged):
        accept(server.deliveries[0], merchant_account="AnotherECOM")
