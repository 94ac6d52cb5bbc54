"""What can be away, and how: each outage begins, lasts a while, and is healed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ledger.reading import reading, rows
from tests.chaos_real.house import House

LOST_ANSWERS = (
    "drop_after_executing",
    "drop_before",
    "error_500_after",
    "error_500_before",
    "html_502_after",
    "rate_limit_429",
)
CALLS = 400
"""More than are made while a gateway goes wrong."""
SLOWER_THAN_PATIENCE_S = 3.5
"""The adapters on the street give up after two seconds."""
CUTS = 3
BURST = 40
"""Sales taken in at once just before the broker's line is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One kind of outage: how long it lasts, in seconds, and what is done."""

    name: str
    shortest_s: float
    longest_s: float
    under_way: Callable[[House, random.Random, float], None]
    """Does it, for so many seconds, and heals it."""


class NoEffect(Exception):
    """An outage that was to be did not come about; the text says which."""


def _wait(house: House, seconds: float) -> None:
    house.stopping.wait(seconds)


@contextmanager
def _healed(*heal: Callable[[], object]) -> Iterator[None]:
    try:
        yield
    finally:
        for mend in heal:
            mend()


def _broker_stopped(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(house.broker.start):
        house.broker.stop()
        _wait(house, seconds)


def _broker_killed(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(house.broker.start):
        house.broker.kill()
        _wait(house, seconds)


def _broker_paused(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(house.broker.resume):
        house.broker.pause()
        _wait(house, seconds)


def _broker_connections_cut(house: House, chance: random.Random, seconds: float) -> None:
    before = house.ear.reconnections
    for _ in range(CUTS):
        house.broker.ctl("close_all_connections", "--global", "chaos")
        _wait(house, seconds / CUTS)
    if house.ear.reconnections == before:
        raise NoEffect("no connection to the broker was cut")


def _broker_memory_alarm(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(lambda: house.broker.ctl("set_vm_memory_high_watermark", "0.4")):
        house.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        _wait(house, seconds)
        if "memory" not in house.broker.ctl("eval", "rabbit_alarm:get_alarms()."):
            raise NoEffect("the broker gave no memory alarm")


def _database_stopped(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(house.database.start):
        house.database.stop()
        _wait(house, seconds)


def _database_killed(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(house.database.start):
        house.database.kill()
        _wait(house, seconds)


def _database_paused(house: House, chance: random.Random, seconds: float) -> None:
    with _healed(house.database.resume):
        house.database.pause()
        _wait(house, seconds)


def _database_connections_cut(house: House, chance: random.Random, seconds: float) -> None:
    cut = 0
    for _ in range(CUTS):
        gone = house.database.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()",
            url=house.database_url,
        )
        cut += len(gone)
        _wait(house, seconds / CUTS)
    if cut == 0:
        raise NoEffect("no connection to the database was cut")


def _gateways_slow(house: House, chance: random.Random, seconds: float) -> None:
    controls = [gateway.control for gateway in house.place.gateways.values()]
    with _healed(*(control.clear_faults for control in controls)):
        for control in controls:
            control.arm("slow", times=CALLS, seconds=SLOWER_THAN_PATIENCE_S)
        _wait(house, seconds)


def _answers_lost(house: House, chance: random.Random, seconds: float) -> None:
    controls = [gateway.control for gateway in house.place.gateways.values()]
    with _healed(*(control.clear_faults for control in controls)):
        for control in controls:
            for _ in range(CALLS // 4):
                control.arm(chance.choice(LOST_ANSWERS), times=chance.randrange(1, 4))
        _wait(house, seconds)


def _gateways_unreachable(house: House, chance: random.Random, seconds: float) -> None:
    doors = [gateway.door for gateway in house.place.gateways.values()]
    with _healed(*(door.open for door in doors)):
        for door in doors:
            door.shut()
        _wait(house, seconds)


def _outbox_full(house: House, chance: random.Random, seconds: float) -> None:
    """Many commands are taken in; then the line to the broker is gone, and their events have to wait."""
    with _healed(house.broker_door.open):
        burst = house.shop.order_now(BURST)
        for _ in range(100):
            if house.stopping.is_set() or _taken_in(house, burst):
                break
            _wait(house, 0.05)
        house.broker_door.shut()
        _wait(house, seconds)


def _taken_in(house: House, payment_ids: list[str]) -> bool:
    """Whether most of them are in the books by now."""
    asked = "SELECT count(*) FROM payments WHERE payment_id = ANY(:ids)"
    with reading(house.database_url) as books:
        (found,) = rows(books, asked, ids=payment_ids)
    return int(found[0]) >= len(payment_ids) // 2


def _outage(name: str, shortest_s: float, longest_s: float, under_way: Callable[..., None]) -> Outage:
    return Outage(name=name, shortest_s=shortest_s, longest_s=longest_s, under_way=under_way)


OUTAGES = (
    _outage("broker stopped", 1, 4, _broker_stopped),
    _outage("broker killed", 1, 4, _broker_killed),
    _outage("broker paused", 3, 10, _broker_paused),
    _outage("broker connections cut", 2, 5, _broker_connections_cut),
    _outage("broker memory alarm", 4, 8, _broker_memory_alarm),
    _outage("database stopped", 2, 6, _database_stopped),
    _outage("database killed", 2, 6, _database_killed),
    _outage("database paused", 3, 10, _database_paused),
    _outage("database connections cut", 2, 5, _database_connections_cut),
    _outage("gateways slow", 4, 8, _gateways_slow),
    _outage("gateways' answers lost", 4, 8, _answers_lost),
    _outage("gateways unreachable", 3, 6, _gateways_unreachable),
    _outage("outbox full", 4, 8, _outbox_full),
)
"""Every kind of outage there is."""
