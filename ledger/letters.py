"""Dead letters as rows: taken in from their queues, changed by operators, sent back through the outbox.

All of it happens inside a ledger's turn, so that what is done to a letter and the audit line that tells of it are
one commit.
"""

from __future__ import annotations

import dataclasses
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from ledger import tables
from ledger.bulk import Bulk, Row
from ledger.encrypted_rows import LETTER, encrypt_rows
from ledger.encryption import Encrypter
from ledger.errors import CannotDecrypt
from ledger.records import OutboxEvent, Settled

LETTER_HEADER = "letter-id"
"""The header a letter carries when it is sent back: whoever settles it, or gives it up again, knows which it was."""

PREFIX = "dl_"


class LetterState(StrEnum):
    """Where a dead letter stands."""

    NEW = "new"
    REQUEUED = "requeued"
    EDITED = "edited"
    PARKED = "parked"
    DISCARDED = "discarded"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter. Its columns are these fields, but `body`, which is stored encrypted."""

    letter_id: str
    queue: str
    """The work queue it was given up in, and goes back to."""
    exchange: str
    routing_key: str
    message_id: str
    type: str
    source: str
    payment_id: str | None
    order_id: str | None
    reason: str
    detail: str
    field: str
    fingerprint: str
    properties: Mapping[str, str]
    headers: Mapping[str, Any]
    """As they were published, without those that tell why it died."""
    body: bytes = dataclasses.field(repr=False)
    redacted: bool
    """Card data was blanked out of it: it is not what was sent, and cannot be sent back."""
    first_dead_at: datetime
    dead_at: datetime
    deaths: int = 1
    state: LetterState = LetterState.NEW
    state_at: datetime
    actor: str = ""
    note: str = ""
    snoozed_until: datetime | None = None
    requeues: int = 0
    outcome: str = ""
    """What became of it when it was sent back, in the worker's words."""
    replaced_by: str | None = None
    proposal: str | None = None
    """What one operator wants done to it and another must approve; JSON."""

    @property
    def is_open(self) -> bool:
        """Whether it still waits for somebody."""
        return self.state in (LetterState.NEW, LetterState.PARKED)


_COLUMNS = tuple("content" if each.name == "body" else each.name for each in fields(Letter))
_CHANGING = _COLUMNS[_COLUMNS.index("reason") :]
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM dead_letters"


