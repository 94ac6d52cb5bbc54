"""500 dead letters of six causes on real servers: mended, sent back, given up, while tool and worker are killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ledger.reading import reading, rows
from ledger.schema import migrate
from ledger.verify import verify
from tests import keys
from tests.dead_letters.letters import (
    broken_callback,
    given_up,
    lying,
    nameless_refund,
    nonsense,
    publish,
    stranger,
    without_id,
)
from tests.workers import QUICK, ROOT, Worker, eventually

WITHOUT_ID, GIVEN_UP, STRANGERS, OTHERS = 60, 260, 60, 40
TOTAL = WITHOUT_ID + GIVEN_UP + STRANGERS + 3 * OTHERS


class Tool:
    """`payments dead-letters` as processes, so that they can be killed."""

    def __init__(self, environment: dict[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        self._environment = {**clean, **environment}

    def starts(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "dead-letters", *arguments, "--json"],
            env=self._environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, status: int = 0) -> Any:
        """Run a command to its end."""
        process = self.starts(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, out + err
        return json.loads(out)


def killed(process: subprocess.Popen[str]) -> None:
    """SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def test_five_hundred_letters_are_worked_off_and_nothing_is_lost_or_doubled(
    vhost: str, database: str, tmp_path: Path
) -> None:
    migrate(database)
    settings = {
        **QUICK,
        "PAYMENTS_BROKER_URL": vhost,
        "PAYMENTS_DATABASE_URL": database,
        "PAYMENTS_DATA_DIR": str(tmp_path),
        "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
        "PAYMENTS_OPERATORS__ACTOR": "ada",
    }
    payments = Tool(settings)
    worker = Worker(settings, tmp_path)
    try:
        eventually(lambda: worker.is_consuming, within_s=60, what="the worker consumes")
        publish(
            vhost,
            [
                *map(without_id, range(WITHOUT_ID)),
                *map(given_up, range(GIVEN_UP)),
                *map(stranger, range(STRANGERS)),
                *(
                    made(number)
                    for made in (nonsense, nameless_refund, broken_callback)
                    for number in range(OTHERS)
                ),
            ],
        )
        eventually(lambda: sum(lying(vhost).values()) == TOTAL, within_s=60, what="all are dead")

        # The first drain is killed in the middle, the second takes in the rest.
        drain = payments.starts("drain")
        eventually(lambda: count(database) > 0, within_s=60, what="the drain has begun")
        killed(drain)
        payments("drain")
        assert count(database) == TOTAL
        assert lying(vhost) == {}

        groups = {(group["type"], group["reason"]): group for group in payments("groups")}
        assert Counter({kind: group["count"] for kind, group in groups.items()}) == {
            ("PaymentRequested", "missing_field"): WITHOUT_ID,
            ("PaymentRequested", "handler_failed"): GIVEN_UP,
            ("Other", "unknown_type"): STRANGERS,
            ("Nonsense", "missing_field"): OTHERS,
            ("RefundRequested", "missing_field"): OTHERS,
            ("GatewayCallbackReceived", "unreadable"): OTHERS,
        }

        def of(kind: str, reason: str) -> tuple[str, str]:
            return "--group", groups[kind, reason]["group"]

        # One group is sent back, one first and then so many a second; tool and worker die on the way.
        sending = (*of("PaymentRequested", "handler_failed"), "--canary", "--rate", "100", "--yes")
        tool = payments.starts("requeue", *sending, "--reason", "the bug is mended", "--wait", "60")
        eventually(lambda: count(database, state="resolved") > 0, within_s=60, what="the canary lives")
        eventually(lambda: count(database, state="requeued") > 20, within_s=60, what="the rest follows")
        killed(tool)
        worker.kill()
        left = count(database, state="new", fingerprint=groups["PaymentRequested", "handler_failed"]["group"])
        worker = Worker(settings, tmp_path)
        if left:
            payments(
                "requeue",
                *of("PaymentRequested", "handler_failed"),
                "--rate",
                "200",
                "--yes",
                "--reason",
                "rest",
            )

        # One is mended; one given up, taken up again, and given up for good.
        mended = payments(
            "edit", *of("PaymentRequested", "missing_field"), "--header", "cloudEvents_source=/shop",
            "--reason", "the shop forgot its ids", "--yes", "--requeue",
        )  # fmt: skip
        assert len(mended["sent_back"]) == WITHOUT_ID
        for command in ("discard", "restore", "discard"):
            state = "discarded" if command == "restore" else "open"
            done = payments(
                command, *of("Other", "unknown_type"), "--state", state, "--reason", "not ours", "--yes"
            )
            assert len(done["changed"]) == STRANGERS

        good = GIVEN_UP + WITHOUT_ID
        eventually(lambda: count(database, state="resolved") == good, within_s=60, what="all are settled")
        eventually(lambda: paid(database) == good, within_s=60, what="all are paid")
        assert worker.terminate() == 0
    finally:
        if worker.is_alive:
            worker.kill()

    assert lying(vhost) == {}
    assert count(database) == TOTAL + WITHOUT_ID  # what was edited stays beside what took its place
    assert charged(tmp_path) == good
    assert verify(database).problems == []
    assert steps(database) == {
        "DeadLetterRequeued": good,
        "DeadLetterEdited": WITHOUT_ID,
        "DeadLetterDiscarded": 2 * STRANGERS,
        "DeadLetterRestored": STRANGERS,
    }


def count(database: str, **of: str) -> int:
    """How many letters there are, of a state or of a group."""
    where = " AND ".join(f"{name} = :{name}" for name in of) or "true"
    with reading(database) as books:
        [row] = rows(books, f"SELECT count(*) AS n FROM dead_letters WHERE {where}", **of)
    return int(row.n)


def paid(database: str) -> int:
    """How many payments are paid."""
    with reading(database) as books:
        [row] = rows(books, "SELECT count(*) AS n FROM payments WHERE status = 'captured'")
    return int(row.n)


def charged(directory: Path) -> int:
    """How many charges the sandbox itself has on record."""
    with sqlite3.connect(directory / "sandbox.db") as record:
        [(made,)] = record.execute("SELECT count(*) FROM operation WHERE operation = 'sale' AND executed = 1")
    return int(made)


def steps(database: str) -> dict[str, int]:
    """What the audit log says was done to letters, and how often; all by ada."""
    asked = "SELECT actor, action, count(*) AS n FROM audit WHERE action LIKE 'DeadLetter%' GROUP BY actor, action"
    with reading(database) as books:
        found = rows(books, asked)
    assert {row.actor for row in found} == {"operator:ada"}
    return {row.action: row.n for row in found if row.action != "DeadLettersDrained"}
