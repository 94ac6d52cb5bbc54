"""Which queues a message reaches.

Exchanges and bindings are read from the database, so whoever publishes need not have declared them.
"""

import sqlite3

import amqp

DEFAULT_EXCHANGE = ""
EXCHANGE_KINDS = frozenset({"direct", "topic", "fanout"})


def topic_matches(pattern: str, routing_key: str) -> bool:
    """Compare by words between dots: `*` is exactly one word, `#` is zero or more (AMQP 0-9-1, 3.1.3.3)."""
    words = _words(routing_key)
    taken = {0}  # How many words of the key the pattern, as far as it was read, may have used up.
    for part in _words(pattern):
        if part == "#":
            taken = set(range(min(taken), len(words) + 1))
        else:
            taken = {count + 1 for count in taken if count < len(words) and part in ("*", words[count])}
        if not taken:
            return False
    return len(words) in taken


def _words(text: str) -> list[str]:
    return text.split(".") if text else []


class Router:
    """Routes within one transaction, in which exchanges and bindings stand still."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        self._bindings: dict[str, tuple[str, list[tuple[int, str]]]] = {}
        self._routes: dict[tuple[str, str], tuple[int, ...]] = {}

    def queues(self, exchange: str, routing_key: str) -> tuple[int, ...]:
        """Return the ids of the queues, each once. Raises: amqp.NotFound if there is no such exchange."""
        route = self._routes.get((exchange, routing_key))
        if route is None:
            route = self._routes[exchange, routing_key] = self._route(exchange, routing_key)
        return route

    def _route(self, exchange: str, routing_key: str) -> tuple[int, ...]:
        if exchange == DEFAULT_EXCHANGE:
            named = self._sql.execute("SELECT id FROM queue WHERE name = ?", (routing_key,))
            return tuple(queue for (queue,) in named)
        if exchange not in self._bindings:
            self._bindings[exchange] = self._read(exchange)
        kind, bindings = self._bindings[exchange]
        return tuple(
            dict.fromkeys(queue for queue, pattern in bindings if _matches(kind, pattern, routing_key))
        )

    def _read(self, exchange: str) -> tuple[str, list[tuple[int, str]]]:
        found = self._sql.execute("SELECT kind FROM exchange WHERE name = ?", (exchange,)).fetchone()
        if found is None:
            raise amqp.NotFound(f"no exchange {exchange!r}")
        bindings = self._sql.execute("SELECT queue, routing_key FROM binding WHERE exchange = ?", (exchange,))
        return found[0], bindings.fetchall()


def _matches(kind: str, pattern: str, routing_key: str) -> bool:
    match kind:
        case "fanout":
            return True
        case "topic":
            return topic_matches(pattern, routing_key)
        case _:
            return pattern == routing_key
