"""`payments keys`: the keys that tokens are encrypted with, from their making to their retirement."""

from __future__ import annotations

import dataclasses
import getpass
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from ledger import keys
from ledger.errors import LedgerError
from ledger.key_ceremony import Asker, KeyInUse, record_new, retire
from ledger.key_uses import KeyUse, count_uses
from ledger.ledger import Ledger
from ledger.rotation import Rotated, rotate
from ops.cli_parts import (
    AsJson,
    console,
    explained,
    fail,
    progress_bar,
    settings_with_directory,
    show_result,
)
from ops.key_files import new_key, open_keyring
from ops.settings import Settings, SettingsError

app = typer.Typer(
    help="The keys that tokens are encrypted with. The whole ceremony is in docs/keys.md.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Reason = Annotated[str, typer.Option("--reason", help="Why; written into the audit log.")]
Actor = Annotated[
    str, typer.Option("--actor", help="Who you are, for the audit log.", default_factory=getpass.getuser)
]


@app.command("new")
def new_command(
    actor: Actor,
    reason: Reason = "a new key",
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where to write it; default: where PAYMENTS_KEYS_DIR says.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key in a file of its own.

    Nothing is encrypted with it before `payments keys rotate`. Keep a copy apart from the database: without
    it, what it encrypts is lost.
    """
    with explained():
        settings = settings_with_directory()
        if directory is None and settings.keys_dir is None and not _is_embedded(settings):
            raise SettingsError("PAYMENTS_KEYS_DIR is missing: say with --dir where to write the key")
        key, path = new_key(directory or settings.keys_directory)
    noted = _note_new(settings, key.key_id, Asker(actor=f"operator:{actor}", reason=reason))
    show_result(
        {"key": key.key_id, "file": str(path), "in_audit_log": noted},
        as_json,
        lambda: (
            f"made key {key.key_id} in {path}\n"
            "next: keep a copy apart from the database, give it to every worker, then `payments keys rotate`"
            + ("" if noted else "\nit is not in the audit log: the database is not there yet")
        ),
    )


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Show every key, and how many values are encrypted with it.

    The exit status is 1 if values need a key that is not here.
    """
    with explained(), _opened() as ledger:
        with ledger.upkeep(writes=False) as bulk, progress_bar(quiet=as_json) as progress:
            task = progress.add_task("counting", total=None)
            uses = count_uses(bulk, lambda place: progress.update(task, description=f"counting {place}"))
            states = keys.register(bulk)
        here = ledger.keyring.ids
    rows = _standings(states, uses, here)
    show_result({"keys": rows}, as_json, lambda: _drawn(rows))
    if any(row["values"] and not row["here"] and row["key"] for row in rows):
        raise typer.Exit(1)


@app.command("rotate")
def rotate_command(
    actor: Actor,
    reason: Reason,
    to: Annotated[
        str | None, typer.Option("--to", help="The key's id; default: the one that was never in use.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether every worker has the key.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key current, and encrypt everything with it anew, while workers go on.

    Every worker must have the key before. Interrupted, it is simply run again: it finds what is left. The exit
    status is 1 if something was left.
    """
    with explained(), _opened() as ledger:
        with ledger.upkeep(writes=False) as bulk:
            states = keys.register(bulk)
            key_id = to or _the_new_one(states, ledger.keyring.ids)
            total = _rows_not_on(key_id, count_uses(bulk))
        if not yes and states.get(key_id) != "current":
            typer.confirm(f"Has every worker key {key_id} in its directory?", abort=True, err=True)
        with progress_bar(quiet=as_json) as progress:
            task = progress.add_task("encrypting anew", total=total)
            done = rotate(
                ledger,
                key_id,
                asker=Asker(actor=f"operator:{actor}", reason=reason),
                clock=lambda: datetime.now(UTC),
                progress=lambda table, rows: progress.update(task, advance=rows, description=table),
            )
    show_result(dataclasses.asdict(done), as_json, lambda: _told(done))
    if not done.is_complete:
        raise typer.Exit(1)


@app.command("retire")
def retire_command(
    key_id: Annotated[str, typer.Argument(help="As `payments keys list` shows it.")],
    actor: Actor,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Note that a key is needed no more; afterwards its files may be removed.

    Refused with exit status 1 while anything is encrypted with it.
    """
    with explained(), _opened() as ledger:
        try:
            asker = Asker(actor=f"operator:{actor}", reason=reason)
            retire(ledger, key_id, asker=asker, now=datetime.now(UTC))
        except KeyInUse as why:
            fail(str(why), status=1)
    show_result(
        {"retired": key_id},
        as_json,
        lambda: (
            f"key {key_id} is retired: its files may be removed; keep a copy as long as you keep backups with it"
        ),
    )


@contextmanager
def _opened() -> Iterator[Ledger]:
    settings = settings_with_directory()
    with closing(Ledger(settings.ledger_url, keyring=open_keyring(settings))) as ledger:
        yield ledger


def _is_embedded(settings: Settings) -> bool:
    return settings.ledger_url.startswith("sqlite")


def _note_new(settings: Settings, key_id: str, asker: Asker) -> bool:
    """Write the new key into the audit log, if there is one already."""
    file = settings.ledger_url.removeprefix("sqlite:///")
    if _is_embedded(settings) and not Path(file).exists():
        return False
    try:
        with closing(Ledger(settings.ledger_url)) as ledger:
            record_new(ledger, key_id, asker=asker, now=datetime.now(UTC))
    except LedgerError:
        return False
    return True


def _the_new_one(states: dict[str, keys.State], here: list[str]) -> str:
    """The key that was never in use; without any, the current one: what is left is encrypted with it."""
    never_used = [key_id for key_id in here if key_id not in states]
    if len(never_used) > 1:
        raise LedgerError(f"the keys {', '.join(never_used)} were never in use: say which one with --to")
    current = [key_id for key_id, state in states.items() if state == "current"]
    for key_id in (*never_used, *current):
        return key_id
    raise LedgerError("none of the keys here can be used: make one with `payments keys new`")


def _rows_not_on(key_id: str, uses: list[KeyUse]) -> int:
    """Rows to be encrypted anew: of a table with several such columns, as many as the one with most."""
    most: dict[str, int] = {}
    for use in uses:
        if use.key_id != key_id:
            table = use.place.partition(".")[0]
            most[table] = max(most.get(table, 0), use.count)
    return sum(most.values())


def _standings(states: dict[str, keys.State], uses: list[KeyUse], here: list[str]) -> list[dict[str, Any]]:
    known = [*states, *(key_id for key_id in here if key_id not in states)]
    others = {use.key_id for use in uses} - set(known)
    return [
        {
            "key": key_id,
            "state": states.get(key_id or "", "never in use") if key_id else "not encrypted",
            "here": key_id in here,
            "values": sum(use.count for use in uses if use.key_id == key_id),
            "where": {use.place: use.count for use in uses if use.key_id == key_id},
        }
        for key_id in [*known, *sorted(others, key=str)]
    ]


def _drawn(rows: list[dict[str, Any]]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("key", "state", "here", "values", "where"):
        table.add_column(column, overflow="fold", justify="right" if column == "values" else "left")
    for row in rows:
        where = "\n".join(f"{place} {count}" for place, count in row["where"].items())
        here = "" if row["key"] is None else "yes" if row["here"] else "NO"
        table.add_row(row["key"] or "(none)", row["state"], here, str(row["values"]), where)
    with console.capture() as drawn:
        console.print(table)
    return drawn.get().rstrip()


def _told(done: Rotated) -> str:
    counts = (
        ", ".join(f"{count} {table}" for table, count in done.rows.items() if count) or "nothing was left"
    )
    lines = [f"key {done.key_id} is current; encrypted anew: {counts}", *done.shut]
    if done.left:
        lines.append(f"{done.left} rows were in use all the time: run it again")
    if done.is_complete:
        lines.append("next: `payments keys list`, and `payments keys retire` the earlier key")
    return "\n".join(lines)
