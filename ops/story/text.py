"""One payment's story as text: what it is, what happened in the order of time, what became of each attempt."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ledger.states import Capture, Payment, Refund
from ledger.stories import Story
from messages.card_data import redacted
from messages.money import Money
from ops.story.moments import Lane, moments

LOOKS = {
    Lane.ASKED: "bold",
    Lane.GATEWAY: "cyan",
    Lane.CALLBACK: "blue",
    Lane.CLOCK: "dim",
    Lane.BOOKS: "green",
    Lane.EVENT: "magenta",
    Lane.DEAD_LETTER: "red",
    Lane.PERSON: "bold yellow",
}
_PLAIN: dict[str, Any] = {"box": box.SIMPLE_HEAD, "title_justify": "left", "pad_edge": False}


def render_story(story: Story) -> RenderableType:
    """Draw the whole story: what it is, what happened and when, what became of each attempt and refund."""
    parts: list[RenderableType] = [_heading(story.payment), _timeline(story)]
    if story.attempts:
        parts.append(_attempts(story))
    if story.captures:
        parts.append(_captures(story))
    if story.refunds:
        parts.append(_refunds(story))
    return Group(*parts)


def amounts_of(payment: Payment) -> dict[str, int]:
    """What the payment's money came to, in words; minor units, zeros left out."""
    amounts = {
        "authorized": payment.authorized,
        "captured": payment.captured_gross,
        "being captured": payment.capture_pending,
        "let go": payment.released,
        "taken back": payment.capture_reversed,
        "refunded": payment.refunded,
        "refunded at the gateway": payment.refunded_external,
        "being refunded": payment.refund_pending,
        "left to capture": payment.capturable,
        "left to refund": max(payment.refundable, 0),
    }
    return {name: minor for name, minor in amounts.items() if minor}


def _heading(payment: Payment) -> Text:
    money = payment.money
    text = Text()
    text.append(f"{payment.payment_id}", style="bold")
    text.append(f"  order {payment.order_id}  {money(payment.requested)}  {payment.gateway}  ")
    text.append(payment.status.value, style="bold")
    if payment.attention:
        text.append("  a person must look", style="bold red")
    told = "  ".join(f"{name} {money(minor)}" for name, minor in amounts_of(payment).items())
    text.append(
        f"\n{told or 'no money has moved'}\nasked by {payment.source}, command {payment.command_id}\n"
    )
    return text


def _timeline(story: Story) -> Table:
    table = Table(title=f"What happened ({story.payment.created_at:%Y-%m-%d} and on, UTC)", **_PLAIN)
    for column in ("when", "what, and about what", "what came of it, its id and its cause"):
        table.add_column(column, overflow="fold")
    for moment in moments(story):
        what = Text.assemble((moment.what, LOOKS[moment.lane]), "\n", moment.about)
        came = Text.assemble(moment.came, (f"\n{moment.id} ← {moment.cause}", "dim"))
        table.add_row(f"{moment.at:%H:%M:%S.%f}"[:-3], what, came)
    return table


def _attempts(story: Story) -> Table:
    table = Table(title="Attempts (their ids are the idempotency keys)", **_PLAIN)
    for column in ("attempt", "asked", "state", "sent", "looked up", "gateway's id, and why"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("sent", "looked up") else "left"
        )
    for attempt in story.attempts:
        why = (attempt.reference, attempt.reason, attempt.code and f"({attempt.code})", attempt.detail)
        asked = f"{attempt.operation} {attempt.money()}"
        table.add_row(
            attempt.attempt_id,
            asked,
            attempt.state.value,
            str(attempt.tries),
            str(attempt.inquiries),
            redacted("\n".join(filter(None, why))),
        )
    return table


def _captures(story: Story) -> Table:
    table = _commands("Captures", "capture")
    for capture in story.captures:
        asked_by = f"{capture.source} {capture.command_id}"
        table.add_row(capture.capture_id, _amount(capture), capture.status.value, asked_by)
    return table


def _refunds(story: Story) -> Table:
    table = _commands("Refunds", "refund")
    for refund in story.refunds:
        asked_by = f"{refund.source} {refund.command_id}"
        table.add_row(refund.refund_id, _amount(refund), refund.status.value, asked_by)
    return table


def _commands(title: str, name: str) -> Table:
    table = Table(title=title, **_PLAIN)
    for column in (name, "amount", "status", "asked by"):
        table.add_column(column, overflow="fold")
    return table


def _amount(asked: Capture | Refund) -> str:
    if asked.amount is None or asked.currency is None:
        return "all that is left"
    return str(Money(asked.amount, asked.currency))
