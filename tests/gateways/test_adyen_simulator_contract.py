"""The Adyen adapter keeps the contract over HTTP, against the Adyen simulator and through the real SDK.

What Adyen tells by webhook alone is read from its webhooks, as an ingestor would: signature first, then by
Adyen's id where it is known, else by ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateways.adyen import AdyenGateway
from gateways.adyen_webhooks import verify
from gateways.exponents import ADYEN_UNITS
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Declined,
    DeclineReason,
    Firmness,
    NotSent,
    Operation,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.ids import AttemptId, PaymentId
from messages.money import Money
from simulators.adyen.webhooks import DEFAULT_HMAC_KEY
from simulators.running import RunningAdyen, running_adyen
from tests.gateways.gateway_contract import (
    TEN_EUROS,
    Case,
    Effect,
    GatewayContract,
    Modification,
    Paid,
    Stage,
    asked,
    capture_of,
    pay,
    refund_of,
    void_of,
)

T = TypeVar("T")

SETTLE_AFTER_S = 60.0
DAY_S = 24 * 3600

CARDS: dict[Case, str] = {
    "approved": "sim_authorised",
    "insufficient_funds": "sim_refused_12",
    "stolen_card": "sim_stolen_card",
    "pending_then_approved": "sim_pending_then_authorised",
    "pending_then_declined": "sim_pending_then_refused",
    "requires_action": "sim_redirect",
}

FAULTS: dict[Case, str] = {
    "lost_answer": "drop_after_executing",
    "error": "error_500_before",
    "not_sent": "rate_limit_429",
}

OPERATIONS = {
    "sale": Operation.SALE,
    "authorise": Operation.AUTHORIZE,
    "capture": Operation.CAPTURE,
    "cancel": Operation.VOID,
    "refund": Operation.REFUND,
}

REFUSED = {  # what the webhook of a refused payment says, in the words of the answer it repeats
    "Not enough balance": (DeclineReason.INSUFFICIENT_FUNDS, Firmness.SOFT),
    "Blocked Card": (DeclineReason.LOST_OR_STOLEN, Firmness.HARD),
}

_again = count(1)


class AdyenStage:
    """The adapter in front of a simulator that is told how to behave."""

    def __init__(self, simulator: RunningAdyen) -> None:
        self._simulator = simulator
        self._control = simulator.control
        self._runner = asyncio.Runner()
        self.gateway = adyen_at(simulator)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def card(self, case: Case) -> str:
        if fault := FAULTS.get(case):
            self._control.arm(fault, match={"path": "/v72/payments"})
        return CARDS.get(case, CARDS["approved"])

    def refund_goes(self, case: Case) -> dict[str, str]:
        if case in FAULTS:
            self._control.arm(FAULTS[case], match={"path": "/v72/payments/*/refunds"})
        return {}

    def time_passes(self, payment_id: PaymentId) -> None:
        self._control.advance_clock(SETTLE_AFTER_S + 1)

    def customer_acts(self, request: AuthorizeRequest, waiting: ActionRequired, *, approve: bool) -> None:
        """The customer comes back to the shop, and the shop hands in what they came back with."""
        assert waiting.action.url is not None
        decision = "succeed" if approve else "fail"
        back = httpx.get(waiting.action.url, params={"decision": decision}, trust_env=False)
        [result] = parse_qs(urlsplit(back.headers["location"]).query)["redirectResult"]

        assert back.headers["location"].startswith(f"{request.return_url}?")
        httpx.post(
            f"{self._simulator.url}/v72/payments/details",
            json={"details": {"redirectResult": result}},
            headers={"x-api-key": self._simulator.api_key},
            trust_env=False,
        ).raise_for_status()

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        return [
            Effect(OPERATIONS[line["operation"]], ADYEN_UNITS.from_wire(line["amount"], line["currency"]))
            for line in self._control.record()
            if line["metadata"].get("payment_id") == payment_id and line["operation"] != "release"
        ]

    def told(self, attempt_id: AttemptId, reference: str | None) -> Approved | Declined | None:
        """What the webhooks say of an attempt, if they say anything yet."""
        for webhook in self._control.webhooks():
            [wrapped] = webhook["body"]["notificationItems"]
            item = wrapped["NotificationRequestItem"]
            assert verify(item, [DEFAULT_HMAC_KEY])
            if item["merchantReference"] == attempt_id or (reference and item["pspReference"] == reference):
                return _read(item, attempt_id, reference)
        return None

    def close(self) -> None:
        self.run(self.gateway.close())
        self._runner.close()


def _read(item: dict[str, Any], attempt_id: AttemptId, reference: str | None) -> Approved | Declined:
    """A webhook in the words of the protocol."""
    psp = item["pspReference"]
    if item["eventCode"] == "CAPTURE":  # refunds are asked of the payment
        psp = item["originalReference"]
    if item["eventCode"] == "TECHNICAL_CANCEL" and reference != psp:
        # It goes by the name of the payment: told of the payment, it says that the payment is no more.
        return _declined(DeclineReason.CANCELED_BY_CUSTOMER, Firmness.SOFT, "TECHNICAL_CANCEL", psp)
    if item["success"] == "true":
        amount = ADYEN_UNITS.from_wire(item["amount"]["value"], item["amount"]["currency"])
        return Approved(reference=psp, amount=amount)
    reason, firmness = REFUSED.get(item["reason"], (DeclineReason.OTHER, Firmness.HARD))
    if item["eventCode"] == "REFUND":
        reason = DeclineReason.NOT_REFUNDABLE
    return _declined(reason, firmness, item["eventCode"], psp)


def _declined(reason: DeclineReason, firmness: Firmness, code: str, reference: str) -> Declined:
    return Declined(reason=reason, firmness=firmness, code=code, reference=reference)


def adyen_at(simulator: RunningAdyen, *, api_key: str | None = None) -> AdyenGateway:
    """The adapter at a simulator."""
    return AdyenGateway(
        api_key=api_key or simulator.api_key,
        merchant_account=simulator.merchant_account,
        base_url=simulator.url,
        read_timeout_s=10,
    )


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningAdyen]:
    with running_adyen(settle_after_s=SETTLE_AFTER_S) as simulator:
        yield simulator


@pytest.fixture
def stage(simulator: RunningAdyen) -> Iterator[AdyenStage]:
    stage = AdyenStage(simulator)
    yield stage
    stage.close()
    simulator.control.clear_faults()


class TestAdyenKeepsTheContract(GatewayContract):
    """The Adyen adapter against the contract every adapter keeps; how things ended, its webhooks tell."""

    of_no_trace: ClassVar[type[Absent | Unknown]] = Unknown

    def carry_out(self, stage: Stage, request: Modification) -> Outcome:
        assert isinstance(stage, AdyenStage)
        said = super().carry_out(stage, request)
        if not isinstance(said, Pending):
            return said
        stage.time_passes(request.payment_id)
        told = stage.told(request.attempt_id, said.reference if isinstance(request, VoidRequest) else None)
        assert told is not None, "received, and never told how it ended"
        return told

    def find(self, stage: Stage, asked: Paid | Modification) -> Outcome | Absent:
        assert isinstance(stage, AdyenStage)
        said = super().find(stage, asked)
        assert isinstance(said, Unknown), "Adyen cannot be asked, so the adapter must not seem to know"
        if isinstance(asked, RefundRequest):
            stage.time_passes(asked.payment_id)
        attempt_id = asked.request.attempt_id if isinstance(asked, Paid) else asked.attempt_id
        told = stage.told(attempt_id, None)
        if told is None and isinstance(asked, Paid) and isinstance(asked.outcome, ActionRequired | Pending):
            return asked.outcome  # nothing was told since, so the answer still stands
        return told or said


def test_a_look_up_never_calls_and_never_knows(stage: AdyenStage, simulator: RunningAdyen) -> None:
    contract = TestAdyenKeepsTheContract()
    paid = pay(stage, asked("sim_authorised", capture=False))
    before = simulator.control.requests()["total"]

    for one in (paid, capture_of(paid), void_of(paid, paid.reference), refund_of(paid)):
        said = GatewayContract.find(contract, stage, one)
        assert isinstance(said, Unknown)
    assert simulator.control.requests()["total"] == before


@pytest.mark.parametrize("fault", ["html_502_after", "conflict_409", "drop_before", "error_500_before"])
def test_a_payment_in_doubt_is_charged_once_when_it_is_repeated(
    stage: AdyenStage, simulator: RunningAdyen, fault: str
) -> None:
    simulator.control.arm(fault, match={"path": "/v72/payments"})

    paid = pay(stage, asked("sim_authorised"))
    again = pay(stage, paid.request)

    assert isinstance(paid.outcome, Unknown)
    assert paid.outcome.reference == paid.request.attempt_id
    assert isinstance(again.outcome, Approved)
    assert len(stage.effects(paid.request.payment_id)) == 1


def test_a_kept_500_is_unknown_however_often_it_is_asked_for_and_the_webhook_knows(
    stage: AdyenStage, simulator: RunningAdyen
) -> None:
    simulator.control.arm("error_500_after", match={"path": "/v72/payments"})

    paid = pay(stage, asked("sim_authorised"))
    again = pay(stage, paid.request)

    assert isinstance(paid.outcome, Unknown)
    assert isinstance(again.outcome, Unknown)
    assert isinstance(stage.told(paid.request.attempt_id, None), Approved)
    assert len(stage.effects(paid.request.payment_id)) == 1


@pytest.mark.parametrize("capture", [False, True])
def test_a_payment_in_doubt_is_called_off_by_our_own_reference(
    stage: AdyenStage, simulator: RunningAdyen, capture: bool
) -> None:
    simulator.control.arm("drop_after_executing", match={"path": "/v72/payments"})
    lost = pay(stage, asked("sim_authorised", capture=capture))
    assert isinstance(lost.outcome, Unknown)
    assert lost.outcome.reference is not None

    voided = TestAdyenKeepsTheContract().carry_out(stage, void_of(lost, lost.outcome.reference))

    effects = [effect.operation for effect in stage.effects(lost.request.payment_id)]
    if capture:
        assert isinstance(voided, Declined)
        assert effects == [Operation.SALE]
    else:
        assert isinstance(voided, Approved)
        assert effects == [Operation.AUTHORIZE, Operation.VOID]


@pytest.mark.parametrize("path", ["captures", "cancels", "refunds"])
@pytest.mark.parametrize("fault", ["drop_after_executing", "html_502_after", "drop_before"])
def test_a_modification_in_doubt_is_made_once_when_it_is_repeated(
    stage: AdyenStage, simulator: RunningAdyen, path: str, fault: str
) -> None:
    paid = pay(stage, asked("sim_authorised", capture=path == "refunds"))
    requests: dict[str, Modification] = {
        "captures": capture_of(paid),
        "cancels": void_of(paid, paid.reference),
        "refunds": refund_of(paid),
    }
    simulator.control.arm(fault, match={"path": f"/v72/payments/*/{path}"})

    first = GatewayContract().carry_out(stage, requests[path])
    ended = TestAdyenKeepsTheContract().carry_out(stage, requests[path])

    assert isinstance(first, Unknown)
    assert isinstance(ended, Approved)
    assert len(stage.effects(paid.request.payment_id)) == 2


def test_a_hundred_payments_at_once_are_each_charged_once(stage: AdyenStage) -> None:
    requests = [asked("sim_authorised") for _ in range(100)]

    async def all_at_once() -> list[Outcome]:
        return list(await asyncio.gather(*(stage.gateway.authorize(request) for request in requests)))

    endings = stage.run(all_at_once())

    assert all(isinstance(ending, Approved) for ending in endings)
    assert len({ending.reference for ending in endings if isinstance(ending, Approved)}) == 100
    assert all(len(stage.effects(request.payment_id)) == 1 for request in requests)


def test_a_bank_that_wants_an_absent_customer_declines(stage: AdyenStage) -> None:
    paid = pay(stage, replace(asked("sim_redirect"), off_session=True, return_url=None))

    assert isinstance(paid.outcome, Declined)
    assert paid.outcome.reason is DeclineReason.AUTHENTICATION_REQUIRED
    assert paid.outcome.firmness is Firmness.NEEDS_AUTHENTICATION


def test_a_challenge_is_handed_to_the_browser(stage: AdyenStage) -> None:
    paid = pay(stage, asked("sim_challenge"))

    assert isinstance(paid.outcome, ActionRequired)
    assert paid.outcome.action.kind == "sdk"
    assert '"threeDS2"' in (paid.outcome.action.client_secret or "")
    assert "threeDS2" not in repr(paid.outcome)


def test_a_part_that_is_authorised_is_told_as_such(stage: AdyenStage) -> None:
    paid = pay(stage, asked("sim_partially_authorised"))

    assert isinstance(paid.outcome, Approved)
    assert paid.outcome.amount == Money(500, "EUR")


def test_a_token_that_is_not_there_is_declined_for_good(stage: AdyenStage) -> None:
    paid = pay(stage, asked("no_such_token"))

    assert isinstance(paid.outcome, Declined)
    assert (paid.outcome.reason, paid.outcome.firmness) == (DeclineReason.INVALID_CARD, Firmness.HARD)


def test_a_long_attempt_id_is_a_key_like_any_other(stage: AdyenStage, simulator: RunningAdyen) -> None:
    long = replace(asked("sim_authorised"), attempt_id=AttemptId(f"{'p' * 64}.a{next(_again)}"))

    paid = pay(stage, long)
    again = pay(stage, long)

    assert isinstance(paid.outcome, Approved)
    assert again.outcome == paid.outcome
    assert isinstance(stage.told(long.attempt_id, None), Approved)


def test_another_process_with_another_amount_hears_the_first_answer_and_doubts_it(
    stage: AdyenStage, simulator: RunningAdyen
) -> None:
    paid = pay(stage, asked("sim_authorised"))
    dearer = replace(paid.request, amount=Money(2000, "EUR"))

    async def elsewhere() -> Outcome:
        gateway = adyen_at(simulator)
        ending = await gateway.authorize(dearer)
        await gateway.close()
        return ending

    ending = stage.run(elsewhere())

    assert isinstance(ending, Approved)
    assert ending.amount == TEN_EUROS, "what moved, not what was asked: the service will see the difference"


@pytest.mark.parametrize("currency", sorted(ADYEN_UNITS.currencies))
def test_every_currency_goes_there_and_comes_back(stage: AdyenStage, currency: str) -> None:
    amount = Money(1900, currency)

    paid = pay(stage, asked("sim_authorised", amount=amount))

    assert isinstance(paid.outcome, Approved)
    assert paid.outcome.amount == amount
    assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, amount)]


def test_a_wrong_key_is_not_sent_until_a_person_mends_it(stage: AdyenStage, simulator: RunningAdyen) -> None:
    async def with_wrong_key() -> Outcome:
        gateway = adyen_at(simulator, api_key="AQE_wrong")
        ending = await gateway.authorize(asked("sim_authorised"))
        await gateway.close()
        return ending

    ending = stage.run(with_wrong_key())

    assert isinstance(ending, NotSent)
    assert ending.retryable
    assert "AQE_wrong" not in repr(ending)


def test_a_hold_that_expired_cannot_be_taken(stage: AdyenStage, simulator: RunningAdyen) -> None:
    held = pay(stage, asked("sim_authorised", capture=False))
    simulator.control.advance_clock(28 * DAY_S + 1)

    taken = TestAdyenKeepsTheContract().carry_out(stage, capture_of(held))

    assert isinstance(taken, Declined)
