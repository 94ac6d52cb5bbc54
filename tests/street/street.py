"""A street with three gateways on it: their simulators, the ingestor they call, a worker, a shop that asks and listens.

Worker and ingestor are processes as an operator starts them; the simulators run in the test's own process, where the
test can look at what they really did.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateways.exponents import ADYEN_UNITS, PAYPAL_UNITS, STRIPE_UNITS
from ledger.reading import reading, rows
from ledger.schema import migrate
from ledger.stories import Story
from ledger.stories import story as story_of
from ledger.verify import verify
from ops.publish import CommandLine, publish
from simulators.control_client import ControlClient
from simulators.running import running_adyen, running_paypal, running_stripe
from tests.listener import Heard, Listener
from tests.street.door import Door, door_to
from tests.workers import QUICK, ROOT, Worker, eventually, workers

SETTLE_AFTER_S = 1.0
HMAC_KEY = "5A" * 32
STRIPE_SECRET = "whsec_of_the_street"
CARDS = {"stripe": "pm_card_visa", "adyen": "sim_authorised", "paypal": "card:sim-card"}
"""What pays without questions, by gateway."""

WORDS = {"charge": "sale", "authorise": "authorize", "cancel": "void", "release": "void"}
"""What simulators call what we call otherwise."""

Move = tuple[str, int]
"""What really moved: an operation in our words, and minor units of ours."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One gateway on the street."""

    name: str
    control: ControlClient
    door: Door
    settings: Mapping[str, str]
    moves: Callable[[], list[tuple[str, Move]]]
    """Everything that moved, first to last, each with the payment it belongs to."""


class Ingestor:
    """The webhook ingestor as a process."""

    def __init__(self, settings: Mapping[str, str], directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._settings = settings
        self._directory = directory
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is well."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        with (self._directory / "ingestor.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "run_worker.py"), "webhooks", "--port", str(self._port)],
                env={**clean, **self._settings},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        eventually(self._is_well, within_s=30, what="the ingestor is well")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def _is_well(self) -> bool:
        assert self.process.poll() is None, (self._directory / "ingestor.log").read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False


