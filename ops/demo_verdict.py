"""What the demo expects of its day of orders, what became of each, and whether everybody agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from gateways.sandbox_record import SandboxRecord
from ledger.verify import verify
from messages.money import Money
from messages.operation import Operation

ORDINARY = [f"pay_{number}" for number in range(1001, 1021)]
"""What most of a day is."""

EXPECTED = {
    **dict.fromkeys(ORDINARY, "PaymentSucceeded"),
    **{f"pay_{number}": "PaymentSucceeded" for number in range(1029, 1037)},
    "pay_1021": "PaymentFailed",
    "pay_1021b": "PaymentSucceeded",
    "pay_1022": "PaymentFailed",
    "pay_1023": "PaymentSucceeded",
    "pay_1024": "PaymentFailed",
    "pay_1025": "PaymentSucceeded",
    "pay_1026": "PaymentSucceeded",
    "pay_1027": "PaymentAuthorized",
    "pay_1028": "PaymentSucceeded",
    "pay_1031b": "PaymentFailed",
    "pay_1037": "PaymentFailed",
    "ref_1032a": "RefundProcessed",
    "ref_1032b": "RefundProcessed",
    "ref_1033": "RefundFailed",
    "ref_1034": "RefundProcessed",
    "ref_1035": "RefundProcessed",
    "ref_1036": "RefundProcessed",
    "ref_1041": "CommandRejected",
    "cmd_0033": "CommandRejected",
    "cmd_0048": "CommandRejected",
    "cmd_0049": "CommandRejected",
    "cmd_0050": "CommandRejected",
}
"""How everything in the file must end: the last event about each payment, refund, or refused command."""


@dataclass(slots=True)
class Story:
    """What was heard about one payment, refund, or refused command."""

    events: list[dict[str, Any]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


Stories = Mapping[str, Story]
"""Stories by what they are about."""


def has_ended(stories: Stories, about: str, kind: str) -> bool:
    """Whether the last thing heard about something is as it should be."""
    story = stories.get(about)
    return story is not None and story.kinds[-1] == kind


def outcomes(stories: Stories) -> Table:
    """Draw what was heard about each; the ordinary ones in one row."""
    table = Table(title="What became of each", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("about")
    table.add_column("amount", justify="right")
    table.add_column("events", no_wrap=True)
    table.add_column("why")
    plain = [about for about in ORDINARY if stories.get(about, Story()).kinds == ["PaymentSucceeded"]]
    table.add_row(f"{len(plain)} ordinary payments", "", "PaymentSucceeded", "")
    for about in sorted(stories.keys() - set(plain)):
        story = stories[about]
        last = story.events[-1]
        amount = last.get("amount")
        table.add_row(
            about,
            str(Money(**amount)) if amount else "",
            " →\n".join(story.kinds),
            str(last.get("message") or ""),
        )
    return table


def problems_of(stories: Stories, *, record_file: Path, ledger_url: str) -> Iterator[str]:
    """What is not as it should be: at the neighbours, at the gateway, in the books."""
    for about, kind in EXPECTED.items():
        if not has_ended(stories, about, kind):
            story = stories.get(about)
            yield f"{about}: expected {kind}, heard {' → '.join(story.kinds) if story else 'nothing'}"
    for about in stories.keys() - EXPECTED.keys():
        yield f"{about}: {' → '.join(stories[about].kinds)} was not expected"
    yield from _differences_at_the_gateway(stories, record_file)
    for problem in verify(ledger_url).problems:
        yield f"verify: {problem}"


def _differences_at_the_gateway(stories: Stories, record_file: Path) -> Iterator[str]:
    """The sandbox's own record against the events: the outside view."""
    announced = {
        about
        for about, story in stories.items()
        if {"PaymentSucceeded", "PaymentAuthorized", "RefundProcessed"} & set(story.kinds)
    }
    record = SandboxRecord(record_file)
    executed: dict[str, int] = {}
    for execution in record.executions():
        about = execution.attempt_id.rsplit(".", 1)[0]
        if execution.operation in (Operation.SALE, Operation.AUTHORIZE, Operation.REFUND):
            executed[about] = executed.get(about, 0) + execution.times_executed
    record.close()
    for about, times in executed.items():
        if times != 1:
            yield f"{about}: the gateway executed it {times} times"
    for about in announced ^ executed.keys():
        yield f"{about}: the gateway and the events disagree"
