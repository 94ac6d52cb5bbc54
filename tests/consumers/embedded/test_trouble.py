"""Files that are damaged, foreign, forbidden or locked: one clear sentence each."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kombu
import pytest

from consumers import embedded
from consumers.embedded import database
from consumers.embedded.channel import Channel
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import declare, publish, take_all


@pytest.fixture
def file(url: str) -> Path:
    """Where the broker keeps its messages; the directory is there, the file is not."""
    directory = Path(url.removeprefix("embedded://"))
    directory.mkdir()
    return directory / "broker.db"


def test_a_file_that_is_no_database_is_named(file: Path, connect: Connect) -> None:
    file.write_bytes(b"this is not a database, but somebody's shopping list" * 100)

    with pytest.raises(embedded.BrokerUnusable, match=r"broker\.db is damaged or no database"):
        connect()


def test_a_damaged_page_is_reported_when_it_is_met(file: Path, connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    declare(channel, "q")
    for _ in range(50):
        publish(channel, bytes(2000), key="q")
    connection.close()
    damaged = bytearray(file.read_bytes())
    damaged[8192:-4096] = b"\xee" * len(damaged[8192:-4096])
    file.write_bytes(damaged)

    with pytest.raises(embedded.BrokerUnusable, match="damaged"):
        take_all(connect().channel(), "q")


def test_a_file_of_another_version_is_refused(file: Path, connect: Connect) -> None:
    connect().close()
    with sqlite3.connect(file) as sql:
        sql.execute("PRAGMA user_version = 99")

    with pytest.raises(embedded.BrokerUnusable, match="another version"):
        connect()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(embedded.BrokerUnusable, match="PAYMENTS_DATA_DIR"):
        kombu.Connection(f"embedded://{tmp_path}/file/broker").transport.establish_connection()


def test_a_file_locked_for_too_long_is_a_passing_trouble(
    file: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    connection = connect()
    channel = connection.channel()
    declare(channel, "q")
    locker = sqlite3.connect(file, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")

    with pytest.raises(embedded.BrokerDown, match="locked"):
        publish(channel, "m", key="q")

    assert not connection.connected
    locker.execute("ROLLBACK")
    locker.close()
    again = connect().channel()
    publish(again, "m", key="q")
    assert take_all(again, "q") == [b"m"]


def test_a_full_disk_is_a_passing_trouble(connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    declare(channel, "q")
    (pages,) = connection.store.sql.execute("PRAGMA page_count").fetchone()
    connection.store.sql.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(embedded.BrokerDown, match="full"):
        publish(channel, bytes(100_000), key="q")

    assert take_all(connect().channel(), "q") == []


def test_a_file_that_cannot_be_opened_is_named(file: Path, connect: Connect) -> None:
    file.mkdir()

    with pytest.raises(
        embedded.BrokerUnusable, match=r"broker\.db cannot be opened or written.*PAYMENTS_DATA_DIR"
    ):
        connect()


def test_where_locks_do_nothing_the_broker_is_refused(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda file, operation: None)

    with pytest.raises(embedded.BrokerUnusable, match=r"locks do not hold.*PAYMENTS_DATA_DIR"):
        connect()

    assert list(Path(url.removeprefix("embedded://")).glob("owner-*")) == []


def test_another_thread_s_connection_is_not_to_be_used(connection: embedded.Connection) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(sqlite3.ProgrammingError, match="thread"):
        pool.submit(connection.dispatch).result()


def test_one_taken_for_dead_may_hold_nothing_more(connect: Connect, channel: Channel) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")
    zombie = connect()
    with channel._store.transaction():
        channel._store.sql.execute("DELETE FROM owner WHERE id = ?", (zombie.store.owner,))

    with pytest.raises(embedded.BrokerDown, match="taken for dead"):
        zombie.channel().basic_get("q")

    assert take_all(channel, "q") == [b"m"]


def test_messages_are_for_the_eyes_of_their_owner(connect: Connect, url: str) -> None:
    channel = connect().channel()
    declare(channel, "q")

    for path in Path(url.removeprefix("embedded://")).iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
