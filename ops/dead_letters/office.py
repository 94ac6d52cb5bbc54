"""What the commands of `payments dead-letters` share: their application, their options, the desk they work at."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from consumers.bus import KombuBus
from ledger.ledger import Ledger
from ledger.letters import Letter
from ops.cli_parts import (
    console,
    explained,
    fail,
    settings_with_directory,
)
from ops.dead_letters import direct
from ops.dead_letters.changing import Desk, Refused
from ops.dead_letters.choosing import BadFilter, Choice
from ops.dead_letters.draining import DEAD_QUEUES
from ops.dead_letters.portable import NoLetter
from ops.key_files import open_keyring
from ops.settings import Settings

DIRECT_MOST = 10_000
"""Letters looked at in the queues themselves."""


app = typer.Typer(
    help="Messages nobody could act on: drain them into the database, look, mend, send back. docs/dead-letters.md",
    no_args_is_help=True,
    rich_markup_mode=None,
)


Chosen = Callable[[], Choice]
Actor = Annotated[
    str,
    typer.Option(
        "--actor",
        help="Who you are, for the audit log.",
        default_factory=lambda: os.environ.get("PAYMENTS_OPERATORS__ACTOR") or getpass.getuser(),
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; written into the audit log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Direct = Annotated[
    bool, typer.Option("--direct", help="On the queues themselves, when the database is away.")
]


@dataclass(frozen=True, slots=True)
class Office:
    """What a command works with."""

    settings: Settings
    ledger: Ledger
    desk: Desk

    def chosen(self, choice: Chosen) -> list[Letter]:
        """The letters that are meant."""
        meant = choice()
        return meant.of(self.desk.letters(meant.states), the_time())

    def the_one(self, name: str) -> Letter:
        """The letter of this name, or beginning of a name; ends the program if there is none, or several."""
        found = Choice(ids=(name,)).of(self.desk.letters(), the_time())
        if len(found) != 1:
            fail(
                f"{len(found)} letters begin with {name}" if found else f"there is no letter {name}", status=1
            )
        return found[0]


def the_time() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@contextmanager
def explaining() -> Iterator[None]:
    """Explain what a person can mend."""
    with explained():
        try:
            yield
        except (BadFilter, NoLetter) as error:
            fail(str(error), status=2)
        except Refused as error:
            fail(str(error), status=1)


@contextmanager
def opened_office() -> Iterator[Office]:
    """Open the ledger, and give the desk."""
    with explaining():
        settings = settings_with_directory()
        with closing(Ledger(settings.ledger_url, keyring=open_keyring(settings))) as ledger:
            limit = settings.operators.second_person_above
            yield Office(settings, ledger, Desk(ledger, clock=the_time, second_person_above=limit))


@contextmanager
def opened_bus(settings: Settings, *, prefetch: int = 1000) -> Iterator[KombuBus]:
    """Open the bus on the dead-letter queues alone."""
    bus = KombuBus(
        urls=settings.broker_urls,
        queues=DEAD_QUEUES,
        prefetch=prefetch,
        tls=settings.broker.tls,
        client_name="payments dead-letters",
        declares=False,  # an operator may not
    )
    bus.open()
    try:
        yield bus
    finally:
        bus.close()


def found(choice: Chosen) -> list[Letter]:
    """The letters that are meant."""
    with opened_office() as office:
        return office.chosen(choice)


def looked_at(choice: Chosen) -> list[Letter]:
    """Those that lie in the queues themselves; each is handed back unchanged."""
    with explaining(), opened_bus(settings_with_directory(), prefetch=DIRECT_MOST) as bus:
        letters = [letter for letter, _ in direct.look(bus, limit=DIRECT_MOST, now=the_time())]
        return choice().of(letters, the_time())


def narrowed(office: Office, choice: Chosen, everything: bool) -> list[Letter]:
    """The letters that are meant, where a forgotten filter must not mean all."""
    if choice().is_everything and not everything:
        raise BadFilter("say which: letters by their ids, --group, another filter, or --all")
    return office.chosen(choice)


def agreed(question: str, yes: bool) -> None:
    """Ask, unless told not to."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def show(told: Any, as_json: bool, for_people: Callable[[], RenderableType]) -> None:
    """Print for people or for programs."""
    if as_json:
        print(json.dumps(told), flush=True)
    else:
        console.print(for_people())
