"""One ingestor on each broker for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers import Rabbitmq
from tests.webhooks.house import House, house, user_who_may_only_call_back


@pytest.fixture(scope="session", params=["embedded", "rabbitmq"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("ingestor")
    with ExitStack() as stack:
        if request.param == "embedded":
            yield stack.enter_context(house(directory))
            return
        server: Rabbitmq = request.getfixturevalue("rabbitmq")
        vhost = server.fresh_vhost()
        stack.callback(server.drop_vhost, vhost)
        user = stack.enter_context(user_who_may_only_call_back(server, vhost))
        yield stack.enter_context(house(directory, broker_url=user, mailbox_url=vhost))


@pytest.fixture
def place(shared: House) -> House:
    """The shared ingestor, its mailbox empty."""
    shared.mailbox.take()
    return shared
