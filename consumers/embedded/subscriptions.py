"""The consumers of one channel: how much each may hold, what was fetched for it, and whose turn it is."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import amqp
from amqp import spec

from consumers.embedded.store import Claimed, Store, Verdict

FETCH_LIMIT = 256
"""How many messages to claim in one transaction where no prefetch count says less."""


@dataclass(slots=True, kw_only=True, eq=False)
class Consumer:
    """One subscription to a queue."""

    tag: str
    queue: int
    no_ack: bool
    callback: Callable[[Any], object]
    on_cancel: Callable[[str], object] | None
    fetched: deque[Claimed] = field(default_factory=deque)
    """Claimed, but not yet delivered."""
    unacked: int = 0


class Subscriptions:
    """A channel's consumers, the one least recently served first."""

    def __init__(self, store: Store) -> None:
        self.prefetch_count = 0
        """How many messages each consumer may hold; 0 is no limit."""
        self.no_ack_tags: set[str] = set()
        self._store = store
        self._consumers: dict[str, Consumer] = {}

    def start(self, consumer: Consumer) -> None:
        """Add a consumer. Raises: amqp.NotAllowed if its tag is taken."""
        if consumer.tag in self._consumers:
            raise amqp.NotAllowed(f"consumer tag {consumer.tag!r} is in use")
        with self._store.transaction():
            self._store.sql.execute(
                "INSERT INTO consumer VALUES (?, ?, ?)", (self._store.owner, consumer.queue, consumer.tag)
            )
        self._consumers[consumer.tag] = consumer
        if consumer.no_ack:
            self.no_ack_tags.add(consumer.tag)

    def cancel(self, tag: str) -> None:
        """Remove a consumer, if it is there: what was only fetched for it goes back unread."""
        if tag not in self._consumers:
            return
        with self._store.transaction():
            self._store.sql.execute(
                "DELETE FROM consumer WHERE owner = ? AND tag = ?", (self._store.owner, tag)
            )
            self._store.settle((Verdict.UNREAD, claimed.position) for claimed in self._consumers[tag].fetched)
        self._remove(tag)

    def cancel_all(self) -> None:
        """Remove every consumer."""
        for tag in tuple(self._consumers):
            self.cancel(tag)

    def _remove(self, tag: str) -> None:
        del self._consumers[tag]
        self.no_ack_tags.discard(tag)

    @property
    def have_fetched(self) -> bool:
        """Whether a message waits to be delivered."""
        return any(consumer.fetched for consumer in self._consumers.values())

    @property
    def have_room(self) -> bool:
        """Whether a consumer may have more messages."""
        return any(self._room(consumer) for consumer in self._consumers.values())

    def _room(self, consumer: Consumer) -> int:
        if not self.prefetch_count:
            return FETCH_LIMIT
        return max(0, min(FETCH_LIMIT, self.prefetch_count - consumer.unacked))

    def fetch(self) -> bool:
        """Claim what there is room for, in one transaction, once all that was fetched before is delivered.

        Returns whether there may be more.

        Raises: amqp.ConsumerCancelled if a queue was deleted.
        """
        hungry = [consumer for consumer in self._consumers.values() if self._room(consumer)]
        if not self._store.has_ready(consumer.queue for consumer in hungry):
            self._notice_deleted_queues()
            return False
        more = False
        with self._store.transaction():
            for consumer in hungry:
                room = self._room(consumer)
                claimed = self._store.claim(consumer.queue, room)
                consumer.fetched.extend(claimed)
                more = more or len(claimed) == room
        return more

    def _notice_deleted_queues(self) -> None:
        for consumer in tuple(self._consumers.values()):
            if self._store.queue_exists(consumer.queue):
                continue
            self._remove(consumer.tag)
            if consumer.on_cancel is None:
                raise amqp.ConsumerCancelled(consumer.tag, spec.Basic.Cancel)
            consumer.on_cancel(consumer.tag)

    def next(self) -> tuple[Consumer, Claimed] | None:
        """Take the next message to deliver; the consumers take turns."""
        consumer = next((one for one in self._consumers.values() if one.fetched), None)
        if consumer is None:
            return None
        self._consumers[consumer.tag] = self._consumers.pop(consumer.tag)
        return consumer, consumer.fetched.popleft()
