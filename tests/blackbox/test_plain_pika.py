"""A neighbour written with pika from the wire contract alone: its two scripts import nothing of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ledger.schema import migrate
from tests.workers import QUICK, workers

PUBLISHER = """
import json, sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()
binary = {"payment_id": "pay_pika_1", "order_id": "1", "amount": {"minor": 1999, "currency": "EUR"},
          "payment_method": {"gateway": "sandbox", "token": "tok_approved"}}
channel.basic_publish("payments.commands", "payment.requested", json.dumps(binary).encode(), pika.BasicProperties(
    content_type="application/json", delivery_mode=2, message_id="m-1", type="PaymentRequested",
    headers={"cloudEvents_specversion": "1.0", "cloudEvents_id": "m-1", "cloudEvents_type": "PaymentRequested",
             "cloudEvents_source": "/order-service"}), mandatory=True)
structured = {"specversion": "1.0", "id": "m-2", "source": "/order-service", "type": "RefundRequested",
              "datacontenttype": "application/json", "time": "2026-11-22T18:00:00Z",
              "dataschema": "urn:payment-service:RefundRequested:1",
              "data": {"refund_id": "ref_pika_1", "payment_id": "pay_pika_1"}}
channel.basic_publish("payments.commands", "refund.requested", json.dumps(structured).encode(), pika.BasicProperties(
    content_type="application/cloudevents+json; charset=utf-8", delivery_mode=2), mandatory=True)
connection.close()
"""

SUBSCRIBER = """
import json, sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.exchange_declare("payments.events", exchange_type="topic", durable=True)
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "payments.events", "payment.#")
channel.queue_bind(queue, "payments.events", "refund.#")
print("listening", flush=True)
for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=30):
    if method is None:
        sys.exit("nothing came")
    print(json.dumps({"key": method.routing_key, "id": properties.message_id, "type": properties.type,
                      "content_type": properties.content_type, "correlation_id": properties.correlation_id,
                      "delivery_mode": properties.delivery_mode, "headers": properties.headers,
                      "body": json.loads(body)}), flush=True)
    if method.routing_key == "refund.processed":
        break
"""


def test_a_plain_pika_publisher_is_served_and_a_plain_pika_subscriber_hears_it(
    vhost: str, database: str, tmp_path: Path
) -> None:
    migrate(database)
    environment = {
        **QUICK,
        "PAYMENTS_BROKER_URL": vhost,
        "PAYMENTS_DATABASE_URL": database,
        "PAYMENTS_DATA_DIR": str(tmp_path),
    }
    subscriber = subprocess.Popen(
        [sys.executable, "-c", SUBSCRIBER, vhost], stdout=subprocess.PIPE, text=True
    )
    assert subscriber.stdout is not None
    assert subscriber.stdout.readline() == "listening\n"
    with workers(environment, tmp_path, count=1) as (worker,):
        subprocess.run([sys.executable, "-c", _once_declared(PUBLISHER), vhost], check=True, timeout=60)
        output, _ = subscriber.communicate(timeout=60)
        status = worker.terminate()

    paid, refunded = (json.loads(line) for line in output.splitlines())
    assert status == 0
    assert (paid["key"], paid["type"], paid["id"]) == (
        "payment.succeeded",
        "PaymentSucceeded",
        "pay_pika_1.e1",
    )
    assert paid["body"]["amount"] == {"minor": 1999, "currency": "EUR"}
    assert (paid["content_type"], paid["delivery_mode"], paid["correlation_id"]) == (
        "application/json",
        2,
        "m-1",
    )
    assert paid["headers"]["cloudEvents_source"] == "/payment-service"
    assert paid["headers"]["cloudEvents_subject"] == "pay_pika_1"
    assert paid["headers"]["cloudEvents_dataschema"] == "urn:payment-service:PaymentSucceeded:1"
    assert paid["headers"]["cloudEvents_sequence"] == "0000000001"
    assert not [name for name in paid["headers"] if name.startswith("x-")]
    assert (refunded["key"], refunded["id"], refunded["correlation_id"]) == (
        "refund.processed",
        "pay_pika_1.e2",
        "m-2",
    )
    assert refunded["body"]["amount"] == {"minor": 1999, "currency": "EUR"}


def _once_declared(script: str) -> str:
    """Wait for the worker's topology before publishing: until then nobody would keep the message."""
    wait = """
import sys, time, pika
deadline = time.monotonic() + 30
while True:
    try:
        with pika.BlockingConnection(pika.URLParameters(sys.argv[1])) as probe:
            probe.channel().queue_declare("payments.refund-commands", passive=True)
        break
    except pika.exceptions.ChannelClosedByBroker:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
"""
    return wait + script
