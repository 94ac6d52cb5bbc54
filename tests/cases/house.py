"""Books in which things have gone wrong, by real handlers on a real ledger; and operators at their terminals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from typer.testing import CliRunner

from consumers.turn import Result, Told
from gateways.notice import Notice
from gateways.protocol import LookupRequest
from handlers.decision import Call, TimerDue
from ledger.reading import reading, rows
from ledger.states import Attempt
from messages.operation import Operation
from ops.cli import app
from tests import keys
from tests.builders import (
    PRICE,
    a_payment_requested,
    a_policy,
    a_refund_requested,
    answer_to,
    approved,
    asked,
    capabilities,
    declined,
    eur,
    pending,
    unknown,
)
from tests.consumers.test_turn import Desk
from tests.workers import ROOT

LONG_AGO = timedelta(days=3)


class House:
    """A worker that is told what happens, and operators who type `payments cases`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.desk = Desk(url)
        # Operators live by the clock on the wall: what waits for them is past.
        self.desk.now = datetime.now(UTC) - LONG_AGO
        self.desk.policy = a_policy(
            gateways={"stripe": capabilities(), "adyen": capabilities(can_be_asked=False)}, refund_resends=0
        )

    # --- what happens ---

    def pay(self, number: int, *, order: int | None = None, gateway: str = "stripe") -> Call:
        """A payment is asked for; the call it leads to."""
        command = a_payment_requested(
            payment_id=f"pay_{number}",
            order_id=f"order_{order or number}",
            payment_method={"token": "tok_1", "gateway": gateway},
        )
        return self.only_call(self.desk.turn(asked(command, message_id=f"msg_{number}")))

    def answer(self, call: Call, answer: Any) -> Result:
        """The gateway answers."""
        return self.desk.turn(answer_to(call, answer, is_lookup=isinstance(call.request, LookupRequest)))

    def captured(self, number: int, **fields: Any) -> None:
        """A payment goes through."""
        self.answer(self.pay(number, **fields), approved(reference=f"pi_{number}"))

    def refunded(self, number: int) -> None:
        """A captured payment is given back, all of it."""
        command = a_refund_requested(payment_id=f"pay_{number}", refund_id=f"ref_{number}", amount=PRICE)
        call = self.only_call(self.desk.turn(asked(command, message_id=f"msg_ref_{number}")))
        self.answer(call, approved(reference=f"re_{number}"))

    def attempt(self, attempt_id: str) -> Attempt:
        """An attempt as it stands."""
        payment_id = self.rows("SELECT payment_id FROM attempts WHERE attempt_id = :id", id=attempt_id)[0][0]
        told = self.desk.story(payment_id)
        return next(attempt for attempt in told.attempts if attempt.attempt_id == attempt_id)

    def fall_due(self, attempt_id: str) -> Result:
        """The timer of an attempt is due."""
        attempt = self.attempt(attempt_id)
        assert attempt.due_at is not None
        self.desk.now = max(self.desk.now, attempt.due_at)
        return self.desk.turn(TimerDue(payment_id=attempt.payment_id, attempt_id=attempt.attempt_id))

    def look_up(self, attempt_id: str, answer: Any) -> None:
        """It is asked about when it is due, and answered so."""
        self.answer(self.only_call(self.fall_due(attempt_id)), answer)

    def says_later(self, attempt_id: str, answer: Any) -> None:
        """A callback makes us doubt how an attempt ended; the gateway is asked, and answers so."""
        attempt = self.attempt(attempt_id)
        notice = Notice(
            gateway=attempt.gateway,
            notice_id=f"evt_{attempt_id}_{attempt.call_number}",
            event="something.happened",
            operation=attempt.operation,
            attempt_id=attempt.attempt_id,
        )
        self.answer(self.only_call(self.desk.turn(Told(notices=(notice,)))), answer)

    def callback(self, name: str, *, given_up: bool) -> None:
        """A callback comes that fits nothing; looked at again after a quarter of an hour, it is given up."""
        notice = Notice(
            gateway="stripe",
            notice_id=name,
            event="charge.succeeded",
            operation=Operation.SALE,
            reference="pi_nobodys",
            amount=PRICE,
        )
        since = self.desk.now
        self.desk.turn(Told(notices=(notice,)))
        if given_up:
            self.desk.now += timedelta(minutes=16)
            self.desk.turn(Told(notices=(notice,), since=since))

    @staticmethod
    def only_call(result: Result) -> Call:
        """The one call that a turn leads to."""
        (call,) = result.calls
        return call

    def catch_up(self) -> None:
        """From now on things happen after what the operators have done."""
        self.desk.now = datetime.now(UTC) + timedelta(seconds=1)

    # --- things that wait ---

    def mismatch(self, number: int, **fields: Any) -> str:
        """The gateway says another amount."""
        self.answer(self.pay(number, **fields), approved(eur(1)))
        return f"mismatch:pay_{number}.a1"

    def unknown(self, number: int) -> str:
        """The answer is lost, and every look-up of the schedule, too."""
        self.answer(self.pay(number), unknown())
        for _ in self.desk.policy.inquiry_delays:
            self.look_up(f"pay_{number}.a1", unknown())
        return f"unknown:pay_{number}.a1"

    def unheard(self, number: int) -> str:
        """A gateway that cannot be asked took it and never called back."""
        self.answer(self.pay(number, gateway="adyen"), pending())
        while not self.desk.story(f"pay_{number}").payment.attention:
            self.fall_due(f"pay_{number}.a1")
        return f"unheard:pay_{number}.a1"

    def late(self, number: int, **fields: Any) -> str:
        """What was declined turns out charged."""
        self.answer(self.pay(number, **fields), declined())
        self.says_later(f"pay_{number}.a1", approved(reference=f"pi_{number}"))
        return f"late:pay_{number}"

    def double(self, number: int) -> str:
        """An order is paid again after a decline, and then the decline turns out charged."""
        self.answer(self.pay(number), declined())
        self.captured(number + 100, order=number)
        self.says_later(f"pay_{number}.a1", approved(reference=f"pi_{number}"))
        return f"double:pay_{number}"

    def refund_back(self, number: int) -> str:
        """A refund comes back, and is not sent again."""
        self.captured(number)
        self.refunded(number)
        self.says_later(f"ref_{number}.r1", declined())
        return f"refund-back:ref_{number}"

    def too_much_back(self, number: int) -> str:
        """The bank takes back what had been refunded."""
        self.captured(number)
        self.refunded(number)
        self.says_later(f"pay_{number}.a1", declined())
        return f"too-much-back:pay_{number}"

    def everything(self) -> set[str]:
        """One of each kind."""
        self.callback("evt_nobodys", given_up=True)
        return {
            self.mismatch(1),
            self.unheard(2),
            self.late(3),
            self.double(4),
            self.refund_back(5),
            self.too_much_back(6),
            self.unknown(7),
            self.marked(8),
            "callback:stripe/evt_nobodys",
        }

    def marked(self, number: int) -> str:
        """Somebody has set the mark, and nothing tells why."""
        self.captured(number)
        self.desk.rows(f"UPDATE payments SET attention = true WHERE payment_id = 'pay_{number}'")
        return f"marked:pay_{number}"

    # --- what is known ---

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """What the tables say."""
        with reading(self.url) as books:
            return [tuple(row) for row in rows(books, sql, **parameters)]

    def is_marked(self, number: int) -> bool:
        """Whether a payment has the mark."""
        return self.desk.story(f"pay_{number}").payment.attention

    def audit(self) -> list[tuple[str, str, str, str]]:
        """Actor, action, subject and result of every line about cases."""
        return self.rows(
            "SELECT actor, action, subject, result FROM audit WHERE action LIKE 'Case%' ORDER BY happened_at"
        )

    # --- operators ---

    def says(
        self, *arguments: str, actor: str = "ada", status: int = 0, typed: str = "", limit: int | None = None
    ) -> str:
        """What `payments cases …` prints."""
        ended = CliRunner().invoke(app, ["cases", *arguments], env=self._settings(actor, limit), input=typed)
        assert ended.exit_code == status, ended.output
        return ended.stdout + (ended.stderr if status else "")

    def tells(self, *arguments: str, **how: Any) -> Any:
        """What it prints for programs."""
        return json.loads(self.says(*arguments, "--json", **how))

    def listed(self, *filters: str, status: int = 1) -> list[str]:
        """The cases that are listed."""
        return [case["case"] for case in self.tells("list", *filters, status=status)["cases"]]

    def at_once(self, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
        """Several operators type at the same moment, each in a process of their own: op-0, op-1, …"""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "ops.cli", "cases", *command],
                env={**clean, **self._settings(f"op-{number}", None)},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, command in enumerate(commands)
        ]
        told = [program.communicate(timeout=60) for program in started]
        return [
            subprocess.CompletedProcess(program.args, program.returncode, *texts)
            for program, texts in zip(started, told, strict=True)
        ]

    def _settings(self, actor: str, limit: int | None) -> dict[str, str]:
        return {
            "PAYMENTS_DATABASE_URL": self.url,
            "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
            "PAYMENTS_OPERATORS__ACTOR": actor,
            "COLUMNS": "160",
            **({"PAYMENTS_OPERATORS__SECOND_PERSON_ABOVE": str(limit)} if limit is not None else {}),
        }
