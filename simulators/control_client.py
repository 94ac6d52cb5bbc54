"""The control interface from the other side: what a test says to a simulator, and asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx


class Refused(RuntimeError):
    """The simulator cannot do what the control call asked."""


class ControlClient:
    """Speak to a simulator's control interface at `url`, which ends in `/_control`."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def arm(
        self,
        fault: str,
        *,
        times: int = 1,
        seconds: float | None = None,
        match: Mapping[str, object] | None = None,
    ) -> None:
        """Let the next `times` calls that match go wrong; `match` as in `simulators.control`."""
        asked: dict[str, object] = {"fault": fault, "times": times, "match": dict(match or {})}
        self._call("POST", "/faults", asked if seconds is None else {**asked, "seconds": seconds})

    def faults(self) -> list[dict[str, Any]]:
        """What is still armed."""
        faults: list[dict[str, Any]] = self._call("GET", "/faults")
        return faults

    def clear_faults(self) -> None:
        """Disarm everything."""
        self._call("DELETE", "/faults")

    def advance_clock(self, seconds: float) -> None:
        """Move the simulator's clock ahead."""
        self._call("POST", "/clock", {"advance_s": seconds})

    def now(self) -> float:
        """The simulator's time, seconds since 1970 UTC."""
        return float(self._call("GET", "/clock")["now"])

    def decide(self, reference: str, decision: Literal["succeed", "fail"]) -> None:
        """End a payment or refund that is under way."""
        self._call("POST", "/decide", {"reference": reference, "decision": decision})

    def record(self, **wanted: str) -> list[dict[str, Any]]:
        """Movements of money really executed, first to last, whose fields are as wanted."""
        record: list[dict[str, Any]] = self._call("GET", "/record", params=wanted)
        return record

    def events(self) -> list[dict[str, Any]]:
        """Changes of state, first to last."""
        events: list[dict[str, Any]] = self._call("GET", "/events")
        return events

    def requests(self) -> dict[str, Any]:
        """How often each endpoint and idempotency key was seen and executed."""
        requests: dict[str, Any] = self._call("GET", "/requests")
        return requests

    def webhooks(self) -> list[dict[str, Any]]:
        """Every webhook, first to last, delivered or not: `{id, at, content, body, deliveries}`."""
        webhooks: list[dict[str, Any]] = self._call("GET", "/webhooks/")
        return webhooks

    def deliver(self, **endpoint: object) -> dict[str, Any]:
        """Change where webhooks go and how: the fields of `simulators.deliveries.Endpoint`, and the gateway's own."""
        told: dict[str, Any] = self._call("POST", "/webhooks/endpoint", endpoint)
        return told

    def deliver_again(self, ids: Sequence[str]) -> None:
        """Deliver some once more, in this order."""
        self._call("POST", "/webhooks/again", {"ids": list(ids)})

    def _call(
        self, method: str, path: str, body: object = None, *, params: Mapping[str, str] | None = None
    ) -> Any:
        answer = self._http.request(method, path, json=body, params=params)
        if answer.status_code != 200:
            raise Refused(f"{method} {path}: {answer.json()['error']}")
        return answer.json()
