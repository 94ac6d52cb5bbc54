"""The key is changed while two workers take payments and refunds: nothing fails, and nothing is left on the old key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateways.sandbox_record import SandboxRecord
from ledger.encryption import READ_AGAIN_AFTER_S, Keyring
from ledger.key_ceremony import Asker
from ledger.ledger import Ledger
from ledger.rotation import Rotated, rotate
from ledger.schema import migrate
from ledger.verify import verify
from ops.key_files import new_key, read_keys
from tests.drill.drill import Home, judge, make_plan, run_outage
from tests.workers import ROOT

COMMANDS = 160
ROTATIONS = 4
TROUBLE = ('"level": "error"', "turn_failed", "work_failed", "database_away")
ASKER = Asker(actor="operator:ada", reason="the drill")


def _payments(home: Home, *arguments: str) -> Any:
    """Run `payments keys`, and give what it prints for programs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    ended = subprocess.run(
        [sys.executable, "-m", "ops.cli", "keys", *arguments, "--json"],
        env={**clean, **home.environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), (arguments, ended)
    return json.loads(ended.stdout)


def test_a_key_is_rotated_and_retired_under_load_and_nothing_fails_or_stays_behind(
    vhost: str, database: str, tmp_path: Path
) -> None:
    migrate(database)
    home = Home(
        broker_url=vhost,
        environment={
            "PAYMENTS_BROKER_URL": vhost,
            "PAYMENTS_DATABASE_URL": database,
            "PAYMENTS_DATA_DIR": str(tmp_path),
            "PAYMENTS_KEYS_DIR": str(tmp_path / "keys"),
        },
        directory=tmp_path,
    )
    keys = tmp_path / "keys"
    first = _payments(home, "new")["key"]
    plan = make_plan(COMMANDS, seed=5)
    rotated: list[Rotated] = []

    def rotate_while_they_work() -> None:
        """By the command, and then again and again, as quickly as it goes."""
        made = _payments(home, "new")["key"]
        told = _payments(home, "rotate", "--to", made, "--yes", "--reason", "the drill")
        rotated.append(Rotated(**told))
        with closing(Ledger(database, keyring=Keyring(lambda: read_keys(keys)))) as ledger:
            for _ in range(ROTATIONS - 1):
                key, _ = new_key(keys)
                time.sleep(READ_AGAIN_AFTER_S)  # the directory is read once a second
                rotated.append(rotate(ledger, key.key_id, asker=ASKER, clock=lambda: datetime.now(UTC)))

    heard = run_outage(home, plan, outage=rotate_while_they_work)

    judge(plan, heard, SandboxRecord(tmp_path / "sandbox.db"))
    assert verify(database).problems == []
    assert all(rotation.is_complete for rotation in rotated)
    assert all(sum(rotation.rows.values()) for rotation in rotated[1:]), (
        "each found what was written meanwhile"
    )
    _payments(home, "retire", first, "--reason", "the drill")
    listed = {row["key"]: row for row in _payments(home, "list")["keys"]}
    assert listed[first]["state"] == "retired"
    assert {key for key, row in listed.items() if row["values"]} == {rotated[-1].key_id}
    logs = "".join(log.read_text() for log in tmp_path.glob("worker-*.log"))
    assert "worker_started" in logs
    assert [word for word in TROUBLE if word in logs] == []
