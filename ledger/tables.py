"""The tables, defined once for PostgreSQL and SQLite. A state's columns are the fields of its dataclass, in order."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from ledger.states import (
    OPEN_ATTEMPT,
    OVER_WITHOUT_MONEY,
    Attempt,
    AttemptState,
    Capture,
    CaptureStatus,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)

AUDIT_SHARDS = 16
"""Chains of the audit log: as many turns can commit side by side."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC: timestamptz on PostgreSQL, sortable ISO 8601 text on SQLite, which has no times."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else iso(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return value if value is None or isinstance(value, datetime) else datetime.fromisoformat(value)


@lru_cache(maxsize=4096)
def iso(value: datetime) -> str:
    """Write a time so that text sorts as time does."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


ID = Text().with_variant(Text(collation="C"), "postgresql")
"""Ids sort by their bytes: quicker than by a language's rules, and the same on every machine."""
_TYPES: dict[type, Any] = {str: ID, int: BigInteger, bool: Boolean, datetime: UtcTime}


def _columns(state: type, *, primary_key: str) -> list[Column[Any]]:
    """One column a field; `X | None` may be null; enums are text."""
    hints = typing.get_type_hints(state)
    columns = []
    for field in dataclasses.fields(state):
        options = [option for option in typing.get_args(hints[field.name]) if option is not type(None)]
        kind = options[0] if options else hints[field.name]
        kind = getattr(kind, "__supertype__", kind)  # an id is a NewType over str
        plain = str if issubclass(kind, Enum) else kind
        columns.append(
            Column(field.name, _TYPES[plain], primary_key=field.name == primary_key, nullable=bool(options))
        )
    return columns


def _one_of(column: str, values: Iterable[Enum]) -> str:
    return f"{column} IN ({', '.join(sorted(repr(str(value.value)) for value in values))})"


LIVE = f"NOT {_one_of('status', OVER_WITHOUT_MONEY)} AND NOT late"
"""A payment that keeps others of its order out. A late success must be recorded, whatever else was paid."""

_AMOUNTS = (
    "requested",
    "authorized",
    "released",
    "captured_gross",
    "capture_pending",
    "capture_reversed",
    "refunded",
    "refund_pending",
    "refunded_external",
    "disputed_open",
    "charged_back",
)

payments = Table(
    "payments",
    metadata,
    *_columns(Payment, primary_key="payment_id"),
    CheckConstraint(_one_of("status", PaymentStatus), name="status_known"),
    CheckConstraint(" AND ".join(f"{amount} >= 0" for amount in _AMOUNTS), name="amounts_not_negative"),
    CheckConstraint("refunded + refund_pending <= captured_gross", name="no_over_refund"),
    CheckConstraint("captured_gross + capture_pending + released <= authorized", name="no_over_capture"),
    Index(
        "uq_payments_live_order",
        "order_id",
        unique=True,
        postgresql_where=text(LIVE),
        sqlite_where=text(LIVE),
    ),
    # What waits for a person is found by its mark, however many payments there are.
    Index(
        "ix_payments_attention",
        "payment_id",
        postgresql_where=text("attention"),
        sqlite_where=text("attention"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    *_columns(Attempt, primary_key="attempt_id"),
    CheckConstraint(_one_of("state", AttemptState), name="state_known"),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint(f"NOT ({_one_of('state', OPEN_ATTEMPT)}) OR due_at IS NOT NULL", name="open_has_due_at"),
    Index("ix_attempts_payment_id", "payment_id"),
    Index("ix_attempts_reference", "reference"),
    Index(
        "ix_attempts_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)

captures = Table(
    "captures",
    metadata,
    *_columns(Capture, primary_key="capture_id"),
    CheckConstraint(_one_of("status", CaptureStatus), name="status_known"),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("(status = 'requested') = (due_at IS NOT NULL)", name="waiting_has_due_at"),
    Index("ix_captures_payment_id", "payment_id"),
    Index(
        "ix_captures_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)

refunds = Table(
    "refunds",
    metadata,
    *_columns(Refund, primary_key="refund_id"),
    CheckConstraint(_one_of("status", RefundStatus), name="status_known"),
    CheckConstraint("amount > 0", name="amount_positive"),
    # One that came back is due when it is to be sent again; with nothing due it waits for a person.
    CheckConstraint(
        "status = 'reversed' OR (status = 'requested') = (due_at IS NOT NULL)", name="waiting_has_due_at"
    ),
    Index("ix_refunds_payment_id", "payment_id"),
    Index(
        "ix_refunds_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)

inbox = Table(
    "inbox",
    metadata,
    Column("source", ID, nullable=False),
    Column("message_id", ID, nullable=False),
    Column("body_hash", ID, nullable=False),
    Column("subject", ID, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("message_id", "source"),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("gateway", ID, nullable=False),
    Column("notice_id", ID, nullable=False),
    Column("event", ID, nullable=False),
    Column("payment_id", ID, index=True),
    Column("attempt_id", ID),
    Column("state", ID, nullable=False),
    Column("notice", Text, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("due_at", UtcTime),
    PrimaryKeyConstraint("gateway", "notice_id"),
    CheckConstraint("state IN ('taken', 'waiting', 'unmatched')", name="state_known"),
    CheckConstraint("(state = 'waiting') = (due_at IS NOT NULL)", name="waiting_has_due_at"),
    Index(
        "ix_callbacks_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
    Index(
        "ix_callbacks_unmatched",
        "received_at",
        postgresql_where=text("state = 'unmatched'"),
        sqlite_where=text("state = 'unmatched'"),
    ),
)

outbox = Table(
    "outbox",
    metadata,
    # Only for the order of what was left behind; an event's name is its stream and sequence.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), Identity(always=True), primary_key=True),
    Column("stream", ID, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("subject", ID, nullable=False),
    Column("type", ID, nullable=False),
    Column("exchange", ID, nullable=False),
    Column("routing_key", ID, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("published_at", UtcTime),
    UniqueConstraint("stream", "sequence"),
    Index(
        "ix_outbox_unpublished",
        "position",
        postgresql_where=text("published_at IS NULL"),
        sqlite_where=text("published_at IS NULL"),
    ),
)

journals = Table(
    "journals",
    metadata,
    Column("journal_id", ID, primary_key=True),
    Column("journal_type", ID, nullable=False),
    Column("source_id", ID, nullable=False),
    Column("payment_id", ID, nullable=False, index=True),
    Column("refund_id", ID),
    Column("gateway", ID, nullable=False),
    Column("currency", ID, nullable=False),
    Column("effective_at", UtcTime, nullable=False),
    CheckConstraint("journal_id = source_id || '/' || journal_type", name="id_is_type_and_source"),
)

entries = Table(
    "entries",
    metadata,
    # Entries are written before the journal's row, which encrypts them: hence checked at the commit.
    Column(
        "journal_id",
        ID,
        ForeignKey("journals.journal_id", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Column("line_no", Integer, nullable=False),
    Column("account", Integer, nullable=False),
    Column("layer", ID, nullable=False),
    Column("side", ID, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("gateway", ID, nullable=False),
    Column("currency", ID, nullable=False),
    Column("payment_id", ID, nullable=False),
    Column("refund_id", ID),
    PrimaryKeyConstraint("journal_id", "line_no"),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("layer IN ('posted', 'memo')", name="layer_known"),
    CheckConstraint("side IN ('D', 'C')", name="side_known"),
)

audit = Table(
    "audit",
    metadata,
    Column("shard", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("actor", ID, nullable=False),
    Column("action", ID, nullable=False),
    Column("payment_id", ID, index=True),
    Column("subject", ID, nullable=False),
    Column("cause", ID, nullable=False),
    Column("result", ID, nullable=False),
    Column("details", Text, nullable=False),
    Column("happened_at", UtcTime, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shard", "position"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

encryption_keys = Table(
    "encryption_keys",
    metadata,
    Column("key_id", ID, primary_key=True),
    Column("state", ID, nullable=False),
    Column("since", UtcTime, nullable=False),
    CheckConstraint("state IN ('current', 'earlier', 'retired')", name="state_known"),
    Index(
        "uq_encryption_keys_current",
        "state",
        unique=True,
        postgresql_where=text("state = 'current'"),
        sqlite_where=text("state = 'current'"),
    ),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("letter_id", ID, primary_key=True),
    Column("queue", ID, nullable=False),
    Column("exchange", ID, nullable=False),
    Column("routing_key", ID, nullable=False),
    Column("message_id", ID, nullable=False),
    Column("type", ID, nullable=False),
    Column("source", ID, nullable=False),
    Column("payment_id", ID, index=True),
    Column("order_id", ID),
    Column("reason", ID, nullable=False),
    Column("detail", Text, nullable=False),
    Column("field", ID, nullable=False),
    Column("fingerprint", ID, nullable=False),
    Column("properties", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("redacted", Boolean, nullable=False),
    Column("first_dead_at", UtcTime, nullable=False),
    Column("dead_at", UtcTime, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("state", ID, nullable=False, index=True),
    Column("state_at", UtcTime, nullable=False),
    Column("actor", ID, nullable=False),
    Column("note", Text, nullable=False),
    Column("snoozed_until", UtcTime),
    Column("requeues", Integer, nullable=False),
    Column("outcome", ID, nullable=False),
    Column("replaced_by", ID),
    Column("proposal", Text),
    CheckConstraint(
        "state IN ('new', 'requeued', 'edited', 'parked', 'discarded', 'resolved')", name="state_known"
    ),
)

leases = Table(
    "leases",
    metadata,
    Column("name", ID, primary_key=True),
    Column("holder", ID, nullable=False),
    Column("until", UtcTime, nullable=False),
)
