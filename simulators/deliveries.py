"""Webhooks of any simulator: the shelf they lie on for ever, and the courier who takes them to the shop.

A simulator says what is told (`PostOffice.put`) and how that is written and signed (`Pack`); the rest is the same
for all of them, and so is this part of the control interface:

| call                               | does                                                                     |
|------------------------------------|--------------------------------------------------------------------------|
| `GET /_control/webhooks`           | every webhook, first to last: `{id, at, content, body, deliveries}`      |
| `GET /_control/webhooks/endpoint`  | tells where webhooks go, and how                                         |
| `POST /_control/webhooks/endpoint` | changes some of that: the fields of `Endpoint`, and the gateway's own    |
| `POST /_control/webhooks/again`    | delivers some once more, in this order: `{ids}`                          |
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators.clock import Clock
from simulators.store import Json, Store

ANSWER_WITHIN_S = 10.0
STOP_WITHIN_S = 5.0
TICK_S = 0.1
"""How often to look whether the time of something has come, if nothing happens."""


class Endpoint(BaseModel):
    """Where webhooks go, and how badly; a gateway adds its secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(default=None, pattern="^https?://[^/]")
    """None: nothing is delivered, everything waits."""
    signature: Literal["good", "wrong", "missing"] = "good"
    is_paused: bool = False
    order: Literal["first_to_last", "last_to_first", "shuffled"] = "first_to_last"
    copies: int = Field(default=1, ge=1, le=10)
    delay_s: float = Field(default=0.0, ge=0)
    """Between what happened and its delivery, by the simulator's clock."""


class BatchedEndpoint(Endpoint):
    """For a gateway that writes several notices in one body."""

    batch: int = Field(default=1, ge=1, le=100)
    """Notices in one body at most."""


