"""What a real worker shows of itself: metrics for Prometheus, and whether it is alive and ready."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumers.counts import Counts
from ledger.errors import LedgerDown
from ledger.schema import migrate
from ledger.states import AttemptState
from ledger.stories import story
from ops.health import live
from ops.looks import Look
from ops.publish import CommandLine, publish
from tests.consumers.workshop import Neighbour
from tests.servers import OwnPostgres, OwnRabbitmq
from tests.workers import QUICK, ROOT, eventually, workers

DEAD = "payments.payment-commands.dead"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Shown:
    """What a worker shows, as Prometheus and an orchestrator see it."""

    def __init__(self, port: int, broker_url: str) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._broker_url = broker_url

    def values(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The values of a metric whose labels are as given, by the other labels' values."""
        found = {}
        text = httpx.get(f"{self._url}/metrics", trust_env=False, timeout=20).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    rest = {key: value for key, value in sample.labels.items() if key not in labels}
                    found[tuple(value for _, value in sorted(rest.items()))] = sample.value
        return found

    def value(self, name: str, **labels: str) -> float:
        """The one value of a metric; 0 if there is none."""
        return sum(self.values(name, **labels).values())

    def health(self, of: str) -> tuple[int, dict[str, Any]]:
        """Status and words of a health page."""
        answer = httpx.get(f"{self._url}/health/{of}", trust_env=False, timeout=20)
        return answer.status_code, answer.json()

    def is_up(self) -> bool:
        """Whether it answers at all."""
        try:
            return self.health("ready")[0] == 200
        except httpx.TransportError:
            return False

    def pay(self, number: int, token: str = "tok_approved", **fields: Any) -> None:  # noqa: S107
        """Ask for a payment."""
        data = {
            "payment_id": f"pay_{number}",
            "order_id": f"order_{number}",
            "amount": {"minor": 1999, "currency": "EUR"},
            "payment_method": {"token": token},
        }
        text = json.dumps(data | fields).encode()
        line = CommandLine(id=f"msg_{number}", type="PaymentRequested", source="/shop", data=text)
        publish([self._broker_url], [line])


@contextmanager
def shown_worker(directory: Path, settings: Mapping[str, str], broker_url: str) -> Iterator[Shown]:
    """A real worker that shows its metrics."""
    port = free_port()
    environment = {
        **QUICK,
        "PAYMENTS_DATA_DIR": str(directory),
        "PAYMENTS_METRICS__PORT": str(port),
        **settings,
    }
    with workers(environment, directory, count=1):
        shown = Shown(port, broker_url)
        eventually(shown.is_up, within_s=30, what="the worker is ready")
        yield shown


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Shown]:
    """A worker on the embedded default."""
    with shown_worker(tmp_path, {}, f"embedded://{tmp_path}") as shown:
        yield shown


def test_a_payment_is_counted_from_its_delivery_to_its_confirmed_event(embedded: Shown) -> None:
    embedded.pay(1)
    embedded.pay(2, "tok_declined_insufficient_funds")
    confirmed: Callable[[], bool] = lambda: embedded.value("payments_publishes_confirmed_total") >= 2  # noqa: E731
    eventually(confirmed, within_s=20, what="both events are confirmed")

    assert embedded.value("payments_deliveries_total") == 2
    assert embedded.values("payments_events_total") == {("PaymentFailed",): 1, ("PaymentSucceeded",): 1}
    assert embedded.values("payments_gateway_calls_total", gateway="sandbox") == {
        ("approved", "authorize"): 1,
        ("declined", "authorize"): 1,
    }
    # Each is a look of its own, and turns go on in between.
    assert 2 <= embedded.value("payments_turn_size_count") <= embedded.value("payments_turn_size_sum")
    assert embedded.value("payments_turn_size_count") <= embedded.value("payments_turn_seconds_count")
    assert embedded.value("payments_turn_seconds_sum") > 0
    assert embedded.values("payments_gateway_circuit", gateway="sandbox") == {
        ("closed",): 1,
        ("open",): 0,
        ("on_trial",): 0,
    }
    assert embedded.value("payments_broker_connections_total") == 1
    assert embedded.value("process_resident_memory_bytes") > 0


def test_an_outcome_nobody_knows_is_shown_until_it_is_known(tmp_path: Path) -> None:
    patient = {"PAYMENTS_WORKER__INQUIRY_DELAYS_S": "[600]", "PAYMENTS_SANDBOX__ENABLED": "true"}
    with shown_worker(tmp_path, patient, f"embedded://{tmp_path}") as shown:
        shown.pay(1, "tok_lost_answer")

        def is_unknown() -> bool:
            told = story(f"sqlite:///{tmp_path / 'ledger.db'}", "pay_1")
            return told is not None and told.attempts[0].state is AttemptState.UNKNOWN

        eventually(is_unknown, within_s=40, what="the outcome is unknown")

        assert shown.values("payments_unknown_outcomes") == {("sandbox",): 1}
        assert shown.value("payments_gateway_calls_total", ending="unknown") == 1
        assert shown.value("payments_unknown_outcome_oldest_seconds") > 0
        assert shown.value("payments_timers_overdue") == 0
        assert shown.value("payments_outbox_lag_seconds") < 5


def test_a_message_nobody_can_read_is_a_dead_letter_with_its_reason(embedded: Shown, tmp_path: Path) -> None:
    with Neighbour(f"embedded://{tmp_path}") as neighbour:
        neighbour.send(b"not json at all")
    eventually(lambda: embedded.value("payments_dead_letters_total") == 1, within_s=20, what="it is counted")

    assert embedded.values("payments_dead_letters_total", queue="payments.payment-commands") == {
        ("missing_field",): 1
    }
    eventually(
        lambda: embedded.is_up() and embedded.value("payments_queue_messages", queue=DEAD) == 1,
        within_s=40,
        what="it is seen in its queue",
    )


