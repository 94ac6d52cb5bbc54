"""Everything of a chaos run: the servers, the gateways, the ingestor and two workers, and whoever starts them again.

The lines of worker and ingestor to the broker, and to the gateways, lead through doors that can be shut.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.control_client import Refused
from tests.chaos_real.ear import Ear
from tests.chaos_real.shop import Shop
from tests.servers import OwnPostgres, OwnRabbitmq, running_own_postgres, running_own_rabbitmq
from tests.street.door import Door, door_to
from tests.street.street import Street, street
from tests.workers import Worker, eventually

WORKERS = 2
YOUNG_S = 8.0
"""A worker that does not consume after so long may be killed all the same: its broker or database is away."""

SETTINGS = {
    "PAYMENTS_BROKER__HEARTBEAT_S": "4",
    "PAYMENTS_BROKER__CONFIRM_TIMEOUT_S": "3",
    "PAYMENTS_WORKER__CALLBACK_POLL_S": "2",
    "PAYMENTS_WORKER__RETRY_DELAYS_S": "[0.2, 0.5, 1, 2, 4, 8, 15, 30]",
    "PAYMENTS_WORKER__PENDING_DELAYS_S": "[0.5, 1, 2, 5, 10]",
    "PAYMENTS_WORKER__INQUIRY_DELAYS_S": "[2, 10, 15, 15, 20, 20, 30]",
    "PAYMENTS_WORKER__REFUND_PATIENCE_S": "60",
    "PAYMENTS_WORKER__LEASE_MARGIN_S": "1",
}
"""Besides those that make time pass quickly. As in earnest, an outage is shorter than the patience with a gateway:
else the three sends of a call would all fall into one."""


@dataclass(slots=True, kw_only=True)
class Staff:
    """The worker and ingestor processes: killed on demand, started again at once."""

    place: Street
    directory: Path
    workers: list[Worker] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    exits: list[str] = field(default_factory=list)
    _born: dict[int, float] = field(default_factory=dict)
    _ingestor_starts: threading.Thread | None = None
    _dismissed: bool = False

    def hire(self) -> None:
        """Bring the workers up to their number."""
        self.workers.append(self.place.worker)
        while len(self.workers) < WORKERS:
            self.workers.append(self._new_worker())

    def kill_one(self, chance: random.Random) -> str | None:
        """SIGKILL a worker or, one time in five, the ingestor; gives which, or None if nobody is worth it."""
        if chance.random() < 0.2 and not self.ingestor_is_starting:
            self.place.ingestor.kill()
            self._start_ingestor()
            killed = "ingestor"
        else:
            ready = [n for n, worker in enumerate(self.workers) if self._is_at_work(worker)]
            if not ready:
                return None
            number = chance.choice(ready)
            self.workers[number].kill()
            self.workers[number] = self._new_worker()
            killed = "worker"
        self.kills[killed] += 1
        return killed

    def supervise(self) -> None:
        """Start again who has ended by itself, and remember it: nobody should."""
        for number, worker in enumerate(self.workers):
            if not worker.is_alive:
                self.exits.append(f"worker {worker.process.pid} ended with {worker.process.returncode}")
                self.workers[number] = self._new_worker()
        if not self.ingestor_is_starting and self.place.ingestor.process.poll() is not None:
            self.exits.append(f"the ingestor ended with {self.place.ingestor.process.returncode}")
            self._start_ingestor()

    @property
    def ingestor_is_starting(self) -> bool:
        """Whether it was started and has not been well since."""
        return self._ingestor_starts is not None and self._ingestor_starts.is_alive()

    def rest(self) -> None:
        """Ask the workers to end in good order."""
        for worker in self.workers:
            if (status := worker.terminate()) != 0:
                self.exits.append(f"worker {worker.process.pid} ended with {status} when asked to")

    def dismiss(self) -> None:
        """End whoever still runs."""
        self._dismissed = True
        for worker in self.workers:
            if worker.is_alive:
                worker.kill()
        self.place.ingestor.kill()
        if self._ingestor_starts is not None:
            self._ingestor_starts.join(40)
            self.place.ingestor.kill()

    def _new_worker(self) -> Worker:
        worker = Worker(self.place.settings, self.directory)
        self._born[worker.process.pid] = time.monotonic()
        return worker

    def _is_at_work(self, worker: Worker) -> bool:
        age_s = time.monotonic() - self._born.get(worker.process.pid, 0.0)
        return worker.is_alive and (worker.is_consuming or age_s > YOUNG_S)

    def _start_ingestor(self) -> None:
        self._ingestor_starts = threading.Thread(target=self._until_well, name="ingestor starts", daemon=True)
        self._ingestor_starts.start()

    def _until_well(self) -> None:
        # It is well only once the broker is there; until then it runs, and waits.
        with suppress(AssertionError):
            self.place.ingestor.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a chaos run takes place in."""

    place: Street
    broker: OwnRabbitmq
    vhost: str
    database: OwnPostgres
    database_url: str
    broker_door: Door
    staff: Staff
    shop: Shop
    ear: Ear
    directory: Path
    stopping: threading.Event

    def deliver_again(self) -> int:
        """Have the gateways deliver once more what no ingestor took; they themselves would wait for minutes."""
        count = 0
        for gateway in self.place.gateways.values():
            refused = [hook["id"] for hook in gateway.control.webhooks() if not _was_taken(hook)]
            with suppress(Refused):
                gateway.control.deliver_again(refused)
            count += len(refused)
        return count


def _was_taken(webhook: Mapping[str, Any]) -> bool:
    return any(delivery.get("status") in range(200, 300) for delivery in webhook["deliveries"])


@contextmanager
def house(directory: Path, *, seed: int, orders_per_s: float, say: Callable[[str], None]) -> Iterator[House]:
    """Start everything, and end everything."""
    with ExitStack() as stack:
        say("Starting RabbitMQ and PostgreSQL ...")
        broker = stack.enter_context(running_own_rabbitmq(say=say))
        database = stack.enter_context(running_own_postgres(say=say))
        vhost = broker.fresh_vhost()
        database_url = database.fresh_database()
        door = stack.enter_context(door_to(f"http://127.0.0.1:{broker.port}"))
        through_the_door = vhost.replace(f":{broker.port}/", f":{door.port}/")
        say("Starting the gateways, the ingestor and the workers ...")
        # Ahead of the street, so that on the way out the ear is closed while its broker is still there.
        ear = stack.enter_context(closing(Ear(vhost)))
        place = stack.enter_context(
            street(
                directory,
                broker_url=vhost,
                database_url=database_url,
                **SETTINGS,
                PAYMENTS_BROKER_URL=through_the_door,
            )
        )
        staff = Staff(place=place, directory=directory)
        stack.callback(staff.dismiss)
        staff.hire()
        eventually(
            lambda: all(w.is_consuming for w in staff.workers), within_s=60, what="the workers consume"
        )
        broker.settle()
        yield House(
            place=place,
            broker=broker,
            vhost=vhost,
            database=database,
            database_url=database_url,
            broker_door=door,
            staff=staff,
            shop=Shop(vhost, seed=seed, orders_per_s=orders_per_s),
            ear=ear,
            directory=directory,
            stopping=threading.Event(),
        )
