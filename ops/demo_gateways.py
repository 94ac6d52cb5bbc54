"""The demo's second act: one order on each gateway, played by its simulator, with the webhooks it sends.

Simulators and ingestor run on free ports of this machine. Everything else is as it would be with the vendors: their
APIs over HTTP, their signatures, their ways of telling things late.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.table import Table

from ledger.reading import reading, rows
from ops.publish import CommandLine, publish
from simulators.control_client import ControlClient
from simulators.running import running_adyen, running_paypal, running_stripe

SETTLE_AFTER_S = 0.5
START_WITHIN_S = 30.0
STRIPE_SECRET, PAYPAL_WEBHOOK = "whsec_of_the_demo", "WH0FTHEDEM0"
ADYEN_KEY, ADYEN_LOGIN = "5A" * 32, "demo"
TOKENS = {"stripe": "pm_card_visa", "adyen": "sim_authorised", "paypal": "card:sim-card"}
"""A card that pays without questions, by gateway."""

HAPPENS = ("PaymentAuthorized", "PaymentSucceeded", "RefundProcessed")
"""What must be heard of each order: held, taken in part, given back in part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """The three simulators, and how a worker and an ingestor reach them."""

    settings: Mapping[str, str]
    controls: Mapping[str, ControlClient]


@contextmanager
def three_gateways(directory: Path) -> Iterator[Gateways]:
    """Run the simulators for the length of the block."""
    with ExitStack() as stack:
        stripe = stack.enter_context(running_stripe(settle_after_s=SETTLE_AFTER_S))
        adyen = stack.enter_context(running_adyen(settle_after_s=SETTLE_AFTER_S))
        paypal = stack.enter_context(running_paypal(settle_after_s=SETTLE_AFTER_S))
        stripe.control.deliver(secrets=[STRIPE_SECRET])
        adyen.control.deliver(hmac_key=ADYEN_KEY, username=ADYEN_LOGIN, password=ADYEN_LOGIN)
        paypal.control.deliver(webhook_id=PAYPAL_WEBHOOK)
        authority = directory / "paypal-authority.pem"
        authority.write_text(paypal.control.authority())
        yield Gateways(
            controls={"stripe": stripe.control, "adyen": adyen.control, "paypal": paypal.control},
            settings={
                "PAYMENTS_STRIPE__API_KEY": stripe.api_key,
                "PAYMENTS_STRIPE__BASE_URL": stripe.url,
                "PAYMENTS_STRIPE__WEBHOOK_SECRETS": json.dumps([STRIPE_SECRET]),
                "PAYMENTS_ADYEN__API_KEY": adyen.api_key,
                "PAYMENTS_ADYEN__MERCHANT_ACCOUNT": adyen.merchant_account,
                "PAYMENTS_ADYEN__BASE_URL": adyen.url,
                "PAYMENTS_ADYEN__HMAC_KEYS": json.dumps([ADYEN_KEY]),
                "PAYMENTS_ADYEN__WEBHOOK_USERNAME": ADYEN_LOGIN,
                "PAYMENTS_ADYEN__WEBHOOK_PASSWORDS": json.dumps([ADYEN_LOGIN]),
                "PAYMENTS_PAYPAL__CLIENT_ID": paypal.client_id,
                "PAYMENTS_PAYPAL__CLIENT_SECRET": paypal.client_secret,
                "PAYMENTS_PAYPAL__BASE_URL": paypal.url,
                "PAYMENTS_PAYPAL__WEBHOOK_IDS": json.dumps([PAYPAL_WEBHOOK]),
                "PAYMENTS_PAYPAL__WEBHOOK_ORIGINS": json.dumps([paypal.url]),
                "PAYMENTS_PAYPAL__WEBHOOK_CA_FILE": str(authority.absolute()),
            },
        )


@contextmanager
def ingestor(
    gateways: Gateways, environment: Mapping[str, str], *, program: Path, log: Path
) -> Iterator[None]:
    """Run the webhook ingestor, and have the simulators call it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(program), "webhooks", "--port", str(port)],
            env={**clean, **environment, **gateways.settings},
            stdout=output,
            stderr=output,
        )
    try:
        _await_health(f"http://127.0.0.1:{port}/health", process)
        for name, control in gateways.controls.items():
            control.deliver(url=f"http://127.0.0.1:{port}/webhooks/{name}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the webhook ingestor did not start")


def payment_of(gateway: str) -> str:
    """The demo's payment on a gateway."""
    return f"pay_at_{gateway}"


def ask(url: str, kind: str, **data: Any) -> None:
    """Publish one command, as Order Service would."""
    names = (data.get("refund_id"), data.get("capture_id"), data["payment_id"])
    name = next(name for name in names if name)
    line = CommandLine(
        id=f"cmd_{kind}_{name}", type=kind, source="/order-service", data=json.dumps(data).encode()
    )
    publish([url], [line])


def order(url: str, gateway: str) -> None:
    """Hold 100.00 EUR."""
    ask(
        url,
        "PaymentRequested",
        payment_id=payment_of(gateway),
        order_id=f"at_{gateway}",
        amount={"minor": 10_000, "currency": "EUR"},
        payment_method={"gateway": gateway, "token": TOKENS[gateway]},
        capture="manual",
        customer_id="customer-1001",
        return_url="https://shop.example/return",
    )


def go_on(url: str, gateway: str, kind: str) -> None:
    """What Order Service asks for when it has heard of something: 90.00 are taken, 20.00 of them given back."""
    payment_id = payment_of(gateway)
    if kind == "PaymentAuthorized":
        amount = {"minor": 9_000, "currency": "EUR"}
        ask(url, "CaptureRequested", capture_id=f"cap_{gateway}", payment_id=payment_id, amount=amount)
    if kind == "PaymentSucceeded":
        amount = {"minor": 2_000, "currency": "EUR"}
        ask(url, "RefundRequested", refund_id=f"ref_{gateway}", payment_id=payment_id, amount=amount)


def told(ledger_url: str, gateway: str) -> list[str]:
    """The gateway's callbacks about its payment that are in the books, in its own words."""
    asked = (
        "SELECT event FROM callbacks WHERE payment_id = :id AND state = 'taken' ORDER BY received_at, event"
    )
    with reading(ledger_url) as books:
        return [row.event for row in rows(books, asked, id=payment_of(gateway))]


def problems_at(gateways: Gateways) -> Iterator[str]:
    """Compare with the simulators' own records: each order was held, taken and refunded once."""
    for name, control in gateways.controls.items():
        words = Counter(line["operation"] for line in control.record())
        for operation in (("authorize", "authorise"), ("capture",), ("refund",)):
            times = sum(words[word] for word in operation)
            if times != 1:
                yield f"{name}: {operation[0]} was executed {times} times"


def table(heard: Mapping[str, list[str]], ledger_url: str) -> Table:
    """Draw what was heard of each, and what its gateway told."""
    drawn = Table(
        title="One order on each gateway", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    drawn.add_column("gateway")
    drawn.add_column("events", no_wrap=True)
    drawn.add_column("its webhooks, as they came in")
    for gateway, kinds in heard.items():
        drawn.add_row(gateway, " →\n".join(kinds), "\n".join(told(ledger_url, gateway)))
    return drawn
