"""The pages for people in docs/: what they name exists, and figures they repeat are those of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
CODE = "\n".join(
    file.read_text(encoding="utf-8")
    for room in ("consumers", "gateways", "handlers", "ledger", "messages", "ops")
    for file in (ROOT / room).rglob("*.py")
)

PATH = re.compile(r"\b(?:consumers|docs|gateways|handlers|ledger|messages|ops|simulators|tests)/[\w./-]*")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
NAME = re.compile(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`")
WORD = re.compile(r"^\| \*\*(.+?)\*\* \|", re.MULTILINE)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def page_named(name: str) -> str:
    """The text of a page."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@each_page
def test_every_file_a_page_names_is_there(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path.rstrip(".")).exists(), f"{page.name} names {path}"


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@each_page
def test_every_message_and_class_a_page_names_is_in_the_code(page: Path) -> None:
    for name in NAME.findall(page.read_text(encoding="utf-8")):
        assert re.search(rf"\b{name}\b", CODE), f"{page.name} names {name}"


def test_every_decision_is_listed_in_order_and_has_its_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

    assert re.findall(r"\((\d.*?\.md)\)", page_named("decisions/README.md")) == [page.name for page in pages]
    for number, page in enumerate(pages, start=1):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert page.name.startswith(f"{number:04d}-")
        for part in ("**Question.**", "**Chosen.**", "**What lost.**", "**The price.**", "**Where.**"):
            assert text.count(part) == 1, f"{page.name}: {part}"


def test_the_glossary_has_each_word_once_in_order() -> None:
    words = WORD.findall(page_named("glossary.md"))

    assert words == sorted(set(words))


def test_every_word_the_glossary_refers_to_has_an_entry() -> None:
    page = page_named("glossary.md")
    words = set(WORD.findall(page))

    for reference in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", page.split("|", 1)[1]):
        word = reference.lower()
        assert {word, word.removesuffix("s"), re.sub("ies$", "y", word)} & words, reference


def spelled(seconds: float) -> str:
    """A length of time as the pages write it."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def schedules() -> Iterator[str]:
    """The waits that the page repeats from the settings."""
    worker = WorkerSettings()
    *inquiries, last = map(spelled, worker.inquiry_delays_s)
    yield f"{', '.join(inquiries)}, then every {last}"
    yield ", ".join(map(spelled, worker.retry_delays_s))
    yield f"the gateway's call limit and {spelled(worker.lease_margin_s)} more"
    yield f"once the event is {spelled(worker.relay_grace_s)} old"
    yield f"two absences {spelled(worker.absence_window_s)} apart"
    yield f"at `expires_at` ({spelled(worker.action_time_s)})"
    yield f"may take {spelled(worker.stop_grace_s)} to end"


@pytest.mark.parametrize("schedule", list(schedules()))
def test_the_path_of_a_payment_tells_the_waits_of_the_settings(schedule: str) -> None:
    assert schedule in page_named("path-of-a-payment.md")
