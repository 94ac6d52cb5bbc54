"""The doctor on real servers: each point is seen well, and seen unwell after somebody broke it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import amqp
import pytest
from sqlalchemy.engine import make_url

from consumers.bus import KombuBus
from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from ledger.encryption import Keyring
from ledger.guards import APPEND_ONLY
from ledger.key_ceremony import Asker
from ledger.ledger import Ledger
from ledger.rotation import rotate
from ledger.schema import migrate
from ops.doctor.command import examine
from ops.doctor.database import judged_clock
from ops.doctor.finding import Finding, Mark, each
from ops.doctor.keys import encryption_keys
from ops.doctor.machine import encryption_on_the_way
from ops.key_files import new_key, read_keys
from ops.settings import Settings, read_settings
from simulators.running import running_adyen, running_paypal, running_stripe
from tests.servers import OwnRabbitmq, Postgres
from tests.workers import QUICK, ROOT, eventually, workers

NOBODY = "http://127.0.0.1:9"
"""Where no program tells of the books."""


def found(settings: Settings, *points: str, proofs: str = NOBODY) -> dict[str, Finding]:
    """What the doctor says, by point; where a point is named twice, the worst of it."""
    told: dict[str, Finding] = {}
    for one in examine(settings, proofs_url=proofs):
        if one.point not in told or one.mark is Mark.WRONG:
            told[one.point] = one
    return {point: told[point] for point in points} if points else told


def marks(findings: dict[str, Finding]) -> dict[str, str]:
    return {point: one.mark.value for point, one in findings.items()}


@pytest.fixture
def books(postgres: Postgres) -> Iterator[str]:
    """A migrated database."""
    url = postgres.fresh_database(prepared_by=migrate)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def declared(vhost: str) -> str:
    """A virtual host with the topology."""
    bus = KombuBus(urls=[vhost], queues=(), prefetch=1)
    bus.open()
    bus.close()
    return vhost


@pytest.fixture
def settings(books: str, declared: str) -> Settings:
    """A deployment where only the workers are missing."""
    return read_settings(broker_url=declared, database_url=books)


@contextmanager
def broker_channel(url: str) -> Iterator[Any]:
    """Somebody else's channel."""
    parts = make_url(url.replace("amqp://", "x://"))
    connection = amqp.Connection(
        host=f"{parts.host}:{parts.port}",
        userid=parts.username,
        password=parts.password,
        virtual_host=parts.database,
    )
    connection.connect()
    try:
        yield connection.channel()
    finally:
        connection.close()


def test_a_deployment_that_is_well_has_nothing_wrong(
    books: str, declared: str, tmp_path: Path, postgres: Postgres
) -> None:
    with worker_role(postgres, books) as url, running_stripe() as stripe:
        environment = {
            **QUICK,
            "PAYMENTS_BROKER_URL": declared,
            "PAYMENTS_DATABASE_URL": url,
            "PAYMENTS_DATA_DIR": str(tmp_path),
            "PAYMENTS_KEYS_DIR": str(tmp_path / "keys"),
        }
        new_key(tmp_path / "keys")
        deployed = read_settings(
            broker_url=declared,
            database_url=url,
            keys_dir=tmp_path / "keys",
            stripe={"api_key": stripe.api_key, "base_url": stripe.url, "webhook_secrets": ["whsec_x"]},
            metrics={"port": 9464},
        )
        with workers(environment, tmp_path, count=1) as (worker,):
            eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")
            told = found(deployed)

    assert {point: one.told for point, one in told.items() if one.mark is Mark.WRONG} == {}
    assert {point for point, one in told.items() if one.mark is Mark.UNSURE} == {
        "policies and bindings",  # nobody can see them from here
        "proof of the books",
    }
    assert told["stripe"].told.startswith("knows us")
    assert told["guards of the books"].mark is Mark.WELL
    assert told["payments.payment-commands"].told == "1 consumers, 0 messages wait"


