"""Declaring, comparing, counting and removing exchanges and queues."""

from typing import Any

import amqp
import pytest

from consumers import topology
from consumers.embedded.channel import Channel
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import count, declare, publish, take_all


def test_the_whole_topology_can_be_declared_again_and_again(channel: Channel, connect: Connect) -> None:
    topology.declare(channel)
    topology.declare(connect().channel())

    for queue in topology.WORK_QUEUES:
        assert count(channel, queue.name) == 0
        assert count(channel, queue.dead_letter_queue) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"durable": True, "arguments": {}},
        {"durable": True, "arguments": {"x-delivery-limit": 4}},
        {"durable": False, "arguments": {"x-delivery-limit": 3}},
    ],
)
def test_declaring_a_queue_with_other_properties_is_refused(channel: Channel, other: dict[str, Any]) -> None:
    declare(channel, "q", {"x-delivery-limit": 3})

    with pytest.raises(amqp.PreconditionFailed, match="queue 'q' exists with") as refusal:
        channel.queue_declare("q", auto_delete=False, **other)

    assert refusal.value.reply_code == 406


def test_declaring_an_exchange_of_another_kind_is_refused(channel: Channel) -> None:
    channel.exchange_declare("ex", "topic", durable=True, auto_delete=False)

    with pytest.raises(
        amqp.PreconditionFailed, match="is a durable topic exchange, not a durable direct exchange"
    ):
        channel.exchange_declare("ex", "direct", durable=True, auto_delete=False)


def test_looking_passively_finds_or_fails_and_never_makes(channel: Channel) -> None:
    for _ in range(2):
        with pytest.raises(amqp.NotFound):
            channel.queue_declare("q", passive=True)
        with pytest.raises(amqp.NotFound):
            channel.exchange_declare("ex", "topic", passive=True)

    declare(channel, "q")
    channel.exchange_declare("ex", "topic", durable=True, auto_delete=False)
    channel.exchange_declare("ex", "topic", passive=True)

    assert channel.queue_declare("q", passive=True) == ("q", 0, 0)


@pytest.mark.parametrize(
    "argument", ["x-message-ttl", "x-expires", "x-max-length", "x-max-priority", "x-typo"]
)
def test_an_argument_that_would_not_be_honoured_is_refused(channel: Channel, argument: str) -> None:
    with pytest.raises(amqp.AMQPNotImplementedError, match=argument):
        declare(channel, "q", {argument: 1})


@pytest.mark.parametrize("limit", [-1, "3"])
def test_a_delivery_limit_is_a_whole_number_from_zero(channel: Channel, limit: int | str) -> None:
    with pytest.raises(amqp.PreconditionFailed, match="x-delivery-limit"):
        declare(channel, "q", {"x-delivery-limit": limit})


def test_a_headers_exchange_is_refused(channel: Channel) -> None:
    with pytest.raises(amqp.AMQPNotImplementedError, match="headers"):
        channel.exchange_declare("ex", "headers", durable=True, auto_delete=False)


def test_a_queue_without_a_name_gets_one(channel: Channel) -> None:
    first = channel.queue_declare(exclusive=True).queue
    second = channel.queue_declare(exclusive=True).queue

    publish(channel, "m", key=first)

    assert first != second
    assert take_all(channel, first) == [b"m"]


def test_an_exclusive_queue_is_its_connection_s_alone_and_ends_with_it(connect: Connect) -> None:
    first, second = connect(), connect()
    name = first.channel().queue_declare(exclusive=True).queue

    with pytest.raises(amqp.ResourceLocked):
        second.channel().basic_get(name)
    first.close()
    with pytest.raises(amqp.NotFound):
        second.channel().basic_get(name)


def test_purging_removes_what_is_ready_but_not_what_is_unacked(channel: Channel) -> None:
    declare(channel, "q")
    for body in "abc":
        publish(channel, body, key="q")
    held = channel.basic_get("q")
    assert held is not None

    assert channel.queue_purge("q") == 2

    channel.basic_reject(held.delivery_tag, requeue=True)
    assert take_all(channel, "q") == [b"a"]


def test_deleting_a_queue_takes_its_messages_and_bindings_with_it(channel: Channel) -> None:
    channel.exchange_declare("ex", "fanout", durable=True, auto_delete=False)
    declare(channel, "q")
    channel.queue_bind("q", "ex")
    publish(channel, "m", exchange="ex", key="")

    assert channel.queue_delete("q") == 1
    assert channel.queue_delete("q") == 0

    declare(channel, "q")
    publish(channel, "m", exchange="ex", key="")
    assert take_all(channel, "q") == []


def test_a_queue_is_deleted_only_if_unused_and_empty_where_that_is_asked(channel: Channel) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")
    with pytest.raises(amqp.PreconditionFailed, match="not empty"):
        channel.queue_delete("q", if_empty=True)

    tag = channel.basic_consume("q", callback=lambda message: None)
    assert channel.queue_declare("q", passive=True).consumer_count == 1
    with pytest.raises(amqp.PreconditionFailed, match="consumers"):
        channel.queue_delete("q", if_unused=True)

    channel.basic_cancel(tag)
    channel.queue_purge("q")
    channel.queue_delete("q", if_unused=True, if_empty=True)
    with pytest.raises(amqp.NotFound):
        count(channel, "q")


def test_an_exchange_in_use_is_kept_where_that_is_asked(channel: Channel) -> None:
    channel.exchange_declare("ex", "fanout", durable=True, auto_delete=False)
    declare(channel, "q")
    channel.queue_bind("q", "ex")

    with pytest.raises(amqp.PreconditionFailed, match="in use"):
        channel.exchange_delete("ex", if_unused=True)

    channel.exchange_delete("ex")
    with pytest.raises(amqp.NotFound):
        publish(channel, "m", exchange="ex", key="")


def test_binding_what_is_not_there_is_an_error(channel: Channel) -> None:
    declare(channel, "q")
    with pytest.raises(amqp.NotFound, match="exchange"):
        channel.queue_bind("q", "ex", "key")
    channel.exchange_declare("ex", "direct", durable=True, auto_delete=False)
    with pytest.raises(amqp.NotFound, match="queue"):
        channel.queue_bind("other", "ex", "key")
    with pytest.raises(amqp.AccessRefused):
        channel.queue_bind("q", "", "key")
