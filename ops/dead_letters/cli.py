"""`payments dead-letters`: what an operator does with messages nobody could act on."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from consumers.bus import KombuBus
from ledger.ledger import Ledger
from ledger.letters import Letter
from ops.cli_parts import (
    AsJson,
    console,
    explained,
    fail,
    progress_bar,
    settings_with_directory,
    show_result,
)
from ops.dead_letters import direct, editing, showing
from ops.dead_letters.changing import Desk, Done, Operator, Refused
from ops.dead_letters.choosing import BadFilter, Choice, content_of, span
from ops.dead_letters.draining import DEAD_QUEUES, Drained, drain
from ops.dead_letters.options import choosing
from ops.dead_letters.portable import NoLetter, from_lines, to_line
from ops.dead_letters.sending import Care, Sender, Sent
from ops.key_files import open_keyring
from ops.settings import Settings

app = typer.Typer(
    help="Messages nobody could act on: drain them into the database, look, mend, send back. docs/dead-letters.md",
    no_args_is_help=True,
    rich_markup_mode=None,
)
DIRECT_MOST = 10_000
"""Letters looked at in the queues themselves."""

Chosen = Callable[[], Choice]
Actor = Annotated[
    str,
    typer.Option(
        "--actor",
        help="Who you are, for the audit log; else PAYMENTS_ACTOR, else your login.",
        default_factory=lambda: os.environ.get("PAYMENTS_ACTOR") or getpass.getuser(),
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; written into the audit log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Direct = Annotated[
    bool, typer.Option("--direct", help="On the queues themselves, when the database is away.")
]


@dataclass(frozen=True, slots=True)
class _Office:
    settings: Settings
    ledger: Ledger
    desk: Desk

    def chosen(self, choice: Chosen) -> list[Letter]:
        meant = choice()
        return meant.of(self.desk.letters(meant.states), _now())

    def the_one(self, name: str) -> Letter:
        found = Choice(ids=(name,)).of(self.desk.letters(), _now())
        if len(found) != 1:
            fail(
                f"{len(found)} letters begin with {name}" if found else f"there is no letter {name}", status=1
            )
        return found[0]


@app.command("drain")
def drain_command(
    actor: Actor,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C or SIGTERM.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take everything out of the dead-letter queues, into the database.

    A message is acknowledged after it is committed: killed at any moment, nothing is lost and nothing doubled.
    """
    goes_on = [follow]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: goes_on.clear())
    with _office() as office, _bus(office.settings) as bus, progress_bar(quiet=as_json) as bar:
        task = bar.add_task("drained", total=None)

        def tell(drained: Drained) -> None:
            bar.update(task, completed=drained.new + drained.again)

        by = Operator(name=actor)
        drained = drain(
            bus,
            office.ledger,
            actor=by.actor,
            clock=_now,
            goes_on=lambda: bool(goes_on and goes_on[0]),
            progress=tell,
        )
    told = {"new": drained.new, "dead_again": drained.again, "here_already": drained.seen}
    show_result(
        told, as_json, lambda: ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in told.items())
    )


@app.command("list")
@choosing
def list_command(choice: Chosen, is_direct: Direct = False, as_json: AsJson = False) -> None:
    """List letters, the longest dead first."""
    letters = _looked_at(choice) if is_direct else _found(choice)
    _show([showing.as_row(letter) for letter in letters], as_json, lambda: showing.table_of(letters, _now()))


@app.command("groups")
@choosing
def groups_command(choice: Chosen, as_json: AsJson = False) -> None:
    """Put like cases together: what died of the same cause, the most first."""
    groups = showing.groups_of(_found(choice))
    _show(groups, as_json, lambda: showing.table_of_groups(groups, _now()))


@app.command("show")
def show_command(
    letter: Annotated[str, typer.Argument(help="A letter, or the beginning of its id.")],
    is_direct: Direct = False,
    as_json: AsJson = False,
) -> None:
    """Show one letter whole; secrets are hidden. Looking changes nothing."""
    if is_direct:
        found = _looked_at(lambda: Choice(ids=(letter,)))
        if len(found) != 1:
            fail(f"{len(found)} letters in the queues begin with {letter}", status=1)
        one = found[0]
    else:
        with _office() as office:
            one = office.the_one(letter)
    _show(showing.as_whole(one), as_json, lambda: showing.whole(one))


