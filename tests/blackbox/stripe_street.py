"""A street with Stripe on it: the simulator as a process, a worker that uses it, and a shop that asks and listens."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from ledger.schema import migrate
from ops.publish import CommandLine, publish
from simulators.control_client import ControlClient
from tests.listener import Heard, Listener
from tests.workers import QUICK, ROOT, Worker, eventually, workers

API_KEY = "sk_test_simulator"


class StripeProcess:
    """The simulator as an operator starts it; stopped and started again it goes on where it ended."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.control = ControlClient(f"{self.url}/_control")
        self._directory = directory
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = [sys.executable, str(ROOT / "run_worker.py"), "simulate", "stripe"]
        options = ["--port", str(self._port), "--data-file", str(self._directory / "stripe.db")]
        with (self._directory / "stripe.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*program, *options],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, within_s=30, what="the simulator answers")

    def stop(self) -> None:
        """Stop it: whoever calls is refused the connection."""
        self._process.terminate()
        self._process.wait(30)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.control.close()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the simulator has ended"
        try:
            return self.control.now() > 0
        except httpx.TransportError:
            return False

    def moved(self, name: str) -> list[tuple[str, int]]:
        """What really moved for a payment or refund, first to last: operation and minor units."""
        by = "refund_id" if name.startswith("ref") else "payment_id"
        return [
            (line["operation"], line["amount"])
            for line in self.control.record()
            if line["metadata"].get(by) == name and ("refund_id" in line["metadata"]) == (by == "refund_id")
        ]


class Street:
    """Everybody on it."""

    def __init__(
        self, *, settings: Mapping[str, str], stripe: StripeProcess, worker: Worker, directory: Path
    ) -> None:
        self.settings = settings
        self.broker_url = settings["PAYMENTS_BROKER_URL"]
        self.database_url = settings["PAYMENTS_DATABASE_URL"]
        self.stripe = stripe
        self.worker = worker
        self._directory = directory
        self._listener = Listener(self.broker_url)
        self._asked: list[CommandLine] = []

    def pay(self, name: str, card: str = "pm_card_visa", **fields: object) -> None:
        """Ask for a payment of 19.99 EUR through Stripe."""
        usual: dict[str, object] = {
            "payment_id": f"pay_{name}",
            "order_id": f"order_{name}",
            "amount": {"minor": 1999, "currency": "EUR"},
            "payment_method": {"token": card},
        }
        self._ask("PaymentRequested", f"msg_pay_{name}", usual | fields)

    def refund(self, name: str, payment: str, **fields: object) -> None:
        """Ask for a refund of a payment, all that is left unless told otherwise."""
        usual: dict[str, object] = {"refund_id": f"ref_{name}", "payment_id": f"pay_{payment}"}
        self._ask("RefundRequested", f"msg_ref_{name}", usual | fields)

    def ask_everything_again(self) -> None:
        """Publish every command once more, as it was."""
        publish([self.broker_url], self._asked)

    def _ask(self, kind: str, message_id: str, data: Mapping[str, object]) -> None:
        line = CommandLine(id=message_id, type=kind, source="/shop", data=json.dumps(data).encode())
        self._asked.append(line)
        publish([self.broker_url], [line])

    def heard(self, about: str) -> list[Heard]:
        """The events about a payment or refund, in order; repeats under one id are dropped."""
        return list({event.id: event for event in self._listener.listen() if event.about == about}.values())

    def kinds(self, about: str) -> list[str]:
        """The types of these events."""
        return [event.type for event in self.heard(about)]

    def all_heard(self) -> list[Heard]:
        """Every event, repeats too."""
        return self._listener.listen()

    def await_event(self, about: str, kind: str) -> Heard:
        """Wait until an event is heard."""
        eventually(lambda: kind in self.kinds(about), within_s=60, what=f"{kind} about {about}")
        return next(event for event in self.heard(about) if event.type == kind)

    def log(self) -> str:
        """All that workers have said so far."""
        return "".join(log.read_text() for log in sorted(self._directory.glob("worker-*.log")))

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


@contextmanager
def street(broker_url: str, database_url: str, directory: Path) -> Iterator[Street]:
    """Open the street: migrated books, the simulator, and one worker that has Stripe alone."""
    migrate(database_url)
    stripe = StripeProcess(directory)
    settings = {
        **QUICK,
        "PAYMENTS_SANDBOX__ENABLED": "false",
        "PAYMENTS_BROKER_URL": broker_url,
        "PAYMENTS_DATABASE_URL": database_url,
        "PAYMENTS_DATA_DIR": str(directory),
        "PAYMENTS_DEFAULT_GATEWAY": "stripe",
        "PAYMENTS_STRIPE__API_KEY": API_KEY,
        "PAYMENTS_STRIPE__BASE_URL": stripe.url,
        "PAYMENTS_STRIPE__CONNECT_TIMEOUT_S": "1",
        "PAYMENTS_STRIPE__READ_TIMEOUT_S": "2",
    }
    try:
        with workers(settings, directory, count=1) as (worker,):
            eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")
            place = Street(settings=settings, stripe=stripe, worker=worker, directory=directory)
            with closing(place):
                yield place
    finally:
        stripe.kill()