class Street:
    """Everybody on it."""

    def __init__(
        self,
        *,
        settings: Mapping[str, str],
        gateways: Mapping[str, Simulated],
        ingestor: Ingestor,
        worker: Worker,
        broker_url: str,
        ledger_url: str,
    ) -> None:
        self.settings = settings
        self.gateways = gateways
        self.ingestor = ingestor
        self.worker = worker
        self.broker_url = broker_url
        self.ledger_url = ledger_url
        self._listener = Listener(broker_url)
        self._messages = 0

    # --- what the shop asks ---

    def pay(self, gateway: str, payment_id: str, minor: int = 10_000, **fields: Any) -> None:
        """Ask for a payment in EUR."""
        token = fields.pop("token", CARDS[gateway])
        usual: dict[str, Any] = {
            "payment_id": payment_id,
            "order_id": f"order-{payment_id}",
            "amount": {"minor": minor, "currency": "EUR"},
            "payment_method": {"token": token, "gateway": gateway},
            "customer_id": "customer-1001",
            "return_url": "https://shop.example/return",
        }
        self.ask("PaymentRequested", usual | fields)

    def capture(self, capture_id: str, payment_id: str, minor: int | None = None, **fields: Any) -> None:
        """Ask to take held money."""
        amount = {} if minor is None else {"amount": {"minor": minor, "currency": "EUR"}}
        self.ask("CaptureRequested", {"capture_id": capture_id, "payment_id": payment_id, **amount, **fields})

    def void(self, payment_id: str) -> None:
        """Ask to let go of what is held."""
        self.ask("VoidRequested", {"payment_id": payment_id})

    def refund(self, refund_id: str, payment_id: str, minor: int | None = None, **fields: Any) -> None:
        """Ask to give money back."""
        amount = {} if minor is None else {"amount": {"minor": minor, "currency": "EUR"}}
        self.ask("RefundRequested", {"refund_id": refund_id, "payment_id": payment_id, **amount, **fields})

    def ask(self, kind: str, data: Mapping[str, Any]) -> None:
        """Publish a command."""
        self._messages += 1
        line = CommandLine(
            id=f"msg-{self._messages}", type=kind, source="/shop", data=json.dumps(data).encode()
        )
        publish([self.broker_url], [line])

    # --- what the shop hears ---

    def events(self, about: str) -> list[Heard]:
        """The events of a payment, or about one of its refunds, in order; repeats under one id are dropped."""
        of_it = (
            event
            for event in self._listener.listen()
            if about in (event.about, event.body.get("payment_id"), event.body.get("capture_id"))
        )
        return list({event.id: event for event in of_it}.values())

    def kinds(self, about: str) -> list[str]:
        """Their types."""
        return [event.type for event in self.events(about)]

    def await_event(self, about: str, kind: str, *, within_s: float = 60) -> Heard:
        """Wait until an event is heard."""
        eventually(lambda: kind in self.kinds(about), within_s=within_s, what=f"{kind} about {about}")
        return next(event for event in self.events(about) if event.type == kind)

    # --- what is so ---

    def moved(self, gateway: str, payment_id: str) -> list[Move]:
        """What the gateway really did to a payment's money, first to last."""
        return [move for payment, move in self.gateways[gateway].moves() if payment == payment_id]

    def story(self, payment_id: str) -> Story:
        """Everything the books know of a payment."""
        story = story_of(self.ledger_url, payment_id)
        assert story is not None, f"no payment {payment_id} in the books"
        return story

    def callbacks(self, payment_id: str) -> list[str]:
        """The events, in the gateway's words, of the callbacks that were taken in about a payment."""
        asked = "SELECT event FROM callbacks WHERE payment_id = :id AND state = 'taken' ORDER BY received_at"
        with reading(self.ledger_url) as books:
            return [row.event for row in rows(books, asked, id=payment_id)]

    def problems(self) -> list[str]:
        """What is wrong with the books."""
        return verify(self.ledger_url).problems

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


@contextmanager
def street(
    directory: Path,
    *,
    broker_url: str | None = None,
    database_url: str | None = None,
    **settings: str,
) -> Iterator[Street]:
    """Open the street; on the embedded default unless a broker and a database are given."""
    ledger_url = database_url or f"sqlite:///{directory / 'ledger.db'}"
    migrate(ledger_url)
    with ExitStack() as stack:
        gateways = {
            "stripe": stack.enter_context(_stripe()),
            "adyen": stack.enter_context(_adyen()),
            "paypal": stack.enter_context(_paypal(directory)),
        }
        environment = {
            **QUICK,
            "PAYMENTS_SANDBOX__ENABLED": "false",
            "PAYMENTS_DATA_DIR": str(directory),
            "PAYMENTS_DEFAULT_GATEWAY": "stripe",
            **({"PAYMENTS_BROKER_URL": broker_url} if broker_url else {}),
            **({"PAYMENTS_DATABASE_URL": database_url} if database_url else {}),
            **{name: value for one in gateways.values() for name, value in one.settings.items()},
            **settings,
        }
        ingestor = Ingestor(environment, directory)
        stack.callback(ingestor.kill)
        for name, one in gateways.items():
            one.control.deliver(url=f"{ingestor.url}/webhooks/{name}")
        (worker,) = stack.enter_context(workers(environment, directory, count=1))
        eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")
        place = Street(
            settings=environment,
            gateways=gateways,
            ingestor=ingestor,
            worker=worker,
            broker_url=broker_url or f"embedded://{directory}",
            ledger_url=ledger_url,
        )
        yield stack.enter_context(closing(place))


def _word(line: Mapping[str, Any]) -> str:
    operation: str = line["operation"]
    return WORDS.get(operation, operation)


