"""What other clients publish arrives, however they write it."""

import struct
from typing import Any

import pika
from kombu.connection import Connection as KombuConnection

from consumers.delivery import Receipts
from tests.consumers.bus_driver import (
    assert_queue_holds,
    await_deliveries,
    await_receipts,
    command,
    opened,
    publish,
)


def test_every_property_of_another_client_is_read(vhost: str, raw: Any) -> None:
    with opened(vhost) as bus:
        raw.basic_publish(
            "payments.commands",
            "payment.requested",
            "€".encode(),
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

    assert delivery.body == "€".encode()
    assert delivery.headers == {"cloudEvents_id": "01JD", "count": 7, "nested": {"list": [1, "two", None]}}
    assert (delivery.content_type, delivery.correlation_id) == ("application/json", "cmd_1")
    assert (delivery.reply_to, delivery.message_id) == ("amq.gen-1", "msg_1")
    assert (delivery.type, delivery.app_id) == ("PaymentQueried", "order-service")


class _RawHeaders:
    """What py-amqp needs of a message, with a header table that is written as it stands."""

    body = b"{}"

    def __init__(self, table: bytes) -> None:
        self._table = table

    def _serialize_properties(self) -> bytes:
        headers_only = 0x2000  # The property flags of AMQP 0-9-1, 4.2.6.1.
        return struct.pack(">HI", headers_only, len(self._table)) + self._table


def publish_raw(url: str, routing_key: bytes, header_table: bytes) -> None:
    """Publish what no well-behaved client would."""
    with KombuConnection(url) as connection:
        connection.channel().basic_publish(_RawHeaders(header_table), "payments.commands", routing_key)


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