@app.command("diff")
def diff_command(
    letter: Annotated[str, typer.Argument(help="A letter, or the beginning of its id.")],
    as_json: AsJson = False,
) -> None:
    """Compare a letter with the schema of its type. The exit status is 1 if it differs."""
    with _office() as office:
        wrongs = editing.wrongs(office.the_one(letter))
    told = [{"at": wrong.at, "problem": wrong.problem, "found": wrong.found} for wrong in wrongs]
    _show(told, as_json, lambda: showing.table_of_wrongs(wrongs) if wrongs else "as its schema says")
    if wrongs:
        raise typer.Exit(1)


@app.command("stats")
def stats_command(as_json: AsJson = False) -> None:
    """Count letters by state, queue and reason. The exit status is 1 if some wait."""
    with _office() as office:
        told = showing.counts(office.desk.letters(), _now())
    _show(
        told, as_json, lambda: "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in told.items())
    )
    if told["waiting_by_queue"]:
        raise typer.Exit(1)


@app.command("requeue")
@choosing
def requeue_command(
    choice: Chosen,
    actor: Actor,
    reason: Reason = "",
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    rate: Annotated[float | None, typer.Option(help="Letters a second.", min=0.1)] = None,
    canary: Annotated[bool, typer.Option("--canary", help="One first; the rest if it succeeds.")] = False,
    stop_after: Annotated[
        int | None, typer.Option("--stop-after-failures", help="End when so many have failed.", min=1)
    ] = None,
    wait_s: Annotated[
        float | None, typer.Option("--wait", help="Seconds to wait for what becomes of them.", min=0)
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="To another queue than the one they died in.")
    ] = None,
    is_direct: Direct = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send letters back to the queue they died in.

    A worker publishes them within seconds. The exit status is 1 if some failed, were refused or were held back.
    """
    if is_direct:
        _requeue_directly(choice, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    default_wait = 60.0 if canary or stop_after else 0.0
    care = Care(
        rate=rate,
        canary=canary,
        stop_after=stop_after,
        wait_s=default_wait if wait_s is None else wait_s,
        to=to,
    )
    with _office() as office:
        letters = _narrowed(office, choice, everything)
        if dry_run or not letters:
            _show(
                [showing.as_row(letter) for letter in letters],
                as_json,
                lambda: showing.table_of(letters, _now()),
            )
            return
        _agreed(f"Send {len(letters)} messages back?", yes)
        by = Operator(name=actor, reason=reason)
        with _watching(office, care) as drains, progress_bar(quiet=as_json) as bar:
            task = bar.add_task("sent back", total=len(letters))
            sender = Sender(
                office.desk,
                by,
                care,
                drain=drains,
                progress=lambda sent: bar.update(task, completed=len(sent.done.changed)),
            )
            sent = sender.send(letters)
    _tell_sent(sent, as_json)


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
    with _told():
        until = _now() + span(how_long)
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
    with _office() as office:
        old = office.the_one(letter)
        content = (
            content_of(old) if headers and not (values or file) else _new_content(old, values or [], file)
        )
        new = editing.edited(
            old, content, headers=_pairs(headers or []), is_known=_is_known(office.ledger), now=_now()
        )
        changes = editing.difference(old, new)
        if not as_json:
            console.print("\n".join(changes), markup=False, highlight=False)
        _agreed("Keep this?", yes)
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


@app.command("export")
@choosing
def export_command(choice: Chosen, file: Annotated[Path, typer.Option(help="Where to.")] = Path("-")) -> None:
    """Write letters as JSON lines, without loss. They hold tokens: keep them as safe as the database."""
    letters = _found(choice)
    if str(file) == "-":
        for letter in letters:
            print(to_line(letter))
        return
    with explained(), os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.writelines(f"{to_line(letter)}\n" for letter in letters)
    print(f"{len(letters)} letters written to {file}", file=sys.stderr)


@app.command("import")
def import_command(
    file: Annotated[
        Path, typer.Argument(help="As `export` writes it; - reads standard input.", allow_dash=True)
    ],
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Take letters in that were exported, here or elsewhere. What is here already stays as it is."""
    with _office() as office:
        with sys.stdin if str(file) == "-" else file.open() as lines:
            letters = list(from_lines(lines))
        count = office.desk.add(letters, Operator(name=actor, reason=reason))
    told = {"imported": count, "here_already": len(letters) - count}
    show_result(told, as_json, lambda: f"{count} imported, {len(letters) - count} here already")


# --- parts -----------------------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _told() -> Iterator[None]:
    """Explain what a person can mend."""
    with explained():
        try:
            yield
        except (BadFilter, NoLetter) as error:
            fail(str(error), status=2)
        except Refused as error:
            fail(str(error), status=1)


