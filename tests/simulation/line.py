"""The line between workers and the gateway: requests under way, answers under way, and what is lost of either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from consumers.calls import Calls
from gateways.protocol import AuthorizeRequest, LookupRequest, NotSent, Unknown
from handlers.decision import Answered, Call
from tests.simulation.edges import Edge
from tests.simulation.gateway import Answer, Gateway

CALL_LIMIT = timedelta(seconds=30)
"""After this long the caller gives up, as `consumers.calls` does."""
LATEST_ARRIVAL = timedelta(seconds=40)
"""A request can arrive after its caller has given it up, or died; but not after the lease of its attempt."""


@dataclass(slots=True, kw_only=True)
class Trip:
    """One call on its way, there or back."""

    call: Call
    left_at: datetime
    tell: Callable[[Answered], None] | None
    """None: nobody waits for the answer any more."""
    answer: Answer | None = None
    arrived_at: datetime | None = None

    @property
    def name(self) -> str:
        """Names the call in actions and stories."""
        return f"{self.call.attempt_id}#{self.call.call_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer as a worker was given it: the evidence on which it may conclude."""

    attempt_id: str
    call_number: int
    answer: Answer
    arrived_at: datetime | None
    """When the gateway looked, if the call ever got there."""


@dataclass(slots=True)
class Line:
    """All calls under way, and what was ever sent and told."""

    gateway: Gateway
    is_written_down: Callable[[Call], bool]
    unwritten: list[str] = field(default_factory=list)
    """Calls that left before what they do was committed: after a crash nobody would know of them."""
    trips: dict[str, Trip] = field(default_factory=dict)
    sent: list[tuple[Call, datetime]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def send(self, call: Call, tell: Callable[[Answered], None], now: datetime) -> None:
        """A call leaves a worker."""
        trip = Trip(call=call, left_at=now, tell=tell)
        self.trips[trip.name] = trip
        self.sent.append((call, now))
        if not self.is_written_down(call):
            self.unwritten.append(trip.name)

    def arrive(self, trip: Trip, now: datetime) -> None:
        """The request reaches the gateway, which acts on it."""
        trip.answer = self.gateway.do(trip.call.request, now)
        trip.arrived_at = now
        if trip.tell is None:
            del self.trips[trip.name]

    def reply(self, trip: Trip) -> None:
        """The answer reaches the worker."""
        assert trip.answer is not None
        del self.trips[trip.name]
        self._tell(trip, trip.answer)

    def lose(self, trip: Trip) -> None:
        """The line breaks: the worker knows nothing; what was under way to the gateway may still arrive."""
        self._tell(trip, self._lost(trip.call))
        if trip.arrived_at is not None:
            del self.trips[trip.name]

    def vanish(self, trip: Trip) -> None:
        """The request is lost on its way, and the worker sees a broken line."""
        del self.trips[trip.name]
        self._tell(trip, self._lost(trip.call))

    def refuse(self, trip: Trip) -> None:
        """The gateway takes no calls now (refused connection, 429): provably nothing was done."""
        del self.trips[trip.name]
        is_lookup = isinstance(trip.call.request, LookupRequest)
        refused = Unknown(detail="refused") if is_lookup else NotSent(detail="refused", retryable=True)
        self._tell(trip, refused)

    def orphan(self, tell: Callable[[Answered], None]) -> None:
        """A worker has died: nobody hears its answers."""
        for trip in list(self.trips.values()):
            if trip.tell == tell:
                trip.tell = None
                if trip.arrived_at is not None:
                    del self.trips[trip.name]

    def give_up_late(self, now: datetime) -> None:
        """Time has passed: callers give up, and what has not arrived by then never will."""
        for trip in list(self.trips.values()):
            if now - trip.left_at >= CALL_LIMIT and trip.tell is not None:
                self._tell(trip, Unknown(detail="no answer within the gateway's time limit"))
                if trip.arrived_at is not None:
                    del self.trips[trip.name]
            if now - trip.left_at >= LATEST_ARRIVAL:
                self.trips.pop(trip.name, None)

    def _lost(self, call: Call) -> Answer:
        if is_opening(call, two_steps=self.gateway.manner.two_steps):
            # As the Stripe adapter has it: nothing moves before it is confirmed.
            return NotSent(detail="the line broke", retryable=True)
        return Unknown(detail="the line broke")

    def _tell(self, trip: Trip, answer: Answer) -> None:
        tell, trip.tell = trip.tell, None
        if tell is None:
            return
        call = trip.call
        self.told.append(
            Told(
                attempt_id=call.attempt_id,
                call_number=call.call_number,
                answer=answer,
                arrived_at=trip.arrived_at,
            )
        )
        tell(
            Answered(
                payment_id=call.payment_id,
                attempt_id=call.attempt_id,
                refund_id=call.refund_id,
                call_number=call.call_number,
                answer=answer,
                is_lookup=isinstance(call.request, LookupRequest),
            )
        )


def is_opening(call: Call, *, two_steps: bool) -> bool:
    """Whether a call only opens: nothing moves by it."""
    return two_steps and isinstance(call.request, AuthorizeRequest) and call.request.reference is None


class SimulatedCalls(Calls):
    """One worker's calls: no thread and no loop, the line decides when they end."""

    def __init__(self, line: Line, now: Callable[[], datetime], passed: Callable[[Edge], None]) -> None:
        # On purpose without super().__init__(): it would start the thread.
        self._line = line
        self._now = now
        self._passed = passed
        self._answers: list[Answered] = []
        self._under_way = 0

    def on_news(self, wake: Callable[[], None]) -> None:
        """See `Calls`: nobody waits here."""

    @property
    def in_flight(self) -> int:
        """See `Calls`."""
        return self._under_way

    def start(self, calls: Sequence[Call]) -> None:
        """See `Calls`."""
        self._under_way += len(calls)
        for call in calls:
            self._passed(Edge.BEFORE_CALL)
            self._line.send(call, self.hear, self._now())
            self._passed(Edge.AFTER_CALL)

    def hear(self, answered: Answered) -> None:
        """An answer has come back."""
        self._answers.append(answered)

    def take(self) -> list[Answered]:
        """See `Calls`."""
        ended, self._answers = self._answers, []
        self._under_way -= len(ended)
        return ended

    def wait(self, seconds: float) -> None:
        """See `Calls`: nobody waits here."""

    def close(self) -> None:
        """See `Calls`."""
        self._line.orphan(self.hear)
