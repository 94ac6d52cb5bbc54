"""What the Stripe adapter sends, and what it makes of every way an answer can go wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

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
    LookupRequest,
    NextAction,
    NotSent,
    Opened,
    Operation,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from gateways.stripe import StripeGateway
from gateways.stripe_codes import DECLINE_TABLE
from messages.ids import AttemptId, PaymentId, RefundId
from messages.money import Money
from tests.gateways.wire import Answer, Behaviour, HangUp, Silence, Trickle, Wire, closed_port, said

T = TypeVar("T")

KEY = "sk_test_aVerySecretKey"
SECRET = "pi_1_secret_forTheBrowserOnly"
TOKEN = "pm_tokenNobodyMaySee"

OPEN = AuthorizeRequest(
    attempt_id=AttemptId("pay_1.a1"),
    payment_id=PaymentId("pay_1"),
    order_id="1001",
    amount=Money(1999, "EUR"),
    token=TOKEN,
    capture=True,
    reference=None,
    return_url="https://shop.example/return",
    description="Order 1001",
    statement_descriptor="A SHOP WITH A VERY LONG NAME",
    metadata={
        "basket": "7",
        "payment_id": "not theirs to set",
        "capture_attempt_id": "nor this",
        "x" * 41: "too long a key",
    },
)
CONFIRM = replace(OPEN, reference="pi_1")
CAPTURE = CaptureRequest(
    attempt_id=AttemptId("pay_1.a2"),
    payment_id=PaymentId("pay_1"),
    authorization_reference="pi_1",
    amount=Money(1999, "EUR"),
    final=True,
)
VOID = VoidRequest(
    attempt_id=AttemptId("pay_1.a2"),
    payment_id=PaymentId("pay_1"),
    authorization_reference="pi_1",
    amount=Money(1999, "EUR"),
)
REFUND = RefundRequest(
    attempt_id=AttemptId("ref_1.r1"),
    payment_id=PaymentId("pay_1"),
    refund_id=RefundId("ref_1"),
    capture_reference="pi_1",
    amount=Money(1999, "EUR"),
    reason="requested_by_customer",
)


def intent(status: str, **more: object) -> dict[str, object]:
    """A payment intent as Stripe writes it."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 1999,
        "amount_capturable": 1999 if status == "requires_capture" else 0,
        "amount_received": 1999 if status == "succeeded" else 0,
        "currency": "eur",
        "status": status,
        "client_secret": SECRET,
        "next_action": None,
        "last_payment_error": None,
        "cancellation_reason": None,
        "latest_charge": None,
        "metadata": {"attempt_id": "pay_1.a1"},
        **more,
    }


def refund(status: str, **more: object) -> dict[str, object]:
    """A refund as Stripe writes it."""
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 1999,
        "currency": "eur",
        "status": status,
        "metadata": {"attempt_id": "ref_1.r1"},
        **more,
    }


def error(status: int, kind: str, code: str | None = None, **more: object) -> Answer:
    """An error as Stripe writes it; its sentence quotes the token, as Stripe's may."""
    said_error = {"type": kind, "code": code, "message": f"No such thing: '{TOKEN}'", **more}
    return said(status, {"error": said_error})


def look_for(operation: Operation, *, reference: str | None = "pi_1") -> LookupRequest:
    attempts = {
        Operation.REFUND: REFUND.attempt_id,
        Operation.CAPTURE: CAPTURE.attempt_id,
        Operation.VOID: VOID.attempt_id,
    }
    return LookupRequest(
        attempt_id=attempts.get(operation, OPEN.attempt_id),
        operation=operation,
        payment_id=PaymentId("pay_1"),
        amount=Money(1999, "EUR"),
        reference=reference,
        parent_reference="pi_1",
    )


Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def stripe_at(url: str) -> StripeGateway:
    """The adapter in a hurry."""
    return StripeGateway(
        api_key=KEY, base_url=url, connect_timeout_s=0.3, read_timeout_s=0.3, max_connections=4
    )


def ask(
    run: Run[Any],
    request: AuthorizeRequest | CaptureRequest | VoidRequest | RefundRequest | LookupRequest,
    *behaviours: Behaviour,
) -> Any:
    """How one call ends against a server that behaves so."""
    with Wire(*behaviours) as wire:
        return ask_at(run, wire.url, request)


