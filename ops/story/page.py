"""One payment's story as a page in one file: a timeline to look at, and below it every moment to read.

It loads nothing and runs nothing, so it can be mailed and opened anywhere.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from string import Template

from ledger.states import Payment
from ledger.stories import Story
from messages.card_data import redacted
from ops.story.moments import Lane, Moment, causes, moments
from ops.story.text import amounts_of

SKELETON = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))

NAMES = {
    Lane.ASKED: "commands",
    Lane.GATEWAY: "gateway answers",
    Lane.CALLBACK: "gateway callbacks",
    Lane.CLOCK: "timers",
    Lane.BOOKS: "books",
    Lane.EVENT: "events",
    Lane.DEAD_LETTER: "dead letters",
    Lane.PERSON: "people",
}
STEP, ROW, LEFT, TOP = 40, 40, 140, 34
"""Pixels: between moments, between lanes, and the margins with the names of lanes and the times."""


def render_page(story: Story, *, made_at: datetime) -> str:
    """The page. Its texts are those of the other forms: redacted, without tokens."""
    told = moments(story)
    payment = story.payment
    return SKELETON.substitute(
        title=_text(f"Payment {payment.payment_id}"),
        status=_text(payment.status.value.replace("_", " ")),
        attention='<p class="attention">A person must look at this payment.</p>' if payment.attention else "",
        facts=_facts(payment),
        money=_money_bar(payment),
        timeline=_timeline(told),
        moments="\n".join(_row(number, moment, told) for number, moment in enumerate(told, start=1)),
        attempts="\n".join(
            _cells(
                attempt.attempt_id,
                f"{attempt.operation} {attempt.money()}",
                attempt.state.value,
                f"sent {attempt.tries}, looked up {attempt.inquiries}",
                "\n".join(filter(None, (attempt.reference, attempt.reason, attempt.code, attempt.detail))),
            )
            for attempt in story.attempts
        ),
        made_at=_text(f"{made_at:%Y-%m-%d %H:%M} UTC"),
    )


def _text(text: str) -> str:
    text = re.sub(r"(\d) ([A-Z]{3})\b", "\\1\u00a0\\2", redacted(text))  # an amount stays in one line
    return escape(text).replace("\n", "<br>")


def _cells(*texts: str) -> str:
    return "<tr>" + "".join(f"<td>{_text(text)}</td>" for text in texts) + "</tr>"


def _facts(payment: Payment) -> str:
    facts = {
        "order": payment.order_id,
        "gateway": payment.gateway,
        "asked by": f"{payment.source}, command {payment.command_id}",
        "asked for": str(payment.money(payment.requested)),
        "began": f"{payment.created_at:%Y-%m-%d %H:%M:%S} UTC",
    }
    facts |= {name: str(payment.money(minor)) for name, minor in amounts_of(payment).items()}
    return "\n".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items()
    )


def _money_bar(payment: Payment) -> str:
    """Where each part of what was asked for is now."""
    given_back = payment.refunded + payment.refunded_external + payment.capture_reversed
    kept = payment.captured_gross - given_back
    parts = {
        "kept": max(kept - payment.refund_pending, 0),
        "being refunded": payment.refund_pending,
        "given back": given_back,
        "let go": payment.released,
        "held": max(payment.authorized - payment.captured_gross - payment.released, 0),
    }
    parts["neither"] = max(payment.requested - sum(parts.values()), 0)
    whole = sum(parts.values()) or 1
    words = ", ".join(f"{name} {payment.money(minor)}" for name, minor in parts.items() if minor)
    drawn, at = [], 0.0
    for name, minor in parts.items():
        if minor:
            width = 1000 * minor / whole
            kind = name.replace(" ", "-")
            drawn.append(
                f'<rect class="{kind}" x="{at:.1f}" width="{width:.1f}" height="20"><title>{_text(name)}</title></rect>'
            )
            at += width
    legend = "".join(
        f'<li class="{name.replace(" ", "-")}">{_text(f"{name} {payment.money(minor)}")}</li>'
        for name, minor in parts.items()
        if minor
    )
    return (
        f'<svg class="money" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="{_text(words)}">'
        + "".join(drawn)
        + f'</svg><ul class="legend">{legend}</ul>'
    )


def _timeline(told: list[Moment]) -> str:
    """A dot for each moment on the lane of who acts, numbered as below, with a line from its cause."""
    lanes = [lane for lane in Lane if any(moment.lane is lane for moment in told)]
    across = {lane: TOP + ROW * number + ROW // 2 for number, lane in enumerate(lanes)}
    width, height = LEFT + STEP * len(told) + 10, TOP + ROW * len(lanes)
    drawn = [
        f'<g class="lane"><line x1="{LEFT - 10}" y1="{y}" x2="{width}" y2="{y}"/>'
        f'<text x="0" y="{y + 5}">{_text(NAMES[lane])}</text></g>'
        for lane, y in across.items()
    ]
    places: list[tuple[int, int]] = []
    for number, (moment, cause) in enumerate(zip(told, causes(told), strict=True)):
        x, y = LEFT + STEP * number + STEP // 2, across[moment.lane]
        if number and (gap := _gap(moment.at - told[number - 1].at)):
            drawn.append(
                f'<g class="gap"><line x1="{x - STEP // 2}" y1="{TOP - 8}" x2="{x - STEP // 2}" y2="{height}"/>'
                f'<text x="{x - STEP // 2}" y="{TOP - 14}">{gap}</text></g>'
            )
        places.append((x, y))
        if cause is not None:
            from_x, from_y = places[cause]
            drawn.append(f'<path d="M{from_x},{from_y} Q{from_x},{y} {x},{y}"/>')
        drawn.append(
            f'<a href="#m{number + 1}" class="{moment.lane.name.lower()}"><circle cx="{x}" cy="{y}" r="13"/>'
            f'<text x="{x}" y="{y + 4}">{number + 1}</text><title>{_text(moment.what)}</title></a>'
        )
    label = f"{len(told)} moments in {len(lanes)} lanes; the table below has the same"
    drawn.sort(key=lambda piece: piece.startswith("<a"))  # what is drawn last lies on top
    return (
        f'<svg class="timeline" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="{label}">' + "".join(drawn) + "</svg>"
    )


def _gap(between: timedelta) -> str:
    seconds = between.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"+{seconds / length:.0f} {unit}"
    return ""


def _row(number: int, moment: Moment, told: list[Moment]) -> str:
    first = number == 1 or told[number - 2].at.date() != moment.at.date()
    day = f"{moment.at:%Y-%m-%d}<br>" if first else ""
    clock = f"{moment.at:%H:%M:%S.%f}"[:-3]
    return (
        f'<tr id="m{number}" class="{moment.lane.name.lower()}"><td><b>{number}</b></td>'
        f'<td><time datetime="{moment.at.isoformat()}">{day}{clock}</time></td>'
        f"<td><b>{_text(moment.what)}</b><br>{_text(moment.about)}</td><td>{_text(moment.came)}</td>"
        f"<td><code>{_text(moment.id)}</code><br>← <code>{_text(moment.cause)}</code></td></tr>"
    )
