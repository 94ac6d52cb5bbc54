"""What every gateway adapter promises, as one test class; each adapter inherits it and brings a `Stage`."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, ClassVar, Literal, Protocol, TypeVar, assert_never

import pytest

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    CaptureRequest,
    Declined,
    DeclineReason,
    Firmness,
    Gateway,
    LookupRequest,
    NotSent,
    Opened,
    Operation,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.ids import (
    CaptureId,
    PaymentId,
    RefundId,
    capture_attempt_id,
    payment_attempt_id,
    refund_attempt_id,
)
from messages.money import EXPONENTS, Money

T = TypeVar("T")

Case = Literal[
    "approved",
    "insufficient_funds",
    "stolen_card",
    "pending_then_approved",
    "pending_then_declined",
    "requires_action",
    "lost_answer",
    "error",
    "not_sent",
]

TEN_EUROS = Money(1000, "EUR")
OTHER_AMOUNTS = [
    Money(500, "JPY"),
    Money(700, "CLP"),
    Money(700, "ISK"),
    Money(70_000, "UGX"),
    Money(123_000, "HUF"),
    Money(70_000, "TWD"),
    Money(120_000, "MGA"),
    Money(1_200_000, "IDR"),
    Money(1230, "KWD"),
]
"""Amounts in the currencies that gateways write in digits of their own, or in none, or in three."""
_numbers = count(1)
_RUN = secrets.token_hex(4)
"""So that a gateway that remembers us from an earlier run does not take a new payment for an old one."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that happened to money, seen at the gateway and not in our answers."""

    operation: Operation
    amount: Money


class Stage(Protocol):
    """A gateway to test, the means to make it behave, and eyes on what it really did."""

    @property
    def gateway(self) -> Gateway: ...

    def run(self, call: Coroutine[Any, Any, T]) -> T: ...

    def card(self, case: Case) -> str:
        """A token whose next payment goes as the case says; skips the test if there is no such case."""
        ...

    def refund_goes(self, case: Case) -> dict[str, str]:
        """Metadata with which the next refund goes as the case says; skips as `card` does."""
        ...

    def time_passes(self, payment_id: PaymentId) -> None:
        """Let what is pending come to its end."""
        ...

    def customer_acts(self, request: AuthorizeRequest, waiting: ActionRequired, *, approve: bool) -> None:
        """Act as the customer whose bank asked for authentication."""
        ...

    def effects(self, payment_id: PaymentId) -> list[Effect]:
        """What was done to the payment's money, oldest first, from the gateway's own books."""
        ...

    def now(self) -> datetime:
        """What time it is at the gateway."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A payment that was tried: what was asked, how the call ended, and the id stored between its steps."""

    request: AuthorizeRequest
    outcome: Outcome
    opened: str | None

    @property
    def reference(self) -> str:
        """The gateway's id of an approved payment."""
        assert isinstance(self.outcome, Approved), self.outcome
        return self.outcome.reference


def asked(token: str, *, capture: bool = True, amount: Money = TEN_EUROS) -> AuthorizeRequest:
    """A payment nobody asked for before."""
    payment_id = PaymentId(f"pay_contract{_RUN}n{next(_numbers)}")
    return AuthorizeRequest(
        attempt_id=payment_attempt_id(payment_id, 1),
        payment_id=payment_id,
        order_id="1001",
        amount=amount,
        token=token,
        capture=capture,
        reference=None,
        customer_id="customer-1001",
        return_url="https://shop.example/return",
        description="Order 1001",
        metadata={"basket": "7"},
    )


def pay(stage: Stage, request: AuthorizeRequest) -> Paid:
    """Carry out a payment as the service does: again, with the stored id, if the gateway opened it first."""
    first = stage.run(stage.gateway.authorize(request))
    if not isinstance(first, Opened):
        return Paid(request=request, outcome=first, opened=request.reference)
    second_request = replace(request, reference=first.reference)
    second = stage.run(stage.gateway.authorize(second_request))
    assert not isinstance(second, Opened)
    return Paid(request=second_request, outcome=second, opened=first.reference)


