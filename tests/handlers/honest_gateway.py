"""A gateway that does what it is asked once per key and never lies, behind a line that loses and delays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateways.protocol import (
    Absent,
    Approved,
    AuthorizeRequest,
    CaptureRequest,
    LookupRequest,
    NotSent,
    Opened,
    Outcome,
    RefundRequest,
    VoidRequest,
)
from handlers.decision import GatewayRequest
from messages.ids import AttemptId
from messages.money import Money
from tests.builders import action_required, declined, pending

Fate = Literal[
    "approve", "decline", "refuse", "slow, approve", "slow, decline", "act", "act late", "never act"
]
"""How an operation goes once it arrives; a refused one is not executed and leaves no trace."""

State = Literal["done", "declined", "under way", "waits for the customer", "canceled"]

LOOKS: dict[Fate, int] = {"slow, approve": 2, "slow, decline": 2, "act": 2, "act late": 9}
"""How many look-ups it takes until what is under way has ended."""


@dataclass
class Operation:
    """One operation as the gateway keeps it."""

    reference: str
    amount: Money
    fate: Fate
    state: State
    captures: bool = False
    looks: int = 0


@dataclass
class HonestGateway:
    """Keeps operations by our key; what it says is what is so."""

    payment_fate: Fate
    refund_fate: Fate
    two_steps: bool
    operations: dict[AttemptId, Operation] = field(default_factory=dict)
    opened: set[AttemptId] = field(default_factory=set)

    def do(self, request: GatewayRequest) -> Outcome | Opened | Absent:
        """Serve a call that has arrived."""
        match request:
            case LookupRequest():
                return self._look_up(request.attempt_id)
            case VoidRequest():
                return self._cancel(request)
            case AuthorizeRequest():
                if self.two_steps and request.reference is None:
                    self.opened.add(request.attempt_id)
                    return Opened(reference=f"gw-{request.attempt_id}")
                return self._execute(request.attempt_id, request.amount, self.payment_fate, request.capture)
            case RefundRequest():
                return self._execute(request.attempt_id, request.amount, self.refund_fate, False)
            case CaptureRequest():
                raise AssertionError("nobody captures in these stories")

    def captured(self) -> int:
        """What was taken, in minor units."""
        return sum(op.amount.minor for op in self.operations.values() if op.captures and op.state == "done")

    def sale(self) -> Operation | None:
        """The payment's operation, if it was ever executed."""
        return next((op for key, op in self.operations.items() if ".a" in key), None)

    def refunds(self) -> list[Operation]:
        """The refunds that were ever executed."""
        return [op for key, op in self.operations.items() if ".r" in key]

    def _execute(self, key: AttemptId, amount: Money, fate: Fate, captures: bool) -> Outcome:
        if key not in self.operations:
            if fate == "refuse":
                return NotSent(detail="400", retryable=False)
            state: State = "under way" if fate.startswith("slow") else "waits for the customer"
            if fate in ("approve", "decline"):
                state = "done" if fate == "approve" else "declined"
            self.operations[key] = Operation(
                reference=f"gw-{key}", amount=amount, fate=fate, state=state, captures=captures
            )
        return self._tell(self.operations[key])

    def _look_up(self, key: AttemptId) -> Outcome | Absent:
        operation = self.operations.get(key)
        if operation is None:
            return Absent(detail="no such operation")
        operation.looks += 1
        if operation.state in ("under way", "waits for the customer") and operation.fate in LOOKS:
            self._end_if_time(operation)
        return self._tell(operation)

    def _end_if_time(self, operation: Operation) -> None:
        if operation.looks >= LOOKS[operation.fate]:
            operation.state = "declined" if operation.fate == "slow, decline" else "done"

    def _cancel(self, request: VoidRequest) -> Outcome:
        target = next(
            op for op in self.operations.values() if op.reference == request.authorization_reference
        )
        known = self.operations.get(request.attempt_id)
        if known is not None:
            return self._tell(known)
        if target.state in ("declined", "canceled") or (target.state == "done" and target.captures):
            return declined()
        target.state = "canceled"
        self.operations[request.attempt_id] = Operation(
            reference=target.reference, amount=target.amount, fate="approve", state="done"
        )
        return self._tell(self.operations[request.attempt_id])

    def _tell(self, operation: Operation) -> Outcome:
        match operation.state:
            case "done":
                return Approved(reference=operation.reference, amount=operation.amount)
            case "declined" | "canceled":
                return declined()
            case "under way":
                return pending(operation.reference)
            case "waits for the customer":
                return action_required(operation.reference)
