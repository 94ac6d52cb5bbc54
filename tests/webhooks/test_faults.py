"""Faults of our own: a verifier or a bus that breaks ends in "come again", never in a yes, a wait or a leak."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from consumers.bus import KombuBus
from consumers.delivery import Outgoing
from tests.servers import OwnRabbitmq
from tests.webhooks.callers import JSON, MARK_IN_BODY
from tests.webhooks.house import house
from tests.workers import eventually
from webhooks.app import Ingestor, callback_message, webhooks_app
from webhooks.post import Post

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Broken:
    """A verifier with a fault, whose error quotes what it was given."""

    async def verify(self, *, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        raise KeyError(body.decode())

    async def close(self) -> None:
        """There is nothing to let go."""


class StumblingBus(KombuBus):
    """Fails its first publish in a way nobody has foreseen."""

    stumbled = False

    def publish(self, messages: Sequence[Outgoing]) -> None:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError("unforeseen")
        super().publish(messages)


@contextmanager
def working(bus: KombuBus) -> Iterator[Post]:
    """A post at work."""
    post = Post(bus)
    post.start()
    try:
        eventually(lambda: post.is_up, within_s=10, what="it is connected")
        yield post
    finally:
        post.close()


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    """The embedded broker."""
    return [f"embedded://{tmp_path}"]


def test_a_verifier_that_breaks_is_500_and_what_it_quotes_is_not_logged(urls: list[str]) -> None:
    async def call(post: Post) -> tuple[httpx.Response, dict[str, int]]:
        ingestor = Ingestor({"stripe": Broken()}, post, lambda: NOW, body_within_s=5, confirm_within_s=5)
        transport = httpx.ASGITransport(webhooks_app(ingestor, counts_every_s=60))
        async with httpx.AsyncClient(transport=transport, base_url="http://ingestor") as http:
            answer = await http.post("/webhooks/stripe", content=MARK_IN_BODY, headers={"content-type": JSON})
            return answer, (await http.get("/health")).json()["callbacks"]["stripe"]

    with working(KombuBus(urls=urls, queues=(), prefetch=1)) as post, capture_logs() as told:
        answer, counts = asyncio.run(call(post))

    assert (answer.status_code, answer.text) == (500, "")
    assert (counts["failed"], counts["accepted"]) == (1, 0)
    assert [line["kind"] for line in told if line["event"] == "callback_failed"] == ["KeyError"]
    assert MARK_IN_BODY not in str(told)


def sent(post: Post, body: bytes) -> bool:
    """Whether the broker has confirmed it."""

    async def send() -> bool:
        async with asyncio.timeout(10):
            return await post.send(callback_message("stripe", body, {}, NOW))

    return asyncio.run(send())


def test_a_bus_that_breaks_confirms_nothing_and_is_opened_again(urls: list[str]) -> None:
    with working(StumblingBus(urls=urls, queues=(), prefetch=1)) as post:
        assert sent(post, b"{}") is False
        eventually(lambda: post.is_up, within_s=10, what="it is connected again")
        assert sent(post, b"[]") is True


def test_after_it_was_closed_nothing_is_confirmed(urls: list[str]) -> None:
    with working(KombuBus(urls=urls, queues=(), prefetch=1)) as post:
        pass

    assert sent(post, b"{}") is False


def test_a_broker_that_stands_still_is_503_before_adyen_has_hung_up_and_200_when_it_goes_on(
    rabbitmq_owned: OwnRabbitmq, tmp_path: Path
) -> None:
    url = rabbitmq_owned.fresh_vhost()
    with house(tmp_path, broker_url=url) as place:
        body = place.gateways["adyen"].body(1)
        adyen = httpx.Client(trust_env=False, timeout=10, headers=place.gateways["adyen"].headers(body))
        with adyen:
            rabbitmq_owned.pause()
            try:
                away = adyen.post(f"{place.ingestor.url}/webhooks/adyen", content=body)
            finally:
                rabbitmq_owned.resume()
            eventually(
                lambda: adyen.post(f"{place.ingestor.url}/webhooks/adyen", content=body).status_code == 200,
                within_s=60,
                what="it is taken in",
            )

        assert away.status_code == 503
        assert set(place.mailbox.bodies()) == {body}
    rabbitmq_owned.drop_vhost(url)
