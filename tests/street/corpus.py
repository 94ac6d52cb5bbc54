"""Webhooks by the thousand without processes: a ledger, a gateway's adapter, verifier and reader, and its simulator.

What the ingestor and the worker's cycle do with a callback is done here by the same functions, one after the other:
verify, wrap, read, run a turn, make the calls it decides on, take their answers in.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from consumers.calls import _ask as make_call
from consumers.delivery import Delivery
from consumers.inbound import Callback, Dead, read
from consumers.notices import from_json
from consumers.topology import GATEWAY_CALLBACKS
from consumers.turn import Result, Told, Work, run_turn
from gateways.notice import Forged, Reader, Verifier
from gateways.protocol import Gateway, LookupRequest, Opened
from handlers.decision import Answered, Asked, Call, Policy, TimerDue
from ledger.ledger import Ledger
from ledger.verify import verify
from messages.commands import Command
from simulators.control_client import ControlClient
from tests.keys import KEYRING
from tests.simulators.receiver import Delivery as Parcel
from tests.simulators.receiver import Receiver, until
from webhooks.app import callback_message

ROUNDS = 30
SETTLE_S = 5.0
A_WHILE = timedelta(minutes=20)
"""Longer than a notice of nothing we know is waited for."""

CONTENT = {
    "payments": (
        "payment_id status currency requested authorized captured_gross capture_pending released capture_reversed "
        "refunded refund_pending refunded_external attention late"
    ),
    "attempts": "attempt_id payment_id operation amount currency state reference reason code",
    "captures": "capture_id payment_id amount status",
    "refunds": "refund_id payment_id amount currency status external",
}
"""What a row says; the rest is when, and how often somebody asked."""


@dataclass(frozen=True, kw_only=True)
class Corner:
    """One gateway: its simulator, and the parts of ours that belong to it."""

    name: str
    gateway: Gateway
    verifier: Verifier
    reader: Reader
    control: ControlClient
    receiver: Receiver


class Shop:
    """Books in a file of their own, and a gateway."""

    def __init__(self, corner: Corner, books: Path, runner: asyncio.Runner) -> None:
        self.corner = corner
        self.url = f"sqlite:///{books}"
        self.counts: Counter[str] = Counter()
        self._books = books
        self._ledger = Ledger(self.url, keyring=KEYRING)
        self._runner = runner
        self._clock = datetime.now(UTC)
        self._asked = 0
        # Nothing is sent again of its own accord: what comes of a webhook is to be seen alone.
        self._policy = Policy(
            default_gateway=corner.name,
            gateways={corner.name: corner.gateway.capabilities},
            refund_resends=0,
        )

    def close(self) -> None:
        """Put the books away."""
        self._ledger.close()

    def copied(self, books: Path) -> Shop:
        """Another shop with the same past."""
        with closing(sqlite3.connect(self._books)) as ours, closing(sqlite3.connect(books)) as theirs:
            ours.backup(theirs)
        return Shop(self.corner, books, self._runner)

    # --- what the shop asks ---

    def ask(self, command: Command) -> None:
        """Take a command in, and whatever comes of it at once."""
        self._settle(self._asked_for(command))

    def ask_and_hold_back_the_answer(self, command: Command) -> Work:
        """Take a command in and make its call; the answer is on its way, and given to whoever is to hear it."""
        work = self._asked_for(command)
        for _ in range(ROUNDS):
            (call,) = self._turn(work).calls
            work, answer = self._answer(call)
            if not isinstance(answer, Opened):
                return work
        raise AssertionError("the call does not end")

    def hear(self, work: Work) -> None:
        """The answer comes."""
        self._settle(work)

    def _asked_for(self, command: Command) -> Work:
        self._asked += 1
        asked = Asked(
            command=command,
            message_id=f"msg-{self._asked}",
            source="/shop",
            correlation_id=f"msg-{self._asked}",
            body_hash=str(self._asked),
            body=command.model_dump_json(exclude_defaults=True),
        )
        return Work(happening=asked)

    # --- what the gateway tells ---

    def deliver(self, parcels: Iterable[Parcel], *, now: datetime | None = None) -> None:
        """Take callbacks in, each as the ingestor and then the worker does."""
        for parcel in parcels:
            self._deliver(parcel, now or datetime.now(UTC))

    def _deliver(self, parcel: Parcel, now: datetime) -> None:
        corner = self.corner
        try:
            self._runner.run(corner.verifier.verify(headers=parcel.headers, body=parcel.body, now=now))
        except Forged:
            self.counts["forged"] += 1
            return
        self.counts["accepted"] += 1
        message = callback_message(corner.name, parcel.body, parcel.headers, now)
        delivery = Delivery(
            queue=GATEWAY_CALLBACKS,
            exchange=message.exchange,
            routing_key=message.routing_key,
            body=message.body,
            headers=message.headers,
            content_type=message.content_type,
            message_id=message.message_id,
            correlation_id=None,
            reply_to=None,
            type=message.type,
            app_id=None,
            redelivered=False,
            tag=1,
            generation=1,
        )
        match read(delivery, {corner.name: corner.reader}):
            case Callback(notices=notices, not_understood=words):
                self.counts["dead_letters"] += words is not None
                self.counts["told"] += len(notices)
                known = self.notices()
                self._settle(Work(happening=Told(notices=notices)))
                self.counts["repeated"] += len(notices) - (self.notices() - known)
            case Dead():
                self.counts["dead_letters"] += 1
            case other:
                raise AssertionError(f"a callback was read as {other}")

    def wait(self) -> None:
        """Let time pass until what matches nothing is given up."""
        self._clock += A_WHILE
        for row in self._ledger.waiting_callbacks(now=self._clock, limit=1000):
            result = self._turn(Work(happening=Told(notices=(from_json(row.notice),), since=row.received_at)))
            self.counts["unmatched"] += len(result.unmatched)

    # --- turns ---

    def _settle(self, work: Work) -> None:
        """Run turns until nothing is under way and no timer is due."""
        waiting: list[Work] = [work]
        for _ in range(ROUNDS):
            if not waiting:
                waiting = [
                    Work(
                        happening=TimerDue(
                            payment_id=row.payment_id,
                            attempt_id=row.attempt_id,
                            capture_id=row.capture_id if row.attempt_id is None else None,
                            refund_id=row.refund_id,
                        )
                    )
                    for row in self._ledger.due(now=self._clock, limit=100)
                ]
            if not waiting:
                return
            calls = [call for each in waiting for call in self._turn(each).calls]
            waiting = [self._answer(call)[0] for call in calls]
        raise AssertionError("it does not come to rest")

    def _answer(self, call: Call) -> tuple[Work, object]:
        answer = self._runner.run(make_call(self.corner.gateway, call))
        happening = Answered(
            payment_id=call.payment_id,
            attempt_id=call.attempt_id,
            refund_id=call.refund_id,
            call_number=call.call_number,
            answer=answer,
            is_lookup=isinstance(call.request, LookupRequest),
        )
        return Work(happening=happening), answer

    def _turn(self, work: Work) -> Result:
        self._clock += timedelta(milliseconds=1)
        return run_turn(self._ledger, [work], policy=self._policy, now=self._clock, confirmed=[], ours=set())

    # --- what is so ---

    def notices(self) -> int:
        """How many notices the books have seen."""
        return int(self._rows("SELECT count(*) FROM callbacks")[0][0])

    def state(self, payment_id: str | None = None) -> Mapping[str, Sequence[Any]]:
        """What the books say, without when it came and how often was asked; of one payment or of all."""
        only = "" if payment_id is None else f" WHERE payment_id = '{payment_id}'"
        said: dict[str, Sequence[Any]] = {
            table: sorted(self._rows(f"SELECT {', '.join(columns.split())} FROM {table}{only}"), key=repr)
            for table, columns in CONTENT.items()
        }
        journals = self._rows(f"SELECT journal_id, journal_type FROM journals{only}")
        said["journals"] = sorted((_without_count(name), kind) for name, kind in journals)
        said["balances"] = self._rows(
            "SELECT account, gateway, currency, layer, sum(CASE side WHEN 'D' THEN amount ELSE -amount END)"
            f" FROM entries{only} GROUP BY account, gateway, currency, layer ORDER BY 1, 2, 3, 4"
        )
        return said

    def problems(self) -> list[str]:
        """What is wrong with the books."""
        return verify(self.url).problems

    def _rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self._books)) as books:
            return [tuple(row) for row in books.execute(sql)]


def _without_count(journal_id: str) -> str:
    """What may happen to an attempt more than once is named after the call that told of it: `att~3`."""
    return re.sub(r"~[0-9]+", "~n", journal_id)


def delivered(corner: Corner, ids: Sequence[str], **endpoint: object) -> list[Parcel]:
    """Have the simulator deliver these webhooks, in this order; `endpoint` says how badly."""
    receiver, control = corner.receiver, corner.control
    receiver.clear()
    before = control.deliver()
    copies, batch = endpoint.get("copies", 1), endpoint.get("batch", 1)
    assert isinstance(copies, int)
    assert isinstance(batch, int)
    control.deliver(**endpoint, url=receiver.url, is_paused=True)
    control.deliver_again(ids)
    control.deliver(is_paused=False)
    until(lambda: receiver.has(-(-len(ids) // batch) * copies))
    control.deliver(**{**before, "url": receiver.url, "is_paused": True})
    return list(receiver.deliveries)
