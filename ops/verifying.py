"""Proves the books again and again, and shows when it was last done and what came of it: `payments verify --every`."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ledger.errors import LedgerError
from ledger.verify import Report, verify
from ops.metrics import registry_of
from ops.metrics_server import Health, Shown, showing

log = structlog.get_logger()


class Proofs(Collector):
    """What came of the last proof that could be made."""

    def __init__(self, prove: Callable[[], Report], *, now: Callable[[], float] = time.time) -> None:
        self._prove = prove
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


def verify_for_ever(url: str, *, every_s: float, host: str, port: int) -> None:
    """Prove the books until SIGTERM or SIGINT.

    Raises:
        OSError: the address cannot be listened on.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    proofs = Proofs(lambda: verify(url))
    shown = Shown(registry=registry_of(proofs), health={"live": proofs.health, "ready": proofs.health})
    with showing(shown, host=host, port=port):
        while not stopping.is_set():
            proofs.make()
            stopping.wait(every_s)
