"""What people ask of the books: the trial balance, and what was announced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from ledger import tables
from ledger.accounts import NORMAL_SIDE, Account, Side
from ledger.encrypted_rows import readable_body
from ledger.reading import reading, rows
from ledger.records import OutboxEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One line of the trial balance; amounts in minor units."""

    account: Account
    gateway: str
    currency: str
    layer: str
    debits: int
    credits: int

    @property
    def balance(self) -> int:
        """Positive on the account's normal side."""
        difference = self.debits - self.credits
        return difference if NORMAL_SIDE[self.account] is Side.DEBIT else -difference


def trial_balance(url: str) -> list[Balance]:
    """Sum every account per gateway, currency and layer, from the entries themselves.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    with reading(url) as books:
        return [
            Balance(
                account=Account(row.account),
                gateway=row.gateway,
                currency=row.currency,
                layer=row.layer,
                debits=int(row.debits),
                credits=int(row.credits),
            )
            for row in rows(
                books,
                "SELECT account, gateway, currency, layer,"
                " sum(CASE side WHEN 'D' THEN amount ELSE 0 END) AS debits,"
                " sum(CASE side WHEN 'C' THEN amount ELSE 0 END) AS credits"
                " FROM entries GROUP BY account, gateway, currency, layer"
                " ORDER BY layer DESC, currency, gateway, account",
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedEvent:
    """An event, and when the broker confirmed it (None: not yet)."""

    event: OutboxEvent
    published_at: datetime | None


def announced_events(url: str, *, after: datetime, payment_id: str | None = None) -> Iterator[AnnouncedEvent]:
    """Give the events the broker confirmed after a time, in the order it did; of the newest `LOOK_BACK` at most.

    Confirmations are marked a little later than they come: a follower asks again for the last seconds it has seen.

    Raises:
        LedgerError: the database is out of reach or not migrated.
    """
    place = (after, 0)
    while True:
        # Page by page, each a short look of its own: whoever reads on slowly holds nothing open.
        page = _page_of_events(url, place, payment_id)
        for position, announced in page:
            yield announced
            place = (announced.published_at or after, position)
        if len(page) < PAGE:
            return


def _page_of_events(
    url: str, place: tuple[datetime, int], payment_id: str | None
) -> list[tuple[int, AnnouncedEvent]]:
    outbox = tables.outbox.c
    at, position = place
    later = (outbox.published_at > at) | ((outbox.published_at == at) & (outbox.position > position))
    # Without an exchange it is a dead letter on its way back to its queue.
    query = select(tables.outbox).where(
        later if position else outbox.published_at > at, outbox.exchange != ""
    )
    if payment_id is not None:
        query = query.where(outbox.stream == payment_id)
    else:
        newest = select(func.coalesce(func.max(outbox.position), 0)).scalar_subquery()
        query = query.where(outbox.position > newest - LOOK_BACK)
    with reading(url) as books:
        found = books.execute(query.order_by(outbox.published_at, outbox.position).limit(PAGE))
        return [(row.position, announced(row)) for row in found]


PAGE = 1000

LOOK_BACK = 100_000
"""Events a follower looks through at most, so that it costs the same however many there have ever been."""

OVERLAP = timedelta(seconds=30)
"""How far back a follower of events looks again: turns that began earlier may commit later."""


def announced(row: Any) -> AnnouncedEvent:
    """An event from its row of the outbox."""
    event = OutboxEvent(
        stream=row.stream,
        sequence=row.sequence,
        subject=row.subject,
        type=row.type,
        exchange=row.exchange,
        routing_key=row.routing_key,
        headers=json.loads(row.headers),
        body=readable_body(bytes(row.body)),
        created_at=row.created_at,
    )
    return AnnouncedEvent(event=event, published_at=row.published_at)
