"""What a chaos run prints, and keeps: figures for people, for programs, and for docs/chaos.md."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from messages.operation import Operation
from tests.chaos_real.course import Figures
from tests.chaos_real.evidence import DELIVERED_TOO_OFTEN, Evidence, Violation
from tests.chaos_real.house import House
from tests.chaos_real.judge import ENDS_OF_PAYMENTS, Events, left_to_a_person

DOUBLES = {"double charge", "double capture", "double refund", "over-refund", "announced twice"}
LOSSES = {"lost", "lost event", "gap", "not booked", "not at rest", "dead letter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A run, judged."""

    seed: int
    began_at: datetime
    versions: dict[str, str]
    machine: str
    load: float
    """Of the machine, over the last five minutes: more than its cores, and times to recover tell of waiting as well."""
    kills: dict[str, int]
    figures: Figures
    counts: dict[str, int]
    endings: dict[str, int]
    violations: list[Violation]

    @property
    def doubles(self) -> int:
        """What was done or announced twice."""
        return sum(violation.kind in DOUBLES for violation in self.violations)

    @property
    def losses(self) -> int:
        """What never came to an end, or was not heard of."""
        return sum(violation.kind in LOSSES for violation in self.violations)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        figures = self.figures
        return {
            "seed": self.seed,
            "began_at": self.began_at.isoformat(timespec="seconds"),
            "machine": self.machine,
            "load_average_5_min": self.load,
            "versions": self.versions,
            "lasted_s": round(figures.lasted_s, 1),
            "rested_after_s": figures.rested_after_s,
            "kills": {**self.kills, "total": sum(self.kills.values())},
            "outages": {**figures.outages, "total": figures.outages.total()},
            "recovery_s": {
                name: {"median": statistics.median(times), "max": max(times), "times": times}
                for name, times in figures.recoveries_s.items()
            },
            "unrecovered": figures.unrecovered,
            "left_waiting": figures.left_waiting,
            "counts": self.counts,
            "endings": self.endings,
            "doubles": self.doubles,
            "losses": self.losses,
            "violations": [violation.as_json() for violation in self.violations],
        }


def make_result(
    house: House,
    figures: Figures,
    evidence: Evidence,
    violations: list[Violation],
    *,
    seed: int,
    began_at: datetime,
) -> Result:
    """Put together what is told of a run."""
    events = Events(evidence.heard)
    executed = Counter(move.operation for move in evidence.moves)
    return Result(
        seed=seed,
        began_at=began_at.astimezone(UTC),
        versions=_versions(house),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        load=round(os.getloadavg()[1], 1),
        kills=dict(house.staff.kills),
        figures=figures,
        counts={
            "commands": len(evidence.asked),
            "commands published twice": house.shop.repeats,
            "portions published again for want of a confirm": house.shop.not_confirmed,
            "payments": sum(asked.kind == "PaymentRequested" for asked in evidence.asked),
            "charged or held at the gateways": executed[Operation.SALE] + executed[Operation.AUTHORIZE],
            "captures executed": executed[Operation.CAPTURE],
            "refunds executed": executed[Operation.REFUND],
            "events": len(events.by_id),
            "events heard again under their id": len(evidence.heard) - len(events.by_id),
            "most events waiting in the outbox": figures.most_unpublished,
            "dead letters after too many deliveries": sum(
                letter.reason == DELIVERED_TOO_OFTEN for letter in evidence.dead_letters
            ),
            "payments marked for a person on the way": sum(
                one.needs_a_person for one in evidence.booked.values()
            ),
            "payments left to a person, in doubt, nothing executed": len(
                {attempt.payment_id for attempt in left_to_a_person(evidence)}
            ),
        },
        endings=dict(sorted(_endings(events).items())),
        violations=violations,
    )


def _endings(events: Events) -> Counter[str]:
    kinds = ENDS_OF_PAYMENTS | {
        "PaymentCaptureFailed",
        "PaymentVoidFailed",
        "RefundProcessed",
        "RefundFailed",
        "CommandRejected",
        "PaymentInDoubt",
        "PaymentReversed",
        "RefundReversed",
    }
    return Counter(_named(event.type, event.body) for event in events.by_id.values() if event.type in kinds)


