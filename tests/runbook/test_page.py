"""The runbook and the programs agree: every alarm has its section, every command exists with these options."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer.main
import yaml

from ops.cli import app
from tests.runbook.page import SECTIONS
from tests.workers import ROOT

ALERTS = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
ANCHORS = {section.anchor for section in SECTIONS.values()}
COMMANDS = sorted({command for section in SECTIONS.values() for command in section.payments_commands})


@pytest.mark.parametrize("alert", RULES)
def test_every_alarm_leads_to_its_section(alert: str) -> None:
    page, _, anchor = RULES[alert]["annotations"]["runbook"].partition("#")

    assert page == "docs/runbook.md"
    assert anchor in ANCHORS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_with_these_options(command: str) -> None:
    parse(command)


@pytest.mark.parametrize("command", ["payments nosuch", "payments keys nosuch", "payments verify --nosuch"])
def test_a_command_that_does_not_exist_would_be_seen(command: str) -> None:
    with pytest.raises(Exception, match="nosuch"):
        parse(command)


def parse(line: str) -> None:
    """Read a line as the program would, without running it."""
    _, *words = shlex.split(line)
    command: Any = typer.main.get_command(app)
    while commands := getattr(command, "commands", None):
        name, *words = words
        command = commands[name]
    command.make_context(command.name, words)
