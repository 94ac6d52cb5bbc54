"""What an operator types, on the embedded default: nothing is lost by looking, and nobody overruns anybody."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.topology import PAYMENT_COMMANDS
from ledger.letters import LETTER_HEADER, as_json, from_json
from ledger.reading import reading, rows
from ledger.verify import verify
from ops.cli import app
from ops.logs import configure_logs
from ops.settings import LogSettings
from tests import keys
from tests.dead_letters.letters import (
    EVIL,
    Message,
    broken_callback,
    given_up,
    hostile,
    lying,
    nonsense,
    payment,
    publish,
    without_id,
)
from tests.workers import QUICK, eventually, workers

NOTHING: Mapping[str, str] = {}


class Terminal:
    """Somebody at a terminal, with everything embedded in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = {
            "PAYMENTS_DATA_DIR": str(directory),
            "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
            "COLUMNS": "160",
        }
        self.broker_url = f"embedded://{directory}"
        self.ledger_url = f"sqlite:///{directory / 'ledger.db'}"
        self._run("migrate")
        self._run("topology")

    def types(
        self, *arguments: str, status: int = 0, actor: str = "ada", under: Mapping[str, str] = NOTHING
    ) -> Any:
        """What `payments dead-letters …` prints for programs."""
        printed = self.says(*arguments, "--json", status=status, actor=actor, under=under)
        return json.loads(printed)

    def says(
        self,
        *arguments: str,
        status: int = 0,
        actor: str = "ada",
        typed: str | None = None,
        under: Mapping[str, str] = NOTHING,
    ) -> str:
        """What it prints, under other settings."""
        more = {"PAYMENTS_OPERATORS__ACTOR": actor, **under}
        return self._run("dead-letters", *arguments, status=status, typed=typed, settings=more)

    def _run(
        self,
        *arguments: str,
        status: int = 0,
        typed: str | None = None,
        settings: Mapping[str, str] = NOTHING,
    ) -> str:
        ended = CliRunner().invoke(app, arguments, env={**self.settings, **settings}, input=typed)
        assert ended.exit_code == status, ended.output
        return ended.stdout + (ended.stderr if status else "")

    def has(self, *messages: Message) -> None:
        """Messages lie in the dead-letter queues, and are drained."""
        publish(self.broker_url, messages)
        self.types("drain")

    def ids(self, *filters: str) -> list[str]:
        """The letters that are listed."""
        return [row["letter"] for row in self.types("list", *filters)]

    def audit(self) -> list[tuple[str, str, str]]:
        """Actor, action and result of every line about letters."""
        asked = "SELECT actor, action, result FROM audit WHERE action LIKE 'DeadLetter%' ORDER BY happened_at"
        with reading(self.ledger_url) as books:
            return [tuple(row) for row in rows(books, asked)]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """One with empty queues."""
    return Terminal(tmp_path)


def dead(message: Message, queue: str = "payments.payment-commands") -> Message:
    """The same, as it lies among the dead without a word why."""
    return Message(
        exchange="payments.dead-letters",
        routing_key=f"{queue}.dead",
        body=message.body,
        message_id=message.message_id,
        type=message.type,
        headers=message.headers,
    )


def test_what_is_drained_is_listed_by_cause_and_the_queue_is_empty(terminal: Terminal) -> None:
    publish(terminal.broker_url, [*map(given_up, range(3)), dead(nonsense(1))])

    assert terminal.types("drain") == {"new": 4, "dead_again": 0, "here_already": 0}

    assert lying(terminal.broker_url) == {}
    groups = [(group["count"], group["reason"], group["type"]) for group in terminal.types("groups")]
    assert groups == [(3, "handler_failed", "PaymentRequested"), (1, "unknown", "Nonsense")]
    assert "ZeroDivisionError" in terminal.says("groups")


