"""What came to a shop's own server, in the words of Adyen's webhooks."""

from __future__ import annotations

import base64

from tests.simulators.adyen.contract import Json
from tests.simulators.receiver import Receiver


class Inbox:
    """The deliveries a receiver has, first to last."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def url(self) -> str:
        """Where they go."""
        return self._receiver.url

    def answer_with(self, status: int) -> None:
        """Answer so from now on."""
        self._receiver.status = status

    @property
    def bodies(self) -> list[Json]:
        """What came."""
        return [delivery.json() for delivery in list(self._receiver.deliveries)]

    @property
    def credentials(self) -> list[str]:
        """User name and password of each."""
        headers = [delivery.headers["authorization"] for delivery in list(self._receiver.deliveries)]
        return [base64.b64decode(header.removeprefix("Basic ")).decode() for header in headers]

    @property
    def items(self) -> list[Json]:
        """The items of all bodies."""
        return [
            wrapped["NotificationRequestItem"]
            for body in self.bodies
            for wrapped in body["notificationItems"]
        ]

    @property
    def references(self) -> list[str]:
        """Which payments were told of."""
        return [item["merchantReference"] for item in self.items]

    def has(self, items: int) -> bool:
        """Whether so many items have come."""
        return len(self.items) == items