def look(stage: Stage, paid: Paid) -> Outcome | Absent:
    """Ask what became of a payment."""
    request = paid.request
    known = getattr(paid.outcome, "reference", None) or paid.opened
    return stage.run(
        stage.gateway.lookup(
            LookupRequest(
                attempt_id=request.attempt_id,
                operation=Operation.SALE if request.capture else Operation.AUTHORIZE,
                payment_id=request.payment_id,
                amount=request.amount,
                reference=known,
                parent_reference=None,
            )
        )
    )


def look_after(
    stage: Stage, request: CaptureRequest | VoidRequest | RefundRequest, parent: str
) -> Outcome | Absent:
    """Ask what became of a capture, void or refund whose own id was never learnt."""
    operation = {
        CaptureRequest: Operation.CAPTURE,
        VoidRequest: Operation.VOID,
        RefundRequest: Operation.REFUND,
    }[type(request)]
    return stage.run(
        stage.gateway.lookup(
            LookupRequest(
                attempt_id=request.attempt_id,
                operation=operation,
                payment_id=request.payment_id,
                amount=request.amount,
                reference=None,
                parent_reference=parent,
            )
        )
    )


def capture_of(
    paid: Paid, amount: Money = TEN_EUROS, *, number: int = 1, final: bool = True
) -> CaptureRequest:
    """A capture of a held payment."""
    payment_id = paid.request.payment_id
    return CaptureRequest(
        attempt_id=capture_attempt_id(CaptureId(f"cap_{payment_id}_{number}"), 1),
        payment_id=payment_id,
        authorization_reference=paid.reference,
        amount=amount,
        final=final,
    )


def void_of(paid: Paid, reference: str, number: int = 3) -> VoidRequest:
    """Give up a payment."""
    payment_id = paid.request.payment_id
    return VoidRequest(
        attempt_id=payment_attempt_id(payment_id, number),
        payment_id=payment_id,
        authorization_reference=reference,
        amount=paid.request.amount,
    )


def refund_of(
    paid: Paid, amount: Money = TEN_EUROS, *, number: int = 1, metadata: dict[str, str] | None = None
) -> RefundRequest:
    """Give back money of a captured payment."""
    refund_id = RefundId(f"ref_{paid.request.payment_id}_{number}")
    return RefundRequest(
        attempt_id=refund_attempt_id(refund_id, 1),
        payment_id=paid.request.payment_id,
        refund_id=refund_id,
        capture_reference=paid.reference,
        amount=amount,
        reason="requested_by_customer",
        metadata=metadata or {},
    )


def captures(stage: Stage, paid: Paid) -> list[Money]:
    """What was really taken of a hold, oldest first."""
    effects = stage.effects(paid.request.payment_id)
    return [effect.amount for effect in effects if effect.operation is Operation.CAPTURE]


Modification = CaptureRequest | VoidRequest | RefundRequest


