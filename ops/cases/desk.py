"""What operators do to cases: each step one transaction, with its line in the audit log, and nobody overrun."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from ledger.case_facts import CaseKind
from ledger.cases import Case, CaseRow, CaseRows, CaseState, CaseStep, Proposal
from ledger.ledger import Ledger
from ledger.records import AuditLine, Changes, Wanted
from messages.card_data import redacted
from messages.ids import PaymentId
from ops.people import is_same_person

STANDS_BY_ITSELF = (CaseKind.UNKNOWN.value, CaseKind.CALLBACK.value)
"""Kinds whose facts need no mark on the payment."""


class Refused(Exception):
    """A case cannot be changed like this; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step that was made."""

    action: str
    case: Case


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What a step writes."""

    action: str
    row: CaseRow
    note: str = ""
    marks: bool | None = None
    """What the payment's mark shall be; None: as it is."""


class Desk:
    """Where cases are worked on, by one operator."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        operator: str,
        clock: Callable[[], datetime],
        second_person_above: int | None = None,
    ) -> None:
        self._ledger = ledger
        self.operator = operator
        """Who works here."""
        self._clock = clock
        self._second_person_above = second_person_above

    def cases(self, *, everything: bool = False) -> list[Case]:
        """The cases whose facts are there, or all that anybody has ever acted on."""
        with self._ledger.upkeep(writes=False) as bulk:
            return CaseRows(bulk).find(self._clock(), everything=everything)

    def look(self, case_id: str) -> tuple[Case, list[CaseStep]]:
        """A case and what was done to it.

        Raises:
            Refused: there is none.
        """
        with self._ledger.upkeep(writes=False) as bulk:
            rows = CaseRows(bulk)
            return _there(rows, case_id, self._clock()), rows.steps(case_id)

    def open_letters(self) -> int:
        """How many dead letters wait."""
        with self._ledger.upkeep(writes=False) as bulk:
            return CaseRows(bulk).open_letters()

    def take(self, case_id: str, *, owner: str, taken_from: str | None = None) -> Done:
        """Make a case somebody's.

        Raises:
            Refused: it is over, or somebody else has it who was not named.
        """

        def taken(case: Case, row: CaseRow, _rows: CaseRows, _now: datetime) -> _Step:
            _must_be_open(case)
            if taken_from is not None and case.owner != taken_from:
                raise Refused(f"{taken_from} does not have it: {_whose(case)}")
            if case.owner not in (None, owner, taken_from):
                raise Refused(f"{case.owner} has it: to take it over, say --from {case.owner}")
            note = f"for {owner}" if taken_from is None else f"for {owner}, from {taken_from}"
            return _Step(action="CaseTaken", row=replace(row, owner=owner), note=note)

        return self._act(case_id, taken)

    def release(self, case_id: str) -> Done:
        """Give a case back: it is nobody's again, and what was proposed is void.

        Raises:
            Refused: it is over, or not this operator's.
        """

        def released(case: Case, row: CaseRow, _rows: CaseRows, _now: datetime) -> _Step:
            _must_be_open(case)
            if case.owner is None:
                raise Refused("nobody has it")
            self._must_not_be_anothers(case)
            return _Step(action="CaseReleased", row=replace(row, owner=None, proposal=None))

        return self._act(case_id, released)

    def note(self, case_id: str, text: str) -> Done:
        """Write something down. Card numbers are blanked out."""

        def noted(case: Case, row: CaseRow, _rows: CaseRows, _now: datetime) -> _Step:
            return _Step(action="CaseNoted", row=row, note=redacted(text))

        return self._act(case_id, noted)

    def resolve(self, case_id: str, reason: str) -> Done:
        """Declare a case done, and clear its payment's mark if nothing else of it is open.

        What is about more money than one person may decide on is only proposed; another person resolving it confirms.

        Raises:
            Refused: it is over, somebody else has it, or this operator has proposed it already.
        """

        def resolved(case: Case, row: CaseRow, rows: CaseRows, now: datetime) -> _Step:
            _must_be_open(case)
            proposal = case.proposal
            if proposal is not None and is_same_person(proposal.by, self.operator):
                raise Refused(f"{proposal.by} has proposed it: another person must resolve it, too")
            if proposal is None:
                self._must_not_be_anothers(case)
                if self._is_too_much(case):
                    proposed = Proposal(by=self.operator, reason=redacted(reason), at=now)
                    return _Step(
                        action="CaseResolutionProposed",
                        row=replace(row, proposal=proposed, owner=self.operator),
                        note=redacted(reason),
                    )
            done = replace(row, is_resolved=True, proposal=None, reason=redacted(reason))
            note = redacted(reason) if proposal is None else f"{redacted(reason)} (proposed by {proposal.by})"
            return _Step(action="CaseResolved", row=done, note=note, marks=_still_marked(case, rows, now))

        return self._act(case_id, resolved)

    def reopen(self, case_id: str, reason: str) -> Done:
        """Take up again what was resolved; its payment is marked again.

        Raises:
            Refused: it was not resolved.
        """

        def reopened(case: Case, row: CaseRow, _rows: CaseRows, _now: datetime) -> _Step:
            if case.state is not CaseState.RESOLVED:
                raise Refused(f"it is {case.state.value}: only what was resolved can be opened again")
            open_again = replace(row, is_resolved=False, owner=None, proposal=None, reason=redacted(reason))
            marks = None if case_id.startswith(STANDS_BY_ITSELF) else True
            return _Step(action="CaseReopened", row=open_again, note=redacted(reason), marks=marks)

        return self._act(case_id, reopened)

    def _act(self, case_id: str, change: Callable[[Case, CaseRow, CaseRows, datetime], _Step]) -> Done:
        """Make a step in one transaction: the case and its payment are locked, and looked at again, first."""
        now = self._clock()
        with self._ledger.turn() as turn:
            rows = turn.cases
            before = _there(rows, case_id, now)
            payment_id = _payment_of(before)
            rows.lock(case_id, payment_id, by=self.operator, now=now)
            was_marked = rows.lock_payment(payment_id) if payment_id is not None else False
            case = _there(rows, case_id, now)
            assert case.row is not None
            if case.fact is not None:
                # A worker's clock may be ahead of ours: what is resolved now is resolved after it came about.
                now = max(now, case.fact.renewed_at)
            step = change(case, _taken_up(case), rows, now)
            turn.load(Wanted())
            row = step.row
            if step.action != "CaseNoted":
                row = replace(row, changed_by=self.operator, changed_at=now)
                rows.keep(row)
            rows.add_step(case_id, CaseStep(at=now, actor=self.operator, action=step.action, note=step.note))
            if payment_id is not None and step.marks is not None and step.marks != was_marked:
                rows.mark(payment_id, attention=step.marks)
            turn.write(Changes(audit=[self._line(row, step, was_marked, now)]))
        return Done(action=step.action, case=replace(case, row=row))

    def _line(self, row: CaseRow, step: _Step, was_marked: bool, now: datetime) -> AuditLine:
        told: dict[str, object] = {"note": step.note, "owner": row.owner}
        if row.payment_id is not None:
            told["attention"] = was_marked if step.marks is None else step.marks
        return AuditLine(
            actor=f"operator:{self.operator}",
            action=step.action,
            payment_id=PaymentId(row.payment_id) if row.payment_id is not None else None,
            subject=row.case_id,
            cause="payments cases",
            result="proposed" if row.proposal else "resolved" if row.is_resolved else "open",
            details=json.dumps(told, sort_keys=True, separators=(",", ":")),
            happened_at=now,
        )

    def _must_not_be_anothers(self, case: Case) -> None:
        if case.owner not in (None, self.operator):
            raise Refused(
                f"{case.owner} has it: take it over with `payments cases take {case.case_id} --from {case.owner}`"
            )

    def _is_too_much(self, case: Case) -> bool:
        """Whether a second person must look. An amount that is not told may be any."""
        if self._second_person_above is None:
            return False
        amount = case.fact.amount if case.fact is not None else None
        return amount is None or amount > self._second_person_above


def _there(rows: CaseRows, case_id: str, now: datetime) -> Case:
    case = rows.one(case_id, now)
    if case is not None:
        return case
    kind, _, subject = case_id.partition(":")
    if kind in (CaseKind.UNKNOWN.value, CaseKind.UNHEARD.value) and rows.was_in_doubt(subject):
        return Case(case_id=case_id, fact=None, row=None)
    raise Refused(f"there is no case {case_id}: `payments cases list --all` shows them")


def _taken_up(case: Case) -> CaseRow:
    """The row as it counts now: what was resolved and came anew is nobody's, and open."""
    assert case.row is not None
    if case.state is CaseState.OPEN and case.row.is_resolved:
        return replace(case.row, is_resolved=False, owner=None, proposal=None)
    return replace(case.row, proposal=case.proposal)


def _payment_of(case: Case) -> str | None:
    if case.fact is not None:
        return case.fact.payment_id
    return case.row.payment_id if case.row is not None else None


def _still_marked(case: Case, rows: CaseRows, now: datetime) -> bool | None:
    """Whether something else of the payment waits for a person."""
    if case.fact is None or case.fact.payment_id is None:
        return None
    return any(
        other.fact is not None
        and other.fact.payment_id == case.fact.payment_id
        and other.case_id != case.case_id
        and other.state is CaseState.OPEN
        and not other.fact.by_itself
        for other in rows.find(now)
    )


def _must_be_open(case: Case) -> None:
    match case.state:
        case CaseState.OPEN:
            return
        case CaseState.RESOLVED:
            assert case.row is not None
            who, at = case.row.changed_by, case.row.changed_at
            raise Refused(f"{who} has resolved it {at:%Y-%m-%d %H:%M:%S}: nothing was changed")
        case CaseState.SETTLED:
            raise Refused("it has settled by itself: nothing was changed")


def _whose(case: Case) -> str:
    return f"{case.owner} does" if case.owner is not None else "nobody does"
