"""The contract against the vendors' own test platforms, for who has accounts there: see docs/new-gateway.md.

What needs a simulator's control is skipped by name. Live keys are refused before anything is sent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn, TypeVar

import httpx
import pytest

from gateways.adyen import AdyenGateway
from gateways.exponents import PAYPAL_UNITS, STRIPE_UNITS
from gateways.paypal import PaypalGateway
from gateways.protocol import (
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Gateway,
    Opened,
    Operation,
    Pending,
    Unknown,
)
from gateways.stripe import StripeGateway
from messages.ids import PaymentId
from messages.money import Money
from tests.gateways.gateway_contract import (
    Case,
    Effect,
    GatewayContract,
    asked,
    capture_of,
    look,
    pay,
    refund_of,
    void_of,
)

T = TypeVar("T")

PREFIX = "PAYMENTS_VENDOR_"
NEEDED = {
    "Stripe": ["STRIPE_API_KEY"],
    "Adyen": ["ADYEN_API_KEY", "ADYEN_MERCHANT_ACCOUNT", "ADYEN_TOKEN"],
    "PayPal": ["PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET", "PAYPAL_TOKEN"],
}
STRIPE_API = "https://api.stripe.com"
PAYPAL_SANDBOX = "https://api-m.sandbox.paypal.com"


class LiveKey(Exception):
    """A key that would move real money. The text does not quote it."""


def missing(vendor: str) -> list[str]:
    """What the environment does not give."""
    return [PREFIX + name for name in NEEDED[vendor] if not os.environ.get(PREFIX + name)]


def given(vendor: str) -> list[str]:
    """What the environment gives."""
    return [os.environ[PREFIX + name] for name in NEEDED[vendor]]


@pytest.mark.parametrize("vendor", NEEDED)
def test_a_vendor_is_asked_where_its_keys_are_given(vendor: str) -> None:
    if absent := missing(vendor):
        pytest.skip(f"{vendor}'s own test platform is not asked: {', '.join(absent)} not set")


def for_tests(key: str) -> str:
    """Give the key back if it is one of Stripe's test mode."""
    if not key.startswith("sk_test_"):
        raise LiveKey(f"{PREFIX}STRIPE_API_KEY must begin with sk_test_")
    return key


def no_control(what: str) -> NoReturn:
    """Skip: a vendor does not misbehave when told to."""
    pytest.skip(f"needs a simulator's control: {what}")


class VendorStage:
    """A gateway in front of its vendor's test platform, which is not told how to behave."""

    gateway: Gateway

    def __init__(self, cards: Mapping[Case, str]) -> None:
        self._cards = cards
        self._runner = asyncio.Runner()
        self.opened: list[str] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        ending = self._runner.run(call)
        if isinstance(ending, Opened) and ending.reference not in self.opened:
            self.opened.append(ending.reference)
        return ending

    def card(self, case: Case) -> str:
        return self._cards.get(case) or no_control(case)

    def refund_goes(self, case: Case) -> dict[str, str]:
        no_control(f"a refund that goes {case}")

    def time_passes(self, payment_id: PaymentId) -> None:
        no_control("a clock that is moved ahead")

    def customer_acts(self, request: AuthorizeRequest, waiting: ActionRequired, *, approve: bool) -> None:
        no_control("a customer who acts at their bank")

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        no_control("the gateway's own books")

    def now(self) -> datetime:
        return datetime.now(UTC)

    def close(self) -> None:
        self.run(self.gateway.close())
        self._runner.close()


class StripeTestMode(VendorStage):
    """Stripe's test mode, and what its own API says was done."""

    def __init__(self, api_key: str) -> None:
        super().__init__(
            {
                "approved": "pm_card_visa",
                "insufficient_funds": "pm_card_chargeDeclinedInsufficientFunds",
                "stolen_card": "pm_card_chargeDeclinedStolenCard",
                "requires_action": "pm_card_authenticationRequired",
            }
        )
        self.gateway = StripeGateway(api_key=api_key, base_url=STRIPE_API)
        self._api_key = api_key

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        found: list[Effect] = []
        for reference in self.opened:
            intent = self._read(f"payment_intents/{reference}", {})
            if intent["metadata"]["payment_id"] == payment_id:
                refunds = self._read("refunds", {"payment_intent": reference, "limit": "100"})["data"]
                found += [*self._done_with(intent), *self._given_back(refunds)]
        return found

    def _done_with(self, intent: dict[str, Any]) -> Iterator[Effect]:
        amount, received = (_stripe_money(intent, name) for name in ("amount", "amount_received"))
        succeeded, by_hand = intent["status"] == "succeeded", intent["capture_method"] == "manual"
        if by_hand and (succeeded or intent["status"] == "requires_capture"):
            yield Effect(Operation.AUTHORIZE, amount)
        if succeeded:
            yield Effect(Operation.CAPTURE if by_hand else Operation.SALE, received)

    def _given_back(self, refunds: list[dict[str, Any]]) -> Iterator[Effect]:
        for refund in reversed(refunds):
            if "attempt_id" in refund["metadata"] and refund["status"] in {"succeeded", "pending"}:
                yield Effect(Operation.REFUND, _stripe_money(refund, "amount"))

    def _read(self, path: str, params: dict[str, str]) -> Any:
        headers = {"authorization": f"Bearer {self._api_key}"}
        answer = httpx.get(f"{STRIPE_API}/v1/{path}", params=params, headers=headers)
        return answer.raise_for_status().json()


