"""A gateway without a network: the token decides how a call ends, and its own record tells what was done.

For trying the service out and for tests. Cards (`AuthorizeRequest.token`):

| token                             | answer                            | what a look-up says            |
|-----------------------------------|-----------------------------------|--------------------------------|
| `tok_approved`                    | Approved                          | Approved                       |
| `tok_slow`                        | Approved after `slow_s`           | Approved                       |
| `tok_declined_insufficient_funds` | Declined, soft                    | Declined                       |
| `tok_declined_stolen_card`        | Declined, hard                    | Declined                       |
| `tok_pending_then_approved`       | Pending                           | Pending, later Approved        |
| `tok_pending_then_declined`       | Pending                           | Pending, later Declined        |
| `tok_requires_action`             | ActionRequired with a url         | so until acted upon, or voided |
| `tok_lost_answer`                 | Unknown: charged, answer lost     | Approved                       |
| `tok_error`                       | Unknown: nothing executed         | Absent                         |
| `tok_not_sent`                    | NotSent, retryable, always        | Absent                         |
| `tok_not_sent_once`               | NotSent first, then Approved      | Absent, then Approved          |
| `tok_amount_mismatch`             | Approved, one minor unit too many | the same                       |
| `tok_capture_…`, `tok_void_…`     | Approved; its capture or void `…` | Approved                       |
| any other                         | Declined, hard: invalid_card      | Declined                       |

`…`, and `RefundRequest.metadata["sandbox"]` for refunds (default `approved`): `approved`, `declined`,
`pending_then_approved`, `pending_then_declined`, `lost_answer`, `not_sent`, `error`.
Later is after `settle_delay`; `complete_action` acts as the customer; `tok_not_sent_once` turns each payment
away once.

A repeat under the same attempt id executes nothing and hears the first answer again; after `lost_answer` it
hears the answer that was lost. Another amount under the same attempt id is Declined as a duplicate.
The effect comes before the answer's delay, so a caller that dies while waiting has charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_never

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    NextAction,
    NotSent,
    Operation,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from gateways.sandbox_record import Entry, SandboxRecord, Told, Truth
from messages.ids import AttemptId
from messages.money import EXPONENTS, Money

HOLD_LASTS = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    """How one operation goes: what is true in the end, and what the first caller hears."""

    truth: Truth = "approved"
    told: Told = "truth"
    reason: DeclineReason | None = None
    firmness: Firmness | None = None
    code: str | None = None
    slow: bool = False
    surplus: int = 0
    later: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What the four money-moving requests have in common."""

    attempt_id: str
    operation: Operation
    payment_id: str
    amount: Money
    parent: str | None = None


def _declined(reason: DeclineReason, firmness: Firmness, code: str, *, told: Told = "truth") -> _Script:
    return _Script(truth="declined", told=told, reason=reason, firmness=firmness, code=code)


_LATER_DECLINED = _declined(DeclineReason.GENERIC_DECLINE, Firmness.SOFT, "declined_later", told="pending")
_INVALID_CARD = _declined(DeclineReason.INVALID_CARD, Firmness.HARD, "unknown_token")
_APPROVED = _Script()
_NOT_SENT = NotSent(detail="the sandbox was told to be out of reach", retryable=True)

_NEVER_REACHED = "tok_not_sent"
_REACHED_LATER = "tok_not_sent_once"
_CARD_SCRIPTS = {
    "tok_approved": _APPROVED,
    "tok_slow": _Script(slow=True),
    "tok_declined_insufficient_funds": _declined(
        DeclineReason.INSUFFICIENT_FUNDS, Firmness.SOFT, "insufficient_funds"
    ),
    "tok_declined_stolen_card": _declined(DeclineReason.LOST_OR_STOLEN, Firmness.HARD, "stolen_card"),
    "tok_pending_then_approved": _Script(told="pending"),
    "tok_pending_then_declined": _LATER_DECLINED,
    "tok_requires_action": _Script(truth="action"),
    "tok_lost_answer": _Script(told="lost"),
    _REACHED_LATER: _APPROVED,
    "tok_error": _Script(truth="absent", told="error"),
    "tok_amount_mismatch": _Script(surplus=1),
}

_FOLLOW_UP_SCRIPTS = {
    "approved": _APPROVED,
    "declined": _declined(DeclineReason.OTHER, Firmness.HARD, "declined"),
    "pending_then_approved": _Script(told="pending"),
    "pending_then_declined": _LATER_DECLINED,
    "lost_answer": _Script(told="lost"),
    "error": _Script(truth="absent", told="error"),
}
_NOT_SENT_WORD = "not_sent"


