"""The real path in one process: the embedded broker, the ledger in SQLite, a worker's cycle, and the ingestor."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import httpx
import kombu
from prometheus_client import CollectorRegistry, generate_latest

from consumers import embedded
from consumers.bus import KombuBus
from consumers.calls import Calls
from consumers.counts import Counts
from consumers.cycle import Cycle, Limits
from consumers.delivery import BusDown, Outgoing
from consumers.topology import WORK_QUEUES
from gateways import adyen_webhooks, stripe_webhooks
from gateways.notice import Verifier
from handlers.decision import Policy
from ledger.ledger import Ledger
from ledger.records import Wanted
from ledger.reports import announced_events
from ledger.schema import migrate
from ledger.states import Payment
from ledger.stories import story
from messages.ids import PaymentId
from ops.events import event_as_json, render_event
from ops.logs import configure_logs
from ops.looks import Look
from ops.metrics import WorkerCollector
from ops.settings import LogSettings
from ops.story.plain import story_as_json
from tests.fuzz.cards import UNTELLABLE
from tests.fuzz.traffic import MARK, ROUTES, Sent
from tests.keys import KEYRING
from tests.webhooks.callers import ACCOUNT, HMAC_KEYS, PASSWORDS, STRIPE_SECRETS, USERNAME
from tests.workers import eventually
from webhooks.app import Ingestor, webhooks_app
from webhooks.post import Post

AT_ONCE = Limits(timer_poll_s=60, mark_after_s=0.25, relay_poll_s=5)
AT_A_TIME = 50
STALLED_S = 60.0
"""Longer than this without anything settled is called a hang."""


class Street:
    """All parts, on files in one directory."""

    def __init__(self, directory: Path) -> None:
        embedded.register()
        self.broker_url = f"embedded://{directory}"
        self.ledger_url = f"sqlite:///{directory / 'ledger.db'}"
        self.directory = directory
        migrate(self.ledger_url)
        self.counts = Counts()
        self.calls = Calls({})
        self.ledger = Ledger(self.ledger_url, keyring=KEYRING)
        self.cycle = Cycle(
            worker="fuzzed",
            bus=self._bus([queue.name for queue in WORK_QUEUES]),
            ledger=self.ledger,
            calls=self.calls,
            policy=Policy(default_gateway="nowhere", gateways={}),
            clock=lambda: datetime.now(UTC),
            limits=AT_ONCE,
            readers={"stripe": stripe_webhooks.read, "adyen": adyen_webhooks.read},
            counts=self.counts,
            tells_each=True,
        )
        self.cycle.step(wait_s=0)  # declares the queues
        self.sender = self._bus(())
        self.sender.open()
        self.post = Post(self._bus(()))
        self.post.start()
        eventually(lambda: self.post.is_up, within_s=30, what="the ingestor has its broker")
        verifiers: dict[str, Verifier] = {
            "stripe": stripe_webhooks.StripeVerifier(STRIPE_SECRETS),
            "adyen": adyen_webhooks.AdyenVerifier(
                hmac_keys=HMAC_KEYS, merchant_account=ACCOUNT, username=USERNAME, passwords=PASSWORDS
            ),
        }
        self.ingestor = Ingestor(
            verifiers, self.post, lambda: datetime.now(UTC), body_within_s=10, confirm_within_s=30
        )
        self.callbacks: Counter[str] = Counter()
        """How many were sent, by kind."""
        self.blanked_out: Counter[str] = Counter()

    def _bus(self, queues: Sequence[str]) -> KombuBus:
        return KombuBus(urls=[self.broker_url], queues=queues, prefetch=500)

    def send(self, messages: Sequence[Sent]) -> None:
        """Put commands on the bus, and callbacks through the ingestor's door."""
        receipts = [outgoing(sent) for sent in messages if sent.gateway is None]
        self.sender.publish(receipts)
        waiting = len(receipts)
        while waiting:
            self.sender.receive(wait_s=0.05, limit=0)
            told = self.sender.receipts()
            assert not told.failed
            waiting -= len(told.confirmed)
        callbacks = [sent for sent in messages if sent.gateway is not None]
        for kind in sorted({_kind(sent) for sent in callbacks}):
            some = [sent for sent in callbacks if _kind(sent) == kind]
            self.callbacks[kind] += len(some)
            self.blanked_out[kind] += asyncio.run(self._call(some))

    async def _call(self, callbacks: Sequence[Sent]) -> int:
        """Call the ingestor, and tell how many of the callbacks it found card data in."""
        transport = httpx.ASGITransport(app=webhooks_app(self.ingestor, counts_every_s=3600))
        async with httpx.AsyncClient(transport=transport, base_url="http://ingestor") as client:

            async def found() -> int:
                told = (await client.get("/health")).json()["callbacks"]
                return sum(counts["card_data"] for counts in told.values())

            before = await found()
            for start in range(0, len(callbacks), AT_A_TIME):
                calls = [
                    client.post(f"/webhooks/{sent.gateway}", content=sent.body, headers=sent.headers)
                    for sent in callbacks[start : start + AT_A_TIME]
                ]
                answers = await asyncio.gather(*calls)
                assert all(answer.status_code == 200 for answer in answers), answers
            return await found() - before

    def settle(self, deliveries: int) -> None:
        """Let the worker work until it has had so many deliveries and nothing is left to do."""
        deadline = time.monotonic() + STALLED_S
        while self.counts.deliveries < deliveries or self.waiting():
            before = self.counts.deliveries
            self.cycle.step(wait_s=0.01)
            if self.counts.deliveries > before:
                deadline = time.monotonic() + STALLED_S
            assert time.monotonic() < deadline, f"it hangs, {self.counts.deliveries} of {deliveries} taken"

    def waiting(self) -> int:
        """Messages in the work queues, delivered or not."""
        database = embedded.database.Database(self.directory)
        try:
            names = [queue.name for queue in WORK_QUEUES]
            (count,) = database.sql.execute(
                f"SELECT count(*) FROM message WHERE queue IN ({','.join('?' * len(names))}) AND dead_because IS NULL",
                names,
            ).fetchone()
            return int(count)
        finally:
            database.close()

    def dead_letters(self) -> Iterator[tuple[str | None, str, bool]]:
        """Of each dead letter its mark, reason, and whether it was redacted. They stay where they are."""
        with kombu.Connection(self.broker_url) as client, client.channel() as channel:
            for queue in WORK_QUEUES:
                while (message := channel.basic_get(queue.dead_letter_queue)) is not None:
                    headers = message.properties["application_headers"]
                    yield headers.get(MARK), headers["fail-reason"], headers["fail-redacted"]

    def export(self) -> None:
        """Write what the tools show into files: every event, the metrics, the stories of some payments.

        And, opened, what the ledger keeps encrypted: there no search would find it.
        """
        after = datetime.now(UTC) - timedelta(days=1)
        with (self.directory / "events.txt").open("w") as file:
            payments: list[str] = []
            for announced in announced_events(self.ledger_url, after=after):
                print(event_as_json(announced), render_event(announced), sep="\n", file=file)
                payment_id = json.loads(announced.event.body).get("payment_id")
                if payment_id and len(payments) < 500:
                    payments.append(payment_id)
        with (self.directory / "stories.txt").open("w") as file:
            for payment_id in payments:
                told = story(self.ledger_url, payment_id)
                if told is not None:
                    print(story_as_json(told), file=file)
        with (self.directory / "opened.txt").open("w") as file:
            for known in self._payments():
                print(json.dumps(dataclasses.asdict(known), default=str), file=file)
        registry = CollectorRegistry()
        registry.register(
            WorkerCollector(
                gateways=(),
                counts=self.counts,
                calls=self.calls,
                figures=Look(_nobody_answers),
                queues=Look(_nobody_answers),
            )
        )
        (self.directory / "metrics.txt").write_bytes(generate_latest(registry))

    def _payments(self) -> Iterator[Payment]:
        with sqlite3.connect(self.directory / "ledger.db") as database:
            ids = [PaymentId(name) for (name,) in database.execute("SELECT payment_id FROM payments")]
        for start in range(0, len(ids), 500):
            with self.ledger.turn() as turn:
                yield from turn.load(Wanted(payment_ids=set(ids[start : start + 500]))).payments.values()

    def close(self) -> None:
        """Leave everything, so that only files are left."""
        self.cycle.stop()
        self.cycle.run()
        self.post.close()
        self.sender.close()


def _nobody_answers() -> NoReturn:
    raise BusDown("nobody is asked here")


def _kind(sent: Sent) -> str:
    if sent.is_forbidden:
        return "with card data"
    return "nobody can tell" if sent.scheme == UNTELLABLE else "harmless"


def outgoing(sent: Sent) -> Outgoing:
    """A command as its sender publishes it."""
    properties = sent.properties
    return Outgoing(
        exchange="payments.commands",
        routing_key=ROUTES[sent.kind],
        body=sent.body,
        message_id=properties["message_id"][:255],
        type=properties["type"][:255],
        content_type=properties.get("content_type", "application/json"),
        correlation_id=properties.get("correlation_id"),
        headers=sent.headers,
        receipt=sent.number,
    )


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Log as the service does, into a file. For a process of its own: its loggers remember the file."""
    with file.open("w") as log, redirect_stderr(log):
        configure_logs(LogSettings(level="debug", json_lines=True))
        yield
