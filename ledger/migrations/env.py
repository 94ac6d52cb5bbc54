"""Runs migrations on the connection that `ledger.schema` opened: each in a transaction of its own, and impatient."""

from alembic import context
from sqlalchemy import text

from ledger.case_tables import cases

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    # A migration that waits for a lock makes every worker behind it wait, too: rather fail and be run again.
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text("SET statement_timeout = '15min'"))
    connection.commit()
context.configure(connection=connection, target_metadata=cases.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
