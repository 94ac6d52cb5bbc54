"""An empty embedded broker for each test, and connections to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import kombu
import pytest

from consumers import embedded
from consumers.embedded.channel import Channel
from tests.consumers.embedded.support import open_connection

Connect = Callable[[], embedded.Connection]


@pytest.fixture
def url(tmp_path: Path) -> str:
    embedded.register()
    return f"embedded://{tmp_path / 'broker'}"


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    opened: list[embedded.Connection] = []

    def open_another() -> embedded.Connection:
        opened.append(open_connection(url))
        return opened[-1]

    yield open_another
    for connection in opened:
        connection.collect()


@pytest.fixture
def connection(connect: Connect) -> embedded.Connection:
    return connect()


@pytest.fixture
def channel(connection: embedded.Connection) -> Channel:
    return connection.channel()


@pytest.fixture
def client(url: str) -> Iterator[kombu.Connection]:
    with kombu.Connection(url) as client:
        yield client
