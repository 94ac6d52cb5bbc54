"""The command that gives a letter another body."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

import typer

from ledger.ledger import Ledger
from ledger.letters import Letter
from ops.cli_parts import (
    AsJson,
    console,
    show_result,
)
from ops.dead_letters import editing
from ops.dead_letters.changing import Operator, Refused
from ops.dead_letters.choosing import content_of
from ops.dead_letters.office import (
    Actor,
    Reason,
    Yes,
    agreed,
    app,
    opened_office,
    the_time,
)


@app.command("edit")
def edit_command(
    letter: Annotated[str, typer.Argument(help="A letter, or the beginning of its id.")],
    actor: Actor,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="amount.currency=EUR; repeatable. Values are JSON, or text."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The whole new body.", exists=True)] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", help="cloudEvents_source=/shop; repeatable.")
    ] = None,
    reason: Reason = "",
    requeue: Annotated[bool, typer.Option("--requeue", help="Send it back at once.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a letter another body, under a new message id; opens $EDITOR unless --set or --file say how.

    The new body must be what its schema says. The letter itself stays, marked as edited.
    """
    with opened_office() as office:
        old = office.the_one(letter)
        content = (
            content_of(old) if headers and not (values or file) else _new_content(old, values or [], file)
        )
        new = editing.edited(
            old, content, headers=_pairs(headers or []), is_known=_is_known(office.ledger), now=the_time()
        )
        changes = editing.difference(old, new)
        if not as_json:
            console.print("\n".join(changes), markup=False, highlight=False)
        agreed("Keep this?", yes)
        by = Operator(name=actor, reason=reason)
        office.desk.replace(old, new, by)
        sent = office.desk.requeue([new.letter_id], by) if requeue else None
    told = {"letter": new.letter_id, "message_id": new.message_id, "replaces": old.letter_id, "diff": changes}
    what = "sent back" if sent and sent.changed else "kept; send it with `payments dead-letters requeue`"
    show_result(
        told | {"sent": bool(sent and sent.changed)},
        as_json,
        lambda: f"{new.letter_id} takes its place: {what}",
    )


def _new_content(letter: Letter, values: list[str], file: Path | None) -> Any:
    content = content_of(letter)
    if file is not None:
        text = file.read_text()
    elif values:
        if content is None:
            raise Refused("its body is not JSON: give the whole new one with --file")
        return editing.set_in(content, _pairs(values))
    else:
        text = _by_hand(
            json.dumps(content, indent=2) if content is not None else letter.body.decode(errors="replace")
        )
    try:
        return json.loads(text)
    except ValueError as error:
        raise Refused(f"the new body is not JSON: {error}") from None


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(sign for _, sign, _ in pairs):
        raise Refused("write it as name=value")
    return {name: value for name, _, value in pairs}


def _by_hand(text: str) -> str:
    """Let a person change it in $EDITOR. The file may hold a token: nobody else may read it, and it is removed."""
    with NamedTemporaryFile("w+", suffix=".json") as file:
        file.write(text)
        file.flush()
        subprocess.run([*shlex.split(os.environ.get("EDITOR", "vi")), file.name], check=True)
        return Path(file.name).read_text()


def _is_known(ledger: Ledger) -> Callable[[str, str], bool]:
    recorded = {
        "payment_id": "SELECT payment_id FROM payments WHERE payment_id = {value}",
        "refund_id": "SELECT refund_id FROM refunds WHERE refund_id = {value}",
        "capture_id": "SELECT capture_id FROM captures WHERE capture_id = {value}",
    }

    def is_known(name: str, key: str) -> bool:
        with ledger.upkeep(writes=False) as bulk:
            return bool(bulk.query(recorded[name], key)())

    return is_known
