"""What a gateway tells us unasked: the form all webhooks are brought into, and what each gateway's reader promises.

A notice is a hint, not a fact. Where the gateway can be asked, the service asks before it books anything; only what
a signature covers, and no look-up can tell, is taken from the notice itself (`Notice.says`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateways.protocol import Outcome
from messages.ids import AttemptId
from messages.money import Money
from messages.operation import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing a gateway says has happened.

    References are written exactly as the adapter's own answers write them (`Approved.reference` and its kin):
    they are compared with what is stored.
    """

    gateway: str
    notice_id: str
    """Names this notice at its gateway: told twice, it has the same id. At most 128 characters."""
    event: str
    """The gateway's own word for it, such as `charge.refunded`; for people and for counting."""
    operation: Operation | None
    """The kind of operation it is about; None: an authentic event that we do not act upon."""
    attempt_id: AttemptId | None = None
    """Our own name for the operation, where the gateway kept it and gives it back."""
    reference: str | None = None
    """The gateway's id of the operation itself."""
    parent_reference: str | None = None
    """For a capture, void or refund: the gateway's id of what it acts on."""
    amount: Money | None = None
    """What it says moved. Never booked unless it is covered by the signature or read again at the gateway."""
    came_through: bool = False
    """It says that the operation has succeeded: a hint, too. What is known already is not asked for again."""
    undoes: bool = False
    """What it says of, an ending of failure, had come through before: it has, even if nobody told us yet."""
    says: Outcome | None = None
    """How the operation ended. Given only by a gateway that cannot be asked, and only from what it signed."""


class Forged(Exception):
    """The callback does not come from the gateway, or was changed, or is too old. The text names no secret."""


class NotUnderstood(ValueError):
    """Not of the form the gateway's webhooks have; the text says what is wrong, and quotes nothing."""


class Verifier(Protocol):
    """Tells a gateway's own callbacks from anybody else's. Lives in the ingestor, with the secrets."""

    async def verify(self, *, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Return if the callback is authentic. Header names are lower case, the body is as it came.

        Raises:
            Forged: it is not; the sender is told nothing but 401.
        """
        ...

    async def close(self) -> None:
        """Let connections go, if there are any."""
        ...


class Reader(Protocol):
    """Reads a callback that was verified. A plain function `read` in each gateway's `…_webhooks.py`."""

    def __call__(self, body: bytes) -> Sequence[Notice]:
        """Give the notices of a body, in their order; mostly one.

        Raises:
            NotUnderstood: the body has not the gateway's form.
        """
        ...
