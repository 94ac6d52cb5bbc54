"""Migrations: they make what the tables say, once, however often and by however many they are run."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect

from ledger import tables
from ledger.engine import open_engine
from ledger.errors import LedgerError
from ledger.ledger import Ledger
from ledger.migrations import versions
from ledger.schema import migrate, pending
from ledger.states import Attempt, Payment, Refund
from ledger.tables import AUDIT_SHARDS, metadata
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.rows import count, everything, write

ROOT = Path(__file__).parents[2]
ALL = sorted(file.stem for file in Path(versions.__path__[0]).glob("2*.py"))
"""Every migration, in the order of their names."""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, on either."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    found: str = request.getfixturevalue("database")
    return found


def test_migrating_makes_what_is_missing_and_says_what_it_was(empty_url: str) -> None:
    assert pending(empty_url) == ALL

    assert migrate(empty_url) == ALL

    assert pending(empty_url) == []
    with closing(Ledger(empty_url, keyring=KEYRING)) as ledger:
        write(ledger, everything())


def test_migrating_again_does_nothing(url: str, ledger: Ledger) -> None:
    write(ledger, everything())

    assert migrate(url) == []
    assert count(url, "payments") == 1
    assert count(url, "audit_heads") == AUDIT_SHARDS


def test_looking_for_what_is_missing_changes_nothing(empty_url: str) -> None:
    pending(empty_url)

    engine = open_engine(empty_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_migrating_from_several_places_at_once_is_the_same_as_once(empty_url: str) -> None:
    program = f"from ledger.schema import migrate; print(migrate({empty_url!r}))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120) for process in running]

    assert [(process.returncode, errors) for process, (_, errors) in zip(running, said, strict=True)] == [
        (0, "")
    ] * 4
    assert sorted(out.strip() for out, _ in said) == [str(ALL), "[]", "[]", "[]"]
    assert count(empty_url, "audit_heads") == AUDIT_SHARDS


def test_a_migration_that_breaks_off_leaves_nothing_behind(empty_url: str) -> None:
    raw.run(empty_url, "CREATE TABLE payments (payment_id TEXT)")  # in the way of the first migration's own

    with pytest.raises(LedgerError, match="payments"):
        migrate(empty_url)

    raw.run(empty_url, "DROP TABLE payments")
    assert migrate(empty_url) == ALL


def test_migrations_make_what_the_tables_say(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            # SQLite numbers an integer key by itself; it has no default to compare.
            opts={"compare_type": True, "compare_server_default": not url.startswith("sqlite")},
        )
        difference = compare_metadata(context, metadata)
    engine.dispose()

    assert difference == []


def test_every_check_is_there_and_says_what_the_tables_say(url: str) -> None:
    engine = open_engine(url)
    found = {
        check["name"]: check["sqltext"]
        for table in metadata.tables
        for check in inspect(engine).get_check_constraints(table)
    }
    engine.dispose()
    declared = {
        str(constraint.name): str(constraint.sqltext)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }

    assert found.keys() == declared.keys()
    for name, text in declared.items():
        assert _words(str(found[name])) == _words(text), name


def _words(condition: str) -> set[str]:
    """What a condition talks about. PostgreSQL writes it in words of its own, so its letters cannot be compared."""
    text = re.sub(r"::\w+(\[\])?|\bANY\b|\bARRAY\b|\bIN\b", "", condition)
    return set(re.findall(r"\w+|<=|>=|>|\|\|", text))


def test_every_partial_index_has_the_condition_of_the_tables(postgres_url: str) -> None:
    found: dict[str, str] = dict(
        raw.run(postgres_url, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    )
    for table in metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["postgresql"]["where"]
            if where is not None:
                condition = found[str(index.name)].partition(" WHERE ")[2]
                literals = set(re.findall(r"'\w+'", str(where)))
                assert set(re.findall(r"'\w+'", condition)) == literals
                assert condition


@pytest.mark.parametrize(
    ("state", "table"),
    [(Payment, tables.payments), (Attempt, tables.attempts), (Refund, tables.refunds)],
    ids=["payments", "attempts", "refunds"],
)
def test_a_states_columns_are_its_fields(state: Any, table: Any) -> None:
    fields = dataclasses.fields(state)

    assert [column.name for column in table.columns] == [field.name for field in fields]
    assert [column.name for column in table.primary_key] == [fields[0].name]
    for field in fields:
        assert table.c[field.name].nullable is ("None" in str(field.type)), field.name


def test_every_constraint_has_a_name_to_be_recognised_by(url: str) -> None:
    engine = open_engine(url)
    inspector = inspect(engine)
    for table in metadata.tables:
        assert inspector.get_pk_constraint(table)["name"] == f"pk_{table}"
        named = [
            *inspector.get_check_constraints(table),
            *inspector.get_unique_constraints(table),
            *inspector.get_foreign_keys(table),
        ]
        assert all(constraint["name"] for constraint in named)
    engine.dispose()


def test_a_migration_is_named_by_date_and_subject_and_there_is_one_line_of_them() -> None:
    scripts = ScriptDirectory(str(Path(versions.__file__).parents[1]))
    names = [revision.revision for revision in scripts.walk_revisions()]
    files = {path.stem for path in Path(versions.__file__).parent.glob("2*.py")}

    assert len(scripts.get_heads()) == 1
    assert set(names) == files
    assert all(re.fullmatch(r"\d{8}_[a-z_]+", name) for name in names)
    assert names == sorted(names, reverse=True)


def test_a_migration_that_waits_for_a_lock_gives_up_rather_than_hold_up_the_workers(database: str) -> None:
    raw.run(database, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    address = database.replace("postgresql+psycopg", "postgresql")
    with closing(psycopg.connect(address)) as somebody:
        somebody.execute("LOCK TABLE alembic_version")

        with pytest.raises(LedgerError):
            migrate(database)

    assert migrate(database) == ALL


def test_the_audit_chains_begin_at_nothing(url: str) -> None:
    heads = raw.run(url, "SELECT shard, position, hash FROM audit_heads ORDER BY shard")

    assert [(shard, position, bytes(head)) for shard, position, head in heads] == [
        (shard, 0, bytes(32)) for shard in range(AUDIT_SHARDS)
    ]


def test_a_sqlite_file_is_as_durable_as_it_gets(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
