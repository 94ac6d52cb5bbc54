"""The register of the keys that tokens are encrypted with: their ids, and which is current. Never the keys."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import UtcTime

revision = "20261123_encryption_keys"
down_revision = "20261123_dead_letters"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; what is stored already is left unencrypted until `payments keys rotate`."""
    op.create_table(
        "encryption_keys",
        sa.Column("key_id", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('current', 'earlier', 'retired')", name=op.f("ck_encryption_keys_state_known")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_encryption_keys")),
    )
    op.create_index(
        "uq_encryption_keys_current",
        "encryption_keys",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'current'"),
        sqlite_where=sa.text("state = 'current'"),
    )
