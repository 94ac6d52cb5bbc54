"""Brokers for the bus tests, and whole workers to step by hand for the tests of the cycle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.consumers.workshop import Hire, Neighbour, Place, Workshop, hiring
from tests.servers import OwnRabbitmq


@pytest.fixture
def own_url(rabbitmq_owned: OwnRabbitmq) -> Iterator[str]:
    """A virtual host on a server that may be hurt."""
    url = rabbitmq_owned.fresh_vhost()
    pid = rabbitmq_owned.pid
    yield url
    rabbitmq_owned.ensure_running()
    # RabbitMQ 3.10 breaks (541 for every later declaration) if queues that dead-letter at least once are
    # deleted while it still recovers them: after a restart the virtual host stays.
    if rabbitmq_owned.pid == pid:
        rabbitmq_owned.drop_vhost(url)


@pytest.fixture
def raw(vhost: str) -> Iterator[Any]:
    """A channel of another client library (pika)."""
    with pika.BlockingConnection(pika.URLParameters(vhost)) as connection:
        yield connection.channel()


@pytest.fixture
def hire(tmp_path: Path) -> Iterator[Hire]:
    """Hires workers on the embedded default."""
    with hiring(Place.embedded(tmp_path)) as hire:
        yield hire


@pytest.fixture
def workshop(hire: Hire) -> Workshop:
    """A worker."""
    return hire()


@pytest.fixture
def neighbour(workshop: Workshop) -> Iterator[Neighbour]:
    """The service next door; it hears what is announced."""
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        yield neighbour
