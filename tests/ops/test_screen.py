"""Text of other people's at an operator's terminal: it is shown, and does nothing."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ops.screen import Screen, visible

EVIL = "\x1b[2Jgone\x1b]0;title\x07 \x9b31m [red]not markup[/nosuch] :skull: \u202eright to left"


def drawn(renderable: object) -> str:
    """What reaches the terminal."""
    file = StringIO()
    Screen(file=file, force_terminal=True, color_system=None, width=120).print(renderable)
    return file.getvalue()


def a_table() -> Table:
    table = Table()
    table.add_column("what")
    table.add_row(EVIL)
    return table


@pytest.mark.parametrize(
    "renderable", [EVIL, Text(EVIL), a_table(), Tree(EVIL)], ids=["str", "text", "table", "tree"]
)
def test_nothing_in_a_text_is_acted_upon(renderable: object) -> None:
    shown = drawn(renderable)

    for harmful in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"):
        assert harmful not in shown
    assert "gone" in shown
    assert "[red]not markup[/nosuch] :skull:" in shown


def test_what_is_printed_without_a_console_is_as_harmless() -> None:
    assert visible("pay_1\nordinary, äöü 漢字\t…") == "pay_1\nordinary, äöü 漢字\t…"
    assert "\x1b" not in visible(EVIL)
