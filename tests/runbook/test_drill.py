"""The runbook's own commands, typed against the faults they are for; afterwards the fault is gone.

RabbitMQ and PostgreSQL are real, and really go away; what an operator types is taken from the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from consumers.topology import PAYMENT_COMMANDS, REFUND_COMMANDS
from ledger.schema import migrate
from ledger.states import AttemptState
from ledger.stories import story
from ops.key_files import new_key
from simulators.running import running_stripe
from tests.consumers.workshop import Neighbour
from tests.runbook.deployment import TYPED, Deployment
from tests.runbook.page import SECTIONS
from tests.servers import OwnPostgres, OwnRabbitmq
from tests.servers.leash import free_ports
from tests.workers import QUICK, Worker, eventually, workers


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
    waiting = deployed.type("OutcomeUnknownForLong", "payments cases list")
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1):
        eventually(
            lambda: deployed.attempt("pay_5") is AttemptState.SUCCEEDED, within_s=30, what="it is known"
        )
        known = deployed.doctor("TimersOverdue")

    assert (late["timers"], late["unknown outcomes"]) == ("wrong", "wrong")
    assert (shown.status, "unknown" in shown.output) == (0, True)
    assert (known["timers"], known["unknown outcomes"]) == ("well", "well")
    assert (waiting.status, "unknown:pay_5.a1" in waiting.output) == (1, True)
    assert deployed.type("OutcomeUnknownForLong", "payments cases list").status == 0


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
        alarms = deployed.type(section, "rabbitmq-diagnostics alarms").output
        assert not deployed.is_announced("pay_2")
        deployed.type(section, "rabbitmqctl set_vm_memory_high_watermark")
        eventually(lambda: deployed.is_announced("pay_2"), within_s=30, what="its event is published")
        freed = deployed.doctor(section)

    assert "memory" in alarms.lower()
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
        steady = deployed.doctor("BrokerKeepsLeaving")
        listed = deployed.type("BrokerKeepsLeaving", "rabbitmqctl list_connections")

    assert (away["broker"], away["database"]) == ("wrong", "well")
    assert (back["broker"], back["topology"], back["publishing"]) == ("well", "well", "well")
    assert (steady["broker"], "running" in listed.output) == ("well", True)


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
    assert deployed.doctor(section)["database"] == "well"
    holder.close()


def test_a_worker_that_was_killed_is_started_again(deployed: Deployment) -> None:
    section = "WorkerMissing"
    with deployed.worker_starts(section) as (worker,):
        is_consuming(worker)
        worker.kill()
        deployed.pay("pay_9")
        assert deployed.type(section, "curl -s $WORKER/health/live").status != 0
    with deployed.worker_starts(section) as (again,):
        is_consuming(again)
        eventually(lambda: deployed.is_announced("pay_9"), within_s=30, what="it is paid")

        assert deployed.type(section, "curl -s $WORKER/health/live").status == 0
        assert deployed.doctor(section)[PAYMENT_COMMANDS] == "well"


def test_what_made_turns_fail_is_mended_and_its_dead_letters_are_sent_back(deployed: Deployment) -> None:
    section, letters = "TurnsFail", "DeadLetters"
    for statement in (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no room for %', NEW.payment_id USING ERRCODE = '22000'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON payments FOR EACH ROW"
        " WHEN (NEW.payment_id LIKE 'pay_bad_%') EXECUTE FUNCTION refuse()",
    ):
        deployed.postgres.psql(statement, url=deployed.database_url)
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1) as (worker,):
        is_consuming(worker)
        for payment_id in ("pay_bad_1", "pay_bad_2", "pay_good"):
            deployed.pay(payment_id)
        eventually(lambda: deployed.is_announced("pay_good"), within_s=30, what="its neighbour is paid")
        eventually(
            lambda: deployed.doctor(section)["dead letters"] == "wrong", within_s=60, what="they are given up"
        )
        shown = [
            deployed.type(section, "payments show", PAYMENT=payment).status
            for payment in ("pay_good", "pay_bad_1")
        ]
        deployed.postgres.psql("DROP TRIGGER refuse ON payments", url=deployed.database_url)
        deployed.type(letters, "payments dead-letters drain")
        [group] = json.loads(deployed.type(letters, "payments dead-letters groups", "--json").output)
        sent = deployed.type(
            letters, "payments dead-letters requeue", GROUP=group["group"], REASON="the trigger is gone"
        )
        for payment_id in ("pay_bad_1", "pay_bad_2"):
            eventually(lambda of=payment_id: deployed.is_announced(of), within_s=30, what="they are paid")  # type: ignore[misc]

    assert shown == [0, 1]
    assert (group["count"], sent.status) == (2, 0), sent.output
    assert deployed.doctor(section)["dead letters"] == "well"


def test_what_waits_for_a_person_is_taken_looked_at_and_resolved(deployed: Deployment) -> None:
    section, reason = "NeedsAPerson", "one cent too many at the gateway, given back by hand"
    with workers({**QUICK, **deployed.settings}, deployed.directory, count=1):
        deployed.pay("pay_10", token="tok_amount_mismatch")
        eventually(
            lambda: deployed.type(section, "payments cases list").status == 1,
            within_s=30,
            what="somebody must look",
        )
    unknown = deployed.type("UnknownOutcomesPileUp", "payments cases list")
    [case] = json.loads(deployed.type(section, "payments cases list", "--json").output)["cases"]
    name = case["case"]
    told = [
        deployed.type(section, "payments cases show", CASE=name),
        deployed.type(section, "payments show", PAYMENT="pay_10"),
        deployed.type(section, "payments cases take", CASE=name),
        deployed.type(section, "payments cases note", CASE=name, NOTE="asked the gateway"),
        deployed.type(section, "payments cases resolve", CASE=name, REASON=reason),
    ]

    assert unknown.status == 0, "it is of another kind"
    assert case["payment_id"] == "pay_10"
    assert [typed.status for typed in told] == [0] * 5, [typed.output for typed in told]
    assert deployed.type(section, "payments cases list").status == 0
    assert deployed.type("BooksAreWrong", "payments verify").status == 0


def test_every_command_of_the_page_was_typed(request: pytest.FixtureRequest) -> None:
    here = {item.name for item in request.session.items if item.path == request.path}
    if not all(name in here for name in globals() if name.startswith("test_")):
        pytest.skip("only some of the drills were run")
    written = {(title, line) for title, section in SECTIONS.items() for line in section.commands}

    assert written - TYPED == set()
