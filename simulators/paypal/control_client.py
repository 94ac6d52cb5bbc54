"""The control interface from the other side, with what only PayPal's simulator has."""

from __future__ import annotations

from typing import Any

from simulators.control_client import ControlClient
from simulators.paypal.by_hand import Action


class PaypalControlClient(ControlClient):
    """Speak to a PayPal simulator's control interface."""

    def authority(self) -> str:
        """The certificate (PEM) of the authority behind the webhooks' signatures."""
        return str(self._call("GET", "/webhooks/authority")["pem"])

    def by_hand(self, action: Action, id: str, *, value: str | None = None) -> dict[str, Any]:
        """Act as somebody in PayPal's pages, on an authorization or a capture; give what came of it.

        Raises Refused for what PayPal does not allow.
        """
        done: dict[str, Any] = self._call("POST", "/by_hand", {"action": action, "id": id, "value": value})
        return done
