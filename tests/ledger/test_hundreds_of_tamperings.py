"""Hundreds of small changes to what is booked, drawn by a seed: each is found, and its row is named."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from ledger.anchors import Anchor
from ledger.ledger import Ledger
from ledger.tables import metadata
from ledger.verify import verify
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.shop import a_shop

SEALED = ("audit", "journals", "entries")
KEYS = {name: tuple(column.name for column in metadata.tables[name].primary_key) for name in SEALED}
COLUMNS = {name: tuple(column.name for column in metadata.tables[name].columns) for name in SEALED}
SQLITE, POSTGRES = 400, 40

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """What was done, in SQL, and one of what verification must name."""

    kind: str
    table: str
    statements: tuple[str, ...]
    places: tuple[str, ...]


class Books:
    """The sealed tables as they are, and what can be done to them."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self._is_sqlite = url.startswith("sqlite")
        self._chance = chance
        self._rows = {
            table: [
                dict(zip(COLUMNS[table], values, strict=True))
                for values in raw.run(
                    url, f"SELECT {', '.join(COLUMNS[table])} FROM {table} ORDER BY {', '.join(KEYS[table])}"
                )
            ]
            for table in SEALED
        }

    def any_tampering(self) -> Tampering:
        """One of the many."""
        kinds: list[Callable[[str], Tampering | None]] = [
            self._changed, self._changed, self._changed, self._removed, self._swapped, self._slipped_in, self._cut_off,
        ]  # fmt: skip
        while True:
            made = self._chance.choice(kinds)(self._chance.choice(SEALED))
            if made is not None:
                return made

    def _changed(self, table: str) -> Tampering | None:
        row, column = self._chance.choice(self._rows[table]), self._chance.choice(COLUMNS[table])
        new = self._a_little_different(row[column])
        if new == row[column]:
            return None
        change = f"UPDATE {table} SET {column} = {self._literal(new)} WHERE {self._key(table, row)}"
        return Tampering(
            kind="changed",
            table=table,
            statements=(change,),
            places=(*_places(table, row), *_places(table, row | {column: new})),
        )

    def _removed(self, table: str) -> Tampering:
        row = self._chance.choice(self._rows[table])
        remove = f"DELETE FROM {table} WHERE {self._key(table, row)}"
        return Tampering(kind="removed", table=table, statements=(remove,), places=_places(table, row))

    def _swapped(self, table: str) -> Tampering | None:
        one, other = self._chance.sample(self._rows[table], 2)
        rest = [
            name
            for name in COLUMNS[table]
            if name not in KEYS[table]
            and (table != "journals" or name in ("gateway", "currency", "effective_at", "payment_id"))
        ]
        if all(one[name] == other[name] for name in rest):
            return None  # the same row twice: nothing would be changed
        return Tampering(
            kind="swapped",
            table=table,
            statements=(self._set(table, one, other, rest), self._set(table, other, one, rest)),
            places=(*_places(table, one), *_places(table, other)),
        )

    def _slipped_in(self, table: str) -> Tampering:
        row = dict(self._chance.choice(self._rows[table]))
        if table == "audit":
            row["position"] = self._rows[table][-1]["position"] + 1
        elif table == "journals":
            row["source_id"] = f"{row['source_id']}x"
            row["journal_id"] = f"{row['source_id']}/{row['journal_type']}"
        else:
            row["line_no"] += 100
        add = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(self._literal, row.values()))})"
        return Tampering(kind="slipped in", table=table, statements=(add,), places=_places(table, row))

    def _cut_off(self, table: str) -> Tampering:
        """The end of the chain, as if it had never been: what its rows tell of and the head as well."""
        if table != "audit":
            return self._removed(table)
        chain = self._rows["audit"]
        kept = chain[: self._chance.randrange(len(chain))]
        position, digest = (kept[-1]["position"], kept[-1]["hash"]) if kept else (0, b"\0" * 32)
        told = "".join(row["details"] for row in chain[len(kept) :])
        gone = [row["journal_id"] for row in self._rows["journals"] if f'"{row["journal_id"]}"' in told]
        lost = ", ".join(map(self._literal, gone)) or "''"
        return Tampering(
            kind="cut off",
            table=table,
            statements=(
                f"DELETE FROM audit WHERE position > {position}",
                f"UPDATE audit_heads SET position = {position}, hash = {self._literal(digest)}"
                f" WHERE shard = {chain[0]['shard']}",
                f"DELETE FROM entries WHERE journal_id IN ({lost})",
                f"DELETE FROM journals WHERE journal_id IN ({lost})",
            ),
            places=(f"audit shard {chain[0]['shard']} row {chain[-1]['position']}: anchored",),
        )

    def _set(self, table: str, row: Row, source: Row, names: list[str]) -> str:
        values = ", ".join(f"{name} = {self._literal(source[name])}" for name in names)
        return f"UPDATE {table} SET {values} WHERE {self._key(table, row)}"

    def _key(self, table: str, row: Row) -> str:
        return " AND ".join(f"{name} = {self._literal(row[name])}" for name in KEYS[table])

    def _literal(self, value: Any) -> str:
        match value:
            case None:
                return "NULL"
            case int():
                return str(value)
            case bytes():
                return f"x'{value.hex()}'" if self._is_sqlite else rf"'\x{value.hex()}'"
            case _:
                return "'" + str(value).replace("'", "''") + "'"

    def _a_little_different(self, value: Any) -> Any:
        """One bit, one digit, one byte, one microsecond."""
        match value:
            case None:
                return "x"
            case int():
                return value ^ (1 << self._chance.randrange(8)) or value + 1
            case datetime():
                return value + timedelta(microseconds=self._chance.choice((-1, 1)))
            case bytes():
                at = self._chance.randrange(len(value))
                return value[:at] + bytes([value[at] ^ (1 << self._chance.randrange(8))]) + value[at + 1 :]
            case str():
                at = self._chance.randrange(len(value) + 1)
                return value[:at] + self._chance.choice("0x}") + value[at + self._chance.randrange(2) :]
        raise AssertionError(value)


