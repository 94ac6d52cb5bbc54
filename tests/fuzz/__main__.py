"""`python -m tests.fuzz --count 100000`: card data in every place and form, through the real path, and what is left.

Exit status 1 if anything of it got through, or anything but it was refused.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.fuzz.cards import UNTELLABLE
from tests.fuzz.run import Verdict, run


def main(
    count: Annotated[int, typer.Option(help="Messages.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Decides everything.")] = 1,
    directory: Annotated[Path | None, typer.Option(help="Keep the files here.")] = None,
) -> None:
    """Send commands and callbacks with card numbers in them, and see that none gets in."""
    watched = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as made,
        Progress(console=watched, transient=True, disable=not watched.is_terminal) as progress,
    ):
        task = progress.add_task("messages", total=count)
        verdict = run(
            count, seed, directory or Path(made), lambda done: progress.update(task, completed=done)
        )
    show(verdict)
    sys.exit(1 if verdict.missed or verdict.searched.found or false_alarms(verdict) else 0)


def false_alarms(verdict: Verdict) -> int:
    """How many messages were refused that had no right to be; those that nobody can tell are not among them."""
    return sum(refused for kind, (_, refused) in verdict.alarms.items() if kind != UNTELLABLE)


def show(verdict: Verdict) -> None:
    """Print what came of it."""
    console = Console()
    for title, table in (
        ("Card data in commands, by form", verdict.by_form),
        ("Card data in commands, by place", verdict.by_place),
        ("Card data in commands, by the message's shape", verdict.by_shape),
        ("Card data in commands, by scheme", verdict.by_scheme),
        ("What only looks like it", verdict.alarms),
    ):
        shown = Table(title=title, title_justify="left")
        for column in ("", "sent", "refused", "%"):
            shown.add_column(column, justify="left" if not column else "right")
        for name, (sent, refused) in sorted(table.items()):
            shown.add_row(name, f"{sent}", f"{refused}", f"{100 * refused / sent:.2f}")
        console.print(shown)
    sent = sum(verdict.commands.values())
    refused = verdict.commands["refused"]
    harmless = sum(sent for kind, (sent, _) in verdict.alarms.items() if kind != UNTELLABLE)
    searched = verdict.searched
    console.print(f"Commands with card data: {sent}, refused {refused} ({100 * refused / sent:.3f} %)")
    console.print(f"Callbacks with card data: {dict(verdict.callbacks)}")
    console.print(f"Harmless commands: {harmless}, refused {false_alarms(verdict)}")
    console.print(
        f"Searched {searched.bytes:,} bytes of {', '.join(searched.files)} for {verdict.numbers:,} numbers"
    )
    console.print(f"Found: {len(searched.found)} {searched.found[:10]}")
    for missed in verdict.missed[:10]:
        console.print(f"  missed: {missed.place} | {missed.form} | {missed.scheme} | {missed.card}")
    console.print(f"{verdict.seconds:.0f} s")


if __name__ == "__main__":
    typer.run(main)