def ask_at(
    run: Run[Any],
    url: str,
    request: AuthorizeRequest | CaptureRequest | VoidRequest | RefundRequest | LookupRequest,
) -> Any:
    async def once() -> object:
        gateway = stripe_at(url)
        try:
            match request:
                case AuthorizeRequest():
                    return await gateway.authorize(request)
                case CaptureRequest():
                    return await gateway.capture(request)
                case VoidRequest():
                    return await gateway.void(request)
                case RefundRequest():
                    return await gateway.refund(request)
                case LookupRequest():
                    return await gateway.lookup(request)
        finally:
            await gateway.close()

    return run(once())


MOVING = pytest.mark.parametrize("request_", [CONFIRM, CAPTURE, VOID, REFUND], ids=lambda r: type(r).__name__)


# --- what is sent ------------------------------------------------------------------------------------


def test_a_payment_is_opened_unconfirmed_and_then_confirmed_under_our_keys(run: Run[Any]) -> None:
    with Wire(said(200, intent("requires_confirmation")), said(200, intent("succeeded"))) as wire:
        opened = ask_at(run, wire.url, OPEN)
        outcome = ask_at(run, wire.url, replace(OPEN, reference=opened.reference))
        create, confirm = wire.requests

    assert opened == Opened(reference="pi_1")
    assert outcome == Approved(reference="pi_1", amount=Money(1999, "EUR"))
    assert (create.method, create.path) == ("POST", "/v1/payment_intents")
    assert create.form == {
        "amount": "1999",
        "currency": "eur",
        "payment_method": TOKEN,
        "allowed_payment_method_types[0]": "card",
        "capture_method": "automatic",
        "description": "Order 1001",
        "statement_descriptor_suffix": "A SHOP WITH A VERY LON",
        "metadata[payment_id]": "pay_1",
        "metadata[order_id]": "1001",
        "metadata[attempt_id]": "pay_1.a1",
        "metadata[basket]": "7",
    }
    assert create.headers["idempotency-key"] == "pay_1.a1:open"
    assert (confirm.method, confirm.path) == ("POST", "/v1/payment_intents/pi_1/confirm")
    assert confirm.form == {"return_url": "https://shop.example/return"}
    assert confirm.headers["idempotency-key"] == "pay_1.a1"
    for request in (create, confirm):
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["stripe-version"] == "2026-10-28.endive"
        assert "x-stripe-client-telemetry" not in request.headers


def test_a_payment_without_the_customer_says_so_when_it_is_confirmed(run: Run[Any]) -> None:
    with Wire(said(200, intent("succeeded"))) as wire:
        ask_at(run, wire.url, replace(CONFIRM, off_session=True))
        [confirm] = wire.requests

    assert confirm.form == {"off_session": "true"}


def test_a_step_up_asks_for_the_customer_outright(run: Run[Any]) -> None:
    answer = said(200, intent("requires_confirmation"))
    with Wire(answer, answer) as wire:
        ask_at(run, wire.url, replace(OPEN, authenticate=True))
        ask_at(run, wire.url, OPEN)
        stepped_up, usual = wire.requests

    field = "payment_method_options[card][request_three_d_secure]"
    assert stepped_up.form[field] == "challenge"
    assert field not in usual.form


def test_a_customer_of_stripes_is_named_and_one_of_ours_is_not(run: Run[Any]) -> None:
    answer = said(200, intent("requires_confirmation"))
    with Wire(answer, answer) as wire:
        ask_at(run, wire.url, replace(OPEN, customer_id="cus_1"))
        ask_at(run, wire.url, replace(OPEN, customer_id="user-1"))
        theirs, ours = wire.requests

    assert theirs.form["customer"] == "cus_1"
    assert "customer" not in ours.form