def _places(table: str, row: Row) -> tuple[str, ...]:
    """What names a row; in a chain the row behind one that is gone does, too."""
    if table != "audit":
        return (f" {row['journal_id']}: ", f" {row['journal_id']} line {row.get('line_no')}: ")
    near = range(int(row["position"]) - 1, int(row["position"]) + 2)
    return tuple(
        place
        for position in near
        for place in (
            f"shard {row['shard']} row {position}:",
            f"shard {row['shard']}: rows {position} ",
            f"to {position} are",
            f"at row {position}, ",
        )
    )


def _clean(url: str) -> Anchor:
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        a_shop(ledger)
    report = verify(url)
    assert report.problems == []
    assert report.anchor is not None
    return report.anchor


def _is_named(tampering: Tampering, problems: list[str]) -> bool:
    return any(place in problem for place in tampering.places for problem in problems)


def test_of_hundreds_of_tamperings_each_is_found_and_its_row_named(sqlite_url: str, tmp_path: Path) -> None:
    anchor = _clean(sqlite_url)
    raw.tamper(sqlite_url, "SELECT 1")  # every guard is gone
    whole = Path(sqlite_url.removeprefix("sqlite:///")).read_bytes()
    copy = tmp_path / "tampered.db"
    books = Books(sqlite_url, random.Random(20261123))
    tried: Counter[tuple[str, str]] = Counter()

    while tried.total() < SQLITE:
        tampering = books.any_tampering()
        copy.write_bytes(whole)
        try:
            raw.tamper(f"sqlite:///{copy}", *tampering.statements)
        except sqlite3.IntegrityError:
            continue  # there is such a row already
        if copy.read_bytes() == whole:
            continue
        problems = verify(f"sqlite:///{copy}", anchors=[anchor], chains_alone=True).problems
        assert _is_named(tampering, problems), f"{tampering}: {problems}"
        tried[tampering.kind, tampering.table] += 1

    assert {kind for kind, _ in tried} == {"changed", "removed", "swapped", "slipped in", "cut off"}
    assert min(tried.values()) >= 5


def test_it_is_no_different_on_postgresql(postgres_url: str) -> None:
    anchor = _clean(postgres_url)
    raw.tamper(postgres_url, "SELECT 1")
    books = Books(postgres_url, random.Random(20261124))
    backup = [f"CREATE TABLE {table}_kept AS TABLE {table}" for table in (*SEALED, "audit_heads")]
    raw.tamper(postgres_url, *backup)
    restore = [
        statement
        for table in (*SEALED, "audit_heads")
        for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM {table}_kept")
    ]
    tried = 0
    while tried < POSTGRES:
        tampering = books.any_tampering()
        try:
            raw.tamper(postgres_url, *tampering.statements)
        except psycopg.errors.IntegrityError:
            continue
        problems = verify(postgres_url, anchors=[anchor], chains_alone=True).problems
        assert _is_named(tampering, problems), f"{tampering}: {problems}"
        raw.tamper(postgres_url, *restore)
        tried += 1

    assert verify(postgres_url, anchors=[anchor]).problems == []
