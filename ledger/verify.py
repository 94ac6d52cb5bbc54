"""Proof of the books: every journal balances, nothing was changed since it was written, amounts agree three ways.

It reads only, one snapshot, and says of each problem where it is. The questions are in `ledger.checks`; the audit
chains are proved in `ledger.verify_chain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from ledger.anchors import Anchor, heads_now, prove_anchors
from ledger.checks import CHECKS, JOURNALS, Check
from ledger.reading import reading, rows
from ledger.verify_chain import Progress, prove_chains

STATES = ("payments", "captures", "refunds", "callbacks")
SEALED = ("journals", "entries", "audit")
"""Tables whose rows are never changed."""


@dataclass(slots=True)
class Report:
    """What was checked, and what is wrong; one sentence a problem, with its place."""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    anchor: Anchor | None = None
    """The heads of the chains that were proved; worth keeping elsewhere if there is no problem."""


def verify(
    url: str,
    *,
    progress: Progress = lambda _what, _done: None,
    anchors: Sequence[Anchor] = (),
    chains_alone: bool = False,
) -> Report:
    """Check everything; or the audit chains alone, with the journals they tell of. `anchors` are heads of earlier.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    report = Report()
    with reading(url) as books:
        for table in SEALED if chains_alone else (*STATES, *SEALED):
            report.counts[table] = rows(books, f"SELECT count(*) FROM {table}")[0][0]
        for check in JOURNALS if chains_alone else CHECKS:
            progress(check.what, 0)
            report.problems.extend(_answers(books, check))
        report.problems.extend(prove_chains(books, progress))
        report.problems.extend(prove_anchors(books, anchors))
        report.anchor = Anchor(at=datetime.now(UTC), heads=heads_now(books))
    return report


def _answers(books: Connection, check: Check) -> Iterator[str]:
    for row in rows(books, check.sql):
        yield check.sentence.format(**row._mapping)