@contextmanager
def _office() -> Iterator[_Office]:
    with _told():
        settings = settings_with_directory()
        with closing(Ledger(settings.ledger_url, keyring=open_keyring(settings))) as ledger:
            limit = settings.operators.second_person_above
            yield _Office(settings, ledger, Desk(ledger, clock=_now, second_person_above=limit))


@contextmanager
def _bus(settings: Settings, *, prefetch: int = 1000) -> Iterator[KombuBus]:
    bus = KombuBus(
        urls=settings.broker_urls,
        queues=DEAD_QUEUES,
        prefetch=prefetch,
        tls=settings.broker.tls,
        client_name="payments dead-letters",
    )
    bus.open()
    try:
        yield bus
    finally:
        bus.close()


@contextmanager
def _watching(office: _Office, care: Care) -> Iterator[Callable[[], object]]:
    """Give what takes in letters that die again; nothing, where nobody waits for them."""
    if not care.wait_s and care.stop_after is None:
        yield lambda: None
        return
    with _bus(office.settings) as bus:
        yield lambda: drain(bus, office.ledger, actor="operator:drain", clock=_now)


def _found(choice: Chosen) -> list[Letter]:
    with _office() as office:
        return office.chosen(choice)


def _looked_at(choice: Chosen) -> list[Letter]:
    with _told(), _bus(settings_with_directory(), prefetch=DIRECT_MOST) as bus:
        letters = [letter for letter, _ in direct.look(bus, limit=DIRECT_MOST, now=_now())]
        return choice().of(letters, _now())


def _requeue_directly(choice: Chosen, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    with _told(), _bus(settings_with_directory(), prefetch=DIRECT_MOST) as bus:
        lying = direct.look(bus, limit=DIRECT_MOST, now=_now())
        meant = {letter.letter_id for letter in choice().of([letter for letter, _ in lying], _now())}
        chosen = [
            (letter, delivery)
            for letter, delivery in lying
            if letter.letter_id in meant and not letter.redacted
        ]
        if not dry_run and chosen:
            _agreed(f"Send {len(chosen)} messages back, without a line in the audit log?", yes)
            direct.send_back(bus, chosen)
    told = {
        "sent_back": 0 if dry_run else len(chosen),
        "would_be": len(chosen),
        "left": len(lying) - len(chosen),
    }
    show_result(
        told,
        as_json,
        lambda: f"{told['sent_back']} sent back of {len(chosen)} meant; {told['left']} left where they lay",
    )


def _narrowed(office: _Office, choice: Chosen, everything: bool) -> list[Letter]:
    if choice().is_everything and not everything:
        raise BadFilter("say which: letters by their ids, --group, another filter, or --all")
    return office.chosen(choice)


def _agreed(question: str, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _change(
    choice: Chosen, verb: str, yes: bool, as_json: bool, change: Callable[[Desk, list[str]], Done]
) -> None:
    with _office() as office:
        letters = _narrowed(office, choice, everything=False)
        if letters:
            _agreed(f"{verb} {len(letters)} messages?", yes)
        done = change(office.desk, [letter.letter_id for letter in letters])
    told = {"changed": [letter.letter_id for letter in done.changed], "refused": done.refused}
    lines = [f"{len(done.changed)} changed", *(f"{name}: {why}" for name, why in done.refused.items())]
    show_result(told, as_json, lambda: "\n".join(lines))
    if done.refused or not letters:
        raise typer.Exit(1)


def _tell_sent(sent: Sent, as_json: bool) -> None:
    told = {
        "sent_back": [letter.letter_id for letter in sent.done.changed],
        "resolved": sent.resolved,
        "failed": sent.failed,
        "proposed": sent.done.proposed,
        "refused": sent.done.refused,
        "held_back": sent.not_sent,
        "why_stopped": sent.why_stopped,
    }

    def lines() -> str:
        said = [
            f"{len(sent.done.changed)} sent back: {len(sent.resolved)} succeeded, {len(sent.failed)} failed"
        ]
        said[0] += f", {sent.under_way} under way (`payments dead-letters list --state requeued`)"
        said += [f"{name}: {how}" for name, how in {**sent.failed, **sent.done.refused}.items()]
        if sent.done.proposed:
            said.append(f"{len(sent.done.proposed)} wait for another person: `payments dead-letters approve`")
        if sent.why_stopped:
            said.append(f"stopped, {len(sent.not_sent)} held back: {sent.why_stopped}")
        return "\n".join(said)

    show_result(told, as_json, lines)
    if sent.failed or sent.done.refused or sent.not_sent:
        raise typer.Exit(1)


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


def _show(told: Any, as_json: bool, for_people: Callable[[], RenderableType]) -> None:
    if as_json:
        print(json.dumps(told), flush=True)
    else:
        console.print(for_people())
