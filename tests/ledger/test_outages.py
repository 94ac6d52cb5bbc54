"""When the database goes away, stands still or is full: nothing is lost, nothing is written twice, nothing hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.ledger import Ledger, LedgerDown
from ledger.records import Wanted
from ledger.schema import migrate
from tests.keys import KEYRING
from tests.ledger.rows import counts, everything, load, payments_named, write
from tests.servers import OwnPostgres

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(postgres_owned: OwnPostgres) -> Iterator[str]:
    """Books on a server that the test may stop."""
    found = postgres_owned.fresh_database(prepared_by=migrate)
    yield found
    postgres_owned.ensure_running()
    postgres_owned.drop_database(found)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger that has been at work: its connection is open and its statements are prepared."""
    with closing(Ledger(url, patience_s=1, keyring=KEYRING)) as opened:
        for number, payment in enumerate(payments_named(8)):
            write(opened, new_payments=[payment])
            assert len(load(opened, payment_ids={p.payment_id for p in payments_named(number + 1)}).payments)
        yield opened


Stop = Callable[[OwnPostgres], None]
STOPS: dict[str, Stop] = {"stopped in order": OwnPostgres.stop, "killed": OwnPostgres.kill}


@pytest.fixture(params=STOPS)
def stop(request: pytest.FixtureRequest) -> Stop:
    """How the server goes."""
    return STOPS[request.param]


def test_a_server_that_is_away_is_said_to_be_away_and_used_again_when_it_is_back(
    ledger: Ledger, postgres_owned: OwnPostgres, url: str, stop: Stop
) -> None:
    stop(postgres_owned)
    for _ in range(3):
        with pytest.raises(LedgerDown):
            load(ledger)
    with pytest.raises(LedgerDown):
        ledger.ping()

    postgres_owned.start()
    write(ledger, everything())

    assert counts(url)["payments"] == 9


def test_a_server_that_was_away_between_two_turns_costs_one_turn(
    ledger: Ledger, postgres_owned: OwnPostgres, url: str, stop: Stop
) -> None:
    stop(postgres_owned)
    postgres_owned.start()

    with pytest.raises(LedgerDown):
        write(ledger, everything())
    write(ledger, everything())

    assert counts(url)["payments"] == 9


@pytest.mark.parametrize("moment", ["before load", "before write", "before commit"])
def test_a_server_lost_in_the_middle_of_a_turn_has_kept_nothing_of_it(
    ledger: Ledger, postgres_owned: OwnPostgres, url: str, stop: Stop, moment: str
) -> None:
    before = counts(url)

    def lose(now: str) -> None:
        if now == moment:
            stop(postgres_owned)

    def turn() -> None:
        with ledger.turn() as turn:
            lose("before load")
            turn.load(Wanted(payment_ids={p.payment_id for p in payments_named(8)}))
            lose("before write")
            turn.write(everything())
            lose("before commit")

    with pytest.raises(LedgerDown):
        turn()
    postgres_owned.start()

    assert counts(url) == before
    write(ledger, everything())


def test_a_connection_cut_by_an_operator_costs_one_turn(
    ledger: Ledger, postgres_owned: OwnPostgres, url: str
) -> None:
    postgres_owned.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database()",
        url=url,
    )

    with pytest.raises(LedgerDown):
        load(ledger)
    write(ledger, everything())


def test_a_server_that_stands_still_is_given_up_and_used_again_when_it_goes_on(
    ledger: Ledger, postgres_owned: OwnPostgres, url: str
) -> None:
    before = counts(url)
    postgres_owned.pause()
    began = time.monotonic()
    with pytest.raises(LedgerDown, match="nothing heard for 1 s"):
        write(ledger, everything())
    assert time.monotonic() - began < 30
    with pytest.raises(LedgerDown):
        load(ledger)

    postgres_owned.resume()
    assert counts(url) == before
    write(ledger, everything())


@pytest.mark.parametrize("moment", ["before write", "before commit"])
def test_a_server_that_stops_answering_in_the_middle_of_a_turn_is_given_up(
    ledger: Ledger, postgres_owned: OwnPostgres, moment: str
) -> None:
    def turn() -> None:
        with ledger.turn() as turn:
            turn.load(Wanted())
            if moment == "before write":
                postgres_owned.pause()
            turn.write(everything())
            postgres_owned.pause()

    with pytest.raises(LedgerDown, match="nothing heard"):
        turn()

    postgres_owned.resume()
    load(ledger)


def test_a_slow_answer_is_waited_for(url: str, postgres_owned: OwnPostgres) -> None:
    postgres_owned.psql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END'",
        url=url,
    )
    postgres_owned.psql(
        "CREATE TRIGGER slow BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION slow()", url=url
    )
    with closing(Ledger(url, patience_s=2, keyring=KEYRING)) as ledger:
        write(ledger, new_payments=payments_named(3))

    assert counts(url)["payments"] == 3


def test_a_worker_that_froze_in_the_middle_of_a_turn_is_cut_off(
    url: str, postgres_owned: OwnPostgres
) -> None:
    with closing(Ledger(url, keyring=KEYRING)) as ledger, ledger.turn() as turn:
        turn.load(Wanted())
        found = postgres_owned.psql(
            "SELECT application_name FROM pg_stat_activity WHERE state = 'idle in transaction'", url=url
        )
        limit = turn._bulk.query("SHOW idle_in_transaction_session_timeout")()

    assert found == [("payments",)]
    assert limit == [("1min",)]


def test_a_server_that_may_only_be_read_is_away_not_wrong(
    ledger: Ledger, postgres_owned: OwnPostgres, url: str
) -> None:
    name = url.rpartition("/")[2]
    postgres_owned.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with closing(Ledger(url, keyring=KEYRING)) as reading:
        with pytest.raises(LedgerDown, match="read-only"):
            write(reading, everything())
        assert reading.due(now=payments_named(1)[0].created_at, limit=1) == []

    write(ledger, everything())


def test_a_disk_that_is_full_is_away_not_wrong_and_works_again_when_there_is_room(sqlite_url: str) -> None:
    program = f"""
import resource
from ledger.ledger import Ledger, LedgerDown
from tests.keys import KEYRING
from tests.ledger.rows import everything, payments_named, write
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))  # as if there were no more
ledger = Ledger({sqlite_url!r}, keyring=KEYRING)
try:
    write(ledger, new_payments=payments_named(5000))
except LedgerDown as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write(ledger, everything())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("SQLite: ")
    assert counts(sqlite_url)["payments"] == 1


def test_a_file_that_cannot_be_written_opened_or_understood_is_away(sqlite_url: str, tmp_path: Path) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("Dear Sir or Madam, " * 500)
    path = sqlite_url.removeprefix("sqlite:///")
    for broken in (
        f"sqlite:///file:{path}?mode=ro&uri=true",
        f"sqlite:///{tmp_path}/nowhere/books.db",
        f"sqlite:///{other}",
    ):
        with closing(Ledger(broken, keyring=KEYRING)) as ledger, pytest.raises(LedgerDown):
            write(ledger, everything())

    assert counts(sqlite_url)["payments"] == 0
    assert other.read_text().startswith("Dear Sir")
