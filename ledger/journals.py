"""The journals (books, 5.8): which accounts each happening moves. A journal that does not balance cannot be built."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from ledger.accounts import Account, Layer, Side
from ledger.states import Attempt, Payment, Refund
from messages.ids import PaymentId, RefundId


class Unbalanced(ValueError):
    """The entries of a journal do not sum to zero in some currency and layer: a bug, never a payment's fault."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal; `amount` in minor units, more than zero."""

    account: Account
    layer: Layer
    side: Side
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Entries that belong together. Its id is its type and source, so the same thing cannot be booked twice."""

    journal_type: str
    source_id: str
    payment_id: PaymentId
    refund_id: RefundId | None = None
    gateway: str
    currency: str
    entries: tuple[Entry, ...]
    effective_at: datetime

    def __post_init__(self) -> None:
        sums: dict[Layer, int] = defaultdict(int)
        for entry in self.entries:
            if entry.amount <= 0:
                raise Unbalanced(f"{self.journal_id}: an entry of {entry.amount} minor units")
            sums[entry.layer] += entry.amount if entry.side is Side.DEBIT else -entry.amount
        if not self.entries or any(sums.values()):
            raise Unbalanced(f"{self.journal_id}: {dict(sums)} minor units of {self.currency}")

    @property
    def journal_id(self) -> str:
        """Unique by type and source."""
        return f"{self.source_id}/{self.journal_type}"

    def digest(self) -> str:
        """Fingerprint of what was booked; the audit chain keeps it, so a change of the books shows."""
        return digest(
            [
                self.journal_id,
                self.payment_id,
                self.refund_id,
                self.gateway,
                self.currency,
                self.effective_at.astimezone(UTC).isoformat(timespec="microseconds"),
            ],
            [(int(e.account), e.layer.value, e.side.value, e.amount) for e in self.entries],
        )


def digest(heading: list[str | None], lines: list[tuple[int, str, str, int]]) -> str:
    """Fingerprint of a journal from plain values: its heading, and its lines in their order."""
    text = "|".join([*(str(part) for part in heading), *(f"{a},{la},{s},{m}" for a, la, s, m in lines)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _transfer(debit: Account, credit: Account, layer: Layer, amount: int) -> tuple[Entry, Entry]:
    return Entry(debit, layer, Side.DEBIT, amount), Entry(credit, layer, Side.CREDIT, amount)


def _journal(
    kind: str, attempt: Attempt, at: datetime, *entries: Entry, source: str | None = None
) -> Journal:
    return Journal(
        journal_type=kind,
        source_id=source or attempt.attempt_id,
        payment_id=attempt.payment_id,
        refund_id=attempt.refund_id,
        gateway=attempt.gateway,
        currency=attempt.currency,
        entries=entries,
        effective_at=at,
    )


def authorization(attempt: Attempt, at: datetime) -> Journal:
    """J01: a hold."""
    hold = _transfer(
        Account.AUTHORIZATION_HOLD, Account.AUTHORIZATION_HOLD_CONTRA, Layer.MEMO, attempt.amount
    )
    return _journal("J01", attempt, at, *hold)


def release(attempt: Attempt, amount: int, at: datetime) -> Journal:
    """J03: a hold, or what is left of it, is let go."""
    back = _transfer(Account.AUTHORIZATION_HOLD_CONTRA, Account.AUTHORIZATION_HOLD, Layer.MEMO, amount)
    return _journal("J03", attempt, at, *back)


def captured(attempt: Attempt, held: int, at: datetime) -> Journal:
    """J10: held money is taken; `held` is what is still on hold, in minor units."""
    from_hold = min(attempt.amount, held)
    memo = (
        _transfer(Account.AUTHORIZATION_HOLD_CONTRA, Account.AUTHORIZATION_HOLD, Layer.MEMO, from_hold)
        if from_hold
        else ()
    )
    taken = _transfer(Account.GATEWAY_RECEIVABLE, Account.ORDER_CLEARING, Layer.POSTED, attempt.amount)
    return _journal("J10", attempt, at, *memo, *taken)


def sale(attempt: Attempt, at: datetime) -> Journal:
    """J10s: money is taken at once, without a hold."""
    taken = _transfer(Account.GATEWAY_RECEIVABLE, Account.ORDER_CLEARING, Layer.POSTED, attempt.amount)
    return _journal("J10s", attempt, at, *taken)


def _later(attempt: Attempt) -> str:
    """Source of what may happen to an attempt more than once: the call or notice that told of it."""
    return f"{attempt.attempt_id}~{attempt.call_number}"


def capture_reversed(attempt: Attempt, at: datetime) -> Journal:
    """J11: captured money was taken back later."""
    back = _transfer(Account.ORDER_CLEARING, Account.GATEWAY_RECEIVABLE, Layer.POSTED, attempt.amount)
    return _journal("J11", attempt, at, *back, source=_later(attempt))


def reversal_undone(attempt: Attempt, at: datetime) -> Journal:
    """J11u: money that had been taken back is there again; the sides of J11 swapped."""
    again = _transfer(Account.GATEWAY_RECEIVABLE, Account.ORDER_CLEARING, Layer.POSTED, attempt.amount)
    return _journal("J11u", attempt, at, *again, source=_later(attempt))


def refund_found(attempt: Attempt, at: datetime) -> Journal:
    """J30: set aside for a refund that has been made without us, or though we had given it up."""
    aside = _transfer(Account.ORDER_CLEARING, Account.REFUND_PAYABLE, Layer.POSTED, attempt.amount)
    return _journal("J30", attempt, at, *aside, source=_later(attempt))


def refund_reversed(attempt: Attempt, at: datetime) -> Journal:
    """J33: a refund that had succeeded came back; it is owed again."""
    owed = _transfer(Account.GATEWAY_RECEIVABLE, Account.REFUND_PAYABLE, Layer.POSTED, attempt.amount)
    return _journal("J33", attempt, at, *owed, source=_later(attempt))


def refund_reserved(payment: Payment, refund: Refund, amount: int, at: datetime) -> Journal:
    """J30: set aside for a refund before the gateway is asked."""
    return Journal(
        journal_type="J30",
        source_id=refund.refund_id,
        payment_id=payment.payment_id,
        refund_id=refund.refund_id,
        gateway=payment.gateway,
        currency=payment.currency,
        entries=_transfer(Account.ORDER_CLEARING, Account.REFUND_PAYABLE, Layer.POSTED, amount),
        effective_at=at,
    )


def refund_succeeded(attempt: Attempt, at: datetime) -> Journal:
    """J31: the gateway gave it back."""
    back = _transfer(Account.REFUND_PAYABLE, Account.GATEWAY_RECEIVABLE, Layer.POSTED, attempt.amount)
    return _journal("J31", attempt, at, *back)


def refund_failed(attempt: Attempt, at: datetime) -> Journal:
    """J32: nothing was given back, the reserve is undone."""
    undone = _transfer(Account.REFUND_PAYABLE, Account.ORDER_CLEARING, Layer.POSTED, attempt.amount)
    return _journal("J32", attempt, at, *undone)
