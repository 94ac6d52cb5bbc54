"""What people add to what waits for them: who has it, what they noted, how it was resolved."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import UtcTime

revision = "20261123_open_cases"
down_revision = "20261123_encryption_keys"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, and the indexes that find what is marked."""
    op.create_table(
        "cases",
        sa.Column("case_id", ID, nullable=False),
        sa.Column("payment_id", ID),
        sa.Column("owner", ID),
        sa.Column("state", ID, nullable=False),
        sa.Column("proposal", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by", ID, nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'resolved')", name=op.f("ck_cases_state_known")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_cases")),
    )
    op.create_table(
        "case_steps",
        sa.Column("case_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("happened_at", UtcTime(), nullable=False),
        sa.Column("actor", ID, nullable=False),
        sa.Column("action", ID, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "number", name=op.f("pk_case_steps")),
    )
    op.create_index(
        "ix_payments_attention",
        "payments",
        ["payment_id"],
        postgresql_where=sa.text("attention"),
        sqlite_where=sa.text("attention"),
    )
    op.create_index(
        "ix_callbacks_unmatched",
        "callbacks",
        ["received_at"],
        postgresql_where=sa.text("state = 'unmatched'"),
        sqlite_where=sa.text("state = 'unmatched'"),
    )
