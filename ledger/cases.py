"""Cases: what the books say waits for a person (`ledger.case_facts`), with what people have added to it.

A case opens when its fact is found and is over when it is not; a row is there only once somebody has acted on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ledger.bulk import Bulk, Row, bulk_on
from ledger.case_facts import CaseKind, Fact, find_facts
from ledger.case_tables import case_steps, cases
from ledger.reading import reading
from ledger.tables import payments


class CaseState(StrEnum):
    """How a case stands."""

    OPEN = "open"
    RESOLVED = "resolved"
    SETTLED = "settled by itself"
    """What it was about is no longer so, and nobody has resolved it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One operator wants it resolved; another one must do it."""

    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """What people have added to a case."""

    case_id: str
    payment_id: str | None
    owner: str | None = None
    is_resolved: bool = False
    proposal: Proposal | None = None
    reason: str = ""
    """Why it was resolved or opened again."""
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStep:
    """One thing somebody did to a case."""

    at: datetime
    actor: str
    action: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case: a fact, a row, or both."""

    case_id: str
    fact: Fact | None
    row: CaseRow | None

    @property
    def state(self) -> CaseState:
        """How it stands. Resolved before, it is open again if its fact has come about anew."""
        if self.row is not None and self.row.is_resolved and not self._is_anew:
            return CaseState.RESOLVED
        return CaseState.OPEN if self.fact is not None else CaseState.SETTLED

    @property
    def owner(self) -> str | None:
        """Who has taken it; one that came anew is nobody's."""
        return self.row.owner if self.row is not None and not self._is_anew else None

    @property
    def proposal(self) -> Proposal | None:
        """What waits for a second person; it is void when the fact has come about anew."""
        proposal = self.row.proposal if self.row is not None else None
        if proposal is None or (self.fact is not None and self.fact.renewed_at > proposal.at):
            return None
        return proposal

    @property
    def _is_anew(self) -> bool:
        if self.row is None or not self.row.is_resolved or self.fact is None:
            return False
        return self.fact.renewed_at > self.row.changed_at


_COLUMNS = (
    "case_id", "payment_id", "owner", "state", "proposal", "reason", "changed_by", "changed_at"
)  # fmt: skip
_CHANGING = _COLUMNS[2:]
_STEPS = ("case_id", "number", "happened_at", "actor", "action", "note")


class CaseRows:
    """The rows of cases, inside one transaction."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk

    def find(self, now: datetime, *, everything: bool = False) -> list[Case]:
        """The cases whose facts are there, the longest waiting first.

        `everything`: also those whose facts may yet settle by themselves, and those that anybody has ever acted on.
        """
        return self._find(now, early=everything, everything=everything)

    def _find(self, now: datetime, *, early: bool, everything: bool) -> list[Case]:
        facts = {fact.case_id: fact for fact in find_facts(self._bulk, now, early=early)}
        shadows = [_mismatch_of(fact) for fact in facts.values() if fact.kind is CaseKind.UNKNOWN]
        rows = self._rows(None if everything else [*facts, *shadows])
        found = [Case(case_id=name, fact=facts.get(name), row=rows.get(name)) for name in {**facts, **rows}]
        return [case for case in _without_shadows(found) if everything or case.fact is not None]

    def one(self, case_id: str, now: datetime) -> Case | None:
        """A case, if its fact is there or somebody has acted on it."""
        found = {case.case_id: case for case in self._find(now, early=True, everything=False)}
        if case_id in found:
            return found[case_id]
        row = self._rows([case_id]).get(case_id)
        return Case(case_id=case_id, fact=None, row=row) if row is not None else None

    def lock(self, case_id: str, payment_id: str | None, *, by: str, now: datetime) -> None:
        """Lock the row of a case, and make it if nobody has acted on it yet."""
        new = CaseRow(case_id=case_id, payment_id=payment_id, changed_by=by, changed_at=now)
        self._bulk.insert(cases, _COLUMNS, [_row(new)], on_conflict="ON CONFLICT (case_id) DO NOTHING")
        self._bulk.query("SELECT case_id FROM cases WHERE case_id {keys} {lock}", [case_id])()

    def lock_payment(self, payment_id: str) -> bool:
        """Lock a payment, and tell whether it is marked."""
        found = self._bulk.query(
            "SELECT attention FROM payments WHERE payment_id {keys} {lock}", [payment_id]
        )
        return any(row[0] for row in found())

    def keep(self, row: CaseRow) -> None:
        """Write a row as it stands now."""
        again = ", ".join(f"{name} = excluded.{name}" for name in _CHANGING)
        self._bulk.insert(
            cases, _COLUMNS, [_row(row)], on_conflict=f"ON CONFLICT (case_id) DO UPDATE SET {again}"
        )

    def add_step(self, case_id: str, step: CaseStep) -> None:
        """Write down what somebody did. The case must be locked."""
        ((last,),) = self._bulk.query(
            "SELECT coalesce(max(number), 0) FROM case_steps WHERE case_id = {value}", case_id
        )()
        row = (case_id, int(last) + 1, step.at, step.actor, step.action, step.note)
        self._bulk.insert(case_steps, _STEPS, [row])

    def steps(self, case_id: str) -> list[CaseStep]:
        """What was done to a case, in the order of time."""
        columns = (
            "SELECT happened_at, actor, action, note FROM case_steps WHERE case_id = {value} ORDER BY number"
        )
        return [
            CaseStep(at=_time(at), actor=actor, action=action, note=note)
            for at, actor, action, note in self._bulk.query(columns, case_id)()
        ]

    def mark(self, payment_id: str, *, attention: bool) -> None:
        """Set or clear a payment's mark. The payment must be locked."""
        self._bulk.update(payments, ("payment_id",), ("attention",), [(payment_id, attention)])

    def was_in_doubt(self, attempt_id: str) -> Row | None:
        """Payment and state of an attempt whose outcome was unknown once; None if there is none."""
        found = self._bulk.query(
            "SELECT payment_id, state FROM attempts WHERE attempt_id = {value} AND doubtful", attempt_id
        )()
        return found[0] if found else None

    def open_letters(self) -> int:
        """How many dead letters wait; they have a tool of their own."""
        ((count,),) = self._bulk.query("SELECT count(*) FROM dead_letters WHERE state IN ('new', 'parked')")()
        return int(count)

    def _rows(self, names: list[str] | None) -> dict[str, CaseRow]:
        columns = f"SELECT {', '.join(_COLUMNS)} FROM cases"
        if names is None:
            found = self._bulk.query(columns)()
        else:
            found = self._bulk.query(columns + " WHERE case_id {keys}", sorted(names))() if names else []
        return {row[0]: _case_row(row) for row in found}


