"""Checks of what waits in the books, and of whether somebody proves them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ledger.cases import open_cases
from ledger.watch import Watch
from ops.doctor.finding import Finding, unsure, well, wrong

PATIENCE_S = 5.0
OUTBOX_LAG_S = 60.0
OVERDUE_S = 120.0
UNKNOWN_S = 3600.0
PROVEN_WITHIN_S = 3 * 3600.0
"""The alarms' own limits: ops/prometheus/alerts.yml."""
PROVEN_AT = "payments_books_verified_timestamp_seconds"
PROBLEMS = "payments_books_problems"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where the books are, and where somebody tells of proving them."""

    url: str
    proofs_url: str
    """Of `payments verify --every`, such as `http://127.0.0.1:9465`."""


def what_waits(books: Books) -> Iterator[Finding]:
    """Events nobody published, timers nobody took up, outcomes nobody knows."""
    with closing(Watch(books.url, patience_s=PATIENCE_S)) as watch:
        figures = watch.figures(datetime.now(UTC))
    if figures.outbox_lag_s > OUTBOX_LAG_S:
        yield wrong(
            "outbox",
            f"the oldest event has waited {figures.outbox_lag_s:.0f} s to be published",
            "see EventsNotPublished in docs/runbook.md",
        )
    else:
        yield well("outbox", f"{figures.outbox_lag_s:.0f} s behind")
    late = {kind: waiting for kind, waiting in figures.overdue.items() if waiting.oldest_s > OVERDUE_S}
    for kind, waiting in late.items():
        yield wrong(
            "timers",
            f"{waiting.count} {kind} are due, one since {waiting.oldest_s:.0f} s",
            "see TimersOverdue in docs/runbook.md",
        )
    if not late:
        yield well("timers", "none is overdue")
    doubtful = {name: one for name, one in figures.unknown.items() if one.oldest_s > UNKNOWN_S}
    for name, one in doubtful.items():
        yield wrong(
            "unknown outcomes",
            f"{one.count} at {name}, one for {one.oldest_s / 3600:.1f} h",
            "see OutcomeUnknownForLong in docs/runbook.md",
        )
    if not doubtful:
        yield well(
            "unknown outcomes", f"{sum(one.count for one in figures.unknown.values())}, none for an hour"
        )


def what_waits_for_a_person(books: Books) -> Iterator[Finding]:
    """Payments and callbacks that only a person can settle."""
    if waiting := open_cases(books.url, datetime.now(UTC)):
        yield wrong("a person's work", f"{len(waiting)} wait", "see NeedsAPerson in docs/runbook.md")
    else:
        yield well("a person's work", "none waits")


def proofs(books: Books) -> Iterator[Finding]:
    """Whether the books were proven lately, and were right."""
    try:
        text = httpx.get(f"{books.proofs_url}/metrics", trust_env=False, timeout=PATIENCE_S).text
    except httpx.HTTPError as error:
        yield unsure(
            "proof of the books",
            f"nobody tells of one at {books.proofs_url} ({type(error).__name__})",
            "run `payments verify`, or name the place of `payments verify --every` with --proofs",
        )
        return
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in (PROVEN_AT, PROBLEMS)
    }
    if PROVEN_AT not in values:
        yield unsure("proof of the books", "none has been made yet", "wait for it, or run `payments verify`")
        return
    age_s = time.time() - values[PROVEN_AT]
    if values.get(PROBLEMS):
        yield wrong(
            "proof of the books", f"{values[PROBLEMS]:.0f} problems", "see BooksAreWrong in docs/runbook.md"
        )
    elif age_s > PROVEN_WITHIN_S:
        yield wrong(
            "proof of the books", f"{age_s / 3600:.1f} h old", "see BooksNotVerified in docs/runbook.md"
        )
    else:
        yield well("proof of the books", f"clean, {age_s / 60:.0f} min ago")


CHECKS = (what_waits, what_waits_for_a_person, proofs)