@contextmanager
def worker_role(postgres: Postgres, books: str) -> Iterator[str]:
    """The URL of a role as a worker should have."""
    name = f"worker_{os.getpid()}_{time.monotonic_ns()}"
    postgres.psql(f"CREATE ROLE {name} LOGIN PASSWORD 'w'")
    postgres.psql(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name};"
        f"REVOKE UPDATE, DELETE ON {', '.join(APPEND_ONLY)} FROM {name}",
        url=books,
    )
    try:
        yield make_url(books).set(username=name, password="w").render_as_string(hide_password=False)
    finally:
        postgres.psql(f"DROP OWNED BY {name}", url=books)
        postgres.psql(f"DROP ROLE {name}")


def test_a_role_that_could_change_the_books_is_told(settings: Settings) -> None:
    told = found(settings, "grants on the books")

    assert marks(told) == {"grants on the books": "wrong"}
    assert "audit, entries, journals" in told["grants on the books"].told


def test_a_role_that_cannot_write_what_a_worker_writes_is_told(
    postgres: Postgres, settings: Settings, books: str
) -> None:
    with worker_role(postgres, books) as url:
        name = make_url(url).username
        postgres.psql(f"REVOKE INSERT ON outbox FROM {name}", url=books)
        told = found(settings.model_copy(update={"database_url": _secret(url)}), "grants")

    assert told["grants"].mark is Mark.WRONG
    assert "outbox" in told["grants"].told


def _secret(url: str) -> Any:
    return read_settings(database_url=url).database_url


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_a_guard_that_was_switched_off_is_named(
    postgres: Postgres, settings: Settings, books: str, table: str
) -> None:
    postgres.psql(f"ALTER TABLE {table} DISABLE TRIGGER append_only", url=books)

    told = found(settings, "guards of the books")["guards of the books"]

    assert told.mark is Mark.WRONG
    assert f"append_only on {table}" in told.told


def test_a_database_that_may_forget_what_it_committed_is_told(
    postgres: Postgres, settings: Settings, books: str
) -> None:
    name = make_url(books).database
    postgres.psql(f"ALTER DATABASE {name} SET synchronous_commit = off")

    told = found(settings, "durability")["durability"]

    assert told.mark is Mark.WRONG
    assert "synchronous_commit = off" in told.told


def test_a_database_without_our_tables_is_told_what_to_do(database: str, declared: str) -> None:
    told = found(read_settings(broker_url=declared, database_url=database), "migrations", "topology")

    assert told["migrations"].to_do.startswith("run `payments migrate`")
    assert told["topology"].mark is Mark.WELL


def test_a_database_of_a_later_version_is_told(postgres: Postgres, settings: Settings, books: str) -> None:
    postgres.psql("UPDATE alembic_version SET version_num = '20991231_later'", url=books)

    told = found(settings, "migrations")["migrations"]

    assert (told.mark, "20991231_later" in told.told) == (Mark.UNSURE, True)


def test_a_database_that_is_away_hides_nothing_else(declared: str) -> None:
    away = read_settings(broker_url=declared, database_url="postgresql://a:b@127.0.0.1:9/none")

    told = found(away)

    assert told["database"].mark is Mark.WRONG
    assert told["topology"].mark is Mark.WELL
    assert ":b@" not in json.dumps([one.told for one in told.values()])


def test_a_broker_that_is_away_hides_nothing_else(books: str) -> None:
    away = read_settings(broker_url="amqp://a:secret@127.0.0.1:9//", database_url=books)

    told = found(away)

    assert told["broker"].mark is Mark.WRONG
    assert told["guards of the books"].mark is Mark.WELL
    assert "secret" not in json.dumps([one.told for one in told.values()])


def test_a_queue_that_could_lose_messages_is_told_and_one_that_is_missing(
    settings: Settings, declared: str
) -> None:
    with broker_channel(declared) as channel:
        channel.queue_delete(PAYMENT_COMMANDS)
        channel.queue_declare(PAYMENT_COMMANDS, durable=True, auto_delete=False)
        channel.queue_delete(REFUND_COMMANDS)

    told = [one for one in examine(settings, proofs_url=NOBODY) if one.point == "topology"]

    assert [one.mark for one in told] == [Mark.WRONG, Mark.WRONG]
    assert f"queue {PAYMENT_COMMANDS} is another" in told[0].told
    assert f"queue {REFUND_COMMANDS} is not there" in told[1].told
    with broker_channel(declared) as channel, pytest.raises(amqp.NotFound):
        channel.queue_declare(REFUND_COMMANDS, passive=True)  # the doctor looks, and makes nothing


