"""What the bus promises on RabbitMQ and on the embedded broker alike."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers import topology
from consumers.bus import KombuBus
from consumers.delivery import BusDown, Outgoing
from tests.consumers.bus_driver import (
    ALL_QUEUES,
    assert_queue_holds,
    await_deliveries,
    await_receipts,
    command,
    make_bus,
    numbers,
    opened,
    publish,
    run_reader_that_is_killed,
)


@pytest.fixture(params=["rabbitmq", "embedded"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty broker of either kind."""
    if request.param == "embedded":
        return f"embedded://{tmp_path}/broker"
    vhost: str = request.getfixturevalue("vhost")
    return vhost


@pytest.fixture
def bus(url: str) -> Iterator[KombuBus]:
    """An open bus that consumes payment commands."""
    with opened(url) as bus:
        yield bus


@pytest.mark.parametrize(
    "body", [b"", bytes(range(256)), json.dumps({"payment_id": "pay_ä€😀"}).encode(), b"\xce" * 400_000]
)
def test_what_is_published_arrives_byte_for_byte(bus: KombuBus, body: bytes) -> None:
    headers = {
        "cloudEvents_id": "01JD",
        "traceparent": "00-aé-01",
        "attempts": 3,
        "big": 2**40,
        "final": True,
    }

    publish(
        bus,
        [
            Outgoing(
                exchange="payments.commands",
                routing_key="payment.requested",
                body=body,
                message_id="msg_1",
                type="PaymentRequested",
                content_type="application/cloudevents+json",
                correlation_id="cmd_1",
                headers=headers,
                receipt=1,
            )
        ],
    )
    [delivery] = await_deliveries(bus, 1)

    assert delivery.body == body
    assert dict(delivery.headers) == headers
    assert delivery.queue == "payments.payment-commands"
    assert (delivery.exchange, delivery.routing_key) == ("payments.commands", "payment.requested")
    assert (delivery.message_id, delivery.type) == ("msg_1", "PaymentRequested")
    assert (delivery.content_type, delivery.correlation_id) == ("application/cloudevents+json", "cmd_1")
    assert (delivery.app_id, delivery.reply_to) == ("payment-service", None)
    assert delivery.redelivered is False
    assert delivery.generation == bus.generation


def test_what_is_left_out_arrives_as_nothing(bus: KombuBus) -> None:
    publish(bus, [command()])
    [delivery] = await_deliveries(bus, 1)

    assert delivery.correlation_id is None
    assert dict(delivery.headers) == {}


def test_an_acked_delivery_does_not_come_again(url: str) -> None:
    with opened(url) as bus:
        publish(bus, [command(number) for number in range(1, 11)])
        bus.ack(await_deliveries(bus, 10))

    assert_queue_holds(url, [])


def test_acks_in_any_order_settle_exactly_what_they_name(url: str) -> None:
    with opened(url) as bus:
        publish(bus, [command(number) for number in range(1, 11)])
        deliveries = await_deliveries(bus, 10)
        bus.ack([deliveries[8], deliveries[3], deliveries[4]])
        bus.ack([deliveries[0], deliveries[1]])
        bus.ack([deliveries[2], deliveries[6]])

    assert_queue_holds(url, [6, 8, 10])


def test_acking_twice_is_harmless(url: str) -> None:
    with opened(url) as bus:
        publish(bus, [command(number) for number in range(1, 4)])
        deliveries = await_deliveries(bus, 3)
        bus.ack(deliveries[:2])
        bus.ack(deliveries[:2])
        bus.receive(wait_s=0, limit=10)

    assert_queue_holds(url, [3])


def test_unsettled_deliveries_of_a_killed_reader_come_again_and_say_so(url: str) -> None:
    with opened(url, queues=[topology.REFUND_COMMANDS]) as publisher:
        publish(publisher, [command(number) for number in range(1, 6)])
        run_reader_that_is_killed(url, 5)

    with opened(url) as bus:
        deliveries = await_deliveries(bus, 5)

    assert sorted(numbers(deliveries)) == [1, 2, 3, 4, 5]
    assert all(delivery.redelivered for delivery in deliveries)


def test_deliveries_keep_the_order_of_their_queue(bus: KombuBus) -> None:
    publish(bus, [command(number) for number in range(1, 301)])
    received: list[int] = []
    while len(received) < 300:
        deliveries = bus.receive(wait_s=5, limit=7)
        received += numbers(deliveries)
        bus.ack(deliveries)

    assert received == list(range(1, 301))


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queue"),
    [
        ("payments.commands", "payment.requested", "payments.payment-commands"),
        ("payments.commands", "payment.void_requested", "payments.payment-commands"),
        ("payments.commands", "refund.requested", "payments.refund-commands"),
        ("payments.commands", "payment_method.attach_requested", "payments.method-commands"),
        ("payments.commands", "query.payment", "payments.method-commands"),
        ("payments.commands", "customer.erased", "payments.method-commands"),
        ("payments.operations", "review.decided", "payments.operations"),
        ("payments.callbacks", "callback.stripe", "payments.gateway-callbacks"),
    ],
)
def test_each_kind_of_message_reaches_its_queue(
    url: str, exchange: str, routing_key: str, queue: str
) -> None:
    with opened(url, queues=ALL_QUEUES) as bus:
        publish(bus, [command(exchange=exchange, routing_key=routing_key, mandatory=True)])
        [delivery] = await_deliveries(bus, 1)

    assert delivery.queue == queue


