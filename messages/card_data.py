"""Finds card numbers, security codes and track data in whatever is handed to us, and blanks them out.

The first line of the firewall that keeps card data out (PCI DSS 3.2.1, 3.3.1). What is recognised, what is not and
why: docs/card-data.md. Nothing here ever hands a number on: a `Hit` says where it was, not what it was.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from messages.card_patterns import (
    BASE64_DIGITS,
    BASE64_TOKEN,
    HEX_DIGITS,
    SECURITY_CODE,
    SECURITY_CODE_NAME,
    TRACK,
    card_numbers,
    is_a_known_reference,
    levelled,
    may_hold_card_data,
    name_of,
    unescaped,
)

DEEPEST = 8
"""Layers of encoding that are taken off: a string of JSON in a string of JSON, base64, percent signs."""

MAX_PATH = 200
"""Characters of a path that are told: the sender chose its names."""


class Kind(StrEnum):
    """What was found."""

    CARD_NUMBER = "card_number"
    SECURITY_CODE = "security_code"
    TRACK = "track"


@dataclass(frozen=True, slots=True)
class Hit:
    """Where card data was found. It does not hold the data."""

    path: str
    """The names that lead there, joined by dots; a name that is itself a number is blanked out."""
    kind: Kind
    scheme: str | None = None


def find(body: bytes | str) -> list[Hit]:
    """Tell where card data is in a message's body; cheap where there is none (docs/card-data.md has figures)."""
    raw = body if isinstance(body, bytes) else body.encode(errors="replace")
    if not may_hold_card_data(raw):
        return []
    return find_in(raw)


def find_in(value: object) -> list[Hit]:
    """Tell where card data is in a value: bytes, text, a number, or a mapping or list of such."""
    search = _Search(is_thorough=False)
    search.value(value, path="", name="", depth=0)
    return search.hits


def redacted(text: str, *, name: str = "") -> str:
    """The text without card data; the very same text where there is none. `name` is what it is called."""
    if not may_hold_card_data(f"{name}\x01{text}".encode(errors="replace")):
        return text
    found = redacted_value(text, name=name)
    assert isinstance(found, str)
    return found


def redacted_body(body: bytes) -> bytes:
    """The body without card data; JSON stays JSON, and the very same bytes come back where there is none."""
    found = redacted_value(body)
    assert isinstance(found, bytes)
    return found


def redacted_value(value: Any, *, name: str = "") -> Any:
    """The value without card data, in whatever it is nested; `name` is what it is called."""
    return _Search().value(value, path=name, name=name, depth=0)