def test_a_capture_a_void_and_a_refund_carry_our_key_and_name(run: Run[Any]) -> None:
    captured = intent("succeeded", metadata={"capture_attempt_id": "pay_1.a2"})
    with Wire(said(200, captured), said(200, intent("canceled")), said(200, refund("succeeded"))) as wire:
        taken, voided, given = (ask_at(run, wire.url, request) for request in (CAPTURE, VOID, REFUND))
        capture, cancel, give = wire.requests

    assert taken == Approved(reference="pi_1", amount=Money(1999, "EUR"))
    assert capture.path == "/v1/payment_intents/pi_1/capture"
    assert capture.form == {"amount_to_capture": "1999", "metadata[capture_attempt_id]": "pay_1.a2"}
    assert voided == Approved(reference="pi_1", amount=Money(1999, "EUR"))
    assert cancel.path == "/v1/payment_intents/pi_1/cancel"
    assert given == Approved(reference="re_1", amount=Money(1999, "EUR"))
    assert give.path == "/v1/refunds"
    assert give.form == {
        "payment_intent": "pi_1",
        "amount": "1999",
        "reason": "requested_by_customer",
        "metadata[payment_id]": "pay_1",
        "metadata[refund_id]": "ref_1",
        "metadata[attempt_id]": "ref_1.r1",
    }
    assert [r.headers["idempotency-key"] for r in wire.requests] == ["pay_1.a2", "pay_1.a2", "ref_1.r1"]


def test_a_hold_tells_until_when_it_lasts(run: Run[Any]) -> None:
    charge = {
        "id": "ch_1",
        "object": "charge",
        "payment_method_details": {"card": {"capture_before": 1_800_000_000}},
    }
    with Wire(said(200, intent("requires_capture", latest_charge=charge))) as wire:
        held = ask_at(run, wire.url, replace(CONFIRM, capture=False, return_url=None))
        [confirm] = wire.requests

    assert confirm.form == {"expand[0]": "latest_charge"}
    assert held == Approved(
        reference="pi_1",
        amount=Money(1999, "EUR"),
        capture_before=datetime.fromtimestamp(1_800_000_000, UTC),
    )


@pytest.mark.parametrize("request_", [OPEN, CAPTURE, REFUND], ids=["open", "capture", "refund"])
@pytest.mark.parametrize("amount", [Money(1991, "KWD"), Money(1, "BOV")])
def test_an_amount_stripe_cannot_take_is_refused_before_the_call(
    run: Run[Any], request_: AuthorizeRequest, amount: Money
) -> None:
    with Wire() as wire:
        outcome = ask_at(run, wire.url, replace(request_, amount=amount))
        sent = wire.requests

    assert sent == []
    assert isinstance(outcome, NotSent)
    assert not outcome.retryable
    assert amount.currency in outcome.detail


def test_a_capture_that_is_to_be_followed_by_another_is_refused_before_the_call(run: Run[Any]) -> None:
    outcome = ask_at(run, closed_port(), replace(CAPTURE, final=False))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


def test_more_metadata_than_stripe_holds_stops_neither_a_payment_nor_its_capture(run: Run[Any]) -> None:
    many = {f"key{n}": "value" for n in range(50)}
    with Wire(said(200, intent("requires_confirmation"))) as wire:
        ask_at(run, wire.url, replace(OPEN, metadata=many))
        [create] = wire.requests

    kept = [field for field in create.form if field.startswith("metadata")]
    assert len(kept) == 49  # and one that the capture adds
    assert "metadata[attempt_id]" in kept


# --- the line breaks ---------------------------------------------------------------------------------


@MOVING
def test_a_refused_connection_is_not_sent(run: Run[Any], request_: CaptureRequest) -> None:
    outcome = ask_at(run, closed_port(), request_)

    assert outcome == NotSent(detail="not connected (ClientConnectorError)", retryable=True)


@pytest.mark.parametrize("behaviour", [HangUp(after_reading=False), Silence()], ids=repr)
def test_a_connection_that_cannot_be_secured_is_not_sent(run: Run[Any], behaviour: Behaviour) -> None:
    with Wire(behaviour) as wire:
        outcome = ask_at(run, wire.url.replace("http:", "https:"), CONFIRM)

    assert isinstance(outcome, NotSent)
    assert outcome.retryable


