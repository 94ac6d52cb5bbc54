"""Brings a database up to date. Alembic, configured in code: there is no file to find or to edit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from ledger.engine import open_engine
from ledger.errors import told_apart

_LOCK = 0x7061796D656E7473
"""Any number of ours: two operators migrating at once take turns (pg_advisory_lock)."""


def migrate(url: str) -> list[str]:
    """Apply what is missing, and return its names. Safe to run again, and from two places at once.

    Raises:
        LedgerError: the database is out of reach, or refused.
    """
    engine = open_engine(url)
    try:
        with told_apart(), engine.connect() as connection, _alone(connection):
            before = set(_applied(connection))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return [name for name in _all_names() if name not in before]
    finally:
        engine.dispose()


def pending(url: str) -> list[str]:
    """Name what `migrate` would apply.

    Raises:
        LedgerError: the database is out of reach.
    """
    engine = open_engine(url)
    try:
        with told_apart(), engine.connect() as connection:
            applied = set(_applied(connection))
            return [name for name in _all_names() if name not in applied]
    finally:
        engine.dispose()


def applied_by_others(url: str) -> list[str]:
    """Name what a later version has applied, which this one does not know.

    Raises:
        LedgerError: the database is out of reach.
    """
    engine = open_engine(url)
    try:
        with told_apart(), engine.connect() as connection:
            heads = MigrationContext.configure(connection).get_current_heads()
            return sorted(set(heads) - set(_all_names()))
    finally:
        engine.dispose()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Keep other operators out until all is applied."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            yield
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()
    else:
        # One transaction around them all: Alembic begins none on SQLite, where a crash would leave half the tables.
        connection.execute(text("BEGIN IMMEDIATE"))
        yield
        connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _all_names() -> list[str]:
    revisions = list(ScriptDirectory.from_config(_config()).walk_revisions())
    return [revision.revision for revision in reversed(revisions)]


def _applied(connection: Connection) -> list[str]:
    heads = MigrationContext.configure(connection).get_current_heads()
    if connection.dialect.name == "postgresql":
        connection.rollback()  # or Alembic would take the transaction for ours, and begin none for each migration
    if not heads:
        return []
    names = _all_names()
    known = [names.index(head) for head in heads if head in names]
    return names[: 1 + max(known)] if known else names  # of a later version, which began with all of ours
