"""Notices as JSON: one that waits for what it is about is kept, and read again later."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gateways.notice import Notice
from gateways.protocol import (
    Approved,
    Declined,
    DeclineReason,
    Firmness,
    Outcome,
    Pending,
)
from messages.ids import AttemptId
from messages.money import Money
from messages.operation import Operation


def as_json(notice: Notice) -> str:
    """Write a notice down; what it says of the outcome, too."""
    plain: dict[str, Any] = {
        "gateway": notice.gateway,
        "notice_id": notice.notice_id,
        "event": notice.event,
        "operation": notice.operation,
        "attempt_id": notice.attempt_id,
        "reference": notice.reference,
        "parent_reference": notice.parent_reference,
        "amount": _money(notice.amount),
        "came_through": notice.came_through or None,
        "undoes": notice.undoes or None,
        "says": _outcome(notice.says),
    }
    return json.dumps({name: value for name, value in plain.items() if value is not None})


def from_json(text: str) -> Notice:
    """Read what `as_json` wrote."""
    plain: dict[str, Any] = json.loads(text)
    operation, amount, attempt = plain.get("operation"), plain.get("amount"), plain.get("attempt_id")
    return Notice(
        gateway=plain["gateway"],
        notice_id=plain["notice_id"],
        event=plain["event"],
        operation=Operation(operation) if operation else None,
        attempt_id=AttemptId(attempt) if attempt else None,
        reference=plain.get("reference"),
        parent_reference=plain.get("parent_reference"),
        amount=Money(**amount) if amount else None,
        came_through=plain.get("came_through", False),
        undoes=plain.get("undoes", False),
        says=_said(plain["says"]) if "says" in plain else None,
    )


def _money(amount: Money | None) -> dict[str, Any] | None:
    return None if amount is None else {"minor": amount.minor, "currency": amount.currency}


def _outcome(says: Outcome | None) -> dict[str, Any] | None:
    if says is None:
        return None
    plain = dataclasses.asdict(says)
    if isinstance(says, Approved):
        plain = {"reference": says.reference, "amount": _money(says.amount)}
    return {"is": type(says).__name__, **plain}


def _said(plain: dict[str, Any]) -> Outcome:
    match plain.pop("is"):
        case "Approved":
            return Approved(reference=plain["reference"], amount=Money(**plain["amount"]))
        case "Declined":
            return Declined(
                reason=DeclineReason(plain["reason"]),
                firmness=Firmness(plain["firmness"]),
                code=plain["code"],
                reference=plain["reference"],
            )
        case "Pending":
            return Pending(reference=plain["reference"])
        case other:
            raise ValueError(f"a notice does not say {other}")
