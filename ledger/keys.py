"""The keys' register: which key values are encrypted with now, which were before, which are retired. Never the keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from ledger import tables
from ledger.bulk import Bulk
from ledger.encryption import Keyring
from ledger.errors import KeyMissing

CURRENT = "SELECT key_id FROM encryption_keys WHERE state = 'current'"
"""Read in every turn. On PostgreSQL a turn thereby keeps the register open until it ends: see `ledger.rotation`."""

State = Literal["current", "earlier", "retired"]
COLUMNS = ("key_id", "state", "since")

NO_KEY = (
    "there is no key to encrypt tokens with: make one with `payments keys new`, and put its file where"
    " PAYMENTS_KEYS_DIR says"
)


def current(bulk: Bulk) -> str:
    """The id of the key that values are encrypted with, or nothing in books that have encrypted none."""
    found = bulk.query(CURRENT)()
    return str(found[0][0]) if found else ""


def current_or_first(bulk: Bulk, keyring: Keyring) -> str:
    """The same; in books that have encrypted nothing yet, the only key that is here becomes it.

    Raises:
        KeyMissing: there is none, or nobody said which of several it is.
    """
    known = current(bulk)
    if known:
        return known
    match keyring.ids:
        case []:
            raise KeyMissing(NO_KEY)
        case [only]:
            row = (only, "current", datetime.now(UTC))
            bulk.insert(tables.encryption_keys, COLUMNS, [row], on_conflict="ON CONFLICT DO NOTHING")
            return current(bulk)  # another worker may have been first, with another key
        case several:
            text = f"none of the keys {', '.join(several)} is current: say which with `payments keys rotate --to`"
            raise KeyMissing(text)


def in_use(bulk: Bulk) -> list[str]:
    """The ids of all keys that values may be encrypted with."""
    return [row[0] for row in bulk.query("SELECT key_id FROM encryption_keys WHERE state <> 'retired'")()]


def register(bulk: Bulk) -> dict[str, State]:
    """Every key that was ever in use, and its state."""
    return dict(bulk.query("SELECT key_id, state FROM encryption_keys ORDER BY since, key_id")())


def keep(bulk: Bulk, key_id: str, state: State, *, now: datetime) -> None:
    """Enter a key, or its new state. One that becomes current makes the one before an earlier one."""
    if state == "current":
        before = [row[0] for row in bulk.query(CURRENT)() if row[0] != key_id]
        bulk.update(
            tables.encryption_keys, ("key_id",), ("state", "since"), [(old, "earlier", now) for old in before]
        )
    again = "ON CONFLICT (key_id) DO UPDATE SET state = excluded.state, since = excluded.since"
    bulk.insert(tables.encryption_keys, COLUMNS, [(key_id, state, now)], on_conflict=again)
