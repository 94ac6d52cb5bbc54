"""Exchanges, queues and bindings: declared, compared, counted and removed, with RabbitMQ's errors."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import amqp
from amqp.protocol import queue_declare_ok_t

from consumers.embedded.dead_letters import place_waiting_dead_letters
from consumers.embedded.routing import DEFAULT_EXCHANGE, EXCHANGE_KINDS

# The last four change nothing here: one machine, no maximum length, messages always on disk.
QUEUE_ARGUMENTS = frozenset(
    {
        "x-delivery-limit",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-queue-type",
        "x-overflow",
        "x-queue-mode",
        "x-queue-leader-locator",
    }
)


class QueueOptions(NamedTuple):
    """How a queue is declared."""

    durable: bool
    exclusive: bool
    auto_delete: bool
    arguments: Mapping[str, Any]


class Declarations:
    """What one connection declares; everything happens inside the caller's transaction."""

    def __init__(self, sql: sqlite3.Connection, owner: int) -> None:
        self._sql = sql
        self._owner = owner

    def exchange(self, name: str, kind: str, *, durable: bool) -> None:
        """Declare an exchange.

        Raises: amqp.PreconditionFailed, amqp.AccessRefused, amqp.AMQPNotImplementedError.
        """
        if kind not in EXCHANGE_KINDS:
            raise amqp.AMQPNotImplementedError(f"the embedded broker has no exchanges of type {kind!r}")
        if name == DEFAULT_EXCHANGE:
            raise amqp.AccessRefused("the default exchange cannot be declared")
        found = self._sql.execute("SELECT kind, durable FROM exchange WHERE name = ?", (name,)).fetchone()
        if found is None:
            self._sql.execute("INSERT INTO exchange VALUES (?, ?, ?)", (name, kind, durable))
        elif found != (kind, durable):
            raise amqp.PreconditionFailed(
                f"exchange {name!r} is {_exchange_words(*found)}, not {_exchange_words(kind, durable)}"
            )

    def require_exchange(self, name: str) -> None:
        """Raises: amqp.NotFound."""
        if not self._sql.execute("SELECT 1 FROM exchange WHERE name = ?", (name,)).fetchone():
            raise amqp.NotFound(f"no exchange {name!r}")

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange with its bindings. Raises: amqp.PreconditionFailed if it must have none."""
        if if_unused and self._sql.execute("SELECT 1 FROM binding WHERE exchange = ?", (name,)).fetchone():
            raise amqp.PreconditionFailed(f"exchange {name!r} is in use")
        self._sql.execute("DELETE FROM exchange WHERE name = ?", (name,))

    def queue(self, name: str, options: QueueOptions) -> str:
        """Declare a queue and return its name, made up if empty.

        Raises: amqp.PreconditionFailed, amqp.ResourceLocked, amqp.AMQPNotImplementedError.
        """
        _refuse_unknown(options)
        name = name or f"amq.gen-{uuid4().hex}"
        properties = json.dumps(options._replace(arguments=dict(options.arguments))._asdict(), sort_keys=True)
        found = self._sql.execute("SELECT properties FROM queue WHERE name = ?", (name,)).fetchone()
        if found is None:
            self._insert_queue(name, options, properties)
            place_waiting_dead_letters(self._sql)
            return name
        self.queue_id(name)
        if found[0] != properties:
            raise amqp.PreconditionFailed(f"queue {name!r} exists with {found[0]}, not with {properties}")
        return name

    def _insert_queue(self, name: str, options: QueueOptions, properties: str) -> None:
        arguments = options.arguments
        self._sql.execute(
            "INSERT INTO queue (name, properties, owner, delivery_limit, dead_letter_exchange,"
            " dead_letter_routing_key, keeps_dead_letters) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                properties,
                self._owner if options.exclusive else None,
                arguments.get("x-delivery-limit"),
                arguments.get("x-dead-letter-exchange"),
                arguments.get("x-dead-letter-routing-key"),
                arguments.get("x-dead-letter-strategy") == "at-least-once",
            ),
        )

    def queue_id(self, name: str) -> int:
        """Find a queue this connection may use. Raises: amqp.NotFound, amqp.ResourceLocked."""
        found = self._sql.execute("SELECT id, owner FROM queue WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise amqp.NotFound(f"no queue {name!r}")
        if found[1] not in (None, self._owner):
            raise amqp.ResourceLocked(f"queue {name!r} belongs to another connection alone")
        return int(found[0])

    def queue_state(self, name: str) -> queue_declare_ok_t:
        """Count the ready messages and the consumers. Raises: amqp.NotFound, amqp.ResourceLocked."""
        queue = self.queue_id(name)
        messages, consumers = self._sql.execute(
            "SELECT (SELECT count(*) FROM message"
            "   WHERE queue = :queue AND owner IS NULL AND dead_because IS NULL),"
            " (SELECT count(*) FROM consumer WHERE queue = :queue)",
            {"queue": queue},
        ).fetchone()
        return queue_declare_ok_t(name, messages, consumers)

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Have an exchange's messages reach a queue.

        Raises: amqp.NotFound, amqp.ResourceLocked, amqp.AccessRefused.
        """
        if exchange == DEFAULT_EXCHANGE:
            raise amqp.AccessRefused("the default exchange has a binding for every queue and takes no other")
        self.require_exchange(exchange)
        binding = (exchange, self.queue_id(queue), routing_key)
        if self._sql.execute("INSERT OR IGNORE INTO binding VALUES (?, ?, ?)", binding).rowcount:
            place_waiting_dead_letters(self._sql)

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Take a binding away, if it is there. Raises: amqp.NotFound, amqp.ResourceLocked."""
        binding = (exchange, self.queue_id(queue), routing_key)
        self._sql.execute("DELETE FROM binding WHERE exchange = ? AND queue = ? AND routing_key = ?", binding)

    def purge(self, name: str) -> int:
        """Remove the ready messages and return how many. Raises: amqp.NotFound, amqp.ResourceLocked."""
        return self._sql.execute(
            "DELETE FROM message WHERE queue = ? AND owner IS NULL AND dead_because IS NULL",
            (self.queue_id(name),),
        ).rowcount

    def delete_queue(self, name: str, *, if_unused: bool, if_empty: bool) -> int:
        """Delete a queue with its messages, and return how many were ready; if there is none, so be it.

        Raises: amqp.PreconditionFailed if it is used or not empty and must be, amqp.ResourceLocked.
        """
        try:
            state = self.queue_state(name)
        except amqp.NotFound:
            return 0
        if if_unused and state.consumer_count:
            raise amqp.PreconditionFailed(f"queue {name!r} has consumers")
        if if_empty and state.message_count:
            raise amqp.PreconditionFailed(f"queue {name!r} is not empty")
        self._sql.execute("DELETE FROM queue WHERE name = ?", (name,))
        return int(state.message_count)


def _refuse_unknown(options: QueueOptions) -> None:
    """Refuse what we would not honour: a time to live that is silently ignored keeps messages for ever."""
    if unknown := sorted(options.arguments.keys() - QUEUE_ARGUMENTS):
        raise amqp.AMQPNotImplementedError(
            f"the embedded broker does not know queue argument {', '.join(unknown)}"
        )
    if options.auto_delete and not options.exclusive:
        raise amqp.AMQPNotImplementedError(
            "the embedded broker deletes a queue by itself only if it is exclusive"
        )
    limit = options.arguments.get("x-delivery-limit", 0)
    if not isinstance(limit, int) or limit < 0:
        # -1 means "unlimited" to one RabbitMQ and "drop at once" to another.
        raise amqp.PreconditionFailed(f"x-delivery-limit must be a whole number from 0, not {limit!r}")


def _exchange_words(kind: str, durable: bool) -> str:
    return f"{'a durable' if durable else 'a transient'} {kind} exchange"
