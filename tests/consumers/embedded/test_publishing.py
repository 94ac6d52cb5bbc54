"""What is published arrives exactly so, or comes back."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import amqp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.embedded.channel import Channel
from consumers.embedded.dead_letters import decode_properties, encode_properties
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import count, declare, publish, take_all


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(body=st.binary(max_size=2000))
def test_a_body_arrives_byte_for_byte(channel: Channel, body: bytes) -> None:
    declare(channel, "q")

    publish(channel, body, key="q")

    assert take_all(channel, "q") == [body]


def test_a_large_body_arrives_byte_for_byte(channel: Channel) -> None:
    declare(channel, "q")
    body = bytes(range(256)) * 4096

    publish(channel, body, key="q")

    assert take_all(channel, "q") == [body]


def test_every_property_and_header_arrives(channel: Channel, connect: Connect) -> None:
    declare(channel, "q")
    headers = {
        "text": "žluťoučký",
        "number": -5,
        "big": 2**40,
        "part": 0.25,
        "yes": True,
        "nothing": None,
        "list": ["a", 1, {"b": False}],
        "bytes": b"\xff\x00",
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "amount": Decimal("12.34"),
    }
    properties: dict[str, Any] = {
        "message_id": "msg_1",
        "type": "payment.requested",
        "correlation_id": "corr",
        "reply_to": "replies",
        "app_id": "shop",
        "timestamp": 1_700_000_000,
        "delivery_mode": 2,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "priority": 3,
        "user_id": "guest",
        "application_headers": headers,
    }

    channel.basic_publish(amqp.Message(b"\xff{}", **properties), routing_key="q")
    message = connect().channel().basic_get("q")

    assert message is not None
    assert message.body == b"\xff{}"
    arrived = message.properties
    assert arrived["application_headers"].pop("at").timestamp() == headers["at"].timestamp()  # type: ignore[attr-defined]
    del headers["at"]
    assert arrived == properties


amqp_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
)


@given(headers=st.dictionaries(st.text(min_size=1, max_size=20), amqp_values, max_size=5))
def test_whatever_headers_can_be_written_are_read_again(headers: dict[str, Any]) -> None:
    written = encode_properties({"application_headers": headers, "message_id": "msg_1"})

    assert decode_properties(written) == {"application_headers": headers, "message_id": "msg_1"}


def test_text_is_written_as_utf_8(channel: Channel) -> None:
    declare(channel, "q")

    publish(channel, "één", key="q")
    message = channel.basic_get("q")

    assert message is not None
    assert (message.body, message.properties["content_encoding"]) == ("één".encode(), "utf-8")


def test_what_amqp_cannot_carry_is_refused_and_nothing_is_published(channel: Channel) -> None:
    declare(channel, "q")

    with pytest.raises(amqp.FrameSyntaxError):
        publish(channel, "m", key="q", headers={"odd": object()})

    assert count(channel, "q") == 0


def test_a_mandatory_message_that_reaches_no_queue_comes_back(channel: Channel) -> None:
    channel.exchange_declare("ex", "topic", durable=True, auto_delete=False)
    returned: list[tuple[int, str, str, str]] = []

    def on_return(error: amqp.ChannelError, exchange: str, routing_key: str, message: amqp.Message) -> None:
        returned.append((error.reply_code, exchange, routing_key, message.properties["message_id"]))

    channel.events["basic_return"].add(on_return)

    publish(channel, "m", exchange="ex", key="no.one", message_id="msg_1", mandatory=True)
    publish(channel, "m", exchange="ex", key="no.one", message_id="msg_2")

    assert returned == [(312, "ex", "no.one", "msg_1")]


def test_a_returned_message_that_nobody_listens_for_is_an_error(channel: Channel) -> None:
    with pytest.raises(amqp.ChannelError, match="no queue for 'q'"):
        publish(channel, "m", key="q", mandatory=True)


def test_in_a_transaction_others_see_nothing_before_the_commit_and_everything_after(
    channel: Channel, connect: Connect
) -> None:
    declare(channel, "in")
    declare(channel, "out")
    publish(channel, "m", key="in")
    other = connect().channel()
    channel.tx_select()
    message = channel.basic_get("in")
    assert message is not None
    publish(channel, "done", key="out")
    channel.basic_ack(message.delivery_tag)

    assert count(other, "out") == 0

    channel.tx_commit()
    assert take_all(other, "out") == [b"done"]
    channel.close()
    assert count(other, "in") == 0


def test_returns_come_with_the_commit_and_the_rest_is_published(channel: Channel) -> None:
    declare(channel, "q")
    returned: list[str] = []
    channel.events["basic_return"].add(lambda error, exchange, key, message: returned.append(key))
    channel.tx_select()

    publish(channel, "1", key="q", mandatory=True)
    publish(channel, "2", key="nowhere", mandatory=True)
    publish(channel, "3", key="q", mandatory=True)
    assert returned == []
    channel.tx_commit()

    assert returned == ["nowhere"]
    assert count(channel, "q") == 2


def test_a_transaction_with_a_missing_exchange_does_nothing_and_hands_everything_back(
    channel: Channel, connect: Connect
) -> None:
    declare(channel, "in")
    declare(channel, "out")
    publish(channel, "m", key="in")
    channel.tx_select()
    message = channel.basic_get("in")
    assert message is not None
    channel.basic_ack(message.delivery_tag)
    publish(channel, "done", key="out")
    publish(channel, "done", exchange="nowhere", key="out")

    with pytest.raises(amqp.NotFound):
        channel.tx_commit()

    other = connect().channel()
    assert count(other, "out") == 0
    assert take_all(other, "in") == [b"m"]


def test_a_message_with_a_time_to_live_is_refused(channel: Channel) -> None:
    declare(channel, "q")

    with pytest.raises(amqp.AMQPNotImplementedError, match="expiration"):
        publish(channel, "m", key="q", expiration="1000")