class GatewayContract:
    """Inherit, and give a fixture `stage`.

    A gateway that tells how things ended by callback alone overrides the three that come first, and no test.
    """

    of_no_trace: ClassVar[type[Absent | Unknown]] = Absent
    """What a look-up says of something never executed; one that cannot be made says `Unknown`."""

    def carry_out(self, stage: Stage, request: Modification) -> Outcome:
        """Capture, void or refund, and tell how it ended."""
        match request:
            case CaptureRequest():
                return stage.run(stage.gateway.capture(request))
            case VoidRequest():
                return stage.run(stage.gateway.void(request))
            case RefundRequest():
                return stage.run(stage.gateway.refund(request))
            case _:
                assert_never(request)

    def find(self, stage: Stage, asked: Paid | Modification) -> Outcome | Absent:
        """Tell what became of something, without its answer."""
        match asked:
            case Paid():
                return look(stage, asked)
            case CaptureRequest() | VoidRequest():
                return look_after(stage, asked, asked.authorization_reference)
            case RefundRequest():
                return look_after(stage, asked, asked.capture_reference)
            case _:
                assert_never(asked)

    # --- what is declared ------------------------------------------------------------------------------

    def test_what_is_declared_fits_together(self, stage: Stage) -> None:
        declared = stage.gateway.capabilities

        assert stage.gateway.name == stage.gateway.name.lower()
        assert "EUR" in declared.currencies
        assert declared.currencies <= EXPONENTS.keys()
        assert timedelta() < declared.call_time_limit < declared.replay_window
        assert declared.partial_capture or not declared.multiple_capture

    # --- payments --------------------------------------------------------------------------------------

    def test_an_approved_sale_takes_what_was_asked(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))

        assert isinstance(paid.outcome, Approved)
        assert paid.outcome.amount == TEN_EUROS
        assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]
        assert self.find(stage, paid) == paid.outcome

    def test_the_amount_comes_back_in_our_units(self, stage: Stage) -> None:
        taken = stage.gateway.capabilities.currencies
        amounts = [amount for amount in OTHER_AMOUNTS if amount.currency in taken]
        assert amounts, "a gateway that takes none of them needs an amount of its own here"
        for amount in amounts:
            paid = pay(stage, asked(stage.card("approved"), amount=amount))

            assert isinstance(paid.outcome, Approved)
            assert paid.outcome.amount == amount
            assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, amount)]

    def test_a_currency_that_is_not_taken_is_never_sent(self, stage: Stage) -> None:
        for currency in sorted(EXPONENTS.keys() - stage.gateway.capabilities.currencies):
            request = asked(stage.card("approved"), amount=Money(1000, currency))
            paid = pay(stage, request)

            assert isinstance(paid.outcome, NotSent)
            assert not paid.outcome.retryable
            assert stage.effects(request.payment_id) == []

    @pytest.mark.parametrize(
        ("case", "reason", "firmness"),
        [
            ("insufficient_funds", DeclineReason.INSUFFICIENT_FUNDS, Firmness.SOFT),
            ("stolen_card", DeclineReason.LOST_OR_STOLEN, Firmness.HARD),
        ],
    )
    def test_a_decline_is_told_in_our_words(
        self, stage: Stage, case: Case, reason: DeclineReason, firmness: Firmness
    ) -> None:
        paid = pay(stage, asked(stage.card(case)))

        assert isinstance(paid.outcome, Declined)
        assert (paid.outcome.reason, paid.outcome.firmness) == (reason, firmness)
        assert paid.outcome.code
        assert stage.effects(paid.request.payment_id) == []
        found = self.find(stage, paid)
        assert isinstance(found, Declined)
        assert (found.reason, found.firmness) == (reason, firmness)

    def test_a_pending_payment_is_pending_until_it_is_approved(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("pending_then_approved")))

        assert isinstance(paid.outcome, Pending)
        assert isinstance(self.find(stage, paid), Pending)
        stage.time_passes(paid.request.payment_id)
        found = self.find(stage, paid)
        assert isinstance(found, Approved)
        assert found.amount == TEN_EUROS

    def test_a_pending_payment_is_pending_until_it_is_declined(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("pending_then_declined")))

        assert isinstance(paid.outcome, Pending)
        stage.time_passes(paid.request.payment_id)
        assert isinstance(self.find(stage, paid), Declined)
        assert stage.effects(paid.request.payment_id) == []

    @pytest.mark.parametrize("approve", [True, False])
    def test_a_payment_waits_for_the_customer_and_then_ends(self, stage: Stage, approve: bool) -> None:
        paid = pay(stage, asked(stage.card("requires_action")))

        assert isinstance(paid.outcome, ActionRequired)
        assert paid.outcome.action.url or paid.outcome.action.client_secret
        assert isinstance(self.find(stage, paid), ActionRequired)
        assert stage.effects(paid.request.payment_id) == []
        stage.customer_acts(paid.request, paid.outcome, approve=approve)
        found = self.find(stage, paid)
        assert isinstance(found, Approved if approve else Declined)
        assert len(stage.effects(paid.request.payment_id)) == (1 if approve else 0)

    def test_a_payment_that_waits_for_the_customer_can_be_voided(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("requires_action")))
        assert isinstance(paid.outcome, ActionRequired)

        voided = self.carry_out(stage, void_of(paid, paid.outcome.reference))

        assert isinstance(voided, Approved)
        found = self.find(stage, paid)
        assert isinstance(found, Declined)
        assert [e for e in stage.effects(paid.request.payment_id) if e.operation is Operation.SALE] == []

    # --- what went wrong -------------------------------------------------------------------------------

    def test_a_lost_answer_is_unknown_and_a_look_up_tells_the_truth(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("lost_answer")))

        assert isinstance(paid.outcome, Unknown)
        found = self.find(stage, paid)
        assert isinstance(found, Approved)
        assert found.amount == TEN_EUROS
        assert len(stage.effects(paid.request.payment_id)) == 1

    def test_repeating_after_a_lost_answer_charges_nothing_more(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("lost_answer")))

        again = pay(stage, paid.request)

        assert isinstance(again.outcome, Approved)
        assert len(stage.effects(paid.request.payment_id)) == 1

    def test_an_error_without_effect_is_unknown_then_absent(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("error")))

        assert isinstance(paid.outcome, Unknown)
        assert isinstance(self.find(stage, paid), self.of_no_trace)
        assert stage.effects(paid.request.payment_id) == []

    def test_a_call_that_is_turned_away_is_not_sent_and_may_be_repeated(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("not_sent")))

        assert isinstance(paid.outcome, NotSent)
        assert paid.outcome.retryable
        assert isinstance(self.find(stage, paid), self.of_no_trace)
        assert stage.effects(paid.request.payment_id) == []

    def test_a_payment_that_was_never_sent_is_absent(self, stage: Stage) -> None:
        never = Paid(request=asked("tok_any"), outcome=NotSent(detail="", retryable=True), opened=None)

        assert isinstance(self.find(stage, never), self.of_no_trace)

    # --- repeats ---------------------------------------------------------------------------------------

    def test_the_same_key_again_gives_the_first_answer_and_no_second_charge(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))

        again = pay(stage, paid.request)
        from_the_start = pay(stage, replace(paid.request, reference=None))

        assert again.outcome == from_the_start.outcome == paid.outcome
        assert len(stage.effects(paid.request.payment_id)) == 1

    def test_the_same_key_with_another_amount_never_charges_twice(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))
        dearer = replace(paid.request, amount=Money(2000, "EUR"), reference=None)

        again = pay(stage, dearer)

        assert isinstance(again.outcome, Declined | NotSent | Unknown)
        assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]

    # --- holds -----------------------------------------------------------------------------------------

    def test_a_hold_is_taken_once(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        assert isinstance(paid.outcome, Approved)
        assert paid.outcome.amount == TEN_EUROS
        capture = capture_of(paid)

        taken = self.carry_out(stage, capture)
        again = self.carry_out(stage, capture)

        assert isinstance(taken, Approved)
        assert taken.amount == TEN_EUROS
        assert again == taken
        assert self.find(stage, capture) == taken
        assert captures(stage, paid) == [TEN_EUROS]

    def test_part_of_a_hold_can_be_taken(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))

        taken = self.carry_out(stage, capture_of(paid, Money(400, "EUR")))

        assert isinstance(taken, Approved)
        assert taken.amount == Money(400, "EUR")

    def test_a_capture_not_yet_made_is_absent(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))

        assert isinstance(self.find(stage, capture_of(paid)), self.of_no_trace)

    def test_after_a_final_capture_nothing_more_is_taken(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        self.carry_out(stage, capture_of(paid, Money(400, "EUR")))

        second = self.carry_out(stage, capture_of(paid, Money(100, "EUR"), number=2))

        assert isinstance(second, Declined)
        assert captures(stage, paid) == [Money(400, "EUR")]

    def test_a_hold_is_taken_in_several_parts_only_where_that_is_declared(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))

        first = self.carry_out(stage, capture_of(paid, Money(400, "EUR"), final=False))

        if not stage.gateway.capabilities.multiple_capture:
            assert isinstance(first, NotSent)
            assert not first.retryable
            assert captures(stage, paid) == []
            return
        second = self.carry_out(stage, capture_of(paid, Money(500, "EUR"), number=2))
        assert isinstance(first, Approved)
        assert isinstance(second, Approved)
        assert first.reference != second.reference
        assert captures(stage, paid) == [Money(400, "EUR"), Money(500, "EUR")]

    def test_a_refund_beyond_its_capture_goes_only_where_it_may(self, stage: Stage) -> None:
        if not stage.gateway.capabilities.multiple_capture:
            pytest.skip("a hold is captured once here, so a refund cannot go beyond its capture")
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        first = self.carry_out(stage, capture_of(paid, Money(400, "EUR"), final=False))
        self.carry_out(stage, capture_of(paid, Money(600, "EUR"), number=2))
        captured = Paid(request=paid.request, outcome=first, opened=paid.opened)

        given = self.carry_out(stage, refund_of(captured, Money(500, "EUR")))

        by_capture = stage.gateway.capabilities.refunds_by_capture
        assert isinstance(given, Declined if by_capture else Approved)

    def test_until_when_a_hold_lasts_is_told_in_utc_if_at_all(self, stage: Stage) -> None:
        held = pay(stage, asked(stage.card("approved"), capture=False))
        sold = pay(stage, asked(stage.card("approved")))

        assert isinstance(held.outcome, Approved)
        if (ends := held.outcome.capture_before) is not None:
            assert ends.utcoffset() == timedelta()
            assert stage.now() < ends
        assert isinstance(sold.outcome, Approved)
        assert sold.outcome.capture_before is None

    def test_more_than_the_hold_is_never_taken(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))

        taken = self.carry_out(stage, capture_of(paid, Money(1001, "EUR")))

        assert isinstance(taken, Declined)
        assert captures(stage, paid) == []

    def test_a_hold_can_be_let_go_and_then_not_taken(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        void = void_of(paid, paid.reference)

        voided = self.carry_out(stage, void)
        again = self.carry_out(stage, void)
        taken = self.carry_out(stage, capture_of(paid))

        assert isinstance(voided, Approved)
        assert voided.amount == TEN_EUROS
        assert again == voided
        assert self.find(stage, void) == voided
        assert isinstance(taken, Declined)
        assert captures(stage, paid) == []

    def test_money_that_was_taken_cannot_be_voided(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))

        voided = self.carry_out(stage, void_of(paid, paid.reference))

        assert isinstance(voided, Declined)
        assert stage.effects(paid.request.payment_id) == [Effect(Operation.SALE, TEN_EUROS)]

    def test_what_is_let_go_already_cannot_be_let_go_again(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        self.carry_out(stage, void_of(paid, paid.reference))

        second = self.carry_out(stage, void_of(paid, paid.reference, number=4))

        assert isinstance(second, Declined)

    # --- looked at again, long after ---------------------------------------------------------------------

    def test_a_hold_that_was_let_go_is_found_gone(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        self.carry_out(stage, void_of(paid, paid.reference))

        found = self.find(stage, paid)

        assert isinstance(found, Declined)
        assert found.reason in {DeclineReason.CANCELED, DeclineReason.EXPIRED}

    @pytest.mark.parametrize("amount", [TEN_EUROS, Money(400, "EUR")])
    def test_a_hold_that_was_taken_is_found_as_it_was_held(self, stage: Stage, amount: Money) -> None:
        paid = pay(stage, asked(stage.card("approved"), capture=False))
        self.carry_out(stage, capture_of(paid, amount))

        found = self.find(stage, paid)

        assert isinstance(found, Approved)
        assert found.reference == paid.reference
        assert found.amount == TEN_EUROS

    def test_a_sale_that_was_refunded_is_found_as_it_was_made(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))
        self.carry_out(stage, refund_of(paid))

        assert self.find(stage, paid) == paid.outcome

    # --- refunds ---------------------------------------------------------------------------------------

    def test_a_refund_gives_all_back_once(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))
        refund = refund_of(paid)

        given = self.carry_out(stage, refund)
        again = self.carry_out(stage, refund)

        assert isinstance(given, Approved)
        assert given.amount == TEN_EUROS
        assert again == given
        assert self.find(stage, refund) == given
        effects = stage.effects(paid.request.payment_id)
        assert effects == [Effect(Operation.SALE, TEN_EUROS), Effect(Operation.REFUND, TEN_EUROS)]

    def test_refunds_in_parts_end_where_the_payment_ends(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))

        first = self.carry_out(stage, refund_of(paid, Money(600, "EUR"), number=1))
        too_much = self.carry_out(stage, refund_of(paid, Money(401, "EUR"), number=2))
        rest = self.carry_out(stage, refund_of(paid, Money(400, "EUR"), number=3))
        nothing_left = self.carry_out(stage, refund_of(paid, Money(1, "EUR"), number=4))

        assert isinstance(first, Approved)
        assert isinstance(rest, Approved)
        for refused in (too_much, nothing_left):
            assert isinstance(refused, Declined)
            assert refused.reason is DeclineReason.NOT_REFUNDABLE

    def test_a_captured_hold_can_be_refunded(self, stage: Stage) -> None:
        held = pay(stage, asked(stage.card("approved"), capture=False))
        taken = self.carry_out(stage, capture_of(held, Money(400, "EUR")))
        captured = Paid(request=held.request, outcome=taken, opened=held.opened)

        given = self.carry_out(stage, refund_of(captured, Money(400, "EUR")))

        assert isinstance(given, Approved)
        assert given.amount == Money(400, "EUR")

    def test_a_refund_whose_answer_is_lost_is_unknown_and_found(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))
        refund = refund_of(paid, metadata=stage.refund_goes("lost_answer"))

        given = self.carry_out(stage, refund)

        assert isinstance(given, Unknown)
        found = self.find(stage, refund)
        assert isinstance(found, Approved)
        assert found.amount == TEN_EUROS
        assert len(stage.effects(paid.request.payment_id)) == 2

    def test_a_refund_that_had_no_effect_is_absent(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))
        refund = refund_of(paid, metadata=stage.refund_goes("error"))

        given = self.carry_out(stage, refund)

        assert isinstance(given, Unknown)
        assert isinstance(self.find(stage, refund), self.of_no_trace)
        assert len(stage.effects(paid.request.payment_id)) == 1

    def test_a_refund_can_be_pending(self, stage: Stage) -> None:
        metadata = stage.refund_goes("pending_then_approved")
        paid = pay(stage, asked(stage.card("approved")))
        refund = refund_of(paid, metadata=metadata)

        given = stage.run(stage.gateway.refund(refund))

        assert isinstance(given, Pending)
        stage.time_passes(paid.request.payment_id)
        assert isinstance(self.find(stage, refund), Approved)

    # --- secrets ---------------------------------------------------------------------------------------

    def test_no_token_is_shown(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("approved")))

        shown = repr((paid.request, paid.outcome, self.find(stage, paid), stage.gateway))

        assert paid.request.token not in shown

    def test_no_secret_of_a_waiting_payment_is_shown(self, stage: Stage) -> None:
        paid = pay(stage, asked(stage.card("requires_action")))
        assert isinstance(paid.outcome, ActionRequired)

        shown = repr((paid.request, paid.outcome, self.find(stage, paid)))

        assert paid.request.token not in shown
        if secret := paid.outcome.action.client_secret:
            assert secret not in shown