def _stripe_money(item: dict[str, Any], name: str) -> Money:
    return STRIPE_UNITS.from_wire(item[name], item["currency"])


class PaypalSandbox(VendorStage):
    """PayPal's sandbox, and what its orders say was done."""

    def __init__(self, client_id: str, client_secret: str, token: str) -> None:
        super().__init__({"approved": token})
        self.gateway = PaypalGateway(
            client_id=client_id, client_secret=client_secret, base_url=PAYPAL_SANDBOX
        )
        self._credentials = (client_id, client_secret)

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        form = {"grant_type": "client_credentials"}
        answer = httpx.post(f"{PAYPAL_SANDBOX}/v1/oauth2/token", data=form, auth=self._credentials)
        headers = {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
        found: list[Effect] = []
        for reference in self.opened:
            path = f"/v2/checkout/orders/{reference.removeprefix('order:')}"
            order = httpx.get(f"{PAYPAL_SANDBOX}{path}", headers=headers).raise_for_status().json()
            if order["purchase_units"][0]["custom_id"].startswith(f"{payment_id}."):
                found += self._done_with(order)
        return found

    def _done_with(self, order: dict[str, Any]) -> Iterator[Effect]:
        payments = order["purchase_units"][0].get("payments", {})
        taken = Operation.SALE if order["intent"] == "CAPTURE" else Operation.CAPTURE
        operations = {"authorizations": Operation.AUTHORIZE, "captures": taken, "refunds": Operation.REFUND}
        for kind, operation in operations.items():
            for one in payments.get(kind, []):
                if one["status"] not in {"DECLINED", "DENIED", "FAILED"}:
                    amount = one["amount"]
                    money = PAYPAL_UNITS.from_decimal(amount["value"], amount["currency_code"])
                    yield Effect(operation, money)


class AdyenTestPlatform(VendorStage):
    """Adyen's test platform: it cannot be asked, and its webhooks do not come here."""

    def __init__(self, api_key: str, merchant_account: str, token: str) -> None:
        super().__init__({"approved": token})
        self.gateway = AdyenGateway(api_key=api_key, merchant_account=merchant_account)


class TestStripeTestModeKeepsTheContract(GatewayContract):
    """The Stripe adapter against Stripe itself."""

    __test__: ClassVar[bool] = not missing("Stripe")

    @pytest.fixture
    def stage(self) -> Iterator[VendorStage]:
        (key,) = given("Stripe")
        stage = StripeTestMode(for_tests(key))
        yield stage
        stage.close()


class TestPaypalSandboxKeepsTheContract(GatewayContract):
    """The PayPal adapter against PayPal itself."""

    __test__: ClassVar[bool] = not missing("PayPal")

    @pytest.fixture
    def stage(self) -> Iterator[VendorStage]:
        stage = PaypalSandbox(*given("PayPal"))
        yield stage
        stage.close()


class TestAdyenTestPlatform:
    """What can be known of Adyen without its webhooks; the whole contract needs them, so it needs the simulator."""

    __test__: ClassVar[bool] = not missing("Adyen")

    @pytest.fixture
    def stage(self) -> Iterator[VendorStage]:
        stage = AdyenTestPlatform(*given("Adyen"))
        yield stage
        stage.close()

    def test_what_is_declared_fits_together(self, stage: VendorStage) -> None:
        GatewayContract().test_what_is_declared_fits_together(stage)

    def test_no_token_is_shown(self, stage: VendorStage) -> None:
        GatewayContract().test_no_token_is_shown(stage)

    def test_the_same_key_again_gives_the_first_answer(self, stage: VendorStage) -> None:
        paid = pay(stage, asked(stage.card("approved")))

        assert isinstance(paid.outcome, Approved)
        assert pay(stage, paid.request).outcome == paid.outcome

    def test_a_look_up_never_knows(self, stage: VendorStage) -> None:
        assert isinstance(look(stage, pay(stage, asked(stage.card("approved")))), Unknown)

    @pytest.mark.parametrize("capture", [True, False], ids=["refund", "capture_and_void"])
    def test_what_is_asked_of_a_payment_is_received(self, stage: VendorStage, capture: bool) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=capture))

        if capture:
            endings = [stage.run(stage.gateway.refund(refund_of(paid)))]
        else:
            endings = [
                stage.run(stage.gateway.capture(capture_of(paid))),
                stage.run(stage.gateway.void(void_of(paid, paid.reference))),
            ]

        assert all(isinstance(ending, Pending) for ending in endings)


@pytest.mark.parametrize("key", ["sk_live_geheim", "rk_live_geheim", "geheim"])
def test_a_live_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(LiveKey) as refused:
        for_tests(key)

    assert "geheim" not in str(refused.value)