@contextmanager
def _stripe() -> Iterator[Simulated]:
    with running_stripe(settle_after_s=SETTLE_AFTER_S) as running, door_to(running.url) as door:
        running.control.deliver(secrets=[STRIPE_SECRET])

        def moves() -> list[tuple[str, Move]]:
            return [
                (
                    line["metadata"].get("payment_id", ""),
                    (_word(line), STRIPE_UNITS.from_wire(line["amount"], line["currency"]).minor),
                )
                for line in running.control.record()
            ]

        yield Simulated(
            name="stripe",
            control=running.control,
            door=door,
            moves=moves,
            settings={
                "PAYMENTS_STRIPE__API_KEY": running.api_key,
                "PAYMENTS_STRIPE__BASE_URL": door.url,
                "PAYMENTS_STRIPE__CONNECT_TIMEOUT_S": "1",
                "PAYMENTS_STRIPE__READ_TIMEOUT_S": "2",
                "PAYMENTS_STRIPE__WEBHOOK_SECRETS": json.dumps([STRIPE_SECRET]),
            },
        )


@contextmanager
def _adyen() -> Iterator[Simulated]:
    with running_adyen(settle_after_s=SETTLE_AFTER_S) as running, door_to(running.url) as door:
        running.control.deliver(hmac_key=HMAC_KEY, username="street", password="street-password")

        def moves() -> list[tuple[str, Move]]:
            return [
                (
                    line["metadata"].get("payment_id", ""),
                    (_word(line), ADYEN_UNITS.from_wire(line["amount"], line["currency"]).minor),
                )
                for line in running.control.record()
            ]

        yield Simulated(
            name="adyen",
            control=running.control,
            door=door,
            moves=moves,
            settings={
                "PAYMENTS_ADYEN__API_KEY": running.api_key,
                "PAYMENTS_ADYEN__MERCHANT_ACCOUNT": running.merchant_account,
                "PAYMENTS_ADYEN__BASE_URL": door.url,
                "PAYMENTS_ADYEN__CONNECT_TIMEOUT_S": "1",
                "PAYMENTS_ADYEN__READ_TIMEOUT_S": "2",
                "PAYMENTS_ADYEN__HMAC_KEYS": json.dumps([HMAC_KEY]),
                "PAYMENTS_ADYEN__WEBHOOK_USERNAME": "street",
                "PAYMENTS_ADYEN__WEBHOOK_PASSWORDS": json.dumps(["street-password"]),
            },
        )


@contextmanager
def _paypal(directory: Path) -> Iterator[Simulated]:
    with running_paypal(settle_after_s=SETTLE_AFTER_S) as running, door_to(running.url) as door:
        authority = directory / "paypal-authority.pem"
        authority.write_text(running.control.authority())
        running.control.deliver(webhook_id="WH0FTHESTREET")

        def moves() -> list[tuple[str, Move]]:
            return [
                (
                    line["order_custom_id"].rsplit(".", 1)[0],
                    (_word(line), PAYPAL_UNITS.from_decimal(line["amount"], line["currency"]).minor),
                )
                for line in running.control.record()
            ]

        yield Simulated(
            name="paypal",
            control=running.control,
            door=door,
            moves=moves,
            settings={
                "PAYMENTS_PAYPAL__CLIENT_ID": running.client_id,
                "PAYMENTS_PAYPAL__CLIENT_SECRET": running.client_secret,
                "PAYMENTS_PAYPAL__BASE_URL": door.url,
                "PAYMENTS_PAYPAL__CONNECT_TIMEOUT_S": "1",
                "PAYMENTS_PAYPAL__READ_TIMEOUT_S": "2",
                "PAYMENTS_PAYPAL__WEBHOOK_IDS": json.dumps(["WH0FTHESTREET"]),
                "PAYMENTS_PAYPAL__WEBHOOK_ORIGINS": json.dumps([door.url]),
                "PAYMENTS_PAYPAL__WEBHOOK_CA_FILE": str(authority),
            },
        )
