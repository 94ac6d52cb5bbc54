"""The first books: payments, attempts, refunds, inbox, outbox, journals, entries, the audit chains, leases.

The database itself insists, by triggers: journals balance, and what is booked is never changed. Entries are written
first and the journal's row last: it seals them. On PostgreSQL the check is one aggregate per statement over all the
journals it adds; a deferred constraint trigger would run once a row, and only at the commit.
"""

import sqlalchemy as sa
from alembic import op

from ledger.tables import UtcTime

revision = "20261122_first_books"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AUDIT_SHARDS = 16

APPEND_ONLY = ("journals", "entries", "audit")

POSTGRESQL_GUARDS = [
    """
    CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'append_only';
    END $$
    """,
    *(
        f"""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
        """
        for table in APPEND_ONLY
    ),
    """
    CREATE FUNCTION ledger_refuse_late_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM added JOIN journals USING (journal_id)) THEN
            RAISE EXCEPTION 'the journal is sealed: entries are written before its row'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'journal_sealed';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER journal_sealed AFTER INSERT ON entries REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_late_entries()
    """,
    """
    CREATE FUNCTION ledger_check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT 1 FROM added LEFT JOIN entries USING (journal_id)
            GROUP BY added.journal_id, entries.currency, entries.layer
            HAVING sum(CASE entries.side WHEN 'D' THEN entries.amount ELSE -entries.amount END) IS DISTINCT FROM 0
        ) THEN
            RAISE EXCEPTION 'a journal does not balance, or has no entries'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'journal_balances';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER journal_balances AFTER INSERT ON journals REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_check_balance()
    """,
]

