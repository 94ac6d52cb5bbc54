"""Two thousand messages of the hundred thousand that `make fuzz` sends, and whether the search can find anything."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import false_alarms
from tests.fuzz.cards import FORMS, card
from tests.fuzz.run import run
from tests.fuzz.search import found_in, search
from tests.fuzz.traffic import a_message

COUNT = 2000


def test_no_card_number_gets_in_and_nothing_else_is_kept_out(tmp_path: Path) -> None:
    # In a process of its own: loggers remember where they first wrote to.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        verdict = process.submit(run, COUNT, 20_261_123, tmp_path).result(timeout=300)

    assert verdict.missed == []
    assert verdict.commands["refused"] > COUNT / 2
    assert false_alarms(verdict) == 0
    sent, blanked_out = verdict.callbacks["with card data"]
    assert sent == blanked_out > COUNT / 10
    assert verdict.callbacks["harmless"][1] == 0
    assert verdict.searched.found == []
    assert {
        "broker.db",
        "ledger.db",
        "service.log",
        "events.txt",
        "stories.txt",
        "opened.txt",
        "metrics.txt",
    } <= {*verdict.searched.files}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_a_number_in_every_form(form: str, tmp_path: Path) -> None:
    chance = Random(form)
    number = card(chance)[1]
    (tmp_path / "left.db").write_bytes(b"\x00\x07" + FORMS[form](number, chance).encode() + b"\x00")

    assert search([tmp_path / "left.db"], {number}).found == [("left.db", number)]


def test_the_search_finds_the_numbers_in_messages_as_they_are_sent() -> None:
    chance = Random(1)
    messages = [a_message(number, chance) for number in range(500)]
    with_cards = [sent for sent in messages if sent.card is not None]

    for sent in with_cards:
        assert sent.card is not None
        raw = sent.body + repr((sent.headers, sent.properties)).encode()
        assert found_in(raw, {sent.card}) == {sent.card}
