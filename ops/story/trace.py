"""What brought what about: the moments of a payment as a tree of causes."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from rich.tree import Tree

from ledger.stories import Story
from ops.story.moments import Moment, causes, moments
from ops.story.text import LOOKS


def render_trace(story: Story, *, marked: str = "") -> Tree:
    """The tree for people; moments that bear or are about the marked id are underlined."""
    payment = story.payment
    root = Tree(
        Text(f"{payment.payment_id}  {payment.money(payment.requested)}  {payment.status.value}", "bold")
    )
    told = moments(story)
    branches: list[Tree] = []
    for moment, cause in zip(told, causes(told), strict=True):
        above = root if cause is None else branches[cause]
        branches.append(above.add(_line(moment, marked)))
    return root


def _line(moment: Moment, marked: str) -> Text:
    first = moment.came.partition("\n")[0]
    line = Text.assemble(
        (f"{moment.at:%m-%d %H:%M:%S} ", "dim"),
        (moment.what, LOOKS[moment.lane]),
        f" {moment.about}",
        (f" → {first}" if first else ""),
        (f"  {moment.id}", "dim"),
    )
    if marked and marked in (moment.id, moment.about, moment.cause, *moment.names):
        line.stylize("underline")
    return line


def trace_as_json(story: Story) -> dict[str, Any]:
    """The moments in the order of time, each with the number of the one that brought it about."""
    told = moments(story)
    return {
        "payment_id": story.payment.payment_id,
        "status": story.payment.status.value,
        "moments": [
            {
                "number": number,
                "caused_by": None if cause is None else cause + 1,
                "at": moment.at.isoformat(),
                "lane": moment.lane.value,
                "what": moment.what,
                "about": moment.about,
                "came_of_it": moment.came,
                "id": moment.id,
                "cause": moment.cause,
            }
            for number, (moment, cause) in enumerate(zip(told, causes(told), strict=True), start=1)
        ],
    }
