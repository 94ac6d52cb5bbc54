"""A backup taken under load, restored elsewhere: the commands come again, and nobody is charged twice."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from gateways.sandbox_record import SandboxRecord
from ledger.schema import migrate
from ledger.verify import verify
from ops.publish import CommandLine, publish
from tests.listener import Listener
from tests.servers import OwnPostgres, Rabbitmq
from tests.workers import QUICK, eventually, workers

PAYMENTS = 60


def _command(number: int) -> CommandLine:
    data = {
        "payment_id": f"pay-{number}",
        "order_id": f"order-{number}",
        "amount": {"minor": 1000 + number, "currency": "EUR"},
        "payment_method": {"token": "tok_approved"},
    }
    return CommandLine(
        id=f"cmd-{number}", type="PaymentRequested", source="/shop", data=json.dumps(data).encode()
    )


def _run(program: Path, url: str, *arguments: str) -> None:
    parsed = make_url(url)
    environment = {**os.environ, "PGPASSWORD": str(parsed.password)}
    where = ["--host", str(parsed.host), "--port", str(parsed.port), "--username", str(parsed.username)]
    subprocess.run(
        [program, *where, "--dbname", str(parsed.database), *arguments], env=environment, check=True
    )


def _count(url: str) -> int:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return int(connection.execute("SELECT count(*) FROM journals").fetchone()[0])  # type: ignore[index]


def test_a_restored_backup_is_made_whole_by_publishing_the_commands_again(
    rabbitmq: Rabbitmq, postgres_owned: OwnPostgres, tmp_path: Path
) -> None:
    lost, restored = postgres_owned.fresh_database(), postgres_owned.fresh_database()
    migrate(lost)
    backup = tmp_path / "books.dump"
    commands = [_command(number) for number in range(PAYMENTS)]
    broker_url = rabbitmq.fresh_vhost()
    settings = {**QUICK, "PAYMENTS_BROKER_URL": broker_url, "PAYMENTS_DATA_DIR": str(tmp_path)}
    with workers({**settings, "PAYMENTS_DATABASE_URL": lost}, tmp_path, count=2):
        publish([broker_url], commands[: PAYMENTS // 2])
        eventually(lambda: _count(lost) > 0, within_s=30, what="payments are being booked")
        publish([broker_url], commands[PAYMENTS // 2 :])
        _run(postgres_owned.program("pg_dump"), lost, "--format=custom", f"--file={backup}")
        eventually(lambda: _count(lost) == PAYMENTS, within_s=60, what="all are booked")

    _run(postgres_owned.program("pg_restore"), restored, "--exit-on-error", str(backup))
    in_backup = _count(restored)
    assert verify(restored).problems == []
    with (
        closing(Listener(broker_url)) as listener,
        workers({**settings, "PAYMENTS_DATABASE_URL": restored}, tmp_path, count=1),
    ):
        publish([broker_url], commands)
        eventually(lambda: _count(restored) == PAYMENTS, within_s=60, what="the books are whole")
        paid = {f"pay-{number}" for number in range(PAYMENTS)}
        eventually(
            lambda: {event.about for event in listener.listen()} == paid, within_s=30, what="all is announced"
        )

    assert in_backup < PAYMENTS
    assert verify(restored).problems == []
    with closing(SandboxRecord(tmp_path / "sandbox.db")) as record:
        assert {entry.payment_id for entry in record.executions()} == paid
        assert len(record.executions()) == PAYMENTS
