"""Changes the key that values are encrypted with, row by row, while workers go on: small transactions, never waiting.

A crash leaves some rows on the earlier key, which still opens them; run again, it finds what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from ledger import keys, tables
from ledger.bulk import Bulk, PostgresBulk, Row
from ledger.encrypted_rows import (
    ENCRYPTED_TABLES,
    EncryptedTable,
    decrypted_body,
    encrypted_body,
    name_of,
)
from ledger.encryption import MARK_LENGTH, Encrypter, mark_of
from ledger.errors import CannotDecrypt, Conflict, LedgerError
from ledger.key_ceremony import Asker, audit_line, make_current, record
from ledger.ledger import Ledger

WINDOW = 500
"""Rows looked at in one transaction: their payments are held up for some milliseconds."""
PASSES = 20
"""How often rows are looked for that a worker held in its hands the last time."""
Progress = Callable[[str, int], None]


@dataclass(slots=True, kw_only=True)
class Rotated:
    """What a rotation has done."""

    key_id: str
    rows: dict[str, int] = field(default_factory=dict)
    """Rows encrypted anew, by table."""
    shut: list[str] = field(default_factory=list)
    """Rows that do not open, one sentence each: they were left as they are."""
    left: int = 0
    """Rows that workers held in their hands until the end."""

    @property
    def is_complete(self) -> bool:
        """Whether everything is on the current key now."""
        return not self.shut and not self.left


def rotate(
    ledger: Ledger,
    key_id: str,
    *,
    asker: Asker,
    clock: Callable[[], datetime],
    progress: Progress = lambda _table, _rows: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Rotated:
    """Make a key current and encrypt everything with it. Between two looks, workers get as much time as a look took.

    Raises:
        LedgerError: the key is not here or is retired, another became current meanwhile, or the database is away.
    """
    make_current(ledger, key_id, asker=asker, now=clock())
    done = Rotated(key_id=key_id)
    for tried in range(PASSES):
        done.shut.clear()
        done.left = 0
        for table in ENCRYPTED_TABLES:
            _Walk(ledger, key_id, table, done, progress, sleep).through()
        if not done.left:
            break
        sleep(0.1 * (tried + 1))
    record(
        ledger,
        audit_line(
            asker,
            "KeyRotated",
            key_id,
            "complete" if done.is_complete else "incomplete",
            clock(),
            rows=done.rows,
            shut=len(done.shut),
            left=done.left,
        ),
    )
    return done


class _Walk:
    """Goes through one table in the order of its primary key."""

    def __init__(
        self,
        ledger: Ledger,
        key_id: str,
        table: EncryptedTable,
        done: Rotated,
        progress: Progress,
        sleep: Callable[[float], None],
    ) -> None:
        self._ledger = ledger
        self._key_id = key_id
        self._table = table
        self._done = done
        self._progress = progress
        self._sleep = sleep
        self._encrypter = Encrypter(ledger.keyring, lambda: key_id)

    def through(self) -> None:
        after: Row | None = None
        while True:
            began = time.monotonic()
            try:
                with self._ledger.upkeep(writes=True) as bulk:
                    last, count = self._window(bulk, after)
            except Conflict:
                self._sleep(0.1)
                continue
            self._done.rows[self._table.table] = self._done.rows.get(self._table.table, 0) + count
            if count:
                self._progress(self._table.table, count)
            if last is None:
                return
            after = last
            self._sleep(time.monotonic() - began)

    def _window(self, bulk: Bulk, after: Row | None) -> tuple[Row | None, int]:
        """Encrypt anew what needs it among the next rows; gives the last of them, and how many it were."""
        if keys.current(bulk) != self._key_id:
            raise LedgerError("another key has become current meanwhile: run `payments keys rotate` again")
        table = self._table
        if not isinstance(bulk, PostgresBulk):
            bulk.query("PRAGMA secure_delete = ON")  # or what was there stays readable in the file
        order = ", ".join(table.order)
        beyond = f"({order}) > ({_marks(after)})" if after else "true"
        found = bulk.query(
            f"SELECT {order} FROM {table.table} WHERE {beyond} ORDER BY {order} LIMIT {WINDOW}",
            *(after or ()),
        )()
        if not found:
            return None, 0
        last = found[-1]
        where = f"{beyond} AND ({order}) <= ({_marks(last)}) AND {table.only} AND ({_needs_it(table)})"
        values = (*(after or ()), *last, *(_mark(column, self._key_id) for column in table.columns))
        listed = ", ".join((*table.name, *table.columns))
        rows = bulk.query(
            f"SELECT {listed} FROM {table.table} WHERE {where} ORDER BY {order} {{lock}} SKIP LOCKED",
            *values,
        )()
        needed = bulk.query(f"SELECT count(*) FROM {table.table} WHERE {where}", *values)()[0][0]
        self._done.left += needed - len(rows)
        anew = [row for row in map(self._anew, rows) if row is not None]
        if anew:
            bulk.update(tables.metadata.tables[table.table], table.name, table.columns, anew)
        return last, len(anew)

    def _anew(self, row: Row) -> Row | None:
        """The row with its columns encrypted anew; None if one cannot be decrypted."""
        width = len(self._table.name)
        name = row[:width]
        try:
            return (*name, *map(partial(self._reencrypted, name), self._table.columns, row[width:]))
        except CannotDecrypt as why:
            self._done.shut.append(str(why))
            return None

    def _reencrypted(self, name: Row, column: str, value: Any) -> Any:
        if isinstance(value, bytes | memoryview):
            stream, sequence = name
            body = decrypted_body(self._encrypter, stream, sequence, bytes(value))
            return encrypted_body(self._encrypter, stream, sequence, body)
        place = f"{self._table.table}.{column}"
        opened = self._encrypter.decrypt(place, [name_of(*name)], [value])
        return self._encrypter.encrypt(place, [name_of(*name)], opened)[0]


def _needs_it(table: EncryptedTable) -> str:
    """SQL: a value is there, and not under the mark that is handed over."""
    return " OR ".join(
        f"({column} IS NOT NULL AND {column} <> '' AND substr({column}, 1, {MARK_LENGTH}) <> {{value}})"
        for column in table.columns
    )


def _mark(column: str, key_id: str) -> str | bytes:
    return mark_of(key_id).encode() if column == "body" else mark_of(key_id)


def _marks(values: Row) -> str:
    return ", ".join(["{value}"] * len(values))
