"""Webhooks are signed, sent where they are to go, and sent again until they are accepted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import Adyen.util
import pytest

from simulators.adyen.control_client import AdyenControlClient
from simulators.control_client import Refused
from simulators.running import running_adyen
from tests.gateways.wire import closed_port
from tests.simulators.adyen.receiver import Inbox
from tests.simulators.adyen.shop import Shop, open_shop
from tests.simulators.receiver import Receiver, receiving, until

HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(server: Receiver, control: AdyenControlClient) -> Inbox:
    server.clear()
    control.deliver(url=server.url, hmac_key=HMAC_KEY, username="shop", password="secret:word")
    return Inbox(server)


def test_a_webhook_is_delivered_signed_and_with_a_password(shop: Shop, receiver: Inbox) -> None:
    shop.pay(reference="a:b\\c")
    until(lambda: len(receiver.bodies) == 1)

    [body] = receiver.bodies
    assert body["live"] == "false"
    assert Adyen.util.is_valid_hmac_notification(body, HMAC_KEY)
    assert receiver.credentials == ["shop:secret:word"]


def test_a_modifications_webhook_is_signed_with_its_original(shop: Shop, receiver: Inbox) -> None:
    shop.refund(shop.pay()["pspReference"])
    shop.settle()
    until(lambda: len(receiver.bodies) == 2)

    assert all(Adyen.util.is_valid_hmac_notification(body, HMAC_KEY) for body in receiver.bodies)
    assert receiver.items[1]["originalReference"] == receiver.items[0]["pspReference"]


def test_the_record_tells_what_was_delivered_and_how_it_was_answered(
    shop: Shop, control: AdyenControlClient, receiver: Inbox
) -> None:
    shop.pay()
    until(lambda: bool(control.webhooks()[0]["deliveries"]))

    [webhook] = control.webhooks()
    assert [delivery["status"] for delivery in webhook["deliveries"]] == [202]
    assert webhook["body"] == receiver.bodies[0]


def test_nothing_is_delivered_before_it_is_said_where_to(shop: Shop, control: AdyenControlClient) -> None:
    shop.pay()

    assert [webhook["deliveries"] for webhook in control.webhooks()] == [[]]


def test_what_waited_goes_where_it_is_said_later(
    shop: Shop, control: AdyenControlClient, receiver: Inbox
) -> None:
    control.deliver(is_paused=True)
    shop.pay(reference="waited")
    control.deliver(is_paused=False)
    until(lambda: receiver.references == ["waited"])


def test_what_is_not_accepted_comes_again_and_holds_up_the_rest(
    shop: Shop, control: AdyenControlClient, receiver: Inbox
) -> None:
    receiver.answer_with(503)
    shop.pay(reference="first")
    until(lambda: receiver.references == ["first"])
    shop.pay(reference="second")
    for tries in range(2, 6):
        control.advance_clock(120)
        until(partial(receiver.has, tries))
    failed = list(receiver.references)
    receiver.answer_with(200)
    control.advance_clock(300)
    until(lambda: receiver.references[-1] == "second")

    assert failed == ["first"] * 5
    assert receiver.references == ["first"] * 6 + ["second"]
    statuses = [delivery["status"] for delivery in control.webhooks()[0]["deliveries"]]
    assert statuses == [503] * 5 + [200]


def test_an_endpoint_that_is_not_there_is_tried_for_thirty_days(
    shop: Shop, control: AdyenControlClient
) -> None:
    control.deliver(url=closed_port())
    shop.pay()

    def deliveries() -> int:
        return len(control.webhooks()[0]["deliveries"])

    until(lambda: deliveries() == 1)
    control.advance_clock(30 * DAY_S + 1)
    until(lambda: deliveries() == 2)
    control.advance_clock(DAY_S)
    shop.pay(reference="next")
    until(lambda: bool(control.webhooks()[1]["deliveries"]))

    assert deliveries() == 2
    assert {delivery["status"] for delivery in control.webhooks()[0]["deliveries"]} == {None}


def test_webhooks_can_come_twice(shop: Shop, control: AdyenControlClient, receiver: Inbox) -> None:
    control.deliver(copies=2)
    shop.pay(reference="twin")
    until(lambda: len(receiver.bodies) == 2)

    assert receiver.bodies[0] == receiver.bodies[1]


def test_webhooks_can_come_late(shop: Shop, control: AdyenControlClient, receiver: Inbox) -> None:
    control.deliver(delay_s=3600)
    shop.pay(reference="late")
    control.deliver(delay_s=0)
    shop.pay(reference="prompt")
    until(lambda: receiver.references == ["prompt"])
    control.advance_clock(3601)
    until(lambda: receiver.references == ["prompt", "late"])


@pytest.mark.parametrize("order", ["last_to_first", "shuffled"])
def test_webhooks_can_come_out_of_order(
    shop: Shop, control: AdyenControlClient, receiver: Inbox, order: str
) -> None:
    control.deliver(is_paused=True, order=order)
    names = [f"order-{letter}" for letter in "abcdefgh"]
    for name in names:
        shop.pay(reference=name)
    control.deliver(is_paused=False)
    until(lambda: len(receiver.references) == len(names))

    assert sorted(receiver.references) == names
    assert receiver.references != names
    if order == "last_to_first":
        assert receiver.references == names[::-1]


def test_many_webhooks_can_come_in_one_body(shop: Shop, control: AdyenControlClient, receiver: Inbox) -> None:
    control.deliver(is_paused=True, batch=2)
    for name in "abc":
        shop.pay(reference=name)
    control.deliver(is_paused=False)
    until(lambda: len(receiver.references) == 3)

    assert [len(body["notificationItems"]) for body in receiver.bodies] == [2, 1]
    assert receiver.references == ["a", "b", "c"]


@pytest.mark.parametrize("signature", ["wrong", "missing"])
def test_webhooks_can_come_badly_signed(
    shop: Shop, control: AdyenControlClient, receiver: Inbox, signature: str
) -> None:
    control.deliver(signature=signature)
    shop.pay()
    until(lambda: len(receiver.bodies) == 1)

    [item] = receiver.items
    if signature == "missing":
        assert "hmacSignature" not in item["additionalData"]
    else:
        assert not Adyen.util.is_valid_hmac_notification(receiver.bodies[0], HMAC_KEY)


def test_a_webhook_can_be_asked_for_again(shop: Shop, control: AdyenControlClient, receiver: Inbox) -> None:
    for name in "ab":
        shop.pay(reference=name)
    until(lambda: receiver.references == ["a", "b"])
    control.deliver_again([webhook["id"] for webhook in control.webhooks()][::-1])
    until(lambda: receiver.references == ["a", "b", "b", "a"])

    with pytest.raises(Refused, match="there is no webhook"):
        control.deliver_again(["webhook_99"])


def test_an_endpoint_with_a_slip_is_refused(control: AdyenControlClient) -> None:
    for slip in ({"uri": "http://x"}, {"hmac_key": "not hex"}, {"order": "random"}, {"batch": 0}):
        with pytest.raises(Refused):
            control.deliver(**slip)


def test_modifications_are_told_without_anybody_asking(receiver: Inbox) -> None:
    with running_adyen(settle_after_s=0.2) as quick, open_shop(quick) as shop:
        quick.control.deliver(url=receiver.url)
        shop.refund(shop.pay()["pspReference"], reference="refund-1")
        until(lambda: receiver.references[-1:] == ["refund-1"])
