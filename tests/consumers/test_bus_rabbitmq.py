"""How the bus behaves when RabbitMQ dies, stalls, says no, or delivers what it should not."""

import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import amqp
import pika
import pytest
from kombu.connection import Connection as KombuConnection

from consumers import topology
from consumers.bus import KombuBus
from consumers.delivery import BusDown, BusRefused, Receipts
from tests.consumers.bus_driver import (
    WITHIN_S,
    assert_queue_holds,
    await_condition,
    await_deliveries,
    await_receipts,
    command,
    make_bus,
    numbers,
    opened,
    publish,
)
from tests.servers import OwnRabbitmq, Rabbitmq

QUEUE = topology.PAYMENT_COMMANDS
HEARTBEAT_S = 2


@pytest.fixture
def own_url(rabbitmq_owned: OwnRabbitmq) -> Iterator[str]:
    """A virtual host on a server that may be hurt."""
    url = rabbitmq_owned.fresh_vhost()
    pid = rabbitmq_owned.pid
    yield url
    rabbitmq_owned.ensure_running()
    # RabbitMQ 3.10 breaks (541 for every later declaration) if queues that dead-letter at least once are deleted
    # while it still recovers them: after a restart the virtual host stays.
    if rabbitmq_owned.pid == pid:
        rabbitmq_owned.drop_vhost(url)


@pytest.fixture
def raw(vhost: str) -> Iterator[Any]:
    """A channel of another client library (pika)."""
    with pika.BlockingConnection(pika.URLParameters(vhost)) as connection:
        yield connection.channel()


def reopen(bus: KombuBus) -> None:
    """Open the bus as soon as the broker is back."""

    def opens() -> bool:
        try:
            bus.open()
        except BusDown:
            return False
        return True

    await_condition(opens)


def lose(bus: KombuBus) -> None:
    """Receive until the bus notices that its connection is lost."""
    deadline = time.monotonic() + WITHIN_S
    with pytest.raises(BusDown):
        while time.monotonic() < deadline:
            bus.receive(wait_s=WITHIN_S, limit=0)


def with_parts(
    url: str, *, user: str | None = None, password: str | None = None, vhost: str | None = None
) -> str:
    """The URL with another user, password or virtual host."""
    parts = urlsplit(url)
    netloc = f"{user or parts.username}:{password or parts.password}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{vhost}" if vhost else parts.path))


# Connections that die


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
        raw.queue_delete(QUEUE)
        lose(bus)
        bus.open()
        publish(bus, [command()])

        assert numbers(await_deliveries(bus, 1)) == [1]


def test_a_delivery_held_beyond_the_brokers_limit_loses_the_bus(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    timeout = rabbitmq_owned.ctl("eval", "application:get_env(rabbit, consumer_timeout).").strip()
    tick = rabbitmq_owned.ctl("eval", "application:get_env(rabbit, channel_tick_interval).").strip()
    assert timeout.startswith("{ok,")
    rabbitmq_owned.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1000).")
    rabbitmq_owned.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 500).")
    try:
        with opened(own_url) as bus:
            publish(bus, [command()])
            await_deliveries(bus, 1)
            lose(bus)
            bus.open()

            assert numbers(await_deliveries(bus, 1)) == [1]
    finally:
        rabbitmq_owned.ctl("eval", f"{{ok, T}} = {timeout} application:set_env(rabbit, consumer_timeout, T).")
        rabbitmq_owned.ctl(
            "eval", f"{{ok, T}} = {tick} application:set_env(rabbit, channel_tick_interval, T)."
        )


def test_publishing_to_a_missing_exchange_fails_and_loses_the_bus(vhost: str) -> None:
    with opened(vhost) as bus:
        with pytest.raises(BusDown, match="no-such-exchange"):
            bus.publish([command(1, exchange="no-such-exchange"), command(2)])
            await_receipts(bus, 2)

        assert bus.receipts().failed == [1, 2]


# A broker that stands still


def test_a_broker_that_stands_still_is_noticed_by_its_missing_heartbeats(
    own_url: str, rabbitmq_owned: OwnRabbitmq
) -> None:
    with opened(own_url, heartbeat_s=HEARTBEAT_S) as bus:
        rabbitmq_owned.pause()
        lose(bus)
        with pytest.raises(BusDown):
            make_bus(own_url, connect_timeout_s=1).open()
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


# Alarms and limits


@pytest.fixture
def memory_alarm(rabbitmq_owned: OwnRabbitmq) -> Iterator[Callable[[str], str]]:
    """Raise the broker's memory alarm, or end it."""
    yield lambda limit: rabbitmq_owned.ctl("set_vm_memory_high_watermark", *limit.split())
    rabbitmq_owned.ctl("set_vm_memory_high_watermark", "0.4")


