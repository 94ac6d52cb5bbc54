"""The embedded broker as kombu's own classes use it."""

from typing import Any

import kombu
import pytest
from kombu.exceptions import OperationalError

from consumers import embedded

EXCHANGE = kombu.Exchange("commands", "topic", durable=True)
QUEUE = kombu.Queue("work", EXCHANGE, routing_key="payment.#", durable=True)


def test_a_producer_and_a_consumer_understand_each_other(client: kombu.Connection) -> None:
    received: list[tuple[Any, Any]] = []

    def on_message(body: Any, message: Any) -> None:
        received.append((body, message))
        message.ack()

    with client.Producer(serializer="json") as producer:
        producer.publish(
            {"amount_minor": 5},
            exchange=EXCHANGE,
            routing_key="payment",
            declare=[QUEUE],
            retry=True,
            headers={"attempt": 2},
            message_id="msg_1",
            correlation_id="corr",
        )
    with client.Consumer([QUEUE], callbacks=[on_message], accept=["json"], prefetch_count=5):
        client.drain_events(timeout=30)
        with pytest.raises(TimeoutError):
            client.drain_events(timeout=0.01)

    ((body, message),) = received
    assert body == {"amount_minor": 5}
    assert message.headers == {"attempt": 2}
    assert message.content_type == "application/json"
    assert message.properties["correlation_id"] == "corr"
    assert message.delivery_info["routing_key"] == "payment"
    assert QUEUE(client.channel()).queue_declare(passive=True).message_count == 0


def test_requeue_and_reject_of_a_kombu_message_do_what_they_say(client: kombu.Connection) -> None:
    channel = client.channel()
    queue = QUEUE(channel)
    queue.declare()
    client.Producer(channel).publish("m", exchange=EXCHANGE, routing_key="payment.x")

    queue.get().requeue()
    again = queue.get()
    again.reject()

    assert again.delivery_info["redelivered"]
    assert queue.get() is None


def test_a_simple_queue_works(client: kombu.Connection) -> None:
    with client.SimpleQueue("simple") as queue:
        queue.put({"n": 1})
        queue.put({"n": 2})
        assert queue.qsize() == 2
        first, second = queue.get(timeout=30), queue.get(timeout=30)
        assert [first.payload, second.payload] == [{"n": 1}, {"n": 2}]
        first.ack()
        second.ack()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.01)


def test_returned_messages_reach_a_producer_s_on_return(client: kombu.Connection) -> None:
    returned: list[str] = []
    producer = client.Producer(on_return=lambda error, exchange, key, message: returned.append(key))

    producer.publish("m", routing_key="nowhere", mandatory=True)

    assert returned == ["nowhere"]


def test_a_connection_is_ensured_closed_and_opened_anew(url: str) -> None:
    client = kombu.Connection(url)
    client.ensure_connection(max_retries=1)
    assert client.connected
    client.close()
    assert not client.connected

    again = client.clone()
    again.ensure_connection(max_retries=1)
    assert again.connected
    again.release()


def test_a_directory_s_odd_characters_are_percent_encoded(tmp_path: Any) -> None:
    embedded.register()
    with kombu.Connection(f"embedded://{tmp_path}/a%20b%25c") as client:
        client.ensure_connection()

    assert (tmp_path / "a b%c" / "broker.db").exists()


def test_what_a_person_must_mend_is_told_and_not_retried_for_ever(tmp_path: Any) -> None:
    embedded.register()
    (tmp_path / "broker.db").write_bytes(b"rubbish" * 1000)
    client = kombu.Connection(f"embedded://{tmp_path}")

    with pytest.raises((embedded.BrokerUnusable, OperationalError), match="damaged or no database"):
        client.ensure_connection(max_retries=1, interval_start=0)


def test_the_exchange_kinds_are_known_to_kombu(client: kombu.Connection) -> None:
    assert client.supports_exchange_type("topic")
    assert not client.supports_exchange_type("headers")
