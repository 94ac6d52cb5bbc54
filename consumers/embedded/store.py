"""The messages themselves: stored, claimed, settled, dead-lettered, and taken back from the dead."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from time import monotonic
from typing import Any

import structlog

from consumers.embedded.database import Database
from consumers.embedded.dead_letters import place_dead_letter
from consumers.embedded.errors import BrokerDown, clear_errors
from consumers.embedded.filesystem import refuse_network_file_system
from consumers.embedded.owners import OwnerFile, has_died, owner_path
from consumers.embedded.routing import Router

log = structlog.get_logger()

LOOK_FOR_DEAD_EVERY_S = 0.1


class Verdict(Enum):
    """What becomes of a message that was claimed."""

    DONE = auto()
    """Acknowledged: remove it."""
    UNREAD = auto()
    """Nobody has seen it: back to its place as if it had never been claimed."""
    HANDED_BACK = auto()
    """Seen and given back without fault: redelivered, but not counted."""
    FAILED = auto()
    """Given back as a failure: redelivered, and counted towards the delivery limit."""
    REJECTED = auto()
    """A dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A message on its way in."""

    exchange: str
    routing_key: str
    mandatory: bool
    properties: bytes
    body: bytes
    original: Any
    """The publisher's own message object, for handing it back when it reaches no queue."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message this connection holds."""

    position: int
    redelivered: bool
    failures: int
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes


Settlement = tuple[Verdict, int]
"""What becomes of the message at a position."""


