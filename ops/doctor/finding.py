"""What a check found: one point, whether it is well, and what to do if not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import httpx

from consumers.delivery import BusError, BusRefused
from ledger.errors import LedgerError, told_apart
from ops.settings import SettingsError

T = TypeVar("T")

TROUBLE = (BusError, LedgerError, httpx.HTTPError, OSError)
"""What a deployment can do to a check; anything else is a fault of the check."""


class Mark(StrEnum):
    """How a point stands."""

    WELL = "well"
    WRONG = "wrong"
    """Something needs doing."""
    UNSURE = "unsure"
    """It cannot be seen from here, or is a choice that a person should know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One point; the texts hold no secret."""

    point: str
    mark: Mark
    told: str
    to_do: str = ""


def well(point: str, told: str) -> Finding:
    """All is as it should be."""
    return Finding(point=point, mark=Mark.WELL, told=told)


def wrong(point: str, told: str, to_do: str) -> Finding:
    """Something needs doing, and this is it."""
    return Finding(point=point, mark=Mark.WRONG, told=told, to_do=to_do)


def unsure(point: str, told: str, to_do: str = "") -> Finding:
    """It cannot be said from here; a person may want to look."""
    return Finding(point=point, mark=Mark.UNSURE, told=told, to_do=to_do)


def each(checks: Sequence[Callable[[T], Iterable[Finding]]], of: T) -> Iterator[Finding]:
    """Run every check, whatever becomes of the others."""
    for check in checks:
        point = check.__name__.replace("_", " ")
        try:
            with told_apart():
                yield from list(check(of))
        except (BusRefused, SettingsError) as error:
            yield wrong(point, str(error), "correct the setting (docs/settings.md)")
        except TROUBLE as error:
            yield unsure(point, f"could not be looked at: {error}")
        except Exception as error:  # a doctor that faints helps nobody
            yield unsure(point, f"the check itself failed ({type(error).__name__}): please report it")


def not_looked_at(checks: Sequence[Callable[[T], Iterable[Finding]]], because: str) -> Finding:
    """Name what nobody could look at."""
    names = ", ".join(check.__name__.replace("_", " ") for check in checks)
    return unsure(names, f"not looked at: {because}")
