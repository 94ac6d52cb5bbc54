"""`payments show` and `payments trace`: what happened to a payment, by any id."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from ledger.finding import Found, find
from ledger.stories import story
from ops.cli_parts import AsJson, console, explained, fail
from ops.settings import read_settings
from ops.story.page import render_page
from ops.story.plain import story_as_json
from ops.story.text import render_story
from ops.story.trace import render_trace, trace_as_json


def show(
    payment_id: Annotated[
        str, typer.Argument(help="As its publisher named it. Another id? `payments trace`.")
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with a timeline; one file, to open or to mail."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell the whole story of one payment.

    In the order of time: commands, decisions, answers, callbacks, journals, events, dead letters, what operators did;
    then attempts, captures and refunds.
    """
    with explained():
        told = story(read_settings().ledger_url, payment_id)
        if told is None:
            fail(
                f"no payment {payment_id} here; `payments trace {payment_id}` looks for any other id",
                status=1,
            )
        if html is not None:
            html.write_text(render_page(told, made_at=datetime.now(UTC)), encoding="utf-8")
    if as_json:
        print(story_as_json(told), flush=True)
    elif html is None:
        console.print(render_story(told))
    else:
        print(f"{html}: open it in a browser", flush=True)


def trace(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of anything: command, payment, order, attempt, event, journal, callback, dead letter, "
            "or the gateway's own.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what brought what about, by any id.

    Says what the id is, and draws the payment it belongs to as a tree of causes. Exit status 1: nobody knows it.
    """
    with explained():
        url = read_settings().ledger_url
        found = find(url, name)
        payment_ids = list(dict.fromkeys(each.payment_id for each in found if each.payment_id))
        stories = [told for payment_id in payment_ids if (told := story(url, payment_id)) is not None]
    if not found:
        fail(
            f"nothing here is called {name}: no command, payment, order, capture, refund, attempt, event, journal, "
            "callback or dead letter, and no id of a gateway's. Dead letters still in their queues? "
            "`payments dead-letters drain`",
            status=1,
        )
    if as_json:
        known = [dataclasses.asdict(each) for each in found]
        print(json.dumps({"found": known, "traces": [trace_as_json(told) for told in stories]}), flush=True)
        return
    parts: list[RenderableType] = [_said(name, each) for each in found]
    parts += [render_trace(told, marked=name) for told in stories]
    console.print(Group(*parts))


def _said(name: str, found: Found) -> str:
    whole = "" if found.name == name else f" ({found.name})"
    return f"{name}: {found.what}{whole}, " + (
        f"of payment {found.payment_id}" if found.payment_id else "of no payment"
    )
