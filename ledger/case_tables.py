"""The tables of cases: only what people add to what the books say by themselves (`ledger.case_facts`)."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, PrimaryKeyConstraint, Table, Text

from ledger.tables import ID, UtcTime, metadata

cases = Table(
    "cases",
    metadata,
    Column("case_id", ID, primary_key=True),
    Column("payment_id", ID),
    Column("owner", ID),
    Column("state", ID, nullable=False),
    Column("proposal", Text),
    Column("reason", Text, nullable=False),
    Column("changed_by", ID, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    CheckConstraint("state IN ('open', 'resolved')", name="state_known"),
)

case_steps = Table(
    "case_steps",
    metadata,
    Column("case_id", ID, nullable=False),
    Column("number", Integer, nullable=False),
    Column("happened_at", UtcTime, nullable=False),
    Column("actor", ID, nullable=False),
    Column("action", ID, nullable=False),
    Column("note", Text, nullable=False),
    PrimaryKeyConstraint("case_id", "number"),
)
