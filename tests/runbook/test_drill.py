"""The runbook's own commands, typed against the faults they are for; afterwards the fault is gone.

RabbitMQ and PostgreSQL are real, and really go away; what an operator types is taken from the page.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from ledger.schema import migrate
from ledger.states import AttemptState
from ledger.stories import story
from ops.cli import app
from ops.key_files import new_key
from ops.publish import CommandLine, publish
from simulators.running import running_stripe
from tests.consumers.workshop import Neighbour
from tests.runbook.page import SECTIONS
from tests.servers import OwnPostgres, OwnRabbitmq
from tests.servers.leash import free_ports
from tests.workers import QUICK, Worker, eventually, workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a command printed, and its exit status."""

    status: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A broker, a database and a key of its own, and an operator who types."""

    broker: OwnRabbitmq
    postgres: OwnPostgres
    broker_url: str
    database_url: str
    directory: Path
    port: int

    @property
    def settings(self) -> dict[str, str]:
        """What is set where the worker runs, and the operator."""
        return {
            "PAYMENTS_BROKER_URL": self.broker_url,
            "PAYMENTS_DATABASE_URL": self.database_url,
            "PAYMENTS_DATA_DIR": str(self.directory),
            "PAYMENTS_KEYS_DIR": str(self.directory / "keys"),
            "PAYMENTS_METRICS__PORT": str(self.port),
            "PAYMENTS_SANDBOX__ENABLED": "true",
        }

    def type(self, section: str, beginning: str, *more: str, **variables: object) -> Typed:
        """Type the section's command that begins so."""
        settings = self.settings | {
            name: str(v) for name, v in variables.items() if name.startswith("PAYMENTS_")
        }
        program, *words = SECTIONS[section].typed(
            beginning, WORKER=f"http://127.0.0.1:{self.port}", DATABASE="", **variables
        )
        match program:
            case "payments":
                return self.payments(*words, *more, **settings)
            case "rabbitmqctl":
                return Typed(status=0, output=self.broker.ctl(*words))
            case "psql":
                rows = self.postgres.psql(words[words.index("-c") + 1], url=self.database_url)
                return Typed(status=0, output=str(rows))
            case _:
                ended = subprocess.run(
                    [program, *words], capture_output=True, text=True, timeout=30, check=False
                )
                return Typed(status=ended.returncode, output=ended.stdout + ended.stderr)

    def payments(self, *words: str, **settings: str) -> Typed:
        """Type `payments …`."""
        unset = {name: None for name in os.environ if name.startswith("PAYMENTS_")}
        ended = CliRunner().invoke(app, words, env={**unset, **(settings or self.settings)})
        return Typed(status=ended.exit_code, output=ended.output)

    def doctor(self, section: str, **settings: str) -> dict[str, str]:
        """The worst mark of every point, as the section's `payments doctor` has it."""
        told: dict[str, str] = {}
        listed = self.type(section, "payments doctor", "--json", **settings).output
        for one in json.loads(listed[listed.index("{") :])["findings"]:
            if told.get(one["point"]) != "wrong":
                told[one["point"]] = one["mark"]
        return told

    def worker_starts(self, section: str) -> Any:
        """`python run_worker.py worker`, as the section says, until the block ends."""
        assert SECTIONS[section].typed("python run_worker.py") == ["python", "run_worker.py", "worker"]
        return workers({**QUICK, **self.settings}, self.directory, count=1)

    def attempt(self, payment_id: str) -> AttemptState | None:
        """How the payment's first attempt stands."""
        told = story(self.database_url, payment_id)
        return told.attempts[0].state if told is not None and told.attempts else None

    def pay(self, payment_id: str, token: str = "tok_approved") -> None:  # noqa: S107
        """Ask for a payment."""
        data = {
            "payment_id": payment_id,
            "order_id": f"order_{payment_id}",
            "amount": {"minor": 1999, "currency": "EUR"},
            "payment_method": {"token": token},
        }
        text = json.dumps(data).encode()
        publish(
            [self.broker_url],
            [CommandLine(id=f"msg_{payment_id}", type="PaymentRequested", source="/shop", data=text)],
        )

    def is_announced(self, payment_id: str) -> bool:
        """Whether the payment's event has been published."""
        told = story(self.database_url, payment_id)
        return told is not None and any(one.published_at is not None for one in told.events)


