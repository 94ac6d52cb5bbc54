"""The control interface from the other side, with what only Adyen's simulator has: webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulators.control_client import ControlClient


class AdyenControlClient(ControlClient):
    """Speak to an Adyen simulator's control interface."""

    def webhooks(self) -> list[dict[str, Any]]:
        """Every webhook, first to last, delivered or not: `{id, at, item, body, deliveries}`."""
        webhooks: list[dict[str, Any]] = self._call("GET", "/webhooks/")
        return webhooks

    def deliver(self, **endpoint: object) -> dict[str, Any]:
        """Change where webhooks go and how; the fields are those of `simulators.adyen.webhooks.Endpoint`."""
        told: dict[str, Any] = self._call("POST", "/webhooks/endpoint", endpoint)
        return told

    def deliver_again(self, ids: Sequence[str]) -> None:
        """Deliver some once more, in this order."""
        self._call("POST", "/webhooks/again", {"ids": list(ids)})
