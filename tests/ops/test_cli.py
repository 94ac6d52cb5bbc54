"""The `payments` command line as an operator and as a program meet it: output, exit status, and no secret in either."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.topology import PAYMENT_COMMANDS
from ops.cli import app
from tests.builders import payment_data
from tests.consumers.bus_driver import await_deliveries, opened
from tests.consumers.workshop import Clock, Neighbour, Place, Workshop, hiring

ROOT = Path(__file__).parents[2]
ALL_TIME = "300000000"
"""Seconds: the worker here lives on another day than the one the test runs on."""

COMMANDS = (
    "migrate",
    "topology",
    "publish",
    "events",
    "books",
    "verify",
    "show",
    "trace",
    "doctor",
)
GROUPS = ("keys", "audit", "cases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Where an operator types: a directory, and what is set there."""

    directory: Path
    settings: dict[str, str]

    def run(
        self, *arguments: str, typed: str = "", columns: int = 120, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `payments` with these arguments."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        return subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            env={
                **clean,
                "PYTHONPATH": str(ROOT),
                "COLUMNS": str(columns),
                **self.settings,
                **settings,
            },
            cwd=self.directory,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def says(self, *arguments: str, **how: Any) -> str:
        """What a command prints that ends well."""
        ended = self.run(*arguments, **how)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def tells(self, *arguments: str, **how: Any) -> Any:
        """What a command prints for programs."""
        return json.loads(self.says(*arguments, "--json", **how))

    def refuses(self, *arguments: str, status: int = 2, **how: Any) -> str:
        """The one sentence a command says that could not do what it should."""
        ended = self.run(*arguments, **how)
        assert (ended.returncode, ended.stdout) == (status, "")
        assert ended.stderr.startswith("payments: ")
        assert ended.stderr.count("\n") == 1
        return ended.stderr.removeprefix("payments: ").strip()


