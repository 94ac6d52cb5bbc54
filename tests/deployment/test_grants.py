"""ops/grants on real servers: with its rights each program does its work, and without them it can do nothing else."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pika
import psycopg
import pytest
from pika.exceptions import ChannelClosedByBroker
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.engine import make_url

from consumers.bus import KombuBus
from ledger.guards import APPEND_ONLY
from ledger.schema import migrate
from ledger.tables import metadata
from ops import compose_secrets
from tests import keys
from tests.cases.house import House
from tests.dead_letters.letters import given_up, lying, publish
from tests.servers import OwnPostgres, OwnRabbitmq
from tests.street.street import street
from tests.workers import QUICK, ROOT, eventually

GRANTS = ROOT / "ops" / "grants"
USERS = ("payments-worker", "payments-ingestor", "payments-operator", "order-service", "notification-service")
ROLES = ("worker", "operator", "custodian", "auditor")
TABLES = sorted(metadata.tables)

Granted = Callable[[str], str]
"""From a role to the URL of a user who has it and nothing else."""


@pytest.fixture
def granted(postgres_owned: OwnPostgres) -> Iterator[Granted]:
    """A database whose owner has run the grants, twice."""
    owner = postgres_owned.fresh_database()
    migrate(owner)
    for _ in range(2):
        done = subprocess.run(
            [
                postgres_owned.program("psql"),
                "-v",
                "ON_ERROR_STOP=1",
                "-qd",
                _libpq(owner),
                "-f",
                GRANTS / "postgresql.sql",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    tag = secrets.token_hex(3)
    for role in ROLES:
        postgres_owned.psql(f"CREATE ROLE {role}_{tag} LOGIN PASSWORD 'tried' IN ROLE payments_{role}")

    def url_of(role: str) -> str:
        url = make_url(owner)
        if role != "owner":
            url = url.set(username=f"{role}_{tag}", password="tried")
        return url.render_as_string(hide_password=False)

    yield url_of
    postgres_owned.drop_database(owner)
    for role in ROLES:
        postgres_owned.psql(f"DROP ROLE {role}_{tag}")


@pytest.fixture
def of_user(rabbitmq_owned: OwnRabbitmq, vhost: str) -> Iterator[Granted]:
    """From a user of the broker to his URL of a virtual host."""
    for user in USERS:
        rabbitmq_owned.ctl("add_user", user, "tried")
    rabbitmq_owned.run(GRANTS / "rabbitmq.sh", urlsplit(vhost).path[1:])

    def url_of(user: str) -> str:
        parts = urlsplit(vhost)
        return urlunsplit(parts._replace(netloc=f"{user}:tried@{parts.hostname}:{parts.port}"))

    yield url_of
    for user in USERS:
        rabbitmq_owned.ctl("delete_user", user)


def test_with_its_rights_each_program_does_its_work(
    granted: Granted, of_user: Granted, vhost: str, tmp_path: Path
) -> None:
    rights = {
        "PAYMENTS_BROKER_URL": of_user("payments-worker"),
        "PAYMENTS_DATABASE_URL": granted("worker"),
        "PAYMENTS_SANDBOX__ENABLED": "true",
    }
    with street(tmp_path, broker_url=vhost, database_url=granted("owner"), **rights) as place:
        for gateway in ("stripe", "adyen", "paypal"):
            place.pay(gateway, f"pay-{gateway}", capture="manual")
            place.await_event(f"pay-{gateway}", "PaymentAuthorized")
            place.capture(f"capture-{gateway}", f"pay-{gateway}", 6_000)
            place.await_event(f"capture-{gateway}", "PaymentSucceeded")
            place.refund(f"refund-{gateway}", f"pay-{gateway}", 1_000)
            place.await_event(f"refund-{gateway}", "RefundProcessed")
            eventually(partial(place.callbacks, f"pay-{gateway}"), within_s=30, what="its callbacks")

        publish(vhost, [given_up(number) for number in range(3)])
        eventually(lambda: sum(lying(vhost).values()) == 3, within_s=30, what="three are dead")
        operator = {
            "PAYMENTS_BROKER_URL": of_user("payments-operator"),
            "PAYMENTS_DATABASE_URL": granted("operator"),
        }
        assert _payments(operator, "dead-letters", "drain")["new"] == 3
        _payments(operator, "dead-letters", "requeue", "--all", "--reason", "tried", "--yes", "--wait", "30")
        letters = _payments(operator, "dead-letters", "list", "--state", "resolved")
        assert len(letters["letters"] if isinstance(letters, dict) else letters) == 3

        auditor = {"PAYMENTS_DATABASE_URL": granted("auditor")}
        assert _payments(auditor, "verify")["problems"] == []
        assert _payments(auditor, "show", "pay-stripe")["payment"]["status"] == "captured"

    shutil.copytree(keys.DIRECTORY, tmp_path / "keys")
    custodian = {"PAYMENTS_DATABASE_URL": granted("custodian"), "PAYMENTS_KEYS_DIR": str(tmp_path / "keys")}
    _payments(custodian, "keys", "new", "--reason", "tried")
    done = _payments(custodian, "keys", "rotate", "--reason", "tried", "--yes")
    assert {table for table, count in done["rows"].items() if count} >= {
        "payments",
        "refunds",
        "inbox",
        "dead_letters",
    }
    assert (done["shut"], done["left"]) == ([], 0)
    _payments(custodian, "keys", "retire", keys.KEY.key_id, "--reason", "tried")
    assert _payments(auditor, "verify")["problems"] == []


@pytest.mark.parametrize("role", ROLES)
def test_nobody_changes_or_deletes_what_is_booked_or_switches_its_guards_off(
    role: str, granted: Granted
) -> None:
    with psycopg.connect(_libpq(granted(role)), autocommit=True) as connection:
        for table in APPEND_ONLY:
            for attempt in (
                f"UPDATE {table} SET {next(iter(metadata.tables[table].columns)).name} = NULL",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}",
            ):
                with pytest.raises(InsufficientPrivilege):
                    connection.execute(attempt.encode())
        for table in TABLES:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"DELETE FROM {table}".encode())
        for attempt in (
            "SET session_replication_role = replica",
            "CREATE TABLE elsewhere (a int)",
            "CREATE OR REPLACE FUNCTION ledger_check_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
            "SET ROLE payments",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(attempt.encode())


def test_the_auditor_reads_everything_and_writes_nothing(granted: Granted) -> None:
    with psycopg.connect(_libpq(granted("auditor")), autocommit=True) as connection:
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1".encode())
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"INSERT INTO {table} DEFAULT VALUES".encode())
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {table} FOR UPDATE".encode())


def test_an_operator_touches_of_a_payment_nothing_but_its_mark(granted: Granted) -> None:
    with psycopg.connect(_libpq(granted("operator")), autocommit=True) as connection:
        connection.execute(b"UPDATE payments SET attention = attention")
        for change in ("UPDATE payments SET status = status", "INSERT INTO payments DEFAULT VALUES"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(change.encode())
        for table in (
            "attempts",
            "captures",
            "refunds",
            "callbacks",
            "journals",
            "entries",
            "encryption_keys",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"INSERT INTO {table} DEFAULT VALUES".encode())
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {table} FOR UPDATE".encode())


def test_an_operator_works_on_a_case_and_takes_its_mark_off(granted: Granted) -> None:
    house = House(granted("owner"))
    name = house.mismatch(1)
    operator = {"PAYMENTS_DATABASE_URL": granted("operator")}

    assert _payments(operator, "cases", "take", name)["owner"]
    assert _payments(operator, "cases", "resolve", name, "--reason", "tried", "--yes")["state"] == "resolved"
    assert _payments(operator, "cases", "list")["cases"] == []

    assert not house.is_marked(1)
    assert _payments({"PAYMENTS_DATABASE_URL": granted("auditor")}, "verify")["problems"] == []
    house.desk.ledger.close()


def test_the_custodian_changes_what_is_encrypted_and_nothing_beside_it(granted: Granted) -> None:
    with psycopg.connect(_libpq(granted("custodian")), autocommit=True) as connection:
        connection.execute(b"UPDATE payments SET request = request")
        for column in ("status", "captured_gross", "attention"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"UPDATE payments SET {column} = {column}".encode())


def test_the_doctor_is_content_with_a_worker_and_warns_of_an_owner(granted: Granted) -> None:
    told = {
        role: {
            finding["point"]: finding["mark"]
            for finding in _payments({"PAYMENTS_DATABASE_URL": granted(role)}, "doctor", status=None)[
                "findings"
            ]
        }
        for role in ("worker", "owner")
    }
    assert told["worker"]["grants on the books"] == "well"
    assert told["owner"]["grants on the books"] == "wrong"


MAY_NOT_WRITE = {
    "payments-ingestor": ("payments.commands", "payments.events", "payments.operations", ""),
    "payments-operator": ("payments.commands", "payments.events", "payments.callbacks"),
    "order-service": (
        "payments.events",
        "payments.callbacks",
        "payments.operations",
        "payments.dead-letters",
        "",
    ),
    "notification-service": ("payments.commands", "payments.events", "payments.callbacks", ""),
}
MAY_NOT_READ = {
    "payments-ingestor": ("payments.payment-commands", "payments.payment-commands.dead"),
    "payments-operator": ("payments.payment-commands", "payments.gateway-callbacks"),
    "order-service": ("payments.payment-commands", "payments.refund-commands.dead"),
    "notification-service": ("payments.payment-commands", "payments.gateway-callbacks.dead"),
}
MAY_WRITE = {
    "payments-ingestor": ("payments.callbacks", "callback.stripe"),
    "order-service": ("payments.commands", "payment.requested"),
    "payments-operator": ("", "payments.payment-commands"),
}


@pytest.fixture
def channels(of_user: Granted, vhost: str) -> Iterator[Callable[[str], Any]]:
    """Channels of users at a broker with the topology on it: a refusal closes one."""
    with closing(KombuBus(urls=[of_user("payments-worker")], queues=(), prefetch=1)) as bus:
        bus.open()
    connections: dict[str, Any] = {}

    def channel(user: str) -> Any:
        if user not in connections:
            connections[user] = pika.BlockingConnection(pika.URLParameters(of_user(user)))
        channel = connections[user].channel()
        channel.confirm_delivery()
        return channel

    yield channel
    for connection in connections.values():
        connection.close()


def test_users_of_the_broker_write_and_read_what_is_theirs_and_nothing_else(
    channels: Callable[[str], Any],
) -> None:
    for user, exchanges in MAY_NOT_WRITE.items():
        for exchange in exchanges:
            with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
                channels(user).basic_publish(exchange, "payment.requested", b"{}")
    for user, queues in MAY_NOT_READ.items():
        for queue in queues:
            with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
                channels(user).basic_get(queue)
    for user, (exchange, routing_key) in MAY_WRITE.items():
        channels(user).basic_publish(exchange, routing_key, b"{}", mandatory=True)
    with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
        channels("order-service").basic_publish("payments.commands", "review.decided", b"{}")
    for user in MAY_NOT_WRITE:
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channels(user).queue_delete("payments.payment-commands")
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channels(user).queue_bind("payments.payment-commands", "payments.events", "#")

    for service in ("order-service", "notification-service"):
        channel = channels(service)
        channel.queue_declare(f"{service}.events", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(f"{service}.events", "payments.events", "#")
    channels("payments-worker").basic_publish("payments.events", "payment.succeeded", b"{}", mandatory=True)
    for service in ("order-service", "notification-service"):
        eventually(partial(_has_one, channels(service), f"{service}.events"), within_s=10, what=service)


def test_compose_gives_worker_and_ingestor_the_same() -> None:
    lines = re.findall(
        r"^may payments-(\w+) '(.*)' '(.*)' '(.*)'$", (GRANTS / "rabbitmq.sh").read_text(), re.M
    )
    granted = {user: tuple(patterns) for user, *patterns in lines}
    for user in ("worker", "ingestor"):
        assert compose_secrets._MAY[user] == granted[user]


def _has_one(channel: Any, queue: str) -> bool:
    return channel.basic_get(queue, auto_ack=True)[0] is not None


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _payments(settings: dict[str, str], *arguments: str, status: int | None = 0) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments, "--json"],
        env={
            **clean,
            **QUICK,
            "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
            "PAYMENTS_OPERATORS__ACTOR": "ada",
            **settings,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert status is None or done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)
