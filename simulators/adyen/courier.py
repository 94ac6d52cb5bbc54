"""Delivers webhooks as Adyen does: one endpoint, one queue, and what fails holds up what comes behind it.

Three tries within half a minute, then after 2, 5, 10, 15 and 30 minutes, 1, 2, 4 and 8 hours, and every
8 hours for 30 days (docs.adyen.com/development-resources/webhooks/troubleshoot), by the simulator's clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import httpx

from simulators.adyen.webhooks import Endpoint, Shelf, body_of
from simulators.clock import Clock
from simulators.store import Json

RETRY_AFTER_S = (9, 9, 9, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
GIVE_UP_AFTER_S = 30 * 24 * 3600
ANSWER_WITHIN_S = 10.0
STOP_WITHIN_S = 5.0
TICK_S = 0.1
"""How often to look whether the time of something has come, if nothing happens."""


class Courier:
    """A task on the server's loop: lets due things happen, then delivers what is to be delivered."""

    def __init__(self, shelf: Shelf, clock: Clock, *, do_what_is_due: Callable[[], None]) -> None:
        self._shelf = shelf
        self._clock = clock
        self._do_what_is_due = do_what_is_due
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._news: asyncio.Event | None = None

    def wake(self) -> None:
        """Start on the running loop, or look at once whether there is something to do."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._news = asyncio.Event()
            self._task = self._loop.create_task(self._go_about())
        if self._news is not None:
            self._news.set()

    def stop(self) -> None:
        """Deliver no more, and come back when nothing is under way: the store may be closed then.

        From another thread than the server's.
        """
        if self._loop is None or self._task is None or self._loop.is_closed():
            return
        stopping = asyncio.run_coroutine_threadsafe(_ended(self._task), self._loop)
        with suppress(TimeoutError):
            stopping.result(STOP_WITHIN_S)

    async def _go_about(self) -> None:
        assert self._news is not None
        async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            while True:
                self._news.clear()
                self._do_what_is_due()
                while await self._delivered(client):
                    pass
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), TICK_S)

    async def _delivered(self, client: httpx.AsyncClient) -> bool:
        """Deliver one body, if one is due; whether there may be more to do at once."""
        endpoint, now = self._shelf.endpoint, self._clock.now()
        if endpoint.url is None or endpoint.is_paused:
            return False
        queue = _in_order(self._shelf.waiting(), endpoint)
        due = [waiting for waiting in queue if waiting["not_before"] <= now]
        is_held_up = any(waiting["failures"] and waiting["not_before"] > now for waiting in queue)
        if not due or is_held_up:
            return False
        batch = due[: endpoint.batch]
        body = body_of([self._shelf.get(waiting["id"])["item"] for waiting in batch], endpoint)
        statuses = [await _posted(client, endpoint, endpoint.url, body) for _ in range(endpoint.copies)]
        was_accepted = any(status is not None and 200 <= status < 300 for status in statuses)
        for waiting in batch:
            for status in statuses:
                self._shelf.tried(waiting["id"], at=now, status=status)
            self._settle(waiting, was_accepted=was_accepted, now=now)
        return was_accepted

    def _settle(self, waiting: Json, *, was_accepted: bool, now: float) -> None:
        failures = waiting["failures"]
        if was_accepted or now - waiting["since"] > GIVE_UP_AFTER_S:
            self._shelf.done_with(waiting["id"])
            return
        pause = RETRY_AFTER_S[min(failures, len(RETRY_AFTER_S) - 1)]
        self._shelf.wait(waiting["id"], not_before=now + pause, failures=failures + 1, since=waiting["since"])


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _in_order(waiting: list[Json], endpoint: Endpoint) -> list[Json]:
    match endpoint.order:
        case "last_to_first":
            return waiting[::-1]
        case "shuffled":
            return random.sample(waiting, len(waiting))
        case "first_to_last":
            return waiting


async def _posted(client: httpx.AsyncClient, endpoint: Endpoint, url: str, body: Json) -> int | None:
    try:
        answer = await client.post(url, json=body, auth=(endpoint.username, endpoint.password))
    except httpx.HTTPError:
        return None
    return answer.status_code
