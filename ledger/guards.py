"""The triggers with which the database itself guards the books, as a doctor counts them."""

from __future__ import annotations

from sqlalchemy import Connection, text

APPEND_ONLY = ("journals", "entries", "audit")
"""Tables whose rows are never changed or removed."""

POSTGRESQL_GUARDS = (
    *((table, "append_only") for table in APPEND_ONLY),
    ("entries", "journal_sealed"),
    ("journals", "journal_balances"),
)
"""Table and trigger, as `20261122_first_books` makes them."""

SQLITE_GUARDS = (
    *((table, f"{table}_no_{verb}") for table in APPEND_ONLY for verb in ("update", "delete")),
    ("journals", "journals_no_replace"),
    ("audit", "audit_no_replace"),
    ("entries", "journal_sealed"),
    ("journals", "journal_balances"),
)


def missing_guards(books: Connection) -> list[str]:
    """Name the guards that are not there, or are switched off."""
    if books.dialect.name == "postgresql":
        wanted = POSTGRESQL_GUARDS
        query = (
            "SELECT relname, tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE tgenabled IN ('O', 'A') AND pg_table_is_visible(tgrelid)"
        )
    else:
        wanted = SQLITE_GUARDS
        query = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'"
    there = {(table, name) for table, name in books.execute(text(query))}
    return [f"{name} on {table}" for table, name in wanted if (table, name) not in there]
