"""`make demo`: a day of orders through the real worker on the embedded default, watched, then checked from outside.

An Order Service stand-in publishes `examples/a_day_of_orders.jsonl` and some bytes that are no message at all,
listens to the events, and acts as the customer who must confirm at the bank. The worker is killed (kill -9) in the
middle and started again. Then one order goes through each real gateway's simulator, with its webhooks. In the end the
gateways' own records, the events, the dead letters and the books must agree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from consumers import embedded
from consumers.topology import COMMANDS as COMMAND_EXCHANGE
from consumers.topology import EVENTS, PAYMENT_COMMANDS
from gateways.sandbox_record import SandboxRecord
from ledger.schema import migrate
from ledger.verify import verify
from messages.ids import PaymentId, payment_attempt_id
from ops.books import books_table
from ops.demo_gateways import (
    HAPPENS,
    Gateways,
    go_on,
    ingestor,
    order,
    payment_of,
    problems_at,
    table,
    three_gateways,
    told,
)
from ops.demo_verdict import EXPECTED, Story, has_ended, outcomes, problems_of
from ops.logs import configure_logs
from ops.publish import publish, read_lines
from ops.settings import LogSettings

ROOT = Path(__file__).parent.parent
ORDERS = ROOT / "examples" / "a_day_of_orders.jsonl"
LATER = ROOT / "examples" / "later_that_day.jsonl"
HOME = Path(".payments-demo")
QUEUE = "order-service.events"
PATIENCE_S = 60.0

FASTER = {
    "PAYMENTS_WORKER__TIMER_POLL_S": "0.2",
    "PAYMENTS_WORKER__LEASE_MARGIN_S": "1",
    "PAYMENTS_WORKER__INQUIRY_DELAYS_S": "[1, 2, 4, 8]",
    "PAYMENTS_WORKER__PENDING_DELAYS_S": "[1, 2, 4]",
    "PAYMENTS_WORKER__REFUND_PATIENCE_S": "8",
    "PAYMENTS_WORKER__REFUND_POLL_S": "1",
    "PAYMENTS_WORKER__RELAY_GRACE_S": "1",
    "PAYMENTS_SANDBOX__SETTLE_S": "2",
}
"""A demo cannot wait for hours: look-ups and deadlines come after seconds. Nothing else is different."""


class OrderService:
    """Hears events from a queue of its own and keeps them by what they are about."""

    def __init__(self, url: str) -> None:
        embedded.register()
        self._channel = kombu.Connection(url).channel()
        self._channel.exchange_declare(
            exchange=EVENTS.name, type=EVENTS.kind, durable=True, auto_delete=False
        )
        self._channel.queue_declare(queue=QUEUE, durable=True, auto_delete=False)
        self._channel.queue_bind(queue=QUEUE, exchange=EVENTS.name, routing_key="#")
        self.stories: dict[str, Story] = {}
        self._seen: set[str] = set()

    def listen(self) -> list[tuple[str, dict[str, Any]]]:
        """Take in what has come; a repeat under the same id is dropped, as every consumer should."""
        news: list[tuple[str, dict[str, Any]]] = []
        while (message := self._channel.basic_get(QUEUE)) is not None:
            if message.properties["message_id"] not in self._seen:
                self._seen.add(message.properties["message_id"])
                kind, event = message.properties["type"], json.loads(message.body)
                story = self.stories.setdefault(_about(kind, event), Story())
                story.kinds.append(kind)
                story.events.append(event)
                news.append((kind, event))
            self._channel.basic_ack(message.delivery_tag)
        return news

    def dead_letters(self) -> int:
        """How many messages wait for a person."""
        count: int = self._channel.queue_declare(queue=f"{PAYMENT_COMMANDS}.dead", passive=True).message_count
        return count


def _about(kind: str, event: dict[str, Any]) -> str:
    if kind == "CommandRejected" and not event.get("refund_id"):
        return str(event["command_id"])
    return str(event.get("refund_id") or event["payment_id"])


def main() -> int:
    """Run the demo; 0 only if everything is as it should be."""
    console = Console()
    configure_logs(LogSettings(level="warning"))
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    ledger_url = f"sqlite:///{(HOME / 'ledger.db').absolute()}"
    migrate(ledger_url)
    url = f"embedded://{HOME.absolute()}"
    console.print(
        "[bold]A day of orders[/bold] through one worker: embedded broker, SQLite ledger, sandbox gateway.\n"
    )
    with _worker({}) as running:
        service = OrderService(url)
        count = _publish(url, ORDERS)
        _publish_nonsense(url)
        console.print(f"Order Service has published {count} commands, and some bytes that are no message.")
        _watch(console, service, running, url)
    console.print(outcomes(service.stories))
    problems = list(problems_of(service.stories, record_file=HOME / "sandbox.db", ledger_url=ledger_url))
    problems += _three_gateways(console, service, url, ledger_url)
    return _report(console, service, ledger_url, problems)


def _three_gateways(console: Console, service: OrderService, url: str, ledger_url: str) -> list[str]:
    """The second act; gives what went wrong."""
    console.print("Stripe, Adyen and PayPal, played by their simulators, get one order each.")
    with three_gateways(HOME) as gateways:
        home = {"PAYMENTS_DATA_DIR": str(HOME), "PAYMENTS_SANDBOX__ENABLED": "true"}
        program, log = ROOT / "run_worker.py", HOME / "webhooks.log"
        with ingestor(gateways, home, program=program, log=log), _worker(gateways.settings):
            heard = _watch_gateways(service, gateways, url, ledger_url)
        console.print(table(heard, ledger_url))
        problems = list(problems_at(gateways))
    for gateway, kinds in heard.items():
        if [kind for kind in kinds if kind != "RefundPending"] != list(HAPPENS):
            problems.append(f"{gateway}: heard {' → '.join(kinds) or 'nothing'}")
        if not told(ledger_url, gateway):
            problems.append(f"{gateway}: none of its webhooks came in")
    return problems + [f"verify: {problem}" for problem in verify(ledger_url).problems]


def _watch_gateways(
    service: OrderService, gateways: Gateways, url: str, ledger_url: str
) -> dict[str, list[str]]:
    """Be Order Service: order, and go on with what is heard, until all is done and told."""
    names = {payment_of(name): name for name in gateways.controls}
    heard: dict[str, list[str]] = {name: [] for name in gateways.controls}
    for gateway in gateways.controls:
        order(url, gateway)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for kind, event in service.listen():
            gateway = names.get(event.get("payment_id", ""), "")
            if gateway:
                heard[gateway].append(kind)
                go_on(url, gateway, kind)
        if all(set(HAPPENS) <= set(kinds) and told(ledger_url, name) for name, kinds in heard.items()):
            break
        time.sleep(0.1)
    return heard


class _Running:
    """The worker process, which can be killed and started again."""

    def __init__(self, more: Mapping[str, str]) -> None:
        self._more = more
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        with (HOME / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "run_worker.py"), "worker"],
                env={
                    **clean,
                    **FASTER,
                    "PAYMENTS_DATA_DIR": str(HOME),
                    **self._more,
                },
                stdout=log,
                stderr=log,
            )

    def kill_and_restart(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    @property
    def has_died(self) -> bool:
        return self._process.poll() is not None


@contextmanager
def _worker(more: Mapping[str, str]) -> Iterator[_Running]:
    running = _Running(more)
    try:
        yield running
    finally:
        running.stop()


def _publish(url: str, file: Path) -> int:
    with file.open() as lines:
        return publish([url], read_lines(lines, checked=False))


def _publish_nonsense(url: str) -> None:
    channel = kombu.Connection(url).channel()
    nonsense = channel.prepare_message(b"\xff\xfe this is no message", properties={"delivery_mode": 2})
    channel.basic_publish(nonsense, exchange=COMMAND_EXCHANGE.name, routing_key="payment.requested")


def _watch(console: Console, service: OrderService, running: _Running, url: str) -> None:
    """Show progress until everything has ended; kill the worker once, and be the customer twice."""
    deadline = time.monotonic() + PATIENCE_S
    killed = acted = paid_again = False
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("ended", total=len(EXPECTED))
        while time.monotonic() < deadline:
            service.listen()
            done = sum(has_ended(service.stories, about, kind) for about, kind in EXPECTED.items())
            progress.update(task, completed=done)
            if not killed and done >= len(EXPECTED) // 3:
                killed = True
                progress.console.print("The worker is killed (kill -9) and started again.")
                running.kill_and_restart()
            if not paid_again and "pay_1021" in service.stories:
                paid_again = True
                progress.console.print("The customer of order 1021 tries another card.")
                _publish(url, LATER)
            if not acted and "pay_1028" in service.stories:
                acted = True
                progress.console.print("The customer of order 1028 confirms at the bank.")
                record = SandboxRecord(HOME / "sandbox.db")
                record.complete_action(payment_attempt_id(PaymentId("pay_1028"), 1), approve=True)
                record.close()
            if done == len(EXPECTED) and service.dead_letters() == 1:
                return
            if running.has_died:
                progress.console.print("[red]The worker has ended by itself.[/red]")
                return
            time.sleep(0.1)


def _report(console: Console, service: OrderService, ledger_url: str, problems: list[str]) -> int:
    console.print(books_table(ledger_url))
    if service.dead_letters() != 1:
        problems.append(f"{service.dead_letters()} dead letters instead of one")
    for problem in problems:
        console.print(f"[red]✗[/red] {problem}")
    if not problems:
        console.print(
            "[green]✓[/green] every command ended as it should\n"
            "[green]✓[/green] the gateways' own records show each charge and refund once\n"
            "[green]✓[/green] every gateway's webhooks came in, signed as it signs them\n"
            "[green]✓[/green] the unreadable message is kept as a dead letter\n"
            "[green]✓[/green] the books balance, the audit chain is intact"
        )
    console.print(
        f"\nWhere to look next, with PAYMENTS_DATA_DIR={HOME} in the environment:\n"
        f"  .venv/bin/payments show pay_1025      the story of a lost answer\n"
        f"  .venv/bin/payments show pay_at_adyen --html story.html\n"
        f"                                        a payment whose every step is told by webhook, as a page\n"
        f"  .venv/bin/payments dead-letters drain the unreadable message; then `dead-letters groups`\n"
        f"  .venv/bin/payments verify             the proof of the books\n"
        f"and {HOME}/worker.log for what the worker said, README.md for the way through six files."
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
