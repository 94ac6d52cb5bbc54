"""What waits for a person, as the books say it by themselves: a fact is found, never written.

Marks, open attempts and callbacks that fit nothing are found by an index each; only of marked payments is more read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from ledger.bulk import Bulk, SqliteBulk
from ledger.states import OVER_WITHOUT_MONEY
from ledger.tables import iso
from messages.money import Money

UNKNOWN_FOR_LONG = timedelta(hours=1)
"""Until then an unknown outcome is only asked about by itself; as the alarm OutcomeUnknownForLong."""
NEVER = datetime.min.replace(tzinfo=UTC)


class CaseKind(StrEnum):
    """What a case is about."""

    UNKNOWN = "unknown"
    """Nobody knows whether an attempt was executed. Subject: the attempt."""
    UNHEARD = "unheard"
    """The gateway took it and was never heard of again. Subject: the attempt."""
    MISMATCH = "mismatch"
    """The gateway's word differs from ours. Subject: the attempt, or the payment."""
    CALLBACK = "callback"
    """A callback fits nothing we know. Subject: gateway and notice."""
    DOUBLE = "double"
    """An order was paid twice. Subject: the payment that came too much."""
    LATE = "late"
    """Money came after the payment had been announced as over. Subject: the payment."""
    REFUND_BACK = "refund-back"
    """A refund came back and is not sent again by itself. Subject: the refund."""
    TOO_MUCH_BACK = "too-much-back"
    """More was given or taken back than was captured. Subject: the payment."""
    MARKED = "marked"
    """A payment is marked and no other case of it is open. Subject: the payment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that waits. Amounts in minor units, times UTC."""

    kind: CaseKind
    subject: str
    payment_id: str | None
    order_id: str | None
    gateway: str
    amount: int | None
    """None: nothing tells how much it is about."""
    currency: str | None
    since: datetime
    renewed_at: datetime
    """When it last came about: resolved before, it waits again."""
    detail: str
    by_itself: bool = False
    """It is still looked at by itself; nobody needs to act."""

    @property
    def case_id(self) -> str:
        """Names the case: what it is about, and on what."""
        return f"{self.kind.value}:{self.subject}"


@dataclass(slots=True)
class _Marked:
    """What is read of one marked payment."""

    payment: dict[str, Any]
    attempts: list[dict[str, Any]] = field(default_factory=list)
    refunds: list[dict[str, Any]] = field(default_factory=list)
    told: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    """Details of the audit log, in the order of time."""
    is_paid_otherwise: bool = False

    def booked(self, *types: str) -> datetime:
        """When a journal of these types was last booked; `NEVER` if none was."""
        return max(
            (at for at, told in self.told for name in told.get("journals", ()) if name.endswith(types)),
            default=NEVER,
        )


def find_facts(bulk: Bulk, now: datetime, *, early: bool) -> list[Fact]:
    """Everything that waits for a person, the longest first; `early`: also what may come to, and is `by_itself` yet."""
    marked = _marked(bulk)
    facts = [*_unknown(bulk, marked, now, early=early), *_callbacks(bulk, early=early)]
    for one in marked.values():
        facts += _of(one)
    return sorted(facts, key=lambda fact: (fact.since, fact.case_id))


_UNKNOWN = (
    "SELECT a.attempt_id, a.payment_id, p.order_id, a.gateway, a.amount, a.currency, a.operation, a.sent_at,"
    " a.created_at, a.due_at FROM attempts a JOIN payments p ON p.payment_id = a.payment_id"
    " WHERE a.due_at IS NOT NULL AND a.state = 'unknown'"
    " AND (p.attention OR coalesce(a.sent_at, a.created_at) <= {value})"
)