class _Search:
    """One walk through a value: makes it anew without what it finds, and writes down where that was."""

    def __init__(self, *, is_thorough: bool = True) -> None:
        self.hits: list[Hit] = []
        self._is_thorough = is_thorough

    def value(self, value: Any, *, path: str, name: str, depth: int) -> Any:
        match value:
            case str():
                return self._text(value, path=path, name=name, depth=depth)
            case bytes():
                return self._bytes(value, path=path, name=name, depth=depth)
            case bool() | None:
                return value
            case int() | float():
                written = str(value)
                found = self._text(written, path=path, name=name, depth=depth)
                return value if found == written else found
            case Mapping():
                return self._mapping(value, path=path, depth=depth)
            case list() | tuple():
                parts = [
                    self.value(part, path=_below(path, str(at)), name=name, depth=depth)
                    for at, part in enumerate(value)
                ]
                return value if all(map(_same, parts, value)) else type(value)(parts)
            case _:
                return value

    def _mapping(self, value: Mapping[Any, Any], *, path: str, depth: int) -> Mapping[Any, Any]:
        changed: dict[Any, Any] = {}
        for key, part in value.items():
            written = str(key)
            told = self._text(written, path=path, name="", depth=depth)
            below = self.value(part, path=_below(path, told), name=written, depth=depth)
            changed[key if told == written else told] = below
        same = len(changed) == len(value) and all(
            key in changed and _same(changed[key], part) for key, part in value.items()
        )
        return value if same else changed

    def _bytes(self, raw: bytes, *, path: str, name: str, depth: int) -> bytes:
        """Bytes that are no text are left alone, but for what text they may hold."""
        text = raw.decode(errors="surrogateescape")
        found = self._text(text, path=path, name=name, depth=depth)
        if found == text:
            return raw
        try:
            return found.encode(errors="surrogateescape")
        except UnicodeEncodeError:  # half a character, which JSON can write and UTF-8 cannot
            return found.encode(errors="replace")

    def _text(self, text: str, *, path: str, name: str, depth: int) -> str:
        """Text as it is, then with one layer of encoding after the other taken off."""
        if depth > DEEPEST or len(text) < 3:
            return text
        parsed = _parsed(text)
        if parsed is not None:
            try:
                found = self.value(parsed, path=path, name=name, depth=depth + 1)
                return text if found is parsed else json.dumps(found)
            except RecursionError:
                pass  # too deep to walk: as text it is looked through all the same
        if not (self._is_thorough or may_hold_card_data(f"{name}\x01{text}".encode(errors="replace"))):
            return text
        text = self._plain(text, path=path, name=name)
        text = self._in_base64(text, path=path, depth=depth)
        for decode in (unescaped, _unpacked):
            decoded = decode(text)
            if decoded != text:
                found = self._text(decoded, path=path, name=name, depth=depth + 1)
                if found != decoded:
                    return found
        return text

    def _plain(self, text: str, *, path: str, name: str) -> str:
        """Blank out what stands there to be read."""
        if SECURITY_CODE_NAME.search(name_of(name)) and re.fullmatch(r"\s*\d{3,4}\s*", text):
            self.hits.append(Hit(path, Kind.SECURITY_CODE))
            return _blank(Kind.SECURITY_CODE)
        level = levelled(text)
        spans = sorted(self._spans(level, path, name), key=lambda span: (span[0], -span[1]))
        if not spans:
            return text
        parts, end = [], 0
        for start, stop, kind in spans:
            if start >= end:
                parts += [text[end:start], _blank(kind)]
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def _spans(self, text: str, path: str, name: str) -> Iterator[tuple[int, int, Kind]]:
        for track in TRACK.finditer(text):
            self.hits.append(Hit(path, Kind.TRACK))
            yield *track.span(), Kind.TRACK
        for start, stop, scheme in card_numbers(text):
            if not is_a_known_reference(name, text):
                self.hits.append(Hit(path, Kind.CARD_NUMBER, scheme))
                yield start, stop, Kind.CARD_NUMBER
        for code in SECURITY_CODE.finditer(text):
            self.hits.append(Hit(path, Kind.SECURITY_CODE))
            yield *code.span("code"), Kind.SECURITY_CODE

    def _in_base64(self, text: str, *, path: str, depth: int) -> str:
        """Look into what is, or holds, base64; what is blanked out is put into base64 again."""
        parts, end = [], 0
        for token in BASE64_TOKEN.finditer(text):
            at = token.start()
            digits = BASE64_DIGITS.search(text, at, token.end())
            # Where digits can be seen through it, their place tells where the groups of four begin.
            begin = at if digits is None else at + (digits.start() - at) % 4
            if digits is None and token.span() != (0, len(text)):
                continue
            content = _from_base64(text[begin : token.end()])
            if content is None:
                continue
            found = self._bytes(content, path=path, name="", depth=depth + 1)
            if found != content:
                parts += [text[end:begin], base64.b64encode(found).decode()]
                end = token.end()
        return "".join([*parts, text[end:]]) if parts else text


def _same(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def _blank(kind: Kind) -> str:
    return f"[redacted {kind.replace('_', ' ')}]"


def _below(path: str, name: str) -> str:
    return (f"{path}.{name}" if path else name)[:MAX_PATH]


def _parsed(text: str) -> Any:
    """What the text says in JSON, if it is an object, a list or a string; an object's repeated names are kept."""
    start = text.lstrip()[:1]
    if start not in ("{", "[", '"'):
        return None
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        return None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError  # as a mapping it would lose one of the values: it is looked through as text
    return fields


def _unpacked(text: str) -> str:
    """Digits written as the hexadecimal codes of their characters."""
    return HEX_DIGITS.sub(lambda found: bytes.fromhex(found[0]).decode(), text)


def _from_base64(token: str) -> bytes | None:
    token = token.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    token += "=" * (-len(token) % 4)
    try:
        return base64.b64decode(token)
    except (binascii.Error, ValueError):
        return None
