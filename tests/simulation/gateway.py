"""A gateway that keeps its own record: the same key gives the same answer inside the replay window, outside it a new
effect. It never lies, but its look-ups may lag, and how an operation goes is written on what is asked of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, assert_never
from zlib import crc32

from gateways.notice import Notice
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    CaptureRequest,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    NextAction,
    NotSent,
    Opened,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from handlers.decision import GatewayRequest
from messages.ids import AttemptId
from messages.money import Money
from messages.operation import Operation

Answer = Outcome | Opened | Absent
State = Literal["done", "declined", "under way", "waits for the customer", "canceled", "captured"]
"""A hold is done while it holds; once captured it holds nothing any more, whatever part was taken."""

FATES = (
    "approve",
    "decline",
    "refuse",
    "slow-approve",
    "slow-decline",
    "act",
    "never-act",
    "fault-executed",
    "fault-nothing",
)
"""How an operation goes once it has arrived. Refused is not executed and leaves no trace; a fault is a 500 that is
stored and replayed, with or without an effect. A number behind it is its length in seconds: `slow-approve:600`.
"""

CAPTURE_FATES = (
    *["approve"] * 6,
    "decline",
    "slow-approve:600",
    "slow-decline:600",
    "fault-executed",
    "fault-nothing",
)
"""A capture carries no word of the customer's: how it goes is told by its key."""

