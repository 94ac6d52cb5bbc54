"""The control interface from the other side, with what only Stripe's simulator has: its dashboard."""

from __future__ import annotations

from typing import Any

from simulators.control_client import ControlClient
from simulators.stripe.dashboard import Action


class StripeControlClient(ControlClient):
    """Speak to a Stripe simulator's control interface."""

    def in_dashboard(
        self,
        action: Action,
        payment_intent: str,
        *,
        amount: int | None = None,
    ) -> dict[str, Any]:
        """Let somebody act in the dashboard, on all that is there or on `amount` (minor units); gives the object.

        Raises Refused for what Stripe does not allow.
        """
        asked = {"action": action, "payment_intent": payment_intent, "amount": amount}
        done: dict[str, Any] = self._call("POST", "/dashboard", asked)
        return done
