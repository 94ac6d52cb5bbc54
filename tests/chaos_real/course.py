"""The course of a chaos run: kills and outages at random, then rest. What is random is decided by the seed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from amqp.exceptions import AMQPError

from ledger.errors import LedgerError
from tests.chaos_real.gathering import unpublished, what_waits
from tests.chaos_real.house import House
from tests.chaos_real.judge import ENDS_OF_PAYMENTS
from tests.chaos_real.outages import Outage
from tests.servers import NoServer

TICK_S = 0.1
RECOVERS_WITHIN_S = 90.0
DELIVER_AGAIN_EVERY_S = 8.0
LOOK_EVERY_S = 2.0
OVERTIME = 1.5
"""Kills that could not be made in time may take so much longer than planned, as a factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much there is to be, and how long it may take."""

    kills: int
    seconds: float
    seed: int
    outages: Sequence[Outage]
    pause_s: tuple[float, float] = (3.0, 7.0)
    """Between the recovery from one outage and the next, at least and at most."""
    rest_within_s: float = 240.0


@dataclass(slots=True, kw_only=True)
class Figures:
    """What has happened."""

    outages: Counter[str] = field(default_factory=Counter)
    recoveries_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From the end of an outage until a payment asked for right then has succeeded."""
    unrecovered: list[str] = field(default_factory=list)
    most_unpublished: int = 0
    lasted_s: float = 0.0
    rested_after_s: float | None = None
    """From the end of the last disturbance until nothing waited any more; None: it never did."""
    left_waiting: dict[str, int] = field(default_factory=dict)


class Course:
    """One run in a house."""

    def __init__(self, house: House, bounds: Bounds, *, progress: Callable[[str], None]) -> None:
        self._house = house
        self._bounds = bounds
        self._progress = progress
        self._chance = random.Random(f"kills {bounds.seed}")
        self._began = time.monotonic()
        self._now = "nothing"
        self._failures: list[BaseException] = []
        self.figures = Figures()

    def run(self) -> Figures:
        """Sell, kill and break until everything has been done, heal it all, and wait until it has come to rest."""
        house, figures = self._house, self.figures
        house.shop.open()
        threads = [
            threading.Thread(target=self._guarded, args=(what,), name=what.__name__, daemon=True)
            for what in (self._break_things, self._deliver_again, self._watch_the_outbox)
        ]
        for thread in threads:
            thread.start()
        try:
            self._kill_at_random(threads[0])
        finally:
            house.stopping.set()
            for thread in threads:
                thread.join(RECOVERS_WITHIN_S + 60)
            house.broker.ensure_running()
            house.database.ensure_running()
        if self._failures:
            raise self._failures[0]
        figures.lasted_s = time.monotonic() - self._began
        self._come_to_rest()
        return figures

    def _guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except BaseException as error:
            self._failures.append(error)

    # --- kills ---

    def _kill_at_random(self, outages: threading.Thread) -> None:
        bounds, staff = self._bounds, self._house.staff
        latest = bounds.seconds * 0.97
        times = sorted((self._chance.uniform(1.0, latest) for _ in range(bounds.kills)), reverse=True)
        while not self._failures:
            passed = self._passed()
            is_over = passed > bounds.seconds and not times and not outages.is_alive()
            if is_over or passed > bounds.seconds * OVERTIME + RECOVERS_WITHIN_S:
                return
            staff.supervise()
            if times and times[-1] <= passed and staff.kill_one(self._chance):
                times.pop()
            self._tell()
            time.sleep(TICK_S)

    def _passed(self) -> float:
        return time.monotonic() - self._began

    def _tell(self) -> None:
        staff, shop = self._house.staff, self._house.shop
        settled = len({e.body["payment_id"] for e in self._house.ear.heard if e.type in ENDS_OF_PAYMENTS})
        self._progress(
            f"{self._passed():4.0f} s  kills {staff.kills.total()}  outages {self.figures.outages.total()}  "
            f"commands {len(shop.asked)}  payments settled {settled}  now: {self._now}"
        )

    # --- outages ---

    def _break_things(self) -> None:
        bounds, stopping = self._bounds, self._house.stopping
        chance = random.Random(f"outages {bounds.seed}")
        stopping.wait(min(2.0, bounds.pause_s[0]))
        for outage in self._kinds(chance):
            if stopping.is_set():
                return
            self._now = outage.name
            outage.under_way(self._house, chance, chance.uniform(outage.shortest_s, outage.longest_s))
            self._now = f"recovers from {outage.name}"
            self._recovery(outage.name)
            self.figures.outages[outage.name] += 1
            self._now = "nothing away"
            stopping.wait(chance.uniform(*bounds.pause_s))

    def _kinds(self, chance: random.Random) -> Iterator[Outage]:
        """Every kind once, however long that takes; then again in another order while there is time."""
        kinds = list(self._bounds.outages)
        rounds = 0
        while kinds:
            chance.shuffle(kinds)
            for outage in kinds:
                if rounds and self._passed() > self._bounds.seconds:
                    return
                yield outage
            rounds += 1
            if self._passed() > self._bounds.seconds:
                return

    def _recovery(self, name: str) -> None:
        """Time how long a payment takes that is asked for now."""
        house, healed_at = self._house, time.monotonic()
        (payment_id,) = house.shop.order_now()
        while time.monotonic() - healed_at < RECOVERS_WITHIN_S:
            heard_at = house.ear.heard_at("PaymentSucceeded", payment_id)
            if heard_at is not None:
                self.figures.recoveries_s[name].append(round(heard_at - healed_at, 2))
                return
            if house.stopping.wait(0.02):
                return
        self.figures.unrecovered.append(f"{payment_id} after {name}")

    def _watch_the_outbox(self) -> None:
        while not self._house.stopping.wait(LOOK_EVERY_S):
            with suppress(LedgerError):
                waiting = unpublished(self._house)
                self.figures.most_unpublished = max(self.figures.most_unpublished, waiting)

    def _deliver_again(self) -> None:
        while not self._house.stopping.wait(DELIVER_AGAIN_EVERY_S):
            self._house.deliver_again()

    # --- rest ---

    def _come_to_rest(self) -> None:
        """Wait until every command has ended and nothing waits anywhere; bounded."""
        house, figures = self._house, self.figures
        self._now = "coming to rest"
        began = time.monotonic()
        house.shop.close(within_s=self._bounds.rest_within_s)
        while (left := time.monotonic() - began) < self._bounds.rest_within_s:
            house.staff.supervise()
            house.deliver_again()
            figures.left_waiting = self._what_waits()
            if not figures.left_waiting:
                figures.rested_after_s = round(left, 1)
                break
            self._tell()
            time.sleep(LOOK_EVERY_S)
        house.staff.rest()
        self._hear_the_rest()

    def _what_waits(self) -> dict[str, int]:
        try:
            return what_waits(self._house)
        except (LedgerError, AMQPError, NoServer, OSError) as error:
            return {f"cannot look: {type(error).__name__}": 1}

    def _hear_the_rest(self) -> None:
        """What the workers published at the very end is on its way to the ear."""
        quiet_since, known = time.monotonic(), len(self._house.ear.heard)
        while time.monotonic() - quiet_since < LOOK_EVERY_S:
            if len(self._house.ear.heard) != known:
                quiet_since, known = time.monotonic(), len(self._house.ear.heard)
            time.sleep(TICK_S)