def test_a_drain_that_died_before_its_ack_doubles_nothing(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    publish(terminal.broker_url, [given_up(1)])  # as the broker would deliver it again: the very same death

    assert terminal.types("drain") == {"new": 0, "dead_again": 0, "here_already": 1}
    assert len(terminal.ids()) == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--type", "PaymentRequested"], 2),
        (["--why", "unknown"], 1),
        (["--payment", "pay-1"], 1),
        (["--order", "order-2"], 1),
        (["--where", "body.amount.minor=1001"], 1),
        (["--where", "headers.cloudEvents_source=/shop"], 2),
        (["--where", "body.amount.currency=EUR", "--where", "body.payment_id=pay-2"], 1),
        (["--older-than", "1m"], 2),
        (["--newer-than", "1m"], 1),
        (["--queue", "payments.refund-commands"], 0),
        (["--group", "b0b0"], 2),
        (["--state", "discarded"], 0),
    ],
)
def test_letters_are_found_by_anything_they_carry(
    terminal: Terminal, filters: list[str], expected: int
) -> None:
    terminal.has(given_up(1), given_up(2), dead(nonsense(1)))

    assert len(terminal.ids(*filters)) == expected


def test_a_filter_that_cannot_be_read_is_explained(terminal: Terminal) -> None:
    assert "write 90s, 10m, 2h or 3d" in terminal.says("list", "--older-than", "long", status=2)
    assert "write body.amount.currency=EUR" in terminal.says("list", "--where", "amount", status=2)


