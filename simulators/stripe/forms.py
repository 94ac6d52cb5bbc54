"""Form bodies and query strings with nested keys: `card[number]=…`, `expand[0]=…`, `expand[]=…`."""

from __future__ import annotations

import re
from typing import TypeAlias
from urllib.parse import parse_qsl

from simulators.stripe.errors import InvalidRequest

Form: TypeAlias = "dict[str, str | Form]"
"""Values as sent: text, or what stands in brackets. A list is a form whose keys are its indexes."""

_KEY = re.compile(r"[^\[\]]+|\[[^\[\]]*\]")


def decode(encoded: str) -> Form:
    """Read a form. Raises InvalidRequest if one key is both a value and a parent of values."""
    form: Form = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True):
        *parents, last = [part.strip("[]") for part in _KEY.findall(key)] or [""]
        inner = form
        for parent in parents:
            inner = _inside(inner, parent, key)
        if isinstance(inner.get(last), dict):
            raise _twofold(key)
        inner[last or str(len(inner))] = value
    return form


def _inside(form: Form, name: str, key: str) -> Form:
    inner = form.setdefault(name, {})
    if isinstance(inner, str):
        raise _twofold(key)
    return inner


def _twofold(key: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid request: {key} is used both as a value and as a parent.", param=key)
