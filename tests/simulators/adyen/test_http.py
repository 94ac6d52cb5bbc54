"""The door: who may call, what can be read, what outlives the process, and how it is run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from simulators.adyen import DEFAULT_API_KEY, DEFAULT_MERCHANT_ACCOUNT
from simulators.running import RunningAdyen, running_adyen
from tests.simulators.adyen.receiver import Inbox
from tests.simulators.adyen.shop import open_shop
from tests.simulators.receiver import receiving, until

ROOT = Path(__file__).parents[3]
GOOD = {
    "merchantAccount": DEFAULT_MERCHANT_ACCOUNT,
    "reference": "order-1",
    "amount": {"currency": "EUR", "value": 1000},
    "paymentMethod": {"type": "scheme", "storedPaymentMethodId": "sim_authorised"},
    "shopperReference": "customer-1",
    "returnUrl": "https://shop.example/",
}


@pytest.mark.parametrize("key", [None, "", "AQE_wrong"])
def test_a_wrong_key_is_turned_away(simulator: RunningAdyen, key: str | None) -> None:
    headers = {} if key is None else {"x-api-key": key}
    answer = httpx.post(f"{simulator.url}/v72/payments", json=GOOD, headers=headers, trust_env=False)

    assert answer.status_code == 401
    assert answer.json()["errorType"] == "security"
    assert simulator.control.record() == []


@pytest.mark.parametrize("raw", [b"", b"amount=1", b"[]", b'{"a":', b"\xff"])
def test_what_is_not_json_is_turned_away(simulator: RunningAdyen, raw: bytes) -> None:
    headers = {"x-api-key": DEFAULT_API_KEY}
    answer = httpx.post(f"{simulator.url}/v72/payments", content=raw, headers=headers, trust_env=False)

    assert (answer.status_code, answer.json()["errorCode"]) == (400, "702")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v72/payments"), ("POST", "/v71/payments")])
def test_other_places_are_not_there(simulator: RunningAdyen, method: str, path: str) -> None:
    answer = httpx.request(method, f"{simulator.url}{path}", trust_env=False)

    assert answer.status_code in (404, 405)


def test_everything_outlives_the_process_in_a_data_file(tmp_path: Path) -> None:
    data_file = tmp_path / "adyen.db"
    with running_adyen(data_file=data_file) as first, open_shop(first) as shop:
        first.control.deliver(is_paused=True, url="http://127.0.0.1:9/", hmac_key="AB" * 32)
        paid = shop.pay(key="k1", reference="order-1")
        shop.refund(paid["pspReference"], key="k2", reference="refund-1")
        record, ahead = first.control.record(), first.control.now()
    with receiving() as receiver, running_adyen(data_file=data_file) as second, open_shop(second) as shop:
        again = shop.pay(key="k1")
        shop.settle()
        second.control.deliver(is_paused=False, url=receiver.url)
        until(lambda: Inbox(receiver).references == ["order-1", "refund-1"])
        after = second.control.record()

    assert again == paid
    assert after[0] == record[0]
    assert [line["operation"] for line in after] == ["sale", "refund"]
    assert ahead > 0


def test_it_runs_as_a_program_and_ends_when_it_is_told() -> None:
    program = subprocess.Popen(
        [sys.executable, "run_worker.py", "simulate", "adyen", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        found = re.search(r"at (http://127\.0\.0\.1:\d+)", line)
        assert found is not None, line
        headers = {"x-api-key": DEFAULT_API_KEY}
        answer = httpx.post(f"{found[1]}/v72/payments", json=GOOD, headers=headers, trust_env=False)
        assert answer.json()["resultCode"] == "Authorised"
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0
    finally:
        if program.poll() is None:
            program.kill()
        program.communicate()
