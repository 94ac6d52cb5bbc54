"""What the embedded broker raises beside AMQP's own channel errors, and how SQLite's errors turn into it.

amqp.ConnectionError
├── BrokerDown        for now: open a new connection after a pause
└── BrokerUnusable    until a person acts
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp

DATABASE_NAME = "broker.db"

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class BrokerDown(amqp.RecoverableConnectionError):  # type: ignore[misc]
    """This connection is of no more use, a new one may be: locked too long, disk full, owner file gone."""


class BrokerUnusable(amqp.IrrecoverableConnectionError):  # type: ignore[misc]
    """The directory or the file in it cannot be used until a person acts; the text says how."""


@contextmanager
def clear_errors(directory: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours. A misuse of SQLite stays what it is: a bug.

    Raises: BrokerDown, BrokerUnusable.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _translated(error, directory / DATABASE_NAME) from error


def _translated(error: sqlite3.DatabaseError, file: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:  # The upper bits only say more about the lower (sqlite.org/rescode.html).
        case damaged if damaged in _DAMAGED:
            return BrokerUnusable(
                f"{file} is damaged or no database ({error}): stop every process that uses it, keep a copy "
                f"for what can still be read from it, then remove it or point PAYMENTS_DATA_DIR elsewhere."
            )
        case forbidden if forbidden in _FORBIDDEN:
            return BrokerUnusable(
                f"{file} cannot be opened or written ({error}): give this user write access to the directory "
                f"or point PAYMENTS_DATA_DIR elsewhere."
            )
        case locked if locked in _LOCKED:
            return BrokerDown(f"{file} has been locked by another process for too long")
        case sqlite3.SQLITE_FULL:
            return BrokerDown(f"the disk that holds {file} is full")
        case sqlite3.SQLITE_CONSTRAINT:
            return BrokerDown(f"{file} no longer knows this connection: it was taken for dead")
        case _:
            return BrokerDown(f"{file}: {error}")