BAD_LINES = [
    HangUp(after_reading=False),
    HangUp(after_reading=True),
    HangUp(after_reading=True, reset=True),
    Silence(),
    Trickle(),
    Answer(body=b"not HTTP", announced=100),
    Answer(body=b'{"id": "pi_1", "obj', announced=19),
    Answer(body=b""),
    Answer(body=b"null"),
    Answer(body=b"[]"),
    Answer(body=b'"succeeded"'),
    Answer(body=b"{}"),
    Answer(body=b'{"id": "pi_1", "object": "payment_intent"}'),
    Answer(status=302, headers={"Location": "https://elsewhere.example/"}),
    Answer(status=402, body=b"{}"),
    Answer(status=402, body=b'{"error": []}'),
    Answer(status=502, body=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}),
    Answer(status=502, body=b"<html>Passerelle d\xe9faillante</html>"),
    Answer(status=504, body=b""),
    error(500, "api_error"),
    said(500, {"error": {"type": "api_error"}}, **{"Idempotent-Replayed": "true"}),
    error(503, "api_error"),
    error(409, "invalid_request_error", "idempotency_key_in_use"),
    error(418, "invalid_request_error"),
    error(400, "idempotency_error"),
]


NO_AMOUNT = Answer(body=b'{"id": "pi_1", "object": "payment_intent", "status": "succeeded"}')


@MOVING
@pytest.mark.parametrize("behaviour", [*BAD_LINES, NO_AMOUNT], ids=repr)
def test_an_answer_that_leaves_a_doubt_is_unknown_never_declined(
    run: Run[Any], request_: CaptureRequest, behaviour: Behaviour
) -> None:
    outcome = ask(run, request_, behaviour)

    assert isinstance(outcome, Unknown)


@MOVING
@pytest.mark.parametrize("after_reading", [False, True])
def test_a_call_that_moves_money_is_sent_once(
    run: Run[Any], request_: CaptureRequest, after_reading: bool
) -> None:
    with Wire(HangUp(after_reading=after_reading), said(200, intent("succeeded"))) as wire:
        outcome = ask_at(run, wire.url, request_)
        sent = len(wire.requests)

    assert isinstance(outcome, Unknown)
    assert sent == int(after_reading)


@pytest.mark.parametrize("behaviour", BAD_LINES[:-1], ids=repr)
def test_a_doubt_while_opening_is_not_sent_as_nothing_was_confirmed(
    run: Run[Any], behaviour: Behaviour
) -> None:
    outcome = ask(run, OPEN, behaviour)

    if isinstance(outcome, Opened):
        assert outcome.reference == "pi_1"  # an answer without a status still names the intent
    else:
        assert isinstance(outcome, NotSent)
        assert outcome.retryable


def test_opening_under_a_key_that_was_used_otherwise_can_never_succeed(run: Run[Any]) -> None:
    outcome = ask(run, OPEN, error(400, "idempotency_error"))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


@MOVING
@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        (error(429, "invalid_request_error", "rate_limit"), True),
        (error(429, "invalid_request_error", "lock_timeout"), True),
        (error(401, "invalid_request_error"), True),
        (error(403, "invalid_request_error"), True),
        (error(400, "invalid_request_error", "parameter_unknown", param="allowed"), False),
        (error(404, "invalid_request_error", "resource_missing"), False),
    ],
)
def test_what_stripe_says_it_did_not_do_is_not_sent(
    run: Run[Any], request_: CaptureRequest, answer: Answer, retryable: bool
) -> None:
    outcome = ask(run, request_, answer)

    assert isinstance(outcome, NotSent)
    assert outcome.retryable is retryable
    assert "req_1" in outcome.detail


