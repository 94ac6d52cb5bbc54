"""The broker or the database away for half a minute under load: the worker comes back by itself, nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path

from gateways.sandbox_record import SandboxRecord
from ledger.schema import migrate
from ledger.verify import verify
from tests.drill.drill import Home, judge, make_plan, run_outage
from tests.servers import OwnPostgres, OwnRabbitmq

AWAY_S = 30
COMMANDS = 1000


def _home(broker_url: str, database_url: str, directory: Path) -> Home:
    migrate(database_url)
    environment = {
        "PAYMENTS_BROKER_URL": broker_url,
        "PAYMENTS_DATABASE_URL": database_url,
        "PAYMENTS_DATA_DIR": str(directory),
    }
    return Home(broker_url=broker_url, environment=environment, directory=directory)


def test_rabbitmq_away_for_thirty_seconds_loses_nothing(
    rabbitmq_owned: OwnRabbitmq, database: str, tmp_path: Path
) -> None:
    url = rabbitmq_owned.fresh_vhost()
    home = _home(url, database, tmp_path)
    plan = make_plan(COMMANDS, seed=3)

    def outage() -> None:
        time.sleep(3)
        rabbitmq_owned.kill()
        time.sleep(AWAY_S)
        rabbitmq_owned.start()

    heard = run_outage(home, plan, outage=outage)

    judge(plan, heard, SandboxRecord(tmp_path / "sandbox.db"))
    assert verify(database).problems == []


def test_postgresql_away_for_thirty_seconds_loses_nothing(
    vhost: str, postgres_owned: OwnPostgres, tmp_path: Path
) -> None:
    database = postgres_owned.fresh_database()
    home = _home(vhost, database, tmp_path)
    plan = make_plan(COMMANDS, seed=4)

    def outage() -> None:
        time.sleep(3)
        postgres_owned.stop()
        time.sleep(AWAY_S)
        postgres_owned.start()

    heard = run_outage(home, plan, outage=outage)

    judge(plan, heard, SandboxRecord(tmp_path / "sandbox.db"))
    assert verify(database).problems == []
