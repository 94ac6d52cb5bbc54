"""An Adyen simulator for each test, the real SDK as its client, and a server for its webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from simulators.adyen import DEFAULT_API_KEY, DEFAULT_MERCHANT_ACCOUNT
from simulators.adyen.app import adyen_app
from simulators.adyen.control_client import AdyenControlClient
from simulators.adyen.simulator import AdyenSimulator
from simulators.running import RunningAdyen
from simulators.serving import listening, served_in_thread
from tests.simulators.adyen.shop import Shop, open_shop

SETTLE_AFTER_S = 60.0


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
def many_captures() -> bool:
    """Whether the account may take a hold in several parts."""
    return False


@pytest.fixture
def simulator(stage: Stage, many_captures: bool) -> Iterator[RunningAdyen]:
    fresh = AdyenSimulator(
        data_file=None,
        merchant_account=DEFAULT_MERCHANT_ACCOUNT,
        settle_after_s=SETTLE_AFTER_S,
        many_captures=many_captures,
    )
    stage.app = adyen_app(fresh, api_key=DEFAULT_API_KEY)
    with closing(fresh), closing(AdyenControlClient(f"{stage.url}/_control")) as control:
        yield RunningAdyen(
            url=stage.url,
            api_key=DEFAULT_API_KEY,
            merchant_account=DEFAULT_MERCHANT_ACCOUNT,
            control=control,
        )
    stage.app = None


@pytest.fixture
def control(simulator: RunningAdyen) -> AdyenControlClient:
    return simulator.control


@pytest.fixture
def shop(simulator: RunningAdyen) -> Iterator[Shop]:
    with open_shop(simulator) as shop:
        yield shop
