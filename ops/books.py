"""The trial balance, for people and for programs."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from ledger.reports import trial_balance
from messages.money import Money


def books_table(url: str) -> Table:
    """Draw the trial balance; each currency and layer balances alone, and says so."""
    table = Table(title="Trial balance", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("account")
    table.add_column("gateway")
    for heading in ("debits", "credits", "balance"):
        table.add_column(heading, justify="right")
    group: tuple[str, str] | None = None
    sums: dict[tuple[str, str], int] = {}
    for line in trial_balance(url):
        key = (line.layer, line.currency)
        if group not in (None, key):
            table.add_section()
        group = key
        sums[key] = sums.get(key, 0) + line.debits - line.credits
        table.add_row(
            f"{line.account.value} {line.account.words}",
            line.gateway,
            str(Money(line.debits, line.currency)),
            str(Money(line.credits, line.currency)),
            _signed(line.balance, line.currency),
        )
    off = [f"{currency} ({layer})" for (layer, currency), rest in sums.items() if rest]
    if off:
        table.caption = f"DOES NOT BALANCE in {', '.join(off)}"
    else:
        table.caption = "debits equal credits in every currency" if sums else "nothing is booked yet"
    return table


def _signed(minor: int, currency: str) -> str:
    return f"{'-' if minor < 0 else ''}{Money(abs(minor), currency)}"


def balances_as_json(url: str) -> list[dict[str, Any]]:
    """The trial balance as plain values, amounts in minor units."""
    return [
        {
            "account": line.account.value,
            "name": line.account.name.lower(),
            "gateway": line.gateway,
            "currency": line.currency,
            "layer": line.layer,
            "debits": line.debits,
            "credits": line.credits,
            "balance": line.balance,
        }
        for line in trial_balance(url)
    ]
