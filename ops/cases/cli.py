"""The commands of `payments cases`: what waits for a person, and what people do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated

import typer

from ledger.case_facts import CaseKind
from ledger.cases import Case, CaseState
from ledger.ledger import Ledger
from ops.cases import showing
from ops.cases.desk import Desk, Done, Refused
from ops.cli_parts import AsJson, console, explained, fail, settings_with_directory, show_result
from ops.dead_letters.choosing import BadFilter, span
from ops.dead_letters.office import Actor, Yes, agreed, show, the_time
from ops.key_files import open_keyring

NOBODY = "nobody"

app = typer.Typer(
    help="What waits for a person: see it, take it, note, resolve. docs/cases.md",
    rich_markup_mode=None,
)

Named = Annotated[
    str,
    typer.Argument(metavar="ID", help="As `list` names it; its payment's id, if that has one case alone."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; required, and written into the audit log.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which cases are listed. An empty choice is every open case that waits for a person."""

    kind: CaseKind | None = None
    owner: str | None = None
    older_than: timedelta | None = None
    payment: str | None = None
    gateway: str | None = None
    everything: bool = False

    def includes(self, case: Case) -> bool:
        """Whether a case is meant."""
        fact = case.fact
        row_payment = case.row.payment_id if case.row is not None else None
        waits = case.state is CaseState.OPEN and fact is not None and not fact.by_itself
        return (
            (waits or self.everything)
            and (self.kind is None or case.case_id.startswith(f"{self.kind.value}:"))
            and (self.owner is None or (case.owner or NOBODY) == self.owner)
            and (self.payment is None or self.payment == (fact.payment_id if fact else row_payment))
            and (self.gateway is None or (fact is not None and fact.gateway == self.gateway))
            and (self.older_than is None or (fact is not None and the_time() - fact.since >= self.older_than))
        )


@contextmanager
def _desk(operator: str = "") -> Iterator[Desk]:
    with explained():
        try:
            settings = settings_with_directory()
            with closing(Ledger(settings.ledger_url, keyring=open_keyring(settings))) as ledger:
                limit = settings.operators.second_person_above
                yield Desk(ledger, operator=operator, clock=the_time, second_person_above=limit)
        except BadFilter as error:
            fail(str(error), status=2)
        except Refused as error:
            fail(str(error), status=1)


@app.callback(invoke_without_command=True)
def cases(context: typer.Context, as_json: AsJson = False) -> None:
    """What waits for a person: see it, take it, note, resolve. Without a command: the list. docs/cases.md"""
    if context.invoked_subcommand is None:
        _list(None, Choice(), as_json)


@app.command("list")
def list_command(
    kind: Annotated[CaseKind | None, typer.Option(help="Of this kind.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose; or `nobody`.")] = None,
    older_than: Annotated[str | None, typer.Option(help="That wait for longer: 90s, 10m, 2h, 3d.")] = None,
    payment: Annotated[str | None, typer.Option(help="About this payment.")] = None,
    gateway: Annotated[str | None, typer.Option(help="At this gateway.")] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also what is resolved, has settled, or is still looked at by itself."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person, the longest first. The exit status is 1 if something does."""
    choice = Choice(kind=kind, owner=owner, payment=payment, gateway=gateway, everything=everything)
    _list(older_than, choice, as_json)


def _list(older_than: str | None, choice: Choice, as_json: bool) -> None:
    with _desk() as desk:
        if older_than is not None:
            choice = replace(choice, older_than=span(older_than))
        found = [case for case in desk.cases(everything=choice.everything) if choice.includes(case)]
        letters = desk.open_letters()
    now = the_time()
    told = {"cases": [showing.as_row(case, now) for case in found], "dead_letters": letters}
    show(told, as_json, lambda: showing.table_of(found, now))
    if not as_json:
        console.print(showing.letters_line(letters))
    if any(case.state is CaseState.OPEN and case.fact and not case.fact.by_itself for case in found):
        raise typer.Exit(1)


@app.command("show")
def show_command(name: Named, as_json: AsJson = False) -> None:
    """Show one case: what it is, what to do, and who did what."""
    with _desk() as desk:
        case, steps = desk.look(_the_one(desk, name))
    now = the_time()
    show(showing.as_whole(case, steps, now), as_json, lambda: showing.whole(case, steps, now))


@app.command("take")
def take_command(
    name: Named,
    actor: Actor,
    whom: Annotated[str | None, typer.Option("--for", help="Whose it shall be; else yours.")] = None,
    taken_from: Annotated[str | None, typer.Option("--from", help="Who has it now, to take it over.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take a case: others see that somebody is at it. One that somebody has is taken over only with --from."""
    with _desk(actor) as desk:
        case_id = _the_one(desk, name)
        if taken_from is not None:
            agreed(f"Take {case_id} over from {taken_from}?", yes)
        done = desk.take(case_id, owner=whom or actor, taken_from=taken_from)
    _tell(done, f"{done.case.case_id} is {whom or actor}'s", as_json)


@app.command("release")
def release_command(name: Named, actor: Actor, as_json: AsJson = False) -> None:
    """Give a case back: it is nobody's again."""
    with _desk(actor) as desk:
        done = desk.release(_the_one(desk, name))
    _tell(done, f"{done.case.case_id} is nobody's again", as_json)


@app.command("note")
def note_command(
    name: Named,
    text: Annotated[str, typer.Argument(help="What to write down.")],
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Write down what was found out. Notes stay; card numbers in them are blanked out."""
    with _desk(actor) as desk:
        done = desk.note(_the_one(desk, name), text)
    _tell(done, f"noted at {done.case.case_id}", as_json)


@app.command("resolve")
def resolve_command(
    name: Named, actor: Actor, reason: Reason, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Declare a case done. Above PAYMENTS_OPERATORS__SECOND_PERSON_ABOVE it waits until another operator does so, too.

    The mark on its payment is taken away, unless something else of it waits. Nothing is booked or sent.
    """
    with _desk(actor) as desk:
        case_id = _the_one(desk, name)
        agreed(f"Resolve {case_id}?", yes)
        done = desk.resolve(case_id, reason)
    said = f"{case_id} is resolved"
    if done.action == "CaseResolutionProposed":
        said = f"proposed: it is resolved when another person types `payments cases resolve {case_id}`"
    _tell(done, said, as_json)


@app.command("reopen")
def reopen_command(
    name: Named, actor: Actor, reason: Reason, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Take up again what was resolved; the mark on its payment is set again."""
    with _desk(actor) as desk:
        case_id = _the_one(desk, name)
        agreed(f"Open {case_id} again?", yes)
        done = desk.reopen(case_id, reason)
    _tell(done, f"{case_id} is open again", as_json)


def _the_one(desk: Desk, name: str) -> str:
    """The case that is meant."""
    if ":" in name:
        return name
    found = [case.case_id for case in desk.cases() if Choice(payment=name).includes(case)]
    if len(found) > 1:
        raise Refused(f"{name} has {len(found)} cases: say which of {', '.join(found)}")
    if not found:
        raise Refused(f"no open case is about {name}: `payments cases list --all` shows them all")
    return found[0]


def _tell(done: Done, said: str, as_json: bool) -> None:
    row = done.case.row
    told = {
        "case": done.case.case_id,
        "action": done.action,
        "state": "proposed" if row and row.proposal else "resolved" if row and row.is_resolved else "open",
        "owner": row.owner if row else None,
    }
    show_result(told, as_json, lambda: said)
