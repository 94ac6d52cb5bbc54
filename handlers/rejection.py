"""Commands refused as such: nothing was done, and the sender is told why."""

from __future__ import annotations

from datetime import datetime

from handlers.decision import Asked, Decision, Rejection
from messages.commands import RefundRequested
from messages.events import CommandRejected, RejectionReason


def conflict(asked: Asked, at: str, now: datetime) -> Decision:
    """Refuse another command under an id that was used before."""
    text = f"{at}: this id came before with another content; use a new id for a new command"
    return reject(asked, RejectionReason.IDEMPOTENCY_CONFLICT, text, at=at, now=now)


def reject(asked: Asked, reason: RejectionReason, message: str, *, at: str | None, now: datetime) -> Decision:
    """Refuse a command."""
    command = asked.command
    event = CommandRejected(
        occurred_at=now,
        command_id=asked.message_id,
        command_type=type(command).__name__,
        command_source=asked.source,
        reason=reason,
        field=at,
        message=message,
        payment_id=command.payment_id,
        refund_id=command.refund_id if isinstance(command, RefundRequested) else None,
    )
    rejection = Rejection(event=event, correlation_id=asked.correlation_id)
    return Decision(result="rejected", rejection=rejection, detail={"reason": reason.value})
