"""One run: so many messages down the street, then what became of each, and a search through all that was left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.search import Searched, search
from tests.fuzz.street import Street, logging_to
from tests.fuzz.traffic import Sent, a_message

BATCH = 500


@dataclass(slots=True)
class Verdict:
    """What came of a run."""

    commands: Counter[str] = field(default_factory=Counter)
    """Forbidden commands by what became of them."""
    callbacks: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each kind: how many callbacks were sent, and in how many of them the ingestor found card data."""
    by_form: dict[str, list[int]] = field(default_factory=dict)
    """Of each form: how many were sent in commands, and how many of them refused."""
    by_place: dict[str, list[int]] = field(default_factory=dict)
    by_shape: dict[str, list[int]] = field(default_factory=dict)
    by_scheme: dict[str, list[int]] = field(default_factory=dict)
    alarms: dict[str, list[int]] = field(default_factory=dict)
    """Of each kind that only looks like card data: how many commands were sent, and how many refused."""
    missed: list[Sent] = field(default_factory=list)
    searched: Searched = field(default_factory=Searched)
    numbers: int = 0
    seconds: float = 0


def run(count: int, seed: int, directory: Path, tell: Callable[[int], None] = lambda _: None) -> Verdict:
    """Send so many messages and judge; files are left in the directory."""
    began = time.monotonic()
    chance = Random(seed)
    verdict = Verdict()
    everything: list[Sent] = []
    with logging_to(directory / "service.log"):
        street = Street(directory)
        try:
            for start in range(0, count, BATCH):
                batch = [a_message(number, chance) for number in range(start, min(start + BATCH, count))]
                street.send(batch)
                street.settle(start + len(batch))
                for sent in batch:
                    sent.body = b""  # only what it was is needed from here on
                everything += batch
                tell(len(everything))
            street.export()
            refused = _refused(street)
        finally:
            street.close()
    _judge(verdict, everything, refused)
    verdict.callbacks = {kind: (sent, street.blanked_out[kind]) for kind, sent in street.callbacks.items()}
    numbers = {sent.card for sent in everything if sent.card is not None}
    verdict.numbers = len(numbers)
    verdict.searched = search((path for path in directory.iterdir() if path.is_file()), numbers)
    verdict.seconds = time.monotonic() - began
    return verdict


def _refused(street: Street) -> set[str]:
    """The marks of the commands that left a redacted dead letter for their card data."""
    return {
        mark for mark, reason, redacted in street.dead_letters() if mark and reason == "card_data_refused"
    }


def _judge(verdict: Verdict, everything: list[Sent], refused: set[str]) -> None:
    for sent in everything:
        if sent.gateway is not None:
            continue
        was_refused = f"n{sent.number}" in refused
        if not sent.is_forbidden:
            _count(verdict.alarms, sent.scheme, was_refused)
            continue
        form = sent.form if sent.form != "-" else sent.scheme
        _count(verdict.by_form, form, was_refused)
        _count(verdict.by_place, sent.place, was_refused)
        _count(verdict.by_shape, sent.shape, was_refused)
        _count(verdict.by_scheme, sent.scheme, was_refused)
        verdict.commands["refused" if was_refused else "missed"] += 1
        if not was_refused:
            verdict.missed.append(sent)


def _count(table: dict[str, list[int]], name: str, was_refused: bool) -> None:
    row = table.setdefault(name, [0, 0])
    row[0] += 1
    row[1] += was_refused