def _unknown(bulk: Bulk, marked: dict[str, _Marked], now: datetime, *, early: bool) -> Iterator[Fact]:
    # A worker's clock may be ahead of ours.
    until = now + timedelta(days=1) if early else now - UNKNOWN_FOR_LONG
    for row in bulk.query(_UNKNOWN, iso(until) if isinstance(bulk, SqliteBulk) else until)():
        since = _time(row[7] or row[8])
        known = marked.get(row[1])
        given_up = [at for at, told in known.told if told.get("nobody_can_tell") == row[0]] if known else []
        late = " and the schedule of look-ups is through" if given_up else ""
        yield Fact(
            kind=CaseKind.UNKNOWN,
            subject=row[0],
            payment_id=row[1],
            order_id=row[2],
            gateway=row[3],
            amount=row[4],
            currency=row[5],
            since=since,
            renewed_at=max([since, *given_up]),
            detail=f"{row[6]}: asked again {_time(row[9]):%Y-%m-%d %H:%M}{late}",
            by_itself=not given_up and now - since < UNKNOWN_FOR_LONG,
        )


def _callbacks(bulk: Bulk, *, early: bool) -> Iterator[Fact]:
    columns = "SELECT gateway, notice_id, event, notice, received_at, state FROM callbacks WHERE "
    waiting = bulk.query(columns + "due_at IS NOT NULL")() if early else []
    given_up = bulk.query(columns + "state = 'unmatched'")()
    for gateway, notice_id, event, notice, received_at, state in [*waiting, *given_up]:
        told = json.loads(notice)
        amount = told.get("amount") or {}
        held = state == "waiting"
        yield Fact(
            kind=CaseKind.CALLBACK,
            subject=f"{gateway}/{notice_id}",
            payment_id=None,
            order_id=None,
            gateway=gateway,
            amount=amount.get("minor"),
            currency=amount.get("currency"),
            since=_time(received_at),
            renewed_at=_time(received_at),
            detail=f"{event}, reference {told.get('reference') or 'none'}" + (", still held" if held else ""),
            by_itself=held,
        )


def _marked(bulk: Bulk) -> dict[str, _Marked]:
    """Read the marked payments, and of them what tells why."""
    columns = ("payment_id", "order_id", "gateway", "currency", "requested", "status", "late", "updated_at",
               "captured_gross", "capture_reversed", "refunded", "refund_pending", "refunded_external")  # fmt: skip
    found = bulk.query(f"SELECT {', '.join(columns)} FROM payments WHERE attention")()
    marked = {row[0]: _Marked(dict(zip(columns, row, strict=True))) for row in found}
    if not marked:
        return marked
    ids = sorted(marked)
    attempts = (
        "payment_id", "attempt_id", "operation", "state", "amount", "currency", "gateway", "sent_at", "updated_at"
    )  # fmt: skip
    for row in _rows(bulk, "attempts", attempts, ids):
        marked[row["payment_id"]].attempts.append(row)
    refunds = ("payment_id", "refund_id", "status", "amount", "currency", "due_at", "updated_at")
    for row in _rows(bulk, "refunds", refunds, ids):
        marked[row["payment_id"]].refunds.append(row)
    for row in _rows(bulk, "audit", ("payment_id", "happened_at", "details"), ids):
        if row["details"] != "{}":
            marked[row["payment_id"]].told.append((_time(row["happened_at"]), json.loads(row["details"])))
    _find_paid_otherwise(bulk, marked)
    for one in marked.values():
        one.told.sort(key=lambda told: told[0])
    return marked


def _find_paid_otherwise(bulk: Bulk, marked: dict[str, _Marked]) -> None:
    by_order: dict[str, set[str]] = defaultdict(set)
    orders = sorted({one.payment["order_id"] for one in marked.values()})
    over = {status.value for status in OVER_WITHOUT_MONEY}
    for row in bulk.query(
        "SELECT order_id, payment_id, status FROM payments WHERE order_id {keys}", orders
    )():
        if row[2] not in over:
            by_order[row[0]].add(row[1])
    for name, one in marked.items():
        one.is_paid_otherwise = bool(by_order[one.payment["order_id"]] - {name})


