"""The servers tests run on: they are real, keep what is durable, keep tests apart, leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pika
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.servers import (
    NoServer,
    OwnPostgres,
    OwnRabbitmq,
    Postgres,
    Rabbitmq,
    running_own_postgres,
    watcher,
)
from tests.servers.programs import Package, find_or_install

DEADLINE_S = 30.0


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true before the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def send(url: str, queue: str, body: bytes) -> None:
    """Put a durable message into a quorum queue and wait for the broker's confirm."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def take(url: str, queue: str) -> bytes | None:
    """Take one message, waiting for a queue that has just come back; give nothing if there is none."""
    taken: list[bytes] = []

    def try_once() -> bool:
        try:
            with pika.BlockingConnection(pika.URLParameters(url)) as connection:
                _, _, body = connection.channel().basic_get(queue, auto_ack=True)
        except pika.exceptions.AMQPError:
            return False
        taken.append(body)
        return True

    assert eventually(try_once), f"{queue} did not come back"
    return taken[0]


def test_a_virtual_host_sees_nothing_of_another(rabbitmq: Rabbitmq, vhost: str) -> None:
    other = rabbitmq.fresh_vhost()
    send(other, "letters", b"not for you")

    assert rabbitmq.queues(other) == ["letters"]
    assert rabbitmq.queues(vhost) == []
    rabbitmq.drop_vhost(other)


def test_a_reset_removes_queues_and_a_purge_only_messages(rabbitmq: Rabbitmq, vhost: str) -> None:
    send(vhost, "letters", b"one")
    rabbitmq.purge_all(vhost)

    assert take(vhost, "letters") is None

    rabbitmq.reset(vhost)

    assert rabbitmq.queues(vhost) == []


@pytest.mark.parametrize("end", [OwnRabbitmq.stop, OwnRabbitmq.kill])
def test_a_broker_comes_back_with_its_durable_messages(
    rabbitmq_owned: OwnRabbitmq, end: Callable[[OwnRabbitmq], None]
) -> None:
    url = rabbitmq_owned.fresh_vhost()
    send(url, "letters", b"kept")
    rabbitmq_owned.settle()
    end(rabbitmq_owned)

    assert not rabbitmq_owned.is_running

    rabbitmq_owned.start()

    assert take(url, "letters") == b"kept"
    rabbitmq_owned.drop_vhost(url)


def test_rabbitmqctl_speaks_to_our_broker(rabbitmq_owned: OwnRabbitmq) -> None:
    url = rabbitmq_owned.fresh_vhost()

    assert url.rpartition("/")[2] in rabbitmq_owned.ctl("list_vhosts")
    rabbitmq_owned.drop_vhost(url)


def test_a_paused_server_answers_nothing_until_it_is_resumed(postgres_owned: OwnPostgres) -> None:
    postgres_owned.pause()

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(plain(postgres_owned.url), connect_timeout=2)

    postgres_owned.resume()

    assert postgres_owned.psql("SELECT 1") == [(1,)]


def plain(url: str) -> str:
    """The URL as psycopg itself takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _with_one_account(url: str) -> None:
    with psycopg.connect(plain(url)) as line:
        line.execute("CREATE TABLE accounts (name text)")
        line.execute("INSERT INTO accounts VALUES ('prepared')")


def test_a_prepared_database_is_copied_and_the_copies_are_apart(postgres: Postgres) -> None:
    first = postgres.fresh_database(prepared_by=_with_one_account)
    second = postgres.fresh_database(prepared_by=_with_one_account)
    postgres.psql("INSERT INTO accounts VALUES ('mine')", url=first)

    assert postgres.psql("SELECT name FROM accounts", url=first) == [("prepared",), ("mine",)]
    assert postgres.psql("SELECT name FROM accounts", url=second) == [("prepared",)]


@pytest.mark.parametrize("end", [OwnPostgres.stop, OwnPostgres.kill])
def test_a_database_comes_back_with_what_was_committed(
    postgres_owned: OwnPostgres, end: Callable[[OwnPostgres], None]
) -> None:
    url = postgres_owned.fresh_database()
    postgres_owned.psql("CREATE TABLE kept AS SELECT 42 AS answer", url=url)
    end(postgres_owned)

    assert not postgres_owned.is_running

    postgres_owned.start()

    assert postgres_owned.psql("SELECT answer FROM kept", url=url) == [(42,)]
    postgres_owned.drop_database(url)


def test_a_database_waits_for_the_disk() -> None:
    with running_own_postgres() as server:
        assert server.psql("SHOW fsync") == [("on",)]
        assert server.psql("SHOW synchronous_commit") == [("on",)]


OWNER = """
import sys
from tests.servers import running_own_postgres
with running_own_postgres() as server:
    print(server.pid, server._leash.directory, flush=True)
    server.pause()
    sys.stdin.read()
"""


def test_no_server_and_no_file_outlives_a_run_that_was_killed() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        assert watcher.is_running(int(pid))
        owner.send_signal(signal.SIGKILL)

    assert eventually(lambda: not watcher.is_running(int(pid)))
    assert eventually(lambda: not Path(directory).exists())


def test_a_server_that_cannot_be_had_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    missing = Package(name="no-such-server", places="nowhere/*/bin", needs=("no-such-server",))

    with pytest.raises(NoServer, match="no-such-server is not installed"):
        find_or_install(missing, say=print)
