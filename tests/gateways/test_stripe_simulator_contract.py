"""The Stripe adapter keeps the contract over HTTP, against the Stripe simulator and through the real SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import pytest

from gateways.exponents import STRIPE_UNITS
from gateways.protocol import (
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Declined,
    DeclineReason,
    Firmness,
    NotSent,
    Opened,
    Operation,
    Outcome,
    Unknown,
)
from gateways.stripe import StripeGateway
from messages.ids import PaymentId
from messages.money import Money
from simulators.running import RunningSimulator, running_stripe
from tests.gateways.gateway_contract import (
    TEN_EUROS,
    Case,
    Effect,
    GatewayContract,
    asked,
    capture_of,
    look,
    look_after,
    pay,
)

T = TypeVar("T")

SETTLE_AFTER_S = 60.0

CARDS: dict[Case, str] = {
    "approved": "pm_card_visa",
    "insufficient_funds": "pm_card_chargeDeclinedInsufficientFunds",
    "stolen_card": "pm_card_chargeDeclinedStolenCard",
    "pending_then_approved": "pm_simulated_processing_then_succeeds",
    "pending_then_declined": "pm_simulated_processing_then_fails",
    "requires_action": "pm_card_authenticationRequired",
}

FAULTS: dict[Case, str] = {
    "lost_answer": "drop_after_executing",
    "error": "error_500_kept",
    "not_sent": "rate_limit_429",
}

OPERATIONS = {
    "charge": Operation.SALE,
    "authorize": Operation.AUTHORIZE,
    "capture": Operation.CAPTURE,
    "release": Operation.VOID,
    "refund": Operation.REFUND,
}


class StripeStage:
    """The adapter in front of a simulator that is told how to behave."""

    def __init__(self, simulator: RunningSimulator) -> None:
        self._control = simulator.control
        self._runner = asyncio.Runner()
        self._approved = CARDS["approved"]
        self.gateway = StripeGateway(api_key=simulator.api_key, base_url=simulator.url, read_timeout_s=10)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def card(self, case: Case) -> str:
        if fault := FAULTS.get(case):
            self._control.arm(fault, match={"path": "/v1/payment_intents/*/confirm"})
        return self._approved if case == "approved" else CARDS.get(case, self._approved)

    def refund_goes(self, case: Case) -> dict[str, str]:
        if case == "pending_then_approved":
            self._approved = "pm_card_pendingRefund"  # at Stripe it is the card that decides
        else:
            self._control.arm(FAULTS[case], match={"path": "/v1/refunds", "method": "POST"})
        return {}

    def time_passes(self, payment_id: PaymentId) -> None:
        self._control.advance_clock(SETTLE_AFTER_S + 1)

    def customer_acts(self, request: AuthorizeRequest, waiting: ActionRequired, *, approve: bool) -> None:
        assert waiting.action.url is not None
        decision = "succeed" if approve else "fail"
        back = httpx.get(waiting.action.url, params={"decision": decision}, trust_env=False)

        assert back.headers["location"].startswith(f"{request.return_url}?")

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        return [
            Effect(OPERATIONS[line["operation"]], STRIPE_UNITS.from_wire(line["amount"], line["currency"]))
            for line in self._control.record()
            if line["metadata"].get("payment_id") == payment_id
        ]

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._control.now(), UTC)

    def close(self) -> None:
        self.run(self.gateway.close())
        self._runner.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_stripe(settle_after_s=SETTLE_AFTER_S) as simulator:
        yield simulator


@pytest.fixture
def stage(simulator: RunningSimulator) -> Iterator[StripeStage]:
    stage = StripeStage(simulator)
    yield stage
    stage.close()
    simulator.control.clear_faults()


class TestStripeKeepsTheContract(GatewayContract):
    """The Stripe adapter against the contract every adapter keeps."""


CONFIRM = {"path": "/v1/payment_intents/*/confirm"}


def test_opening_is_repeated_without_harm_when_its_answer_is_lost(
    stage: StripeStage, simulator: RunningSimulator
) -> None:
    simulator.control.arm("drop_after_executing", match={"path": "/v1/payment_intents"})
    request = asked("pm_card_visa")

    first, second = pay(stage, request), pay(stage, request)

    assert isinstance(first.outcome, NotSent)
    assert first.outcome.retryable
    assert isinstance(second.outcome, Approved)
    assert stage.effects(request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]


def test_a_saved_500_is_unknown_however_often_it_is_asked_for_and_the_look_up_knows(
    stage: StripeStage, simulator: RunningSimulator
) -> None:
    simulator.control.arm("error_500_after", match=CONFIRM)

    paid = pay(stage, asked("pm_card_visa"))
    again = pay(stage, paid.request)

    assert isinstance(paid.outcome, Unknown)
    assert isinstance(again.outcome, Unknown)
    assert isinstance(look(stage, paid), Approved)
    assert len(stage.effects(paid.request.payment_id)) == 1


@pytest.mark.parametrize("fault", ["html_502_after", "conflict_409", "drop_before"])
def test_a_confirmation_in_doubt_charges_once_when_it_is_repeated(
    stage: StripeStage, simulator: RunningSimulator, fault: str
) -> None:
    simulator.control.arm(fault, match=CONFIRM)

    paid = pay(stage, asked("pm_card_visa"))
    again = pay(stage, paid.request)

    assert isinstance(paid.outcome, Unknown)
    assert isinstance(again.outcome, Approved)
    assert len(stage.effects(paid.request.payment_id)) == 1


def test_a_hundred_payments_at_once_are_each_charged_once(stage: StripeStage) -> None:
    requests = [asked("pm_card_visa") for _ in range(100)]

    async def one(request: AuthorizeRequest) -> Outcome | Opened:
        opened = await stage.gateway.authorize(request)
        assert isinstance(opened, Opened)
        return await stage.gateway.authorize(replace(request, reference=opened.reference))

    async def all_at_once() -> list[Outcome | Opened]:
        return list(await asyncio.gather(*(one(request) for request in requests)))

    endings = stage.run(all_at_once())

    assert all(isinstance(ending, Approved) for ending in endings)
    assert all(len(stage.effects(request.payment_id)) == 1 for request in requests)


def test_a_bank_that_wants_an_absent_customer_declines(stage: StripeStage) -> None:
    paid = pay(stage, replace(asked("pm_card_authenticationRequired"), off_session=True))

    assert isinstance(paid.outcome, Declined)
    assert paid.outcome.reason is DeclineReason.AUTHENTICATION_REQUIRED
    assert paid.outcome.firmness is Firmness.NEEDS_AUTHENTICATION


def test_a_capture_whose_answer_is_lost_is_found(stage: StripeStage, simulator: RunningSimulator) -> None:
    held = pay(stage, asked("pm_card_visa", capture=False))
    simulator.control.arm("drop_after_executing", match={"path": "/v1/payment_intents/*/capture"})
    capture = capture_of(held, Money(400, "EUR"))

    taken = stage.run(stage.gateway.capture(capture))
    found = look_after(stage, capture, held.reference)

    assert isinstance(taken, Unknown)
    assert isinstance(found, Approved)
    assert found.amount == Money(400, "EUR")


def test_a_hold_ends_when_it_said_it_would(stage: StripeStage, simulator: RunningSimulator) -> None:
    held = pay(stage, asked("pm_card_visa", capture=False))
    assert isinstance(held.outcome, Approved)
    ends_at = held.outcome.capture_before
    assert ends_at is not None

    simulator.control.advance_clock(ends_at.timestamp() - simulator.control.now() + 1)
    taken = stage.run(stage.gateway.capture(capture_of(held)))

    for ending in (taken, look(stage, held)):
        assert isinstance(ending, Declined)
        assert ending.reason is DeclineReason.EXPIRED


def test_a_wrong_key_is_not_sent_until_a_person_mends_it(
    stage: StripeStage, simulator: RunningSimulator
) -> None:
    async def with_wrong_key() -> Outcome | Opened:
        gateway = StripeGateway(api_key="sk_test_wrong", base_url=simulator.url)
        ending = await gateway.authorize(asked("pm_card_visa"))
        await gateway.close()
        return ending

    ending = stage.run(with_wrong_key())

    assert isinstance(ending, NotSent)
    assert ending.retryable
    assert "sk_test_wrong" not in repr(ending)