def test_in_a_memory_alarm_publishes_fail_in_time_and_deliveries_go_on(
    own_url: str, memory_alarm: Callable[[str], str]
) -> None:
    with opened(own_url, confirm_timeout_s=1, prefetch=5) as bus:
        publish(bus, [command(number) for number in range(1, 11)])
        memory_alarm("absolute 1MB")
        bus.publish([command(101)])
        first = await_receipts(bus, 1)
        bus.publish([command(number, body=bytes(100_000)) for number in range(200, 300)])
        second = await_receipts(bus, 100)
        deliveries = await_deliveries(bus, 5)
        bus.ack(deliveries)
        deliveries += await_deliveries(bus, 5)
        memory_alarm("0.4")
        await_confirm(bus, 102)

    assert first.failed == [101]
    assert second.failed == list(range(200, 300))
    assert numbers(deliveries) == list(range(1, 11))


def await_confirm(bus: KombuBus, number: int) -> None:
    """Publish one message until the broker takes it."""

    def confirmed() -> bool:
        bus.publish([command(number, exchange=topology.EVENTS.name)])
        return await_receipts(bus, 1).confirmed == [number]

    await_condition(confirmed)


def test_what_an_alarm_held_up_is_written_when_it_ends(
    own_url: str, memory_alarm: Callable[[str], str]
) -> None:
    with opened(own_url, confirm_timeout_s=WITHIN_S) as bus:
        memory_alarm("absolute 1MB")
        bus.publish([command(1)])
        bus.receive(wait_s=0.5, limit=0)
        bus.publish([command(2), command(3)])
        memory_alarm("0.4")

        assert await_receipts(bus, 3).confirmed == [1, 2, 3]
        assert numbers(await_deliveries(bus, 3)) == [1, 2, 3]


def test_closing_does_not_wait_for_the_end_of_an_alarm(
    own_url: str, memory_alarm: Callable[[str], str]
) -> None:
    with opened(own_url) as bus:
        memory_alarm("absolute 1MB")
        bus.publish([command(1)])
        bus.receive(wait_s=0.5, limit=0)
        bus.close()

        assert bus.receipts().failed == [1]


def test_a_message_a_full_queue_rejects_fails(own_url: str, rabbitmq_owned: OwnRabbitmq) -> None:
    vhost = urlsplit(own_url).path[1:]
    with opened(own_url, queues=[topology.REFUND_COMMANDS]) as bus:
        rabbitmq_owned.ctl("set_policy", "-p", vhost, "short", f"^{QUEUE}$", '{"max-length": 3}')
        failed: list[Any] = []

        def full() -> bool:
            bus.publish([command(1)])
            failed.extend(await_receipts(bus, 1).failed)
            return bool(failed)

        await_condition(full)

    assert failed == [1]


def test_a_rejected_delivery_is_kept_by_the_brokers_own_dead_lettering(vhost: str, raw: Any) -> None:
    with opened(vhost, queues=[topology.REFUND_COMMANDS]) as bus:
        publish(bus, [command(7)])
        await_condition(lambda: raw.basic_get(QUEUE)[0] is not None)
        raw.basic_reject(1, requeue=False)

    assert_queue_holds(vhost, [7], f"{QUEUE}.dead")


# What a person must mend


def test_a_wrong_password_is_refused_and_not_shown(rabbitmq: Rabbitmq, vhost: str) -> None:
    bus = make_bus(with_parts(vhost, password="geheim-17"))
    with pytest.raises(BusRefused, match="user or password") as refused:
        bus.open()

    assert "geheim-17" not in str(refused.value) + repr(bus) + bus.safe_url()


def test_an_unknown_virtual_host_is_refused(vhost: str) -> None:
    with pytest.raises(BusRefused, match="no-such-host"):
        make_bus(with_parts(vhost, vhost="no-such-host")).open()


def test_a_queue_with_other_arguments_is_refused_by_name(vhost: str, raw: Any) -> None:
    raw.queue_declare(QUEUE, durable=True)
    with pytest.raises(BusRefused, match=f"queue '{QUEUE}' exists with other properties"):
        make_bus(vhost).open()


def test_an_exchange_of_another_kind_is_refused_by_name(vhost: str, raw: Any) -> None:
    raw.exchange_declare("payments.events", "fanout", durable=True)
    with pytest.raises(BusRefused, match=r"exchange 'payments\.events' exists with other properties"):
        make_bus(vhost).open()


def test_a_queue_that_does_not_exist_is_refused_by_name(vhost: str) -> None:
    with pytest.raises(BusRefused, match="Queue 'no-such-queue' cannot be consumed"):
        make_bus(vhost, queues=["no-such-queue"]).open()


