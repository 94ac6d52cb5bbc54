"""Commands that look: drain, list, groups, show, diff, stats, export, import."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from ops.cli_parts import (
    AsJson,
    explained,
    fail,
    progress_bar,
    show_result,
)
from ops.dead_letters import editing, showing
from ops.dead_letters.changing import Operator
from ops.dead_letters.choosing import Choice
from ops.dead_letters.draining import Drained, drain
from ops.dead_letters.office import (
    Actor,
    Chosen,
    Direct,
    Reason,
    app,
    found,
    looked_at,
    opened_bus,
    opened_office,
    show,
    the_time,
)
from ops.dead_letters.options import choosing
from ops.dead_letters.portable import from_lines, to_line


@app.command("drain")
def drain_command(
    actor: Actor,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C or SIGTERM.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take everything out of the dead-letter queues, into the database.

    A message is acknowledged after it is committed: killed at any moment, nothing is lost and nothing doubled.
    """
    goes_on = [follow]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: goes_on.clear())
    with opened_office() as office, opened_bus(office.settings) as bus, progress_bar(quiet=as_json) as bar:
        task = bar.add_task("drained", total=None)

        def tell(drained: Drained) -> None:
            bar.update(task, completed=drained.new + drained.again)

        by = Operator(name=actor)
        drained = drain(
            bus,
            office.ledger,
            actor=by.actor,
            clock=the_time,
            goes_on=lambda: bool(goes_on and goes_on[0]),
            progress=tell,
        )
    told = {"new": drained.new, "dead_again": drained.again, "here_already": drained.seen}
    show_result(
        told, as_json, lambda: ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in told.items())
    )


@app.command("list")
@choosing
def list_command(choice: Chosen, is_direct: Direct = False, as_json: AsJson = False) -> None:
    """List letters, the longest dead first."""
    letters = looked_at(choice) if is_direct else found(choice)
    show(
        [showing.as_row(letter) for letter in letters], as_json, lambda: showing.table_of(letters, the_time())
    )


@app.command("groups")
@choosing
def groups_command(choice: Chosen, as_json: AsJson = False) -> None:
    """Put like cases together: what died of the same cause, the most first."""
    groups = showing.groups_of(found(choice))
    show(groups, as_json, lambda: showing.table_of_groups(groups, the_time()))


@app.command("show")
def show_command(
    letter: Annotated[str, typer.Argument(help="A letter, or the beginning of its id.")],
    is_direct: Direct = False,
    as_json: AsJson = False,
) -> None:
    """Show one letter whole; secrets are hidden. Looking changes nothing."""
    if is_direct:
        found = looked_at(lambda: Choice(ids=(letter,)))
        if len(found) != 1:
            fail(f"{len(found)} letters in the queues begin with {letter}", status=1)
        one = found[0]
    else:
        with opened_office() as office:
            one = office.the_one(letter)
    show(showing.as_whole(one), as_json, lambda: showing.whole(one))


@app.command("diff")
def diff_command(
    letter: Annotated[str, typer.Argument(help="A letter, or the beginning of its id.")],
    as_json: AsJson = False,
) -> None:
    """Compare a letter with the schema of its type. The exit status is 1 if it differs."""
    with opened_office() as office:
        wrongs = editing.wrongs(office.the_one(letter))
    told = [{"at": wrong.at, "problem": wrong.problem, "found": wrong.found} for wrong in wrongs]
    show(told, as_json, lambda: showing.table_of_wrongs(wrongs) if wrongs else "as its schema says")
    if wrongs:
        raise typer.Exit(1)


@app.command("stats")
def stats_command(as_json: AsJson = False) -> None:
    """Count letters by state, queue and reason. The exit status is 1 if some wait."""
    with opened_office() as office:
        told = showing.counts(office.desk.letters(), the_time())
    show(told, as_json, lambda: "\n".join(_stat(name, value) for name, value in told.items()))
    if told["waiting_by_queue"]:
        raise typer.Exit(1)


def _stat(name: str, value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{count} {what}" for what, count in value.items()) or "none"
    return f"{name.replace('_', ' ')}: {value}"


@app.command("export")
@choosing
def export_command(choice: Chosen, file: Annotated[Path, typer.Option(help="Where to.")] = Path("-")) -> None:
    """Write letters as JSON lines, without loss. They hold tokens: keep them as safe as the database."""
    letters = found(choice)
    if str(file) == "-":
        for letter in letters:
            print(to_line(letter))
        return
    with explained(), os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.writelines(f"{to_line(letter)}\n" for letter in letters)
    print(f"{len(letters)} letters written to {file}", file=sys.stderr)


@app.command("import")
def import_command(
    file: Annotated[
        Path, typer.Argument(help="As `export` writes it; - reads standard input.", allow_dash=True)
    ],
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Take letters in that were exported, here or elsewhere. What is here already stays as it is."""
    with opened_office() as office:
        with sys.stdin if str(file) == "-" else file.open() as lines:
            letters = list(from_lines(lines))
        count = office.desk.add(letters, Operator(name=actor, reason=reason))
    told = {"imported": count, "here_already": len(letters) - count}
    show_result(told, as_json, lambda: f"{count} imported, {len(letters) - count} here already")