def _rows(bulk: Bulk, table: str, columns: Sequence[str], payment_ids: list[str]) -> Iterator[dict[str, Any]]:
    sql = f"SELECT {', '.join(columns)} FROM {table} WHERE payment_id {{keys}}"
    for row in bulk.query(sql, payment_ids)():
        yield dict(zip(columns, row, strict=True))


def _of(one: _Marked) -> list[Fact]:
    """Why a payment is marked. An attempt whose outcome is unknown is told of by itself."""
    facts = [*_mismatches(one), *_unheard(one), *_refunds_back(one)]
    payment = one.payment
    back = payment["refunded"] + payment["refund_pending"] + payment["refunded_external"]
    kept = payment["captured_gross"] - payment["capture_reversed"]
    if kept < back:
        at = one.booked("/J11", "/J30", "/J31")
        why = f"{Money(kept, payment['currency'])} was taken and stayed, {Money(back, payment['currency'])} given back"
        facts.append(_fact(one, CaseKind.TOO_MUCH_BACK, at, why))
    came = [(at, told["attempt"]) for at, told in one.told if told.get("late")]
    if came:
        succeeded = [
            a for a in one.attempts if a["operation"] in ("sale", "authorize") and a["state"] == "succeeded"
        ]
        kind = CaseKind.DOUBLE if len(succeeded) > 1 or one.is_paid_otherwise else CaseKind.LATE
        at, attempt_id = came[-1]
        facts.append(_fact(one, kind, at, f"{attempt_id} came through after all"))
    if not _has_settled(one) and not any(attempt["state"] == "unknown" for attempt in one.attempts):
        facts.append(
            _fact(one, CaseKind.MARKED, _time(payment["updated_at"]), f"the payment is {payment['status']}")
        )
    return facts


def _has_settled(one: _Marked) -> bool:
    """Whether it was marked only because nobody could tell, and now the gateway has."""
    return any("nobody_can_tell" in told for _, told in one.told)


def _mismatches(one: _Marked) -> Iterator[Fact]:
    told: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for at, details in one.told:
        if text := details.get("contradiction"):
            told[details.get("attempt", one.payment["payment_id"])].append((at, text))
    for subject, texts in told.items():
        at, text = texts[-1]
        yield _fact(one, CaseKind.MISMATCH, texts[0][0], text, subject=subject, renewed_at=at)


def _unheard(one: _Marked) -> Iterator[Fact]:
    for attempt in one.attempts:
        given_up = [at for at, told in one.told if told.get("nobody_can_tell") == attempt["attempt_id"]]
        if given_up and attempt["state"] == "pending":
            since = _time(attempt["sent_at"] or attempt["updated_at"])
            detail = f"{attempt['operation']}: no callback has come"
            yield _fact(
                one, CaseKind.UNHEARD, since, detail, subject=attempt["attempt_id"], renewed_at=given_up[-1]
            )


def _refunds_back(one: _Marked) -> Iterator[Fact]:
    for refund in one.refunds:
        if refund["status"] == "reversed" and refund["due_at"] is None:
            at = one.booked("/J33")
            yield _fact(one, CaseKind.REFUND_BACK, at, "it is owed again", subject=refund["refund_id"])


def _fact(
    one: _Marked,
    kind: CaseKind,
    since: datetime,
    detail: str,
    *,
    subject: str | None = None,
    renewed_at: datetime | None = None,
) -> Fact:
    payment = one.payment
    rows = [
        row
        for row in (*one.attempts, *one.refunds)
        if subject in (row.get("attempt_id"), row.get("refund_id"))
    ]
    about = rows[0] if subject is not None and rows else payment
    since = since if since > NEVER else _time(payment["updated_at"])
    return Fact(
        kind=kind,
        subject=subject or payment["payment_id"],
        payment_id=payment["payment_id"],
        order_id=payment["order_id"],
        gateway=about.get("gateway", payment["gateway"]),
        amount=about.get("amount", payment["requested"]),
        currency=payment["currency"],
        since=since,
        renewed_at=renewed_at or since,
        detail=detail,
    )


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
