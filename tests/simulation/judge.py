"""The judge: compares the gateway's own record, the events that were heard, and the books. It asks no worker."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from consumers.delivery import Outgoing
from gateways.protocol import Absent, LookupRequest, NotSent
from ledger.encrypted_rows import decrypted_body
from ledger.encryption import Encrypter
from ledger.verify import verify
from messages.ids import own_refund_id
from messages.operation import Operation
from tests.keys import KEY, KEYRING
from tests.simulation.broker import Sent
from tests.simulation.gateway import Entry
from tests.simulation.line import CALL_LIMIT, Told, is_opening
from tests.simulation.world import World

ENDS_OF_PAYMENTS = {
    "PaymentSucceeded",
    "PaymentFailed",
    "PaymentAuthorized",
    "PaymentExpired",
    "PaymentVoided",
}
ENDS_OF_VOIDS = {"PaymentVoided", "PaymentVoidFailed", "PaymentFailed", "PaymentExpired", "PaymentReversed"}
ENDS_OF_REFUNDS = {"RefundProcessed", "RefundFailed"}
OVER_WITHOUT_MONEY = {"PaymentFailed", "PaymentExpired", "PaymentVoided"}
ABSENCE = timedelta(minutes=15) - CALL_LIMIT
"""Two look-ups so far apart are proof; the second may have been under way for a while when it counted."""


_ENCRYPTER = Encrypter(KEYRING, lambda: KEY.key_id)


class Heard:
    """All events by payment and refund, each id once."""

    def __init__(self, events: list[Outgoing]) -> None:
        self.by_id: dict[str, Outgoing] = {}
        self.problems: list[str] = []
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.about: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.rejected: set[str] = set()
        for event in events:
            first = self.by_id.setdefault(event.message_id, event)
            if first is not event:
                if (first.body, dict(first.headers)) != (event.body, dict(event.headers)):
                    self.problems.append(f"event {event.message_id} was heard with two contents")
                continue
            body = json.loads(event.body)
            if event.type == "CommandRejected":
                self.rejected.add(body["command_id"])
                continue
            self.sequences[body["payment_id"]].append(body["sequence"])
            self.about[body.get("refund_id") or body["payment_id"]].append({"type": event.type, **body})

    def ends(self, subject: str, kinds: set[str]) -> list[str]:
        """Which endings were heard of a payment or refund."""
        return [event["type"] for event in self.about[subject] if event["type"] in kinds]


def judge(world: World) -> list[str]:
    """Say everything that is wrong after a run."""
    heard = Heard(world.broker.events)
    world.gateway.settle(world.now)
    found = [*world.problems, *heard.problems]
    found += _sequences(heard)
    found += _payments(world, heard)
    found += _captures(world, heard)
    found += _refunds(world, heard)
    found += _orders(world)
    found += _commands(world, heard)
    found += _conclusions(world, heard)
    found += _keys(world)
    found += _outbox(world, heard)
    found += verify(world.url).problems
    return found


# --- what was announced ------------------------------------------------------------------------------------------


def _sequences(heard: Heard) -> Iterator[str]:
    for payment_id, numbers in heard.sequences.items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{payment_id}: events were first heard in the order {numbers}"


def _outbox(world: World, heard: Heard) -> Iterator[str]:
    """What was heard is what is written down, and the other way round."""
    written = {
        f"{stream}.e{sequence}": decrypted_body(_ENCRYPTER, stream, sequence, bytes(body))
        for stream, sequence, body in world.books.rows("SELECT stream, sequence, body FROM outbox")
    }
    for event_id in sorted(written.keys() - heard.by_id.keys()):
        yield f"event {event_id} was written down and never heard"
    for event_id, event in heard.by_id.items():
        if event_id not in written:
            yield f"event {event_id} was heard and is not written down"
        elif written[event_id] != event.body:
            yield f"event {event_id} was heard otherwise than it is written down"


def _commands(world: World, heard: Heard) -> Iterator[str]:
    """Every command has ended in an event, a rejection, or a dead letter."""
    dead = {letter.body for letter in world.broker.dead_letters}
    for letter in world.broker.dead_letters:
        if letter.headers["fail-reason"] == "handler_failed":
            yield f"a command was put aside: {letter.headers['fail-detail']}"
    for sent in world.setting.commands:
        if sent.message_id not in heard.rejected and sent.body not in dead and not _has_ended(sent, heard):
            yield f"{sent.message_id} ended in nothing"


def _has_ended(sent: Sent, heard: Heard) -> bool:
    command = json.loads(sent.body)
    if sent.type == "RefundRequested":
        return bool(heard.ends(command["refund_id"], ENDS_OF_REFUNDS))
    if sent.type == "CaptureRequested":
        return bool(_ends_of_capture(heard, command["payment_id"], command["capture_id"]))
    if sent.type == "VoidRequested":
        given_back = heard.ends(own_refund_id(command["payment_id"], "void"), ENDS_OF_REFUNDS)
        return bool(given_back or heard.ends(command["payment_id"], ENDS_OF_VOIDS))
    return bool(heard.ends(command.get("payment_id", ""), ENDS_OF_PAYMENTS))


# --- what was done -----------------------------------------------------------------------------------------------


HELD_AND_MORE = [
    ["PaymentAuthorized", end] for end in ("PaymentVoided", "PaymentExpired", "PaymentSucceeded")
]
"""What is held is called off, lapses, or is captured: once, for this gateway captures a payment once."""


def _payments(world: World, heard: Heard) -> Iterator[str]:
    taken: dict[str, list[Entry]] = defaultdict(list)
    held: dict[str, list[Entry]] = defaultdict(list)
    given = _given_back(world)
    for entry in world.gateway.effects(Operation.SALE) + world.gateway.effects(Operation.CAPTURE):
        taken[entry.payment_id].append(entry)
    for entry in world.gateway.effects(Operation.AUTHORIZE):
        held[entry.payment_id].append(entry)
    for payment_id in sorted(taken.keys() | held.keys() | heard.sequences.keys()):
        times, ends = len(taken[payment_id]), heard.ends(payment_id, ENDS_OF_PAYMENTS)
        back_again = sum(e.amount.minor for e in taken[payment_id]) == given[payment_id]
        if times > 1:
            yield f"{payment_id} was charged {times} times"
        if len(held[payment_id]) > 1:
            yield f"{payment_id} holds the money {len(held[payment_id])} times"
        if len(ends) > 1 and ends not in HELD_AND_MORE:
            yield f"{payment_id} was announced as {ends}"
        if times and "PaymentSucceeded" not in ends and not back_again:
            yield f"{payment_id} was charged and announced as {ends}"
        if "PaymentSucceeded" in ends and not times:
            yield f"{payment_id} was announced as succeeded and never charged"
        if held[payment_id] and ends != ["PaymentAuthorized"]:
            yield f"{payment_id} holds money and was announced as {ends}"
        if ends == ["PaymentAuthorized"] and not held[payment_id]:
            yield f"{payment_id} was announced as authorized and holds nothing"
        yield from _amounts(payment_id, taken[payment_id], heard)


def _given_back(world: World) -> Counter[str]:
    given: Counter[str] = Counter()
    for entry in world.gateway.effects(Operation.REFUND):
        given[entry.payment_id] += entry.amount.minor
    return given


def _captures(world: World, heard: Heard) -> Iterator[str]:
    """A capture is announced as what it came to at the gateway, once."""
    times: Counter[str] = Counter()
    for entry in world.gateway.effects(Operation.CAPTURE):
        times[entry.key.rpartition(".")[0]] += 1
    for sent in world.setting.commands:
        if sent.type == "CaptureRequested":
            command = json.loads(sent.body)
            name = command["capture_id"]
            ends = _ends_of_capture(heard, command["payment_id"], name)
            if len(ends) > 1:
                yield f"{name} was announced as {ends}"
            if ("PaymentSucceeded" in ends) != bool(times[name]):
                yield f"{name} was captured {times[name]} times and announced as {ends}"


def _ends_of_capture(heard: Heard, payment_id: str, capture_id: str) -> list[str]:
    return [event["type"] for event in heard.about[payment_id] if event.get("capture_id") == capture_id]


def _amounts(payment_id: str, charged: list[Entry], heard: Heard) -> Iterator[str]:
    for event in heard.about[payment_id]:
        if event["type"] == "PaymentSucceeded" and charged:
            taken = {"minor": charged[0].amount.minor, "currency": charged[0].amount.currency}
            if event["captured"] != taken:
                yield f"{payment_id}: {taken} was taken, {event['captured']} announced"


def _refunds(world: World, heard: Heard) -> Iterator[str]:
    taken: Counter[str] = Counter()
    given = _given_back(world)
    times: dict[str, list[Entry]] = defaultdict(list)
    for entry in world.gateway.effects(Operation.SALE) + world.gateway.effects(Operation.CAPTURE):
        taken[entry.payment_id] += entry.amount.minor
    for entry in world.gateway.effects(Operation.REFUND):
        times[entry.key.rpartition(".")[0]].append(entry)
    for payment_id, amount in given.items():
        if amount > taken[payment_id]:
            yield f"{payment_id}: {amount} was given back of {taken[payment_id]}"
    refunds = {subject for subject in heard.about if heard.ends(subject, ENDS_OF_REFUNDS)}
    for refund_id in sorted(times.keys() | refunds):
        ends = heard.ends(refund_id, ENDS_OF_REFUNDS)
        if len(ends) > 1:
            yield f"{refund_id} was announced as {ends}"
        if len(times[refund_id]) > 1:
            yield f"{refund_id} was given back {len(times[refund_id])} times"
        if ("RefundProcessed" in ends) != bool(times[refund_id]):
            yield f"{refund_id} was given back {len(times[refund_id])} times and announced as {ends}"
        for event in heard.about[refund_id]:
            if event["type"] == "RefundProcessed" and times[refund_id]:
                amount = times[refund_id][0].amount.minor
                if event["amount"]["minor"] != amount:
                    yield f"{refund_id}: {amount} was given back, {event['amount']['minor']} announced"


def _orders(world: World) -> Iterator[str]:
    paid: Counter[str] = Counter()
    for operation in (Operation.SALE, Operation.AUTHORIZE):
        paid.update(entry.order_id for entry in world.gateway.effects(operation) if entry.order_id)
    for order_id, times in paid.items():
        if times > 1:
            yield f"{order_id} was paid {times} times"


def _keys(world: World) -> Iterator[str]:
    """What the gateway was asked was written down before, under the same key."""
    for name in world.line.unwritten:
        yield f"call {name} left before it was written down"
    left = Counter(f"{call.attempt_id}#{call.call_number}" for call, _ in world.line.sent)
    for name, times in left.items():
        if times > 1:  # a number is given in one transaction: whoever commits it makes the call
            yield f"call {name} left {times} times"
    written = {attempt_id for (attempt_id,) in world.books.rows("SELECT attempt_id FROM attempts")}
    for key in sorted({call.request.attempt_id for call, _ in world.line.sent} - written):
        yield f"the gateway was asked under {key}, which is not written down"


# --- what was concluded ------------------------------------------------------------------------------------------


def _conclusions(world: World, heard: Heard) -> Iterator[str]:
    """Unknown is announced as failed only if nothing was ever sent, or absence was proven."""
    for subject in list(heard.about):
        for event in heard.about[subject]:
            if event["type"] in ("PaymentFailed", "RefundFailed") and event["category"] == "failed":
                attempt_id = f"{subject}.{'r' if event['type'] == 'RefundFailed' else 'a'}1"
                yield from _failed(world, attempt_id, event["reason"])
            if event["type"] == "PaymentCaptureFailed" and event["category"] == "failed":
                yield from _failed(world, f"{event['capture_id']}.c1", event["reason"])


def _failed(world: World, attempt_id: str, reason: str) -> Iterator[str]:
    told = {t.call_number: t for t in world.line.told if t.attempt_id == attempt_id}
    calls = [(call, at) for call, at in world.line.sent if call.attempt_id == attempt_id]
    sends = [
        (call, at)
        for call, at in calls
        if not isinstance(call.request, LookupRequest)
        and not is_opening(call, two_steps=world.setting.manner.two_steps)
    ]
    if reason == "never_executed":
        last = max((at for _, at in sends), default=None)
        if not _proven_absent(list(told.values()), since=last):
            yield f"{attempt_id} was announced as never executed without proof"
        return
    for call, _ in sends:
        answer = told.get(call.call_number)
        if answer is None or not isinstance(answer.answer, NotSent):
            yield f"{attempt_id} was announced as {reason}, but call {call.call_number} may have been executed"


def _proven_absent(told: list[Told], *, since: datetime | None) -> bool:
    seen = [
        t.arrived_at
        for t in told
        if isinstance(t.answer, Absent)
        and t.arrived_at is not None
        and (since is None or t.arrived_at >= since)
    ]
    return len(seen) > 1 and max(seen) - min(seen) >= ABSENCE