def test_dead_letters_and_queues_without_workers_are_told(settings: Settings, declared: str) -> None:
    with broker_channel(declared) as channel:
        channel.confirm_select()
        dead = amqp.Message(b"{}", delivery_mode=2)
        channel.basic_publish_confirm(dead, "payments.dead-letters", f"{PAYMENT_COMMANDS}.dead")

    told = found(settings, "dead letters", PAYMENT_COMMANDS)

    assert marks(told) == {"dead letters": "wrong", PAYMENT_COMMANDS: "wrong"}
    assert told["dead letters"].told == f"1 in {PAYMENT_COMMANDS}.dead"


def test_a_broker_with_an_alarm_is_told(rabbitmq_owned: OwnRabbitmq, books: str) -> None:
    vhost = rabbitmq_owned.fresh_vhost()
    bus = KombuBus(urls=[vhost], queues=(), prefetch=1)
    bus.open()
    bus.close()
    rabbitmq_owned.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        blocked = found(read_settings(broker_url=vhost, database_url=books), "publishing")
    finally:
        rabbitmq_owned.ctl("set_vm_memory_high_watermark", "0.6")
    freed = found(read_settings(broker_url=vhost, database_url=books), "publishing")
    rabbitmq_owned.drop_vhost(vhost)

    assert "alarm is on" in blocked["publishing"].told
    assert freed["publishing"].mark is Mark.WELL


def test_each_gateway_is_asked_as_whom_we_are(settings: Settings) -> None:
    with ExitStack() as stack:
        stripe = stack.enter_context(running_stripe())
        adyen = stack.enter_context(running_adyen())
        paypal = stack.enter_context(running_paypal())
        ours: dict[str, dict[str, Any]] = {
            "stripe": {"api_key": stripe.api_key, "base_url": stripe.url},
            "adyen": {
                "api_key": adyen.api_key,
                "merchant_account": adyen.merchant_account,
                "base_url": adyen.url,
            },
            "paypal": {
                "client_id": paypal.client_id,
                "client_secret": paypal.client_secret,
                "base_url": paypal.url,
            },
        }
        known = found(_with(settings, ours), *ours)
        wrong_keys = {
            "stripe": ours["stripe"] | {"api_key": "sk_test_other"},
            "adyen": ours["adyen"] | {"api_key": "other"},
            "paypal": ours["paypal"] | {"client_secret": "other"},
        }
        strange = found(_with(settings, wrong_keys), *ours)
    gone = found(_with(settings, ours), *ours)

    assert marks(known) == {"stripe": "well", "adyen": "well", "paypal": "well"}
    assert marks(strange) == {"stripe": "wrong", "adyen": "wrong", "paypal": "wrong"}
    assert "PAYMENTS_STRIPE__API_KEY" in strange["stripe"].to_do
    assert all(one.told.startswith("no answer") for one in gone.values())


def _with(settings: Settings, gateways: dict[str, dict[str, Any]]) -> Settings:
    assert settings.broker_url is not None
    return read_settings(
        broker_url=settings.broker_url.get_secret_value(), database_url=settings.ledger_url, **gateways
    )


def test_a_line_to_another_machine_must_be_encrypted() -> None:
    open_lines = read_settings(
        broker_url="amqp://u:p@192.0.2.1//",
        database_url="postgresql://u:p@192.0.2.1/d?sslmode=require",
        stripe={"api_key": "k", "base_url": "http://192.0.2.1"},
    )
    closed = read_settings(
        broker_url="amqps://u:p@192.0.2.1//",
        database_url="postgresql://u:p@192.0.2.1/d?sslmode=verify-full",
        stripe={"api_key": "k"},
    )
    assert [one.mark.value for one in encryption_on_the_way(open_lines)] == ["wrong"] * 3
    assert [one.mark.value for one in encryption_on_the_way(closed)] == ["well"] * 3


