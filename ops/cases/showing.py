"""Cases for people and for programs: a table, one case whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ledger.case_facts import CaseKind
from ledger.cases import Case, CaseStep
from messages.card_data import redacted
from messages.money import Money
from ops.cases.words import WORDS
from ops.dead_letters.showing import age

_PLAIN: dict[str, Any] = {"box": box.SIMPLE_HEAD, "title_justify": "left", "pad_edge": False}


def as_row(case: Case, now: datetime) -> dict[str, Any]:
    """A case for programs. Amounts in minor units, times UTC; what is not known any more is null."""
    kind = CaseKind(case.case_id.partition(":")[0])
    fact, words, proposal = case.fact, WORDS[kind], case.proposal
    return {
        "case": case.case_id,
        "kind": kind.value,
        "what": words.what,
        "state": case.state.value,
        "payment_id": fact.payment_id if fact else case.row.payment_id if case.row else None,
        "order_id": fact.order_id if fact else None,
        "gateway": fact.gateway if fact else None,
        "amount": {"minor": fact.amount, "currency": fact.currency}
        if fact and fact.amount is not None
        else None,
        "since": fact.since.isoformat() if fact else None,
        "age_s": int((now - fact.since).total_seconds()) if fact else None,
        "detail": redacted(fact.detail) if fact else None,
        "by_itself": fact.by_itself if fact else False,
        "owner": case.owner,
        "proposed_by": proposal.by if proposal else None,
        "next": words.next,
        "runbook": words.runbook,
    }


def as_whole(case: Case, steps: Sequence[CaseStep], now: datetime) -> dict[str, Any]:
    """A case for programs with what was done to it."""
    done = [
        {"at": step.at.isoformat(), "actor": step.actor, "action": step.action, "note": step.note}
        for step in steps
    ]
    return as_row(case, now) | {"reason": case.row.reason if case.row else "", "steps": done}


def table_of(cases: Sequence[Case], now: datetime) -> RenderableType:
    """A few lines a case: which, how old, whose, what it is, and what to do."""
    if not cases:
        return Text("nothing waits for a person")
    table = Table(title=f"{len(cases)} cases", **_PLAIN)
    for column in ("age", "case", "about", "owner"):
        table.add_column(column, overflow="fold", no_wrap=column in ("age", "owner"))
    for case in cases:
        told = as_row(case, now)
        waits = [] if case.fact is None else [f"since {case.fact.since:%Y-%m-%d %H:%M}"]
        if told["by_itself"]:
            waits.append("looked at by itself")
        about = [told["payment_id"], told["order_id"], told["gateway"], _amount(case)]
        lines = [
            told["what"] + (f": {told['detail']}" if told["detail"] else ""),
            ", ".join(redacted(str(one)) for one in about if one),
            f"→ {told['next']} ({told['runbook']})",
        ]
        table.add_row(
            age(case.fact.since, now) if case.fact else "",
            Text("\n".join([case.case_id, *waits])),
            Text("\n".join(lines)),
            Text((case.owner or "nobody") + _state(case)),
        )
    return table


def whole(case: Case, steps: Sequence[CaseStep], now: datetime) -> RenderableType:
    """One case for people."""
    facts = Table(show_header=False, **_PLAIN)
    told = as_row(case, now) | {"amount": _amount(case), "age_s": None}
    told["reason"] = case.row.reason if case.row else ""
    for name, value in told.items():
        if value not in (None, "", False):
            facts.add_row(name.replace("_", " "), Text(str(value)))
    if not steps:
        return Group(facts, Text("nobody has done anything yet"))
    done = Table(**_PLAIN)
    for column in ("at", "who", "did", "note"):
        done.add_column(column, overflow="fold")
    for step in steps:
        did = step.action.removeprefix("Case").lower().replace("resolutionproposed", "proposed to resolve")
        done.add_row(f"{step.at:%Y-%m-%d %H:%M:%S}", Text(step.actor), did, Text(step.note))
    return Group(facts, done)


def letters_line(count: int) -> str:
    """Dead letters are no cases; where they are."""
    return f"{count} dead letters wait: payments dead-letters list" if count else "no dead letters wait"


def _amount(case: Case) -> str | None:
    fact = case.fact
    if fact is None or fact.amount is None or fact.currency is None:
        return None
    return str(Money(fact.amount, fact.currency))


def _state(case: Case) -> str:
    if case.proposal is not None:
        return f"\nproposed by {case.proposal.by}"
    return "" if case.state.value == "open" else f"\n{case.state.value}"
