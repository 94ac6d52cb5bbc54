"""The PayPal simulator behind the contract: one server, whose every call is held against PayPal's own files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from simulators.paypal import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from simulators.paypal.app import paypal_app
from simulators.paypal.control_client import PaypalControlClient
from simulators.paypal.simulator import PaypalSimulator
from simulators.running import RunningPaypal
from simulators.serving import listening, served_in_thread
from tests.simulators.paypal.contract import CheckedApp

SETTLE_AFTER_S = 60.0


@contextmanager
def checked_paypal() -> Iterator[tuple[RunningPaypal, CheckedApp]]:
    """A simulator for the length of the block. The caller asserts that there are no `breaches`."""
    simulator = PaypalSimulator(
        data_file=None,
        settle_after_s=SETTLE_AFTER_S,
        client_id=DEFAULT_CLIENT_ID,
        client_secret=DEFAULT_CLIENT_SECRET,
    )
    app = CheckedApp(paypal_app(simulator))
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with closing(simulator), closing(PaypalControlClient(f"{url}/_control")) as control:
        running = RunningPaypal(
            url=url, client_id=DEFAULT_CLIENT_ID, client_secret=DEFAULT_CLIENT_SECRET, control=control
        )
        with served_in_thread(app, listener):
            yield running, app