@pytest.mark.parametrize(
    "behaviour",
    [
        *(line for line in BAD_LINES if not isinstance(line, Trickle)),  # slow, and tried above
        *(error(status, "invalid_request_error") for status in (401, 403, 404, 429)),
        error(402, "card_error"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("operation", list(Operation))
def test_a_look_up_that_fails_says_nothing_about_the_payment(
    run: Run[Any], operation: Operation, behaviour: Behaviour
) -> None:
    reference = None if operation is Operation.REFUND else "pi_1"

    found = ask(run, look_for(operation, reference=reference), behaviour, behaviour)  # a GET may be repeated

    assert isinstance(found, Unknown)


def test_a_look_up_that_cannot_connect_is_unknown(run: Run[Any]) -> None:
    assert isinstance(ask_at(run, closed_port(), look_for(Operation.SALE)), Unknown)


def test_waiting_for_a_free_connection_too_long_is_not_sent(run: Run[Any]) -> None:
    async def crowd(url: str) -> list[object]:
        gateway = StripeGateway(
            api_key=KEY, base_url=url, connect_timeout_s=0.2, read_timeout_s=1, max_connections=1
        )
        calls = [replace(CONFIRM, attempt_id=AttemptId(f"pay_1.a{n}")) for n in range(2)]
        endings = await asyncio.gather(*(gateway.authorize(call) for call in calls))
        await gateway.close()
        return list(endings)

    with Wire(Silence()) as wire:
        first, second = run(crowd(wire.url))

    assert isinstance(first, Unknown)
    assert second == NotSent(detail="not connected (ConnectionTimeoutError)", retryable=True)


# --- declines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(DECLINE_TABLE))
def test_a_decline_code_is_told_in_our_words(run: Run[Any], code: str) -> None:
    outcome = ask(run, CONFIRM, error(402, "card_error", "card_declined", decline_code=code))

    reason, firmness = DECLINE_TABLE[code]
    assert outcome == Declined(reason=reason, firmness=firmness, code=code, reference="pi_1")


@pytest.mark.parametrize(
    ("said_error", "reason", "firmness", "code"),
    [
        ({"code": "expired_card"}, DeclineReason.EXPIRED_CARD, Firmness.HARD, "expired_card"),
        (
            {"code": "card_declined", "decline_code": "a_new_one"},
            DeclineReason.GENERIC_DECLINE,
            Firmness.SOFT,
            "a_new_one",
        ),
        ({"code": "a_new_one"}, DeclineReason.OTHER, Firmness.SOFT, "a_new_one"),
        ({}, DeclineReason.OTHER, Firmness.SOFT, "unknown"),
        (
            {"code": "card_declined", "decline_code": "do_not_honor", "advice_code": "do_not_try_again"},
            DeclineReason.DO_NOT_RETRY,
            Firmness.HARD,
            "do_not_honor",
        ),
        (
            {"code": "card_declined", "decline_code": "stolen_card", "advice_code": "do_not_try_again"},
            DeclineReason.LOST_OR_STOLEN,
            Firmness.HARD,
            "stolen_card",
        ),
        (
            {"code": "authentication_required", "decline_code": "authentication_required"},
            DeclineReason.AUTHENTICATION_REQUIRED,
            Firmness.NEEDS_AUTHENTICATION,
            "authentication_required",
        ),
    ],
)
def test_a_decline_is_read_from_advice_decline_code_and_code(
    run: Run[Any], said_error: dict[str, object], reason: DeclineReason, firmness: Firmness, code: str
) -> None:
    answer = said(402, {"error": {"type": "card_error", "message": "no", **said_error}})

    assert ask(run, CONFIRM, answer) == Declined(
        reason=reason, firmness=firmness, code=code, reference="pi_1"
    )


def test_an_amount_beyond_stripes_limits_is_declined(run: Run[Any]) -> None:
    outcome = ask(run, OPEN, error(400, "invalid_request_error", "amount_too_small", param="amount"))

    assert isinstance(outcome, Declined)
    assert outcome.reason is DeclineReason.LIMIT_OR_AMOUNT


# --- statuses ----------------------------------------------------------------------------------------

REDIRECT = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/3ds"}}
FAILED = {"type": "card_error", "code": "payment_intent_authentication_failure"}


@pytest.mark.parametrize(
    ("said_intent", "ending"),
    [
        (intent("succeeded"), Approved(reference="pi_1", amount=Money(1999, "EUR"))),
        (
            intent("succeeded", amount_received=2100, currency="usd"),
            Approved(reference="pi_1", amount=Money(2100, "USD")),
        ),
        (intent("processing"), Pending(reference="pi_1")),
        (
            intent("requires_action", next_action=REDIRECT),
            ActionRequired(
                reference="pi_1", action=NextAction(kind="redirect", url="https://bank.example/3ds")
            ),
        ),
        (
            intent("requires_action", next_action={"type": "use_stripe_sdk"}),
            ActionRequired(reference="pi_1", action=NextAction(kind="sdk", client_secret=SECRET)),
        ),
        (
            intent("requires_payment_method", last_payment_error=FAILED),
            Declined(
                reason=DeclineReason.AUTHENTICATION_FAILED,
                firmness=Firmness.NEEDS_AUTHENTICATION,
                code="payment_intent_authentication_failure",
                reference="pi_1",
            ),
        ),
    ],
)
def test_a_sale_is_told_alike_by_its_answer_and_by_a_look_up(
    run: Run[Any], said_intent: dict[str, object], ending: Outcome
) -> None:
    assert ask(run, CONFIRM, said(200, said_intent)) == ending
    assert ask(run, look_for(Operation.SALE), said(200, said_intent)) == ending


@pytest.mark.parametrize(
    "said_intent",
    [
        intent("requires_confirmation"),
        intent("requires_payment_method"),
        intent("requires_capture"),
        intent("a_new_status"),
        intent("succeeded", amount_received="1999"),
        intent("succeeded", currency="zzz"),
    ],
)
def test_a_confirmation_answered_by_nonsense_is_unknown(
    run: Run[Any], said_intent: dict[str, object]
) -> None:
    assert isinstance(ask(run, CONFIRM, said(200, said_intent)), Unknown)


@pytest.mark.parametrize("status", ["requires_confirmation", "requires_payment_method"])
def test_an_unconfirmed_intent_is_absent_not_declined(run: Run[Any], status: str) -> None:
    assert isinstance(ask(run, look_for(Operation.SALE), said(200, intent(status))), Absent)


def test_an_intent_that_was_never_stored_was_never_confirmed(run: Run[Any]) -> None:
    found = ask_at(run, closed_port(), look_for(Operation.SALE, reference=None))

    assert isinstance(found, Absent)


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("automatic", DeclineReason.EXPIRED),
        ("expired", DeclineReason.EXPIRED),
        ("abandoned", DeclineReason.CANCELED),
        ("requested_by_customer", DeclineReason.CANCELED),
        (None, DeclineReason.CANCELED),
    ],
)
def test_a_canceled_payment_is_declined_with_its_reason(
    run: Run[Any], why: str | None, reason: DeclineReason
) -> None:
    found = ask(run, look_for(Operation.AUTHORIZE), said(200, intent("canceled", cancellation_reason=why)))

    assert isinstance(found, Declined)
    assert found.reason is reason


def test_a_hold_that_was_taken_in_part_was_still_authorized_in_full(run: Run[Any]) -> None:
    found = ask(run, look_for(Operation.AUTHORIZE), said(200, intent("succeeded", amount_received=400)))

    assert found == Approved(reference="pi_1", amount=Money(1999, "EUR"))


MINE, OTHERS = {"capture_attempt_id": "pay_1.a2"}, {"capture_attempt_id": "pay_1.a9"}


@pytest.mark.parametrize(
    ("said_intent", "ending"),
    [
        (intent("succeeded", metadata=MINE), Approved),
        (intent("succeeded", metadata=OTHERS), Declined),
        (intent("succeeded", metadata={}), Unknown),
        (intent("requires_capture"), Absent),
        (intent("canceled"), Declined),
        (intent("processing"), Pending),
        (intent("a_new_status"), Unknown),
    ],
)
def test_a_look_up_of_a_capture_asks_who_captured(
    run: Run[Any], said_intent: dict[str, object], ending: type[Outcome]
) -> None:
    assert isinstance(ask(run, look_for(Operation.CAPTURE), said(200, said_intent)), ending)


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        ("canceled", Approved),
        ("succeeded", Declined),
        ("requires_capture", Absent),
        ("requires_action", Absent),
        ("processing", Absent),
        ("a_new_status", Unknown),
    ],
)
def test_a_look_up_of_a_void_reads_the_intent(run: Run[Any], status: str, ending: type[Outcome]) -> None:
    assert isinstance(ask(run, look_for(Operation.VOID), said(200, intent(status))), ending)


