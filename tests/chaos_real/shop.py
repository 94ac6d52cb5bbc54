"""The shop of a chaos run: a steady flow of orders over three gateways, all of it decided by the seed.

It publishes as a good neighbour does: what was not confirmed is published again, under the same ids.
"""

from __future__ import annotations

import heapq
import json
import random
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from consumers.delivery import BusDown, BusRefused
from ops.publish import CommandLine, NotPublished, publish
from tests.chaos_real.evidence import Asked
from tests.street.street import CARDS

STORIES = {
    "sale": 40,
    "sale and refund": 22,
    "hold and capture": 14,
    "hold and capture a part": 8,
    "hold and void": 8,
    "hold": 2,
    "called off": 6,
}
"""What becomes of an order, and how often, in percent."""

TWICE = 0.1
"""So many commands are published twice, as after a lost confirm."""
BEAT_S = 0.4
CURRENCY = "EUR"


class Shop:
    """Publishes what its orders ask for, when it is due."""

    def __init__(self, url: str, *, seed: int, orders_per_s: float) -> None:
        self._url = url
        self._chance = random.Random(f"orders {seed}")
        self._pause_s = 1 / orders_per_s
        self._prefix = f"c{seed}"
        self._due: list[tuple[float, int, CommandLine]] = []
        self._numbers = count(1)
        self._commands = count(1)
        self._places = count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._closed = threading.Event()
        self.asked: list[Asked] = []
        self.repeats = 0
        self.not_confirmed = 0
        """How often a portion had to be published again."""
        self._thread = threading.Thread(target=self._run, name="shop", daemon=True)

    def open(self) -> None:
        """Begin to sell."""
        self._thread.start()

    def close(self, *, within_s: float) -> bool:
        """Take no more orders and publish what is left; whether that could be done in time."""
        self._closed.set()
        self._thread.join(within_s)
        done = not self._thread.is_alive()
        self._stop.set()
        return done

    def order_now(self, count_: int = 1) -> list[str]:
        """Sales beside the steady flow, published at once; gives their payment ids."""
        with self._lock:
            return [self._sale(gateway) for gateway in self._chance.choices(list(CARDS), k=count_)]

    # --- what is asked for ---

    def _order(self) -> None:
        chance = self._chance
        (story,) = chance.choices(list(STORIES), weights=list(STORIES.values()))
        gateway = list(CARDS)[next(self._numbers) % len(CARDS)]
        minor = chance.randrange(200, 100_000)
        later_s = chance.uniform(0.0, 4.0)
        match story:
            case "sale" | "sale and refund":
                payment_id = self._sale(gateway, minor)
                if story == "sale and refund":
                    self._refunds(payment_id, gateway, minor, later_s)
            case "called off":
                payment_id = self._sale(gateway, minor)
                self._ask("VoidRequested", payment_id, gateway, after_s=chance.uniform(0.0, 0.8))
            case _:
                payment_id = self._payment(gateway, minor, capture="manual")
                if story == "hold and void":
                    self._ask("VoidRequested", payment_id, gateway, after_s=later_s)
                elif story != "hold":
                    part = minor if story == "hold and capture" else chance.randrange(100, minor)
                    self._capture(payment_id, gateway, part, later_s)

    def _sale(self, gateway: str, minor: int = 1_000) -> str:
        return self._payment(gateway, minor, capture="automatic")

    def _payment(self, gateway: str, minor: int, *, capture: str) -> str:
        payment_id = f"{self._prefix}-{gateway[0]}{next(self._numbers):05d}"
        self._ask(
            "PaymentRequested",
            payment_id,
            gateway,
            minor=minor,
            order_id=f"order-{payment_id}",
            payment_method={"token": CARDS[gateway], "gateway": gateway},
            customer_id="customer-1001",
            return_url="https://shop.example/return",
            capture=capture,
        )
        return payment_id

    def _capture(self, payment_id: str, gateway: str, minor: int, after_s: float) -> None:
        capture_id = f"cap-{payment_id}"
        self._ask(
            "CaptureRequested", payment_id, gateway, minor=minor, after_s=after_s, capture_id=capture_id
        )
        if self._chance.random() < 0.3:
            self._refunds(payment_id, gateway, minor, after_s + self._chance.uniform(0.0, 3.0))

    def _refunds(self, payment_id: str, gateway: str, taken: int, after_s: float) -> None:
        """One refund or two; two may ask for more than was taken, and then one of them is refused."""
        for number in range(self._chance.choice((1, 1, 2))):
            self._ask(
                "RefundRequested",
                payment_id,
                gateway,
                minor=self._chance.randrange(1, taken + 1),
                after_s=after_s + number * self._chance.uniform(0.0, 2.0),
                refund_id=f"ref-{payment_id}-{number + 1}",
            )

    def _ask(
        self, kind: str, payment_id: str, gateway: str, *, minor: int = 0, after_s: float = 0, **fields: Any
    ) -> None:
        copies = 2 if self._chance.random() < TWICE else 1
        amount = {"amount": {"minor": minor, "currency": CURRENCY}} if minor else {}
        line = CommandLine(
            id=f"{self._prefix}-msg-{next(self._commands):05d}",
            type=kind,
            source="/chaos-shop",
            data=json.dumps({"payment_id": payment_id, **amount, **fields}).encode(),
        )
        self.repeats += copies - 1
        for _ in range(copies):
            heapq.heappush(self._due, (time.monotonic() + after_s, next(self._places), line))
            after_s += self._chance.uniform(0.0, 6.0)
        self.asked.append(
            Asked(
                command_id=line.id,
                kind=kind,
                payment_id=payment_id,
                gateway=gateway,
                minor=minor,
                part_id=fields.get("capture_id") or fields.get("refund_id"),
                copies=copies,
            )
        )

    # --- how it is published ---

    def _run(self) -> None:
        next_order = time.monotonic()
        while not self._stop.is_set():
            with self._lock:
                now = time.monotonic()
                # After an outage of the broker customers do not all come at once: those are lost to the shop.
                next_order = max(next_order, now - 2.0)
                while next_order <= now and not self._closed.is_set():
                    self._order()
                    next_order += self._pause_s
                if self._closed.is_set() and not self._due:
                    return
                portion = self._take(now)
            if portion:
                self._publish(portion, lambda: not self._stop.is_set())
            self._stop.wait(BEAT_S)

    def _take(self, now: float) -> list[CommandLine]:
        portion = []
        while self._due and self._due[0][0] <= now:
            portion.append(heapq.heappop(self._due)[2])
        return portion

    def _publish(self, portion: list[CommandLine], may_go_on: Callable[[], bool]) -> None:
        while may_go_on():
            try:
                publish([self._url], portion)
                return
            except (NotPublished, BusDown, BusRefused):
                self.not_confirmed += 1
                time.sleep(BEAT_S)
