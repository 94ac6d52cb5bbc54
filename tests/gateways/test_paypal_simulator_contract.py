"""The PayPal adapter keeps the contract over HTTP, against the PayPal simulator, and PayPal's own OpenAPI files."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import pytest

from gateways.exponents import PAYPAL_UNITS
from gateways.paypal import PaypalGateway
from gateways.protocol import (
    Absent,
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
from messages.ids import PaymentId, payment_attempt_id
from messages.money import Money
from simulators import faults as simulated
from simulators.running import RunningPaypal
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
    refund_of,
    void_of,
)
from tests.simulators.paypal.contract import SPEC, SPECS, CheckedApp, contract
from tests.simulators.paypal.stage import SETTLE_AFTER_S, checked_paypal

T = TypeVar("T")

CARDS: dict[Case, str] = {
    "approved": "card:sim-card",
    "insufficient_funds": "card:sim-card-5120",
    "stolen_card": "card:sim-card-9520",
    "pending_then_approved": "sim-wallet-pending",
    "pending_then_declined": "sim-wallet-pending-declined",
    "requires_action": "card:sim-card-3ds",
}

FAULTS: dict[Case, str] = {
    "lost_answer": "drop_after_executing",
    "error": "error_500_before",
    "not_sent": "rate_limit_429",
}

OPERATIONS = {
    "sale": Operation.SALE,
    "authorize": Operation.AUTHORIZE,
    "capture": Operation.CAPTURE,
    "release": Operation.VOID,
    "refund": Operation.REFUND,
}

PAY = {"path": "/v2/checkout/orders/*/capture"}
HOLD = {"path": "/v2/checkout/orders/*/authorize"}
CAPTURE = {"path": "/v2/payments/authorizations/*/capture"}
VOID = {"path": "/v2/payments/authorizations/*/void"}
REFUND = {"path": "/v2/payments/captures/*/refund"}


class PaypalStage:
    """The adapter in front of a simulator that is told how to behave."""

    def __init__(self, simulator: RunningPaypal) -> None:
        self.control = simulator.control
        self._runner = asyncio.Runner()
        self._approved = CARDS["approved"]
        self.gateway = PaypalGateway(
            client_id=simulator.client_id,
            client_secret=simulator.client_secret,
            base_url=simulator.url,
            read_timeout_s=10,
        )

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def card(self, case: Case) -> str:
        if fault := FAULTS.get(case):
            self.control.arm(fault, match=PAY)
        return self._approved if case == "approved" else CARDS.get(case, self._approved)

    def refund_goes(self, case: Case) -> dict[str, str]:
        if case == "pending_then_approved":
            self._approved = (
                "sim-wallet-refund-pending"  # in the simulator it is the saved method that decides
            )
        else:
            self.control.arm(FAULTS[case], match=REFUND)
        return {}

    def time_passes(self, payment_id: PaymentId) -> None:
        self.control.advance_clock(SETTLE_AFTER_S + 1)

    def customer_acts(self, request: AuthorizeRequest, waiting: ActionRequired, *, approve: bool) -> None:
        assert waiting.action.url is not None
        decision = "succeed" if approve else "fail"
        back = httpx.get(f"{waiting.action.url}&decision={decision}", trust_env=False)

        assert back.headers["location"].startswith(f"{request.return_url}?")

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        return [
            Effect(OPERATIONS[line["operation"]], PAYPAL_UNITS.from_decimal(line["amount"], line["currency"]))
            for line in self.control.record()
            if line["order_custom_id"].startswith(f"{payment_id}.")
        ]

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.control.now(), UTC)

    def close(self) -> None:
        self.run(self.gateway.close())
        self._runner.close()


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[RunningPaypal, CheckedApp]]:
    with checked_paypal() as running:
        yield running


@pytest.fixture
def simulator(running: tuple[RunningPaypal, CheckedApp]) -> Iterator[RunningPaypal]:
    simulator, checked = running
    yield simulator
    breaches, checked.breaches = checked.breaches, []
    assert breaches == []


@pytest.fixture
def stage(simulator: RunningPaypal) -> Iterator[PaypalStage]:
    stage = PaypalStage(simulator)
    yield stage
    stage.close()
    simulator.control.clear_faults()


class TestPaypalKeepsTheContract(GatewayContract):
    """The PayPal adapter against the contract every adapter keeps."""


def test_every_call_was_held_against_paypals_own_files(
    stage: PaypalStage, running: tuple[RunningPaypal, CheckedApp]
) -> None:
    if contract() is None:
        pytest.skip(f"no {SPEC} in {SPECS}: set PAYMENTS_SPECS_DIR; the calls were not checked by it")
    before = running[1].checked

    pay(stage, asked("card:sim-card"))

    assert running[1].checked >= before + 3


# --- opening -----------------------------------------------------------------------------------------


def test_opening_is_repeated_without_harm_when_its_answer_is_lost(stage: PaypalStage) -> None:
    stage.control.arm("drop_after_executing", match={"path": "/v2/checkout/orders"})
    request = asked("card:sim-card")

    first, second = pay(stage, request), pay(stage, request)

    assert isinstance(first.outcome, NotSent)
    assert first.outcome.retryable
    assert isinstance(second.outcome, Approved)
    assert stage.effects(request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]


# --- every fault, at every operation -----------------------------------------------------------------

# fault, how the call ends, whether it had executed
FAULT_TABLE: list[tuple[str, type[Outcome], bool]] = [
    ("drop_before", Unknown, False),
    ("drop_after_executing", Unknown, True),
    ("error_500_before", Unknown, False),
    ("error_500_after", Unknown, True),
    ("error_500_kept", Unknown, False),
    ("html_502", Unknown, False),
    ("html_502_after", Unknown, True),
    ("rate_limit_429", NotSent, False),
    ("conflict_409", Unknown, False),
]


def test_every_fault_is_tried_here() -> None:
    assert {fault for fault, _, _ in FAULT_TABLE} | {"slow", "slow_before"} == set(simulated.FAULTS)


@pytest.mark.parametrize(("fault", "ending", "executed"), FAULT_TABLE)
@pytest.mark.parametrize("capture", [True, False], ids=["sale", "hold"])
def test_a_fault_of_a_payment_is_told_looked_up_and_survived_by_a_repeat(
    stage: PaypalStage, fault: str, ending: type[Outcome], executed: bool, capture: bool
) -> None:
    stage.control.arm(fault, match=PAY if capture else HOLD)

    paid = pay(stage, asked("card:sim-card", capture=capture))
    found = look(stage, paid)
    again = pay(stage, paid.request)

    assert type(paid.outcome) is ending
    assert isinstance(found, Approved if executed else Absent)
    assert isinstance(again.outcome, Approved)
    assert len(stage.effects(paid.request.payment_id)) == 1


@pytest.mark.parametrize(("fault", "ending", "executed"), FAULT_TABLE)
def test_a_fault_of_a_capture_is_told_looked_up_and_survived_by_a_repeat(
    stage: PaypalStage, fault: str, ending: type[Outcome], executed: bool
) -> None:
    held = pay(stage, asked("card:sim-card", capture=False))
    capture = capture_of(held, Money(400, "EUR"))
    stage.control.arm(fault, match=CAPTURE)

    taken = stage.run(stage.gateway.capture(capture))
    found = look_after(stage, capture, held.reference)
    again = stage.run(stage.gateway.capture(capture))

    assert type(taken) is ending
    assert isinstance(found, Approved if executed else Absent)
    assert isinstance(again, Approved)
    captured = [e for e in stage.effects(held.request.payment_id) if e.operation is Operation.CAPTURE]
    assert captured == [Effect(Operation.CAPTURE, Money(400, "EUR"))]


@pytest.mark.parametrize(("fault", "ending", "executed"), FAULT_TABLE)
def test_a_fault_of_a_void_is_told_looked_up_and_survived_by_a_repeat(
    stage: PaypalStage, fault: str, ending: type[Outcome], executed: bool
) -> None:
    held = pay(stage, asked("card:sim-card", capture=False))
    void = void_of(held, held.reference)
    stage.control.arm(fault, match=VOID)

    voided = stage.run(stage.gateway.void(void))
    found = look_after(stage, void, held.reference)
    again = stage.run(stage.gateway.void(void))

    assert type(voided) is ending
    assert isinstance(found, Approved if executed else Absent)
    assert isinstance(again, Approved)


@pytest.mark.parametrize(("fault", "ending", "executed"), FAULT_TABLE)
def test_a_fault_of_a_refund_is_told_looked_up_and_survived_by_a_repeat(
    stage: PaypalStage, fault: str, ending: type[Outcome], executed: bool
) -> None:
    paid = pay(stage, asked("card:sim-card"))
    refund = refund_of(paid, Money(400, "EUR"))
    stage.control.arm(fault, match=REFUND)

    given = stage.run(stage.gateway.refund(refund))
    found = look_after(stage, refund, paid.reference)
    again = stage.run(stage.gateway.refund(refund))

    assert type(given) is ending
    assert isinstance(found, Approved if executed else Absent)
    assert isinstance(again, Approved)
    assert stage.effects(paid.request.payment_id)[1:] == [Effect(Operation.REFUND, Money(400, "EUR"))]


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULT_TABLE if fault != "drop_before"])
@pytest.mark.parametrize("path", ["/v2/checkout/orders/*", "/v2/payments/captures/*"])
def test_a_look_up_that_fails_says_nothing(stage: PaypalStage, fault: str, path: str) -> None:
    paid = pay(stage, asked("card:sim-card"))
    stage.control.arm(fault, match={"method": "GET", "path": path}, times=2)  # aiohttp repeats a GET

    found = look_after(stage, refund_of(paid), paid.reference)

    assert isinstance(found, Unknown)
    stage.control.clear_faults()


def test_a_repeat_far_beyond_the_replay_window_still_moves_nothing_twice(stage: PaypalStage) -> None:
    paid = pay(stage, asked("card:sim-card"))
    held = pay(stage, asked("card:sim-card", capture=False))
    capture = capture_of(held)
    taken = stage.run(stage.gateway.capture(capture))

    stage.control.advance_clock(46 * 24 * 3600)
    again, captured_again = pay(stage, paid.request), stage.run(stage.gateway.capture(capture))

    assert again.outcome == paid.outcome
    assert captured_again == taken
    assert len(stage.effects(paid.request.payment_id)) == 1
    assert len([e for e in stage.effects(held.request.payment_id) if e.operation is Operation.CAPTURE]) == 1


# --- the access token --------------------------------------------------------------------------------


def test_a_hundred_payments_at_once_are_each_charged_once_and_share_one_token(stage: PaypalStage) -> None:
    requests = [asked("card:sim-card") for _ in range(100)]
    before = tokens_asked_for(stage)

    async def one(request: AuthorizeRequest) -> Outcome | Opened:
        opened = await stage.gateway.authorize(request)
        assert isinstance(opened, Opened), opened
        return await stage.gateway.authorize(replace(request, reference=opened.reference))

    endings = stage.run(at_once([one(request) for request in requests]))

    assert all(isinstance(ending, Approved) for ending in endings)
    assert all(len(stage.effects(request.payment_id)) == 1 for request in requests)
    assert tokens_asked_for(stage) == before + 1


def test_a_hundred_calls_whose_token_has_ended_share_one_new_token(stage: PaypalStage) -> None:
    pay(stage, asked("card:sim-card"))
    before = tokens_asked_for(stage)
    stage.control.advance_clock(32_401)

    endings = stage.run(at_once([stage.gateway.authorize(asked("card:sim-card")) for _ in range(100)]))

    assert all(isinstance(ending, Opened) for ending in endings)
    assert tokens_asked_for(stage) == before + 1


@pytest.mark.parametrize("fault", ["drop_before", "error_500_before", "html_502", "rate_limit_429"])
def test_without_a_token_nothing_is_sent(stage: PaypalStage, fault: str) -> None:
    stage.control.arm(fault, match={"path": "/v1/oauth2/token"})
    request = replace(asked("card:sim-card"), reference="order:5O190127TN364715T")

    ending = stage.run(stage.gateway.authorize(request))

    assert isinstance(ending, NotSent)
    assert ending.retryable
    assert isinstance(pay(stage, asked("card:sim-card")).outcome, Approved)


def test_wrong_credentials_are_not_sent_until_a_person_mends_them(
    stage: PaypalStage, simulator: RunningPaypal
) -> None:
    async def with_wrong_secret() -> Outcome | Opened:
        gateway = PaypalGateway(
            client_id=simulator.client_id, client_secret="wrong-secret", base_url=simulator.url
        )
        ending = await gateway.authorize(asked("card:sim-card"))
        await gateway.close()
        return ending

    ending = stage.run(with_wrong_secret())

    assert isinstance(ending, NotSent)
    assert ending.retryable
    assert "wrong-secret" not in repr(ending)


# --- payers and banks --------------------------------------------------------------------------------


def test_a_payer_approves_on_paypals_page_and_the_next_look_up_takes_the_money(stage: PaypalStage) -> None:
    paid = pay(stage, asked("payer"))
    assert isinstance(paid.outcome, ActionRequired)
    assert isinstance(look(stage, paid), ActionRequired)

    stage.customer_acts(paid.request, paid.outcome, approve=True)
    assert stage.effects(paid.request.payment_id) == []
    found = look(stage, paid)

    assert isinstance(found, Approved)
    assert look(stage, paid) == found
    assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]


def test_a_payer_who_turns_away_may_come_back_until_the_payment_is_called_off(stage: PaypalStage) -> None:
    paid = pay(stage, asked("payer"))
    assert isinstance(paid.outcome, ActionRequired)
    stage.customer_acts(paid.request, paid.outcome, approve=False)
    assert isinstance(look(stage, paid), ActionRequired)

    voided = stage.run(stage.gateway.void(void_of(paid, paid.outcome.reference)))
    stage.customer_acts(paid.request, paid.outcome, approve=True)

    assert isinstance(voided, Approved)
    assert isinstance(look(stage, paid), Declined)
    assert stage.effects(paid.request.payment_id) == []


def test_looking_at_an_approved_order_twice_at_once_takes_the_money_once(stage: PaypalStage) -> None:
    paid = pay(stage, asked("payer"))
    assert isinstance(paid.outcome, ActionRequired)
    stage.customer_acts(paid.request, paid.outcome, approve=True)

    async def look_once() -> Outcome | Opened:
        request = replace(paid.request, reference=paid.opened)
        return await stage.gateway.authorize(request)

    stage.run(at_once([look_once() for _ in range(5)]))

    assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]


def test_calling_off_what_the_payer_has_just_made_a_hold_lets_the_hold_go(stage: PaypalStage) -> None:
    paid = pay(stage, asked("payer", capture=False))
    assert isinstance(paid.outcome, ActionRequired)
    stage.customer_acts(paid.request, paid.outcome, approve=True)
    assert isinstance(look(stage, paid), Approved)
    void = void_of(paid, paid.outcome.reference)

    voided = stage.run(stage.gateway.void(void))

    assert isinstance(voided, Approved)
    assert look_after(stage, void, paid.outcome.reference) == voided
    assert [e.operation for e in stage.effects(paid.request.payment_id)] == [
        Operation.AUTHORIZE,
        Operation.VOID,
    ]


def test_calling_off_what_the_payer_has_just_paid_is_declined(stage: PaypalStage) -> None:
    paid = pay(stage, asked("payer"))
    assert isinstance(paid.outcome, ActionRequired)
    stage.customer_acts(paid.request, paid.outcome, approve=True)
    assert isinstance(look(stage, paid), Approved)

    voided = stage.run(stage.gateway.void(void_of(paid, paid.outcome.reference)))

    assert isinstance(voided, Declined)
    assert len(stage.effects(paid.request.payment_id)) == 1


@pytest.mark.parametrize("fault", ["drop_before", "drop_after_executing"])
def test_calling_off_is_repeated_without_harm(stage: PaypalStage, fault: str) -> None:
    paid = pay(stage, asked("payer"))
    assert isinstance(paid.outcome, ActionRequired)
    void = void_of(paid, paid.outcome.reference)
    stage.control.arm(fault, match={"method": "PATCH"})

    lost = stage.run(stage.gateway.void(void))
    found = look_after(stage, void, paid.outcome.reference)
    again = stage.run(stage.gateway.void(void))
    other = stage.run(stage.gateway.void(void_of(paid, paid.outcome.reference, number=4)))

    assert isinstance(lost, Unknown)
    assert isinstance(found, Approved if fault == "drop_after_executing" else Absent)
    assert isinstance(again, Approved)
    assert isinstance(other, Declined)


def test_a_saved_wallet_may_want_the_payer_back(stage: PaypalStage) -> None:
    paid = pay(stage, asked("sim-wallet-payer-action"))
    assert isinstance(paid.outcome, ActionRequired)

    stage.customer_acts(paid.request, paid.outcome, approve=True)

    assert isinstance(look(stage, paid), Approved)


def test_a_card_that_wants_its_holder_is_not_asked_for_when_the_merchant_starts(stage: PaypalStage) -> None:
    paid = pay(stage, replace(asked("card:sim-card-3ds"), off_session=True))

    assert isinstance(paid.outcome, Approved)  # the simulated bank asks only who is asked for


@pytest.mark.parametrize(
    ("token", "reason", "firmness"),
    [
        ("sim-wallet-INSTRUMENT_DECLINED", DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
        ("sim-wallet-PAYER_CANNOT_PAY", DeclineReason.INSUFFICIENT_FUNDS, Firmness.SOFT),
        ("sim-wallet-AGREEMENT_ALREADY_CANCELLED", DeclineReason.MANDATE_REVOKED, Firmness.HARD),
        ("sim-wallet-nobody-saved", DeclineReason.MANDATE_REVOKED, Firmness.HARD),
        ("card:sim-card-0500-03", DeclineReason.DO_NOT_RETRY, Firmness.HARD),
    ],
)
@pytest.mark.parametrize("capture", [True, False], ids=["sale", "hold"])
def test_refusals_of_paypal_and_of_banks_are_declines(
    stage: PaypalStage, token: str, reason: DeclineReason, firmness: Firmness, capture: bool
) -> None:
    if token == "sim-wallet-INSTRUMENT_DECLINED" and not capture:
        token = "sim-wallet-TRANSACTION_REFUSED"  # PayPal's files know the other for captures only
    paid = pay(stage, asked(token, capture=capture))

    assert isinstance(paid.outcome, Declined)
    assert (paid.outcome.reason, paid.outcome.firmness) == (reason, firmness)
    assert stage.effects(paid.request.payment_id) == []


def test_a_vault_id_of_the_other_kind_must_be_changed_before_it_is_sent_again(stage: PaypalStage) -> None:
    paid = pay(stage, asked("card:sim-wallet"))

    assert isinstance(paid.outcome, NotSent)
    assert not paid.outcome.retryable


# --- holds and refunds -------------------------------------------------------------------------------


def test_a_hold_is_taken_in_parts_until_one_is_final(stage: PaypalStage) -> None:
    held = pay(stage, asked("card:sim-card", capture=False))
    parts = [
        replace(
            capture_of(held, Money(minor, "EUR")),
            attempt_id=payment_attempt_id(held.request.payment_id, number),
            final=final,
        )
        for number, minor, final in [(2, 300, False), (3, 801, False), (4, 200, True), (5, 100, True)]
    ]

    first, too_much, last, after = (stage.run(stage.gateway.capture(part)) for part in parts)

    assert isinstance(first, Approved)
    assert isinstance(last, Approved)
    assert first.reference != last.reference
    assert isinstance(too_much, Declined)
    assert too_much.reason is DeclineReason.LIMIT_OR_AMOUNT
    assert isinstance(after, Declined)
    assert look_after(stage, parts[0], held.reference) == first
    assert look_after(stage, parts[2], held.reference) == last
    assert isinstance(look_after(stage, parts[1], held.reference), Absent)
    assert stage.effects(held.request.payment_id)[1:] == [
        Effect(Operation.CAPTURE, Money(300, "EUR")),
        Effect(Operation.CAPTURE, Money(200, "EUR")),
        Effect(Operation.VOID, Money(500, "EUR")),
    ]


def test_a_hold_ends_when_it_said_it_would(stage: PaypalStage) -> None:
    held = pay(stage, asked("card:sim-card", capture=False))
    assert isinstance(held.outcome, Approved)
    ends_at = held.outcome.capture_before
    assert ends_at is not None

    stage.control.advance_clock(ends_at.timestamp() - stage.control.now() + 1)
    taken = stage.run(stage.gateway.capture(capture_of(held)))

    for ending in (taken, look(stage, held)):
        assert isinstance(ending, Declined)
        assert ending.reason is DeclineReason.EXPIRED


def test_a_hold_under_review_is_pending(stage: PaypalStage) -> None:
    paid = pay(stage, asked("sim-wallet-pending", capture=False))
    pending = look(stage, paid)
    stage.time_passes(paid.request.payment_id)

    assert paid.outcome == pending
    found = look(stage, paid)
    assert isinstance(found, Approved)
    assert isinstance(stage.run(stage.gateway.capture(capture_of(replace(paid, outcome=found)))), Approved)


def test_a_refund_that_fails_later_is_told_by_its_look_up(stage: PaypalStage) -> None:
    paid = pay(stage, asked("sim-wallet-refund-fails"))
    refund = refund_of(paid)
    given = stage.run(stage.gateway.refund(refund))

    stage.time_passes(paid.request.payment_id)
    found = look_after(stage, refund, paid.reference)

    assert isinstance(given, Approved)
    assert isinstance(found, Declined)
    assert found.reason is DeclineReason.NOT_REFUNDABLE


def test_a_refund_of_a_pending_capture_is_to_come_again_later(stage: PaypalStage) -> None:
    paid = pay(stage, asked("sim-wallet-pending"))
    [capture] = [
        event["id"] for event in stage.control.events() if event["type"] == "PAYMENT.CAPTURE.PENDING"
    ][-1:]
    request = replace(
        refund_of(replace(paid, outcome=Approved(reference=f"capture:{capture}", amount=TEN_EUROS)))
    )

    early = stage.run(stage.gateway.refund(request))
    stage.time_passes(paid.request.payment_id)
    later = stage.run(stage.gateway.refund(request))

    assert isinstance(early, NotSent)
    assert early.retryable
    assert isinstance(later, Approved)


def tokens_asked_for(stage: PaypalStage) -> int:
    return int(stage.control.requests()["by_endpoint"].get("POST /v1/oauth2/token", 0))


async def at_once(calls: list[Coroutine[Any, Any, T]]) -> list[T]:
    return list(await asyncio.gather(*calls))