def test_a_hold_that_lapsed_was_not_let_go_by_us(run: Run[Any]) -> None:
    lapsed = intent("canceled", cancellation_reason="automatic")
    refused = error(400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=lapsed)

    for ending in (ask(run, look_for(Operation.VOID), said(200, lapsed)), ask(run, VOID, refused)):
        assert isinstance(ending, Declined)
        assert ending.reason is DeclineReason.EXPIRED


def test_a_payment_whose_intent_was_never_stored_is_canceled_without_a_call(run: Run[Any]) -> None:
    with Wire() as wire:
        outcome = ask_at(run, wire.url, replace(VOID, authorization_reference=""))
        sent = wire.requests

    assert sent == []
    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


@pytest.mark.parametrize(
    ("request_", "said_intent", "ending"),
    [
        (CONFIRM, intent("succeeded"), Approved),
        (CONFIRM, intent("processing"), Pending),
        (CONFIRM, intent("canceled"), Declined),
        (CONFIRM, intent("requires_confirmation"), Unknown),
        (CAPTURE, intent("succeeded", metadata=MINE), Approved),
        (CAPTURE, intent("succeeded", metadata=OTHERS), Declined),
        (CAPTURE, intent("canceled"), Declined),
        (CAPTURE, intent("requires_capture"), Unknown),
        (VOID, intent("succeeded"), Declined),
        (VOID, intent("canceled"), Declined),
        (VOID, intent("requires_capture"), Unknown),
    ],
)
def test_a_call_the_intents_state_forbids_is_told_by_that_state(
    run: Run[Any],
    request_: CaptureRequest,
    said_intent: dict[str, object],
    ending: type[Outcome],
) -> None:
    answer = error(
        400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=said_intent
    )

    assert isinstance(ask(run, request_, answer), ending)


