"""What compose.yaml starts, started without Docker: its commands, settings, users and health checks, on real servers.

Only addresses and paths are other ones: everything is on this machine, with ports and a directory of the test's own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml
from pika.exceptions import ChannelClosedByBroker
from sqlalchemy.engine import make_url

from ledger.reading import reading, rows
from ops import compose_secrets
from ops.publish import CommandLine, publish
from tests.servers import OwnPostgres, OwnRabbitmq
from tests.servers.leash import free_ports
from tests.workers import ROOT, eventually

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
PORTS = ("8080", "9100", "9101", "12111", "12112", "12113", "1025")
USERS = ("worker", "ingestor", "shop", "admin")
LOGINS = ("worker", "books")
CARDS = {"adyen": "sim_authorised", "paypal": "card:sim-card"}


class Street:
    """The services, each a process where Docker would make a container."""

    def __init__(
        self,
        directory: Path,
        *,
        broker: OwnRabbitmq,
        server: OwnPostgres,
        database_url: str,
        stack: ExitStack,
    ) -> None:
        self._directory = directory
        self._broker = broker
        self._server = server
        self.database_url = database_url
        self._database = make_url(database_url)
        self._stack = stack
        self._ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self.secrets = {name: self.moved(text) for name, text in compose_secrets.files().items()}
        for part in ("run/secrets", "tmp", "var/lib/payments/authority", "var/lib/payments/gateways"):
            (directory / part).mkdir(parents=True)
        (directory / "var/lib/payments/mails").mkdir()
        for name, text in self.secrets.items():
            (directory / "run/secrets" / name).write_text(text)

    def moved(self, text: str) -> str:
        """Put our own addresses and paths in the place of the containers'."""
        here = self._database
        text = re.sub(
            r"\bpayments:[^@]+@postgres:5432", f"{here.username}:{here.password}@postgres:5432", text
        )
        text = text.replace("@postgres:5432/payments", f"@127.0.0.1:{here.port}/{here.database}")
        if text.startswith("[owner]"):
            text = (
                f"[owner]\nhost=127.0.0.1\nport={here.port}\ndbname={here.database}\nuser={here.username}\n"
                f"password={here.password}\n"
            )
        text = text.replace("@rabbitmq:5672/", f"@127.0.0.1:{self._broker.port}/").replace(
            "0.0.0.0", "127.0.0.1"
        )
        text = re.sub(r"http://(?:stripe|adyen|paypal|ingestor):", "http://127.0.0.1:", text)
        for port, ours in self._ports.items():
            text = re.sub(rf"\b{port}\b", ours, text)
        text = re.sub(
            r"(?<![\w.])(/run/secrets|/var/lib/payments|/tmp/)",
            lambda path: f"{self._directory}{path[0]}",
            text,
        )
        return text.replace("/app/", f"{ROOT}/").replace("$$", "$")

    def run(self, service: str) -> str:
        """Run one that comes to an end, and give what it printed."""
        with self._begun(service) as process:
            assert process.wait(90) == 0, self.log(service)
        return self.log(service)

    def start(self, *services: str) -> None:
        """Start some, and wait until each is healthy by its own health check."""
        for service in services:
            self._stack.enter_context(self._begun(service))
        for service in services:
            eventually(lambda of=service: self.is_healthy(of), within_s=40, what=f"{service} is healthy")  # type: ignore[misc]

    def is_healthy(self, service: str) -> bool:
        """What the health check says; a service without one is healthy once it is there."""
        check = SERVICES[service].get("healthcheck")
        if check is None:
            return True
        word, *command = check["test"]
        assert word == "CMD"
        done = subprocess.run(
            self._command(command), env=self._environment(service), capture_output=True, check=False
        )
        return done.returncode == 0

    def log(self, service: str) -> str:
        """What it has printed."""
        return (self._directory / f"{service}.log").read_text()

    @contextmanager
    def _begun(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self._directory / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                self._command(SERVICES[service]["command"]),
                env=self._environment(service),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _command(self, command: list[str]) -> list[str]:
        if command[0] == "psql":
            command = [str(self._server.program("psql")), *command[1:]]
        return [re.sub("^/grants", f"{ROOT}/ops/grants", self.moved(str(word))) for word in command]

    def _environment(self, service: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        told = {
            name: self.moved(str(value)) for name, value in SERVICES[service].get("environment", {}).items()
        }
        if "SMTP_HOST" in told:
            told["SMTP_HOST"] = "127.0.0.1"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**clean, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **told}


@pytest.fixture
def street(rabbitmq_owned: OwnRabbitmq, postgres_owned: OwnPostgres, tmp_path: Path) -> Iterator[Street]:
    """The street before anything on it is started, and its users at the broker."""
    database = postgres_owned.fresh_database()
    with ExitStack() as stack:
        place = Street(
            tmp_path, broker=rabbitmq_owned, server=postgres_owned, database_url=database, stack=stack
        )
        rabbitmq_owned.ctl("import_definitions", str(tmp_path / "run/secrets/definitions.json"))
        yield place
    postgres_owned.drop_database(database)
    for login in LOGINS:
        postgres_owned.psql(f"DROP ROLE IF EXISTS {login}")
    rabbitmq_owned.reset()
    for user in USERS:
        rabbitmq_owned.ctl("delete_user", user)


def test_the_street_takes_money_at_every_gateway_and_writes_to_its_customers(
    street: Street, rabbitmq_owned: OwnRabbitmq
) -> None:
    assert "applied: " in street.run("migrate")
    for _ in range(2):
        street.run("grants")
    assert "declared at " in street.run("topology")
    street.start("stripe", "adyen", "paypal")
    assert "adyen delivers to " in street.run("webhooks")
    street.start("ingestor", "worker", "books", "mail", "notification-taker", "notification-actors")

    told = street.run("order-service")
    for gateway, token in CARDS.items():
        data = (
            f'{{"payment_id": "pay_{gateway}", "order_id": "order_{gateway}", "amount": {{"minor": 5000,'
            f' "currency": "EUR"}}, "payment_method": {{"token": "{token}", "gateway": "{gateway}"}},'
            f' "customer_id": "customer-1", "return_url": "https://shop.example/return"}}'
        )
        publish(
            [rabbitmq_owned.url],
            [CommandLine(id=f"cmd-{gateway}", type="PaymentRequested", source="/shop", data=data.encode())],
        )

    assert "order 2001: 19.99 EUR paid" in told
    assert "order 2002: 129.00 EUR not paid (insufficient_funds)" in told
    eventually(lambda: _paid(street.database_url) == 4, within_s=40, what="all but the declined are paid")
    eventually(
        lambda: _callbacks(street.database_url) == {"stripe", "adyen", "paypal"},
        within_s=40,
        what="webhooks of every gateway are in the books",
    )
    eventually(
        lambda: street.log("mail").count("Subject: Payment received") == 4, within_s=40, what="the mails"
    )
    assert street.is_healthy("worker")
    assert street.is_healthy("books")
    with reading(street.database_url) as books:
        asked = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
        assert "worker" in {row[0] for row in rows(books, asked)}


def test_the_ingestor_can_neither_command_payments_nor_hear_of_them(street: Street) -> None:
    street.run("migrate")
    street.run("topology")
    url = re.search(r'broker_url = "(.*)"', street.secrets["ingestor.toml"])
    assert url is not None

    with pika.BlockingConnection(pika.URLParameters(url[1])) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("payments.callbacks", "callback.stripe", b"{}")
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channel.basic_publish("payments.commands", "payment.requested", b"{}")
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            connection.channel().basic_get("payments.payment-commands")


def _paid(url: str) -> int:
    with reading(url) as books:
        return int(rows(books, "SELECT count(*) FROM payments WHERE status = 'captured'")[0][0])


def _callbacks(url: str) -> set[str]:
    with reading(url) as books:
        return {
            row.gateway for row in rows(books, "SELECT DISTINCT gateway FROM callbacks WHERE state = 'taken'")
        }
