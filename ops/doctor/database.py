"""Checks of the database: that it answers, is durable, is of this version, and guards the books."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, text

from ledger.engine import open_engine
from ledger.errors import LedgerError, NotMigrated, told_apart
from ledger.guards import APPEND_ONLY, missing_guards
from ledger.schema import applied_by_others, pending
from ledger.tables import metadata
from ops.doctor.finding import Finding, each, not_looked_at, unsure, well, wrong
from ops.settings import Settings

PATIENCE_S = 5.0
POSTGRES = 15
"""The oldest the tests have been run on."""
SKEW_S = 1.0
"""Clocks further apart make timers early or late and times in reports wrong; NTP keeps machines within milliseconds."""
DURABLE = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply", "remote_write"),
    "session_replication_role": ("origin",),
}
"""PostgreSQL's settings without which a crash loses what was committed, or triggers do not fire
(postgresql.org/docs/current/runtime-config-wal.html, runtime-config-client.html)."""


def examine_database(settings: Settings) -> Iterator[Finding]:
    """Look at everything about the database; one that is away is one finding."""
    try:
        with _opened(settings.ledger_url) as books:
            yield well("database", f"answers: {_name(books)}")
            yield from migrations(settings)
            yield from each(CHECKS, books)
    except NotMigrated as error:
        yield wrong("database", str(error), "run `payments migrate`")
        yield not_looked_at(CHECKS, "there are no books yet")
    except LedgerError as error:
        yield wrong("database", str(error), "start it, or correct PAYMENTS_DATABASE_URL; workers wait for it")
        yield not_looked_at(CHECKS, "the database does not answer")


@contextmanager
def _opened(url: str) -> Iterator[Connection]:
    if url.startswith("sqlite:///") and not Path(path := url.removeprefix("sqlite:///")).is_file():
        raise NotMigrated(f"there are no books at {path}")
    engine = open_engine(url, patience_s=PATIENCE_S)
    try:
        # Each statement on its own: one that fails must not spoil the others.
        with told_apart(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET default_transaction_read_only = on"))
            connection.execute(text("SELECT 1"))
            yield connection
    finally:
        engine.dispose()


def _name(books: Connection) -> str:
    numbers = books.dialect.server_version_info or ()
    kind = "PostgreSQL" if books.dialect.name == "postgresql" else "SQLite"
    return f"{kind} {'.'.join(map(str, numbers))}"


def migrations(settings: Settings) -> Iterator[Finding]:
    """Whether the tables are those of this version."""
    url = settings.ledger_url
    if missing := pending(url):
        yield wrong(
            "migrations",
            f"missing: {', '.join(missing)}",
            "run `payments migrate` before this version's workers",
        )
    elif later := applied_by_others(url):
        yield unsure(
            "migrations",
            f"the database is of a later version ({', '.join(later)})",
            "workers of this version run on it; replace them when you can",
        )
    else:
        yield well("migrations", "all applied")


def server_version(books: Connection) -> Iterator[Finding]:
    """Whether the server is one this was tried on."""
    major = int((books.dialect.server_version_info or (0,))[0])
    if books.dialect.name == "postgresql" and major < POSTGRES:
        yield wrong(
            "database version", _name(books), f"use PostgreSQL {POSTGRES} or later: older is not tried"
        )
    else:
        yield well("database version", _name(books))


def durability(books: Connection) -> Iterator[Finding]:
    """Whether what was committed survives a power cut."""
    if books.dialect.name == "sqlite":
        mode = books.execute(text("PRAGMA journal_mode")).scalar_one()
        level = books.execute(text("PRAGMA synchronous")).scalar_one()
        yield well("durability", f"journal {mode}, synchronous {level}; one machine, one disk")
        return
    values = {name: str(books.execute(text(f"SHOW {name}")).scalar_one()) for name in DURABLE}
    bad = {name: value for name, value in values.items() if value not in DURABLE[name]}
    if bad:
        yield wrong(
            "durability",
            "a crash may lose committed payments: " + ", ".join(f"{k} = {v}" for k, v in bad.items()),
            "; ".join(f"ALTER SYSTEM SET {name} = '{DURABLE[name][0]}'" for name in bad)
            + "; SELECT pg_reload_conf(); and look for ALTER ROLE or ALTER DATABASE … SET",
        )
    else:
        yield well("durability", ", ".join(f"{k} = {v}" for k, v in values.items()))


def is_primary(books: Connection) -> Iterator[Finding]:
    """Whether it takes writes."""
    if books.dialect.name != "postgresql":
        return
    if books.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        yield wrong(
            "primary",
            "this server is a standby: nothing can be written",
            "name the primary in PAYMENTS_DATABASE_URL, or add target_session_attrs=read-write",
        )
    else:
        yield well("primary", "it takes writes")


def guards(books: Connection) -> Iterator[Finding]:
    """Whether the triggers that refuse changes to what is booked are there and on."""
    if missing := missing_guards(books):
        yield wrong(
            "guards of the books",
            f"missing or switched off: {', '.join(missing)}",
            "ALTER TABLE … ENABLE TRIGGER …, or restore the schema from a backup; then `payments verify`, "
            "and find out who did it",
        )
    else:
        yield well("guards of the books", "every trigger is there and on")


def grants(books: Connection) -> Iterator[Finding]:
    """Whether we may do what a worker does, and cannot do what nobody should."""
    if books.dialect.name != "postgresql":
        yield unsure("grants", "SQLite has none: whoever can write the file can write the books")
        return
    may = "SELECT has_table_privilege(current_user, :table, :what)"
    lacking = [
        table.name
        for table in metadata.sorted_tables
        if not all(books.execute(text(may), {"table": table.name, "what": w}).scalar() for w in _NEEDED)
    ]
    if lacking:
        yield wrong(
            "grants",
            f"this role cannot read and add to {', '.join(lacking)}",
            "GRANT SELECT, INSERT ON … to the worker's role",
        )
    query = "SELECT relname FROM pg_class WHERE relname = ANY(:names) AND pg_has_role(relowner, 'MEMBER')"
    owned = books.execute(text(query), {"names": list(APPEND_ONLY)}).scalars().all()
    too_much = [
        table
        for table in APPEND_ONLY
        if books.execute(text(may), {"table": table, "what": "UPDATE, DELETE, TRUNCATE"}).scalar()
    ]
    if owned or too_much:
        yield wrong(
            "grants on the books",
            f"this role may change or switch off the guards of {', '.join(sorted({*owned, *too_much}))}",
            "connect workers as a role that owns no table and has only SELECT and INSERT on them",
        )
    else:
        yield well("grants on the books", "this role can add to them and nothing else")


_NEEDED = ("SELECT", "INSERT")


def database_clock(books: Connection) -> Iterator[Finding]:
    """Whether this machine and the database's agree on the time."""
    if books.dialect.name != "postgresql":
        return
    before, began = datetime.now(UTC), time.monotonic()
    theirs: datetime = books.execute(text("SELECT clock_timestamp()")).scalar_one()
    took_s = time.monotonic() - began
    yield judged_clock("database clock", (theirs - before).total_seconds() - took_s / 2)


def judged_clock(point: str, ahead_s: float, *, within_s: float = SKEW_S) -> Finding:
    """Say whether another's clock is near enough; `ahead_s` is how far it is ahead of ours."""
    told = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    if abs(ahead_s) > within_s:
        return wrong(point, told, "set both clocks by NTP (chronyc tracking, timedatectl)")
    return well(point, f"within {within_s:g} s of this machine's")


CHECKS = (server_version, is_primary, durability, guards, grants, database_clock)