@pytest.fixture
def deployed(
    rabbitmq_owned: OwnRabbitmq, postgres_owned: OwnPostgres, tmp_path: Path
) -> Iterator[Deployment]:
    vhost = rabbitmq_owned.fresh_vhost()
    database = postgres_owned.fresh_database(prepared_by=migrate)
    new_key(tmp_path / "keys")
    place = Deployment(
        broker=rabbitmq_owned,
        postgres=postgres_owned,
        broker_url=vhost,
        database_url=database,
        directory=tmp_path,
        port=free_ports(1)[0],
    )
    assert place.payments("topology").status == 0
    yield place
    rabbitmq_owned.ensure_running()
    postgres_owned.ensure_running()
    rabbitmq_owned.drop_vhost(vhost)
    postgres_owned.drop_database(database)


def is_consuming(worker: Worker) -> None:
    eventually(lambda: worker.is_consuming, within_s=30, what="the worker consumes")


def test_without_a_worker_commands_wait_until_one_is_started(deployed: Deployment) -> None:
    section = "NobodyTakesCommands"
    deployed.pay("pay_1")
    before = deployed.doctor(section)
    missing = deployed.type("WorkerMissing", "curl -s $WORKER/health/live")

    assert before[PAYMENT_COMMANDS] == "wrong"
    assert missing.status != 0
    assert "up to date" in deployed.type(section, "payments migrate").output
    assert deployed.type(section, "payments topology").status == 0
    with deployed.worker_starts(section) as (worker,):
        is_consuming(worker)
        eventually(lambda: deployed.is_announced("pay_1"), within_s=30, what="it is paid")
        after = {
            name: deployed.doctor(name)[PAYMENT_COMMANDS] for name in ("CommandsPileUp", "WorkerMissing")
        }
        live = deployed.type("WorkerMissing", "curl -s $WORKER/health/live")
        told = deployed.type("CommandsPileUp", "curl -s $WORKER/metrics")
        heard = deployed.type("EventsNotPublished", "payments events")

    assert set(after.values()) == {"well"}
    assert (live.status, "payments_calls_in_flight" in told.output) == (0, True)
    assert "PaymentSucceeded" in heard.output


def test_an_outcome_nobody_asked_about_in_time_is_known_once_a_worker_gets_to_it(
    deployed: Deployment,
) -> None:
    patient = {**QUICK, **deployed.settings, "PAYMENTS_WORKER__INQUIRY_DELAYS_S": "[600]"}
    with workers(patient, deployed.directory, count=1):
        deployed.pay("pay_5", token="tok_lost_answer")
        eventually(
            lambda: deployed.attempt("pay_5") is AttemptState.UNKNOWN, within_s=30, what="nobody knows"
        )
    deployed.postgres.psql(
        "UPDATE attempts SET due_at = now() - interval '1 hour', sent_at = now() - interval '2 hours'",
        url=deployed.database_url,
    )
    late = deployed.doctor("TimersOverdue")
    shown = deployed.type("OutcomeUnknownForLong", "payments show", PAYMENT="pay_5")
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1):
        eventually(
            lambda: deployed.attempt("pay_5") is AttemptState.SUCCEEDED, within_s=30, what="it is known"
        )
        known = deployed.doctor("TimersOverdue")

    assert (late["timers"], late["unknown outcomes"]) == ("wrong", "wrong")
    assert (shown.status, "unknown" in shown.output) == (0, True)
    assert (known["timers"], known["unknown outcomes"]) == ("well", "well")
    assert deployed.type("OutcomeUnknownForLong", "payments attention").status == 0


def test_a_queue_that_was_lost_is_declared_anew(deployed: Deployment) -> None:
    path = f"{deployed.broker.management_url}/api/queues/{deployed.broker_url.rsplit('/', 1)[1]}"
    with httpx.Client(auth=_login(deployed), trust_env=False, timeout=30) as management:
        assert management.delete(f"{path}/{REFUND_COMMANDS}").status_code == 204
    lost = deployed.doctor("BrokerAway")

    assert lost["topology"] == "wrong"
    assert deployed.type("BrokerAway", "payments topology").status == 0
    assert deployed.doctor("BrokerAway")["topology"] == "well"


