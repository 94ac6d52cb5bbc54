"""How the bus behaves when RabbitMQ takes no more: alarms, full queues, rejected deliveries."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from consumers import topology
from consumers.bus import KombuBus
from tests.consumers.bus_driver import (
    WITHIN_S,
    assert_queue_holds,
    await_condition,
    await_deliveries,
    await_receipts,
    command,
    numbers,
    opened,
    publish,
)
from tests.servers import OwnRabbitmq

QUEUE = topology.PAYMENT_COMMANDS


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
