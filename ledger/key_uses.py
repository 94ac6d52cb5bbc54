"""Which keys values are encrypted with, counted from the values themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.bulk import Bulk, PostgresBulk
from ledger.encrypted_rows import ENCRYPTED_TABLES
from ledger.encryption import ID_LENGTH, PREFIX

_AFTER_PREFIX = len(PREFIX) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """So many values of one column are encrypted with one key."""

    place: str
    key_id: str | None
    """None: they are not encrypted."""
    count: int


def count_uses(bulk: Bulk, progress: Callable[[str], None] = lambda _place: None) -> list[KeyUse]:
    """Count every encrypted column's values by their key. Reads whole tables."""
    if isinstance(bulk, PostgresBulk):
        for setting in ("statement_timeout = 0", "enable_seqscan = on"):
            bulk.query(
                f"SET LOCAL {setting}"
            )  # a worker's connection is set to find rows by key, and quickly
    uses: list[KeyUse] = []
    for table in ENCRYPTED_TABLES:
        for column in table.columns:
            place = f"{table.table}.{column}"
            progress(place)
            prefix: str | bytes = PREFIX.encode() if column == "body" else PREFIX
            none: str | bytes = b"" if column == "body" else ""
            found = bulk.query(
                f"SELECT CASE WHEN substr({column}, 1, {len(PREFIX)}) = {{value}}"
                f" THEN substr({column}, {_AFTER_PREFIX}, {ID_LENGTH}) ELSE {{value}} END, count(*)"
                f" FROM {table.table} WHERE {column} IS NOT NULL AND {column} <> '' AND {table.only} GROUP BY 1",
                prefix,
                none,
            )()
            uses += [KeyUse(place=place, key_id=_text(key) or None, count=count) for key, count in found]
    return uses


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key
