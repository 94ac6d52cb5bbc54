"""What every peer does with a payment: the same SQL, the same event."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg

BROKER_URL = os.environ.get("BENCH_BROKER_URL", "")
DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
GATEWAY_S = float(os.environ.get("BENCH_GATEWAY_S", "0"))
THREADS = int(os.environ.get("BENCH_THREADS", "8"))

COMMANDS = "bench.commands"
EVENTS = "bench.events"
EVENT_KEY = "payment.succeeded"
QUORUM = {"x-queue-type": "quorum"}

Command = Mapping[str, Any]

SCHEMA = """
CREATE TABLE inbox (message_id text PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE payments (
    payment_id text PRIMARY KEY,
    order_id text NOT NULL UNIQUE,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    status text NOT NULL,
    reference text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE journals (
    journal_id text PRIMARY KEY,
    payment_id text NOT NULL REFERENCES payments,
    effective_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE entries (
    journal_id text NOT NULL REFERENCES journals,
    line_no smallint NOT NULL,
    account integer NOT NULL,
    side char(1) NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    PRIMARY KEY (journal_id, line_no)
);
CREATE TABLE audit (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now()
);
"""

SEEN: LiteralString = "SELECT 1 FROM inbox WHERE message_id = %(message_id)s"

_REMEMBER: LiteralString = "INSERT INTO inbox (message_id) VALUES (%(message_id)s) ON CONFLICT DO NOTHING"

BOOK: tuple[LiteralString, ...] = (
    "INSERT INTO payments (payment_id, order_id, amount, currency, status, reference)"
    " VALUES (%(payment_id)s, %(order_id)s, %(minor)s, %(currency)s, 'captured', %(reference)s)",
    "INSERT INTO journals (journal_id, payment_id) VALUES (%(payment_id)s, %(payment_id)s)",
    "INSERT INTO entries (journal_id, line_no, account, side, amount, currency)"
    " VALUES (%(payment_id)s, 1, 1100, 'D', %(minor)s, %(currency)s),"
    " (%(payment_id)s, 2, 2100, 'C', %(minor)s, %(currency)s)",
    "INSERT INTO audit (actor, action, subject) VALUES ('shop', 'PaymentRequested', %(payment_id)s)",
)


def facts(command: Command) -> dict[str, Any]:
    """What the SQL needs of a command, and of the gateway's answer."""
    return {
        "message_id": command["message_id"],
        "payment_id": command["payment_id"],
        "order_id": command["order_id"],
        "minor": command["amount"]["minor"],
        "currency": command["amount"]["currency"],
        "reference": f"ch_{command['payment_id']}",
    }


def event(command: Command) -> bytes:
    """Make the event's body."""
    return json.dumps(
        {
            "type": "PaymentSucceeded",
            "payment_id": command["payment_id"],
            "order_id": command["order_id"],
            "amount": command["amount"],
        }
    ).encode()


def is_known(connection: psycopg.Connection[Any], command: Command) -> bool:
    """Whether the payment is booked already: then only its event is published once more."""
    with connection.transaction():
        return connection.execute(SEEN, {"message_id": command["message_id"]}).fetchone() is not None


def book(connection: psycopg.Connection[Any], command: Command) -> None:
    """Remember the message and book the payment, in one transaction."""
    values = facts(command)
    with connection.transaction():
        if connection.execute(_REMEMBER, values).rowcount:
            for statement in BOOK:
                connection.execute(statement, values)


async def is_known_async(connection: psycopg.AsyncConnection[Any], command: Command) -> bool:
    """See `is_known`."""
    async with connection.transaction():
        found = await connection.execute(SEEN, {"message_id": command["message_id"]})
        return await found.fetchone() is not None


async def book_async(connection: psycopg.AsyncConnection[Any], command: Command) -> None:
    """See `book`."""
    values = facts(command)
    async with connection.transaction():
        if (await connection.execute(_REMEMBER, values)).rowcount:
            for statement in BOOK:
                await connection.execute(statement, values)
