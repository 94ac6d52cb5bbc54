"""Fixtures every test may ask for: real servers, and a virtual host or database of its own on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import (
    NoServer,
    OwnPostgres,
    OwnRabbitmq,
    Postgres,
    Rabbitmq,
    Say,
    running_own_postgres,
    running_own_rabbitmq,
    running_postgres,
    running_rabbitmq,
)


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    """Tell the person at the terminal something at once, though pytest captures what tests print."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    return tell


@pytest.fixture(scope="session")
def rabbitmq(say: Say) -> Iterator[Rabbitmq]:
    """A RabbitMQ server for the whole run."""
    try:
        with running_rabbitmq(say=say) as server:
            yield server
    except NoServer as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def _rabbitmq_of_our_own(rabbitmq: Rabbitmq, say: Say) -> Iterator[OwnRabbitmq]:
    if isinstance(rabbitmq, OwnRabbitmq):
        yield rabbitmq
        return
    try:
        with running_own_rabbitmq(say=say) as server:
            yield server
    except NoServer as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def rabbitmq_owned(_rabbitmq_of_our_own: OwnRabbitmq) -> Iterator[OwnRabbitmq]:
    """A RabbitMQ server that the test may stop, pause and kill; it runs again afterwards."""
    yield _rabbitmq_of_our_own
    _rabbitmq_of_our_own.ensure_running()


@pytest.fixture
def vhost(rabbitmq: Rabbitmq) -> Iterator[str]:
    """The AMQP URL of an empty virtual host for one test."""
    url = rabbitmq.fresh_vhost()
    yield url
    rabbitmq.drop_vhost(url)


@pytest.fixture(scope="session")
def postgres(say: Say) -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run."""
    try:
        with running_postgres(say=say) as server:
            yield server
    except NoServer as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def _postgres_of_our_own(postgres: Postgres, say: Say) -> Iterator[OwnPostgres]:
    if isinstance(postgres, OwnPostgres):
        yield postgres
        return
    try:
        with running_own_postgres(say=say) as server:
            yield server
    except NoServer as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def postgres_owned(_postgres_of_our_own: OwnPostgres) -> Iterator[OwnPostgres]:
    """A PostgreSQL server that the test may stop, pause and kill; it runs again afterwards."""
    yield _postgres_of_our_own
    _postgres_of_our_own.ensure_running()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database for one test."""
    url = postgres.fresh_database()
    yield url
    postgres.drop_database(url)