def test_a_user_who_may_not_declare_is_refused(own_url: str, rabbitmq_owned: OwnRabbitmq) -> None:
    rabbitmq_owned.ctl("add_user", "reader", "secret")
    rabbitmq_owned.ctl("set_permissions", "-p", urlsplit(own_url).path[1:], "reader", "^$", ".*", ".*")
    try:
        with pytest.raises(BusRefused, match=r"may not declare exchange 'payments\.commands'"):
            make_bus(with_parts(own_url, user="reader", password="secret")).open()
    finally:
        rabbitmq_owned.ctl("delete_user", "reader")


# Fail-over


def test_a_dead_first_host_is_passed_over(vhost: str) -> None:
    dead = urlunsplit(urlsplit(vhost)._replace(netloc="guest:guest@127.0.0.1:9"))
    with opened(vhost, urls=[dead, vhost]) as bus:
        publish(bus, [command()])
        bus.ack(await_deliveries(bus, 1))
        bus.open()

    assert bus.generation == 2


def test_without_any_host_the_bus_is_down_and_tells_of_each(vhost: str) -> None:
    urls = ["amqp://guest:geheim@127.0.0.1:9//", "amqp://guest:geheim@127.0.0.1:10//"]
    with pytest.raises(BusDown) as down:
        make_bus(vhost, urls=urls).open()

    assert "127.0.0.1:9/" in str(down.value)
    assert "127.0.0.1:10/" in str(down.value)
    assert "geheim" not in str(down.value)


# Messages of other clients


def test_every_property_of_another_client_is_read(vhost: str, raw: Any) -> None:
    with opened(vhost) as bus:
        raw.basic_publish(
            "payments.commands",
            "payment.requested",
            b"\x1f\x8b",
            pika.BasicProperties(
                content_type="application/json",
                content_encoding="utf-8",
                headers={"cloudEvents_id": "01JD", "count": 7, "nested": {"list": [1, "two", None]}},
                correlation_id="cmd_1",
                reply_to="amq.gen-1",
                message_id="msg_1",
                type="PaymentQueried",
                app_id="order-service",
            ),
        )
        [delivery] = await_deliveries(bus, 1)

    assert delivery.body == b"\x1f\x8b"
    assert delivery.headers == {"cloudEvents_id": "01JD", "count": 7, "nested": {"list": [1, "two", None]}}
    assert (delivery.content_type, delivery.correlation_id) == ("application/json", "cmd_1")
    assert (delivery.reply_to, delivery.message_id) == ("amq.gen-1", "msg_1")
    assert (delivery.type, delivery.app_id) == ("PaymentQueried", "order-service")


class _RawHeaders(amqp.Message):
    """A message whose header table is written as it stands."""

    def _serialize_properties(self) -> bytes:
        table: bytes = self.properties["application_headers"]
        return struct.pack(">HI", 0x2000, len(table)) + table  # Only the headers flag (AMQP 0-9-1, 4.2.6.1).


def publish_raw(url: str, routing_key: bytes, header_table: bytes) -> None:
    """Publish what no well-behaved client would."""
    with KombuConnection(url) as connection:  # type: ignore[no-untyped-call]
        content = _RawHeaders(b"{}", application_headers=header_table)
        connection.channel().basic_publish(content, "payments.commands", routing_key)


def test_a_message_whose_properties_cannot_be_read_arrives_without_them(vhost: str) -> None:
    with opened(vhost) as bus:
        timestamp_beyond_the_calendar = b"\x04when" + b"T" + b"\xff" * 8
        publish_raw(vhost, b"payment.requested", timestamp_beyond_the_calendar)
        publish(bus, [command(2)])
        unreadable, readable = await_deliveries(bus, 2)
        bus.ack([unreadable, readable])

    assert (unreadable.body, dict(unreadable.headers), unreadable.message_id) == (b"{}", {}, None)
    assert readable.message_id == "2"
    assert_queue_holds(vhost, [])


def test_a_routing_key_that_is_not_unicode_does_not_break_the_bus(vhost: str) -> None:
    with opened(vhost) as bus:
        publish_raw(vhost, b"payment.\xff", b"")
        [delivery] = await_deliveries(bus, 1)
        bus.ack([delivery])

    assert delivery.routing_key == "payment.?"
    assert_queue_holds(vhost, [])


def test_the_confirms_of_two_messages_with_one_id_are_not_mixed_up(vhost: str) -> None:
    with opened(vhost) as bus:
        nowhere = command(1, routing_key="nobody.cares", mandatory=True)
        bus.publish([nowhere, command(1), nowhere])
        receipts: Receipts = await_receipts(bus, 3)

    assert (receipts.confirmed, receipts.failed) == ([1], [1, 1])
