"""`payments doctor` itself: all checks one after another, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ops.cli_parts import AsJson, console, explained
from ops.doctor import books, gateways, keys, machine
from ops.doctor.broker import examine_broker
from ops.doctor.database import examine_database
from ops.doctor.finding import Finding, Mark, each, well
from ops.settings import Settings, read_settings

SIGNS = {
    Mark.WELL: Text("✓", style="green"),
    Mark.WRONG: Text("✗", style="red"),
    Mark.UNSURE: Text("?", style="yellow"),
}


def doctor(
    proofs: Annotated[
        str, typer.Option(help="Where `payments verify --every` tells of its proofs.")
    ] = "http://127.0.0.1:9465",
    as_json: AsJson = False,
) -> None:
    """Look this deployment over and say what to do.

    Settings, versions, database, broker, books and gateways, as this machine sees them with the settings it has.
    Changes nothing and moves no money. The exit status is 1 if something needs doing, 2 if the settings cannot be read.
    """
    with explained():
        findings = list(examine(read_settings(), proofs_url=proofs))
    if as_json:
        print(json.dumps({"findings": [dataclasses.asdict(one) for one in findings]}, indent=2), flush=True)
    else:
        console.print(as_table(findings))
    if any(one.mark is Mark.WRONG for one in findings):
        raise typer.Exit(1)


def examine(settings: Settings, *, proofs_url: str) -> Iterator[Finding]:
    """Run every check. None stops another."""
    yield well("settings", "can be read")
    yield from each(machine.CHECKS, settings)
    yield from each((examine_database, examine_broker), settings)
    yield from each(keys.CHECKS, settings)
    yield from each(books.CHECKS, books.Books(url=settings.ledger_url, proofs_url=proofs_url))
    yield from each(gateways.CHECKS, settings)


def as_table(findings: list[Finding]) -> Table:
    """Lay out what was found, with what is to be done below it."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(max_width=30)
    table.add_column(overflow="fold")
    for one in findings:
        told = f"{one.told}\n→ {one.to_do}" if one.to_do else one.told
        table.add_row(SIGNS[one.mark], one.point, told)
    return table
