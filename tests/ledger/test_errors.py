"""What the drivers raise, told apart by what is to be done; and nothing that is said gives a secret away."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from ledger.engine import open_engine
from ledger.ledger import Conflict, Ledger, LedgerDown, LedgerError, NotMigrated, Refused
from ledger.reports import trial_balance
from ledger.schema import migrate, pending
from ledger.stories import story
from ledger.verify import verify
from tests.builders import TOKEN, a_payment
from tests.keys import KEYRING
from tests.ledger import raw
from tests.ledger.rows import an_audit_line, count, everything, load, write
from tests.servers import Postgres

SQLSTATES = [
    ("23505", Conflict),  # unique_violation
    ("40001", Conflict),  # serialization_failure
    ("40P01", Conflict),  # deadlock_detected
    ("55P03", Conflict),  # lock_not_available
    ("23514", Refused),  # check_violation
    ("23502", Refused),  # not_null_violation
    ("23503", Refused),  # foreign_key_violation
    ("23001", Refused),  # restrict_violation
    ("22003", Refused),  # numeric_value_out_of_range
    ("22P05", Refused),  # untranslatable_character
    ("P0001", Refused),  # raise_exception
    ("42P01", NotMigrated),  # undefined_table
    ("42703", NotMigrated),  # undefined_column
    ("42883", NotMigrated),  # undefined_function
    ("53100", LedgerDown),  # disk_full
    ("53200", LedgerDown),  # out_of_memory
    ("53300", LedgerDown),  # too_many_connections
    ("25006", LedgerDown),  # read_only_sql_transaction
    ("57014", LedgerDown),  # query_canceled: it took longer than a statement may
    ("57P01", LedgerDown),  # admin_shutdown
    ("57P03", LedgerDown),  # cannot_connect_now
    ("58030", LedgerDown),  # io_error
    ("42501", LedgerDown),  # insufficient_privilege: a grant is missing, no message is to blame
    ("XX001", LedgerDown),  # data_corrupted
    ("XX000", LedgerDown),  # internal_error
]
"""PostgreSQL manual, appendix A."""


@pytest.mark.parametrize(("sqlstate", "kind"), SQLSTATES)
def test_what_postgresql_says_is_told_apart_by_what_is_to_be_done(
    postgres_url: str, postgres_ledger: Ledger, sqlstate: str, kind: type[LedgerError]
) -> None:
    raw.run(
        postgres_url,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'said so' USING ERRCODE = '{sqlstate}', DETAIL = 'a secret'; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    with pytest.raises(LedgerError) as raised:
        write(postgres_ledger, everything())

    assert type(raised.value) is kind
    assert "a secret" not in str(raised.value)
    raw.run(postgres_url, "DROP TRIGGER fail ON payments")
    write(postgres_ledger, everything())
    assert count(postgres_url, "payments") == 1


def test_an_exception_of_the_callers_own_comes_out_as_it_is(ledger: Ledger) -> None:
    class Mine(Exception):
        pass

    def turn() -> None:
        with ledger.turn():
            raise Mine

    with pytest.raises(Mine):
        turn()


def test_a_text_that_postgresql_cannot_store_is_refused_without_being_repeated(
    postgres_ledger: Ledger,
) -> None:
    for text in ("NUL \0 here", "half a \ud83d smiley"):
        with pytest.raises((Refused, UnicodeEncodeError)) as raised:
            write(postgres_ledger, audit=[an_audit_line(cause=text)])
        if isinstance(raised.value, Refused):
            assert text not in str(raised.value)


def test_no_value_of_a_row_is_told_in_an_error(url: str, ledger: Ledger) -> None:
    write(ledger, everything())
    for changes in (
        {"new_payments": [a_payment()]},
        {"new_payments": [a_payment(requested=-1)]},
        {"payments": [a_payment(refunded=7)]},
        {"new_payments": [a_payment(payment_id=None)]},
    ):
        fields: Any = changes
        with pytest.raises(LedgerError) as raised:
            write(ledger, **fields)
        assert TOKEN not in _everything_told(raised.value)


# --- secrets ---

SECRET = "s3cr3t:p@ss/w%rd"


def _everything_told(error: BaseException) -> str:
    """All that a log could show of an exception: its text, its trace, and what it came from."""
    told = traceback.format_exception(error)
    found: BaseException | None = error
    while found is not None:
        told += [repr(found), str(found), str(found.args), str(getattr(found, "__notes__", ""))]
        found = found.__cause__ or found.__context__
    return "\n".join(told)


def _with_password(url: str, **changes: Any) -> str:
    return make_url(url).set(password=SECRET, **changes).render_as_string(hide_password=False)


def _reading(url: str) -> None:
    with closing(Ledger(url, keyring=KEYRING)) as ledger:
        load(ledger)


DOORS: list[Callable[[str], object]] = [
    _reading,
    migrate,
    pending,
    verify,
    trial_balance,
    lambda url: story(url, "pay_1"),
]


@pytest.mark.parametrize(
    "door", DOORS, ids=["turn", "migrate", "pending", "verify", "trial balance", "story"]
)
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"username": "nobody"},
        {"database": "nowhere"},
        {"port": 1},
        {"host": "nowhere.invalid"},
        {"query": {"nonsense": "1"}},
    ],
    ids=["password", "user", "database", "port", "host", "option"],
)
def test_a_password_is_never_told_whatever_is_wrong(
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
    door: Callable[[str], object],
    wrong: dict[str, Any],
) -> None:
    url = _with_password(postgres.url, **wrong)
    with caplog.at_level(logging.DEBUG), pytest.raises(LedgerDown) as raised:
        door(url)

    encoded = url.partition("://")[2].partition(":")[2].rpartition("@")[0]
    for told in (_everything_told(raised.value), caplog.text):
        assert SECRET not in told
        assert encoded not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cr3t@host:port/books",
        "postgresql//me:s3cr3t@host/books",
        "me:s3cr3t@host/books",
        "",
        "mysql://me:s3cr3t@host/books",
        "oracle+thin://me:s3cr3t@host/books",
    ],
)
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    for door in DOORS:
        with pytest.raises(LedgerDown, match="PAYMENTS_DATABASE_URL") as raised:
            door(url)

        assert "s3cr3t" not in _everything_told(raised.value)


def test_a_ledger_does_not_show_its_url(postgres_url: str, tmp_path: Path) -> None:
    with closing(Ledger(_with_password(postgres_url), keyring=KEYRING)) as ledger:
        assert repr(ledger) == str(ledger) == "Ledger(postgresql)"
    engine = open_engine(_with_password(postgres_url))
    assert SECRET not in repr(engine)
    engine.dispose()
    with closing(Ledger(f"sqlite:///{tmp_path}/books.db", keyring=KEYRING)) as ledger:
        assert repr(ledger) == "Ledger(sqlite)"
