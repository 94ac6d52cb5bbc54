"""RabbitMQ and PostgreSQL for tests in containers, where Docker answers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from tests.servers.leash import NoServer
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import Rabbitmq

RABBITMQ_IMAGE = "rabbitmq:3.13-management"
POSTGRES_IMAGE = "postgres:15"
PROBE_WITHIN_S = 2
MANAGEMENT_PORT = 15672

Server = TypeVar("Server")


def enter(
    stack: ExitStack, container: AbstractContextManager[Server], *, say: Callable[[str], None]
) -> Server | None:
    """Start a container until `stack` is closed; give nothing where Docker does not answer or fails."""
    if not docker_answers():
        return None
    # testcontainers is slow to import, hence only where Docker answers.
    from docker.errors import DockerException
    from testcontainers.core.exceptions import ContainerStartException

    try:
        return stack.enter_context(container)
    except (DockerException, ContainerStartException) as error:
        say(f"Docker answers but cannot start a server for the tests: {error}")
        return None


def docker_answers() -> bool:
    """Whether a Docker daemon can be reached; testcontainers itself would try for long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client forgets to close the socket that failed
        answers = _ping()
        gc.collect()
    return answers


def _ping() -> bool:
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:  # the demo does without what only tests need
        return False
    try:
        client = docker.from_env(timeout=PROBE_WITHIN_S)
        try:
            client.ping()
        finally:
            client.close()
    except DockerException:
        return False
    return True


@contextmanager
def rabbitmq_container() -> Iterator[Rabbitmq]:
    """Run RabbitMQ in a container."""
    from testcontainers.community.rabbitmq import RabbitMqContainer

    container = RabbitMqContainer(RABBITMQ_IMAGE, username="payments", password="payments", vhost="/")
    with container.with_exposed_ports(MANAGEMENT_PORT) as running:
        host = running.get_container_host_ip()

        def ctl(*arguments: str) -> str:
            status, output = running.exec(["rabbitmqctl", "--quiet", *arguments])
            text: str = output.decode()
            if status:
                raise NoServer(f"rabbitmqctl {' '.join(arguments)} failed: {text}")
            return text

        yield Rabbitmq(
            url=f"amqp://payments:payments@{host}:{running.get_exposed_port(5672)}//",
            management_url=f"http://{host}:{running.get_exposed_port(MANAGEMENT_PORT)}",
            ctl=ctl,
        )


@contextmanager
def postgres_container() -> Iterator[Postgres]:
    """Run PostgreSQL in a container."""
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(POSTGRES_IMAGE, username="payments", password="payments") as running:
        yield Postgres(running.get_connection_url(driver="psycopg"))
