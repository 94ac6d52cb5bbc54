"""The register of the keys that tokens are sealed with: their ids, and which is current. Never the keys themselves."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import UtcTime

revision = "20261123_sealing_keys"
down_revision = "20261122_first_books"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; what is stored already is left unsealed until `payments keys rotate`."""
    op.create_table(
        "sealing_keys",
        sa.Column("key_id", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('current', 'earlier', 'retired')", name=op.f("ck_sealing_keys_state_known")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_sealing_keys")),
    )
    op.create_index(
        "uq_sealing_keys_current",
        "sealing_keys",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'current'"),
        sqlite_where=sa.text("state = 'current'"),
    )
