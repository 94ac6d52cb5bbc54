"""`payments verify --every`: the books are proven again and again, and what came of it, and when, is shown."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from ledger.anchors import Anchor
from ledger.errors import LedgerDown
from ledger.schema import migrate
from ledger.verify import Report
from ops.anchor_file import anchors_in
from ops.verifying import Proofs
from tests.workers import eventually


def shown(proofs: Proofs) -> dict[str, float]:
    """What is shown, by name."""
    return {sample.name: sample.value for metric in proofs.collect() for sample in metric.samples}


def test_nothing_is_shown_before_the_first_proof() -> None:
    proofs = Proofs(Report)

    assert shown(proofs) == {}
    assert not proofs.health().is_well


def test_books_that_are_wrong_are_shown_with_the_number_of_problems() -> None:
    proofs = Proofs(lambda: Report(problems=["j1 does not balance", "a1 was changed"]), now=lambda: 1000.0)

    proofs.make()

    assert shown(proofs)["payments_books_problems"] == 2
    assert shown(proofs)["payments_books_verified_timestamp_seconds"] == 1000
    assert not proofs.health().is_well


def test_only_a_proof_that_found_nothing_wrong_gives_an_anchor() -> None:
    anchor = Anchor(at=datetime(2026, 11, 23, tzinfo=UTC), heads=())
    reports = iter((Report(anchor=anchor, problems=["a1 was changed"]), Report(anchor=anchor)))
    kept: list[Anchor] = []
    proofs = Proofs(lambda: next(reports), keep=kept.append)

    proofs.make()
    assert kept == []
    proofs.make()
    assert kept == [anchor]


def test_a_database_that_is_away_leaves_the_last_proof_to_grow_old() -> None:
    now, is_away = [1000.0], [False]

    def prove() -> Report:
        if is_away[0]:
            raise LedgerDown("away")
        return Report()

    proofs = Proofs(prove, now=lambda: now[0])
    proofs.make()
    now[0], is_away[0] = 5000.0, True

    proofs.make()

    assert shown(proofs)["payments_books_verified_timestamp_seconds"] == 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_proves_shows_and_leaves_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    migrate(f"sqlite:///{tmp_path / 'ledger.db'}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    program = [sys.executable, "-m", "ops.cli", "verify", "--every", "3600", "--port", port]
    program += ["--anchors", str(tmp_path / "anchors.jsonl")]
    with subprocess.Popen(program, env={**clean, "PAYMENTS_DATA_DIR": str(tmp_path)}) as process:
        try:

            def is_well() -> bool:
                try:
                    answer = httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False)
                except httpx.TransportError:
                    return False
                return answer.status_code == 200

            eventually(is_well, within_s=30, what="the books are proven")
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
            assert "payments_books_problems 0.0" in text

            process.send_signal(number)
            assert process.wait(20) == 0
            assert len(anchors_in(tmp_path / "anchors.jsonl")) == 1
        finally:
            process.kill()