@pytest.mark.parametrize("queue", ALL_QUEUES)
def test_a_dead_letter_waits_in_the_queue_beside_the_one_it_came_from(url: str, queue: str) -> None:
    dead_letter = command(exchange="payments.dead-letters", routing_key=f"{queue}.dead", mandatory=True)
    with opened(url, queues=[f"{queue}.dead"]) as bus:
        publish(bus, [dead_letter])
        [delivery] = await_deliveries(bus, 1)

    assert (delivery.queue, delivery.exchange) == (f"{queue}.dead", "payments.dead-letters")


@pytest.mark.parametrize("exchange", ["payments.commands", "payments.events", "payments.dead-letters"])
def test_a_message_nobody_listens_to_is_no_error(bus: KombuBus, exchange: str) -> None:
    bus.publish([command(exchange=exchange, routing_key="nobody.cares")])

    assert await_receipts(bus, 1).confirmed == [1]


def test_a_mandatory_message_that_reaches_no_queue_fails_alone(bus: KombuBus) -> None:
    bus.publish(
        [
            command(1, mandatory=True),
            command(2, routing_key="nobody.cares", mandatory=True),
            command(3, exchange="", routing_key="no-such-queue", mandatory=True),
            command(4, mandatory=True),
        ]
    )
    receipts = await_receipts(bus, 4)

    assert sorted(map(str, receipts.confirmed)) == ["1", "4"]
    assert sorted(map(str, receipts.failed)) == ["2", "3"]
    assert numbers(await_deliveries(bus, 2)) == [1, 4]


def test_a_message_that_amqp_cannot_carry_fails_alone(bus: KombuBus) -> None:
    bus.publish([command(1), command(2, routing_key="payment." + "x" * 300), command(3)])
    receipts = await_receipts(bus, 3)

    assert (sorted(map(str, receipts.confirmed)), receipts.failed) == (["1", "3"], [2])
    assert numbers(await_deliveries(bus, 2)) == [1, 3]


def test_receipts_are_given_once(bus: KombuBus) -> None:
    bus.publish([command(1), command(2)])
    await_receipts(bus, 2)

    assert (bus.receipts().confirmed, bus.receipts().failed) == ([], [])


def test_what_exceeds_the_limit_stays_for_the_next_call(bus: KombuBus) -> None:
    publish(bus, [command(number) for number in range(1, 11)])
    first = await_deliveries(bus, 4)
    second = await_deliveries(bus, 6)

    assert numbers(first) == [1, 2, 3, 4]
    assert numbers(second) == [5, 6, 7, 8, 9, 10]


def test_a_reader_gets_no_more_than_its_prefetch_before_it_settles(url: str) -> None:
    with opened(url, prefetch=3) as bus, opened(url) as other:
        publish(bus, [command(number) for number in range(1, 11)])
        held = await_deliveries(bus, 3)
        others = await_deliveries(other, 7)
        assert bus.receive(wait_s=0, limit=10) == []
        other.ack(others)

    assert len(held) == 3


def test_limit_zero_gathers_receipts_and_leaves_deliveries(bus: KombuBus) -> None:
    bus.publish([command()])
    assert await_receipts(bus, 1).confirmed == [1]
    assert bus.receive(wait_s=0.1, limit=0) == []

    assert numbers(await_deliveries(bus, 1)) == [1]


def test_an_empty_queue_gives_an_empty_list(bus: KombuBus) -> None:
    assert bus.receive(wait_s=0.05, limit=10) == []


def test_waking_from_another_thread_ends_the_wait(bus: KombuBus) -> None:
    waker = threading.Timer(0.1, bus.wake)
    waker.start()

    assert bus.receive(wait_s=600, limit=10) == []
    waker.join()


def test_a_wake_before_the_wait_is_not_lost(bus: KombuBus) -> None:
    for _ in range(100_000):
        bus.wake()

    assert bus.receive(wait_s=600, limit=10) == []


def test_a_receipt_ends_the_wait(bus: KombuBus) -> None:
    bus.publish([command(exchange="payments.events", routing_key="payment.succeeded")])

    assert bus.receive(wait_s=600, limit=10) == []
    assert bus.receipts().confirmed == [1]


