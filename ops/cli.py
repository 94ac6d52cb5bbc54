"""The `payments` command line: what an operator does with the service, for people, and with `--json` for programs.

Exit status: 0 done and well, 1 something is wrong with the payments or books, 2 it could not be done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from consumers.bus import KombuBus
from ledger.schema import migrate as migrate_ledger
from ledger.verify import verify as verify_ledger
from ops.anchor_file import anchors_in
from ops.audit_cli import app as audit_app
from ops.books import balances_as_json, books_table
from ops.cases.cli import app as cases_app
from ops.cli_parts import (
    AsJson,
    console,
    explained,
    progress_bar,
    settings_with_directory,
    show_proof,
    show_result,
)
from ops.dead_letters.cli import app as dead_letters_app
from ops.doctor.command import doctor
from ops.events import event_as_json, follow, render_event
from ops.keys_cli import app as keys_app
from ops.logs import configure_logs
from ops.publish import publish as publish_commands
from ops.publish import read_lines
from ops.screen import visible
from ops.settings import LogSettings, read_settings
from ops.story.cli import show, trace
from ops.verifying import verify_for_ever

app = typer.Typer(
    name="payments",
    help="Operate the payment service. Settings: PAYMENTS_… in the environment (docs/settings.md); "
    "without any, the embedded default in .payments/.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(keys_app, name="keys")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(audit_app, name="audit")
app.add_typer(cases_app, name="cases")


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the database up to date. Safe to run again."""
    with explained():
        done = migrate_ledger(settings_with_directory().ledger_url)
    show_result(
        {"applied": done}, as_json, lambda: f"applied: {', '.join(done)}" if done else "up to date already"
    )


@app.command()
def topology(as_json: AsJson = False) -> None:
    """Declare exchanges and queues. Safe to run again."""
    with explained():
        settings = settings_with_directory()
        bus = KombuBus(urls=settings.broker_urls, queues=(), prefetch=1, tls=settings.broker.tls)
        bus.open()
        where = bus.safe_url()
        bus.close()
    show_result({"declared_at": where}, as_json, lambda: f"declared at {where}")


@app.command()
def publish(
    file: Annotated[
        Path, typer.Argument(help="JSON lines of commands; - reads standard input.", allow_dash=True)
    ],
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send even what the worker would reject.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish commands from a file.

    Ends when the broker has confirmed all of them. A line is a whole CloudEvent, or just
    {"type": "PaymentRequested", "data": {…}}. Nothing is sent if a line is wrong. Publishing a file again is
    harmless as long as its lines carry ids.
    """
    with explained():
        settings = settings_with_directory()
        with sys.stdin if str(file) == "-" else file.open() as lines:
            commands = list(read_lines(lines, checked=not unchecked))
        with progress_bar(quiet=len(commands) < 1000) as progress:
            task = progress.add_task("published", total=len(commands))
            count = publish_commands(
                settings.broker_urls,
                commands,
                tls=settings.broker.tls,
                progress=lambda done: progress.update(task, completed=done),
            )
    show_result(
        {"published": count}, as_json, lambda: f"published {count} commands; the broker has confirmed them"
    )


@app.command()
def events(
    payment_id: Annotated[str | None, typer.Option("--payment", help="Only of this payment.")] = None,
    since_s: Annotated[float, typer.Option("--since", help="Begin so many seconds ago.", min=0)] = 0.0,
    once: Annotated[bool, typer.Option("--once", help="Stop when there is nothing more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow what is announced, until Ctrl-C.

    Shows every event as the broker confirms it.
    """
    with explained():
        try:
            for event in follow(
                read_settings().ledger_url, payment_id=payment_id, since_s=since_s, once=once
            ):
                print(event_as_json(event) if as_json else visible(render_event(event)), flush=True)
        except KeyboardInterrupt:
            pass


@app.command()
def books(as_json: AsJson = False) -> None:
    """Print the trial balance.

    Every account per gateway and currency, summed up from the entries themselves.
    """
    with explained():
        url = read_settings().ledger_url
        if as_json:
            print(json.dumps(balances_as_json(url), indent=2), flush=True)
        else:
            console.print(books_table(url))


@app.command()
def verify(
    every_s: Annotated[
        float | None, typer.Option("--every", help="Go on, once in so many seconds, until SIGTERM.", min=1)
    ] = None,
    port: Annotated[int, typer.Option(help="With --every: where /metrics tells what came of it.")] = 9465,
    host: Annotated[str, typer.Option(help="With --every: the address to listen on.")] = "127.0.0.1",
    anchors: Annotated[
        Path | None,
        typer.Option(
            help="Heads of the audit log of earlier; with --every one is added after each good proof."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the books. Reads only.

    Journals balance, nothing was changed since it was written, and amounts agree three ways. With --anchors also:
    nothing was cut off or written anew since.
    """
    with explained():
        settings = read_settings()
        url = settings.ledger_url
        if every_s is not None:
            configure_logs(settings.log)
            verify_for_ever(url, every_s=every_s, host=host, port=port, anchors=anchors)
            return
        known = anchors_in(anchors) if anchors else []
        with progress_bar(quiet=as_json) as progress:
            task = progress.add_task("verifying", total=None)
            report = verify_ledger(
                url, anchors=known, progress=lambda what, done: progress.update(task, description=what)
            )
    show_proof(report, as_json)


for command in (show, trace, doctor):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    configure_logs(LogSettings(level="warning"))
    app()


if __name__ == "__main__":
    main()
