"""The ingestor's house for a test: a broker with its topology, the process, and the queue its callbacks land in."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import kombu

from consumers import embedded
from consumers.topology import CALLBACKS, GATEWAY_CALLBACKS, declare
from tests.servers import Rabbitmq
from tests.street.door import door_to
from tests.street.street import Ingestor
from tests.webhooks.callers import Caller, callers
from tests.workers import QUICK


class Mailbox:
    """The queue of callbacks, looked at as a worker would."""

    def __init__(self, url: str) -> None:
        embedded.register()
        self._connection = kombu.Connection(url)
        self.channel = self._connection.channel()
        declare(self.channel)

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """Empty it: message ids and bodies, in order."""
        found = []
        while (message := self.channel.basic_get(GATEWAY_CALLBACKS, no_ack=True)) is not None:
            body = message.body
            found.append(
                (
                    message.properties["message_id"],
                    json.loads(bytes(body, "utf8") if isinstance(body, str) else bytes(body)),
                )
            )
        return found

    def bodies(self) -> list[bytes]:
        """Empty it: what the gateways sent, byte for byte."""
        return [base64.b64decode(message["body"]) for _, message in self.take()]

    def unbind(self, gateway_key: str = "callback.*") -> None:
        """Let nothing come in."""
        self.channel.queue_unbind(queue=GATEWAY_CALLBACKS, exchange=CALLBACKS.name, routing_key=gateway_key)

    def bind(self) -> None:
        """Let it come in again."""
        declare(self.channel)

    def close(self) -> None:
        """Leave."""
        self._connection.release()


class House:
    """What a test has to do with."""

    def __init__(
        self, directory: Path, ingestor: Ingestor, mailbox: Mailbox, gateways: Mapping[str, Caller]
    ) -> None:
        self.ingestor = ingestor
        self.mailbox = mailbox
        self.gateways = gateways
        self._directory = directory
        self._http = httpx.Client(base_url=ingestor.url, trust_env=False, timeout=30)

    def post(self, gateway: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Call as a gateway does."""
        return self._http.post(f"/webhooks/{gateway}", content=body, headers=headers)

    def call(self, gateway: str, number: int, *, forged: bool = False) -> httpx.Response:
        """A callback of the usual kind."""
        caller = self.gateways[gateway]
        body = caller.body(number)
        return self.post(gateway, body, caller.headers(body, forged=forged))

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Any other request."""
        return self._http.request(method, path, **more)

    def counts(self, gateway: str) -> dict[str, int]:
        """What /health counts."""
        counted: dict[str, int] = self.request("GET", "/health").json()["callbacks"][gateway]
        return counted

    @property
    def log(self) -> str:
        """All that the process has said."""
        return (self._directory / "ingestor.log").read_text()

    def close(self) -> None:
        """Leave."""
        self._http.close()


@contextmanager
def house(
    directory: Path, *, broker_url: str | None = None, mailbox_url: str | None = None, **more: str
) -> Iterator[House]:
    """An ingestor in good health; on the embedded broker unless another is given.

    `broker_url` is how the ingestor reaches the broker, `mailbox_url` how the test does, `more` are other settings.
    """
    with (
        callers(directory) as (gateways, settings),
        closing(Mailbox(mailbox_url or broker_url or f"embedded://{directory}")) as mailbox,
    ):
        environment = {
            **QUICK,
            **settings,
            "PAYMENTS_DATA_DIR": str(directory),
            **({"PAYMENTS_BROKER_URL": broker_url} if broker_url else {}),
            **more,
        }
        ingestor = Ingestor(environment, directory)
        try:
            with closing(House(directory, ingestor, mailbox, gateways)) as place:
                yield place
        finally:
            ingestor.kill()


@contextmanager
def user_who_may_only_call_back(server: Rabbitmq, vhost_url: str) -> Iterator[str]:
    """A user of RabbitMQ who may write to `payments.callbacks`, and nothing else; gives the URL."""
    name, password = f"ingestor-{secrets.token_hex(3)}", secrets.token_hex(8)
    parts = urlsplit(vhost_url)
    server.ctl("add_user", name, password)
    try:
        server.ctl("set_permissions", "-p", parts.path[1:], name, "^$", "^payments\\.callbacks$", "^$")
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))
    finally:
        server.ctl("delete_user", name)


@contextmanager
def door_of(url: str) -> Iterator[tuple[str, Any]]:
    """A door in front of the broker: the URL through it, and the door."""
    parts = urlsplit(url)
    with door_to(f"amqp://{parts.hostname}:{parts.port}") as door:
        host = f"127.0.0.1:{door.port}"
        yield urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@{host}")), door