def test_a_paused_bus_gets_nothing_new_and_may_settle_what_it_has(url: str) -> None:
    with opened(url) as bus, opened(url, queues=[topology.REFUND_COMMANDS]) as publisher:
        publish(publisher, [command(1)])
        first = await_deliveries(bus, 1)
        bus.pause()
        bus.pause()
        publish(publisher, [command(2)])
        with opened(url) as other:
            second = await_deliveries(other, 1)
            other.ack(second)
        bus.ack(first)
        assert bus.receive(wait_s=0, limit=10) == []
        bus.resume()
        bus.resume()
        publish(publisher, [command(3)])

        assert (numbers(first), numbers(second)) == ([1], [2])
        third = await_deliveries(bus, 1)
        bus.ack(third)
        assert numbers(third) == [3]

    assert_queue_holds(url, [])


def test_a_requeued_delivery_comes_again(bus: KombuBus) -> None:
    publish(bus, [command(number) for number in range(1, 4)])
    deliveries = await_deliveries(bus, 3)
    bus.ack([deliveries[0], deliveries[2]])
    bus.requeue([deliveries[1]])
    [again] = await_deliveries(bus, 1)

    assert again.message_id == "2"
    assert again.redelivered


def test_acks_of_an_older_connection_settle_nothing(url: str) -> None:
    with opened(url) as bus:
        publish(bus, [command(1), command(2)])
        old = await_deliveries(bus, 2)
        bus.open()
        bus.ack(old)
        bus.requeue(old)
        new = await_deliveries(bus, 2)
        bus.ack(old)
        assert old[0].generation < new[0].generation

    assert_queue_holds(url, [1, 2])


def test_closing_hands_back_what_was_not_settled(url: str) -> None:
    with opened(url) as bus:
        publish(bus, [command(number) for number in range(1, 11)])
        taken = await_deliveries(bus, 4)
        bus.ack(taken[:2])
        bus.pause()

    assert_queue_holds(url, [3, 4, 5, 6, 7, 8, 9, 10])


def test_what_was_never_taken_does_not_count_as_a_failed_delivery(tmp_path: Path) -> None:
    # So on the embedded broker and from RabbitMQ 4.3 on; before, RabbitMQ counts every hand-back.
    embedded = f"embedded://{tmp_path}/broker"
    with opened(embedded) as bus:
        publish(bus, [command(number) for number in range(1, 4)])
        await_deliveries(bus, 1)
    with opened(embedded) as bus:
        counted = {each.message_id: "x-delivery-count" in each.headers for each in await_deliveries(bus, 3)}

    assert counted == {"1": True, "2": False, "3": False}


def test_a_closed_bus_is_down_and_fails_what_it_is_given(url: str) -> None:
    bus = make_bus(url)
    with pytest.raises(BusDown):
        bus.receive(wait_s=0, limit=1)
    with pytest.raises(BusDown):
        bus.publish([command(7)])
    bus.wake()
    bus.close()

    assert bus.receipts().failed == [7]


def test_a_bus_without_queues_only_publishes(url: str) -> None:
    with opened(url, queues=()) as bus:
        publish(bus, [command(1)])
        bus.pause()
        bus.resume()

    assert_queue_holds(url, [1])


def test_a_bus_opens_again_after_closing(url: str) -> None:
    bus = make_bus(url)
    for generation in (1, 2, 3):
        bus.open()
        publish(bus, [command(generation)])
        deliveries = await_deliveries(bus, 1)
        bus.ack(deliveries)
        bus.close()

        assert numbers(deliveries) == [generation]
        assert bus.generation == generation


def test_of_five_thousand_messages_none_is_lost_or_doubled(url: str) -> None:
    with opened(url) as bus:
        received: list[int] = []
        for start in range(0, 5000, 500):
            bus.publish([command(number) for number in range(start, start + 500)])
            deliveries = bus.receive(wait_s=0, limit=100)
            received += numbers(deliveries)
            bus.ack(deliveries)
        confirmed = bus.receipts().confirmed
        while len(received) < 5000 or len(confirmed) < 5000:
            deliveries = bus.receive(wait_s=5, limit=100)
            received += numbers(deliveries)
            bus.ack(deliveries)
            confirmed += bus.receipts().confirmed

    assert received == list(range(5000))
    assert sorted(map(int, map(str, confirmed))) == list(range(5000))


def test_two_buses_share_a_queue_and_no_message_comes_twice(url: str) -> None:
    with opened(url, prefetch=20) as first, opened(url, prefetch=20) as second:
        publish(first, [command(number) for number in range(1000)])
        shares: list[list[int]] = [[], []]
        while sum(map(len, shares)) < 1000:
            for share, bus in zip(shares, (first, second), strict=True):
                deliveries = bus.receive(wait_s=0.05, limit=10)
                share += numbers(deliveries)
                bus.ack(deliveries)

    assert sorted(shares[0] + shares[1]) == list(range(1000))
    assert all(shares)
