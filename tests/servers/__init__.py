"""Real servers for tests, benchmarks and drills: RabbitMQ and PostgreSQL, from wherever they can be had.

Looked for in this order: the URL in the environment; Docker; the programs of this machine, installed if
need be. There is no skipping: what cannot be had raises `NoServer`, whose text says what to set or install.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from tests.servers import containers
from tests.servers.leash import Leash, NoServer
from tests.servers.postgres import OwnPostgres, Postgres, server_user
from tests.servers.programs import POSTGRES, RABBITMQ, find_or_install
from tests.servers.rabbitmq import OwnRabbitmq, Rabbitmq

__all__ = [
    "NoServer",
    "OwnPostgres",
    "OwnRabbitmq",
    "Postgres",
    "Rabbitmq",
    "running_own_postgres",
    "running_own_rabbitmq",
    "running_postgres",
    "running_rabbitmq",
]

BROKER_URL = "PAYMENTS_TEST_BROKER_URL"
MANAGEMENT_URL = "PAYMENTS_TEST_MANAGEMENT_URL"
DATABASE_URL = "PAYMENTS_TEST_DATABASE_URL"

Say = Callable[[str], None]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


@contextmanager
def running_rabbitmq(*, say: Say = _to_stderr) -> Iterator[Rabbitmq]:
    """Give a RabbitMQ server: the one of `PAYMENTS_TEST_BROKER_URL`, one in Docker, or one of our own.

    Raises:
        NoServer: there is none to be had; the text says what to do.
    """
    with ExitStack() as stack:
        if url := os.environ.get(BROKER_URL):
            yield _given_rabbitmq(url)
        else:
            yield (
                containers.enter(stack, containers.rabbitmq_container(), say=say)
                or stack.enter_context(running_own_rabbitmq(say=say))
            )


@contextmanager
def running_own_rabbitmq(*, say: Say = _to_stderr) -> Iterator[OwnRabbitmq]:
    """Start a RabbitMQ server of our own, which tests may stop, pause and kill.

    Raises:
        NoServer: its programs are not here and cannot be installed.
    """
    try:
        programs = find_or_install(RABBITMQ, say=say)
    except NoServer as error:
        raise NoServer(
            f"No RabbitMQ for the tests: set {BROKER_URL}, start Docker, or install rabbitmq-server "
            f"(tests that stop the server need it installed). {error}"
        ) from error
    with Leash("rabbitmq") as leash:
        server = OwnRabbitmq(programs.directory, leash, environment=programs.environment)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def running_postgres(*, say: Say = _to_stderr) -> Iterator[Postgres]:
    """Give a PostgreSQL server: the one of `PAYMENTS_TEST_DATABASE_URL`, one in Docker, or one of our own.

    Raises:
        NoServer: there is none to be had; the text says what to do.
    """
    with ExitStack() as stack:
        if url := os.environ.get(DATABASE_URL):
            server = Postgres(url)
            stack.callback(server.close)
            yield server
        else:
            yield (
                containers.enter(stack, containers.postgres_container(), say=say)
                or stack.enter_context(running_own_postgres(say=say))
            )


@contextmanager
def running_own_postgres(*, say: Say = _to_stderr) -> Iterator[OwnPostgres]:
    """Start a PostgreSQL server of our own, which tests may stop, pause and kill.

    Raises:
        NoServer: its programs are not here and cannot be installed.
    """
    try:
        programs = find_or_install(POSTGRES, say=say)
    except NoServer as error:
        raise NoServer(
            f"No PostgreSQL for the tests: set {DATABASE_URL}, start Docker, or install postgresql "
            f"(tests that stop the server need it installed). {error}"
        ) from error
    with Leash("postgres", user=server_user()) as leash:
        server = OwnPostgres(programs.directory, leash, environment=programs.environment)
        try:
            yield server
        finally:
            server.close()


def _given_rabbitmq(url: str) -> Rabbitmq:
    management = os.environ.get(MANAGEMENT_URL) or f"http://{urlsplit(url).hostname}:15672"

    def no_ctl(*arguments: str) -> str:
        raise NoServer(f"rabbitmqctl {' '.join(arguments)} needs a server of our own: unset {BROKER_URL}")

    return Rabbitmq(url=url, management_url=management, ctl=no_ctl)
