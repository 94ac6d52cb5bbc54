"""Which parameters an endpoint takes, and what they must look like (API version 2026-10-28.endive).

Parameters the simulator has no use for are accepted where Stripe takes them, and left unexamined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from simulators.stripe.errors import InvalidRequest
from simulators.stripe.forms import Form

Params: TypeAlias = dict[str, Any]
"""Parameters that passed the check, as the types they stand for."""
Check: TypeAlias = "Callable[[str, str | Form], object]"
"""Reads one parameter by its name and raw value. Raises InvalidRequest."""

MAX_AMOUNT = 99_999_999  # docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 40, 500  # docs.stripe.com/api/metadata


def check(form: Form, allowed: Mapping[str, Check], required: tuple[str, ...] = ()) -> Params:
    """Read parameters. Raises InvalidRequest for one that is unknown, missing or malformed."""
    return _nested(form, allowed, required, prefix="")


def text(name: str, raw: str | Form) -> str:
    """Some text, not empty."""
    if not isinstance(raw, str):
        raise InvalidRequest("Invalid string: must be a string", param=name)
    if not raw:
        raise InvalidRequest(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a "
            f"parameter; however '{name}' cannot be unset.",
            code="parameter_invalid_empty",
            param=name,
        )
    return raw


def integer(name: str, raw: str | Form) -> int:
    """A whole number."""
    if not isinstance(raw, str) or not re.fullmatch(r"-?\d{1,18}", raw):
        raise InvalidRequest(f"Invalid integer: {raw}", code="parameter_invalid_integer", param=name)
    return int(raw)


def amount(name: str, raw: str | Form) -> int:
    """Minor units, more than none."""
    value = integer(name, raw)
    if value < 1:
        raise InvalidRequest(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param=name
        )
    if value > MAX_AMOUNT:
        raise InvalidRequest("Amount must be no more than 999,999.99", code="amount_too_large", param=name)
    return value


def currency(name: str, raw: str | Form) -> str:
    """A three-letter code in lower case."""
    value = text(name, raw)
    if not re.fullmatch("[a-z]{3}", value):
        raise InvalidRequest(f"Invalid currency: {value}", param=name)
    return value


def boolean(name: str, raw: str | Form) -> bool:
    """true or false."""
    if raw not in ("true", "false"):
        raise InvalidRequest(f"Invalid boolean: {raw}", param=name)
    return raw == "true"


def one_of(*words: str) -> Check:
    """One of some words."""

    def word(name: str, raw: str | Form) -> str:
        if raw not in words:
            raise InvalidRequest(f"Invalid {name}: must be one of {', '.join(words)}", param=name)
        return str(raw)

    return word


def texts(name: str, raw: str | Form) -> list[str]:
    """A list of texts."""
    if not isinstance(raw, dict) or not all(index.isdigit() for index in raw):
        raise InvalidRequest("Invalid array", param=name)
    return [text(name, raw[index]) for index in sorted(raw, key=int)]


def metadata(name: str, raw: str | Form) -> dict[str, str]:
    """Texts by key, within Stripe's limits."""
    if not isinstance(raw, dict):
        raise InvalidRequest("Invalid object", param=name)
    if len(raw) > MAX_METADATA_KEYS:
        raise InvalidRequest(f"You can have up to {MAX_METADATA_KEYS} keys in metadata.", param=name)
    pairs = {key: value for key, value in raw.items() if isinstance(value, str)}
    fits = all(
        len(key) <= MAX_METADATA_KEY and len(value) <= MAX_METADATA_VALUE for key, value in pairs.items()
    )
    if len(pairs) < len(raw) or not fits:
        raise InvalidRequest(
            f"Metadata is text: keys of up to {MAX_METADATA_KEY} characters, "
            f"values of up to {MAX_METADATA_VALUE}.",
            param=name,
        )
    return pairs


def nested(**allowed: Check) -> Check:
    """Parameters within a parameter."""

    def inner(name: str, raw: str | Form) -> Params:
        if not isinstance(raw, dict):
            raise InvalidRequest("Invalid object", param=name)
        return _nested(raw, allowed, (), prefix=name)

    return inner


def either(first: Check, second: Check) -> Check:
    """What passes one of two checks."""

    def value(name: str, raw: str | Form) -> object:
        try:
            return first(name, raw)
        except InvalidRequest:
            return second(name, raw)

    return value


def unexamined(name: str, raw: str | Form) -> object:
    """Anything; the simulator makes no use of it."""
    return raw


def unused(names: str) -> dict[str, Check]:
    """Parameters Stripe takes and the simulator makes no use of, by their names."""
    return dict.fromkeys(names.split(), unexamined)


def _nested(form: Form, allowed: Mapping[str, Check], required: tuple[str, ...], *, prefix: str) -> Params:
    def full(name: str) -> str:
        return f"{prefix}[{name}]" if prefix else name

    for name in form:
        if name not in allowed:
            raise InvalidRequest(
                f"Received unknown parameter: {full(name)}", code="parameter_unknown", param=full(name)
            )
    for name in required:
        if name not in form:
            raise InvalidRequest(
                f"Missing required param: {full(name)}.", code="parameter_missing", param=full(name)
            )
    return {name: allowed[name](full(name), raw) for name, raw in form.items()}