def _login(deployed: Deployment) -> tuple[str, str]:
    parts = make_url(deployed.broker_url.replace("amqp://", "x://"))
    return str(parts.username), str(parts.password)


def test_events_that_an_alarm_holds_up_are_published_when_there_is_room(deployed: Deployment) -> None:
    section = "EventsNotPublished"
    deployed.pay("pay_2")
    deployed.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1) as (worker,):
        is_consuming(worker)
        eventually(
            lambda: story(deployed.database_url, "pay_2") is not None, within_s=30, what="it is decided"
        )
        blocked = deployed.doctor(section)
        assert not deployed.is_announced("pay_2")
        deployed.type(section, "rabbitmqctl set_vm_memory_high_watermark")
        eventually(lambda: deployed.is_announced("pay_2"), within_s=30, what="its event is published")
        freed = deployed.doctor(section)

    assert (blocked["publishing"], freed["publishing"]) == ("wrong", "well")
    assert freed["outbox"] == "well"


def test_workers_go_on_when_the_database_is_back(deployed: Deployment) -> None:
    section = "DatabaseAway"
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1) as (worker,):
        is_consuming(worker)
        deployed.postgres.stop()
        away = deployed.doctor(section)
        deployed.postgres.start()
        deployed.pay("pay_3")
        eventually(lambda: deployed.is_announced("pay_3"), within_s=40, what="the worker goes on")
        ready = deployed.type(section, "curl -s $WORKER/health/ready")

    assert (away["database"], away["broker"]) == ("wrong", "well")
    assert json.loads(ready.output)["database"] == "answers"
    assert deployed.doctor(section)["database"] == "well"


def test_tampered_books_are_named_and_right_again_after_the_row_is_back(deployed: Deployment) -> None:
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1):
        deployed.pay("pay_4")
        eventually(lambda: deployed.is_announced("pay_4"), within_s=30, what="it is booked")
    change = (
        "ALTER TABLE entries DISABLE TRIGGER append_only;"
        " UPDATE entries SET amount = amount + {} WHERE line_no = 1"
    )
    deployed.postgres.psql(change.format(1), url=deployed.database_url)
    wrong, off = deployed.type("BooksAreWrong", "payments verify"), deployed.doctor("BooksAreWrong")
    deployed.postgres.psql(change.format(-1), url=deployed.database_url)  # from the backup
    deployed.type("GuardsAreOff", "psql")

    assert wrong.status == 1
    assert "pay_4" in wrong.output
    assert off["guards of the books"] == "wrong"
    assert "clean" in deployed.type("BooksNotVerified", "payments verify").output
    assert deployed.doctor("GuardsAreOff")["guards of the books"] == "well"
    assert deployed.type("GuardsAreOff", "payments verify").status == 0


def test_a_gateway_that_is_away_or_refuses_us_is_told_from_one_that_is_well(deployed: Deployment) -> None:
    with running_stripe() as stripe:
        ours = {"PAYMENTS_STRIPE__API_KEY": stripe.api_key, "PAYMENTS_STRIPE__BASE_URL": stripe.url}
        refused = deployed.doctor("GatewayAnswersAreLost", **ours | {"PAYMENTS_STRIPE__API_KEY": "sk_old"})
        mended = deployed.doctor("CircuitOpen", **ours)
        unsigned = deployed.doctor("CallbacksForged", **ours)
        signed = deployed.doctor("CallbacksForged", **ours, PAYMENTS_STRIPE__WEBHOOK_SECRETS='["whsec_x"]')
    gone = deployed.doctor("UnknownOutcomesPileUp", **ours)

    assert (gone["stripe"], refused["stripe"], mended["stripe"]) == ("wrong", "wrong", "well")
    assert (unsigned["stripe callbacks"], signed["stripe callbacks"]) == ("unsure", "well")


