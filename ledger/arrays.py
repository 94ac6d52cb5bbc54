"""A column's values as one PostgreSQL array literal, for `unnest` and `= ANY`.

psycopg writes lists value by value, in Python: that took more time than all the rest of a turn. Here a column is
quoted as a whole, by a few calls that run in C.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

_SEPARATOR = "\0"
"""In no text that PostgreSQL could store."""


def array(values: Sequence[Any]) -> str:
    """Write values of one type, or None, as an array literal (PostgreSQL manual, 8.15.6).

    Raises:
        psycopg.DataError: a text has a NUL, which PostgreSQL cannot store.
    """
    if isinstance(values[0], str) and None not in values:
        return '{"' + _escaped(values).replace(_SEPARATOR, '","') + '"}'
    # Times, flags and small numbers repeat: each distinct value is written once.
    written = {value: _element(value) for value in set(values)}
    return "{" + ",".join(map(written.__getitem__, values)) + "}"


def _escaped(values: Sequence[str]) -> str:
    joined = _SEPARATOR.join(values)
    if joined.count(_SEPARATOR) >= len(values):
        raise psycopg.DataError("a text contains NUL")
    return joined.replace("\\", "\\\\").replace('"', '\\"')


def _element(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            return f'"{_escaped([value])}"'
        case bool():
            return "t" if value else "f"
        case int():
            return int.__repr__(value)
        case datetime():
            return f'"{value}"'
        case bytes():
            return f'"\\\\x{value.hex()}"'
        case _:
            raise psycopg.DataError(f"no column holds a {type(value).__name__}")
