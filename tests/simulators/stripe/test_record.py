"""The record of money that really moved, the events, and that both outlive the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from simulators.running import RunningSimulator, running_stripe
from simulators.stripe.control_client import StripeControlClient
from tests.simulators.stripe.shop import Shop, open_shop

ROOT = Path(__file__).parents[3]


def test_the_record_tells_what_moved_for_whom_and_under_which_key(
    shop: Shop, control: StripeControlClient
) -> None:
    held = shop.pay(key="k1", capture_method="manual", metadata={"payment_id": "pay_1"})
    shop.capture(held["id"], key="k2", amount_to_capture=600)
    refund = shop.refund(key="k3", payment_intent=held["id"], amount=100, metadata={"refund_id": "ref_1"})

    told = [
        (line["operation"], line["amount"], line["currency"], line["idempotency_key"], line["metadata"])
        for line in control.record(payment_intent=held["id"])
    ]
    assert told == [
        ("authorize", 1000, "eur", "k1", {"payment_id": "pay_1"}),
        ("capture", 600, "eur", "k2", {"payment_id": "pay_1"}),
        ("release", 400, "eur", "k2", {"payment_id": "pay_1"}),
        ("refund", 100, "eur", "k3", {"payment_id": "pay_1", "refund_id": "ref_1"}),
    ]
    assert control.record(operation="refund")[0]["refund"] == refund["id"]


def test_every_change_of_state_is_noted_once(shop: Shop, control: StripeControlClient) -> None:
    held = shop.hold()
    shop.capture(held["id"])

    noted = [
        event["type"] for event in control.events() if event["id"] in (held["id"], held["latest_charge"])
    ]
    assert noted == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]


def test_requests_are_counted_by_endpoint(shop: Shop, control: StripeControlClient) -> None:
    shop.intent(shop.pay()["id"])

    assert control.requests()["by_endpoint"] == {
        "POST /v1/payment_intents": 1,
        "GET /v1/payment_intents/{id}": 1,
    }


def test_with_a_data_file_nothing_is_lost_by_a_restart(tmp_path: Path) -> None:
    data_file = tmp_path / "stripe.sqlite"
    with running_stripe(data_file=data_file) as running:
        with open_shop(running) as shop:
            held = shop.pay(key="k1", capture_method="manual")
        running.control.advance_clock(3600)
        before = running.control.record()

    with running_stripe(data_file=data_file) as running, open_shop(running) as shop:
        assert running.control.record() == before
        assert shop.pay(key="k1", capture_method="manual") == held
        assert shop.capture(held["id"])["created"] == held["created"]
        assert shop.create()["created"] >= held["created"] + 3600


def test_the_program_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    command = (
        "from pathlib import Path; from simulators.stripe import serve;"
        f"serve(host='127.0.0.1', port=0, data_file=Path({str(tmp_path / 'stripe.sqlite')!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command], cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            url, api_key, control_url = words[3], words[words.index("key") + 1], words[-1]
            running = RunningSimulator(url=url, api_key=api_key, control=StripeControlClient(control_url))
            with open_shop(running) as shop:
                paid = shop.pay()
            record = running.control.record()
            running.control.close()
        finally:
            process.send_signal(signal.SIGTERM)
        ended = process.wait(10)

    assert [line["payment_intent"] for line in record] == [paid["id"]]
    assert ended == 0
