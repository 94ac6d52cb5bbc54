"""What a newcomer gets without any server: the embedded broker, SQLite with its own fsync, and the sandbox gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import kombu

from bench.contenders import ROOT, commands, line
from bench.measure import HEARD, Wrong, slope, watch
from consumers.embedded import register
from consumers.topology import declare
from ledger.reading import reading, rows
from ops.publish import publish
from ops.settings import Settings


def embedded_per_s(*, seconds: float, most_per_s: int = 1_500) -> float:
    """Payments per second of one worker with a full queue.

    Raises:
        Wrong: what was booked and what was announced do not agree.
    """
    register()
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as directory:
        settings = Settings(data_dir=Path(directory))
        [url] = settings.broker_urls
        with kombu.Connection(url) as connection:
            channel = connection.channel()
            declare(channel)
            channel.queue_declare(HEARD, durable=True, auto_delete=False)
            channel.queue_bind(HEARD, exchange="payments.events", routing_key="#")
            count = int(most_per_s * seconds)
            publish([url], map(line, commands(count, prefix="embedded")))
            log = Path(directory) / "worker.log"
            with log.open("wb") as output:
                worker = subprocess.Popen(
                    [sys.executable, str(ROOT / "run_worker.py")],
                    env={**os.environ, "PAYMENTS_DATA_DIR": directory, "PAYMENTS_LOG__LEVEL": "warning"},
                    stdout=output,
                    stderr=output,
                )
            try:
                seen = watch(channel, [worker], count=count, seconds=seconds, log=log)
            finally:
                worker.terminate()
                worker.wait(60)
            announced = channel.queue_declare(HEARD, passive=True).message_count
        with reading(settings.ledger_url) as books:
            [booked] = rows(books, "SELECT count(*) AS count FROM payments WHERE status = 'captured'")
    if booked.count != announced:
        raise Wrong(f"embedded: {booked.count} payments were booked and {announced} announced")
    return slope(seen)