def test_looking_changes_nothing_and_hides_what_is_secret(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    [name] = terminal.ids()
    before = terminal.audit()

    shown = terminal.types("show", name[:6])

    assert shown["body"]["payment_method"] == {"gateway": "sandbox", "token": "(hidden)"}
    assert "tok_approved" not in terminal.says("show", name)
    assert "tok_approved" not in (terminal.directory / "ledger.db").read_bytes().decode("latin1")
    assert terminal.audit() == before


def test_a_letter_is_compared_with_the_schema_of_its_type(terminal: Terminal) -> None:
    wrong = json.dumps(payment(1) | {"amount": {"minor": "ten", "currency": "EUR"}, "tip": 1}).encode()
    terminal.has(dead(Message(body=wrong, message_id="m", type="PaymentRequested")))

    found = terminal.types("diff", *terminal.ids(), status=1)

    assert {row["at"] for row in found} == {"amount.minor", "tip"}


def test_what_is_sent_back_goes_to_the_queue_it_died_in_as_it_was(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    [name] = terminal.ids()

    with workers(QUICK | terminal.settings, terminal.directory, count=1):
        sent = terminal.types("requeue", name, "--yes", "--reason", "mended", "--wait", "30")

    assert sent["resolved"] == [name]
    [row] = terminal.types("list", "--state", "resolved")
    assert row["outcome"] == "authorizing"
    with reading(terminal.ledger_url) as books:
        [taken] = rows(books, "SELECT message_id, source FROM inbox")
        [paid] = rows(books, "SELECT status FROM payments")
    assert tuple(taken) == ("given-up-1", "/shop")
    assert paid.status in ("authorizing", "captured")
    assert verify(terminal.ledger_url).problems == []
    assert ("operator:ada", "DeadLetterRequeued", "requeued") in terminal.audit()


def test_a_canary_that_dies_again_keeps_the_rest_back(terminal: Terminal) -> None:
    terminal.has(*(dead(without_id(number)) for number in range(3)))

    with workers(QUICK | terminal.settings, terminal.directory, count=1):
        sent = terminal.types("requeue", "--all", "--canary", "--yes", "--wait", "30", status=1)

    assert len(sent["sent_back"]) == len(sent["failed"]) == 1
    assert len(sent["held_back"]) == 2
    again = next(row for row in terminal.types("list") if row["letter"] in sent["failed"])
    assert (again["state"], again["deaths"], again["reason"]) == ("new", 2, "missing_field")


def test_a_dry_run_sends_nothing(terminal: Terminal) -> None:
    terminal.has(given_up(1))

    assert len(terminal.types("requeue", "--all", "--dry-run")) == 1
    assert terminal.types("list")[0]["state"] == "new"


def test_nothing_destructive_happens_unasked_or_without_a_filter(terminal: Terminal) -> None:
    terminal.has(given_up(1))

    terminal.says("discard", "--group", "b0", "--reason", "old", status=1, typed="n\n")
    assert "or --all" in terminal.says("requeue", "--yes", status=2)
    assert terminal.types("list")[0]["state"] == "new"


def test_what_is_discarded_can_be_restored_and_both_say_why(terminal: Terminal) -> None:
    terminal.has(given_up(1))

    terminal.types("discard", "--group", "b0", "--reason", "a test order", "--yes")
    assert terminal.ids() == []
    terminal.types("restore", "--state", "discarded", "--group", "b0", "--reason", "it was not", "--yes")

    assert len(terminal.ids()) == 1
    assert terminal.audit()[1:] == [
        ("operator:ada", "DeadLetterDiscarded", "discarded"),
        ("operator:ada", "DeadLetterRestored", "new"),
    ]


def test_what_is_snoozed_is_out_of_sight_until_its_time(terminal: Terminal) -> None:
    terminal.has(given_up(1))

    terminal.types("snooze", "--group", "b0", "--for", "1h", "--note", "the bank is closed", "--yes")

    assert terminal.ids() == []
    assert len(terminal.ids("--state", "parked")) == 1


def test_the_second_of_two_operators_is_told_who_was_first(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    [name] = terminal.ids()
    terminal.types("requeue", name, "--yes", actor="ada")

    told = terminal.types(
        "discard", name, "--state", "any", "--reason", "old", "--yes", status=1, actor="bob"
    )

    assert "requeued since" in told["refused"][name]
    assert "by ada" in told["refused"][name]


def test_an_edit_has_a_new_id_that_names_its_cause(terminal: Terminal) -> None:
    terminal.has(dead(without_id(1)))
    [name] = terminal.ids()

    told = terminal.types("edit", name, "--set", "order_id=order-new", "--yes", "--reason", "order was wrong")

    [edited] = told["edited"]
    assert any('"order-new"' in line for line in told["diff"])
    new = terminal.types("show", edited["letter"])
    assert new["headers"]["cloudEvents_causationid"] == "no-id-1"
    assert new["headers"]["cloudEvents_id"] == edited["message_id"] != "no-id-1"
    old = terminal.types("show", name)
    assert (old["state"], old["replaced_by"]) == ("edited", edited["letter"])


def test_an_edit_that_the_service_would_refuse_is_refused_here(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    [name] = terminal.ids()

    assert "amount.minor" in terminal.says("edit", name, "--set", "amount.minor=-5", "--yes", status=1)
    told = terminal.says("edit", name, "--set", "description=4111111111111111", "--yes", status=1)
    assert "tokens only" in told
    assert "4111111111111111" not in told
    assert terminal.types("list")[0]["state"] == "new"


def test_another_amount_for_a_payment_that_is_recorded_needs_another_name(terminal: Terminal) -> None:
    with workers(QUICK | terminal.settings, terminal.directory, count=1):
        terminal.has(given_up(1))
        terminal.types("requeue", "--all", "--yes", "--wait", "30")
        terminal.has(given_up(61))
    same = json.dumps(payment(1)).encode()
    terminal.has(
        dead(Message(body=same, message_id="m", type="PaymentRequested", headers=given_up(1).headers))
    )
    [name] = terminal.ids("--payment", "pay-1")

    told = terminal.says("edit", name, "--set", "amount.minor=5", "--yes", status=1)
    assert "give it a new payment_id as well" in told
    terminal.types(
        "edit",
        name,
        "--set",
        "amount.minor=5",
        "--set",
        "payment_id=pay-1b",
        "--set",
        "order_id=o1b",
        "--yes",
    )


def test_too_much_money_needs_a_second_person(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    [name] = terminal.ids()
    limit = {"PAYMENTS_OPERATORS__SECOND_PERSON_ABOVE": "500"}

    asked = terminal.types("requeue", name, "--yes", actor="ada", under=limit)
    alone = terminal.types("approve", name, "--yes", actor="ada", status=1, under=limit)
    together = terminal.types("approve", name, "--yes", actor="bob", under=limit)

    assert asked["proposed"] == [name]
    assert asked["sent_back"] == []
    assert "another person" in alone["refused"][name]
    assert together["changed"] == [name]
    assert [line[:2] for line in terminal.audit()[1:]] == [
        ("operator:ada", "DeadLetterProposed"),
        ("operator:bob", "DeadLetterApproved"),
    ]


def test_four_eyes_are_not_talked_out_of_it(terminal: Terminal, tmp_path: Path) -> None:
    limit = {"PAYMENTS_OPERATORS__SECOND_PERSON_ABOVE": "500"}
    disguised = replace(given_up(2), type="VoidRequested")
    publish(terminal.broker_url, [given_up(1), disguised])

    direct = terminal.types("requeue", "--all", "--direct", "--yes", under=limit)
    terminal.types("drain")
    proposed = terminal.types("requeue", "--all", "--yes", actor="ada", under=limit)["proposed"]
    respelled = terminal.types("approve", *proposed, "--yes", actor=" Ada.", status=1, under=limit)
    file = tmp_path / "letters.jsonl"
    terminal.says("export", "--state", "any", "--file", str(file))
    forged = [json.loads(line) for line in file.read_text().splitlines()]
    for number, letter in enumerate(forged):
        letter |= {
            "letter_id": f"dl_f{number}",
            "proposal": json.dumps({"by": "bob", "reason": "", "to": ""}),
        }
    file.write_text("".join(f"{json.dumps(letter)}\n" for letter in forged))
    terminal.types("import", str(file), "--reason", "from elsewhere")
    imported = terminal.types("approve", "dl_f0", "dl_f1", "--yes", actor="ada", status=1, under=limit)

    assert direct["sent_back"] == 0
    assert len(proposed) == 2, "whatever type it says beside the one the worker goes by"
    assert respelled["changed"] == []
    assert imported["changed"] == []


def test_an_export_comes_back_byte_for_byte(terminal: Terminal, tmp_path: Path) -> None:
    odd = Message(body=b"\xff\x00 not text", message_id="odd", type="Odd", headers={"raw": b"\x01", "n": 1})
    terminal.has(dead(odd), given_up(1))
    file, again = tmp_path / "letters.jsonl", tmp_path / "again.jsonl"
    terminal.says("export", "--file", str(file))
    other = Terminal(tmp_path / "other")

    assert other.types("import", str(file)) == {"imported": 2, "here_already": 0}
    assert other.types("import", str(file)) == {"imported": 0, "here_already": 2}
    other.says("export", "--file", str(again))

    assert again.read_bytes() == file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "line 1 is no letter" in other.says("import", str(broken(tmp_path)), status=2)


def broken(directory: Path) -> Path:
    """A file that is no export."""
    file = directory / "broken.jsonl"
    file.write_text('{"letter": 1}\n')
    return file


@pytest.mark.parametrize("value", [{"a": [1, b"\x00", None, {"b": "c"}]}, {"$bytes": "x", "and": 1}])
def test_headers_are_kept_without_loss(value: Any) -> None:
    assert from_json(as_json(value)) == value


def test_card_data_that_the_broker_itself_gave_up_is_blanked_out_and_cannot_go_back(
    terminal: Terminal,
) -> None:
    body = json.dumps(payment(1) | {"description": "4111 1111 1111 1111"}).encode()
    terminal.has(dead(Message(body=body, message_id="m", type="PaymentRequested")))
    [name] = terminal.ids()

    told = terminal.types("requeue", name, "--yes", status=1)

    assert "blanked out" in told["refused"][name]
    assert b"4111" not in (terminal.directory / "ledger.db").read_bytes()
    assert "4111" not in terminal.says("show", name)


def test_without_the_database_the_queues_themselves_are_looked_at_and_lose_nothing(
    terminal: Terminal,
) -> None:
    publish(terminal.broker_url, [given_up(1), given_up(2), broken_dead()])
    away = {
        "PAYMENTS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "PAYMENTS_BROKER_URL": terminal.broker_url,
    }

    for _ in range(3):
        assert len(terminal.types("list", "--direct", under=away)) == 3
    sent = terminal.types("requeue", "--payment", "pay-1", "--direct", "--yes", under=away)

    assert sent == {"sent_back": 1, "would_be": 1, "left": 2}
    assert sum(lying(terminal.broker_url).values()) == 2
    with workers(QUICK | terminal.settings, terminal.directory, count=1):
        eventually(lambda: paid(terminal) == ["pay-1"], within_s=30, what="it is taken")


def broken_dead() -> Message:
    """A callback among the dead."""
    return dead(broken_callback(1), "payments.gateway-callbacks")


def paid(terminal: Terminal) -> list[str]:
    """The payments in the books."""
    with reading(terminal.ledger_url) as books:
        return [row.payment_id for row in rows(books, "SELECT payment_id FROM payments")]


def test_a_forged_name_of_a_letter_resolves_nothing(terminal: Terminal) -> None:
    terminal.has(given_up(1))
    [name] = terminal.ids()
    terminal.types("requeue", name, "--yes")  # no worker is there to publish it
    forged = Message(
        body=json.dumps(payment(7)).encode(),
        message_id="another",
        type="PaymentRequested",
        headers={**given_up(7).headers, LETTER_HEADER: name, "cloudEvents_id": "another"},
    )
    slow = QUICK | {"PAYMENTS_WORKER__RELAY_GRACE_S": "60"}
    publish(terminal.broker_url, [forged])
    with workers(slow | terminal.settings, terminal.directory, count=1):
        eventually(lambda: "pay-7" in paid(terminal), within_s=30, what="the forged one is taken")

    assert terminal.types("show", name)["state"] == "requeued"


def test_every_command_explains_itself_within_80_columns() -> None:
    names = "drain list groups show diff stats requeue approve park snooze discard restore edit export import"
    for name in names.split():
        shown = CliRunner().invoke(app, ["dead-letters", name, "--help"], env={"COLUMNS": "80"}).stdout
        assert max(map(len, shown.splitlines())) <= 80
        assert shown.count("\n") > 5


@pytest.fixture(autouse=True)
def _no_settings_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PAYMENTS_")]:
        monkeypatch.delenv(name)
    configure_logs(LogSettings(level="warning"))  # as the program itself does


def test_a_hostile_letter_can_be_worked_on_and_does_nothing_to_the_terminal(terminal: Terminal) -> None:
    terminal.has(hostile(0), hostile(1), given_up(1))
    bad = [row["letter"] for row in terminal.types("list") if row["type"] != "PaymentRequested"]
    assert len(bad) == 2

    assert {row["queue"] for row in terminal.types("list")} == {PAYMENT_COMMANDS}, (
        "whatever their headers say"
    )
    shown = [terminal.says(word) for word in ("list", "groups")]
    shown.append(terminal.says("stats", status=1))
    shown += [terminal.says("show", letter) for letter in bad]
    shown += [terminal.says("diff", letter, status=1) for letter in bad]
    shown.append(terminal.says("discard", *bad, "--reason", EVIL, "--yes"))
    shown.append(terminal.says("list", "--state", "any"))

    for text in shown:
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert len(terminal.ids()) == 1
