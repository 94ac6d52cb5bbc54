"""How the bus behaves when RabbitMQ dies, cuts it off, or stands still."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from consumers import topology
from consumers.bus import KombuBus
from consumers.delivery import BusDown
from tests.consumers.bus_driver import (
    assert_queue_holds,
    await_deliveries,
    await_receipts,
    command,
    lose,
    make_bus,
    numbers,
    open_and_close,
    opened,
    publish,
    reopen,
)
from tests.servers import OwnRabbitmq

HEARTBEAT_S = 2


def close_connections(broker: OwnRabbitmq, url: str) -> None:
    """Have the broker close every connection to a virtual host."""
    broker.ctl("close_all_connections", "--vhost", urlsplit(url).path[1:], "test")


def test_connections_closed_while_consuming_lose_nothing(own_url: str, rabbitmq_owned: OwnRabbitmq) -> None:
    with opened(own_url) as bus:
        publish(bus, [command(number) for number in range(1, 31)])
        taken = await_deliveries(bus, 10)
        bus.ack(taken[:5])
        assert_synchronised(bus)
        close_connections(rabbitmq_owned, own_url)
        lose(bus)
        bus.ack(taken[5:])
        reopen(bus)
        again = await_deliveries(bus, 25)

        assert sorted(numbers(again)) == list(range(6, 31))
        assert {delivery.generation for delivery in again} == {2}


def assert_synchronised(bus: KombuBus) -> None:
    """See to it that the broker has read everything written before: the answer to a cancel follows it."""
    bus.pause()
    bus.resume()


def test_connections_closed_while_publishing_lose_nothing(own_url: str, rabbitmq_owned: OwnRabbitmq) -> None:
    with opened(own_url, queues=[topology.REFUND_COMMANDS]) as bus:
        sent = 0
        unconfirmed: set[int] = set()
        cut = threading.Thread(target=close_connections, args=(rabbitmq_owned, own_url))
        cut.start()
        while cut.is_alive() or unconfirmed:
            new = range(sent, sent + 100) if cut.is_alive() else range(0)
            sent += len(new)
            again = sorted(unconfirmed)
            unconfirmed |= set(new)
            try:
                bus.publish([command(number) for number in [*again, *new]])
                receipts = await_receipts(bus, len(again) + len(new))
            except BusDown:
                receipts = bus.receipts()
                reopen(bus)
            unconfirmed -= set(map(int, map(str, receipts.confirmed)))
        cut.join()

        assert bus.generation == 2
    with opened(own_url, prefetch=1000) as reader:
        arrived: set[int] = set()
        while arrived != set(range(sent)):
            deliveries = await_deliveries(reader, 1)
            reader.ack(deliveries)
            arrived |= set(numbers(deliveries))


def test_every_publish_is_answered_once_when_the_connection_is_lost(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    with opened(own_url) as bus:
        rabbitmq_owned.pause()
        bus.publish([command(number) for number in range(100)])
        rabbitmq_owned.kill()
        lose(bus)
        receipts = bus.receipts()

    assert (receipts.confirmed, receipts.failed) == ([], list(range(100)))


def test_what_was_confirmed_survives_a_restart_of_the_broker(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    with opened(own_url) as bus:
        publish(bus, [command(number) for number in range(1, 51)])
        await_deliveries(bus, 20)
        rabbitmq_owned.stop()
        lose(bus)
        with pytest.raises(BusDown):
            bus.open()
        rabbitmq_owned.start()
        reopen(bus)

        assert sorted(numbers(await_deliveries(bus, 50))) == list(range(1, 51))


def test_a_deleted_queue_loses_the_bus_and_opening_it_again_brings_the_queue_back(
    vhost: str, raw: Any
) -> None:
    with opened(vhost) as bus:
        raw.queue_delete(topology.PAYMENT_COMMANDS)
        lose(bus)
        bus.open()
        publish(bus, [command()])

        assert numbers(await_deliveries(bus, 1)) == [1]


@pytest.fixture
def short_consumer_timeout(rabbitmq_owned: OwnRabbitmq) -> Iterator[None]:
    """Have the broker close channels that hold a delivery for more than a second."""

    def configure(setting: str, value: str) -> None:
        rabbitmq_owned.ctl("eval", f"application:set_env(rabbit, {setting}, {value}).")

    settings = {"consumer_timeout": "1000", "channel_tick_interval": "500"}
    before = {
        name: rabbitmq_owned.ctl("eval", f"rabbit_misc:get_env(rabbit, {name}, 60000).") for name in settings
    }
    for name, value in settings.items():
        configure(name, value)
    yield
    for name, value in before.items():
        configure(name, value.strip())


@pytest.mark.usefixtures("short_consumer_timeout")
def test_a_delivery_held_beyond_the_brokers_limit_loses_the_bus(own_url: str) -> None:
    with opened(own_url) as bus:
        publish(bus, [command()])
        await_deliveries(bus, 1)
        lose(bus)
        bus.open()

        assert numbers(await_deliveries(bus, 1)) == [1]


def test_publishing_to_a_missing_exchange_fails_and_loses_the_bus(vhost: str) -> None:
    with opened(vhost) as bus:
        with suppress(BusDown):  # The answer may be there before publish() returns.
            bus.publish([command(1, exchange="no-such-exchange"), command(2)])
        lose(bus)

        assert bus.receipts().failed == [1, 2]


def test_a_broker_that_stands_still_is_noticed_by_its_missing_heartbeats(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    with opened(own_url, heartbeat_s=HEARTBEAT_S) as bus:
        rabbitmq_owned.pause()
        lose(bus)
        with pytest.raises(BusDown):
            open_and_close(own_url, connect_timeout_s=1)
        rabbitmq_owned.resume()
        reopen(bus)
        publish(bus, [command()])

        assert numbers(await_deliveries(bus, 1)) == [1]


@pytest.mark.parametrize(
    "act",
    [
        lambda bus: bus.publish([command(number, body=bytes(1_000_000)) for number in range(1, 31)]),
        lambda bus: bus.pause(),
    ],
    ids=["publish", "pause"],
)
def test_nothing_waits_for_ever_on_a_broker_that_stands_still(
    own_url: str, rabbitmq_owned: OwnRabbitmq, act: Callable[[KombuBus], None]
) -> None:
    with opened(own_url, heartbeat_s=HEARTBEAT_S) as bus:
        rabbitmq_owned.pause()
        with pytest.raises(BusDown):
            act(bus)


def test_closing_does_not_wait_for_a_broker_that_stands_still(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    bus = make_bus(own_url, heartbeat_s=HEARTBEAT_S)
    bus.open()
    publish(bus, [command(number) for number in range(1, 11)])
    await_deliveries(bus, 5)
    rabbitmq_owned.pause()
    bus.close()
    rabbitmq_owned.resume()

    assert_queue_holds(own_url, list(range(1, 11)))


def test_the_wait_ends_in_time_although_the_broker_stands_still(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    with opened(own_url, heartbeat_s=60) as bus:
        rabbitmq_owned.pause()

        assert bus.receive(wait_s=0.1, limit=1) == []
