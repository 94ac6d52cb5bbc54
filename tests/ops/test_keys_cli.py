"""`payments keys`: what an operator types from the first key to its retirement, and what he is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from tests import keys

WHY = ("--actor", "ada", "--reason", "a test")


class Operator:
    """Somebody at a terminal, with an embedded ledger in a directory."""

    def __init__(self, directory: Path) -> None:
        self.environment = {"PAYMENTS_DATA_DIR": str(directory), "COLUMNS": "120"}
        self.types("migrate")

    def types(self, *arguments: str, status: int = 0, typed: str | None = None, **settings: str) -> Result:
        """Run `payments` with these arguments."""
        ended = CliRunner().invoke(app, arguments, env=self.environment | settings, input=typed)
        assert ended.exit_code == status, ended.output
        return ended

    def keys(self, *arguments: str, **how: Any) -> Any:
        """What `payments keys` prints for programs."""
        return json.loads(self.types("keys", *arguments, "--json", **how).stdout)

    def states(self) -> dict[str, str]:
        """The state of every key."""
        return {row["key"]: row["state"] for row in self.keys("list")["keys"]}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """One whose books are empty."""
    return Operator(tmp_path)


@pytest.mark.parametrize("command", ["new", "list", "rotate", "retire"])
def test_every_command_explains_itself_and_speaks_to_programs(command: str) -> None:
    shown = CliRunner().invoke(app, ["keys", command, "--help"], env={"COLUMNS": "80"}).stdout

    assert "--json" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_new_key_is_a_file_for_its_owners_eyes_and_nobody_is_shown_it(
    operator: Operator, tmp_path: Path
) -> None:
    made = operator.keys("new", "--dir", str(tmp_path / "elsewhere"), *WHY)

    file = Path(made["file"])
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert made["in_audit_log"]
    everything_said = json.dumps(made) + operator.types("keys", "list").stdout
    assert file.read_text().strip() not in everything_said


def test_from_the_first_key_to_its_retirement(operator: Operator) -> None:
    (first,) = operator.states()
    operator.keys("rotate", "--yes", *WHY)
    second = operator.keys("new", *WHY)["key"]
    assert operator.states() == {first: "current", second: "never in use"}

    refused = operator.types("keys", "retire", first, *WHY, status=1).stderr
    assert refused.strip().endswith("make another one current first, with `payments keys rotate`")
    assert operator.keys("rotate", "--yes", *WHY)["key_id"] == second
    assert operator.keys("retire", first, *WHY) == {"retired": first}

    assert operator.states() == {first: "retired", second: "current"}
    refused = operator.types("keys", "rotate", "--to", first, "--yes", *WHY, status=2).stderr
    assert refused.strip() == f"payments: key {first} is retired: make a new one with `payments keys new`"


def test_a_rotation_asks_whether_every_worker_has_the_key(operator: Operator) -> None:
    asked = operator.types("keys", "rotate", *WHY, typed="n\n", status=1)

    assert "Has every worker key" in asked.output
    assert set(operator.states().values()) == {"never in use"}


def test_of_several_new_keys_one_must_be_named(operator: Operator) -> None:
    made = [operator.keys("new", *WHY)["key"] for _ in range(2)]

    refused = operator.types("keys", "rotate", "--yes", *WHY, status=2).stderr

    assert all(key in refused for key in made)
    assert "--to" in refused


def test_a_file_that_is_no_key_is_named_and_not_quoted(operator: Operator, tmp_path: Path) -> None:
    broken = tmp_path / "keys" / "broken.key"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("geheim")

    refused = operator.types("keys", "list", status=2).stderr

    assert refused.strip() == f"payments: {broken} is no key: `payments keys new` makes one"


def test_postgresql_is_not_served_without_keys_of_the_operators_own(operator: Operator) -> None:
    refused = operator.types("keys", "list", status=2, PAYMENTS_DATABASE_URL="postgresql://u@h/d").stderr

    assert refused.startswith("payments: PAYMENTS_KEYS_DIR is missing: ")


def test_the_tests_key_is_the_one_in_the_file(operator: Operator) -> None:
    listed = operator.keys("list", PAYMENTS_KEYS_DIR=str(keys.DIRECTORY))["keys"]

    assert [row["key"] for row in listed] == [keys.KEY.key_id]
