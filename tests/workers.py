"""Real worker processes for tests: started as an operator starts them, killed as a machine kills them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import keys

ROOT = Path(__file__).parent.parent

QUICK = {
    "PAYMENTS_SANDBOX__ENABLED": "true",
    "PAYMENTS_WORKER__TIMER_POLL_S": "0.1",
    "PAYMENTS_WORKER__RELAY_GRACE_S": "1",
    "PAYMENTS_WORKER__LEASE_MARGIN_S": "0.5",
    "PAYMENTS_WORKER__RETRY_DELAYS_S": "[0.2, 0.5, 1, 2, 4]",
    "PAYMENTS_WORKER__INQUIRY_DELAYS_S": "[0.3, 0.6, 1, 2, 4, 8]",
    "PAYMENTS_WORKER__PENDING_DELAYS_S": "[0.5, 1, 2]",
    "PAYMENTS_WORKER__BREAKER_PAUSE_S": "0.5",
    "PAYMENTS_WORKER__ABSENCE_WINDOW_S": "4",
    "PAYMENTS_WORKER__REFUND_POLL_S": "1",
    "PAYMENTS_SANDBOX__SETTLE_S": "1",
    "PAYMENTS_SANDBOX__SLOW_S": "0.5",
}
"""Settings that make time pass quickly; nothing else about the worker changes."""


class Worker:
    """One worker process."""

    _numbers = itertools.count(1)

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        self._log = directory / f"worker-{next(self._numbers)}.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "run_worker.py"), "worker"],
                env={**clean, "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY), **environment},
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is saved."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 40) -> int:
        """SIGTERM: it finishes what is under way; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    @property
    def is_consuming(self) -> bool:
        """Whether it has got as far as the queues."""
        return self.is_alive and b"broker_connected" in self._log.read_bytes()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None


@contextmanager
def workers(environment: Mapping[str, str], directory: Path, *, count: int) -> Iterator[list[Worker]]:
    """Run some workers, with a log each; whatever is left of them at the end is killed."""
    running = [Worker(environment, directory) for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            if worker.is_alive:
                worker.kill()


def eventually(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: if it is not in time.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)
