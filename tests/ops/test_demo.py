"""The demo passes on a machine with nothing but this project, and fails when what it shows is not true."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.workers import eventually

ROOT = Path(__file__).parents[2]


@contextmanager
def demo(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a directory, its output in `demo.txt`."""
    with (directory / "demo.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.demo"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def charge_once_more(directory: Path) -> bool:
    """Forge the gateway's own record, as if it had charged a payment twice; False while there is nothing to forge."""
    record = directory / ".payments-demo" / "sandbox.db"
    if not record.exists():
        return False
    with closing(sqlite3.connect(record, isolation_level=None)) as database:
        try:
            forged = database.execute("UPDATE operation SET executed = 2 WHERE payment_id = 'pay_1001'")
        except sqlite3.OperationalError:  # no tables yet
            return False
        return forged.rowcount == 1


def worker_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes the demo has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in children.read_text().split()]


def test_the_demo_ends_well_and_leaves_the_books_to_look_at(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        status = process.wait(120)
    shown = (tmp_path / "demo.txt").read_text()

    assert status == 0, shown
    assert shown.count("✓") == 5
    assert "✗" not in shown
    assert "Traceback" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert (tmp_path / ".payments-demo" / "ledger.db").exists()
    assert "tok_" not in (tmp_path / ".payments-demo" / "worker.log").read_text()


def test_a_charge_too_many_at_the_gateway_fails_the_demo(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        eventually(
            lambda: charge_once_more(tmp_path), within_s=60, what="the first payment is at the gateway"
        )
        status = process.wait(120)
    shown = (tmp_path / "demo.txt").read_text()

    assert status == 1
    assert "✗ pay_1001: the gateway executed it 2 times" in shown
    assert "✓" not in shown


def test_a_worker_that_ends_by_itself_fails_the_demo(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        eventually(lambda: bool(worker_of(process)), within_s=60, what="the worker is started")
        os.kill(worker_of(process)[0], 9)
        status = process.wait(120)
    shown = (tmp_path / "demo.txt").read_text()

    assert status == 1
    assert "The worker has ended by itself." in shown
    assert "Traceback" not in shown
