"""Where rejected and failing messages go."""

from datetime import datetime
from typing import Any

import amqp
import pytest

from consumers import topology
from consumers.embedded.channel import Channel
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import count, declare, publish, take_all


def get(channel: Channel, queue: str) -> amqp.Message:
    message = channel.basic_get(queue)
    assert message is not None
    return message


@pytest.fixture
def work(channel: Channel) -> Channel:
    """A queue `work` with a delivery limit of 2, whose dead letters go to `work.dead`."""
    channel.exchange_declare("commands", "topic", durable=True, auto_delete=False)
    channel.exchange_declare("dead-letters", "direct", durable=True, auto_delete=False)
    declare(channel, "work.dead")
    channel.queue_bind("work.dead", "dead-letters", "work.dead")
    declare(
        channel,
        "work",
        {
            "x-delivery-limit": 2,
            "x-dead-letter-exchange": "dead-letters",
            "x-dead-letter-routing-key": "work.dead",
        },
    )
    channel.queue_bind("work", "commands", "payment.*")
    return channel


def test_a_rejected_message_goes_to_the_dead_letters_and_says_why(work: Channel) -> None:
    publish(
        work,
        b"\xff",
        exchange="commands",
        key="payment.capture",
        message_id="msg_1",
        headers={"attempt": 1},
    )

    work.basic_reject(get(work, "work").delivery_tag, requeue=False)

    dead = get(work, "work.dead")
    assert (dead.body, dead.properties["message_id"]) == (b"\xff", "msg_1")
    assert (dead.delivery_info["exchange"], dead.delivery_info["routing_key"]) == (
        "dead-letters",
        "work.dead",
    )
    headers = dead.properties["application_headers"]
    (death,) = headers.pop("x-death")
    assert isinstance(death.pop("time"), datetime)
    assert death == {
        "reason": "rejected",
        "count": 1,
        "queue": "work",
        "exchange": "commands",
        "routing-keys": ["payment.capture"],
    }
    assert headers == {
        "attempt": 1,
        "x-first-death-reason": "rejected",
        "x-first-death-queue": "work",
        "x-first-death-exchange": "commands",
    }
    assert count(work, "work") == 0


def test_a_negative_ack_without_requeue_is_a_dead_letter_too(work: Channel) -> None:
    publish(work, "m", key="work")

    work.basic_nack(get(work, "work").delivery_tag, requeue=False)

    assert take_all(work, "work.dead") == [b"m"]


def test_a_second_death_of_the_same_kind_is_counted(work: Channel) -> None:
    publish(work, "m", key="work")
    work.basic_reject(get(work, "work").delivery_tag, requeue=False)
    dead = get(work, "work.dead")
    work.basic_publish(dead, routing_key="work")
    work.basic_ack(dead.delivery_tag)

    work.basic_reject(get(work, "work").delivery_tag, requeue=False)

    (death,) = get(work, "work.dead").properties["application_headers"]["x-death"]
    assert (death["reason"], death["count"]) == ("rejected", 2)


@pytest.mark.parametrize("forged", ["once", 5, ["once"], [{"queue": "work", "reason": "rejected"}], None])
def test_a_forged_death_header_keeps_no_message_from_dying(work: Channel, forged: Any) -> None:
    publish(work, "m", key="work", headers={"x-death": forged})

    work.basic_reject(get(work, "work").delivery_tag, requeue=False)

    (death,) = get(work, "work.dead").properties["application_headers"]["x-death"]
    assert death["count"] == 1


def test_deaths_of_another_kind_are_kept_behind_the_latest(work: Channel) -> None:
    earlier = {"queue": "elsewhere", "reason": "expired", "count": 3}
    publish(work, "m", key="work", headers={"x-death": [earlier]})

    work.basic_reject(get(work, "work").delivery_tag, requeue=False)

    latest, second = get(work, "work.dead").properties["application_headers"]["x-death"]
    assert (latest["queue"], second) == ("work", earlier)


def test_a_message_that_fails_more_often_than_the_limit_is_a_dead_letter(work: Channel) -> None:
    publish(work, "m", key="work")

    for failures in range(3):
        message = get(work, "work")
        assert message.properties.get("application_headers", {}).get("x-delivery-count", 0) == failures
        work.basic_reject(message.delivery_tag, requeue=True)

    assert count(work, "work") == 0
    (death,) = get(work, "work.dead").properties["application_headers"]["x-death"]
    assert death["reason"] == "delivery_limit"


def test_handing_back_untouched_never_makes_a_dead_letter(work: Channel) -> None:
    publish(work, "m", key="work")

    for _ in range(10):
        work.basic_nack(get(work, "work").delivery_tag, requeue=True)

    assert take_all(work, "work") == [b"m"]


def test_dying_readers_count_towards_the_limit(work: Channel, connect: Connect) -> None:
    publish(work, "m", key="work")

    for _ in range(3):
        reader = connect()
        get(reader.channel(), "work")
        reader.collect()

    assert work.basic_get("work") is None
    (death,) = get(work, "work.dead").properties["application_headers"]["x-death"]
    assert death["reason"] == "delivery_limit"


def test_without_a_routing_key_of_its_own_a_dead_letter_keeps_the_old_one(work: Channel) -> None:
    work.exchange_declare("graveyard", "topic", durable=True, auto_delete=False)
    declare(work, "graves")
    work.queue_bind("graves", "graveyard", "refund.*")
    declare(work, "refunds", {"x-dead-letter-exchange": "graveyard"})
    work.queue_bind("refunds", "commands", "refund.*")
    publish(work, "m", exchange="commands", key="refund.start")

    work.basic_reject(get(work, "refunds").delivery_tag, requeue=False)

    assert get(work, "graves").delivery_info["routing_key"] == "refund.start"


def test_without_a_dead_letter_exchange_a_rejected_message_is_gone(channel: Channel) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")

    channel.basic_reject(get(channel, "q").delivery_tag, requeue=False)
    channel.close()

    assert channel.connection is None


def test_at_least_once_a_dead_letter_waits_until_it_has_somewhere_to_go(channel: Channel) -> None:
    channel.exchange_declare("dead-letters", "direct", durable=True, auto_delete=False)
    for queue, strategy in {"sure": "at-least-once", "loose": "at-most-once"}.items():
        declare(
            channel,
            queue,
            {
                "x-dead-letter-exchange": "dead-letters",
                "x-dead-letter-routing-key": "dead",
                "x-dead-letter-strategy": strategy,
            },
        )
        publish(channel, queue, key=queue)
        channel.basic_reject(get(channel, queue).delivery_tag, requeue=False)
    assert channel.basic_get("sure") is None
    assert count(channel, "sure") == 0

    declare(channel, "dead")
    channel.queue_bind("dead", "dead-letters", "dead")

    assert take_all(channel, "dead") == [b"sure"]


def test_the_service_s_own_queues_dead_letter_to_their_neighbours(channel: Channel) -> None:
    topology.declare(channel)
    publish(channel, "m", exchange="payments.commands", key="refund.start")

    work = topology.REFUND_COMMANDS
    channel.basic_reject(get(channel, work).delivery_tag, requeue=False)

    assert take_all(channel, f"{work}.dead") == [b"m"]
