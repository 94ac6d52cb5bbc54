"""What can go wrong with the ledger, told apart by what is to be done.

    LedgerError
    ├── LedgerDown    out of reach, stopping, full, read-only: wait and try again
    │   └── KeyMissing  the key that values are encrypted with is not here: the same, until it is
    ├── CannotDecrypt a row's encrypted value does not open: a person brings the key back, or finds who changed it
    ├── Conflict      another worker was there first: run the turn again
    ├── Refused       the database said no to what was written: a bug, or a row gone bad
    └── NotMigrated   tables are missing or old: a person runs `payments migrate`

No text here carries a URL or a value.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy.exc
from psycopg import errors as pg


class LedgerError(Exception):
    """Nothing was written; only a connection lost in the very commit may have written all, which the next turn sees."""


class LedgerDown(LedgerError):
    """The database is out of reach or cannot write now: wait and try again."""


class KeyMissing(LedgerDown):
    """The key that values are encrypted with is not here: wait until it is. The text names it."""


class CannotDecrypt(LedgerError):
    """A row's encrypted value does not open; the text names the row and the key, and quotes nothing."""


class Conflict(LedgerError):
    """Another worker was there first: run the turn again."""


class Refused(LedgerError):
    """A constraint or trigger said no; the text names it."""


class NotMigrated(LedgerError):
    """The tables are missing or older than this code."""


_CONFLICTS = (pg.UniqueViolation, pg.SerializationFailure, pg.DeadlockDetected, pg.LockNotAvailable)
_OLD = (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedFunction)
_REFUSALS = (psycopg.IntegrityError, pg.RaiseException)


@contextmanager
def told_apart() -> Iterator[None]:
    """Translate the drivers' exceptions."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        raise _translated(error.orig or error) from None
    except (psycopg.Error, sqlite3.Error) as error:
        raise _translated(error) from None


def _translated(error: BaseException) -> LedgerError:
    if isinstance(error, psycopg.Error):
        return _from_postgres(error)
    return _from_sqlite(error)


def _from_postgres(error: psycopg.Error) -> LedgerError:
    name = error.diag.constraint_name or type(error).__name__
    if isinstance(error, _CONFLICTS):
        return Conflict(name)
    if isinstance(error, _OLD):
        return NotMigrated(f"{_first_line(error)}: run `payments migrate`")
    if isinstance(error, psycopg.DataError):
        return Refused(name)  # the server's text quotes the value
    if isinstance(error, _REFUSALS):
        return Refused(f"{name}: {error.diag.message_primary}")
    return LedgerDown(f"PostgreSQL: {_first_line(error)}")


def _from_sqlite(error: BaseException) -> LedgerError:
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(text) if "UNIQUE" in text else Refused(text)
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return NotMigrated(f"{text}: run `payments migrate`")
    return LedgerDown(f"SQLite: {text}")


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
