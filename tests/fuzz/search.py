"""Looks through files for numbers that must not be there, in any form: written down, separated, escaped, encoded.

It shares no line with the service's own recognition: what that overlooks, this is to find.
"""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

PIECE = 4 * 1024 * 1024
OVERLAP = 64 * 1024
_RUN = re.compile(r"\d(?:[^0-9A-Za-z\"',:;{}\[\]]{0,6}\d){11,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}")
_HEX = re.compile(r"(?:3[0-9]){12,}")
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrt])")


@dataclass(slots=True)
class Searched:
    """What was looked through, and what was found."""

    bytes: int = 0
    files: list[str] = field(default_factory=list)
    found: list[tuple[str, str]] = field(default_factory=list)
    """The file and the number. For the eyes of whoever mends the service: these cards are invented."""


def search(paths: Iterable[Path], numbers: set[str]) -> Searched:
    """Look through files for numbers."""
    searched = Searched()
    for path in sorted(paths):
        searched.files.append(path.name)
        for piece in _pieces(path):
            searched.bytes += len(piece)
            searched.found += [(path.name, number) for number in found_in(piece, numbers)]
    return searched


def found_in(piece: bytes, numbers: set[str]) -> set[str]:
    """Which of the numbers are in some bytes."""
    found: set[str] = set()
    text = piece.decode("utf-8", errors="replace")
    for view in _views(text):
        for run in _RUN.findall(view):
            digits = "".join(str(unicodedata.decimal(sign)) for sign in run if sign.isdecimal())
            for at in range(len(digits) - 11):
                found.update(digits[at:end] for end in range(at + 12, at + 20) if digits[at:end] in numbers)
    return found


def _views(text: str) -> Iterator[str]:
    yield text
    unescaped = _ESCAPE.sub(lambda code: chr(int(code[1] or code[2] or "20", 16)), text)
    once = html.unescape(unquote(unescaped)) if "%" in text or "&#" in text else unescaped
    if once != text:
        yield once
        yield unquote(once)
    yield " | ".join(bytes.fromhex(code).decode() for code in _HEX.findall(text))
    plain = []
    for token in _BASE64.findall(text):
        for start in range(4):
            part = token[start:]
            whole = part + "=" * (-len(part) % 4) if len(part) % 4 != 1 else part[:-1]
            plain.append(base64.b64decode(whole).decode("latin-1"))
    yield " | ".join(plain)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        kept = b""
        while piece := file.read(PIECE):
            yield kept + piece
            kept = piece[-OVERLAP:]
