"""Books in which things have gone wrong, by real handlers on a real ledger; and operators at their terminals."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

from typer.testing import CliRunner

from consumers.turn import Result, Told
from gateways.notice import Notice
from gateways.protocol import LookupRequest
from handlers.decision import Call, TimerDue
from ledger.ledger import Ledger
from ledger.letters import Letter
from ledger.reading import reading, rows
from ledger.records import Wanted
from ledger.states import Attempt
from messages.money import Money
from messages.operation import Operation
from ops.cases.desk import Desk as CaseDesk
from ops.cases.desk import Done, Refused
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

LONG_AGO = timedelta(days=3)


class House:
    """A worker that is told what happens, and operators who type `payments cases`."""

    came_back = declined()
    """What a gateway says of money that was taken back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.desk = Desk(url)
        # Operators live by the clock on the wall: what waits for them is past.
        self.desk.now = datetime.now(UTC) - LONG_AGO
        self.desk.policy = a_policy(
            gateways={
                "stripe": capabilities(),
                "paypal": capabilities(),
                "adyen": capabilities(can_be_asked=False),
            },
            refund_resends=0,
        )

    # --- what happens ---

    def pay(self, number: int, *, order: int | None = None, gateway: str = "stripe", **fields: Any) -> Call:
        """A payment is asked for; the call it leads to."""
        command = a_payment_requested(
            payment_id=f"pay_{number}",
            order_id=f"order_{order or number}",
            payment_method={"token": "tok_1", "gateway": gateway},
            **fields,
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
        self.answer(self.only_call(self.desk.turn(self._doubt(self.attempt(attempt_id)))), answer)

    @staticmethod
    def _doubt(attempt: Attempt) -> Told:
        notice = Notice(
            gateway=attempt.gateway,
            notice_id=f"evt_{attempt.attempt_id}_{attempt.call_number}",
            event="something.happened",
            operation=attempt.operation,
            attempt_id=attempt.attempt_id,
        )
        return Told(notices=(notice,))

    def callback(self, name: str, *, given_up: bool, amount: Money | None = PRICE) -> None:
        """A callback comes that fits nothing; looked at again after a quarter of an hour, it is given up."""
        notice = Notice(
            gateway="stripe",
            notice_id=name,
            event="charge.succeeded",
            operation=Operation.SALE,
            reference="pi_nobodys",
            amount=amount,
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
        self.says_later(f"ref_{number}.r1", self.came_back)
        return f"refund-back:ref_{number}"

    def too_much_back(self, number: int) -> str:
        """The bank takes back what had been refunded."""
        self.captured(number)
        self.refunded(number)
        self.says_later(f"pay_{number}.a1", self.came_back)
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

    def says_again(self, number: int) -> None:
        """The gateway says another amount once more."""
        self.look_up(f"pay_{number}.a1", approved(eur(1)))

    def one_too_many(self, number: int) -> str:
        """A gateway's decline turns out charged while another is asked; it is given back, and the other declines."""
        other = self.only_call(
            self.answer(self.pay(number, alternatives=[{"token": "pp_1", "gateway": "paypal"}]), declined())
        )
        attempt = self.attempt(f"pay_{number}.a1")
        given_back = self.only_call(self.desk.turn(self._doubt(attempt)))
        given_back = self.only_call(self.answer(given_back, approved(reference=f"pi_{number}")))
        self.answer(given_back, approved(reference=f"re_{number}"))
        self.answer(other, declined())
        return f"late:pay_{number}"

    def has_a_dead_letter(self) -> None:
        """One waits in the database."""
        now = self.desk.now
        letter = Letter(
            letter_id="dl_1",
            queue="payments.payment-commands",
            exchange="payments.commands",
            routing_key="payment.requested",
            message_id="msg_1",
            type="PaymentRequested",
            source="/shop",
            payment_id=None,
            order_id=None,
            reason="handler_failed",
            detail="",
            field="",
            fingerprint="b0b0",
            properties={},
            headers={},
            body=b"{}",
            redacted=False,
            first_dead_at=now,
            dead_at=now,
            state_at=now,
        )
        with self.desk.ledger.turn() as turn:
            turn.load(Wanted())
            turn.letters.add([letter])

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

    def at_once(self, act: Callable[[CaseDesk], Done], *, operators: int) -> list[Done | Refused]:
        """Several operators do the same at the same moment, each by a connection of their own: op-0, op-1, …"""
        ready = Barrier(operators)

        def acts(number: int) -> Done | Refused:
            with closing(Ledger(self.url, keyring=keys.KEYRING)) as ledger:
                desk = CaseDesk(ledger, operator=f"op-{number}", clock=lambda: datetime.now(UTC))
                desk.open_letters()  # connected
                ready.wait(timeout=30)
                try:
                    return act(desk)
                except Refused as why:
                    return why

        with ThreadPoolExecutor(operators) as side_by_side:
            return list(side_by_side.map(acts, range(operators)))

    def _settings(self, actor: str, limit: int | None) -> dict[str, str]:
        return {
            "PAYMENTS_DATABASE_URL": self.url,
            "PAYMENTS_KEYS_DIR": str(keys.DIRECTORY),
            "PAYMENTS_OPERATORS__ACTOR": actor,
            "COLUMNS": "160",
            **({"PAYMENTS_OPERATORS__SECOND_PERSON_ABOVE": str(limit)} if limit is not None else {}),
        }
