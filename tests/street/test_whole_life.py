"""Every way a payment can go later, on each gateway that has it, end to end: callback, look-up, books, event."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ledger.accounts import Account
from ledger.states import PaymentStatus
from messages.operation import Operation
from tests.street.street import Street, street
from tests.workers import eventually

GATEWAYS = ("stripe", "adyen", "paypal")
WEEKS_S = 40 * 24 * 3600
RESEND_AFTER_S = "1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    directory = tmp_path_factory.mktemp("life")
    with street(directory, PAYMENTS_WORKER__REFUND_RESEND_DELAY_S=RESEND_AFTER_S) as place:
        yield place
        assert place.problems() == []


def reference_of(place: Street, payment_id: str, operation: Operation, *, at: int = -1) -> str:
    """The gateway's own id of what an attempt did, as its control interface wants it."""
    attempts = [a for a in place.story(payment_id).attempts if a.operation is operation]
    reference = attempts[at].reference
    assert reference is not None
    return reference.split(":")[-1].split("/")[-1]


def balances(place: Street, payment_id: str) -> dict[int, int]:
    """What the journals leave on each account: debits less credits, in minor units; zeros left out."""
    sums: dict[int, int] = {}
    for line in place.story(payment_id).journal_lines:
        sums[line.account] = sums.get(line.account, 0) + (line.amount if line.side == "D" else -line.amount)
    return {account: minor for account, minor in sums.items() if minor}


def a_refund_comes_back(place: Street, gateway: str, reference: str) -> None:
    """The bank sends a refund back that had gone through."""
    control = place.gateways[gateway].control
    if gateway == "adyen":
        control.undo(reference, "REFUND_FAILED")  # type: ignore[attr-defined]
    else:
        control.decide(reference, "fail")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_worked_example_1_ends_as_the_books_say(gateway: str, place: Street) -> None:
    """Held 100.00; captured 60 and 30, or 90 where a gateway captures once; released 10; 20 back, late, and again."""
    payment, refund = f"example-{gateway}", f"refund-example-{gateway}"
    place.pay(gateway, payment, capture="manual")
    place.await_event(payment, "PaymentAuthorized")

    if gateway == "paypal":
        place.capture(f"one-{gateway}", payment, 6_000, final=False)
        first = place.await_event(f"one-{gateway}", "PaymentSucceeded")
        assert first.body["capturable"] == {"minor": 4_000, "currency": "EUR"}
        place.capture(f"two-{gateway}", payment, 3_000)
        place.await_event(f"two-{gateway}", "PaymentSucceeded")
    else:
        place.capture(f"one-{gateway}", payment, 6_000, final=False)
        refused = place.await_event(f"one-{gateway}", "PaymentCaptureFailed")
        assert refused.body["reason"] == "multiple_capture_not_supported"
        place.capture(f"two-{gateway}", payment, 9_000)
        place.await_event(f"two-{gateway}", "PaymentSucceeded")
    assert place.story(payment).payment.released == 1_000

    place.refund(refund, payment, 2_000)
    place.await_event(refund, "RefundProcessed")
    a_refund_comes_back(place, gateway, reference_of(place, payment, Operation.REFUND))
    place.await_event(refund, "RefundReversed")
    eventually(
        lambda: place.kinds(refund).count("RefundProcessed") == 2, within_s=60, what="it is sent again"
    )

    assert balances(place, payment) == {Account.GATEWAY_RECEIVABLE: 7_000, Account.ORDER_CLEARING: -7_000}
    assert place.story(payment).payment.status is PaymentStatus.CAPTURED


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_refund_made_in_the_dashboard_is_booked_and_announced(gateway: str, place: Street) -> None:
    payment = f"dashboard-{gateway}"
    place.pay(gateway, payment)
    place.await_event(payment, "PaymentSucceeded")
    reference = reference_of(place, payment, Operation.SALE)
    control = place.gateways[gateway].control

    if gateway == "stripe":
        control.in_dashboard("refund", reference, amount=500)  # type: ignore[attr-defined]
    elif gateway == "adyen":
        control.by_hand(reference, "refund", amount=500)  # type: ignore[attr-defined]
    else:
        control.by_hand("refund", reference, value="5.00")  # type: ignore[attr-defined]

    event = place.await_event(payment, "RefundProcessed")
    assert event.body["external"] is True
    assert event.body["amount"] == {"minor": 500, "currency": "EUR"}
    assert place.story(payment).payment.refunded_external == 500


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_hold_canceled_in_the_dashboard_is_let_go_in_the_books(gateway: str, place: Street) -> None:
    payment = f"canceled-{gateway}"
    place.pay(gateway, payment, capture="manual")
    place.await_event(payment, "PaymentAuthorized")
    reference = reference_of(place, payment, Operation.AUTHORIZE)
    control = place.gateways[gateway].control

    if gateway == "stripe":
        control.in_dashboard("cancel", reference)  # type: ignore[attr-defined]
    elif gateway == "adyen":
        control.by_hand(reference, "cancel")  # type: ignore[attr-defined]
    else:
        control.by_hand("void", reference)  # type: ignore[attr-defined]

    place.await_event(payment, "PaymentVoided")
    assert balances(place, payment) == {}


def test_a_capture_that_fails_late_is_taken_back_in_the_books(place: Street) -> None:
    """Adyen alone has it for cards."""
    payment, capture = "late-capture", "capture-late"
    place.pay("adyen", payment, capture="manual")
    place.await_event(payment, "PaymentAuthorized")
    place.capture(capture, payment)
    place.await_event(capture, "PaymentSucceeded")

    control = place.gateways["adyen"].control
    control.undo(reference_of(place, payment, Operation.CAPTURE), "CAPTURE_FAILED")  # type: ignore[attr-defined]

    event = place.await_event(payment, "PaymentReversed")
    assert event.body["captured"] == {"minor": 0, "currency": "EUR"}
    assert place.story(payment).payment.status is PaymentStatus.REVERSED
    assert balances(place, payment) == {}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_customer_who_authenticates_has_paid(gateway: str, place: Street) -> None:
    payment = f"authenticates-{gateway}"
    token = {
        "stripe": "pm_card_authenticationRequired",
        "adyen": "sim_redirect",
        "paypal": "card:sim-card-3ds",
    }
    place.pay(gateway, payment, token=token[gateway])
    url = place.await_event(payment, "PaymentActionRequired").body["next_action"]["url"]

    goes = {"stripe": "", "adyen": "", "paypal": "&decision=succeed"}
    back = httpx.get(url + goes[gateway], trust_env=False, follow_redirects=False)

    brought = {name: values[0] for name, values in parse_qs(urlsplit(back.headers["location"]).query).items()}
    place.ask("PaymentActionCompleted", {"payment_id": payment, "brought": brought})
    place.await_event(payment, "PaymentSucceeded")
    assert place.moved(gateway, payment) == [("sale", 10_000)]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_hold_that_lapses_at_the_gateway_is_let_go_in_the_books(gateway: str, place: Street) -> None:
    payment = f"lapses-{gateway}"
    place.pay(gateway, payment, capture="manual")
    place.await_event(payment, "PaymentAuthorized")

    place.gateways[gateway].control.advance_clock(WEEKS_S)

    place.await_event(payment, "PaymentExpired")
    assert balances(place, payment) == {}
