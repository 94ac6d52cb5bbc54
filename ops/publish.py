"""Put commands on the bus from a file: for operators, for trying things out, and for the demo."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from consumers.bus import KombuBus, Tls
from consumers.delivery import BusDown, Outgoing
from messages.card_data import find
from messages.commands import COMMANDS
from messages.envelope import Unreadable, data_schema, read_command

CONFIRM_WAIT_S = 30.0
BATCH = 500


class BadLine(Exception):
    """A line is no command; the text names the line and the field."""


class NotPublished(Exception):
    """The broker did not confirm everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One command as a line of JSON gives it."""

    id: str
    type: str
    source: str
    data: bytes

    def headers(self) -> dict[str, str]:
        """The CloudEvents attributes in binary mode."""
        return {
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": self.id,
            "cloudEvents_type": self.type,
            "cloudEvents_source": self.source,
            "cloudEvents_dataschema": data_schema(self.type),
        }

    def check(self) -> None:
        """Read it as the worker would. Raises: Unreadable."""
        read_command(content_type="application/json", headers=self.headers(), body=self.data)


def read_lines(lines: Iterable[str], *, checked: bool) -> Iterator[CommandLine]:
    """Read JSON lines: whole CloudEvents, or just `{"type": …, "data": {…}}`. Blank lines are passed over.

    Raises:
        BadLine: for a line the worker would reject, if `checked`; for a line that is no such object, always.
    """
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            command = CommandLine(
                id=str(line.get("id") or uuid.uuid4()),
                type=line["type"],
                source=line.get("source", "/payments-cli"),
                data=json.dumps(line["data"]).encode(),
            )
            if command.type not in COMMANDS:
                raise BadLine(f"line {number}: type {command.type!r} is none of {', '.join(COMMANDS)}")
            if checked and find(text):
                raise BadLine(
                    f"line {number}: it holds card data, which is never sent: put a gateway's token there"
                )
            if checked:
                command.check()
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise BadLine(f'line {number}: not a JSON object with "type" and "data" ({error})') from None
        except Unreadable as why:
            raise BadLine(f"line {number}: {why.message}") from None
        yield command


def publish(
    urls: Sequence[str],
    commands: Iterable[CommandLine],
    *,
    tls: Tls | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Publish and wait for the broker's confirms; returns how many were confirmed.

    Raises:
        NotPublished: some were not confirmed; publishing them all again is safe, ids make a repeat harmless.
        BusDown, BusRefused: the broker cannot be had.
    """
    bus = KombuBus(urls=urls, queues=(), prefetch=1, tls=tls)
    bus.open()
    sent = done = 0
    batch: list[Outgoing] = []
    try:
        for command in commands:
            batch.append(_message(command))
            if len(batch) >= BATCH:
                sent, done = sent + len(batch), done + _flush(bus, batch)
                progress(done)
        sent, done = sent + len(batch), done + _flush(bus, batch)
        progress(done)
    except BusDown as error:
        raise NotPublished(f"the broker was lost after {done} confirmed commands: {error}") from error
    finally:
        bus.close()
    return done


def _flush(bus: KombuBus, batch: list[Outgoing]) -> int:
    waiting = {message.receipt for message in batch}
    bus.publish(batch)
    count = len(batch)
    batch.clear()
    deadline = monotonic() + CONFIRM_WAIT_S
    while waiting:
        bus.receive(wait_s=0.1, limit=0)
        receipts = bus.receipts()
        if receipts.failed or monotonic() > deadline:
            raise NotPublished(
                f"{len(waiting)} of {count} commands were not confirmed; publish the file again"
            )
        waiting.difference_update(receipts.confirmed)
    return count


def _message(command: CommandLine) -> Outgoing:
    model = COMMANDS[command.type]
    return Outgoing(
        exchange=model.exchange,
        routing_key=model.routing_key,
        body=command.data,
        message_id=command.id,
        type=command.type,
        headers=command.headers(),
        mandatory=True,
        receipt=uuid.uuid4(),
    )