class Letters:
    """The letters, inside one transaction."""

    def __init__(self, bulk: Bulk, encrypter: Encrypter) -> None:
        self._bulk = bulk
        self._encrypter = encrypter

    def named(self, letter_ids: Sequence[str]) -> dict[str, Letter]:
        """Read and lock some letters, in the order of their ids."""
        if not letter_ids:
            return {}
        found = self._bulk.query(
            f"{_SELECT} WHERE letter_id {{keys}} ORDER BY letter_id {{lock}}", sorted(set(letter_ids))
        )
        return {letter.letter_id: letter for letter in self._letters(found())}

    def add(self, letters: Iterable[Letter]) -> None:
        """Write letters that are new here; one that is there already stays as it is."""
        self._insert(letters, "ON CONFLICT (letter_id) DO NOTHING")

    def keep(self, letters: Iterable[Letter]) -> None:
        """Write letters as they stand now."""
        again = ", ".join(f"{name} = excluded.{name}" for name in _CHANGING)
        self._insert(letters, f"ON CONFLICT (letter_id) DO UPDATE SET {again}")

    def send_back(self, letters: Sequence[Letter], *, now: datetime) -> None:
        """Put a row for each into the outbox: a worker's relay publishes it to the queue the letter came from."""
        columns = (
            "stream", "sequence", "subject", "type", "exchange", "routing_key", "headers", "body", "created_at"
        )  # fmt: skip
        rows = [
            (
                letter.letter_id,
                letter.requeues,
                letter.letter_id,
                letter.type,
                "",
                letter.queue,
                "{}",
                b"",
                now,
            )
            for letter in letters
        ]
        if rows:
            self._bulk.insert(tables.outbox, columns, rows)

    def settle(self, settled: Sequence[Settled]) -> None:
        """Note what a worker has made of letters that were sent back."""
        known = self.named([one.letter_id for one in settled])
        resolved = []
        for one in settled:
            letter = known.get(one.letter_id)
            # A header can be forged: only the very message that was sent back counts.
            if (
                letter is not None
                and letter.message_id == one.message_id
                and letter.state is LetterState.REQUEUED
            ):
                resolved.append(
                    replace(letter, state=LetterState.RESOLVED, state_at=one.at, outcome=one.outcome)
                )
        self.keep(resolved)

    def _insert(self, letters: Iterable[Letter], on_conflict: str) -> None:
        rows = sorted((_row(letter) for letter in letters), key=lambda row: str(row[0]))
        if rows:
            rows = encrypt_rows(self._encrypter, "dead_letters", _COLUMNS, LETTER, rows)
            self._bulk.insert(tables.dead_letters, _COLUMNS, rows, on_conflict=on_conflict)

    def _letters(self, rows: list[Row]) -> list[Letter]:
        at = _COLUMNS.index("content")
        contents = self._encrypter.decrypt(
            "dead_letters.content", [row[0] for row in rows], [row[at] for row in rows]
        )
        return [
            letter_of(dict(zip(_COLUMNS, row, strict=True)), content or "")
            for row, content in zip(rows, contents, strict=True)
        ]

    def find(self, *, states: Iterable[LetterState] = (), limit: int = 100_000) -> list[Letter]:
        """Read letters without locking them, the oldest first; of all states, unless some are named."""
        named = [state.value for state in states]
        where = "WHERE state {keys} " if named else ""
        sql = f"{_SELECT} {where}ORDER BY first_dead_at, letter_id LIMIT {{value}}"
        return self._letters(self._bulk.query(sql, *([named] if named else []), limit)())

    def one(self, letter_id: str) -> Letter:
        """Read a letter.

        Raises:
            CannotDecrypt: it does not open, or is not there.
        """
        found = self._letters(self._bulk.query(f"{_SELECT} WHERE letter_id = {{value}}", letter_id)())
        if not found:
            raise CannotDecrypt(f"there is no dead letter {letter_id}")
        return found[0]

    def about(self, payment_id: str) -> list[Letter]:
        """Read the letters about a payment, the oldest first."""
        sql = f"{_SELECT} WHERE payment_id = {{value}} ORDER BY first_dead_at, letter_id"
        return self._letters(self._bulk.query(sql, payment_id)())


def sent_back(row: OutboxEvent, letter: Letter) -> OutboxEvent:
    """An outbox row that names a letter, as the message it stands for."""
    headers = {**letter.headers, LETTER_HEADER: letter.letter_id}
    return replace(row, headers=headers, body=letter.body, properties=letter.properties)


def _row(letter: Letter) -> Row:
    values: list[Any] = []
    for each in fields(Letter):
        value = getattr(letter, each.name)
        match each.name:
            case "properties" | "headers":
                value = as_json(value)
            case "body":
                value = b64encode(value).decode()
            case "state":
                value = value.value
        values.append(value)
    return tuple(values)


def letter_of(columns: Mapping[str, Any], content: str) -> Letter:
    """Make a letter of its columns and its decrypted content."""
    values = {name: value for name, value in columns.items() if name != "content"}
    for name in ("first_dead_at", "dead_at", "state_at", "snoozed_until"):
        if isinstance(values[name], str):
            values[name] = datetime.fromisoformat(values[name])
    return Letter(
        **{
            **values,
            "properties": from_json(values["properties"]),
            "headers": from_json(values["headers"]),
            "body": b64decode(content),
            "redacted": bool(values["redacted"]),
            "state": LetterState(values["state"]),
        }
    )


def as_json(value: Any) -> str:
    """Write what AMQP headers hold as JSON, without loss: bytes and times are marked as such."""
    return json.dumps(value, default=_marked, ensure_ascii=False, sort_keys=True)


def _marked(value: object) -> object:
    match value:
        case bytes():
            return {"$bytes": b64encode(value).decode()}
        case datetime():
            return {"$time": value.isoformat()}
        case _:
            return {"$text": str(value)}


def from_json(text: str) -> Any:
    """Read what `as_json` wrote."""
    return json.loads(text, object_hook=_unmarked)


def _unmarked(value: dict[str, Any]) -> Any:
    match value:
        case {"$bytes": str(text), **rest} if not rest:
            return b64decode(text)
        case {"$time": str(text), **rest} if not rest:
            return datetime.fromisoformat(text)
        case {"$text": str(text), **rest} if not rest:
            return text
        case _:
            return value
