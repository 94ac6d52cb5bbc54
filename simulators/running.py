"""Simulators for the length of a test: on a free loopback port, in a thread of the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from simulators.adyen import DEFAULT_API_KEY as ADYEN_API_KEY
from simulators.adyen import DEFAULT_MERCHANT_ACCOUNT as ADYEN_MERCHANT_ACCOUNT
from simulators.adyen.app import adyen_app
from simulators.adyen.control_client import AdyenControlClient
from simulators.adyen.simulator import AdyenSimulator
from simulators.paypal import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from simulators.paypal import DEFAULT_SETTLE_AFTER_S as PAYPAL_SETTLES_AFTER_S
from simulators.paypal.app import paypal_app
from simulators.paypal.control_client import PaypalControlClient
from simulators.paypal.simulator import PaypalSimulator
from simulators.serving import listening, served_in_thread
from simulators.stripe import DEFAULT_API_KEY, DEFAULT_SETTLE_AFTER_S
from simulators.stripe.app import stripe_app
from simulators.stripe.control_client import StripeControlClient
from simulators.stripe.simulator import StripeSimulator


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSimulator:
    """Where a Stripe simulator is reached."""

    url: str
    api_key: str = field(repr=False)
    control: StripeControlClient = field(repr=False)


@contextmanager
def running_stripe(
    *, data_file: Path | None = None, settle_after_s: float = DEFAULT_SETTLE_AFTER_S
) -> Iterator[RunningSimulator]:
    """Run the Stripe simulator for the length of the block; with a data file it goes on where it ended."""
    simulator = StripeSimulator(data_file=data_file, settle_after_s=settle_after_s)
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    control = StripeControlClient(f"{url}/_control")
    try:
        with served_in_thread(stripe_app(simulator, api_key=DEFAULT_API_KEY), listener):
            yield RunningSimulator(url=url, api_key=DEFAULT_API_KEY, control=control)
    finally:
        control.close()
        simulator.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPaypal:
    """Where the PayPal simulator is reached, and as whom."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    control: PaypalControlClient = field(repr=False)


@contextmanager
def running_paypal(
    *, data_file: Path | None = None, settle_after_s: float = PAYPAL_SETTLES_AFTER_S
) -> Iterator[RunningPaypal]:
    """Run the PayPal simulator for the length of the block; with a data file it goes on where it ended."""
    simulator = PaypalSimulator(
        data_file=data_file,
        settle_after_s=settle_after_s,
        client_id=DEFAULT_CLIENT_ID,
        client_secret=DEFAULT_CLIENT_SECRET,
    )
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    control = PaypalControlClient(f"{url}/_control")
    try:
        with served_in_thread(paypal_app(simulator), listener):
            yield RunningPaypal(
                url=url, client_id=DEFAULT_CLIENT_ID, client_secret=DEFAULT_CLIENT_SECRET, control=control
            )
    finally:
        control.close()
        simulator.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAdyen:
    """Where an Adyen simulator is reached, and for which merchant account."""

    url: str
    api_key: str = field(repr=False)
    merchant_account: str
    control: AdyenControlClient = field(repr=False)


@contextmanager
def running_adyen(
    *, data_file: Path | None = None, settle_after_s: float = 60.0, many_captures: bool = False
) -> Iterator[RunningAdyen]:
    """Run the Adyen simulator for the length of the block; with a data file it goes on where it ended.

    What is asked of a payment is executed `settle_after_s` later, by the simulator's clock.
    """
    simulator = AdyenSimulator(
        data_file=data_file,
        merchant_account=ADYEN_MERCHANT_ACCOUNT,
        settle_after_s=settle_after_s,
        many_captures=many_captures,
    )
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    control = AdyenControlClient(f"{url}/_control")
    try:
        with served_in_thread(adyen_app(simulator, api_key=ADYEN_API_KEY), listener):
            yield RunningAdyen(
                url=url, api_key=ADYEN_API_KEY, merchant_account=ADYEN_MERCHANT_ACCOUNT, control=control
            )
    finally:
        control.close()
        simulator.close()