def test_each_message_leaves_one_line_in_the_log_if_that_is_asked_for(tmp_path: Path) -> None:
    with shown_worker(tmp_path, {"PAYMENTS_LOG__MESSAGES": "true"}, f"embedded://{tmp_path}") as shown:
        shown.pay(1)
        eventually(
            lambda: shown.value("payments_publishes_confirmed_total") == 1,
            within_s=20,
            what="it is announced",
        )
        (log,) = tmp_path.glob("worker-*.log")
        lines = [json.loads(line) for line in log.read_text().splitlines()]

    settled = [line for line in lines if line["event"] == "settled"]
    assert [(line["payment_id"], line["action"], line["result"]) for line in settled] == [
        ("pay_1", "PaymentRequested", "authorizing"),
        ("pay_1", "Approved", "captured"),
    ]
    assert not any("tok_approved" in json.dumps(line) for line in settled)


def test_only_the_three_pages_are_there(embedded: Shown) -> None:
    for path in ("/", "/health", "/health/other", "/metrics/"):
        assert httpx.get(f"{embedded._url}{path}", trust_env=False).status_code == 404
    assert httpx.post(f"{embedded._url}/metrics", trust_env=False).status_code == 501


def test_nothing_is_shown_unless_a_port_is_named(tmp_path: Path) -> None:
    with workers({"PAYMENTS_DATA_DIR": str(tmp_path)}, tmp_path, count=1) as (worker,):
        eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")
        (log,) = tmp_path.glob("worker-*.log")

        assert "metrics_shown" not in log.read_text()


def test_a_port_that_is_taken_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, str(ROOT / "run_worker.py")],
            env={**clean, "PAYMENTS_DATA_DIR": str(tmp_path), "PAYMENTS_METRICS__PORT": port},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("the worker cannot run: [Errno 98]")


@pytest.mark.parametrize("away", ["stopped", "frozen"])
def test_a_worker_without_its_database_is_alive_and_not_ready(
    postgres_owned: OwnPostgres, vhost: str, tmp_path: Path, away: str
) -> None:
    database = postgres_owned.fresh_database()
    migrate(database)
    settings = {"PAYMENTS_BROKER_URL": vhost, "PAYMENTS_DATABASE_URL": database}
    with shown_worker(tmp_path, settings, vhost) as shown:
        postgres_owned.stop() if away == "stopped" else postgres_owned.pause()
        eventually(lambda: shown.health("ready")[0] == 503, within_s=20, what="it is not ready")

        status, told = shown.health("ready")
        assert (status, told["broker"]) == (503, "answers")
        assert "PostgreSQL" in told["database"]
        assert shown.health("live")[0] == 200

        postgres_owned.ensure_running()
        eventually(shown.is_up, within_s=30, what="it is ready again")
    postgres_owned.drop_database(database)


def test_a_worker_without_its_broker_is_not_ready_and_after_a_while_not_alive(
    rabbitmq_owned: OwnRabbitmq, tmp_path: Path
) -> None:
    vhost = rabbitmq_owned.fresh_vhost()
    settings = {
        "PAYMENTS_BROKER_URL": vhost,
        "PAYMENTS_METRICS__LIVE_WITHIN_S": "10",
        "PAYMENTS_BROKER__HEARTBEAT_S": "2",
    }
    with shown_worker(tmp_path, settings, vhost) as shown:
        assert shown.health("live")[0] == 200
        rabbitmq_owned.stop()
        eventually(lambda: shown.health("ready")[0] == 503, within_s=30, what="it is not ready")
        assert shown.health("ready")[1]["database"] == "answers"
        assert shown.value("payments_broker_up") == 0
        eventually(lambda: shown.health("live")[0] == 503, within_s=30, what="it is not alive")

        rabbitmq_owned.start()
        eventually(shown.is_up, within_s=60, what="it is ready again")
        eventually(lambda: shown.health("live")[0] == 200, within_s=30, what="it is alive again")
        assert shown.value("payments_broker_connections_total") >= 2


def test_a_worker_that_stands_still_is_not_alive() -> None:
    now = [0.0]
    counts = Counts(lambda: now[0])
    counts.broker_is_up = True
    counts.stepped()
    now[0] = 119
    assert live(counts, within_s=120).is_well
    now[0] = 121

    assert not live(counts, within_s=120).is_well


def test_a_server_is_looked_at_no_more_often_than_is_asked_for() -> None:
    now, looks = [0.0], iter(["first", "", "third"])

    def look() -> str:
        seen = next(looks)
        if not seen:
            raise LedgerDown("away")
        return seen

    remembered = Look(look, lambda: now[0])
    assert remembered.of_the_last(15) == "first"
    now[0] = 15
    assert remembered.of_the_last(15) == "first"
    assert remembered.of_the_last(1) is None
    assert (remembered.of_the_last(1), remembered.trouble) == (None, "away"), (
        "that it was away is remembered, too"
    )
    now[0] = 17
    assert (remembered.of_the_last(1), remembered.trouble) == ("third", None)


def test_a_worker_that_is_told_to_leave_is_not_kept_by_a_scrape(tmp_path: Path) -> None:
    port = free_port()
    settings = {"PAYMENTS_DATA_DIR": str(tmp_path), "PAYMENTS_METRICS__PORT": str(port)}
    with workers(settings, tmp_path, count=1) as (worker,):
        eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(b"GET /metrics HT")  # and no more
            worker.process.send_signal(signal.SIGTERM)

            assert worker.process.wait(20) == 0
