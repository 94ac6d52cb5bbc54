"""`payments audit`: proved, anchored, exported; the auditor's own lines, as the page has them, agree."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ledger.ledger import Ledger
from ledger.schema import migrate
from ops.anchor_file import anchors_in
from ops.cli import app
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.shop import a_shop
from tests.workers import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Books with a bit of everything in them."""
    url = f"sqlite:///{tmp_path / 'books.db'}"
    migrate(url)
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        a_shop(ledger)
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", url)
    return url


def payments(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def csv_rows(text: str) -> list[dict[str, str]]:
    """What a spreadsheet reads."""
    return list(csv.DictReader(text.splitlines()))


def cut_off(url: str, *, after: int) -> None:
    """Take the end of the chain away, with its head and the journals told there: nothing inside shows it."""
    [(digest,)] = raw.run(url, f"SELECT hash FROM audit WHERE shard = 0 AND position = {after}")
    details = raw.run(url, f"SELECT details FROM audit WHERE position > {after}")
    gone = [name for (text,) in details for name in json.loads(text).get("journals", {})]
    lost = ", ".join(f"'{name}'" for name in gone)
    raw.tamper(
        url,
        f"DELETE FROM audit WHERE position > {after}",
        f"UPDATE audit_heads SET position = {after}, hash = x'{digest.hex()}' WHERE shard = 0",
        f"DELETE FROM entries WHERE journal_id IN ({lost})",
        f"DELETE FROM journals WHERE journal_id IN ({lost})",
    )


def test_a_log_nobody_touched_is_clean_and_can_be_anchored(url: str, tmp_path: Path) -> None:
    file = tmp_path / "anchors.jsonl"

    assert payments("audit", "verify").output.startswith("clean: ")
    for count in (1, 2):
        assert payments("audit", "anchor", "--to", file).output.startswith("anchored 16 rows in 1 chains")
        assert len(anchors_in(file)) == count
    assert json.loads(payments("audit", "anchor").stdout)["heads"]["0"][0] == 16
    assert payments("audit", "verify", "--anchors", file).exit_code == 0
    assert payments("verify", "--anchors", file).exit_code == 0


def test_an_end_that_was_cut_off_shows_by_the_anchor_alone(url: str, tmp_path: Path) -> None:
    early, late = tmp_path / "early.jsonl", tmp_path / "late.jsonl"
    payments("audit", "anchor", "--to", late)
    whole = json.loads(late.read_text())
    [(digest,)] = raw.run(url, "SELECT hash FROM audit WHERE shard = 0 AND position = 9")
    early.write_text(
        json.dumps({"at": whole["at"], "heads": {"0": [9, digest.hex()]}}) + "\n" + late.read_text()
    )
    cut_off(url, after=12)

    assert payments("audit", "verify").exit_code == 0, "nothing inside the database shows it"
    found = payments("audit", "verify", "--anchors", early)

    assert found.exit_code == 1
    assert found.stdout.strip() == (
        f"audit shard 0 row 16: anchored at {whole['at']}, it is gone;"
        " the chain was cut off or written anew after row 9"
    )
    told = json.loads(payments("audit", "verify", "--anchors", early, "--json").stdout)
    assert [problem[:22] for problem in told["problems"]] == ["audit shard 0 row 16: "]


def test_a_log_that_does_not_prove_itself_gives_no_anchor(url: str, tmp_path: Path) -> None:
    file = tmp_path / "anchors.jsonl"
    raw.tamper(url, "UPDATE audit SET actor = 'nobody' WHERE position = 3")

    tried = payments("audit", "anchor", "--to", file)

    assert tried.exit_code == 1
    assert "audit shard 0 row 3: it was changed" in tried.stdout
    assert not file.exists()


def test_a_file_that_holds_something_else_is_named_with_its_line(url: str, tmp_path: Path) -> None:
    file = tmp_path / "anchors.jsonl"
    payments("audit", "anchor", "--to", file)
    file.write_text(file.read_text() + '{"at": "2026-')

    tried = payments("audit", "verify", "--anchors", file)

    assert tried.exit_code == 2
    assert "line 2 is no anchor" in tried.stderr


def test_an_auditor_proves_what_he_was_given_without_us(url: str, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    script = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]

    def told() -> str:
        return subprocess.run(
            [sys.executable, "-I", "-c", script, str(file)], capture_output=True, text=True, check=True
        ).stdout

    assert payments("audit", "export", "--file", file).exit_code == 0
    assert told() == "16 rows\n"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:4], lines[4].replace("pay_3", "pay_4"), *lines[5:]]))
    assert told() == "changed: 0 5\n16 rows\n"


def test_rows_are_chosen_by_payment_actor_and_time(url: str) -> None:
    def rows(*arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in payments("audit", "export", *arguments).stdout.splitlines()]

    everything = rows()
    assert [row["position"] for row in everything] == list(range(1, 17))
    assert rows("--payment", "pay_2") == [row for row in everything if row["payment_id"] == "pay_2"]
    assert rows("--actor", "nobody") == []
    assert rows("--from", "2026-11-22", "--to", "2026-11-23") == everything
    assert rows("--from", "2026-11-22T12:00:00.000001") == rows("--to", "2026-11-22T12:00") == []
    refused = payments("audit", "export", "--from", "yesterday")
    assert refused.exit_code == 2
    assert "--from yesterday: write it as" in refused.stderr


def test_a_spreadsheet_gets_the_same(url: str) -> None:
    lines = [json.loads(line) for line in payments("audit", "export").stdout.splitlines()]
    table = csv_rows(payments("audit", "export", "--format", "csv").stdout)

    assert [row["hash"] for row in table] == [line["hash"] for line in lines]
    raw.tamper(url, "UPDATE audit SET actor = '=1+1' WHERE position = 2")
    assert csv_rows(payments("audit", "export", "--format", "csv").stdout)[1]["actor"] == "'=1+1"


def test_what_looks_like_a_card_number_is_blanked_out_and_said_so(url: str) -> None:
    raw.tamper(url, "UPDATE audit SET subject = 'card 4111 1111 1111 1111' WHERE position = 2")

    rows = [json.loads(line) for line in payments("audit", "export").stdout.splitlines()]

    assert [row["position"] for row in rows if row["redacted"]] == [2]
    assert "4111 1111" not in json.dumps(rows)