class Store:
    """One connection's view of the broker's messages, and its right to hold some of them."""

    def __init__(self, directory: Path) -> None:
        """Open the broker in an existing directory. Raises: BrokerDown, BrokerUnusable."""
        refuse_network_file_system(directory)
        self._directory = directory
        self.may_have_news = True
        """Whether a claim may find something: somebody changed the file since the last one."""
        self._version = 0
        self._looked_for_dead_at = 0.0
        with ExitStack() as if_it_fails:
            self._database = Database(directory)
            if_it_fails.callback(self._database.close)
            self.sql = self._database.sql
            with self._database.transaction(durable=False):
                self._owner_file = OwnerFile(directory)
                if_it_fails.callback(self._owner_file.release)
                self.owner = self._register()
            self.take_back_from_the_dead()
            if_it_fails.pop_all()

    def _register(self) -> int:
        known = {name for (name,) in self.sql.execute("SELECT name FROM owner")} | {self._owner_file.name}
        for path in self._directory.glob("owner-*"):
            # Owners are born inside a transaction: one that is unknown and unlocked died being born.
            if path.name.removeprefix("owner-") not in known and has_died(path):
                path.unlink(missing_ok=True)
        born = self.sql.execute("INSERT INTO owner (name) VALUES (?) RETURNING id", (self._owner_file.name,))
        return int(born.fetchone()[0])

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Change the broker's file. Raises: BrokerDown, BrokerUnusable."""
        self._require_owner_file()
        with self._database.transaction(durable=durable):
            yield
        self.may_have_news = True

    def _require_owner_file(self) -> None:
        if not self._owner_file.is_held():
            raise BrokerDown(
                f"the embedded broker's files in {self._directory} were removed, or this process is a "
                f"fork of the one that opened them"
            )

    def carry_out(
        self, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> list[Publication]:
        """Settle and publish in one transaction; return the mandatory messages that reach no queue.

        Raises: amqp.NotFound if an exchange is missing (then nothing was done), BrokerDown, BrokerUnusable.
        """
        with self.transaction(durable=bool(publications)):
            self.settle(settlements)
            return self._publish(publications)

    def _publish(self, publications: Sequence[Publication]) -> list[Publication]:
        router = Router(self.sql)
        rows: list[tuple[int, str, str, bytes, bytes]] = []
        returned: list[Publication] = []
        for one in publications:
            queues = router.queues(one.exchange, one.routing_key)
            rows.extend((queue, one.exchange, one.routing_key, one.properties, one.body) for queue in queues)
            if one.mandatory and not queues:
                returned.append(one)
        self.sql.executemany(
            "INSERT INTO message (queue, exchange, routing_key, properties, body) VALUES (?, ?, ?, ?, ?)",
            rows,
        )
        return returned

    def has_ready(self, queues: Iterable[int]) -> bool:
        """Whether one of the queues has a message to claim; needs no lock."""
        ready = "SELECT 1 FROM message WHERE queue = ? AND owner IS NULL AND dead_because IS NULL LIMIT 1"
        with clear_errors(self._directory):
            return any(self.sql.execute(ready, (queue,)).fetchone() for queue in queues)

    def queue_exists(self, queue: int) -> bool:
        """Whether nobody has deleted the queue."""
        with clear_errors(self._directory):
            return self.sql.execute("SELECT 1 FROM queue WHERE id = ?", (queue,)).fetchone() is not None

    def claim(self, queue: int, limit: int) -> list[Claimed]:
        """Take the oldest messages of a queue, inside a transaction."""
        taken = self.sql.execute(
            "UPDATE message SET owner = ? WHERE position IN ("
            "  SELECT position FROM message WHERE queue = ? AND owner IS NULL AND dead_because IS NULL"
            "  ORDER BY position LIMIT ?"
            ") RETURNING position, redelivered, failures, exchange, routing_key, properties, body",
            (self.owner, queue, limit),
        )
        return [
            Claimed(position, bool(redelivered), *rest)
            for position, redelivered, *rest in sorted(taken.fetchall(), key=lambda row: row[0])
        ]

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Carry out verdicts, inside a transaction; what this connection no longer holds is left alone."""
        done = []
        for verdict, position in settlements:
            match verdict:
                case Verdict.DONE:
                    done.append((position, self.owner))
                case Verdict.UNREAD:
                    self.sql.execute(
                        "UPDATE message SET owner = NULL WHERE position = ? AND owner = ?",
                        (position, self.owner),
                    )
                case Verdict.HANDED_BACK:
                    self._give_back(position, self.owner, failures=0)
                case Verdict.FAILED:
                    self._give_back(position, self.owner, failures=1)
                case Verdict.REJECTED:
                    held = self.sql.execute(
                        "SELECT 1 FROM message WHERE position = ? AND owner = ?", (position, self.owner)
                    )
                    if held.fetchone():
                        place_dead_letter(self.sql, position, "rejected")
        self.sql.executemany("DELETE FROM message WHERE position = ? AND owner = ?", done)

    def _give_back(self, position: int, owner: int, *, failures: int) -> None:
        self.sql.execute(
            "UPDATE message SET owner = NULL, redelivered = 1, failures = failures + ?"
            " WHERE position = ? AND owner = ?",
            (failures, position, owner),
        )
        if failures:
            over_limit = self.sql.execute(
                "SELECT 1 FROM message JOIN queue ON queue.id = message.queue"
                " WHERE position = ? AND message.owner IS NULL AND failures > delivery_limit",
                (position,),
            )
            if over_limit.fetchone():
                place_dead_letter(self.sql, position, "delivery_limit")

    def look_around(self) -> bool:
        """Notice what others did and who died; return whether a claim may find something. Cheap when idle.

        Raises: BrokerDown, BrokerUnusable.
        """
        now = monotonic()
        if now - self._looked_for_dead_at >= LOOK_FOR_DEAD_EVERY_S:
            self._looked_for_dead_at = now
            self._require_owner_file()
            self.take_back_from_the_dead()
        version = self._database.version()
        if version != self._version:
            self._version = version
            self.may_have_news = True
        return self.may_have_news

    def take_back_from_the_dead(self) -> None:
        """Return the messages of connections whose process died to their queues, each to its old place."""
        with clear_errors(self._directory):
            others = self.sql.execute("SELECT id, name FROM owner WHERE id <> ?", (self.owner,)).fetchall()
        dead = [(owner, name) for owner, name in others if has_died(owner_path(self._directory, name))]
        if not dead:
            return
        with self.transaction():
            for owner, name in dead:
                if returned := self._forget(owner):
                    log.info("messages_of_a_dead_process_returned", owner=name, messages=returned)
        for _, name in dead:
            owner_path(self._directory, name).unlink(missing_ok=True)

    def _forget(self, owner: int) -> int:
        held = self.sql.execute("SELECT position FROM message WHERE owner = ?", (owner,)).fetchall()
        for (position,) in held:
            self._give_back(position, owner, failures=1)
        # Its consumers and exclusive queues go with it.
        self.sql.execute("DELETE FROM owner WHERE id = ?", (owner,))
        return len(held)

    def close(self) -> None:
        """Return what is still held, and leave. Raises: BrokerDown, BrokerUnusable."""
        try:
            with self.transaction():
                self._forget(self.owner)
            self._owner_file.release()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave as death would: others return what is held."""
        self._owner_file.abandon()
        self._database.close()
