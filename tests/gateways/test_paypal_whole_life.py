"""What becomes of PayPal's holds, captures and refunds long after their calls, and what others did to them there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    CaptureRequest,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    Operation,
    Outcome,
)
from messages.ids import (
    AttemptId,
    CaptureId,
    PaymentId,
    capture_attempt_id,
    payment_attempt_id,
    refund_attempt_id,
)
from messages.money import Money
from simulators.running import RunningPaypal
from tests.gateways.gateway_contract import (
    Effect,
    Paid,
    asked,
    look,
    look_after,
    pay,
    refund_of,
    void_of,
)
from tests.gateways.test_paypal_simulator_contract import PaypalStage
from tests.simulators.paypal.stage import SETTLE_AFTER_S, checked_paypal

HUNDRED = Money(10_000, "EUR")


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningPaypal]:
    with checked_paypal() as (running, checked):
        yield running
        assert checked.breaches == []


@pytest.fixture
def stage(simulator: RunningPaypal) -> Iterator[PaypalStage]:
    stage = PaypalStage(simulator)
    yield stage
    stage.close()


def euros(whole: int) -> Money:
    return Money(whole * 100, "EUR")


def hold(stage: PaypalStage) -> Paid:
    """A hundred euros, held."""
    return pay(stage, asked("card:sim-card", capture=False, amount=HUNDRED))


def part(held: Paid, number: int, whole: int, *, final: bool = False) -> CaptureRequest:
    """A capture of some of it, named as the service names them."""
    payment_id = held.request.payment_id
    return CaptureRequest(
        attempt_id=capture_attempt_id(CaptureId(f"cap_{payment_id}_{number}"), 1),
        payment_id=payment_id,
        authorization_reference=held.reference,
        amount=euros(whole),
        final=final,
    )


def take(stage: PaypalStage, request: CaptureRequest) -> Approved:
    taken = stage.run(stage.gateway.capture(request))
    assert isinstance(taken, Approved)
    return taken


def by_reference(
    stage: PaypalStage, operation: Operation, reference: str, amount: Money = HUNDRED
) -> Outcome | Absent:
    """Ask of something by its own id alone, as of what no attempt of ours has made."""
    return stage.run(
        stage.gateway.lookup(
            LookupRequest(
                attempt_id=AttemptId("pay_1.x0123456789abcdef.r1"),
                operation=operation,
                payment_id=PaymentId("pay_1"),
                amount=amount,
                reference=reference,
                parent_reference=None,
            )
        )
    )


def id_of(reference: str) -> str:
    return reference.partition(":")[2]


# --- holds ---------------------------------------------------------------------------------------------


def test_a_hold_says_until_when_it_can_be_captured(stage: PaypalStage) -> None:
    held = hold(stage)
    assert isinstance(held.outcome, Approved)
    assert held.outcome.capture_before is not None
    lasts = held.outcome.capture_before - datetime.fromtimestamp(stage.control.now(), UTC)

    assert timedelta(days=28, hours=23) < lasts <= timedelta(days=29, seconds=1)
    assert look(stage, held) == held.outcome


@pytest.mark.parametrize("final", [True, False])
def test_a_hold_that_was_captured_stays_approved(stage: PaypalStage, final: bool) -> None:
    held = hold(stage)
    take(stage, part(held, 1, 60, final=final))

    assert look(stage, held) == held.outcome


@pytest.mark.parametrize("was_captured", [False, True])
@pytest.mark.parametrize(
    ("how", "reason"), [("by_time", DeclineReason.EXPIRED), ("by_hand", DeclineReason.CANCELED)]
)
def test_a_hold_that_is_gone_or_its_rest_is_told_long_after(
    stage: PaypalStage, how: str, reason: DeclineReason, was_captured: bool
) -> None:
    held = hold(stage)
    taken = take(stage, part(held, 1, 60)) if was_captured else None
    if how == "by_hand":
        stage.control.by_hand("void", id_of(held.reference))
    else:
        stage.control.advance_clock(30 * 24 * 3600)
    gone = look(stage, held)

    assert isinstance(gone, Declined)
    assert (gone.reason, gone.firmness) == (reason, Firmness.HARD)
    if taken is not None:
        assert by_reference(stage, Operation.CAPTURE, taken.reference, euros(60)) == taken
    refused = stage.run(stage.gateway.capture(part(held, 2, 10)))
    assert isinstance(refused, Declined)
    assert refused.reason is reason


def test_a_void_lets_go_what_is_left_of_a_hold_and_its_captures_stay(stage: PaypalStage) -> None:
    held = hold(stage)
    first = part(held, 1, 60)
    taken = take(stage, first)
    void = replace(void_of(held, held.reference), amount=euros(40))
    done = stage.run(stage.gateway.void(void))

    assert done == Approved(reference=held.reference, amount=euros(40))
    assert look_after(stage, void, held.reference) == done
    assert look_after(stage, first, held.reference) == taken
    assert stage.effects(held.request.payment_id)[-1] == Effect(Operation.VOID, euros(40))
    again = stage.run(stage.gateway.void(replace(void, attempt_id=AttemptId("pay_1.a9"))))
    assert isinstance(again, Declined)
    assert again.reason is DeclineReason.CANCELED


def test_what_was_captured_by_hand_counts_and_is_none_of_our_captures(stage: PaypalStage) -> None:
    held = hold(stage)
    taken = stage.control.by_hand("capture", id_of(held.reference), value="60.00")
    too_much, enough = part(held, 1, 50), part(held, 2, 40)

    refused = stage.run(stage.gateway.capture(too_much))
    assert isinstance(refused, Declined)
    assert refused.reason is DeclineReason.LIMIT_OR_AMOUNT
    assert isinstance(look_after(stage, enough, held.reference), Absent)
    take(stage, enough)
    found = by_reference(stage, Operation.CAPTURE, f"capture:{taken['id']}", euros(60))
    assert found == Approved(reference=f"capture:{taken['id']}", amount=euros(60))


# --- captures and refunds ------------------------------------------------------------------------------


def test_worked_example_sixty_and_thirty_are_taken_ten_let_go_and_a_late_failed_refund_sent_again(
    stage: PaypalStage,
) -> None:
    held = pay(stage, asked("sim-wallet-refund-fails", capture=False, amount=HUNDRED))
    first, last = part(held, 1, 60), part(held, 2, 30, final=True)
    took = [take(stage, first), take(stage, last)]
    assert stage.effects(held.request.payment_id)[1:] == [
        Effect(Operation.CAPTURE, euros(60)),
        Effect(Operation.CAPTURE, euros(30)),
        Effect(Operation.VOID, euros(10)),
    ]

    refund = replace(refund_of(replace(held, outcome=took[0])), amount=euros(25))
    given = stage.run(stage.gateway.refund(refund))
    assert isinstance(given, Approved)
    stage.control.advance_clock(SETTLE_AFTER_S + 1)
    late = by_reference(stage, Operation.REFUND, given.reference, euros(25))
    again = replace(refund, attempt_id=refund_attempt_id(refund.refund_id, 2))
    given_again = stage.run(stage.gateway.refund(again))

    assert isinstance(late, Declined)
    assert late.reason is DeclineReason.NOT_REFUNDABLE
    assert look_after(stage, refund, took[0].reference) == late
    assert isinstance(given_again, Approved)
    assert given_again.reference != given.reference
    assert look_after(stage, again, took[0].reference) == given_again


def test_a_refund_names_one_capture_and_gives_no_more_than_that_took(stage: PaypalStage) -> None:
    held = hold(stage)
    took = [take(stage, part(held, number, whole)) for number, whole in [(1, 60), (2, 30)]]
    too_much = replace(refund_of(replace(held, outcome=took[1]), number=1), amount=euros(31))
    enough = replace(refund_of(replace(held, outcome=took[0]), number=2), amount=euros(60))

    assert stage.gateway.capabilities.refunds_by_capture
    refused = stage.run(stage.gateway.refund(too_much))
    assert isinstance(refused, Declined)
    assert refused.code == "REFUND_AMOUNT_EXCEEDED"
    assert isinstance(stage.run(stage.gateway.refund(enough)), Approved)


def test_a_refund_made_by_hand_is_found_by_its_own_id_and_not_taken_for_ours(stage: PaypalStage) -> None:
    paid = pay(stage, asked("card:sim-card", amount=HUNDRED))
    made = stage.control.by_hand("refund", id_of(paid.reference), value="30.00")
    ours = refund_of(paid, euros(30))

    reference = f"refund:{made['id']}"
    assert by_reference(stage, Operation.REFUND, reference, euros(30)) == Approved(
        reference=reference, amount=euros(30)
    )
    assert isinstance(look_after(stage, ours, paid.reference), Absent)
    assert look(stage, paid) == paid.outcome


@pytest.mark.parametrize("capture", [True, False])
def test_a_capture_that_is_taken_back_later_is_declined_from_then_on(
    stage: PaypalStage, capture: bool
) -> None:
    paid = pay(stage, asked("card:sim-card", capture=capture, amount=HUNDRED))
    operation, reference = Operation.SALE, paid.reference
    if not capture:
        operation, reference = Operation.CAPTURE, take(stage, part(paid, 1, 100)).reference
    stage.control.decide(id_of(reference), "fail")
    found = by_reference(stage, operation, reference)

    assert isinstance(found, Declined)
    assert found.code == "capture_FAILED"


def test_a_capture_under_review_that_ends_badly_is_declined(stage: PaypalStage) -> None:
    paid = pay(stage, asked("sim-wallet-pending-declined", amount=HUNDRED))
    stage.control.advance_clock(SETTLE_AFTER_S + 1)

    assert isinstance(look(stage, paid), Declined)


# --- the cardholder is asked ---------------------------------------------------------------------------


def test_a_bank_that_wants_its_cardholder_is_satisfied_by_a_step_up(stage: PaypalStage) -> None:
    first = pay(stage, asked("card:sim-card-5650", amount=HUNDRED))
    assert isinstance(first.outcome, Declined)
    assert first.outcome.firmness is Firmness.NEEDS_AUTHENTICATION

    step_up = replace(
        first.request,
        attempt_id=payment_attempt_id(first.request.payment_id, 2),
        reference=None,
        authenticate=True,
    )
    second = pay(stage, step_up)
    assert isinstance(second.outcome, ActionRequired)
    stage.customer_acts(second.request, second.outcome, approve=True)

    found = look(stage, second)
    assert isinstance(found, Approved)
    assert found.amount == HUNDRED
    assert stage.effects(first.request.payment_id) == [Effect(Operation.SALE, HUNDRED)]


def test_a_cardholder_who_fails_the_step_up_pays_nothing(stage: PaypalStage) -> None:
    paid = pay(stage, replace(asked("card:sim-card", amount=HUNDRED), authenticate=True))
    assert isinstance(paid.outcome, ActionRequired)
    stage.customer_acts(paid.request, paid.outcome, approve=False)

    assert isinstance(look(stage, paid), Declined)
    assert stage.effects(paid.request.payment_id) == []


@pytest.mark.parametrize("token", ["card:sim-card", "sim-wallet"])
def test_the_merchant_starts_a_payment_and_nobody_is_asked(stage: PaypalStage, token: str) -> None:
    paid = pay(stage, replace(asked(token, amount=HUNDRED), off_session=True, return_url=None))

    assert isinstance(paid.outcome, Approved)
