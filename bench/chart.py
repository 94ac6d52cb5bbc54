"""Draws the rates of a run: `python -m bench.chart figures.json docs/performance.svg`."""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

_ROW, _GAP, _LEFT, _WIDTH = 22, 46, 130, 760
_OURS, _PEER, _TEXT = "#2563eb", "#a3a3a3", "#404040"


def draw(figures: dict[str, Any]) -> str:
    """Bars, one group a case; the longest bar of a group fills the width, as ratios are what counts."""
    parts: list[str] = []
    y = 0
    for case in figures["saturation"]:
        title = (
            f"gateway of {case['gateway_ms']} ms, {case['processes']} process{'es' * (case['processes'] > 1)}"
        )
        parts.append(_text(0, y + 18, title, bold=True))
        y += 28
        rates = {name: median(found) for name, found in case["payments_per_s"].items() if found}
        most = max(rates.values())
        for name, per_s in rates.items():
            length = max((_WIDTH - _LEFT - 160) * per_s / most, 2)
            colour = _OURS if name == "this service" else _PEER
            parts.append(_text(_LEFT - 8, y + 15, name, end=True))
            parts.append(
                f'<rect x="{_LEFT}" y="{y + 2}" width="{length:.0f}" height="{_ROW - 5}" rx="2" fill="{colour}"/>'
            )
            parts.append(_text(_LEFT + length + 8, y + 15, f"{per_s:,.0f}/s"))
            y += _ROW
        y += _GAP - 28
    box = f'viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{y}" fill="white"/>', *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, *, bold: bool = False, end: bool = False) -> str:
    style = ' font-weight="bold"' * bold + ' text-anchor="end"' * end
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{_TEXT}"{style}>{escape(text)}</text>'


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text())))
