"""Where a rejected or failing message goes: to its queue's dead-letter exchange, with an x-death header."""

import sqlite3
from datetime import UTC, datetime
from typing import Any

import amqp
import structlog
from amqp.serialization import decode_properties_basic

from consumers.embedded.routing import Router

log = structlog.get_logger()


def encode_properties(properties: dict[str, Any]) -> bytes:
    """Write properties as AMQP does, so that they come back exactly as from RabbitMQ.

    Raises: amqp.FrameSyntaxError, struct.error, ... for what AMQP cannot carry, as py-amqp does.
    """
    written: bytes = amqp.Message(**properties)._serialize_properties()
    return written


def decode_properties(written: bytes) -> dict[str, Any]:
    """Read what `encode_properties` wrote."""
    properties: dict[str, Any]
    properties, _ = decode_properties_basic(written, 0)
    return properties


def place_dead_letter(sql: sqlite3.Connection, position: int, reason: str) -> None:
    """Move one message to where its queue's dead letters go, inside a transaction.

    With nowhere to go it is dropped, unless the queue says x-dead-letter-strategy at-least-once: then it
    waits, out of sight, for a binding (rabbitmq.com/docs/quorum-queues#dead-lettering).
    """
    exchange, routing_key, written, body, queue, target, target_key, keeps = sql.execute(
        "SELECT exchange, routing_key, message.properties, body, queue.name,"
        "  dead_letter_exchange, dead_letter_routing_key, keeps_dead_letters"
        " FROM message JOIN queue ON queue.id = message.queue WHERE position = ?",
        (position,),
    ).fetchone()
    new_key = routing_key if target_key is None else target_key
    queues = _reachable(sql, target, new_key)
    if queues:
        properties = decode_properties(written)
        died = {"reason": reason, "queue": queue, "exchange": exchange, "routing-keys": [routing_key]}
        properties["application_headers"] = _with_death(properties.get("application_headers") or {}, died)
        written = encode_properties(properties)
        sql.executemany(
            "INSERT INTO message (queue, exchange, routing_key, properties, body) VALUES (?, ?, ?, ?, ?)",
            [(destination, target, new_key, written, body) for destination in queues],
        )
    elif target is not None and keeps:
        log.warning("dead_letter_has_nowhere_to_go", queue=queue, exchange=target, routing_key=new_key)
        sql.execute(
            "UPDATE message SET owner = NULL, dead_because = ? WHERE position = ?", (reason, position)
        )
        return
    sql.execute("DELETE FROM message WHERE position = ?", (position,))


def place_waiting_dead_letters(sql: sqlite3.Connection) -> None:
    """Try again with those that had nowhere to go, after a queue or binding was added."""
    waiting = sql.execute("SELECT position, dead_because FROM message WHERE dead_because IS NOT NULL")
    for position, reason in waiting.fetchall():
        place_dead_letter(sql, position, reason)


def _reachable(sql: sqlite3.Connection, exchange: str | None, routing_key: str) -> tuple[int, ...]:
    if exchange is None:
        return ()
    try:
        return Router(sql).queues(exchange, routing_key)
    except amqp.NotFound:
        return ()


def _with_death(headers: dict[str, Any], died: dict[str, Any]) -> dict[str, Any]:
    """Count one more death by this cause in this queue, the latest first (rabbitmq.com/docs/dlx#effects)."""
    deaths = _earlier_deaths(headers)
    others = [death for death in deaths if _cause(death) != _cause(died)]
    count = 1 + sum(death["count"] for death in deaths if _cause(death) == _cause(died))
    first = {f"x-first-death-{part}": died[part] for part in ("reason", "queue", "exchange")}
    latest = {"count": count, "time": datetime.now(UTC), **died}
    return {**first, **headers, "x-death": [latest, *others]}


def _earlier_deaths(headers: dict[str, Any]) -> list[dict[str, Any]]:
    """Read x-death, leaving out what a publisher may have put there instead."""
    deaths = headers.get("x-death")
    if not isinstance(deaths, list):
        return []
    return [death for death in deaths if isinstance(death, dict) and isinstance(death.get("count"), int)]


def _cause(death: dict[str, Any]) -> tuple[Any, Any]:
    return death.get("queue"), death.get("reason")