def _named(kind: str, body: dict[str, Any]) -> str:
    return f"{kind} ({body['reason']})" if body.get("reason") else kind


def _versions(house: House) -> dict[str, str]:
    (version,) = house.database.psql("SHOW server_version")
    return {
        "RabbitMQ": house.broker.ctl("eval", "rabbit_misc:version().").strip().strip('"'),
        "PostgreSQL": str(version[0]).split()[0],
        "Python": platform.python_version(),
    }


def as_text(result: Result) -> str:
    """For people at a terminal."""
    lines = [
        "",
        f"kills      {sum(result.kills.values())}  " + _listed(result.kills),
        f"outages    {result.figures.outages.total()}  " + _listed(result.figures.outages),
        *(f"{number:>7}    {what}" for what, number in result.counts.items()),
        "ended as   " + _listed(result.endings),
        "time to recover after an outage: median and longest, in seconds",
    ]
    for name, times in sorted(result.figures.recoveries_s.items()):
        lines.append(f"  {name:<28} {statistics.median(times):6.1f} {max(times):6.1f}   ({len(times)})")
    rested = result.figures.rested_after_s
    lines.append(
        f"at rest {rested} s after the last disturbance"
        if rested is not None
        else f"NOT AT REST: {result.figures.left_waiting}"
    )
    lines.append(f"doubles {result.doubles}, losses {result.losses}, violations {len(result.violations)}")
    return "\n".join(lines)


def _listed(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{what} {number}" for what, number in sorted(counts.items()))


def as_markdown(result: Result) -> str:
    """The page that docs/chaos.md keeps."""
    figures, kills = result.figures, result.kills
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    rested = f"{figures.rested_after_s:.0f} s" if figures.rested_after_s is not None else "never"
    lines = [
        "# Chaos, for real",
        "",
        "What `make chaos-real` saw: RabbitMQ, PostgreSQL, two workers, the webhook ingestor and the simulators of",
        "Stripe, Adyen and PayPal, each a real server; a steady flow of orders; workers and ingestor killed with",
        "`kill -9` at random; servers stopped, killed, frozen and cut off; gateways slow, silent and gone. Afterwards",
        "everything is healed, and when all has come to rest, the gateways' own records are compared with the books",
        "and with the events that a consumer heard: nothing charged, captured, refunded or announced twice, nothing",
        "called failed that was executed, every command ended, the same amounts everywhere, no gap in the events, no",
        "dead letter, and books that prove themselves. The judge is `tests/chaos_real/judge.py`; this page is written",
        "by `make chaos-real ARGS=--markdown`.",
        "",
        f"{result.began_at:%Y-%m-%d}, {result.machine}; {versions}; seed {result.seed}. Load average at the end:",
        f"{result.load}; above the number of cores, the times to recover tell of waiting for the processor as well.",
        "",
        "| | |",
        "|---|---:|",
        f"| **violations** | **{len(result.violations)}** |",
        f"| charged, captured, refunded or announced twice | {result.doubles} |",
        f"| commands or events lost | {result.losses} |",
        f"| kills of workers | {kills.get('worker', 0)} |",
        f"| kills of the ingestor | {kills.get('ingestor', 0)} |",
        f"| outages | {figures.outages.total()} |",
        f"| minutes of it | {figures.lasted_s / 60:.1f} |",
        f"| everything at rest afterwards within | {rested} |",
        *(f"| {what} | {number} |" for what, number in result.counts.items()),
        "",
        "## Outages, and the time to recover",
        "",
        "From the end of the outage until a payment that is asked for right then has succeeded, in seconds. Kills go",
        "on meanwhile, and the worker's settings let retries pass quickly.",
        "",
        "| outage | times | median | longest |",
        "|---|---:|---:|---:|",
    ]
    for name, number in sorted(figures.outages.items()):
        times = figures.recoveries_s.get(name)
        told = f"{statistics.median(times):.1f} | {max(times):.1f}" if times else "– | –"
        lines.append(f"| {name} | {number} | {told} |")
    lines += ["", "## How it ended", "", "| event | times |", "|---|---:|"]
    lines += [f"| {what} | {number} |" for what, number in result.endings.items()]
    return "\n".join(lines) + "\n"