class SandboxGateway:
    """Play a gateway whose own books are the file `record`; workers that share the file share the gateway.

    `latency_s` delays every answer, `slow_s` that of `tok_slow` too; pending lasts for `settle_delay`.
    """

    def __init__(
        self,
        record: Path,
        *,
        latency_s: float = 0,
        slow_s: float = 2,
        settle_delay: timedelta = timedelta(seconds=30),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._record = SandboxRecord(record)
        self._latency_s = latency_s
        self._slow_s = slow_s
        self._settle_delay_s = settle_delay.total_seconds()
        self._now = now
        self._capabilities = Capabilities(
            currencies=frozenset(EXPONENTS),
            replay_window=timedelta(days=365),
            call_time_limit=timedelta(seconds=latency_s + slow_s + 5),
            partial_capture=True,
            multiple_capture=True,
            refunds_by_capture=True,
        )

    @property
    def name(self) -> str:
        """The word commands and routing rules use."""
        return "sandbox"

    @property
    def capabilities(self) -> Capabilities:
        """Every currency, captures in parts; keys never expire."""
        return self._capabilities

    async def authorize(self, request: AuthorizeRequest) -> Outcome:
        """Hold money, or take it at once, in one step; the token decides how it ends."""
        token = request.token
        if token == _NEVER_REACHED:
            return await self._after_delay(_NOT_SENT)
        if token == _REACHED_LATER and self._record.first_knock(request.payment_id):
            return await self._after_delay(_NOT_SENT)
        call = _Call(
            attempt_id=request.attempt_id,
            operation=Operation.SALE if request.capture else Operation.AUTHORIZE,
            payment_id=request.payment_id,
            amount=request.amount,
        )
        script = _card_script(token)
        entry = self._entry(call, script)
        if self._record.insert_alone(entry):
            return await self._after_delay(self._first_answer(entry), slow=script.slow)
        return await self._after_delay(self._repeat(call), slow=script.slow)

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Take held money; more than is left of the hold, or of none, is Declined."""
        call = _Call(
            attempt_id=request.attempt_id,
            operation=Operation.CAPTURE,
            payment_id=request.payment_id,
            amount=request.amount,
            parent=request.authorization_reference,
        )
        return await self._after_delay(self._follow_up(call, final=request.final))

    async def void(self, request: VoidRequest) -> Outcome:
        """Let a hold or a waiting payment go; what is captured, gone or still pending is Declined."""
        call = _Call(
            attempt_id=request.attempt_id,
            operation=Operation.VOID,
            payment_id=request.payment_id,
            amount=request.amount,
            parent=request.authorization_reference,
        )
        return await self._after_delay(self._follow_up(call))

    async def refund(self, request: RefundRequest) -> Outcome:
        """Give captured money back; more than is left is Declined. `metadata["sandbox"]` says how it ends."""
        call = _Call(
            attempt_id=request.attempt_id,
            operation=Operation.REFUND,
            payment_id=request.payment_id,
            amount=request.amount,
            parent=request.capture_reference,
        )
        word = request.metadata.get("sandbox", "approved")
        return await self._after_delay(self._follow_up(call, word=word))

    async def lookup(self, request: LookupRequest) -> Outcome | Absent:
        """Tell the truth from the record, at once and consistently: a hold that was let go is gone."""
        entry = self._record.find(request.attempt_id)
        answer = Absent(detail="never executed") if entry is None else self._state(entry)
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        return answer

    async def close(self) -> None:
        """Let the record go."""
        self._record.close()

    def complete_action(self, attempt_id: AttemptId, *, approve: bool) -> bool:
        """Act as the customer of `tok_requires_action`; False if it no longer waits.

        From another process: `SandboxRecord(path).complete_action(…)`.
        """
        return self._record.complete_action(attempt_id, approve=approve)

    # --- what the gateway does ------------------------------------------------------------

    def _follow_up(self, call: _Call, *, word: str | None = None, final: bool = False) -> Outcome:
        record = self._record
        with record.writing():
            parent = record.find_reference(call.parent or "")
            if word is None:
                word = _later_word(parent, call.operation)
            if word == _NOT_SENT_WORD:
                return _NOT_SENT
            script = self._objection(call, parent) or _FOLLOW_UP_SCRIPTS.get(word, _APPROVED)
            entry = self._entry(call, script, final=final)
            first = record.insert(entry)
            if first and parent and parent.truth == "action" and entry.truth == "approved":
                record.cancel_open_action(parent.attempt_id)
        return self._first_answer(entry) if first else self._repeat(call)

    def _objection(self, call: _Call, parent: Entry | None) -> _Script | None:
        """Why the books forbid a capture, void or refund; None if nothing speaks against it."""
        refund = call.operation is Operation.REFUND
        no = DeclineReason.NOT_REFUNDABLE if refund else DeclineReason.OTHER
        if parent is None or parent.currency != call.amount.currency:
            return _declined(no, Firmness.HARD, "no_such_operation")
        now = self._now().timestamp()
        if call.operation is Operation.VOID and parent.truth == "action":
            return None
        if parent.truth != "approved" or (parent.told == "pending" and now < parent.settles_at):
            return _declined(no, Firmness.HARD, "parent_not_approved")
        wanted = {Operation.SALE, Operation.CAPTURE} if refund else {Operation.AUTHORIZE}
        if parent.operation not in wanted:
            return _declined(no, Firmness.HARD, "wrong_kind_of_parent")
        balance = self._record.balance(parent.reference, now)
        if balance.released or (call.operation is Operation.VOID and balance.captured):
            return _declined(no, Firmness.HARD, "nothing_is_held")
        left = parent.amount - balance.captured - balance.refunded
        if call.amount.minor > left and call.operation is not Operation.VOID:
            return _declined(
                no if refund else DeclineReason.LIMIT_OR_AMOUNT, Firmness.HARD, "more_than_is_left"
            )
        return None

    def _entry(self, call: _Call, script: _Script, *, final: bool = False) -> Entry:
        at = self._now().timestamp()
        return Entry(
            attempt_id=call.attempt_id,
            operation=call.operation.value,
            payment_id=call.payment_id,
            parent=call.parent,
            asked=call.amount.minor,
            amount=call.amount.minor + script.surplus,
            currency=call.amount.currency,
            truth=script.truth,
            told=script.told,
            reason=script.reason,
            firmness=script.firmness,
            code=script.code,
            later="final" if final else script.later,
            settles_at=at + self._settle_delay_s if script.told == "pending" else at,
            at=at,
            executed=1 if script.truth == "approved" else 0,
        )

    # --- what the caller hears ------------------------------------------------------------

    def _first_answer(self, entry: Entry) -> Outcome:
        match entry.told:
            case "lost":
                return Unknown(detail="the sandbox was told to lose its answer")
            case "error":
                return Unknown(detail="the sandbox was told to answer with an error")
            case "pending":
                return Pending(reference=entry.reference)
            case "truth":
                return _truth(entry)
            case _:
                assert_never(entry.told)

    def _repeat(self, call: _Call) -> Outcome:
        entry = self._record.find(call.attempt_id)
        if entry is None:
            raise RuntimeError("an operation that was recorded is gone from the sandbox's record")
        self._record.note_repeat(call.attempt_id)
        first = (entry.operation, entry.asked, entry.currency, entry.parent)
        if first != (call.operation, call.amount.minor, call.amount.currency, call.parent):
            return Declined(
                reason=DeclineReason.DUPLICATE, firmness=Firmness.HARD, code="attempt_id_used_otherwise"
            )
        return _truth(entry) if entry.told == "lost" else self._first_answer(entry)

    def _state(self, entry: Entry) -> Outcome | Absent:
        if entry.truth == "absent":
            return Absent(detail="never executed")
        now = self._now().timestamp()
        if entry.told == "pending" and now < entry.settles_at:
            return Pending(reference=entry.reference)
        if entry.operation == Operation.AUTHORIZE and self._record.is_let_go(entry.reference, now):
            return Declined(
                reason=DeclineReason.CANCELED,
                firmness=Firmness.HARD,
                code="voided",
                reference=entry.reference,
            )
        return _truth(entry)

    async def _after_delay(self, outcome: Outcome, *, slow: bool = False) -> Outcome:
        if delay_s := self._latency_s + (self._slow_s if slow else 0):
            await asyncio.sleep(delay_s)
        return outcome


def _card_script(token: str) -> _Script:
    if token.startswith(("tok_capture_", "tok_void_")):
        operation, word = token.removeprefix("tok_").split("_", 1)
        if word == _NOT_SENT_WORD or word in _FOLLOW_UP_SCRIPTS:
            return _Script(later=f"{operation}:{word}")
    return _CARD_SCRIPTS.get(token, _INVALID_CARD)


def _later_word(parent: Entry | None, operation: Operation) -> str:
    if parent is None or parent.later is None:
        return "approved"
    subject, _, word = parent.later.partition(":")
    return word if subject == operation.value else "approved"


def _truth(entry: Entry) -> Outcome:
    match entry.truth:
        case "approved":
            hold = entry.operation == Operation.AUTHORIZE
            return Approved(
                reference=entry.reference,
                amount=Money(entry.amount, entry.currency),
                capture_before=datetime.fromtimestamp(entry.at, UTC) + HOLD_LASTS if hold else None,
            )
        case "declined":
            return Declined(
                reason=entry.reason or DeclineReason.OTHER,
                firmness=entry.firmness or Firmness.HARD,
                code=entry.code or "declined",
                reference=entry.reference,
            )
        case "action":
            url = f"https://sandbox.invalid/act/{entry.attempt_id}"
            return ActionRequired(reference=entry.reference, action=NextAction(kind="redirect", url=url))
        case "absent":
            return Unknown(detail="not executed")
        case _:
            assert_never(entry.truth)
