"""Letters as JSON lines, without loss: headers, properties and body come back byte for byte."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any

from ledger.letters import Letter, LetterState, as_json, from_json

_TIMES = ("first_dead_at", "dead_at", "state_at", "snoozed_until")


class NoLetter(Exception):
    """A line is none of an export; the text names it."""


def to_line(letter: Letter) -> str:
    """Write a letter. It holds what was sent, tokens too: keep the file as safe as the database."""
    told: dict[str, Any] = {each.name: getattr(letter, each.name) for each in fields(Letter)}
    for name in _TIMES:
        told[name] = told[name] and told[name].isoformat()
    told |= {
        "state": letter.state.value,
        "properties": json.loads(as_json(letter.properties)),
        "headers": json.loads(as_json(letter.headers)),
        "body": b64encode(letter.body).decode(),
    }
    return json.dumps(told, ensure_ascii=False)


def from_lines(lines: Iterable[str]) -> Iterator[Letter]:
    """Read letters.

    Raises:
        NoLetter: a line is none.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            for name in _TIMES:
                told[name] = datetime.fromisoformat(told[name]) if told[name] else None
            told |= {
                "state": LetterState(told["state"]),
                "properties": from_json(json.dumps(told["properties"])),
                "headers": from_json(json.dumps(told["headers"])),
                "body": b64decode(told["body"], validate=True),
            }
            yield Letter(**told)
        except (ValueError, TypeError, KeyError) as error:
            raise NoLetter(
                f"line {number} is no letter as `payments dead-letters export` writes it ({type(error).__name__})"
            ) from None