LONGEST_LAG = timedelta(minutes=13)
"""After this long at most an operation can be found: shorter than the service waits for a second absence."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One effect, or one refusal, as the gateway keeps it."""

    key: str
    operation: Operation
    payment_id: str
    order_id: str | None
    amount: Money
    reference: str
    parent: Entry | None = None
    """For a capture: the hold it takes from."""
    state: State
    visible_at: datetime
    ends_at: datetime | None = None
    ends_as: State = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What kind of gateway it is."""

    two_steps: bool
    """Opens first, then confirms; operations are found by reference, at once."""
    replay_window: timedelta
    lags: bool
    """Whether its look-ups may find nothing for a while (never for what is read by its reference)."""


class Gateway:
    """Does what it is asked, and remembers."""

    def __init__(self, manner: Manner) -> None:
        self.entries: list[Entry] = []
        self.manner = manner
        self._answers: dict[str, tuple[datetime, Answer]] = {}
        self._opened: set[str] = set()

    def do(self, request: GatewayRequest, now: datetime) -> Answer:
        """Serve a request that has arrived."""
        self.settle(now)
        match request:
            case LookupRequest():
                return self._look_up(request, now)
            case AuthorizeRequest() if self.manner.two_steps and request.reference is None:
                return self._replayed(f"{request.attempt_id}:open", now) or self._open(request, now)
            case AuthorizeRequest():
                return self._replayed(request.attempt_id, now) or self._authorize(request, now)
            case VoidRequest():
                return self._replayed(request.attempt_id, now) or self._void(request, now)
            case RefundRequest():
                return self._replayed(request.attempt_id, now) or self._refund(request, now)
            case CaptureRequest():
                return self._replayed(request.attempt_id, now) or self._capture(request, now)
            case _:
                assert_never(request)

    def settle(self, now: datetime) -> None:
        """Let what is under way end, if its time has come."""
        for entry in self.entries:
            if entry.ends_at is not None and entry.ends_at <= now:
                entry.ends_at, entry.state = None, entry.ends_as
                if entry.parent is not None and entry.state == "declined":
                    entry.parent.state = "done"

    def effects(self, operation: Operation) -> list[Entry]:
        """What has moved or held money, or let it go."""
        return [e for e in self.entries if e.operation is operation and e.state == "done"]

    # --- what is asked -----------------------------------------------------------------------------------------

    def _replayed(self, key: str, now: datetime) -> Answer | None:
        first = self._answers.get(key)
        return first[1] if first is not None and now < first[0] + self.manner.replay_window else None

    def _stored(self, key: str, answer: Answer, now: datetime) -> Answer:
        self._answers[key] = (now, answer)
        return answer

    def _open(self, request: AuthorizeRequest, now: datetime) -> Answer:
        reference = f"intent-{len(self._opened) + 1}"
        self._opened.add(reference)
        return self._stored(f"{request.attempt_id}:open", Opened(reference=reference), now)

    def _authorize(self, request: AuthorizeRequest, now: datetime) -> Answer:
        if self.manner.two_steps:
            assert request.reference is not None
            confirmed = self._by_reference(request.reference)
            if confirmed is not None:  # an intent is confirmed once, whatever the key
                return self._told(confirmed)
        return self._execute(
            request,
            fate=request.token,
            operation=Operation.SALE if request.capture else Operation.AUTHORIZE,
            order_id=request.order_id,
            reference=request.reference,
            now=now,
        )

    def _refund(self, request: RefundRequest, now: datetime) -> Answer:
        # It gives back whatever it is asked to: that it is not too much is for the service to see to.
        fate = request.metadata.get("fate", "approve")
        return self._execute(
            request, fate=fate, operation=Operation.REFUND, order_id=None, reference=None, now=now
        )

    def _capture(self, request: CaptureRequest, now: datetime) -> Answer:
        hold = self._by_reference(request.authorization_reference)
        if hold is None or hold.state != "done" or request.amount.minor > hold.amount.minor:
            return self._stored(request.attempt_id, _declined(DeclineReason.OTHER, None), now)
        fate = CAPTURE_FATES[crc32(request.attempt_id.encode()) % len(CAPTURE_FATES)]
        before = len(self.entries)
        answer = self._execute(
            request, fate=fate, operation=Operation.CAPTURE, order_id=None, reference=None, now=now
        )
        for entry in self.entries[before:]:
            if entry.state != "declined":
                entry.parent, hold.state = hold, "captured"
        return answer

    def _void(self, request: VoidRequest, now: datetime) -> Answer:
        target = self._by_reference(request.authorization_reference)
        held = target is not None and target.operation is Operation.AUTHORIZE and target.state == "done"
        if target is None or not (held or target.state == "waits for the customer"):
            return self._stored(request.attempt_id, _declined(DeclineReason.OTHER, None), now)
        target.state, target.ends_at = "canceled", None
        entry = self._entry(request, operation=Operation.VOID, order_id=None, reference=None, now=now)
        return self._stored(request.attempt_id, self._told(entry), now)

    def _execute(
        self,
        request: AuthorizeRequest | CaptureRequest | RefundRequest,
        *,
        fate: str,
        operation: Operation,
        order_id: str | None,
        reference: str | None,
        now: datetime,
    ) -> Answer:
        word, _, length = fate.partition(":")
        if word == "refuse":
            return NotSent(detail="400", retryable=False)
        if word == "fault-nothing":
            return self._stored(request.attempt_id, Unknown(detail="500"), now)
        entry = self._entry(request, operation=operation, order_id=order_id, reference=reference, now=now)
        if length:
            entry.ends_at = now + timedelta(seconds=int(length))
        match word:
            case "approve" | "fault-executed":
                entry.state = "done"
            case "decline":
                entry.state = "declined"
            case "slow-approve" | "slow-decline":
                entry.state = "under way"
                entry.ends_as = "done" if word == "slow-approve" else "declined"
            case "act" | "never-act":
                entry.state = "waits for the customer"
            case _:
                raise ValueError(f"no such fate: {fate}")
        answer = Unknown(detail="500") if word == "fault-executed" else self._told(entry)
        return self._stored(request.attempt_id, answer, now)

    def _entry(
        self,
        request: AuthorizeRequest | CaptureRequest | RefundRequest | VoidRequest,
        *,
        operation: Operation,
        order_id: str | None,
        reference: str | None,
        now: datetime,
    ) -> Entry:
        entry = Entry(
            key=request.attempt_id,
            operation=operation,
            payment_id=request.payment_id,
            order_id=order_id,
            amount=request.amount,
            reference=reference or f"{operation}-{len(self.entries) + 1}",
            state="done",
            visible_at=now + self._lag(request.attempt_id),
        )
        self.entries.append(entry)
        return entry

    def _lag(self, key: str) -> timedelta:
        if not self.manner.lags:
            return timedelta()
        part = crc32(key.encode()) % 4  # none, a third, two thirds, all of it
        return LONGEST_LAG * part / 3

    def notice(self, entry: Entry, *, names_it: bool) -> Notice:
        """What the gateway tells unasked of an operation as it stands; told twice, it has the same id."""
        return Notice(
            gateway="stripe",
            notice_id=f"{entry.reference}:{entry.state}",
            event=f"{entry.operation}.{entry.state}".replace(" ", "_"),
            operation=entry.operation,
            attempt_id=AttemptId(entry.key) if names_it else None,
            reference=entry.reference,
            parent_reference=entry.parent.reference if entry.parent is not None else None,
            amount=entry.amount,
            came_through=entry.state in ("done", "captured"),
        )

    # --- what is told ------------------------------------------------------------------------------------------

    def _look_up(self, request: LookupRequest, now: datetime) -> Answer:
        if self.manner.two_steps and request.operation not in (Operation.REFUND, Operation.CAPTURE):
            if request.operation is Operation.VOID:
                return self._voided(request)
            entry = self._by_reference(request.reference or "")
            return self._told(entry) if entry is not None else Absent(detail="not confirmed")
        found = [e for e in self.entries if e.key == request.attempt_id and e.visible_at <= now]
        return self._told(found[-1]) if found else Absent(detail="no trace")

    def _voided(self, request: LookupRequest) -> Answer:
        """What the intent says of an attempt to cancel it."""
        target = self._by_reference(request.parent_reference or "")
        if target is not None and target.state == "canceled":
            return Approved(reference=target.reference, amount=request.amount)
        if target is not None and target.operation is Operation.SALE and target.state == "done":
            return _declined(DeclineReason.OTHER, target.reference)
        return Absent(detail="not canceled")

    def _by_reference(self, reference: str) -> Entry | None:
        return next((e for e in self.entries if e.reference == reference), None)

    def _told(self, entry: Entry) -> Outcome:
        match entry.state:
            case "done" | "captured":
                return Approved(reference=entry.reference, amount=entry.amount)
            case "declined":
                return _declined(DeclineReason.INSUFFICIENT_FUNDS, entry.reference)
            case "canceled":
                return _declined(DeclineReason.EXPIRED, entry.reference)
            case "under way":
                return Pending(reference=entry.reference)
            case "waits for the customer":
                action = NextAction(kind="redirect", url="https://bank.example/3ds")
                return ActionRequired(reference=entry.reference, action=action)
            case _:
                assert_never(entry.state)


def _declined(reason: DeclineReason, reference: str | None) -> Declined:
    firmness = Firmness.SOFT if reason is DeclineReason.INSUFFICIENT_FUNDS else Firmness.HARD
    return Declined(reason=reason, firmness=firmness, code=reason.value, reference=reference)
