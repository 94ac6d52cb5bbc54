"""`payments audit`: prove the audit log, keep its heads elsewhere, hand it to an auditor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ledger.reading import reading
from ledger.verify import Report
from ledger.verify import verify as verify_ledger
from ops.anchor_file import anchors_in, keep_anchor
from ops.audit_export import Asked, count, exported, write_csv, write_lines
from ops.cli_parts import AsJson, explained, fail, progress_bar, show_proof, show_result
from ops.settings import read_settings

app = typer.Typer(
    help="Prove the audit log, anchor it, hand it on.\n\nSee docs/audit.md.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Anchors = Annotated[
    Path | None, typer.Option("--anchors", help="Heads of earlier, as `payments audit anchor` wrote them.")
]


class Format(StrEnum):
    """How rows are written."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command()
def verify(anchors: Anchors = None, as_json: AsJson = False) -> None:
    """Prove the audit log, and by it every journal. Reads only.

    No row was changed, taken away, swapped or slipped in; with --anchors, none was cut off or written anew either.
    `payments verify` does this too, and proves amounts and states besides.
    """
    with explained():
        report = _proved(anchors, quiet=as_json)
    show_proof(report, as_json)


@app.command()
def anchor(
    to: Annotated[
        Path | None, typer.Option("--to", help="A file, to add a line to. Default: it is printed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the audit log, and give the heads of its chains as one line of JSON.

    Keep it where nobody who can write to the database can write. `--anchors` holds the log to it later. Chains that do
    not prove themselves give no anchor, and the exit status 1.
    """
    with explained():
        report = _proved(to if to and to.exists() else None, quiet=as_json)
        if report.problems or report.anchor is None:
            show_proof(report, as_json)
            raise typer.Exit(1)
        if to is None:
            print(report.anchor.line(), flush=True)
            return
        keep_anchor(report.anchor, to)
    made = report.anchor
    rows = sum(head.position for head in made.heads)
    show_result(
        {"anchored": {"at": made.at.isoformat(), "rows": rows, "file": str(to)}},
        as_json,
        lambda: f"anchored {rows} rows in {len(made.heads)} chains, in {to}",
    )


@app.command()
def export(
    since: Annotated[
        str | None, typer.Option("--from", help="The first day or moment, UTC: 2026-11-01, 2026-11-01T12:00.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="The first that is left out.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only of one, such as operator:ada.")] = None,
    payment: Annotated[str | None, typer.Option("--payment", help="Only about one payment.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Where to. Default: standard output.")] = None,
    written_as: Annotated[
        Format, typer.Option("--format", help="JSON lines can be proved without this program.")
    ] = Format.JSONL,
) -> None:
    """Write rows of the audit log for an auditor, each with its hash and the one before it.

    docs/audit.md has fifteen lines of Python that make the chain anew from it.
    """
    with explained():
        asked = Asked(
            since=_moment("--from", since), until=_moment("--to", until), actor=actor, payment_id=payment
        )
        with (
            reading(read_settings().ledger_url) as books,
            _opened(file) as out,
            progress_bar(quiet=file is None) as bar,
        ):
            rows = bar.track(exported(books, asked), total=count(books, asked), description="writing rows")
            (write_csv if written_as is Format.CSV else write_lines)(rows, out)


def _proved(anchors: Path | None, *, quiet: bool) -> Report:
    known = anchors_in(anchors) if anchors else []
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task("proving", total=None)
        return verify_ledger(
            read_settings().ledger_url,
            anchors=known,
            chains_alone=True,
            progress=lambda what, done: bar.update(task, description=f"{what} {done or ''}"),
        )


def _moment(option: str, told: str | None) -> datetime | None:
    if told is None:
        return None
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        fail(f"{option} {told}: write it as 2026-11-01 or 2026-11-01T12:00, UTC", status=2)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _opened(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        return
    with file.open("w", encoding="utf-8", newline="") as out:
        yield out
