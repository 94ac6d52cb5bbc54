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
from ops.dead_letters.changing import Done, Operator, Refused
from ops.dead_letters.choosing import content_of
from ops.dead_letters.office import (
    Actor,
    Chosen,
    Office,
    Reason,
    Yes,
    agreed,
    app,
    narrowed,
    opened_office,
    the_time,
)
from ops.dead_letters.options import choosing


@app.command("edit")
@choosing
def edit_command(
    choice: Chosen,
    actor: Actor,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="amount.currency=EUR; repeatable. Values are JSON, or text."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The whole new body.", exists=True)] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", help="cloudEvents_source=/shop; repeatable.")
    ] = None,
    note: Reason = "",
    requeue: Annotated[bool, typer.Option("--requeue", help="Send them back at once.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give letters another body or other headers, each under a new message id.

    Without --set, --header and --file, one letter is opened in $EDITOR. What comes out must be what its schema
    says. A letter that was edited stays, marked so, and names the one that took its place.
    """
    with opened_office() as office:
        chosen = narrowed(office, choice, everything=False)
        if not (values or headers) and len(chosen) != 1:
            raise Refused(f"{len(chosen)} letters are meant: change several with --set or --header")
        pairs = [(old, _edited(office, old, values or [], headers or [], file)) for old in chosen]
        changes = editing.difference(*pairs[0])
        if not as_json:
            console.print("\n".join(changes), markup=False, highlight=False)
        agreed(f"Change {len(pairs)} letters like this?", yes)
        by = Operator(name=actor, reason=note)
        for old, new in pairs:
            office.desk.replace(old, new, by)
        names = [new.letter_id for _, new in pairs]
        sent = office.desk.requeue(names, by) if requeue else Done()
    told = {
        "edited": [
            {"letter": new.letter_id, "message_id": new.message_id, "replaces": old.letter_id}
            for old, new in pairs
        ],
        "diff": changes,
        "sent_back": [letter.letter_id for letter in sent.changed],
        "proposed": sent.proposed,
    }
    what = f"{len(sent.changed)} sent back" if requeue else "send them with `payments dead-letters requeue`"
    show_result(told, as_json, lambda: f"{len(pairs)} edited: {what}\n" + "\n".join(names))


def _edited(
    office: Office, letter: Letter, values: list[str], headers: list[str], file: Path | None
) -> Letter:
    content = content_of(letter)
    if file is not None:
        content = _parsed(file.read_text())
    elif values:
        if content is None:
            raise Refused(f"{letter.letter_id}: its body is not JSON; give the whole new one with --file")
        content = editing.set_in(content, _pairs(values))
    elif not headers:
        before = (
            json.dumps(content, indent=2) if content is not None else letter.body.decode(errors="replace")
        )
        content = _parsed(_by_hand(before))
    return editing.edited(
        letter, content, headers=_pairs(headers), is_known=_is_known(office.ledger), now=the_time()
    )


def _parsed(text: str) -> Any:
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