E = TypeVar("E", bound=Endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One delivery: the bytes, and the headers that vouch for them."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


Pack = Callable[[Sequence[Json], E], Parcel]
"""Writes and signs what is to be delivered, at the moment it is: one content, or a batch of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a gateway does when a delivery is not answered by a 2xx."""

    pauses_s: tuple[float, ...]
    """Before each next try, by the simulator's clock; the last one again and again."""
    give_up_after_s: float
    one_by_one: bool
    """What fails holds up everything behind it."""


class PostOffice(Generic[E]):
    """All webhooks there ever were, those that still wait, and a task on the server's loop that delivers them."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        endpoint: E,
        pack: Pack[E],
        patience: Patience,
        do_what_is_due: Callable[[], None],
    ) -> None:
        """`endpoint` holds until another is kept in the store; `do_what_is_due` is called at every look round."""
        self._store = store
        self._clock = clock
        self._pack = pack
        self._patience = patience
        self._do_what_is_due = do_what_is_due
        kept = store.get("endpoint", "endpoint")
        self.endpoint: E = type(endpoint).model_validate(kept) if kept else endpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    # --- the shelf -----------------------------------------------------------------------------------

    def put(self, content: Json, *, id: str | None = None) -> None:
        """Put a webhook on the shelf, to be delivered when its time has come; without an id it is numbered."""
        number = (self._store.get("webhooks", "count") or {"count": 0})["count"] + 1
        self._store.put("webhooks", "count", {"count": number})
        id, now = id or f"webhook_{number}", self._clock.now()
        self._store.put("webhook", id, {"id": id, "at": now, "content": content, "deliveries": []})
        self._wait(id, not_before=now + self.endpoint.delay_s)

    def all(self) -> list[Json]:
        """Every webhook, first to last, with the body as it is delivered on its own."""
        return [{**webhook, "body": self._alone(webhook)} for webhook in self._of("webhook")]

    def change_endpoint(self, changes: Mapping[str, object]) -> None:
        """Deliver there from now on, what waits included. Raises ValueError for what an endpoint cannot be."""
        self.endpoint = type(self.endpoint).model_validate({**self.endpoint.model_dump(), **changes})
        self._store.put("endpoint", "endpoint", self.endpoint.model_dump())
        self.wake()

    def again(self, ids: Sequence[str]) -> None:
        """Deliver some once more, in this order. Raises ValueError for an id that no webhook has."""
        for id in ids:
            self._get(id)
            self._store.delete("waiting", id)
            self._wait(id, not_before=self._clock.now())
        self.wake()

    def _alone(self, webhook: Json) -> object:
        return json.loads(self._pack([webhook["content"]], self.endpoint).body)

    def _of(self, kind: str) -> list[Json]:
        return list(self._store.newest_first(kind))[::-1]

    def _get(self, id: str) -> Json:
        webhook = self._store.get("webhook", id)
        if webhook is None:
            raise ValueError(f"there is no webhook {id}")
        return webhook

    def _wait(self, id: str, *, not_before: float, failures: int = 0, since: float | None = None) -> None:
        waiting = {"id": id, "not_before": not_before, "failures": failures, "since": since or not_before}
        self._store.put("waiting", id, waiting)

    # --- the courier ---------------------------------------------------------------------------------

    def wake(self) -> None:
        """Start on the running loop, or look at once whether there is something to do; without a loop, nothing.

        Raises whatever ended the task, if something has.
        """
        if self._task is None:
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                return
            self._task = self._loop.create_task(self._go_about())
        if self._task.done():
            self._task.result()
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
        async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            while True:
                self._news.clear()
                self._do_what_is_due()
                await self._go_round(client)
                # Not wait_for: on Python 3.11 it may swallow a cancellation that comes together with the news.
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._news.wait()

    async def _go_round(self, client: httpx.AsyncClient) -> None:
        """Deliver what is due, until the endpoint is changed or what failed holds up the rest."""
        endpoint, now = self.endpoint, self._clock.now()
        if endpoint.url is None or endpoint.is_paused:
            return
        waiting = self._of("waiting")
        if self._patience.one_by_one and any(w["failures"] and w["not_before"] > now for w in waiting):
            return
        due = _in_order([w for w in waiting if w["not_before"] <= now], endpoint)
        size = endpoint.batch if isinstance(endpoint, BatchedEndpoint) else 1
        for start in range(0, len(due), size):
            if self.endpoint is not endpoint:
                return
            was_accepted = await self._deliver(client, due[start : start + size], endpoint)
            if self._patience.one_by_one and not was_accepted:
                return

    async def _deliver(self, client: httpx.AsyncClient, batch: list[Json], endpoint: E) -> bool:
        assert endpoint.url is not None
        sent_at = self._clock.now()
        contents = [self._get(waiting["id"])["content"] for waiting in batch]
        parcel = self._pack(contents, endpoint)
        statuses = [await _posted(client, endpoint.url, parcel) for _ in range(endpoint.copies)]
        was_accepted = any(status is not None and 200 <= status < 300 for status in statuses)
        for waiting in batch:
            self._settle(waiting, statuses, was_accepted=was_accepted, sent_at=sent_at)
        return was_accepted

    def _settle(
        self, waiting: Json, statuses: list[int | None], *, was_accepted: bool, sent_at: float
    ) -> None:
        id, failures = waiting["id"], waiting["failures"]
        webhook = self._get(id)
        webhook["deliveries"] += [{"at": sent_at, "status": status} for status in statuses]
        self._store.put("webhook", id, webhook)
        if self._store.get("waiting", id) != waiting:
            return  # asked for again while it was under way
        if was_accepted or sent_at - waiting["since"] > self._patience.give_up_after_s:
            self._store.delete("waiting", id)
            return
        pauses = self._patience.pauses_s
        pause = pauses[min(failures, len(pauses) - 1)]
        self._wait(id, not_before=sent_at + pause, failures=failures + 1, since=waiting["since"])


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


async def _posted(client: httpx.AsyncClient, url: str, parcel: Parcel) -> int | None:
    """The status of the answer; None: there was none."""
    headers = {"Content-Type": "application/json", **parcel.headers}
    try:
        answer = await client.post(url, content=parcel.body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return answer.status_code


# --- the control interface ---------------------------------------------------------------------------


class _Again(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[str]


def webhook_routes(office: PostOffice[Any]) -> list[Route]:
    """Serve the webhooks' part of the control interface; to stand before `simulators.control.control_mount`."""

    async def webhooks(request: Request) -> object:
        return office.all()

    async def endpoint(request: Request) -> object:
        if request.method == "POST":
            changes = json.loads(await request.body())
            if not isinstance(changes, dict):
                raise ValueError("the fields to change, as one object")
            office.change_endpoint(changes)
        return office.endpoint.model_dump()

    async def again(request: Request) -> object:
        office.again(_Again.model_validate_json(await request.body()).ids)
        return {}

    return [
        *(Route(f"/_control/webhooks{slash}", _as_json(webhooks), methods=["GET"]) for slash in ("", "/")),
        Route("/_control/webhooks/endpoint", _as_json(endpoint), methods=["GET", "POST"]),
        Route("/_control/webhooks/again", _as_json(again), methods=["POST"]),
    ]


def _as_json(answer: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except ValueError as error:  # pydantic's and json's are of this kind
            return JSONResponse({"error": str(error)}, status_code=400)

    return page
