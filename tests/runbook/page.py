"""Reads docs/runbook.md: its sections, and the commands in them as they are typed."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from string import Template

from tests.workers import ROOT

_TEXT = (ROOT / "docs/runbook.md").read_text()
_INLINE = re.compile(r"`(payments [^`]+)`")
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One alarm's part of the page."""

    title: str
    text: str

    @property
    def anchor(self) -> str:
        """Its name in a link, as GitHub makes it."""
        return self.title.lower().replace(" ", "-")

    @property
    def commands(self) -> list[str]:
        """The lines of its code blocks, in order."""
        return [line for block in _BLOCK.findall(self.text) for line in block.splitlines() if line]

    @property
    def payments_commands(self) -> list[str]:
        """Every `payments …`, in blocks and in sentences."""
        return [line for line in self.commands if line.startswith("payments ")] + _INLINE.findall(self.text)

    def line(self, beginning: str) -> str:
        """The one command that begins so."""
        (line,) = {line for line in self.commands if line.startswith(beginning)}
        return line

    def typed(self, beginning: str, **variables: object) -> list[str]:
        """Its words, with `$VARIABLES` as an operator has set them."""
        set_ = {name: str(value) for name, value in variables.items()}
        return [Template(word).substitute(set_) for word in shlex.split(self.line(beginning))]


SECTIONS = {
    title: Section(title=title, text=text)
    for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", _TEXT, re.DOTALL | re.MULTILINE)
}
