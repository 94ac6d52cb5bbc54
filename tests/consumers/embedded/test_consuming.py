"""Delivering, settling and taking turns, within one process."""

import threading
from contextlib import suppress
from typing import Any

import amqp
import pytest

from consumers import embedded
from consumers.embedded.channel import Channel
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import (
    await_that,
    count,
    declare,
    open_connection,
    publish,
    take_all,
)


class Inbox:
    """A callback that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def __call__(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]


def fill(channel: Channel, queue: str, messages: int) -> list[bytes]:
    declare(channel, queue)
    bodies = [f"{queue}{number}".encode() for number in range(messages)]
    for body in bodies:
        publish(channel, body, key=queue)
    return bodies


def test_a_queue_is_delivered_in_order(connection: embedded.Connection, channel: Channel) -> None:
    bodies, inbox = fill(channel, "q", 600), Inbox()
    channel.basic_consume("q", callback=inbox)

    while connection.dispatch():
        channel.basic_ack(inbox.messages[-1].delivery_tag, multiple=True)

    assert inbox.bodies == bodies
    assert [message.delivery_tag for message in inbox.messages] == list(range(1, 601))


def test_draining_hands_out_one_delivery_a_time_and_times_out_on_none(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "q", 2)
    inbox = Inbox()
    channel.basic_consume("q", callback=inbox, consumer_tag="me")

    connection.drain_events(timeout=0)
    assert inbox.bodies == [b"q0"]
    assert inbox.messages[0].delivery_info == {
        "consumer_tag": "me",
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": "",
        "routing_key": "q",
    }
    connection.drain_events(timeout=0)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.05)


def test_a_consumer_holds_no_more_than_its_prefetch_count(
    connection: embedded.Connection, channel: Channel, connect: Connect
) -> None:
    fill(channel, "q", 10)
    inbox = Inbox()
    channel.basic_qos(0, 3, False)
    channel.basic_consume("q", callback=inbox)

    assert connection.dispatch() == 3
    assert connection.dispatch() == 0
    assert not connection.has_more
    assert count(connect().channel(), "q") == 7

    channel.basic_ack(2, multiple=True)
    assert connection.has_more
    assert connection.dispatch() == 2
    assert inbox.bodies == [b"q0", b"q1", b"q2", b"q3", b"q4"]


def test_consumers_take_turns_and_each_has_its_own_prefetch_count(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "a", 5)
    fill(channel, "b", 5)
    inbox = Inbox()
    channel.basic_qos(0, 2, False)
    channel.basic_consume("a", callback=inbox)
    channel.basic_consume("b", callback=inbox)

    connection.dispatch()

    assert inbox.bodies == [b"a0", b"b0", b"a1", b"b1"]


def test_a_limit_over_all_consumers_is_refused_as_quorum_queues_do(channel: Channel) -> None:
    with pytest.raises(amqp.AMQPNotImplementedError, match="global"):
        channel.basic_qos(0, 1, True)


def test_what_is_given_back_returns_to_its_place_and_is_marked(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "q", 3)
    inbox = Inbox()
    channel.basic_qos(0, 2, False)
    channel.basic_consume("q", callback=inbox)
    connection.dispatch()

    channel.basic_nack(2, multiple=True, requeue=True)
    connection.dispatch()

    assert inbox.bodies == [b"q0", b"q1", b"q0", b"q1"]
    assert [message.delivery_info["redelivered"] for message in inbox.messages] == [False, False, True, True]


def test_a_reject_counts_and_a_nack_does_not(channel: Channel) -> None:
    fill(channel, "q", 1)
    seen = []
    for give_back in (channel.basic_nack, channel.basic_reject, channel.basic_reject, channel.basic_nack):
        message = channel.basic_get("q")
        assert message is not None
        seen.append(message.properties.get("application_headers", {}).get("x-delivery-count", 0))
        give_back(message.delivery_tag, requeue=True)

    assert seen == [0, 0, 1, 2]


def test_cancelling_gives_back_what_was_fetched_but_not_delivered_as_if_unread(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "q", 3)
    inbox = Inbox()
    tag = channel.basic_consume("q", callback=inbox)
    connection.drain_events(timeout=0)

    channel.basic_cancel(tag)

    assert connection.dispatch() == 0
    assert count(channel, "q") == 2
    message = channel.basic_get("q")
    assert message is not None
    assert (message.body, message.delivery_info["redelivered"]) == (b"q1", False)
    channel.basic_ack(inbox.messages[0].delivery_tag)


def test_a_consumer_without_acks_keeps_nothing_back(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "q", 3)
    inbox = Inbox()
    channel.basic_consume("q", callback=inbox, no_ack=True)

    connection.dispatch()
    channel.close()

    assert len(inbox.messages) == 3
    assert count(connection.channel(), "q") == 0


def test_getting_says_how_many_are_left(channel: Channel) -> None:
    fill(channel, "q", 2)

    message = channel.basic_get("q")

    assert message is not None
    assert message.delivery_info["message_count"] == 1


def test_settling_twice_or_what_was_never_delivered_is_an_error(channel: Channel) -> None:
    fill(channel, "q", 1)
    message = channel.basic_get("q")
    assert message is not None
    channel.basic_ack(message.delivery_tag)

    for settle in (channel.basic_ack, channel.basic_nack):
        with pytest.raises(amqp.PreconditionFailed, match="unknown delivery tag 1"):
            settle(1)
    with pytest.raises(amqp.PreconditionFailed):
        channel.basic_reject(7, requeue=True)


def test_closing_a_channel_gives_back_the_delivered_as_seen_and_the_fetched_as_unseen(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "q", 2)
    channel.basic_consume("q", callback=Inbox())
    connection.drain_events(timeout=0)

    channel.close()

    other = connection.channel()
    messages = [other.basic_get("q"), other.basic_get("q")]
    assert [message.delivery_info["redelivered"] for message in messages if message] == [True, False]
    with pytest.raises(embedded.BrokerDown):
        channel.basic_get("q")


def test_an_error_in_a_callback_leaves_its_message_unacked_and_the_rest_in_line(
    connection: embedded.Connection, channel: Channel
) -> None:
    fill(channel, "q", 2)

    def fail(message: Any) -> None:
        raise ValueError(message.body)

    channel.basic_consume("q", callback=fail)

    with pytest.raises(ValueError, match="q0"):
        connection.dispatch()
    with pytest.raises(ValueError, match="q1"):
        connection.dispatch()
    channel.basic_ack(0, multiple=True)
    assert connection.dispatch() == 0


@pytest.mark.parametrize("told", [True, False])
def test_a_consumer_learns_that_its_queue_was_deleted(
    connection: embedded.Connection, channel: Channel, connect: Connect, told: bool
) -> None:
    declare(channel, "q")
    cancelled: list[str] = []
    on_cancel = cancelled.append if told else None
    channel.basic_consume("q", consumer_tag="me", callback=Inbox(), on_cancel=on_cancel)
    connection.dispatch()

    connect().channel().queue_delete("q")

    if told:
        connection.dispatch()
        assert cancelled == ["me"]
    else:
        with pytest.raises(amqp.ConsumerCancelled):
            connection.dispatch()
        assert connection.dispatch() == 0


def test_a_deleted_queue_does_not_make_the_others_wait(
    connection: embedded.Connection, channel: Channel, connect: Connect
) -> None:
    declare(channel, "gone")
    declare(channel, "q")
    inbox = Inbox()
    connection.channel().basic_consume("gone", callback=inbox)
    channel.basic_consume("q", callback=inbox)
    connection.dispatch()
    other = connect().channel()
    other.queue_delete("gone")
    publish(other, "m", key="q")

    for _ in range(2):
        with suppress(amqp.ConsumerCancelled):
            connection.dispatch()

    assert inbox.bodies == [b"m"]


def test_a_channel_sees_what_its_own_connection_publishes(
    connection: embedded.Connection, channel: Channel
) -> None:
    declare(channel, "q")
    inbox = Inbox()
    connection.channel().basic_consume("q", callback=inbox)
    assert connection.dispatch() == 0

    publish(channel, "m", key="q")

    assert connection.has_more
    assert connection.dispatch() == 1


def test_two_threads_with_their_own_connections_share_the_work(channel: Channel, url: str) -> None:
    bodies = fill(channel, "q", 400)
    handled: list[bytes] = []
    done = threading.Event()

    def work() -> None:
        connection = open_connection(url)
        mine = connection.channel()

        def handle(message: Any) -> None:
            handled.append(message.body)
            mine.basic_ack(message.delivery_tag)

        mine.basic_qos(0, 5, False)
        mine.basic_consume("q", callback=handle)
        while not done.is_set():
            if not connection.dispatch():
                done.wait(0.001)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        await_that(lambda: len(handled) >= len(bodies))
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert sorted(handled) == sorted(bodies)
    assert take_all(channel, "q") == []
