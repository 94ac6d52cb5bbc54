"""The control interface from the other side, with what only Adyen's simulator has."""

from __future__ import annotations

from simulators.adyen.modifications import ByHand, Failure
from simulators.control_client import ControlClient


class AdyenControlClient(ControlClient):
    """Speak to an Adyen simulator's control interface."""

    def by_hand(self, payment: str, action: ByHand, *, amount: int | None = None) -> str:
        """Act as somebody in the customer area, on a payment by either reference; give the pspReference."""
        asked = {"payment": payment, "action": action, "amount": amount}
        psp: str = self._call("POST", "/by_hand", asked)["pspReference"]
        return psp

    def undo(self, reference: str, event: Failure) -> None:
        """Let a capture or refund that succeeded fail after all; by either reference, a sale by its payment's."""
        self._call("POST", "/undo", {"reference": reference, "event": event})
