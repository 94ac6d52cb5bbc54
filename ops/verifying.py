"""Proves the books again and again, and shows when it was last done and what came of it: `payments verify --every`."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ledger.anchors import Anchor
from ledger.errors import LedgerError
from ledger.verify import Report, verify
from ops.anchor_file import anchors_in, keep_anchor
from ops.metrics import registry_of
from ops.metrics_server import Health, Shown, showing

log = structlog.get_logger()


class Proofs(Collector):
    """What came of the last proof that could be made."""

    def __init__(
        self,
        prove: Callable[[], Report],
        *,
        keep: Callable[[Anchor], None] = lambda _anchor: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`keep` is given the heads of the audit chains after each proof that found nothing wrong."""
        self._prove = prove
        self._keep = keep
        self._now = now
        self._proven_at = 0.0
        self._problems = 0
        self._took_s = 0.0

    def make(self) -> None:
        """Prove once; a database that is away is told in the log, and the age of the last proof tells the rest."""
        began = self._now()
        try:
            report = self._prove()
        except LedgerError as error:
            log.warning("books_not_verified", error=str(error))
            return
        self._proven_at, self._took_s = self._now(), self._now() - began
        self._problems = len(report.problems)
        for problem in report.problems:
            log.error("books_are_wrong", problem=problem)
        if report.anchor is not None and not report.problems:
            self._keep(report.anchor)
        log.info("books_verified", problems=self._problems, seconds=round(self._took_s, 1))

    def health(self) -> Health:
        """Well: the books were proven, and nothing was wrong."""
        is_well = self._proven_at > 0 and self._problems == 0
        return Health(is_well=is_well, told={"problems": str(self._problems)})

    def collect(self) -> Iterator[Metric]:
        """Make every metric anew; none before the first proof."""
        if not self._proven_at:
            return
        for name, help_text, value in (
            (
                "payments_books_verified_timestamp_seconds",
                "When the books were last proven.",
                self._proven_at,
            ),
            (
                "payments_books_problems",
                "What that proof found wrong; anything but 0 is a person's.",
                self._problems,
            ),
            ("payments_books_verify_seconds", "How long that proof took.", self._took_s),
        ):
            metric = GaugeMetricFamily(name, help_text)
            metric.add_metric([], value)
            yield metric


def verify_for_ever(url: str, *, every_s: float, host: str, port: int, anchors: Path | None = None) -> None:
    """Prove the books until SIGTERM or SIGINT, also against the anchors in a file, and add one after each good proof.

    Raises:
        LedgerError: the file holds something else than anchors.
        OSError: the address cannot be listened on, or the file not be read or written.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    known = anchors_in(anchors) if anchors and anchors.exists() else []
    proofs = Proofs(lambda: verify(url, anchors=known), keep=partial(_keep, known, anchors))
    shown = Shown(registry=registry_of(proofs), health={"live": proofs.health, "ready": proofs.health})
    with showing(shown, host=host, port=port):
        while not stopping.is_set():
            proofs.make()
            stopping.wait(every_s)


def _keep(known: list[Anchor], file: Path | None, anchor: Anchor) -> None:
    """In the log, which is gathered elsewhere, and in the file."""
    log.info("audit_anchored", anchor=anchor.line())
    known.append(anchor)
    if file:
        keep_anchor(anchor, file)
