"""What every command of `payments` shares: how results are shown, and how what went wrong is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from consumers.delivery import BusDown, BusRefused
from ledger.errors import LedgerError
from ledger.verify import Report
from ops.publish import BadLine, NotPublished
from ops.screen import Screen, visible
from ops.settings import Settings, SettingsError, read_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
console = Screen()


def settings_with_directory() -> Settings:
    """Read the settings, and make the directory of the embedded default if it is needed."""
    settings = read_settings()
    if settings.broker_url is None or settings.database_url is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    return settings


def progress_bar(*, quiet: bool) -> Progress:
    """A bar for whoever watches; nobody watches a file."""
    watched = Console(stderr=True)
    return Progress(console=watched, transient=True, disable=quiet or not watched.is_terminal)


def show_result(result: dict[str, Any], as_json: bool, for_people: Callable[[], str]) -> None:
    """Print a result, for people or for programs."""
    print(json.dumps(result) if as_json else visible(for_people()), flush=True)


def show_proof(report: Report, as_json: bool) -> None:
    """Print what a proof of the books found; problems make the exit status 1."""
    told = ", ".join(f"{number} {what}" for what, number in report.counts.items())
    show_result(
        {"problems": report.problems, "checked": report.counts},
        as_json,
        lambda: "\n".join(report.problems) or f"clean: {told}",
    )
    if report.problems:
        raise typer.Exit(1)


def fail(message: str, *, status: int) -> NoReturn:
    """Say in one sentence why not, and end with an exit status."""
    print(f"payments: {visible(message)}", file=sys.stderr)
    raise typer.Exit(status) from None


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a person can mend into one sentence and exit status 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has seen enough
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), status=2)
    except (SettingsError, BadLine, NotPublished, BusDown, BusRefused, LedgerError) as error:
        fail(str(error), status=2)
