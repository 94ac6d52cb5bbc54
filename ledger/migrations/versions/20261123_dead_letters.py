"""Dead letters, drained from their queues into a table where they can be looked at, grouped and sent back."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import UtcTime

revision = "20261123_dead_letters"
down_revision = "20261122_first_books"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "dead_letters",
        sa.Column("letter_id", ID, nullable=False),
        *(
            sa.Column(name, ID, nullable=False)
            for name in ("queue", "exchange", "routing_key", "message_id", "type", "source")
        ),
        sa.Column("payment_id", ID),
        sa.Column("order_id", ID),
        sa.Column("reason", ID, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("field", ID, nullable=False),
        sa.Column("fingerprint", ID, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("properties", "headers", "content")),
        sa.Column("redacted", sa.Boolean(), nullable=False),
        sa.Column("first_dead_at", UtcTime(), nullable=False),
        sa.Column("dead_at", UtcTime(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("state_at", UtcTime(), nullable=False),
        sa.Column("actor", ID, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("snoozed_until", UtcTime()),
        sa.Column("requeues", sa.Integer(), nullable=False),
        sa.Column("outcome", ID, nullable=False),
        sa.Column("replaced_by", ID),
        sa.Column("proposal", sa.Text()),
        sa.CheckConstraint(
            "state IN ('new', 'requeued', 'edited', 'parked', 'discarded', 'resolved')",
            name=op.f("ck_dead_letters_state_known"),
        ),
        sa.PrimaryKeyConstraint("letter_id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_payment_id", "dead_letters", ["payment_id"])
    op.create_index("ix_dead_letters_state", "dead_letters", ["state"])