# --- refunds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said_refund", "ending"),
    [
        (refund("succeeded"), Approved(reference="re_1", amount=Money(1999, "EUR"))),
        (refund("pending"), Pending(reference="re_1")),
        (refund("requires_action"), Pending(reference="re_1")),
        (
            refund("failed", failure_reason="expired_or_canceled_card"),
            Declined(
                reason=DeclineReason.EXPIRED_CARD,
                firmness=Firmness.HARD,
                code="expired_or_canceled_card",
                reference="re_1",
            ),
        ),
        (
            refund("canceled"),
            Declined(
                reason=DeclineReason.NOT_REFUNDABLE,
                firmness=Firmness.HARD,
                code="canceled",
                reference="re_1",
            ),
        ),
    ],
)
def test_a_refund_is_told_alike_by_its_answer_its_id_and_its_list(
    run: Run[Any], said_refund: dict[str, object], ending: Outcome
) -> None:
    others = [refund("succeeded", id=f"re_{n}", metadata={"attempt_id": f"x{n}"}) for n in range(2, 5)]
    listed = {"object": "list", "data": [*others, said_refund], "has_more": False, "url": "/v1/refunds"}

    assert ask(run, REFUND, said(200, said_refund)) == ending
    assert ask(run, look_for(Operation.REFUND, reference="re_1"), said(200, said_refund)) == ending
    assert ask(run, look_for(Operation.REFUND, reference=None), said(200, listed)) == ending


def test_a_refund_known_by_its_id_is_looked_up_with_what_tells_whether_money_moved(run: Run[Any]) -> None:
    with Wire(said(200, refund("succeeded"))) as wire:
        ask_at(run, wire.url, look_for(Operation.REFUND, reference="re_1"))
        [request] = wire.requests

    assert request.path == "/v1/refunds/re_1?expand[0]=charge&expand[1]=balance_transaction"


@pytest.mark.parametrize(
    ("more", "ending"),
    [
        ({"payment_intent": "pi_1"}, Approved),
        ({"payment_intent": "pi_2"}, Unknown),
        ({"metadata": {}}, Approved),
        ({"charge": {"id": "ch_1", "object": "charge", "captured": True}}, Approved),
        ({"charge": {"id": "ch_1", "object": "charge", "captured": False}}, Absent),
        (
            {"balance_transaction": {"id": "txn_1", "reporting_category": "partial_capture_reversal"}},
            Absent,
        ),
        ({"balance_transaction": {"id": "txn_1", "reporting_category": "refund"}}, Approved),
    ],
)
def test_a_refund_known_by_its_id_alone_must_be_of_this_payment_and_give_money_back(
    run: Run[Any], more: dict[str, object], ending: type[Outcome]
) -> None:
    found = ask(run, look_for(Operation.REFUND, reference="re_1"), said(200, refund("succeeded", **more)))

    assert isinstance(found, ending)


