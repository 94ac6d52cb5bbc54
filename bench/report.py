"""What a run has shown: medians and spread, ratios, a table for people, JSON for programs, a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Latency, Rate
from bench.sdks import Beside

OURS = "this service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """At a full queue: a gateway's time, and how many processes."""

    gateway_ms: int
    processes: int

    def __str__(self) -> str:
        return f"{self.gateway_ms} ms, {self.processes} process{'es' if self.processes > 1 else ''}"


@dataclass(slots=True, kw_only=True)
class Results:
    """All that was measured in one run."""

    about: Mapping[str, str]
    """Machine and versions."""
    rates: dict[Case, dict[str, list[Rate]]] = field(default_factory=dict)
    latencies: dict[float, dict[str, list[Latency]]] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    """What the servers alone can do, per second."""
    sdks: dict[str, Beside] = field(default_factory=dict)
    embedded_per_s: list[float] = field(default_factory=list)
    """One worker on the embedded default, in rounds."""
    wrong: list[str] = field(default_factory=list)
    """Measurements that do not count, and why."""

    def per_s(self, case: Case, name: str) -> float:
        """The median rate."""
        return median(rate.per_s for rate in self.rates[case][name])

    def best_peer(self, case: Case) -> str | None:
        """The fastest of the others."""
        peers = [name for name, rates in self.rates[case].items() if name != OURS and rates]
        return max(peers, key=lambda name: self.per_s(case, name), default=None)

    def ratio(self, case: Case) -> float | None:
        """Our median rate over the best peer's."""
        best = self.best_peer(case)
        if best is None or not self.rates[case].get(OURS):
            return None
        return self.per_s(case, OURS) / self.per_s(case, best)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "about": dict(self.about),
            "saturation": [
                {
                    "gateway_ms": case.gateway_ms,
                    "processes": case.processes,
                    "ratio_to_best_peer": self.ratio(case),
                    "best_peer": self.best_peer(case),
                    "payments_per_s": {
                        name: [round(rate.per_s, 1) for rate in rates] for name, rates in by_name.items()
                    },
                    "memory_mb": {
                        name: max(r.memory_mb for r in rates) for name, rates in by_name.items() if rates
                    },
                }
                for case, by_name in self.rates.items()
            ],
            "latency": [
                {
                    "asked_per_s": asked,
                    "answered": {name: median(x.answered for x in found) for name, found in by_name.items()},
                    "p50_ms": {name: _ms(found, "p50") for name, found in by_name.items()},
                    "p99_ms": {name: _ms(found, "p99") for name, found in by_name.items()},
                }
                for asked, by_name in self.latencies.items()
            ],
            "limits_per_s": self.limits,
            "sdks_over_http_per_s": {
                name: {"worker": beside.worker, "only_calls": beside.only_calls, "share": beside.share}
                for name, beside in self.sdks.items()
            },
            "embedded_per_s": self.embedded_per_s,
            "not_counted": self.wrong,
        }


def _ms(found: Sequence[Latency], which: str) -> float:
    seconds: float = median(getattr(latency, which) for latency in found)
    return round(seconds * 1000, 2)


def show(results: Results, console: Console) -> None:
    """Print the tables and the ratios."""
    for case in results.rates:
        _show_rates(results, case, console)
    for asked in results.latencies:
        _show_latencies(results, asked, console)
    if results.sdks:
        _show_sdks(results.sdks, console)
    if results.embedded_per_s:
        per_s = median(results.embedded_per_s)
        console.print(f"embedded default, one worker: {per_s:,.0f} payments/s", highlight=False)
    if results.limits:
        table = Table("the servers alone", "per second", title="Limits", title_justify="left")
        for name, per_s in results.limits.items():
            table.add_row(name, f"{per_s:,.0f}")
        console.print(table)
    for text in results.wrong:
        console.print(f"[red]not counted:[/] {text}")
    for case in results.rates:
        ratio = results.ratio(case)
        if ratio is None:
            continue
        note = f"(gateway {case}; best: {results.best_peer(case)})"
        is_main = case.gateway_ms == 0 and case.processes == max(c.processes for c in results.rates)
        label = "ratio to best peer" if is_main else "         and ratio"
        console.print(
            f"{label}: {ratio:.1f} {note}" if not is_main else f"{label}: {ratio:.1f}", highlight=False
        )
        if is_main:
            console.print(f"                   {note}", highlight=False)


def _show_rates(results: Results, case: Case, console: Console) -> None:
    table = Table(title=f"Payments per second, a gateway of {case}, full queue", title_justify="left")
    for heading in (
        "worker",
        "median",
        "least - most",
        "of this service",
        "MB a process",
        "CPU µs a payment",
    ):
        table.add_column(heading, justify="left" if heading == "worker" else "right")
    ours = results.per_s(case, OURS) if results.rates[case].get(OURS) else None
    for name, rates in results.rates[case].items():
        if not rates:
            continue
        per_s = [rate.per_s for rate in rates]
        table.add_row(
            name,
            f"{median(per_s):,.0f}",
            f"{min(per_s):,.0f} - {max(per_s):,.0f}",
            f"1 / {ours / median(per_s):.1f}" if ours and name != OURS else "",
            f"{max(rate.memory_mb for rate in rates):.0f}",
            f"{median(rate.cpu_us for rate in rates):,.0f}",
        )
    console.print(table)


def _show_sdks(sdks: Mapping[str, Beside], console: Console) -> None:
    table = Table(title="Authorizations per second over HTTP to the simulators", title_justify="left")
    for heading in ("gateway", "a worker", "only the calls", "share"):
        table.add_column(heading, justify="left" if heading == "gateway" else "right")
    for name, beside in sdks.items():
        rates = (f"{median(found):,.0f}" for found in (beside.worker, beside.only_calls))
        table.add_row(name, *rates, f"{beside.share:.0%}")
    console.print(table)


def _show_latencies(results: Results, asked: float, console: Console) -> None:
    table = Table(title=f"From publish to event at {asked:,.0f} payments/s, in ms", title_justify="left")
    for heading in ("worker", "p50", "p99", "answered in time"):
        table.add_column(heading, justify="left" if heading == "worker" else "right")
    for name, found in results.latencies[asked].items():
        share = median(latency.answered for latency in found)
        kept_up = share >= 0.99
        table.add_row(
            name,
            f"{_ms(found, 'p50'):.1f}" if kept_up else "-",
            f"{_ms(found, 'p99'):.1f}" if kept_up else "-",
            f"{share:.0%}" if kept_up else f"{share:.0%}: cannot keep up",
        )
    console.print(table)
