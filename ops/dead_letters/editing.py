"""A letter with another content: checked against the schema, under a new name, and never a replay under an old key."""

from __future__ import annotations

import difflib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ledger.letters import PREFIX, Letter, LetterState
from messages.card_data import find, redacted
from messages.commands import COMMANDS
from messages.envelope import Unreadable, read_command
from ops.dead_letters.changing import Refused
from ops.dead_letters.choosing import content_of

SECRET_NAMES = ("token", "client_secret", "brought", "payload", "details")
_KEYS = {"PaymentRequested": "payment_id", "RefundRequested": "refund_id", "CaptureRequested": "capture_id"}
"""What names the operation at the gateway, by command: its idempotency key is made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """One place where a body differs from its schema."""

    at: str
    problem: str
    found: str


def wrongs(letter: Letter) -> list[Wrong]:
    """Compare a letter's body with the schema of its type."""
    content = content_of(letter)
    if content is None:
        return [Wrong(at="", problem="the body is not JSON", found="")]
    model = COMMANDS.get(letter.type)
    if model is None:
        known = ", ".join(sorted(COMMANDS))
        return [
            Wrong(
                at="type",
                problem=f"no command is called that; there are {known}",
                found=redacted(letter.type),
            )
        ]
    data = content["data"] if isinstance(content, dict) and "specversion" in content else content
    try:
        model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        return [
            Wrong(at=".".join(map(str, one["loc"])), problem=one["msg"], found=_given(data, one["loc"]))
            for one in error.errors()
        ]
    return []


def _given(data: Any, path: Sequence[int | str]) -> str:
    for name in path:
        try:
            data = data[name]
        except (KeyError, IndexError, TypeError):
            return ""
    if path and str(path[-1]) in SECRET_NAMES:
        return "(hidden)"
    return redacted(json.dumps(data))[:80]


def set_in(content: Any, changes: Mapping[str, str]) -> Any:
    """A copy of a body with values set, by paths such as `amount.currency`; values are JSON, or else text.

    Raises:
        Refused: a path leads nowhere.
    """
    changed = json.loads(json.dumps(content))
    for path, text in changes.items():
        *names, last = path.removeprefix("body.").split(".")
        place = changed
        for name in names:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise Refused(f"{path} leads nowhere in this body")
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text
    return changed


def edited(
    letter: Letter,
    content: Any,
    *,
    headers: Mapping[str, str],
    is_known: Callable[[str, str], bool],
    now: datetime,
) -> Letter:
    """Make the letter that takes another one's place: with the new content, a new id, and its cause named.

    `headers` are set beside those it has. `is_known` says whether the service has recorded an operation, by the
    name of its id and the id.

    Raises:
        Refused: the new content is none that the service would take, or a gateway knows it with the old one.
    """
    body = json.dumps(content, ensure_ascii=False).encode()
    if find(body) or find(json.dumps(dict(headers))):
        raise Refused("the new content has card data in it: tokens only")
    before, after = _data(content_of(letter)), _data(content)
    name = _KEYS.get(letter.type)
    key = str(before.get(name)) if name else ""
    if (
        name
        and before.get("amount") != after.get("amount")
        and after.get(name) == before.get(name)
        and is_known(name, key)
    ):
        raise Refused(
            f"{name} {key} is recorded with the old amount, and its key at the gateway is bound to that: "
            f"give it a new {name} as well, with --set {name}=…"
        )
    message_id = str(uuid.uuid4())
    headers = {**letter.headers, **headers}
    if isinstance(content, dict) and "specversion" in content:
        content = {**content, "id": message_id, "causationid": letter.message_id}
        body = json.dumps(content, ensure_ascii=False).encode()
    else:
        headers = {**headers, "cloudEvents_id": message_id, "cloudEvents_causationid": letter.message_id}
    try:
        read_command(content_type=letter.properties.get("content_type"), headers=headers, body=body)
    except Unreadable as why:
        at = f"{why.field}: " if why.field else ""
        raise Refused(f"the service would refuse it: {at}{why.message}") from None
    return replace(
        letter,
        letter_id=PREFIX + uuid.uuid4().hex[:16],
        message_id=message_id,
        payment_id=after.get("payment_id", letter.payment_id),
        order_id=after.get("order_id", letter.order_id),
        properties={**letter.properties, "message_id": message_id},
        headers=headers,
        body=body,
        state=LetterState.NEW,
        state_at=now,
        requeues=0,
        outcome="",
        note=f"edited from {letter.letter_id}",
        proposal=None,
    )


def _data(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    data = content.get("data") if "specversion" in content else content
    return data if isinstance(data, dict) else {}


def difference(before: Letter, after: Letter) -> list[str]:
    """What an edit changes, line by line; secrets are hidden, card numbers blanked out."""
    old, new = (json.dumps(shown(content_of(one)), indent=2).splitlines() for one in (before, after))
    return [
        line for line in difflib.unified_diff(old, new, lineterm="", n=1) if line[:3] not in ("---", "+++")
    ]


def shown(content: Any) -> Any:
    """A body as it may be looked at."""
    match content:
        case dict():
            return {
                redacted(name): "(hidden)" if name in SECRET_NAMES and value else shown(value)
                for name, value in content.items()
            }
        case list():
            return [shown(value) for value in content]
        case str():
            return redacted(content)
        case _:
            return content
