"""The command that sends letters back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ops.cli_parts import (
    AsJson,
    progress_bar,
    settings_with_directory,
    show_result,
)
from ops.dead_letters import direct, showing
from ops.dead_letters.changing import Operator, moves_too_much
from ops.dead_letters.draining import drain
from ops.dead_letters.office import (
    DIRECT_MOST,
    Actor,
    Chosen,
    Direct,
    Office,
    Reason,
    Yes,
    agreed,
    app,
    explaining,
    narrowed,
    opened_bus,
    opened_office,
    show,
    the_time,
)
from ops.dead_letters.options import choosing
from ops.dead_letters.sending import Care, Sender, Sent


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
    with opened_office() as office:
        letters = narrowed(office, choice, everything)
        if dry_run or not letters:
            show(
                [showing.as_row(letter) for letter in letters],
                as_json,
                lambda: showing.table_of(letters, the_time()),
            )
            return
        agreed(f"Send {len(letters)} messages back?", yes)
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


@contextmanager
def _watching(office: Office, care: Care) -> Iterator[Callable[[], object]]:
    """Give what takes in letters that die again; nothing, where nobody waits for them."""
    if not care.wait_s and care.stop_after is None:
        yield lambda: None
        return
    with opened_bus(office.settings) as bus:
        yield lambda: drain(bus, office.ledger, actor="operator:drain", clock=the_time)


def _requeue_directly(choice: Chosen, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    settings = settings_with_directory()
    limit = settings.operators.second_person_above
    with explaining(), opened_bus(settings, prefetch=DIRECT_MOST) as bus:
        lying = direct.look(bus, limit=DIRECT_MOST, now=the_time())
        meant = {letter.letter_id for letter in choice().of([letter for letter, _ in lying], the_time())}
        chosen = [
            (letter, delivery)
            for letter, delivery in lying
            # Nobody can approve while the database is away: what needs a second person stays where it lies.
            if letter.letter_id in meant and not letter.redacted and not moves_too_much(letter, limit)
        ]
        if not dry_run and chosen:
            agreed(f"Send {len(chosen)} messages back, without a line in the audit log?", yes)
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
