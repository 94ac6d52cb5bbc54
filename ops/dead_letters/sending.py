"""Sends many letters back with care: one first, so many a second, and no further when they fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ledger.letters import Letter, LetterState
from ops.dead_letters.changing import Desk, Done, Operator

POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How carefully."""

    rate: float | None = None
    """Letters a second."""
    canary: bool = False
    """One first; the rest only if it succeeds."""
    stop_after: int | None = None
    """So many failures end it."""
    wait_s: float = 0.0
    """How long to wait for what becomes of them."""
    to: str | None = None


@dataclass(slots=True, kw_only=True)
class Sent:
    """What came of it."""

    done: Done = field(default_factory=Done)
    resolved: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Letters that died again or were rejected, and how."""
    not_sent: list[str] = field(default_factory=list)
    """Held back, for others had failed."""
    why_stopped: str = ""

    @property
    def under_way(self) -> int:
        """Letters of which nothing is known yet."""
        return len(self.done.changed) - len(self.resolved) - len(self.failed)


class Sender:
    """Sends through the desk, and looks what becomes of it."""

    def __init__(
        self,
        desk: Desk,
        by: Operator,
        care: Care,
        *,
        drain: Callable[[], object],
        progress: Callable[[Sent], None],
    ) -> None:
        self._desk = desk
        self._by = by
        self._care = care
        self._drain = drain
        """Takes in what has died again: it tells of failures."""
        self._progress = progress
        self._sent = Sent()

    def send(self, letters: Sequence[Letter]) -> Sent:
        """Send them, the longest dead first.

        Raises:
            LedgerError, BusDown: what was sent until then is on its way; the rest is as it was.
        """
        waiting = sorted((letter.letter_id for letter in letters), key=_order(letters))
        if self._care.canary and waiting:
            first, waiting = waiting[:1], waiting[1:]
            self._hand_over(first)
            self._watch(self._care.wait_s)
            if self._sent.done.changed and not self._sent.resolved:
                told = next(
                    iter(self._sent.failed.values()), f"nothing is known of it after {self._care.wait_s:g} s"
                )
                return self._stop(waiting, f"the first, {first[0]}: {told}")
        step = max(int((self._care.rate or 200) * POLL_S), 1)
        while waiting:
            began = time.monotonic()
            batch, waiting = waiting[:step], waiting[step:]
            self._hand_over(batch)
            if self._care.stop_after is not None:
                self._look()
                if len(self._sent.failed) >= self._care.stop_after:
                    return self._stop(waiting, f"{len(self._sent.failed)} have failed")
            if self._care.rate and waiting:
                time.sleep(max(len(batch) / self._care.rate - (time.monotonic() - began), 0))
        self._watch(self._care.wait_s)
        return self._sent

    def _hand_over(self, ids: Sequence[str]) -> None:
        done = self._desk.requeue(ids, self._by, to=self._care.to)
        self._sent.done.changed += done.changed
        self._sent.done.proposed += done.proposed
        self._sent.done.refused |= done.refused
        self._progress(self._sent)

    def _stop(self, held_back: Sequence[str], why: str) -> Sent:
        self._sent.not_sent += held_back
        self._sent.why_stopped = why
        return self._sent

    def _watch(self, within_s: float) -> None:
        """Wait until something is known of all that was sent, or the time is over."""
        deadline = time.monotonic() + within_s
        while within_s and self._sent.under_way and time.monotonic() < deadline:
            time.sleep(POLL_S)
            self._look()

    def _look(self) -> None:
        self._drain()
        sent = {letter.letter_id: letter for letter in self._sent.done.changed}
        self._sent.resolved.clear()
        self._sent.failed.clear()
        for letter in self._desk.letters():
            if letter.letter_id not in sent:
                continue
            if letter.state is LetterState.RESOLVED and letter.outcome != "rejected":
                self._sent.resolved.append(letter.letter_id)
            elif letter.state is LetterState.RESOLVED or letter.deaths > sent[letter.letter_id].deaths:
                self._sent.failed[letter.letter_id] = letter.outcome or letter.state.value
        self._progress(self._sent)


def _order(letters: Sequence[Letter]) -> Callable[[str], tuple[str, str]]:
    dead_at = {letter.letter_id: letter.dead_at.isoformat() for letter in letters}
    return lambda letter_id: (dead_at[letter_id], letter_id)