def test_a_worker_without_its_key_starts_when_the_file_is_back(deployed: Deployment) -> None:
    (file,) = (deployed.directory / "keys").iterdir()
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1):
        deployed.pay("pay_7")
        eventually(lambda: deployed.is_announced("pay_7"), within_s=30, what="its token is encrypted")
    copy = file.rename(deployed.directory / "copy")
    new_key(deployed.directory / "keys")
    worker = Worker({**QUICK, **deployed.settings}, deployed.directory)
    assert worker.process.wait(30) != 0
    told = deployed.type("KeyMissing", "payments keys list")
    missing = deployed.doctor("KeyMissing")
    copy.rename(file)

    assert (missing["keys"], told.status) == ("wrong", 1)
    assert deployed.type("KeyMissing", "payments keys list").status == 0
    assert deployed.doctor("KeyMissing")["keys"] == "well"
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1) as (again,):
        is_consuming(again)


def test_workers_go_on_when_the_broker_is_back(deployed: Deployment) -> None:
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1) as (worker,):
        is_consuming(worker)
        deployed.broker.ctl("stop_app")
        away = deployed.doctor("BrokerAway")
        deployed.broker.ctl("start_app")
        deployed.pay("pay_6")
        eventually(lambda: deployed.is_announced("pay_6"), within_s=60, what="the worker goes on")
        back = deployed.doctor("CallbacksNotTaken")
        listed = deployed.type("BrokerKeepsLeaving", "rabbitmqctl list_connections")

    assert (away["broker"], away["database"]) == ("wrong", "well")
    assert (back["broker"], back["topology"], back["publishing"]) == ("well", "well", "well")
    assert "running" in listed.output


def test_dead_letters_are_drained_looked_at_mended_and_given_up(deployed: Deployment) -> None:
    section, why = "DeadLetters", {"REASON": "drill", "SOURCE": "/shop"}
    nameless = {"cloudEvents_id": "msg_8", "cloudEvents_type": "PaymentRequested"}
    amount = {"minor": 1999, "currency": "EUR"}
    data = {
        "payment_id": "pay_8",
        "order_id": "o8",
        "amount": amount,
        "payment_method": {"token": "tok_approved"},
    }
    with (
        deployed.worker_starts("NobodyTakesCommands") as (worker,),
        Neighbour(deployed.broker_url) as neighbour,
    ):
        is_consuming(worker)
        neighbour.send(json.dumps(data).encode(), headers=nameless)
        neighbour.send(b"not json")
        eventually(
            lambda: deployed.doctor(section)["dead letters"] == "wrong", within_s=30, what="two dead letters"
        )
        eventually(lambda: neighbour.waiting_in(f"{PAYMENT_COMMANDS}.dead") == 2, within_s=30, what="both")
        assert deployed.type(section, "payments dead-letters drain").status == 0
        listed = json.loads(deployed.type(section, "payments dead-letters list", "--json").output)
        letters = {str(letter.get("type")): letter["letter"] for letter in listed}
        seen = [
            deployed.type(section, f"payments dead-letters {look}", LETTER=letters["PaymentRequested"]).output
            for look in ("groups", "show", "diff")
        ]
        mended = deployed.type(
            section, "payments dead-letters edit", LETTER=letters.pop("PaymentRequested"), **why
        )
        given_up = deployed.type(section, "payments dead-letters discard", LETTER=letters.popitem()[1], **why)
        eventually(lambda: deployed.is_announced("pay_8"), within_s=30, what="what was mended is paid")
        after = deployed.doctor(section)["dead letters"]

    assert all(seen)
    assert (mended.status, given_up.status) == (0, 0), (mended.output, given_up.output)
    assert after == "well"
    assert deployed.type(section, "payments dead-letters stats").status == 0


def test_a_forgotten_transaction_is_found_and_ended(deployed: Deployment) -> None:
    section = "TurnsAreSlow"
    address = make_url(deployed.database_url).set(drivername="postgresql")
    holder = psycopg.connect(address.render_as_string(hide_password=False))
    holder.execute("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE")
    waiting = Thread(target=lambda: deployed.postgres.psql("TABLE payments", url=deployed.database_url))
    waiting.start()

    listed = deployed.type(section, 'psql "$DATABASE" -c "SELECT pid').output
    assert "LOCK TABLE payments" in listed
    deployed.type(section, 'psql "$DATABASE" -c "SELECT pg_terminate', PID=holder.info.backend_pid)
    waiting.join(30)

    assert not waiting.is_alive()
    holder.close()
