"""Commands that change where a letter stands: approve, park, snooze, discard, restore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ops.cli_parts import (
    AsJson,
    show_result,
)
from ops.dead_letters.changing import Desk, Done, Operator
from ops.dead_letters.choosing import span
from ops.dead_letters.office import (
    Actor,
    Chosen,
    Reason,
    Yes,
    agreed,
    app,
    explaining,
    narrowed,
    opened_office,
    the_time,
)
from ops.dead_letters.options import choosing


@app.command("approve")
@choosing
def approve_command(
    choice: Chosen, actor: Actor, reason: Reason = "", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Do what another operator has proposed: letters that move more money than one person may."""
    _change(
        choice,
        "Approve",
        yes,
        as_json,
        lambda desk, ids: desk.approve(ids, Operator(name=actor, reason=reason)),
    )


@app.command("park")
@choosing
def park_command(
    choice: Chosen,
    actor: Actor,
    note: Annotated[str, typer.Option(help="Why.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put letters aside, with a note."""
    _change(choice, "Park", yes, as_json, lambda desk, ids: desk.park(ids, Operator(name=actor, reason=note)))


@app.command("snooze")
@choosing
def snooze_command(
    choice: Chosen,
    actor: Actor,
    how_long: Annotated[str, typer.Option("--for", help="90s, 10m, 2h, 3d.")],
    note: Annotated[str, typer.Option(help="Why.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put letters aside for a while: they are listed again when it is over."""
    with explaining():
        until = the_time() + span(how_long)
    by = Operator(name=actor, reason=note)
    _change(choice, "Snooze", yes, as_json, lambda desk, ids: desk.park(ids, by, until=until))


@app.command("discard")
@choosing
def discard_command(
    choice: Chosen,
    actor: Actor,
    reason: Annotated[str, typer.Option(help="Why; required.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give letters up. They stay in the table, and `restore` brings them back."""
    _change(
        choice,
        "Discard",
        yes,
        as_json,
        lambda desk, ids: desk.discard(ids, Operator(name=actor, reason=reason)),
    )


@app.command("restore")
@choosing
def restore_command(
    choice: Chosen,
    actor: Actor,
    reason: Annotated[str, typer.Option(help="Why; required.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take letters up again that were discarded or parked: add --state discarded."""
    _change(
        choice,
        "Restore",
        yes,
        as_json,
        lambda desk, ids: desk.restore(ids, Operator(name=actor, reason=reason)),
    )


def _change(
    choice: Chosen, verb: str, yes: bool, as_json: bool, change: Callable[[Desk, list[str]], Done]
) -> None:
    with opened_office() as office:
        letters = narrowed(office, choice, everything=False)
        if letters:
            agreed(f"{verb} {len(letters)} messages?", yes)
        done = change(office.desk, [letter.letter_id for letter in letters])
    told = {"changed": [letter.letter_id for letter in done.changed], "refused": done.refused}
    lines = [f"{len(done.changed)} changed", *(f"{name}: {why}" for name, why in done.refused.items())]
    show_result(told, as_json, lambda: "\n".join(lines))
    if done.refused or not letters:
        raise typer.Exit(1)
