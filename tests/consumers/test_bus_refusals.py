"""What only a person can mend is refused by name; what another host can do is left to it."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from consumers import topology
from consumers.delivery import BusDown, BusRefused
from tests.consumers.bus_driver import (
    await_deliveries,
    command,
    open_and_close,
    opened,
    publish,
    with_parts,
)
from tests.servers import OwnRabbitmq, Rabbitmq

QUEUE = topology.PAYMENT_COMMANDS


def test_a_wrong_password_is_refused_and_not_shown(rabbitmq: Rabbitmq, vhost: str) -> None:
    url = with_parts(vhost, password="geheim-17")
    with pytest.raises(BusRefused, match="user and password") as refused:
        open_and_close(url)

    assert "geheim-17" not in str(refused.value)


def test_an_unknown_virtual_host_is_refused(vhost: str) -> None:
    with pytest.raises(BusRefused, match="no-such-host"):
        open_and_close(with_parts(vhost, vhost="no-such-host"))


def test_a_queue_with_other_arguments_is_refused_by_name(vhost: str, raw: Any) -> None:
    raw.queue_declare(QUEUE, durable=True)
    with pytest.raises(BusRefused, match=f"queue '{QUEUE}' exists with other properties"):
        open_and_close(vhost)


def test_an_exchange_of_another_kind_is_refused_by_name(vhost: str, raw: Any) -> None:
    raw.exchange_declare("payments.events", "fanout", durable=True)
    with pytest.raises(BusRefused, match=r"exchange 'payments\.events' exists with other properties"):
        open_and_close(vhost)


def test_a_queue_that_does_not_exist_is_refused_by_name(vhost: str) -> None:
    with pytest.raises(BusRefused, match=r"Queue 'no-such-queue' is not there: .*topology"):
        open_and_close(vhost, queues=["no-such-queue"])


def test_a_user_who_may_not_declare_is_refused(own_url: str, rabbitmq_owned: OwnRabbitmq) -> None:
    rabbitmq_owned.ctl("add_user", "reader", "secret")
    rabbitmq_owned.ctl("set_permissions", "-p", urlsplit(own_url).path[1:], "reader", "^$", ".*", ".*")
    try:
        with pytest.raises(BusRefused, match=r"may not declare exchange 'payments\.commands'"):
            open_and_close(with_parts(own_url, user="reader", password="secret"))
    finally:
        rabbitmq_owned.ctl("delete_user", "reader")


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
        open_and_close(vhost, urls=urls)

    assert "127.0.0.1:9/" in str(down.value)
    assert "127.0.0.1:10/" in str(down.value)
    assert "geheim" not in str(down.value)
