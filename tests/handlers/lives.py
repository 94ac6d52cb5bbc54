"""Beginnings that many stories share: money that is held, taken or given back, and gateways of several kinds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gateways.protocol import Approved
from handlers.decision import Policy
from ledger.states import Attempt, Capture
from messages.ids import AttemptId, CaptureId
from messages.operation import Operation
from tests.builders import CAPTURE, PRICE, REFERENCE, a_policy, capabilities
from tests.handlers.story import Story, a_sale, approved_in_full

HELD_FOR = timedelta(days=7)
MANY_CAPTURES: dict[str, Any] = {"multiple_capture": True}
SILENT: dict[str, Any] = {"multiple_capture": True, "can_be_asked": False}
"""A gateway that cannot be asked: only its callbacks tell."""


def with_gateway(**fields: Any) -> Policy:
    """The service's own defaults, with a gateway that can do this."""
    return a_policy(gateways={"stripe": capabilities(**fields)})


def a_hold_under_way(policy: Policy | None = None, **fields: Any) -> Story:
    """A payment that is to be held; its first call is under way."""
    return a_sale(policy, capture="manual", **fields)


def held(policy: Policy | None = None) -> Story:
    """19.99 EUR are held, for seven days."""
    story = a_hold_under_way(policy or with_gateway(**MANY_CAPTURES))
    lapses_at = story.now + HELD_FOR
    story.answer(Approved(reference=REFERENCE, amount=PRICE, capture_before=lapses_at))
    return story


def capture(story: Story, name: str = CAPTURE) -> Capture:
    """A capture by its id."""
    return story.known.captures[CaptureId(name)]


def capturing(story: Story, name: str = CAPTURE) -> Attempt:
    """The attempt of a capture."""
    return story.known.attempts[AttemptId(f"{name}.c1")]


def attempts_of(story: Story, operation: Operation) -> list[Attempt]:
    """The attempts at an operation, in order."""
    return [a for a in story.known.attempts.values() if a.operation is operation]


def take(story: Story, name: str = CAPTURE, **fields: Any) -> None:
    """A capture is asked for and goes through."""
    story.ask_capture(capture_id=name, message_id=f"msg_{name}", **fields)
    story.answer(approved_in_full(capturing(story, name), f"ch_{name}"))


def journals(story: Story) -> list[str]:
    """The types of the journals, in order."""
    return [journal.journal_type for journal in story.journals]
