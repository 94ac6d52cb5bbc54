"""A Stripe simulator for each test, and the real SDK as its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from simulators.running import RunningSimulator
from simulators.serving import listening, served_in_thread
from simulators.stripe import DEFAULT_API_KEY
from simulators.stripe.app import stripe_app
from simulators.stripe.control_client import StripeControlClient
from simulators.stripe.simulator import StripeSimulator
from tests.simulators.stripe.shop import Shop, open_shop

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK passes its form to httpx in a way that httpx no longer likes."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"))


class Stage:
    """One server for the whole run, whose application changes with each test: a server takes long to stop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "no test has the stage"
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    listener = listening("127.0.0.1", 0)
    stage = Stage(f"http://127.0.0.1:{listener.getsockname()[1]}")
    with served_in_thread(stage, listener):
        yield stage


@pytest.fixture
def simulator(stage: Stage) -> Iterator[RunningSimulator]:
    fresh = StripeSimulator(data_file=None, settle_after_s=60)
    stage.app = stripe_app(fresh, api_key=DEFAULT_API_KEY)
    with closing(fresh), closing(StripeControlClient(f"{stage.url}/_control")) as control:
        yield RunningSimulator(url=stage.url, api_key=DEFAULT_API_KEY, control=control)
    stage.app = None


@pytest.fixture
def control(simulator: RunningSimulator) -> StripeControlClient:
    return simulator.control


@pytest.fixture
def shop(simulator: RunningSimulator) -> Iterator[Shop]:
    with open_shop(simulator) as shop:
        yield shop
