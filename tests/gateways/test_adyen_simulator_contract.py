"""The Adyen adapter keeps the contract over HTTP, against the Adyen simulator and through the real SDK.

What Adyen tells by webhook alone is read from its webhooks, as the service does: verified first, then found by
our name for it, else by Adyen's.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from gateways.adyen import AdyenGateway
from gateways.adyen_webhooks import AdyenVerifier, read
from gateways.exponents import ADYEN_UNITS
from gateways.notice import Notice
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    NotSent,
    Operation,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.ids import AttemptId, PaymentId, payment_attempt_id
from messages.money import Money
from simulators.adyen.modifications import ByHand, Failure
from simulators.adyen.webhooks import Endpoint
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

AT_HOME = Endpoint()
BASIC = "Basic " + b64encode(f"{AT_HOME.username}:{AT_HOME.password}".encode()).decode()

_again = count(1)


class AdyenStage:
    """The adapter in front of a simulator that is told how to behave."""

    def __init__(self, simulator: RunningAdyen) -> None:
        self._simulator = simulator
        self._control = simulator.control
        self._runner = asyncio.Runner()
        self.gateway = adyen_at(simulator)
        self.verifier = AdyenVerifier(
            hmac_keys=[AT_HOME.hmac_key],
            merchant_account=simulator.merchant_account,
            username=AT_HOME.username,
            passwords=[AT_HOME.password],
        )
        self.let_go: set[str] = set()
        """What was voided, by the reference it was voided by."""

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
        back = self.goes_to_the_bank(waiting, approve=approve)

        assert back.headers["location"].startswith(f"{request.return_url}?")
        brought = {
            name: values[0] for name, values in parse_qs(urlsplit(back.headers["location"]).query).items()
        }
        ended = self.hands_in(request, brought)
        assert isinstance(ended, Approved if approve else Declined)

    def goes_to_the_bank(self, waiting: ActionRequired, *, approve: bool = True) -> httpx.Response:
        """What the bank answers the customer with."""
        url = waiting.action.url or json.loads(waiting.action.client_secret or "")["url"]
        decision = "succeed" if approve else "fail"
        return httpx.get(url, params={"decision": decision}, trust_env=False)

    def hands_in(self, request: AuthorizeRequest, brought: Mapping[str, str]) -> Outcome | Absent:
        """A look-up with what the customer brought."""
        return self.run(
            self.gateway.lookup(
                LookupRequest(
                    attempt_id=request.attempt_id,
                    operation=Operation.SALE if request.capture else Operation.AUTHORIZE,
                    payment_id=request.payment_id,
                    amount=request.amount,
                    reference=request.attempt_id,
                    parent_reference=None,
                    customer_brought=brought,
                )
            )
        )

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        return [
            Effect(OPERATIONS[line["operation"]], ADYEN_UNITS.from_wire(line["amount"], line["currency"]))
            for line in self._control.record()
            if line["metadata"].get("payment_id") == payment_id and line["operation"] != "release"
        ]

    def notices(self) -> list[Notice]:
        """What the webhooks say, first to last, each verified before it is read."""
        read_all = []
        for webhook in self._control.webhooks():
            body = json.dumps(webhook["body"]).encode()
            headers = {"authorization": BASIC, "content-type": "application/json"}
            self.run(self.verifier.verify(headers=headers, body=body, now=datetime.now(UTC)))
            read_all += read(body)
        return read_all

    def told(self, attempt_id: AttemptId, reference: str | None) -> Outcome | None:
        """What the webhooks say of an attempt, if they say anything yet."""
        for notice in self.notices():
            if notice.attempt_id == attempt_id or (reference and notice.reference == reference):
                return notice.says
        return None

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._control.now(), UTC)

    def close(self) -> None:
        self.run(self.gateway.close())
        self._runner.close()


def adyen_at(
    simulator: RunningAdyen, *, api_key: str | None = None, hold_lasts: timedelta | None = None
) -> AdyenGateway:
    """The adapter at a simulator."""
    return AdyenGateway(
        api_key=api_key or simulator.api_key,
        merchant_account=simulator.merchant_account,
        base_url=simulator.url,
        read_timeout_s=10,
        hold_lasts=hold_lasts,
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
        told = stage.told(request.attempt_id, said.reference)
        assert told is not None, "received, and never told how it ended"
        assert getattr(told, "reference", None) == said.reference, "kept as the adapter's own answer has it"
        if isinstance(request, VoidRequest) and isinstance(told, Approved):
            stage.let_go.add(request.authorization_reference)
        return told

    def find(self, stage: Stage, asked: Paid | Modification) -> Outcome | Absent:
        assert isinstance(stage, AdyenStage)
        said = super().find(stage, asked)
        assert isinstance(said, Unknown), "Adyen cannot be asked, so the adapter must not seem to know"
        if isinstance(asked, RefundRequest):
            stage.time_passes(asked.payment_id)
        if not isinstance(asked, Paid):
            return stage.told(asked.attempt_id, None) or said
        if stage.let_go & {asked.request.attempt_id, getattr(asked.outcome, "reference", None)}:
            return Declined(reason=DeclineReason.CANCELED, firmness=Firmness.HARD, code="voided")
        told = stage.told(asked.request.attempt_id, None)
        if isinstance(told, Declined) and isinstance(asked.outcome, Declined):
            return asked.outcome  # why is not signed, so the answer is better
        if told is None and isinstance(asked.outcome, ActionRequired | Pending):
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
@pytest.mark.parametrize("is_noted", [True, False])
def test_a_payment_in_doubt_is_called_off_by_our_own_reference(
    stage: AdyenStage, simulator: RunningAdyen, capture: bool, is_noted: bool
) -> None:
    simulator.control.arm("drop_after_executing", match={"path": "/v72/payments"})
    lost = pay(stage, asked("sim_authorised", capture=capture))
    assert isinstance(lost.outcome, Unknown)
    assert lost.outcome.reference == lost.request.attempt_id
    void = void_of(lost, lost.outcome.reference if is_noted else "")

    voided = TestAdyenKeepsTheContract().carry_out(
        stage, replace(void, canceled_attempt_id=lost.request.attempt_id)
    )

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


def test_a_challenge_is_handed_to_the_browser_and_its_result_to_adyen(stage: AdyenStage) -> None:
    paid = pay(stage, asked("sim_challenge", capture=False))

    assert isinstance(paid.outcome, ActionRequired)
    assert paid.outcome.action.kind == "sdk"
    assert '"threeDS2"' in (paid.outcome.action.client_secret or "")
    assert "threeDS2" not in repr(paid.outcome)

    brought = stage.goes_to_the_bank(paid.outcome).json()["details"]
    assert set(brought) == {"threeDSResult"}
    assert isinstance(stage.hands_in(paid.request, brought), Approved)
    assert stage.effects(paid.request.payment_id) == [Effect(Operation.AUTHORIZE, TEN_EUROS)]


def test_what_was_brought_can_be_handed_in_again_and_pays_once(stage: AdyenStage) -> None:
    paid = pay(stage, asked("sim_redirect"))
    assert isinstance(paid.outcome, ActionRequired)
    location = stage.goes_to_the_bank(paid.outcome).headers["location"]
    brought = {"order": "7", **dict(parse_qsl(urlsplit(location).query))}

    first, second = stage.hands_in(paid.request, brought), stage.hands_in(paid.request, brought)

    assert isinstance(first, Approved)
    assert second == first == stage.told(paid.request.attempt_id, None)
    assert len(stage.effects(paid.request.payment_id)) == 1


def test_what_was_brought_from_another_payment_proves_nothing(stage: AdyenStage) -> None:
    cheap, dear = pay(stage, asked("sim_redirect", amount=Money(1, "EUR"))), pay(stage, asked("sim_redirect"))
    assert isinstance(cheap.outcome, ActionRequired)
    location = stage.goes_to_the_bank(cheap.outcome).headers["location"]

    ended = stage.hands_in(dear.request, dict(parse_qsl(urlsplit(location).query)))

    assert isinstance(ended, Unknown)
    assert stage.effects(dear.request.payment_id) == []


@pytest.mark.parametrize(
    "brought", [{"redirectResult": "made up"}, {"threeDSResult": "made up"}, {"order": "7"}, {}], ids=str
)
def test_what_nobody_brought_from_the_bank_proves_nothing(stage: AdyenStage, brought: dict[str, str]) -> None:
    paid = pay(stage, asked("sim_redirect"))

    assert isinstance(stage.hands_in(paid.request, brought), Unknown)
    assert stage.effects(paid.request.payment_id) == []


@pytest.mark.parametrize(
    "fault", ["drop_before", "drop_after_executing", "error_500_before", "html_502_after"]
)
def test_a_hand_in_in_doubt_is_repeated(stage: AdyenStage, simulator: RunningAdyen, fault: str) -> None:
    paid = pay(stage, asked("sim_redirect"))
    assert isinstance(paid.outcome, ActionRequired)
    location = stage.goes_to_the_bank(paid.outcome).headers["location"]
    brought = dict(parse_qsl(urlsplit(location).query))
    simulator.control.arm(fault, match={"path": "/v72/payments/details"})

    first, second = stage.hands_in(paid.request, brought), stage.hands_in(paid.request, brought)

    assert isinstance(first, Unknown)
    assert isinstance(second, Approved)
    assert len(stage.effects(paid.request.payment_id)) == 1


@pytest.mark.parametrize("approve", [True, False])
def test_a_bank_that_wants_authentication_gets_it_in_a_second_attempt(
    stage: AdyenStage, approve: bool
) -> None:
    first = pay(stage, asked("sim_authentication_required"))
    assert isinstance(first.outcome, Declined)
    assert first.outcome.firmness is Firmness.NEEDS_AUTHENTICATION
    second_id = payment_attempt_id(first.request.payment_id, 2)

    second = pay(stage, replace(first.request, attempt_id=second_id, authenticate=True))
    assert isinstance(second.outcome, ActionRequired)
    assert second.outcome.action.kind == "redirect"
    stage.customer_acts(second.request, second.outcome, approve=approve)

    assert isinstance(stage.told(first.request.attempt_id, None), Declined)
    assert isinstance(stage.told(second_id, None), Approved if approve else Declined)
    assert len(stage.effects(first.request.payment_id)) == int(approve)


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


def test_a_hold_says_when_it_lapses_where_that_was_agreed(stage: AdyenStage, simulator: RunningAdyen) -> None:
    async def both() -> list[Outcome]:
        gateway = adyen_at(simulator, hold_lasts=timedelta(days=7))
        endings = [
            await gateway.authorize(asked("sim_authorised", capture=capture)) for capture in (False, True)
        ]
        await gateway.close()
        return endings

    before = datetime.now(UTC)
    held, sold = stage.run(both())

    assert isinstance(held, Approved)
    assert isinstance(sold, Approved)
    assert held.capture_before is not None
    assert before <= held.capture_before - timedelta(days=7) <= datetime.now(UTC)
    assert sold.capture_before is None


# --- what happens unasked ------------------------------------------------------------------------------


def news_of(stage: AdyenStage, paid: Paid) -> list[Notice]:
    """What was told of a payment after its authorisation."""
    about = {paid.reference, paid.request.attempt_id}
    return [
        notice
        for notice in stage.notices()
        if notice.event != "AUTHORISATION"
        and about & {notice.reference, notice.parent_reference, notice.attempt_id}
    ]


def test_a_hold_that_expires_is_told_of_by_its_name(stage: AdyenStage, simulator: RunningAdyen) -> None:
    held = pay(stage, asked("sim_authorised", capture=False))
    simulator.control.advance_clock(28 * DAY_S + 1)

    [expired] = news_of(stage, held)

    assert (expired.event, expired.operation) == ("EXPIRE", Operation.AUTHORIZE)
    assert (expired.attempt_id, expired.reference) == (held.request.attempt_id, held.reference)
    assert isinstance(expired.says, Declined)
    assert expired.says.reason is DeclineReason.EXPIRED


@pytest.mark.parametrize(
    ("action", "operation"),
    [("capture", Operation.CAPTURE), ("cancel", Operation.VOID), ("refund", Operation.REFUND)],
)
def test_what_is_done_by_hand_is_never_taken_for_ours(
    stage: AdyenStage, simulator: RunningAdyen, action: ByHand, operation: Operation
) -> None:
    paid = pay(stage, asked("sim_authorised", capture=action == "refund"))
    psp = simulator.control.by_hand(paid.reference, action)
    stage.time_passes(paid.request.payment_id)

    [told] = news_of(stage, paid)

    assert (told.operation, told.attempt_id, told.parent_reference) == (operation, None, paid.reference)
    assert told.reference == (paid.reference if action == "capture" else psp)
    assert told.amount == TEN_EUROS
    assert isinstance(told.says, Approved)


@pytest.mark.parametrize("event", ["REFUND_FAILED", "REFUNDED_REVERSED"])
def test_a_refund_that_fails_later_is_told_of_by_its_name(
    stage: AdyenStage, simulator: RunningAdyen, event: Failure
) -> None:
    contract = TestAdyenKeepsTheContract()
    paid = pay(stage, asked("sim_authorised"))
    refund = refund_of(paid)
    given = contract.carry_out(stage, refund)
    assert isinstance(given, Approved)

    simulator.control.undo(refund.attempt_id, event)

    succeeded, failed = news_of(stage, paid)
    assert (failed.attempt_id, failed.reference) == (refund.attempt_id, given.reference)
    assert isinstance(succeeded.says, Approved)
    assert isinstance(failed.says, Declined)
    assert succeeded.notice_id != failed.notice_id


def test_a_capture_that_fails_later_is_told_of_by_its_name(
    stage: AdyenStage, simulator: RunningAdyen
) -> None:
    contract = TestAdyenKeepsTheContract()
    held = pay(stage, asked("sim_authorised", capture=False))
    capture = capture_of(held)
    taken = contract.carry_out(stage, capture)
    assert isinstance(taken, Approved)

    simulator.control.undo(capture.attempt_id, "CAPTURE_FAILED")

    failed = news_of(stage, held)[-1]
    assert (failed.attempt_id, failed.reference) == (capture.attempt_id, taken.reference)
    assert isinstance(failed.says, Declined)


def test_a_sale_whose_capture_fails_later_is_told_of_by_its_payment(
    stage: AdyenStage, simulator: RunningAdyen
) -> None:
    sold = pay(stage, asked("sim_authorised"))

    simulator.control.undo(sold.request.attempt_id, "CAPTURE_FAILED")

    [failed] = news_of(stage, sold)
    assert (failed.operation, failed.attempt_id, failed.reference) == (
        Operation.CAPTURE,
        None,
        sold.reference,
    )
    assert isinstance(failed.says, Declined)
    assert failed.amount == TEN_EUROS


def test_a_refund_of_what_was_captured_apart_is_asked_of_the_payment(stage: AdyenStage) -> None:
    contract = TestAdyenKeepsTheContract()
    held = pay(stage, asked("sim_authorised", capture=False))
    taken = contract.carry_out(stage, capture_of(held))
    assert isinstance(taken, Approved)

    given = contract.carry_out(stage, replace(refund_of(held), capture_reference=taken.reference))

    assert isinstance(given, Approved)
    assert taken.reference.startswith(f"{held.reference}/")
