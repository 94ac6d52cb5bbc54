"""The record of money that really moved, the events, and that both outlive the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.paypal.control_client import PaypalControlClient
from simulators.running import RunningPaypal, running_paypal
from tests.simulators.paypal.shop import Shop, open_shop

ROOT = Path(__file__).parents[3]


def test_the_record_tells_what_moved_for_whom_and_under_which_id(
    shop: Shop, control: PaypalControlClient
) -> None:
    hold = shop.hold(custom_id="pay_1.a1")
    capture = shop.capture(hold, "k2", "6.00", final_capture=True, invoice_id="pay_1.a2")
    refund = shop.refund(capture, "k3", "1.00", custom_id="ref_1.r1")

    told = [
        (
            line["operation"],
            line["amount"],
            line["currency"],
            line["order_custom_id"],
            line["invoice_id"] or line["custom_id"],
            line["idempotency_key"],
        )
        for line in control.record()
    ]
    assert told == [
        ("authorize", "10.00", "EUR", "pay_1.a1", "pay_1.a1", None),
        ("capture", "6.00", "EUR", "pay_1.a1", "pay_1.a2", "k2"),
        ("release", "4.00", "EUR", "pay_1.a1", "pay_1.a1", "k2"),
        ("refund", "1.00", "EUR", "pay_1.a1", "ref_1.r1", "k3"),
    ]
    assert control.record(operation="refund")[0]["refund"] == refund["id"]


def test_every_change_of_state_is_noted_once(shop: Shop, control: PaypalControlClient) -> None:
    hold = shop.hold()
    shop.capture(hold)

    assert [event["type"] for event in control.events()] == [
        "CHECKOUT.ORDER.COMPLETED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.CAPTURE.COMPLETED",
    ]


def test_requests_are_counted_by_endpoint(shop: Shop, control: PaypalControlClient) -> None:
    shop.now("capture", shop.pay()["id"])

    assert control.requests()["by_endpoint"] == {
        "POST /v1/oauth2/token": 1,
        "POST /v2/checkout/orders": 1,
        "POST /v2/checkout/orders/{id}/capture": 1,
        "GET /v2/payments/captures/{id}": 1,
    }


def test_with_a_data_file_nothing_is_lost_by_a_restart_but_the_tokens(tmp_path: Path) -> None:
    data_file = tmp_path / "paypal.sqlite"
    with running_paypal(data_file=data_file) as running:
        with open_shop(running) as shop:
            order = shop.order("k1", intent="AUTHORIZE")
            completed = shop.complete(order, key="k2")
        running.control.advance_clock(3600)
        before = running.control.record()

    with running_paypal(data_file=data_file) as running, open_shop(running) as shop:
        assert running.control.record() == before
        repeated = shop.complete(order, key="k2")
        assert repeated["purchase_units"] == completed["purchase_units"]
        assert shop.order("k1", intent="AUTHORIZE")["id"] == order["id"]
        assert shop.order()["create_time"] > order["create_time"]


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "from simulators.paypal import serve; serve(host='127.0.0.1', port=0, data_file=None)"],
        ["run_worker.py", "simulate", "paypal", "--port", "0"],
    ],
    ids=["serve", "run_worker"],
)
def test_the_program_says_where_it_is_and_ends_when_told(command: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            running = RunningPaypal(
                url=words[3],
                client_id=words[words.index("client") + 1],
                client_secret=words[words.index("secret") + 1],
                control=PaypalControlClient(words[-1]),
            )
            with open_shop(running) as shop:
                paid = shop.pay()
            record = running.control.record()
            running.control.close()
        finally:
            process.send_signal(signal.SIGTERM)
        ended = process.wait(10)

    assert [line["capture"] for line in record] == [paid["id"]]
    assert ended == 0