@pytest.fixture
def empty(tmp_path: Path) -> Terminal:
    """A terminal where nothing has been done yet."""
    return Terminal(directory=tmp_path, settings={})


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal beside a ledger in which some payments have ended and some have not."""
    directory = tmp_path_factory.mktemp("used")
    clock = Clock(tick=timedelta(milliseconds=1))
    with hiring(Place.embedded(directory, clock=clock)) as hire:
        worker = hire()
        with Neighbour(worker.url) as neighbour:
            _let_things_happen(worker, neighbour)
        worker.vanish()
        yield Terminal(directory=directory, settings={"PAYMENTS_DATA_DIR": str(directory)})


def _let_things_happen(worker: Workshop, neighbour: Neighbour) -> None:
    neighbour.pay(1)
    neighbour.refund(1, "lost_answer")
    neighbour.pay(2, "tok_declined_insufficient_funds")
    neighbour.pay(3, "tok_lost_answer")
    neighbour.pay(4, amount={"minor": 5400, "currency": "JPY"})
    neighbour.pay(5, amount={"minor": "5", "currency": "EUR"})
    worker.until_quiet()
    neighbour.pay(6, "tok_requires_action")
    neighbour.pay(7, capture="manual")
    worker.until(
        lambda: (
            worker.rows("SELECT count(*) FROM outbox WHERE published_at IS NULL") == [(0,)]
            and worker.rows("SELECT count(*) FROM payments WHERE status = 'authorizing'") == [(0,)]
            and worker.rows("SELECT count(*) FROM payments") == [(6,)]
        ),
        what="the last two are announced",
    )


# --- help ---


def test_without_a_command_the_help_is_shown(empty: Terminal) -> None:
    ended = empty.run()

    assert ended.returncode == 2
    assert "Operate the payment service." in ended.stdout + ended.stderr


def test_the_help_names_every_command_with_a_whole_sentence(empty: Terminal) -> None:
    shown = empty.says("--help", columns=80)

    listed = re.findall(r"^  (\w+) +(.+)$", shown.split("Commands:")[1], re.MULTILINE)
    assert [name for name, _ in listed] == [*COMMANDS, *GROUPS]
    assert not [sentence for _, sentence in listed if "..." in sentence]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_speaks_to_programs(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout

    assert "--json" in shown
    assert "--no-" not in shown
    assert max(map(len, shown.splitlines())) <= 80


# --- migrate, topology, publish ---


def test_migrating_twice_applies_nothing_the_second_time(empty: Terminal) -> None:
    first = empty.says("migrate")
    second = empty.says("migrate")
    third = empty.tells("migrate")

    assert first.startswith("applied: ")
    assert second == "up to date already\n"
    assert third == {"applied": []}


def test_the_topology_is_declared_without_a_worker(empty: Terminal) -> None:
    told = empty.tells("topology")

    assert told == {"declared_at": f"embedded://{empty.directory}/.payments"}
    assert empty.says("topology") == f"declared at embedded://{empty.directory}/.payments\n"


def a_command(**fields: object) -> str:
    """A line of a file of commands."""
    return json.dumps({"id": "m_1", "type": "PaymentRequested", "data": payment_data(**fields)})


def test_commands_from_a_file_or_typed_in_are_on_the_queue_when_it_ends(empty: Terminal) -> None:
    (empty.directory / "orders.jsonl").write_text(a_command())

    from_file = empty.says("publish", "orders.jsonl")
    typed = empty.tells("publish", "-", typed=a_command())

    assert from_file == "published 1 commands; the broker has confirmed them\n"
    assert typed == {"published": 1}
    with opened(f"embedded://{empty.directory}/.payments", queues=[PAYMENT_COMMANDS]) as bus:
        assert [json.loads(each.body) for each in await_deliveries(bus, 2)] == [payment_data()] * 2


def test_nothing_is_sent_if_one_line_is_wrong_unless_unchecked(empty: Terminal) -> None:
    lines = f"{a_command()}\n{a_command(amount=None)}\n"

    said = empty.refuses("publish", "-", typed=lines)
    told = empty.tells("publish", "-", "--unchecked", typed=lines)

    assert said == "line 2: amount: Field required"
    assert told == {"published": 2}


def test_a_file_that_is_not_there_is_said_so(empty: Terminal) -> None:
    assert empty.refuses("publish", "nowhere.jsonl") == "nowhere.jsonl: No such file or directory"


# --- show ---


def test_a_payments_story_is_told_in_the_order_of_time(used: Terminal) -> None:
    shown = used.says("show", "pay_1")

    assert shown.startswith("pay_1  order order_1  19.99 EUR  sandbox  captured\n")
    story = [
        "/order-service: PaymentRequested",
        "gateway: Approved",
        "booked J10s",
        "announced PaymentSucceeded",
        "booked J30",
        "gateway: Unknown",
        "announced RefundPending",
        "booked J31",
        "announced RefundProcessed",
    ]
    assert [shown.index(moment) for moment in story] == sorted(shown.index(moment) for moment in story)
    assert "refunded 19.99 EUR" in shown
    assert "debit 1100 gateway receivable 19.99 EUR" in shown


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [("show", "pay_1"), ("show", "pay_6"), ("books",)])
def test_what_is_shown_fits_the_terminal(used: Terminal, columns: int, arguments: tuple[str, ...]) -> None:
    shown = used.says(*arguments, columns=columns)

    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown


def test_a_payments_story_for_programs_has_every_part_with_times_in_utc(used: Terminal) -> None:
    told = used.tells("show", "pay_1")

    parts = ["payment", "attempts", "captures", "refunds", "journals", "events"]
    assert list(told) == [*parts, "callbacks", "dead_letters", "audit", "moments"]
    assert told["payment"]["status"] == "captured"
    assert re.match(r"2026-11-22T12:00:\d\d\.\d{6}\+00:00$", told["payment"]["created_at"])
    assert [attempt["attempt_id"] for attempt in told["attempts"]] == ["pay_1.a1", "ref_1.r1"]
    assert [event["type"] for event in told["events"]] == [
        "PaymentSucceeded",
        "RefundPending",
        "RefundProcessed",
    ]


def test_a_payment_nobody_knows_is_not_found(used: Terminal) -> None:
    assert used.refuses("show", "pay_99", status=1) == (
        "no payment pay_99 here; `payments trace pay_99` looks for any other id"
    )


# --- events ---


def test_events_are_shown_in_the_order_they_were_confirmed(used: Terminal) -> None:
    shown = used.says("events", "--since", ALL_TIME, "--once")

    lines = shown.splitlines()
    times = [line.split()[0] for line in lines]
    assert len(lines) == 10
    assert times == sorted(times)
    assert [line for line in lines if re.match(r"\S+ PaymentSucceeded       pay_1 +19\.99 EUR$", line)]
    assert [line for line in lines if "CommandRejected" in line and "amount.minor" in line]


def test_events_of_one_payment_for_programs_are_one_json_object_a_line(used: Terminal) -> None:
    shown = used.says("events", "--since", ALL_TIME, "--once", "--payment", "pay_3", "--json")

    events = [json.loads(line) for line in shown.splitlines()]
    assert [event["type"] for event in events] == ["PaymentInDoubt", "PaymentSucceeded"]
    assert [event["id"] for event in events] == ["pay_3.e1", "pay_3.e2"]
    assert events[1]["data"]["amount"] == {"minor": 1999, "currency": "EUR"}


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(used: Terminal) -> None:
    payments = f"{sys.executable} -m ops.cli"
    program = f"{payments} events --since {ALL_TIME} --once | head -1; {payments} show pay_1 --json | true"
    ended = subprocess.run(
        ["sh", "-c", program],
        env={**os.environ, **used.settings, "PYTHONPATH": str(ROOT)},
        cwd=used.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ended.stdout.count("\n") == 1
    assert ended.stderr == ""


# --- books, verify ---


def test_the_trial_balance_balances_in_every_currency(used: Terminal) -> None:
    shown = used.says("books")
    told = used.tells("books")

    assert "debits equal credits in every currency" in shown
    assert re.search(r"1100 gateway receivable +sandbox +5400 JPY +0 JPY +5400 JPY", shown)
    assert {line["currency"] for line in told} == {"EUR", "JPY"}
    assert sum(line["debits"] - line["credits"] for line in told) == 0


def test_before_anything_is_booked_the_trial_balance_says_so(empty: Terminal) -> None:
    empty.says("migrate")

    assert "nothing is booked yet" in empty.says("books")
    assert empty.tells("books") == []


def test_clean_books_verify(used: Terminal) -> None:
    shown = used.says("verify")
    told = used.tells("verify")

    assert shown.startswith("clean: 6 payments, 0 captures, 1 refunds, ")
    assert told["problems"] == []
    assert told["checked"]["payments"] == 6


def test_what_waits_for_a_person_is_listed_and_makes_the_status_one(empty: Terminal) -> None:
    place = Place.embedded(empty.directory)
    terminal = Terminal(directory=empty.directory, settings={"PAYMENTS_DATA_DIR": str(empty.directory)})
    with hiring(place) as hire:
        worker = hire()
        with Neighbour(worker.url) as neighbour:
            neighbour.pay(1)
            neighbour.pay(2)
            worker.until_quiet()
        assert terminal.says("cases") == "nothing waits for a person\nno dead letters wait\n"
        worker.rows("UPDATE payments SET attention = 1 WHERE payment_id = 'pay_1'")

        listed = terminal.run("cases", "--json")

    assert listed.returncode == 1
    assert [one["case"] for one in json.loads(listed.stdout)["cases"]] == ["marked:pay_1"]


def test_books_that_were_tampered_with_do_not_verify(empty: Terminal) -> None:
    place = Place.embedded(empty.directory)
    with hiring(place) as hire:
        worker = hire()
        with Neighbour(worker.url) as neighbour:
            neighbour.pay(1)
            worker.until_quiet()
        worker.rows("UPDATE payments SET captured_gross = 1, refunded = 0 WHERE payment_id = 'pay_1'")
        terminal = Terminal(directory=empty.directory, settings={"PAYMENTS_DATA_DIR": str(empty.directory)})

        people = terminal.run("verify")
        programs = terminal.run("verify", "--json")
        worker.rows("UPDATE payments SET captured_gross = 1999 WHERE payment_id = 'pay_1'")

    assert people.returncode == programs.returncode == 1
    assert "pay_1" in people.stdout
    assert [problem for problem in json.loads(programs.stdout)["problems"] if "pay_1" in problem]


# --- what cannot be done ---


@pytest.mark.parametrize("arguments", [("show", "pay_1"), ("books",), ("verify",), ("events", "--once")])
def test_looking_at_books_that_are_not_there_says_what_to_do_and_makes_none(
    empty: Terminal, arguments: tuple[str, ...]
) -> None:
    said = empty.refuses(*arguments)

    assert "payments migrate" in said
    assert list(empty.directory.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PAYMENTS_FOO": "1"}, "PAYMENTS_FOO is no setting of this service; see docs/settings.md"),
        ({"PAYMENTS_DATABASE_URL": "geheim"}, "PAYMENTS_DATABASE_URL cannot be read as a database URL"),
        ({"PAYMENTS_DATABASE_URL": "mysql://u:geheim@h/d"}, "PAYMENTS_DATABASE_URL names mysql;"),
        ({"PAYMENTS_DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/d"}, "PostgreSQL: connection failed"),
    ],
)
def test_a_wrong_setting_or_a_database_away_is_one_sentence(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    sentence = Terminal(directory=tmp_path, settings=settings).refuses("books")

    assert sentence.startswith(said)
    assert "geheim" not in sentence


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://u:geheim@h/", "A broker URL must start with amqp://"),
        ("amqp://u:geheim@127.0.0.1:1/", "amqp://u:***@127.0.0.1:1//: ConnectionRefusedError"),
    ],
)
def test_a_broker_that_cannot_be_had_is_one_sentence(empty: Terminal, url: str, said: str) -> None:
    sentence = empty.refuses("topology", PAYMENTS_BROKER_URL=url)

    assert sentence.startswith(said)
    assert "geheim" not in sentence


def test_a_directory_that_cannot_be_made_is_one_sentence(empty: Terminal) -> None:
    (empty.directory / "file").write_text("")

    assert empty.refuses("migrate", PAYMENTS_DATA_DIR="file/inside") == "file/inside: Not a directory"


# --- secrets ---


@pytest.mark.parametrize(
    "arguments",
    [
        *(("show", f"pay_{number}", *form) for number in (1, 3, 6) for form in ((), ("--json",))),
        ("events", "--since", ALL_TIME, "--once"),
        ("events", "--since", ALL_TIME, "--once", "--json"),
    ],
)
def test_no_token_and_nothing_that_lets_one_act_as_the_customer_is_shown(
    used: Terminal, arguments: tuple[str, ...]
) -> None:
    shown = used.says(*arguments)

    assert "tok_" not in shown
    assert "https://" not in shown
