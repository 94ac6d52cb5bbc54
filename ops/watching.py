"""Shows a worker's metrics and health while it runs, if the settings name a port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from consumers.calls import Calls
from consumers.counts import Counts
from consumers.topology import WORK_QUEUES
from consumers.watch import BrokerWatch
from ledger.watch import Watch
from ops.health import answers, live, ready
from ops.looks import Look
from ops.metrics import WorkerCollector, registry_of
from ops.metrics_server import Shown, showing
from ops.settings import Settings

PATIENCE_S = 3.0
"""How long a silent server is waited for: Prometheus gives up after 10 s, and there are two to ask."""


@contextmanager
def watched(settings: Settings, *, gateways: Iterable[str], counts: Counts, calls: Calls) -> Iterator[None]:
    """Show for the length of the block.

    Raises:
        OSError: the address cannot be listened on.
        BusRefused, LedgerError: broker or database cannot be where the settings say.
    """
    metrics = settings.metrics
    if not metrics.port:
        yield
        return
    broker = BrokerWatch(
        urls=settings.broker_urls,
        queues=[name for queue in WORK_QUEUES for name in (queue.name, queue.dead_letter_queue)],
        tls=settings.broker.tls,
        patience_s=PATIENCE_S,
    )
    with closing(broker), closing(Watch(settings.ledger_url, patience_s=PATIENCE_S)) as database:
        queues, answering = Look(broker.waiting), Look(lambda: answers(database))
        collector = WorkerCollector(
            gateways=gateways,
            counts=counts,
            calls=calls,
            figures=Look(lambda: database.figures(datetime.now(UTC))),
            queues=queues,
        )
        shown = Shown(
            registry=registry_of(collector),
            health={
                "live": lambda: live(counts, within_s=metrics.live_within_s),
                "ready": lambda: ready(counts, answering, queues),
            },
        )
        with showing(shown, host=metrics.host, port=metrics.port):
            yield
