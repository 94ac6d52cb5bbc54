"""A PayPal simulator for each test, on one server, whose every call is held against PayPal's own files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from simulators.paypal import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from simulators.paypal.app import paypal_app
from simulators.paypal.control_client import PaypalControlClient
from simulators.paypal.simulator import PaypalSimulator
from simulators.running import RunningPaypal
from simulators.serving import listening, served_in_thread
from tests.simulators.paypal.contract import CheckedApp
from tests.simulators.paypal.shop import Shop, open_shop
from tests.simulators.paypal.stage import SETTLE_AFTER_S


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, CheckedApp]]:
    """One server for the whole run, whose application changes with each test: a server takes long to stop."""
    listener = listening("127.0.0.1", 0)
    checked = CheckedApp()
    with served_in_thread(checked, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", checked


@pytest.fixture
def simulator(server: tuple[str, CheckedApp]) -> Iterator[RunningPaypal]:
    url, checked = server
    fresh = PaypalSimulator(
        data_file=None,
        settle_after_s=SETTLE_AFTER_S,
        client_id=DEFAULT_CLIENT_ID,
        client_secret=DEFAULT_CLIENT_SECRET,
    )
    checked.app = paypal_app(fresh)
    with closing(fresh), closing(PaypalControlClient(f"{url}/_control")) as control:
        yield RunningPaypal(
            url=url, client_id=DEFAULT_CLIENT_ID, client_secret=DEFAULT_CLIENT_SECRET, control=control
        )
    checked.app = None
    breaches, checked.breaches = checked.breaches, []
    assert breaches == []


@pytest.fixture
def control(simulator: RunningPaypal) -> PaypalControlClient:
    return simulator.control


@pytest.fixture
def shop(simulator: RunningPaypal) -> Iterator[Shop]:
    with open_shop(simulator) as shop:
        yield shop