def _mismatch_of(fact: Fact) -> str:
    return f"{CaseKind.MISMATCH.value}:{fact.subject}"


def _without_shadows(found: Iterable[Case]) -> list[Case]:
    """Leave out what another case tells better.

    An unknown outcome of which the gateway said something else is that case; a mark that has a case of its own is not
    one more, nor is it once that was resolved and nothing has come since.
    """
    everything = sorted(
        found, key=lambda case: (case.fact.since.isoformat() if case.fact else "", case.case_id)
    )
    named = {case.case_id: case for case in everything}
    by_payment: dict[str, list[Case]] = {}
    for case in everything:
        payment_id = case.fact.payment_id if case.fact else case.row.payment_id if case.row else None
        if payment_id is not None:
            by_payment.setdefault(payment_id, []).append(case)
    return [case for case in everything if not _is_shadow(case, named, by_payment)]


def _is_shadow(case: Case, named: dict[str, Case], by_payment: dict[str, list[Case]]) -> bool:
    fact = case.fact
    if fact is None or fact.payment_id is None:
        return False
    if fact.kind is CaseKind.UNKNOWN:
        others = [named[name] for name in (_mismatch_of(fact),) if name in named]
    elif fact.kind is CaseKind.MARKED:
        others = [other for other in by_payment[fact.payment_id] if other.case_id != case.case_id]
    else:
        return False
    return any(_tells_better(other, fact) for other in others)


def _tells_better(other: Case, fact: Fact) -> bool:
    match other.state:
        case CaseState.OPEN:
            return True
        case CaseState.RESOLVED:
            return other.row is not None and other.row.changed_at >= fact.renewed_at
        case _:
            return False


def count_open(bulk: Bulk, now: datetime) -> dict[CaseKind, int]:
    """How many open cases of each kind wait for a person."""
    found = CaseRows(bulk).find(now)
    waiting = (
        case.fact for case in found if case.state is CaseState.OPEN and case.fact and not case.fact.by_itself
    )
    counted = Counter(fact.kind for fact in waiting)
    return {kind: counted[kind] for kind in CaseKind}


def open_cases(url: str, now: datetime) -> list[Case]:
    """The open cases that wait for a person, the longest first.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    with reading(url) as books:
        found = CaseRows(bulk_on(books)).find(now)
    return [case for case in found if case.state is CaseState.OPEN and case.fact and not case.fact.by_itself]


def _row(row: CaseRow) -> Row:
    proposal = row.proposal
    told = proposal and json.dumps(
        {"by": proposal.by, "reason": proposal.reason, "at": proposal.at.isoformat()}, sort_keys=True
    )
    state = CaseState.RESOLVED if row.is_resolved else CaseState.OPEN
    return (
        row.case_id, row.payment_id, row.owner, state.value, told, row.reason, row.changed_by, row.changed_at
    )  # fmt: skip


def _case_row(row: Row) -> CaseRow:
    told = json.loads(row[4]) if row[4] is not None else None
    return CaseRow(
        case_id=row[0],
        payment_id=row[1],
        owner=row[2],
        is_resolved=row[3] == CaseState.RESOLVED.value,
        proposal=Proposal(by=told["by"], reason=told["reason"], at=datetime.fromisoformat(told["at"]))
        if told is not None
        else None,
        reason=row[5],
        changed_by=row[6],
        changed_at=_time(row[7]),
    )


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
