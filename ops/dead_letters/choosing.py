"""Which letters are meant: the filters that all commands share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ledger.letters import Letter, LetterState

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PLACES = ("headers", "body", "properties")


class BadFilter(Exception):
    """A filter cannot be read; the text says how it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Letters by any of these; what is not given does not matter."""

    ids: tuple[str, ...] = ()
    """Whole ids, or beginnings of them."""
    queue: str | None = None
    type: str | None = None
    reason: str | None = None
    group: str | None = None
    """A fingerprint, or the beginning of one."""
    payment: str | None = None
    order: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    where: tuple[tuple[str, str], ...] = ()
    """Paths into headers, body and properties, and what is there."""
    states: tuple[LetterState, ...] = ()
    with_snoozed: bool = True

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it down."""
        return self == Choice(states=self.states, with_snoozed=self.with_snoozed)

    def of(self, letters: Iterable[Letter], now: datetime) -> list[Letter]:
        """Those that are meant."""
        tests = list(self._tests(now))
        return [letter for letter in letters if all(test(letter) for test in tests)]

    def _tests(self, now: datetime) -> Iterable[Callable[[Letter], bool]]:
        if self.ids:
            yield lambda letter: letter.letter_id.startswith(self.ids)
        for name, wanted in (
            ("queue", self.queue),
            ("type", self.type),
            ("reason", self.reason),
            ("payment_id", self.payment),
            ("order_id", self.order),
        ):
            if wanted is not None:
                yield lambda letter, name=name, wanted=wanted: getattr(letter, name) == wanted  # type: ignore[misc]
        if (group := self.group) is not None:
            yield lambda letter: letter.fingerprint.startswith(group)
        if (older := self.older_than) is not None:
            yield lambda letter: now - letter.dead_at > older
        if (newer := self.newer_than) is not None:
            yield lambda letter: now - letter.dead_at <= newer
        if self.states:
            yield lambda letter: letter.state in self.states
        if not self.with_snoozed:
            yield lambda letter: letter.snoozed_until is None or letter.snoozed_until <= now
        for path, wanted in self.where:
            yield lambda letter, path=path, wanted=wanted: _is_at(letter, path, wanted)  # type: ignore[misc]


def span(text: str) -> timedelta:
    """Read a length of time, such as 90s, 10m, 2h or 3d.

    Raises:
        BadFilter: it is none.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise BadFilter(f"{text!r} is no length of time: write 90s, 10m, 2h or 3d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def condition(text: str) -> tuple[str, str]:
    """Read `body.amount.currency=EUR`, `headers.tenant=a` or `properties.app_id=shop`.

    Raises:
        BadFilter: it is not of this form.
    """
    path, sign, wanted = text.partition("=")
    if not sign or path.split(".")[0] not in _PLACES or "." not in path:
        raise BadFilter(f"{text!r} is no condition: write body.amount.currency=EUR, or headers.name=value")
    return path, wanted


def _is_at(letter: Letter, path: str, wanted: str) -> bool:
    place, *names = path.split(".")
    found = whats_at(_place(letter, place), names)
    return found is not None and (found if isinstance(found, str) else json.dumps(found)) == wanted


def whats_at(value: Any, names: list[str]) -> Any:
    """What lies at the end of a path; None where it leads nowhere."""
    for name in names:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _place(letter: Letter, place: str) -> Any:
    return content_of(letter) if place == "body" else getattr(letter, place)


def content_of(letter: Letter) -> Any:
    """The body as JSON; None if it is none."""
    try:
        return json.loads(letter.body)
    except (ValueError, RecursionError):
        return None
