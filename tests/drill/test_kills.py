"""Kill -9 at random, two thousand payments and refunds: charged once, booked once, announced."""

from __future__ import annotations

from pathlib import Path

from gateways.sandbox_record import SandboxRecord
from ledger.schema import migrate
from ledger.verify import verify
from tests.drill.drill import Home, judge, make_plan, run_drill

COMMANDS = 2000
KILLS = 50


def test_fifty_kills_on_rabbitmq_and_postgresql_charge_and_book_once(
    vhost: str, database: str, tmp_path: Path
) -> None:
    migrate(database)
    home = Home(
        broker_url=vhost,
        environment={
            "PAYMENTS_BROKER_URL": vhost,
            "PAYMENTS_DATABASE_URL": database,
            "PAYMENTS_DATA_DIR": str(tmp_path),
        },
        directory=tmp_path,
    )
    plan = make_plan(COMMANDS, seed=1)

    heard = run_drill(home, plan, kills=KILLS, seed=1)

    judge(plan, heard, SandboxRecord(tmp_path / "sandbox.db"))
    assert verify(database).problems == []


def test_fifty_kills_on_the_embedded_default_charge_and_book_once(tmp_path: Path) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(ledger_url)
    home = Home(
        broker_url=f"embedded://{tmp_path}",
        environment={"PAYMENTS_DATA_DIR": str(tmp_path)},
        directory=tmp_path,
    )
    plan = make_plan(COMMANDS, seed=2)

    heard = run_drill(home, plan, kills=KILLS, seed=2)

    judge(plan, heard, SandboxRecord(tmp_path / "sandbox.db"))
    assert verify(ledger_url).problems == []