def test_a_refund_made_elsewhere_is_told_with_its_own_amount(run: Run[Any]) -> None:
    made_elsewhere = refund("succeeded", amount=500, currency="usd", metadata={})

    found = ask(run, look_for(Operation.REFUND, reference="re_1"), said(200, made_elsewhere))

    assert found == Approved(reference="re_1", amount=Money(500, "USD"))


def test_a_refund_is_searched_page_by_page(run: Run[Any]) -> None:
    def page(*refunds: dict[str, object], more: bool) -> Answer:
        return said(200, {"object": "list", "data": list(refunds), "has_more": more, "url": "/v1/refunds"})

    other = refund("succeeded", id="re_2", metadata={})
    with Wire(page(other, more=True), page(refund("succeeded"), more=False)) as wire:
        found = ask_at(run, wire.url, look_for(Operation.REFUND, reference=None))
        first, second = (request.path for request in wire.requests)

    assert isinstance(found, Approved)
    assert first == "/v1/refunds?payment_intent=pi_1&limit=100"
    assert second == "/v1/refunds?payment_intent=pi_1&limit=100&starting_after=re_2"


def test_a_refund_in_no_page_is_absent(run: Run[Any]) -> None:
    empty = said(200, {"object": "list", "data": [], "has_more": False, "url": "/v1/refunds"})

    assert isinstance(ask(run, look_for(Operation.REFUND, reference=None), empty), Absent)


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "invalid_request_error", "charge_already_refunded"),
        error(400, "invalid_request_error", "amount_too_large", param="amount"),
        error(400, "invalid_request_error", None, param="amount"),
    ],
)
def test_a_refund_of_more_than_is_left_is_not_refundable(run: Run[Any], answer: Answer) -> None:
    outcome = ask(run, REFUND, answer)

    assert isinstance(outcome, Declined)
    assert outcome.reason is DeclineReason.NOT_REFUNDABLE


# --- secrets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [OPEN, CONFIRM, CAPTURE, VOID, REFUND])
@pytest.mark.parametrize(
    "answer",
    [
        error(400, "invalid_request_error", f"code with {TOKEN}", param=TOKEN + " "),
        error(402, "card_error", f"a code, {TOKEN}"),
        error(500, "api_error"),
        Answer(status=502, body=TOKEN.encode()),
        said(200, intent(f"a status, {TOKEN}")),
    ],
)
def test_no_ending_and_no_log_line_repeats_what_we_sent(
    run: Run[Any], request_: AuthorizeRequest, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    shown = repr(ask(run, request_, answer)) + caplog.text

    for secret in (TOKEN, KEY, SECRET):
        assert secret not in shown


def test_the_client_secret_is_handed_over_but_not_shown(run: Run[Any]) -> None:
    outcome = ask(run, CONFIRM, said(200, intent("requires_action")))

    assert isinstance(outcome, ActionRequired)
    assert outcome.action.client_secret == SECRET
    assert SECRET not in repr(outcome)


def test_a_gateway_does_not_show_its_key() -> None:
    assert KEY not in repr(stripe_at("http://127.0.0.1:1"))


@pytest.mark.parametrize("key", ["", "sk_test_x\n", "sk test", "sk_tést"])
def test_a_key_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="Stripe key") as refused:
        StripeGateway(api_key=key)

    assert not key or key not in str(refused.value)


def test_the_sdks_own_log_may_not_be_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_LOG", "debug")

    with pytest.raises(ValueError, match="STRIPE_LOG"):
        stripe_at("http://127.0.0.1:1")


def test_the_call_time_limit_covers_every_time_out() -> None:
    gateway = StripeGateway(api_key=KEY, connect_timeout_s=3, read_timeout_s=20)

    assert gateway.capabilities.call_time_limit.total_seconds() > 3 + 3 + 20
