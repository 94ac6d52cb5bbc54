"""The worker as a program: what it says when it cannot run, and how it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import keys
from tests.workers import ROOT, eventually, workers

SECRET = "geheim-7f3a"


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the program until it ends by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "run_worker.py"), *arguments],
        env={**clean, "COLUMNS": "80", **settings},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PAYMENTS_FOO": SECRET}, "PAYMENTS_FOO is no setting of this service; see docs/settings.md"),
        ({"PAYMENTS_DEFAULT_GATEWAY": "stripe"}, "PAYMENTS_DEFAULT_GATEWAY is stripe, which is not set up"),
        ({"PAYMENTS_STRIPE__API_KEY": f"{SECRET} {SECRET}"}, "the Stripe key is empty or has characters"),
        (
            {"PAYMENTS_BROKER_URL": f"http://u:{SECRET}@h", "PAYMENTS_SANDBOX__ENABLED": "true"},
            "A broker URL",
        ),
        (
            {
                "PAYMENTS_DATABASE_URL": SECRET,
                "PAYMENTS_SANDBOX__ENABLED": "true",
                "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
            },
            "PAYMENTS_DATABASE_URL",
        ),
        (
            {"PAYMENTS_DATABASE_URL": f"postgresql://u:{SECRET}@h/d", "PAYMENTS_SANDBOX__ENABLED": "true"},
            "PAYMENTS_KEYS_DIR is missing",
        ),
        (
            {
                "PAYMENTS_DATABASE_URL": "postgresql://u@h/d",
                "PAYMENTS_SANDBOX__ENABLED": "true",
                "PAYMENTS_KEYS_DIR": "/var/empty",
            },
            "there is no key in /var/empty",
        ),
        ({"PAYMENTS_DATA_DIR": "/dev/null/inside"}, "[Errno 20] Not a directory"),
    ],
)
def test_a_worker_that_cannot_run_says_why_in_one_sentence(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    ended = run(tmp_path, **settings)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"the worker cannot run: {said}")
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


def test_a_worker_whose_database_is_not_migrated_says_what_to_do(
    vhost: str, database: str, tmp_path: Path
) -> None:
    settings = {
        "PAYMENTS_BROKER_URL": vhost,
        "PAYMENTS_DATABASE_URL": database,
        "PAYMENTS_SANDBOX__ENABLED": "true",
        "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
    }

    ended = run(tmp_path, **settings)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("the worker cannot run: ")
    assert ended.stderr.splitlines()[-1].endswith("run `payments migrate`")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_leaves_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with workers({"PAYMENTS_DATA_DIR": str(tmp_path)}, tmp_path, count=1) as (worker,):
        eventually(lambda: worker.is_consuming, within_s=30, what="it consumes")
        worker.process.send_signal(number)
        status = worker.process.wait(30)
        (log,) = tmp_path.glob("worker-*.log")

    assert status == 0
    assert "worker_stopped" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_the_help_tells_of_the_worker_and_the_simulators(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help").stdout

    assert "worker" in shown
    assert "simulate" in shown
    assert "Stripe's API" in run(tmp_path, "simulate", "--help").stdout