SQLITE_GUARDS = [
    *(
        f"""
        CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN
            SELECT RAISE(ABORT, 'append_only: rows of {table} are never changed or removed');
        END
        """
        for table in APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE removes a row without the triggers of DELETE (sqlite.org/lang_conflict.html).
    *(
        f"""
        CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
        WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN
            SELECT RAISE(ABORT, 'append_only: rows of {table} are never changed or removed');
        END
        """
        for table, same in (
            ("journals", "journal_id = NEW.journal_id"),
            ("audit", "shard = NEW.shard AND position = NEW.position"),
        )
    ),
    """
    CREATE TRIGGER journal_sealed AFTER INSERT ON entries
    WHEN EXISTS (SELECT 1 FROM journals WHERE journal_id = NEW.journal_id) BEGIN
        SELECT RAISE(ABORT, 'journal_sealed: entries are written before the journal''s row');
    END
    """,
    """
    CREATE TRIGGER journal_balances AFTER INSERT ON journals
    WHEN NOT EXISTS (SELECT 1 FROM entries WHERE journal_id = NEW.journal_id) OR EXISTS (
        SELECT 1 FROM entries WHERE journal_id = NEW.journal_id GROUP BY currency, layer
        HAVING sum(CASE side WHEN 'D' THEN amount ELSE -amount END) <> 0
    ) BEGIN
        SELECT RAISE(ABORT, 'journal_balances: a journal does not balance, or has no entries');
    END
    """,
]


def upgrade() -> None:
    """Make the tables, the beginnings of the audit chains, and the guards."""
    _make_tables()
    heads = sa.table("audit_heads", sa.column("shard"), sa.column("position"), sa.column("hash"))
    beginnings = [{"shard": shard, "position": 0, "hash": bytes(32)} for shard in range(AUDIT_SHARDS)]
    op.bulk_insert(heads, beginnings)
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for guard in POSTGRESQL_GUARDS if is_postgresql else SQLITE_GUARDS:
        op.execute(sa.text(guard.replace(":", r"\:")))


def _make_tables() -> None:
    op.create_table(
        "attempts",
        sa.Column("attempt_id", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=False),
        sa.Column("capture_id", ID, nullable=True),
        sa.Column("refund_id", ID, nullable=True),
        sa.Column("operation", ID, nullable=False),
        sa.Column("gateway", ID, nullable=False),
        sa.Column("currency", ID, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("acts_on", ID, nullable=True),
        sa.Column("authenticate", sa.Boolean(), nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("reference", ID, nullable=True),
        sa.Column("parent_reference", ID, nullable=True),
        sa.Column("call_number", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("inquiries", sa.BigInteger(), nullable=False),
        sa.Column("doubtful", sa.Boolean(), nullable=False),
        sa.Column("sent_at", UtcTime(), nullable=True),
        sa.Column("absent_since", UtcTime(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("capture_before", UtcTime(), nullable=True),
        sa.Column("is_warned", sa.Boolean(), nullable=False),
        sa.Column("brought", ID, nullable=True),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("reason", ID, nullable=True),
        sa.Column("code", ID, nullable=True),
        sa.Column("soft", sa.Boolean(), nullable=False),
        sa.Column("detail", ID, nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "NOT (state IN ('action_required', 'created', 'pending', 'sent', 'unknown')) OR due_at IS "
            "NOT NULL",
            name=op.f("ck_attempts_open_has_due_at"),
        ),
        sa.CheckConstraint(
            "state IN ('action_required', 'canceled', 'created', 'declined', 'failed', 'pending', "
            "'reversed', 'sent', 'succeeded', 'unknown')",
            name=op.f("ck_attempts_state_known"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_attempts_amount_positive")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_attempts")),
    )
    op.create_index(
        "ix_attempts_due_at",
        "attempts",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_attempts_payment_id", "attempts", ["payment_id"], unique=False)
    op.create_index("ix_attempts_reference", "attempts", ["reference"], unique=False)
    op.create_table(
        "audit",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("actor", ID, nullable=False),
        sa.Column("action", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=True),
        sa.Column("subject", ID, nullable=False),
        sa.Column("cause", ID, nullable=False),
        sa.Column("result", ID, nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("happened_at", UtcTime(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "position", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_payment_id"), "audit", ["payment_id"], unique=False)
    op.create_table(
        "audit_heads",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "callbacks",
        sa.Column("gateway", ID, nullable=False),
        sa.Column("notice_id", ID, nullable=False),
        sa.Column("event", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=True),
        sa.Column("attempt_id", ID, nullable=True),
        sa.Column("state", ID, nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "(state = 'waiting') = (due_at IS NOT NULL)", name=op.f("ck_callbacks_waiting_has_due_at")
        ),
        sa.CheckConstraint(
            "state IN ('taken', 'waiting', 'unmatched')", name=op.f("ck_callbacks_state_known")
        ),
        sa.PrimaryKeyConstraint("gateway", "notice_id", name=op.f("pk_callbacks")),
    )
    op.create_index(
        "ix_callbacks_due_at",
        "callbacks",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_callbacks_payment_id"), "callbacks", ["payment_id"], unique=False)
    op.create_table(
        "captures",
        sa.Column("capture_id", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=False),
        sa.Column("currency", ID, nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("status", ID, nullable=False),
        sa.Column("request_hash", ID, nullable=False),
        sa.Column("source", ID, nullable=False),
        sa.Column("command_id", ID, nullable=False),
        sa.Column("correlation_id", ID, nullable=False),
        sa.Column("deadline_at", UtcTime(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "(status = 'requested') = (due_at IS NOT NULL)", name=op.f("ck_captures_waiting_has_due_at")
        ),
        sa.CheckConstraint(
            "status IN ('failed', 'rejected', 'requested', 'reversed', 'submitted', 'succeeded')",
            name=op.f("ck_captures_status_known"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_captures_amount_positive")),
        sa.PrimaryKeyConstraint("capture_id", name=op.f("pk_captures")),
    )
    op.create_index(
        "ix_captures_due_at",
        "captures",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_captures_payment_id", "captures", ["payment_id"], unique=False)
    op.create_table(
        "inbox",
        sa.Column("source", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("body_hash", ID, nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "source", name=op.f("pk_inbox")),
    )
    op.create_table(
        "journals",
        sa.Column("journal_id", ID, nullable=False),
        sa.Column("journal_type", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=False),
        sa.Column("refund_id", ID, nullable=True),
        sa.Column("gateway", ID, nullable=False),
        sa.Column("currency", ID, nullable=False),
        sa.Column("effective_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "journal_id = source_id || '/' || journal_type", name=op.f("ck_journals_id_is_type_and_source")
        ),
        sa.PrimaryKeyConstraint("journal_id", name=op.f("pk_journals")),
    )
    op.create_index(op.f("ix_journals_payment_id"), "journals", ["payment_id"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", ID, nullable=False),
        sa.Column("holder", ID, nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "outbox",
        sa.Column("position", POSITION, sa.Identity(always=True), nullable=False),
        sa.Column("stream", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("type", ID, nullable=False),
        sa.Column("exchange", ID, nullable=False),
        sa.Column("routing_key", ID, nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("published_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_outbox")),
        sa.UniqueConstraint("stream", "sequence", name=op.f("uq_outbox_stream_sequence")),
    )
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["position"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "payments",
        sa.Column("payment_id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("gateway", ID, nullable=False),
        sa.Column("currency", ID, nullable=False),
        sa.Column("requested", sa.BigInteger(), nullable=False),
        sa.Column("status", ID, nullable=False),
        sa.Column("capture", sa.Boolean(), nullable=False),
        sa.Column("request", ID, nullable=False),
        sa.Column("request_hash", ID, nullable=False),
        sa.Column("source", ID, nullable=False),
        sa.Column("command_id", ID, nullable=False),
        sa.Column("correlation_id", ID, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("authorized", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("captured_gross", sa.BigInteger(), nullable=False),
        sa.Column("capture_pending", sa.BigInteger(), nullable=False),
        sa.Column("capture_reversed", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("refund_pending", sa.BigInteger(), nullable=False),
        sa.Column("refunded_external", sa.BigInteger(), nullable=False),
        sa.Column("disputed_open", sa.BigInteger(), nullable=False),
        sa.Column("charged_back", sa.BigInteger(), nullable=False),
        sa.Column("attention", sa.Boolean(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('action_required', 'authorized', 'authorizing', 'canceled', 'captured', "
            "'capturing', 'declined', 'expired', 'failed', 'in_doubt', 'partially_captured', "
            "'pending', 'rejected', 'reversed', 'voided', 'voiding')",
            name=op.f("ck_payments_status_known"),
        ),
        sa.CheckConstraint(
            "captured_gross + capture_pending + released <= authorized",
            name=op.f("ck_payments_no_over_capture"),
        ),
        sa.CheckConstraint(
            "refunded + refund_pending <= captured_gross", name=op.f("ck_payments_no_over_refund")
        ),
        sa.CheckConstraint(
            "requested >= 0 AND authorized >= 0 AND released >= 0 AND captured_gross >= 0 AND "
            "capture_pending >= 0 AND capture_reversed >= 0 AND refunded >= 0 AND refund_pending >= 0 "
            "AND refunded_external >= 0 AND disputed_open >= 0 AND charged_back >= 0",
            name=op.f("ck_payments_amounts_not_negative"),
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_payments")),
    )
    op.create_index(
        "uq_payments_live_order",
        "payments",
        ["order_id"],
        unique=True,
        postgresql_where=sa.text(
            "NOT status IN ('canceled', 'declined', 'expired', 'failed', 'rejected', 'reversed', 'voided') AND NOT late"
        ),
        sqlite_where=sa.text(
            "NOT status IN ('canceled', 'declined', 'expired', 'failed', 'rejected', 'reversed', 'voided') AND NOT late"
        ),
    )
    op.create_table(
        "refunds",
        sa.Column("refund_id", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=False),
        sa.Column("currency", ID, nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("status", ID, nullable=False),
        sa.Column("request", ID, nullable=False),
        sa.Column("request_hash", ID, nullable=False),
        sa.Column("source", ID, nullable=False),
        sa.Column("command_id", ID, nullable=False),
        sa.Column("correlation_id", ID, nullable=False),
        sa.Column("external", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("deadline_at", UtcTime(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "status = 'reversed' OR (status = 'requested') = (due_at IS NOT NULL)",
            name=op.f("ck_refunds_waiting_has_due_at"),
        ),
        sa.CheckConstraint(
            "status IN ('failed', 'pending', 'rejected', 'requested', 'reversed', 'submitted', "
            "'succeeded', 'unknown')",
            name=op.f("ck_refunds_status_known"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refunds_amount_positive")),
        sa.PrimaryKeyConstraint("refund_id", name=op.f("pk_refunds")),
    )
    op.create_index(
        "ix_refunds_due_at",
        "refunds",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_refunds_payment_id", "refunds", ["payment_id"], unique=False)
    op.create_table(
        "entries",
        sa.Column("journal_id", ID, nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("layer", ID, nullable=False),
        sa.Column("side", ID, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("gateway", ID, nullable=False),
        sa.Column("currency", ID, nullable=False),
        sa.Column("payment_id", ID, nullable=False),
        sa.Column("refund_id", ID, nullable=True),
        sa.CheckConstraint("layer IN ('posted', 'memo')", name=op.f("ck_entries_layer_known")),
        sa.CheckConstraint("side IN ('D', 'C')", name=op.f("ck_entries_side_known")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_entries_amount_positive")),
        sa.ForeignKeyConstraint(
            ["journal_id"],
            ["journals.journal_id"],
            name=op.f("fk_entries_journal_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("journal_id", "line_no", name=op.f("pk_entries")),
    )
    # ### end Alembic commands ###
