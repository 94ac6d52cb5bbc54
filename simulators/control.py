"""The control interface every simulator offers beside its gateway's API; no gateway has anything like it.

| call                      | does                                                                       |
|---------------------------|----------------------------------------------------------------------------|
| `GET /_control/faults`    | lists the armed faults                                                     |
| `POST /_control/faults`   | arms one: `{fault, times, seconds, match}`; `match` as `faults.Match`      |
| `DELETE /_control/faults` | disarms all                                                                |
| `GET /_control/clock`     | tells the simulator's time: `{now, ahead_s}`                               |
| `POST /_control/clock`    | moves it ahead: `{advance_s}`                                              |
| `POST /_control/decide`   | ends what is under way: `{reference, decision}`, `succeed` or `fail`       |
| `GET /_control/record`    | every movement of money really executed, first to last; any field filters  |
| `GET /_control/events`    | every change of state, first to last: `{at, type, id}`                     |
| `GET /_control/requests`  | how often each endpoint and idempotency key was seen and executed          |

Answers are JSON; what cannot be done is 400 with `{"error": why}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from simulators.clock import Clock
from simulators.faults import DEFAULT_SECONDS, FaultBox, Match
from simulators.statistics import Statistics
from simulators.store import Json


class Controlled(Protocol):
    """What a simulator shows to the control interface."""

    @property
    def faults(self) -> FaultBox: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def statistics(self) -> Statistics: ...

    def advance(self, seconds: float) -> None:
        """Move the clock ahead and do what falls due."""

    def decide(self, reference: str, decision: Literal["succeed", "fail"]) -> None:
        """End a payment or refund that is under way. Raises ValueError if it is not."""

    def record(self) -> list[Json]:
        """Movements of money, first to last."""

    def events(self) -> list[Json]:
        """Changes of state, first to last."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Match(_Asked):
    method: str | None = None
    path: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    token: str | None = None
    idempotency_key: str | None = None


class _Fault(_Asked):
    fault: str
    times: int = 1
    seconds: float = DEFAULT_SECONDS
    match: _Match = Field(default_factory=_Match)


class _Advance(_Asked):
    advance_s: float


class _Decision(_Asked):
    reference: str
    decision: Literal["succeed", "fail"]


def control_mount(simulator: Controlled) -> Mount:
    """Serve the control interface of a simulator under `/_control`."""

    async def faults(request: Request) -> object:
        if request.method == "DELETE":
            simulator.faults.clear()
        if request.method != "POST":
            return [asdict(armed) for armed in simulator.faults.armed()]
        asked = _Fault.model_validate_json(await request.body())
        match = Match(**asked.match.model_dump())
        return asdict(
            simulator.faults.arm(asked.fault, times=asked.times, seconds=asked.seconds, match=match)
        )

    async def clock(request: Request) -> object:
        if request.method == "POST":
            simulator.advance(_Advance.model_validate_json(await request.body()).advance_s)
        return {"now": simulator.clock.now(), "ahead_s": simulator.clock.ahead_s}

    async def decide(request: Request) -> object:
        asked = _Decision.model_validate_json(await request.body())
        simulator.decide(asked.reference, asked.decision)
        return {}

    async def record(request: Request) -> object:
        wanted = dict(request.query_params)
        return [line for line in simulator.record() if all(str(line[k]) == v for k, v in wanted.items())]

    async def events(request: Request) -> object:
        return simulator.events()

    async def requests(request: Request) -> object:
        return simulator.statistics.as_json()

    return Mount(
        "/_control",
        routes=[
            Route("/faults", _as_json(faults), methods=["GET", "POST", "DELETE"]),
            Route("/clock", _as_json(clock), methods=["GET", "POST"]),
            Route("/decide", _as_json(decide), methods=["POST"]),
            Route("/record", _as_json(record), methods=["GET"]),
            Route("/events", _as_json(events), methods=["GET"]),
            Route("/requests", _as_json(requests), methods=["GET"]),
        ],
    )


def _as_json(answer: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except ValidationError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (ValueError, KeyError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=400)

    return endpoint
