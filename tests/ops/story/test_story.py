"""One real payment, its callbacks, a refund that died and was mended: told as text, as JSON, as a page, as a tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ledger.finding import find
from tests import keys
from tests.dead_letters.letters import Message, cloud_headers, lying, publish
from tests.street.street import CARDS, street
from tests.workers import ROOT, eventually

PAYMENT = "pay_told"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An operator's terminal where all of it happened."""

    settings: dict[str, str]
    directory: Path

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `payments`."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            env={**clean, **self.settings, "COLUMNS": "200"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    @property
    def ledger_url(self) -> str:
        """Where the books are."""
        return f"sqlite:///{self.directory / 'ledger.db'}"

    def tells(self, *arguments: str) -> Any:
        """Run it for programs."""
        return json.loads(self.run(*arguments, "--json").stdout)


def a_refund_whose_sender_forgot_who_he_is() -> Message:
    data = {"refund_id": "ref_told", "payment_id": PAYMENT, "amount": {"minor": 2_000, "currency": "EUR"}}
    headers = cloud_headers("cmd-refund", "RefundRequested")
    del headers["cloudEvents_source"]
    return Message(
        routing_key="refund.requested",
        body=json.dumps(data).encode(),
        message_id="cmd-refund",
        type="RefundRequested",
        headers=headers,
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    directory = tmp_path_factory.mktemp("story")
    with street(directory) as place:
        operator = {"PAYMENTS_KEYS_DIR": str(keys.DIRECTORY), "PAYMENTS_OPERATORS__ACTOR": "ada"}
        desk = Desk(settings={**place.settings, **operator}, directory=directory)
        place.pay("stripe", PAYMENT, capture="manual")
        place.await_event(PAYMENT, "PaymentAuthorized")
        place.capture("cap_told", PAYMENT, 6_000)
        place.await_event("cap_told", "PaymentSucceeded")
        publish(place.broker_url, [a_refund_whose_sender_forgot_who_he_is()])
        eventually(lambda: sum(lying(place.broker_url).values()), within_s=30, what="the refund is dead")
        desk.run("dead-letters", "drain")
        desk.run(
            "dead-letters", "edit", "--type", "RefundRequested", "--header", "cloudEvents_source=/shop",
            "--reason", "the shop <forgot> its name", "--requeue", "--yes",
        )  # fmt: skip
        place.await_event("ref_told", "RefundProcessed")
        eventually(lambda: len(place.callbacks(PAYMENT)) >= 4, within_s=30, what="its callbacks")
    return desk


@pytest.fixture(scope="module")
def told(desk: Desk) -> Any:
    return desk.tells("show", PAYMENT)


@pytest.fixture(scope="module")
def page(desk: Desk) -> str:
    file = desk.directory / "story.html"
    assert desk.run("show", PAYMENT, "--html", str(file)).stdout == f"{file}: open it in a browser\n"
    return file.read_text(encoding="utf-8")


WHAT = (
    "/shop: PaymentRequested",
    "gateway: Approved",
    "booked J01",
    "announced PaymentAuthorized",
    "/shop: CaptureRequested",
    "booked J10",
    "announced PaymentSucceeded",
    "dead: RefundRequested",
    "ada: DeadLetterEdited",
    "ada: DeadLetterRequeued",
    "/shop: RefundRequested",
    "settled after all",
    "booked J31",
    "announced RefundProcessed",
)


def test_every_kind_of_moment_is_told_in_the_order_of_time(told: Any) -> None:
    moments = told["moments"]

    assert {moment["lane"] for moment in moments} == {
        "asked", "gateway", "callback", "books", "event", "dead letter", "person",
    }  # fmt: skip
    assert [moment["at"] for moment in moments] == sorted(moment["at"] for moment in moments)
    names = [moment["what"] for moment in moments]
    places = [names.index(what) for what in WHAT]
    assert places == sorted(places)
    assert all(moment["id"] and moment["cause"] for moment in moments)


def test_what_each_part_is_about_is_there_for_programs(told: Any) -> None:
    assert {callback["gateway"] for callback in told["callbacks"]} == {"stripe"}
    letters = {letter["state"]: letter for letter in told["dead_letters"]}
    assert letters.keys() == {"edited", "resolved"}
    assert letters["edited"]["replaced_by"] == letters["resolved"]["letter_id"]
    assert letters["edited"]["message_id"] == "cmd-refund"


def test_nothing_that_is_told_opens_anything(desk: Desk, told: Any, page: str) -> None:
    tree = desk.run("trace", PAYMENT).stdout
    for text in (json.dumps(told), page, desk.run("show", PAYMENT).stdout, tree):
        assert CARDS["stripe"] not in text, "the token"
        assert desk.settings["PAYMENTS_STRIPE__API_KEY"] not in text
        assert '"request"' not in text


def test_the_tree_says_what_brought_what_about(desk: Desk) -> None:
    [tree] = desk.tells("trace", PAYMENT)["traces"]
    by_number = {moment["number"]: moment for moment in tree["moments"]}

    def why(what: str) -> list[str]:
        moment = next(moment for moment in tree["moments"] if moment["what"] == what)
        above = []
        while moment["caused_by"]:
            moment = by_number[moment["caused_by"]]
            above.append(moment["what"])
        return above

    assert why("announced RefundProcessed") == [
        "gateway: Approved",
        "/shop: RefundRequested",
        "ada: DeadLetterRequeued",
        "ada: DeadLetterEdited",
        "dead: RefundRequested",
    ]
    assert why("booked J10") == ["gateway: Approved", "/shop: CaptureRequested"]
    assert why("dead: RefundRequested") == []
    assert all(
        moment["caused_by"] is None or moment["caused_by"] < moment["number"] for moment in tree["moments"]
    )


def test_any_id_leads_to_the_payment(desk: Desk, told: Any) -> None:
    some = {
        "payment": PAYMENT,
        "order": told["payment"]["order_id"],
        "command": told["payment"]["command_id"],
        "capture": "cap_told",
        "refund": "ref_told",
        "attempt, and idempotency key": "cap_told.c1",
        "gateway's id": told["attempts"][0]["reference"],
        "callback": told["callbacks"][0]["notice_id"],
        "event": told["events"][-1]["id"],
        "journal": told["journals"][0]["journal_id"],
        "dead letter": told["dead_letters"][0]["letter_id"][:9],
        "message that died": "cmd-refund",
    }
    for what, name in some.items():
        assert (what, PAYMENT) in {(each.what, each.payment_id) for each in find(desk.ledger_url, name)}, name
    found = desk.tells("trace", "cmd-refund")
    assert [tree["payment_id"] for tree in found["traces"]] == [PAYMENT]


def test_an_id_nobody_knows_is_said_to_be_none(desk: Desk) -> None:
    assert "nothing here is called nobody: " in desk.run("trace", "nobody", status=1).stderr
    assert "`payments trace cap_told` looks for any other id" in desk.run("show", "cap_told", status=1).stderr


class Reader(HTMLParser):
    """What a page has in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_every_moment_and_every_id(page: str, told: Any) -> None:
    read = Reader(page)

    times = [attributes["datetime"] for tag, attributes in read.tags if tag == "time"]
    assert times == [moment["at"] for moment in told["moments"]]
    for moment in told["moments"]:
        assert moment["id"] in read.text
        assert moment["cause"] in read.text
    for attempt in told["attempts"]:
        assert attempt["attempt_id"] in read.text
    assert "the shop <forgot> its name" in read.text
    assert "<forgot>" not in page, "escaped"


def test_the_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    read = Reader(page)
    ids = {attributes.get("id") for _, attributes in read.tags}

    for tag, attributes in read.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "form", "base")
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src") is None
        if (target := attributes.get("href")) is not None:
            assert target[0] == "#"
            assert target[1:] in ids
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page


@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine: the page was not opened in a browser"
)
def test_a_real_browser_draws_it_without_a_complaint(desk: Desk, page: str) -> None:
    file = desk.directory / "story.html"
    picture = desk.directory / "story.png"
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={desk.directory / 'browser'}", "--window-size=1180,1130", f"--screenshot={picture}",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, "the page broke a rule of its own"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size > 30_000, "something is drawn"