@pytest.mark.parametrize(
    ("ahead_s", "mark"), [(0.2, "well"), (-0.2, "well"), (30.0, "wrong"), (-30.0, "wrong")]
)
def test_a_clock_that_is_far_from_ours_is_told(ahead_s: float, mark: str) -> None:
    assert judged_clock("their clock", ahead_s).mark.value == mark


def test_what_has_waited_for_too_long_in_the_books_is_told(
    postgres: Postgres, settings: Settings, books: str
) -> None:
    postgres.psql(
        "INSERT INTO outbox (stream, sequence, subject, type, exchange, routing_key, headers, body, created_at)"
        " VALUES ('s', 1, 's', 't', 'e', 'k', '{}', '', now() - interval '1 hour');"
        "INSERT INTO callbacks (gateway, notice_id, event, state, notice, received_at, due_at)"
        " VALUES ('stripe', 'n1', 'e', 'waiting', '{}', now(), now() - interval '1 hour');"
        "INSERT INTO callbacks (gateway, notice_id, event, state, notice, received_at)"
        " VALUES ('stripe', 'n2', 'e', 'unmatched', '{}', now())",
        url=books,
    )

    told = found(settings, "outbox", "timers", "a person's work")

    assert marks(told) == {"outbox": "wrong", "timers": "wrong", "a person's work": "wrong"}


def test_the_proof_of_the_books_is_asked_for(settings: Settings, books: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [sys.executable, "-m", "ops.cli", "verify", "--every", "3600", "--port", str(port)]
    environment = {**os.environ, "PAYMENTS_DATABASE_URL": books, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        arguments, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as proving:
        try:
            url = f"http://127.0.0.1:{port}"
            point = "proof of the books"
            eventually(
                lambda: found(settings, point, proofs=url)[point].mark is Mark.WELL,
                within_s=30,
                what="proven",
            )
        finally:
            proving.send_signal(signal.SIGTERM)


def test_a_key_that_values_need_and_that_is_not_here_is_named(settings: Settings, tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    key, file = new_key(here)
    new_key(elsewhere)
    with closing(Ledger(settings.ledger_url, keyring=Keyring(lambda: read_keys(here)))) as ledger:
        rotate(ledger, key.key_id, asker=Asker(actor="test", reason="test"), clock=lambda: datetime.now(UTC))

    def told(directory: Path) -> list[str]:
        checked = encryption_keys(settings.model_copy(update={"keys_dir": directory}))
        return [f"{one.mark}: {one.told}" for one in checked]

    assert told(here) == ["well: 1 here, none missing"]
    assert told(elsewhere) == [f"wrong: values are encrypted with {key.key_id}, which is not in {elsewhere}"]
    assert told(tmp_path / "none") == [f"wrong: there is none in {tmp_path / 'none'}"]
    file.chmod(0o644)
    assert told(here)[0] == f"wrong: others may read {file.name}"


def test_a_check_that_fails_itself_stops_no_other() -> None:
    def falls(_of: int) -> Iterator[Finding]:
        raise KeyError("a bug")
        yield

    told = list(each((falls, falls), 1))

    assert [(one.point, one.mark) for one in told] == [("falls", Mark.UNSURE)] * 2


def test_at_a_terminal_it_ends_with_1_for_work_and_2_for_settings_it_cannot_read(tmp_path: Path) -> None:
    def typed(*arguments: str, **set_to: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops.cli", "doctor", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **set_to},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    told = typed("--json", "--proofs", NOBODY)
    broken = typed(PAYMENTS_NO_SUCH_SETTING="1")

    assert told.returncode == 1
    assert any(one["point"] == "database" for one in json.loads(told.stdout)["findings"])
    assert not (tmp_path / ".payments").exists()  # it looks, and makes nothing
    assert broken.returncode == 2
