"""What may be shown at a terminal: text of other people's, with nothing in it that the terminal would act upon."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

STANDS_FOR_IT = "\N{REPLACEMENT CHARACTER}"


def visible(text: str) -> str:
    """The same without control characters (an escape sequence could rewrite what stands on the screen) and without
    marks that turn the direction of writing."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


@cache
def _shown(character: str) -> str:
    harmless = character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")
    return character if harmless else STANDS_FOR_IT


class Screen(Console):
    """A console that draws what it is given as it is: no markup, no emoji, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
