"""What the PayPal adapter sends, and what it makes of every way an answer can go wrong."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from gateways import paypal_codes as codes
from gateways.paypal import PaypalGateway
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
from messages.ids import AttemptId, PaymentId, RefundId
from messages.money import EXPONENTS, Money
from tests.gateways.wire import Answer, Behaviour, HangUp, Silence, Trickle, Wire, closed_port, said

T = TypeVar("T")

SECRET = "aVerySecretClientSecret"
BEARER = "A21AA-a-bearer-nobody-may-see"
VAULT_ID = "vaultIdNobodyMaySee"
ORDER, HOLD, TAKEN, GIVEN = "5O190127TN364715T", "0VF52814937998046", "2GG279541U471931P", "1JU08902781691411"
EUROS = Money(1999, "EUR")
WRITTEN = {"currency_code": "EUR", "value": "19.99"}

TOKEN = said(200, {"access_token": BEARER, "token_type": "Bearer", "expires_in": 32400})

OPEN = AuthorizeRequest(
    attempt_id=AttemptId("pay_1.a1"),
    payment_id=PaymentId("pay_1"),
    order_id="1001",
    amount=EUROS,
    token=f"card:{VAULT_ID}",
    capture=True,
    reference=None,
    return_url="https://shop.example/return",
    description="Order 1001",
    statement_descriptor="A SHOP WITH A VERY LONG NAME",
    metadata={"basket": "7"},
)
PAY = replace(OPEN, reference=f"order:{ORDER}")
CAPTURE = CaptureRequest(
    attempt_id=AttemptId("pay_1.a2"),
    payment_id=PaymentId("pay_1"),
    authorization_reference=f"authorization:{HOLD}",
    amount=EUROS,
    final=True,
)
VOID = VoidRequest(
    attempt_id=AttemptId("pay_1.a2"),
    payment_id=PaymentId("pay_1"),
    authorization_reference=f"authorization:{HOLD}",
    amount=EUROS,
)
REFUND = RefundRequest(
    attempt_id=AttemptId("ref_1.r1"),
    payment_id=PaymentId("pay_1"),
    refund_id=RefundId("ref_1"),
    capture_reference=f"capture:{TAKEN}",
    amount=EUROS,
    reason="requested_by_customer",
)
Request = AuthorizeRequest | CaptureRequest | VoidRequest | RefundRequest | LookupRequest


def order(status: str, *, payments: object = None, **more: object) -> dict[str, object]:
    """An order as PayPal writes it."""
    unit: dict[str, object] = {"reference_id": "default", "amount": WRITTEN, "custom_id": "pay_1.a1"}
    if payments is not None:
        unit["payments"] = payments
    return {"id": ORDER, "intent": "CAPTURE", "status": status, "purchase_units": [unit], **more}


def hold(status: str, **more: object) -> dict[str, object]:
    """An authorization as PayPal writes it."""
    return {
        "id": HOLD,
        "status": status,
        "amount": WRITTEN,
        "expiration_time": "2026-12-20T10:00:00Z",
        "supplementary_data": {"related_ids": {"order_id": ORDER}},
        **more,
    }


def taken(status: str, **more: object) -> dict[str, object]:
    """A capture as PayPal writes it."""
    related = {"order_id": ORDER}
    return {
        "id": TAKEN,
        "status": status,
        "amount": WRITTEN,
        "supplementary_data": {"related_ids": related},
        **more,
    }


def given(status: str, **more: object) -> dict[str, object]:
    """A refund as PayPal writes it."""
    return {"id": GIVEN, "status": status, "amount": WRITTEN, "custom_id": "ref_1.r1", **more}


def paid(status: str, **more: object) -> dict[str, object]:
    """An order with the capture that paid it."""
    return order("COMPLETED", payments={"captures": [taken(status, **more)]})


def refusal(status: int, name: str, issue: str | None = None, **more: object) -> Answer:
    """An error as PayPal writes it; its sentences quote what we sent, as PayPal's may."""
    body: dict[str, object] = {
        "name": name,
        "message": f"No such thing: {VAULT_ID}",
        "debug_id": "d1",
        **more,
    }
    if issue is not None:
        body["details"] = [{"issue": issue, "description": VAULT_ID, "value": VAULT_ID}]
    return said(status, body, **{"Paypal-Debug-Id": "d1"})


def no(issue: str, **more: object) -> Answer:
    """A 422."""
    return refusal(422, "UNPROCESSABLE_ENTITY", issue, **more)


def look_for(
    operation: Operation, *, reference: str | None = None, parent: str | None = None
) -> LookupRequest:
    attempts = {Operation.REFUND: REFUND.attempt_id, Operation.CAPTURE: CAPTURE.attempt_id}
    attempts[Operation.VOID] = VOID.attempt_id
    return LookupRequest(
        attempt_id=attempts.get(operation, OPEN.attempt_id),
        operation=operation,
        payment_id=PaymentId("pay_1"),
        amount=EUROS,
        reference=reference,
        parent_reference=parent,
    )


SALE = look_for(Operation.SALE, reference=f"order:{ORDER}")
HELD = look_for(Operation.AUTHORIZE, reference=f"order:{ORDER}")

Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def paypal_at(url: str) -> PaypalGateway:
    """The adapter in a hurry."""
    return PaypalGateway(
        client_id="client-1",
        client_secret=SECRET,
        base_url=url,
        connect_timeout_s=0.3,
        read_timeout_s=0.3,
        max_connections=4,
    )


def ask(run: Run[Any], request: Request, *behaviours: Behaviour) -> Any:
    """How one call ends against a server that gives a token, and then behaves so."""
    with Wire(TOKEN, *behaviours) as wire:
        return ask_at(run, wire.url, request)


def ask_at(run: Run[Any], url: str, request: Request) -> Any:
    async def once() -> object:
        gateway = paypal_at(url)
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


BEFORE: dict[type[Request], list[Behaviour]] = {CaptureRequest: [said(200, hold("CREATED"))]}
"""What a call asks before it moves anything."""

MOVING = pytest.mark.parametrize("request_", [PAY, CAPTURE, VOID, REFUND], ids=lambda r: type(r).__name__)


# --- what is sent ------------------------------------------------------------------------------------


def test_an_order_is_made_without_a_payment_and_then_paid_under_our_request_ids(run: Run[Any]) -> None:
    with Wire(TOKEN, said(201, order("CREATED")), TOKEN, said(201, paid("COMPLETED"))) as wire:
        opened = ask_at(run, wire.url, OPEN)
        outcome = ask_at(run, wire.url, replace(OPEN, reference=opened.reference))
        token, create, _, pay = wire.requests

    assert opened == Opened(reference=f"order:{ORDER}")
    assert outcome == Approved(reference=f"capture:{TAKEN}", amount=EUROS)
    assert (token.method, token.path, token.body) == (
        "POST",
        "/v1/oauth2/token",
        "grant_type=client_credentials",
    )
    assert token.headers["authorization"].startswith("Basic ")
    assert (create.method, create.path) == ("POST", "/v2/checkout/orders")
    assert json.loads(create.body) == {
        "intent": "CAPTURE",
        "purchase_units": [
            {
                "amount": WRITTEN,
                "custom_id": "pay_1.a1",
                "description": "Order 1001",
                "soft_descriptor": "A SHOP WITH A VERY LON",
            }
        ],
    }
    assert create.headers["paypal-request-id"] == "pay_1.a1:open"
    assert (pay.method, pay.path) == ("POST", f"/v2/checkout/orders/{ORDER}/capture")
    assert pay.headers["paypal-request-id"] == "pay_1.a1"
    for request in (create, pay):
        assert request.headers["authorization"] == f"Bearer {BEARER}"
        assert request.headers["prefer"] == "return=representation"


PAGE = {"return_url": "https://shop.example/return", "cancel_url": "https://shop.example/return"}


@pytest.mark.parametrize(
    ("changed", "source"),
    [
        (
            {},
            {
                "card": {
                    "vault_id": VAULT_ID,
                    "stored_credential": {
                        "payment_initiator": "CUSTOMER",
                        "payment_type": "ONE_TIME",
                        "usage": "SUBSEQUENT",
                    },
                    "attributes": {"verification": {"method": "SCA_WHEN_REQUIRED"}},
                    "experience_context": PAGE,
                }
            },
        ),
        (
            {"off_session": True},
            {
                "card": {
                    "vault_id": VAULT_ID,
                    "stored_credential": {
                        "payment_initiator": "MERCHANT",
                        "payment_type": "UNSCHEDULED",
                        "usage": "SUBSEQUENT",
                    },
                }
            },
        ),
        (
            {"authenticate": True},
            {
                "card": {
                    "vault_id": VAULT_ID,
                    "stored_credential": {
                        "payment_initiator": "CUSTOMER",
                        "payment_type": "ONE_TIME",
                        "usage": "SUBSEQUENT",
                    },
                    "attributes": {"verification": {"method": "SCA_ALWAYS"}},
                    "experience_context": PAGE,
                }
            },
        ),
        (
            {"token": VAULT_ID, "authenticate": True},
            {
                "paypal": {
                    "vault_id": VAULT_ID,
                    "stored_credential": {"payment_initiator": "CUSTOMER", "usage": "SUBSEQUENT"},
                    "experience_context": PAGE,
                }
            },
        ),
        (
            {"token": f"paypal:{VAULT_ID}", "off_session": True},
            {
                "paypal": {
                    "vault_id": VAULT_ID,
                    "stored_credential": {
                        "payment_initiator": "MERCHANT",
                        "usage": "SUBSEQUENT",
                        "usage_pattern": "UNSCHEDULED_PREPAID",
                    },
                }
            },
        ),
    ],
)
def test_a_saved_method_is_named_when_the_order_is_paid(
    run: Run[Any], changed: dict[str, Any], source: object
) -> None:
    with Wire(TOKEN, said(201, paid("COMPLETED"))) as wire:
        ask_at(run, wire.url, replace(PAY, **changed))
        pay = wire.requests[1]

    assert json.loads(pay.body) == {"payment_source": source}


@pytest.mark.parametrize("changed", [{"return_url": None}, {"off_session": True}])
@pytest.mark.parametrize("request_", [OPEN, PAY])
def test_a_cardholder_who_cannot_come_back_is_not_asked_to_authenticate(
    run: Run[Any], request_: AuthorizeRequest, changed: dict[str, Any]
) -> None:
    outcome = ask_at(run, closed_port(), replace(request_, authenticate=True, **changed))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


def test_a_payer_is_asked_when_the_order_is_made(run: Run[Any]) -> None:
    with Wire(TOKEN, said(201, order("PAYER_ACTION_REQUIRED"))) as wire:
        ask_at(run, wire.url, replace(OPEN, token="payer"))
        create = wire.requests[1]

    context = {**PAGE, "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING"}
    assert json.loads(create.body)["payment_source"] == {"paypal": {"experience_context": context}}


@pytest.mark.parametrize("changed", [{"return_url": None}, {"off_session": True}])
def test_a_payer_who_cannot_come_back_is_not_asked(run: Run[Any], changed: dict[str, Any]) -> None:
    outcome = ask_at(run, closed_port(), replace(OPEN, token="payer", **changed))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


@pytest.mark.parametrize("token", ["", "card:", "venmo:abc", "a b", "x" * 256, "card:vault/../id"])
def test_a_token_that_names_no_method_is_refused_and_not_shown(run: Run[Any], token: str) -> None:
    outcome = ask_at(run, closed_port(), replace(OPEN, token=token))

    assert outcome == NotSent(detail="the token is no vault id of PayPal's", retryable=False)


def test_a_hold_is_authorized_and_tells_until_when_it_lasts(run: Run[Any]) -> None:
    answer = order("COMPLETED", payments={"authorizations": [hold("CREATED")]}, intent="AUTHORIZE")
    with Wire(TOKEN, said(201, answer)) as wire:
        held = ask_at(run, wire.url, replace(PAY, capture=False))
        path = wire.requests[1].path

    assert path == f"/v2/checkout/orders/{ORDER}/authorize"
    assert held == Approved(
        reference=f"authorization:{HOLD}",
        amount=EUROS,
        capture_before=datetime(2026, 12, 20, 10, tzinfo=UTC),
    )


def test_a_capture_a_void_and_a_refund_carry_our_id_and_name(run: Run[Any]) -> None:
    captured = taken("COMPLETED", invoice_id="pay_1.a2")
    with Wire(
        TOKEN,
        said(200, hold("CREATED")),
        said(201, captured),
        TOKEN,
        said(200, hold("VOIDED")),
        TOKEN,
        said(201, given("COMPLETED")),
    ) as wire:
        endings = [ask_at(run, wire.url, request) for request in (CAPTURE, VOID, REFUND)]
        _, _, capture, _, void, _, give = wire.requests

    assert endings == [
        Approved(reference=f"capture:{TAKEN}", amount=EUROS),
        Approved(reference=f"authorization:{HOLD}", amount=EUROS),
        Approved(reference=f"refund:{GIVEN}", amount=EUROS),
    ]
    assert capture.path == f"/v2/payments/authorizations/{HOLD}/capture"
    assert json.loads(capture.body) == {"amount": WRITTEN, "invoice_id": "pay_1.a2", "final_capture": True}
    assert (void.path, void.body) == (f"/v2/payments/authorizations/{HOLD}/void", "")
    assert give.path == f"/v2/payments/captures/{TAKEN}/refund"
    assert json.loads(give.body) == {"amount": WRITTEN, "custom_id": "ref_1.r1"}
    ids = [request.headers["paypal-request-id"] for request in (capture, void, give)]
    assert ids == ["pay_1.a2", "pay_1.a2", "ref_1.r1"]


@pytest.mark.parametrize("request_", [OPEN, CAPTURE, REFUND], ids=["open", "capture", "refund"])
@pytest.mark.parametrize(
    "amount",
    [Money(1050, "HUF"), Money(199, "TWD"), Money(1000, "KWD")]
    + [Money(100, code) for code in ("RUB", "INR", "ISK")],
    ids=str,
)
def test_an_amount_paypal_cannot_take_is_refused_before_the_call(
    run: Run[Any], request_: AuthorizeRequest, amount: Money
) -> None:
    outcome = ask_at(run, closed_port(), replace(request_, amount=amount))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable
    assert amount.currency in outcome.detail


@pytest.mark.parametrize("currency", sorted(EXPONENTS))
def test_every_currency_comes_back_as_it_was_sent_or_is_refused_by_name(run: Run[Any], currency: str) -> None:
    amount = Money(12_300, currency)
    with Wire(TOKEN, said(201, order("CREATED"))) as wire:
        opened = ask_at(run, wire.url, replace(OPEN, amount=amount))
        written = [json.loads(request.body)["purchase_units"][0]["amount"] for request in wire.requests[1:]]
    if not written:
        assert isinstance(opened, NotSent)
        assert currency in opened.detail
        return

    refunded = replace(REFUND, amount=amount)

    assert ask(run, refunded, said(201, given("COMPLETED", amount=written[0]))) == Approved(
        reference=f"refund:{GIVEN}", amount=amount
    )


@pytest.mark.parametrize(
    "made",
    [
        order("CREATED", intent="AUTHORIZE"),
        {**order("CREATED"), "purchase_units": [{"amount": WRITTEN, "custom_id": "pay_9.a1"}]},
        {
            **order("CREATED"),
            "purchase_units": [
                {"amount": {"currency_code": "EUR", "value": "20.00"}, "custom_id": "pay_1.a1"}
            ],
        },
    ],
    ids=["intent", "attempt", "amount"],
)
def test_an_order_made_otherwise_under_the_same_request_id_is_not_paid(
    run: Run[Any], made: dict[str, object]
) -> None:
    outcome = ask(run, OPEN, said(200, made))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


@pytest.mark.parametrize(
    "request_",
    [
        replace(PAY, reference=ORDER),
        replace(PAY, reference=f"capture:{TAKEN}"),
        replace(PAY, reference="order:../v1"),
        replace(CAPTURE, authorization_reference=f"order:{ORDER}"),
        replace(VOID, authorization_reference=f"refund:{GIVEN}"),
        replace(REFUND, capture_reference=f"authorization:{HOLD}"),
    ],
)
def test_a_reference_of_another_kind_is_refused_before_the_call(run: Run[Any], request_: Request) -> None:
    outcome = ask_at(run, closed_port(), request_)

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


# --- the access token --------------------------------------------------------------------------------


@MOVING
def test_a_token_paypal_does_not_know_is_renewed_and_the_call_made_once_more(
    run: Run[Any], request_: CaptureRequest
) -> None:
    stale = said(401, {"error": "invalid_token", "error_description": "Token signature verification failed"})
    good = {
        AuthorizeRequest: said(201, paid("COMPLETED")),
        CaptureRequest: said(201, taken("COMPLETED")),
        VoidRequest: Answer(status=204, body=b""),
        RefundRequest: said(201, given("COMPLETED")),
    }[type(request_)]
    with Wire(TOKEN, *BEFORE.get(type(request_), []), stale, TOKEN, good) as wire:
        outcome = ask_at(run, wire.url, request_)
        ids = [r.headers["paypal-request-id"] for r in wire.requests if "paypal-request-id" in r.headers]

    assert isinstance(outcome, Approved)
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_token_that_is_refused_twice_is_for_a_person_to_mend(run: Run[Any]) -> None:
    refused = said(401, {"error": "invalid_token"})

    outcome = ask(run, PAY, refused, TOKEN, refused)

    assert outcome == NotSent(detail="HTTP 401 invalid_token", retryable=True)


@pytest.mark.parametrize(
    "behaviour",
    [
        HangUp(after_reading=True),
        Silence(),
        Answer(status=502, body=b"<html>Bad Gateway</html>"),
        said(401, {"error": "invalid_client"}),
        said(200, {"token_type": "Bearer"}),
        said(200, {"access_token": BEARER, "expires_in": "soon"}),
        Answer(body=b"null"),
    ],
    ids=repr,
)
@MOVING
def test_without_a_token_nothing_was_sent(
    run: Run[Any], request_: CaptureRequest, behaviour: Behaviour
) -> None:
    with Wire(behaviour) as wire:
        outcome = ask_at(run, wire.url, request_)

    assert isinstance(outcome, NotSent)
    assert outcome.retryable


def test_a_token_is_used_until_shortly_before_its_end(run: Run[Any]) -> None:
    async def three(url: str) -> None:
        gateway = paypal_at(url)
        for _ in range(3):
            await gateway.lookup(SALE)
        await gateway.close()

    found = said(200, order("CREATED"))
    spent = said(200, {"access_token": BEARER, "expires_in": 0})
    with Wire(TOKEN, found, found, found) as wire:
        run(three(wire.url))
        long_lived = [request.path for request in wire.requests]
    with Wire(spent, found, spent, found, spent, found) as wire:
        run(three(wire.url))
        spent_at_once = [request.path for request in wire.requests]

    assert long_lived.count("/v1/oauth2/token") == 1
    assert spent_at_once.count("/v1/oauth2/token") == 3


# --- the line breaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [OPEN, PAY, CAPTURE, VOID, REFUND], ids=lambda r: type(r).__name__)
def test_a_refused_connection_is_not_sent(run: Run[Any], request_: CaptureRequest) -> None:
    outcome = ask_at(run, closed_port(), request_)

    assert outcome == NotSent(detail="not connected (ClientConnectorError)", retryable=True)


BAD_LINES: list[Behaviour] = [
    HangUp(after_reading=True),
    HangUp(after_reading=True, reset=True),
    Silence(),
    Trickle(),
    Answer(body=b"not HTTP", announced=100),
    Answer(body=b'{"id": "2GG279541U471931P", "sta', announced=32),
    Answer(body=b""),
    Answer(body=b"null"),
    Answer(body=b"[]"),
    Answer(body=b'"COMPLETED"'),
    Answer(body=b"{}"),
    Answer(status=201, body=b'{"id": "2GG279541U471931P", "links": []}'),
    Answer(status=302, headers={"Location": "https://elsewhere.example/"}),
    Answer(status=400, body=b"<html>Bad Request</html>"),
    Answer(status=422, body=b"{}"),
    Answer(status=422, body=b'{"details": []}'),
    Answer(status=502, body=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}),
    Answer(status=502, body=b"<html>Passerelle d\xe9faillante</html>"),
    Answer(status=504, body=b""),
    refusal(500, "INTERNAL_SERVER_ERROR"),
    refusal(503, "SERVICE_UNAVAILABLE"),
    refusal(409, "RESOURCE_CONFLICT", "PREVIOUS_REQUEST_IN_PROGRESS"),
    refusal(418, "TEAPOT"),
]


@MOVING
@pytest.mark.parametrize("behaviour", BAD_LINES, ids=repr)
def test_an_answer_that_leaves_a_doubt_is_unknown_never_declined(
    run: Run[Any], request_: CaptureRequest, behaviour: Behaviour
) -> None:
    outcome = ask(run, request_, *BEFORE.get(type(request_), []), behaviour)

    assert isinstance(outcome, Unknown)


@MOVING
def test_a_call_that_moves_money_is_sent_once(run: Run[Any], request_: CaptureRequest) -> None:
    before = BEFORE.get(type(request_), [])
    with Wire(TOKEN, *before, HangUp(after_reading=True), said(201, paid("COMPLETED"))) as wire:
        outcome = ask_at(run, wire.url, request_)
        sent = len(wire.requests)

    assert isinstance(outcome, Unknown)
    assert sent == 2 + len(before)


@pytest.mark.parametrize("behaviour", BAD_LINES, ids=repr)
def test_a_doubt_while_opening_is_not_sent_as_nothing_pays_the_order(
    run: Run[Any], behaviour: Behaviour
) -> None:
    outcome = ask(run, OPEN, behaviour)

    assert isinstance(outcome, NotSent)
    # An order of which PayPal shows only the id may be another one than we meant.
    assert outcome.retryable or behaviour == BAD_LINES[11]


@pytest.mark.parametrize("request_", [CAPTURE, replace(VOID, authorization_reference=f"order:{ORDER}")])
@pytest.mark.parametrize("behaviour", BAD_LINES[:13], ids=repr)
def test_a_doubt_before_anything_was_asked_is_not_sent(
    run: Run[Any], request_: Request, behaviour: Behaviour
) -> None:
    outcome = ask(run, request_, behaviour, behaviour)  # aiohttp repeats a GET

    assert isinstance(outcome, NotSent)
    assert outcome.retryable


@MOVING
@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        (refusal(429, "RATE_LIMIT_REACHED"), True),
        (refusal(403, "NOT_AUTHORIZED", "PERMISSION_DENIED"), True),
        (refusal(400, "INVALID_REQUEST", "INVALID_PARAMETER_SYNTAX"), False),
        (refusal(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID"), False),
        (no("DECIMAL_PRECISION"), False),
        (no("PAYEE_ACCOUNT_RESTRICTED"), False),
        (no("AN_ISSUE_NOBODY_HEARD_OF"), False),
    ],
)
def test_what_paypal_says_it_did_not_do_is_not_sent(
    run: Run[Any], request_: CaptureRequest, answer: Answer, retryable: bool
) -> None:
    outcome = ask(run, request_, *BEFORE.get(type(request_), []), answer)

    assert isinstance(outcome, NotSent)
    assert outcome.retryable is retryable
    assert "d1" in outcome.detail


LOOK_UPS = [
    SALE,
    HELD,
    look_for(Operation.SALE, reference=f"capture:{TAKEN}"),
    look_for(Operation.AUTHORIZE, reference=f"authorization:{HOLD}"),
    look_for(Operation.CAPTURE, parent=f"authorization:{HOLD}"),
    look_for(Operation.CAPTURE, reference=f"capture:{TAKEN}"),
    look_for(Operation.VOID, parent=f"authorization:{HOLD}"),
    look_for(Operation.VOID, parent=f"order:{ORDER}"),
    look_for(Operation.REFUND, parent=f"capture:{TAKEN}"),
    look_for(Operation.REFUND, reference=f"refund:{GIVEN}"),
]


@pytest.mark.parametrize(
    "request_", LOOK_UPS, ids=lambda r: f"{r.operation}-{r.reference or r.parent_reference}"
)
@pytest.mark.parametrize(
    "behaviour",
    [
        *(line for line in BAD_LINES if not isinstance(line, Trickle | Silence)),  # slow, and tried above
        *(refusal(status, "WHATEVER") for status in (403, 404, 429)),
    ],
    ids=repr,
)
def test_a_look_up_that_fails_says_nothing_about_the_payment(
    run: Run[Any], request_: LookupRequest, behaviour: Behaviour
) -> None:
    assert isinstance(ask(run, request_, behaviour, behaviour), Unknown)  # a GET may be repeated


@pytest.mark.parametrize(
    "request_", LOOK_UPS, ids=lambda r: f"{r.operation}-{r.reference or r.parent_reference}"
)
def test_a_look_up_that_cannot_connect_is_unknown(run: Run[Any], request_: LookupRequest) -> None:
    assert isinstance(ask_at(run, closed_port(), request_), Unknown)


# --- declines ----------------------------------------------------------------------------------------

ISSUES = [
    (request, issue, *verdict)
    for request, verdicts in [
        (PAY, codes.PAYMENT_ISSUES),
        (CAPTURE, codes.CAPTURE_ISSUES),
        (VOID, codes.VOID_ISSUES),
        (REFUND, codes.REFUND_ISSUES),
    ]
    for issue, verdict in sorted(verdicts.items())
    if request is not CAPTURE or issue not in codes.ALREADY_CAPTURED
]


@pytest.mark.parametrize(("request_", "issue", "reason", "firmness"), ISSUES)
def test_an_issue_that_is_a_no_is_told_in_our_words(
    run: Run[Any], request_: Request, issue: str, reason: DeclineReason, firmness: Firmness
) -> None:
    outcome = ask(run, request_, *BEFORE.get(type(request_), []), no(issue))

    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.firmness, outcome.code) == (reason, firmness, issue)


@pytest.mark.parametrize("code", sorted(codes.BANK_CODES))
def test_a_banks_code_is_told_alike_by_the_answer_and_by_a_look_up(run: Run[Any], code: str) -> None:
    declined = paid("DECLINED", processor_response={"response_code": code})

    reason, firmness = codes.BANK_CODES[code]
    ending = Declined(reason=reason, firmness=firmness, code=code, reference=f"order:{ORDER}")
    assert ask(run, PAY, said(201, declined)) == ending
    assert ask(run, SALE, said(200, declined)) == ending


@pytest.mark.parametrize(
    ("more", "reason", "firmness", "code"),
    [
        ({}, DeclineReason.GENERIC_DECLINE, Firmness.SOFT, "capture_DECLINED"),
        (
            {"processor_response": {"response_code": "ZZ99"}},
            DeclineReason.OTHER,
            Firmness.SOFT,
            "ZZ99",
        ),
        (
            {"processor_response": {"response_code": "0500", "payment_advice_code": "21"}},
            DeclineReason.DO_NOT_RETRY,
            Firmness.HARD,
            "0500",
        ),
        (
            {"processor_response": {"response_code": "9520", "payment_advice_code": "03"}},
            DeclineReason.LOST_OR_STOLEN,
            Firmness.HARD,
            "9520",
        ),
        (
            {"processor_response": {"response_code": "0500", "payment_advice_code": "01"}},
            DeclineReason.GENERIC_DECLINE,
            Firmness.SOFT,
            "0500",
        ),
        (
            {"status_details": {"reason": "DECLINED_BY_RISK_FRAUD_FILTERS"}},
            DeclineReason.SUSPECTED_FRAUD,
            Firmness.HARD,
            "DECLINED_BY_RISK_FRAUD_FILTERS",
        ),
    ],
)
def test_a_declined_payment_is_read_from_advice_code_and_reason(
    run: Run[Any], more: dict[str, object], reason: DeclineReason, firmness: Firmness, code: str
) -> None:
    assert ask(run, PAY, said(201, paid("DECLINED", **more))) == Declined(
        reason=reason, firmness=firmness, code=code, reference=f"order:{ORDER}"
    )


# --- statuses ----------------------------------------------------------------------------------------

LINK = "https://www.paypal.com/checkoutnow?token=1"
LINKS = [{"href": "https://api", "rel": "self"}, {"href": LINK, "rel": "payer-action"}]
ACTION = ActionRequired(reference=f"order:{ORDER}", action=NextAction(kind="redirect", url=LINK))


@pytest.mark.parametrize(
    ("said_order", "ending"),
    [
        (paid("COMPLETED"), Approved(reference=f"capture:{TAKEN}", amount=EUROS)),
        (paid("PARTIALLY_REFUNDED"), Approved(reference=f"capture:{TAKEN}", amount=EUROS)),
        (paid("REFUNDED"), Approved(reference=f"capture:{TAKEN}", amount=EUROS)),
        (
            paid("COMPLETED", amount={"currency_code": "USD", "value": "21"}),
            Approved(reference=f"capture:{TAKEN}", amount=Money(2100, "USD")),
        ),
        (paid("PENDING"), Pending(reference=f"order:{ORDER}")),
        (order("PAYER_ACTION_REQUIRED", links=LINKS), ACTION),
    ],
)
def test_a_sale_is_told_alike_by_its_answer_and_by_a_look_up(
    run: Run[Any], said_order: dict[str, object], ending: Outcome
) -> None:
    assert ask(run, PAY, said(201, said_order)) == ending
    assert ask(run, PAY, said(200, said_order)) == ending
    assert ask(run, SALE, said(200, said_order)) == ending


@pytest.mark.parametrize(
    "said_order",
    [
        order("CREATED"),
        order("APPROVED"),
        order("COMPLETED"),
        order("A_NEW_STATUS"),
        order("PAYER_ACTION_REQUIRED"),
        {**paid("COMPLETED"), "id": "ANOTHER1ORDER"},
        paid("A_NEW_STATUS"),
        paid("COMPLETED", id=None),
        paid("COMPLETED", amount={"currency_code": "EUR", "value": 19.99}),
        paid("COMPLETED", amount={"currency_code": "EUR", "value": "19.999"}),
        paid("COMPLETED", amount={"currency_code": "eur", "value": "19.99"}),
        paid("COMPLETED", amount={"currency_code": "EUR", "value": "-19.99"}),
        paid("COMPLETED", amount=None),
    ],
)
def test_a_payment_answered_by_nonsense_is_unknown(run: Run[Any], said_order: dict[str, object]) -> None:
    assert isinstance(ask(run, PAY, said(201, said_order)), Unknown)


@pytest.mark.parametrize(
    ("said_hold", "ending"),
    [
        (hold("CREATED"), Approved),
        (hold("CAPTURED"), Approved),
        (hold("PARTIALLY_CAPTURED"), Approved),
        (hold("PENDING"), Pending),
        (hold("DENIED"), Declined),
        (hold("VOIDED"), Declined),
        (hold("EXPIRED"), Declined),
        (hold("A_NEW_STATUS"), Unknown),
    ],
)
def test_a_hold_is_told_alike_by_its_order_and_by_itself(
    run: Run[Any], said_hold: dict[str, object], ending: type[Outcome]
) -> None:
    by_order = ask(run, HELD, said(200, order("COMPLETED", payments={"authorizations": [said_hold]})))
    by_itself = ask(
        run, look_for(Operation.AUTHORIZE, reference=f"authorization:{HOLD}"), said(200, said_hold)
    )

    assert type(by_order) is type(by_itself) is ending


@pytest.mark.parametrize(
    ("changed_at", "reason"),
    [
        ("2026-12-20T10:00:00Z", DeclineReason.EXPIRED),
        ("2026-12-19T10:00:00Z", DeclineReason.CANCELED),
        ("yesterday", DeclineReason.CANCELED),
        (None, DeclineReason.CANCELED),
    ],
)
def test_a_hold_that_ran_out_is_told_from_one_that_was_let_go(
    run: Run[Any], changed_at: str | None, reason: DeclineReason
) -> None:
    voided = order("COMPLETED", payments={"authorizations": [hold("VOIDED", update_time=changed_at)]})
    found = ask(run, HELD, said(200, voided))

    assert isinstance(found, Declined)
    assert found.reason is reason


def test_a_hold_that_was_taken_from_and_then_let_go_came_about(run: Run[Any]) -> None:
    voided, refused = hold("VOIDED"), taken("DECLINED")
    for captures, ending in [([taken("COMPLETED")], Approved), ([refused], Declined), ([], Declined)]:
        listed = order("COMPLETED", payments={"authorizations": [voided], "captures": captures})
        assert isinstance(ask(run, HELD, said(200, listed)), ending)

    by_itself = look_for(Operation.AUTHORIZE, reference=f"authorization:{HOLD}")
    assert isinstance(ask(run, by_itself, said(200, voided)), Declined)


@pytest.mark.parametrize("request_", [SALE, HELD])
def test_an_order_that_was_voided_will_not_be_paid(run: Run[Any], request_: LookupRequest) -> None:
    found = ask(run, request_, said(200, order("VOIDED")))

    assert isinstance(found, Declined)
    assert found.reason is DeclineReason.CANCELED


@pytest.mark.parametrize("status", ["DECLINED", "FAILED", "REVERSED"])
def test_captured_money_that_was_taken_back_is_declined(run: Run[Any], status: str) -> None:
    for operation in (Operation.SALE, Operation.CAPTURE):
        found = ask(run, look_for(operation, reference=f"capture:{TAKEN}"), said(200, taken(status)))
        assert isinstance(found, Declined)


def test_an_unpaid_order_is_absent_not_declined(run: Run[Any]) -> None:
    assert isinstance(ask(run, SALE, said(200, order("CREATED"))), Absent)


def test_an_order_that_was_never_stored_was_never_paid(run: Run[Any]) -> None:
    assert isinstance(ask_at(run, closed_port(), look_for(Operation.SALE)), Absent)


@pytest.mark.parametrize("operation", list(Operation))
def test_ids_that_are_not_ours_say_nothing(run: Run[Any], operation: Operation) -> None:
    found = ask_at(run, closed_port(), look_for(operation, reference="pi_1", parent="pi_1"))

    assert isinstance(found, Unknown)


# --- payers and cardholders --------------------------------------------------------------------------


def test_a_refusal_that_wants_the_payer_says_where_to_go(run: Run[Any]) -> None:
    assert ask(run, PAY, no("PAYER_ACTION_REQUIRED", links=LINKS)) == ACTION


def test_a_refusal_without_a_link_is_told_by_the_order(run: Run[Any]) -> None:
    waiting = said(200, order("PAYER_ACTION_REQUIRED", links=LINKS))

    assert ask(run, PAY, no("PAYER_ACTION_REQUIRED"), waiting) == ACTION


def test_a_payer_who_is_not_there_declines(run: Run[Any]) -> None:
    outcome = ask(run, replace(PAY, off_session=True), no("PAYER_ACTION_REQUIRED", links=LINKS))

    assert isinstance(outcome, Declined)
    assert outcome.firmness is Firmness.NEEDS_AUTHENTICATION


@pytest.mark.parametrize("issue", sorted(codes.ALREADY_PAID))
@pytest.mark.parametrize(
    ("said_order", "ending"),
    [(paid("COMPLETED"), Approved), (paid("PENDING"), Pending), (order("A"), Unknown)],
)
def test_an_order_that_is_paid_already_tells_how(
    run: Run[Any], issue: str, said_order: dict[str, object], ending: type[Outcome]
) -> None:
    assert isinstance(ask(run, PAY, no(issue), said(200, said_order)), ending)


@pytest.mark.parametrize(
    "behaviour", [refusal(429, "RATE_LIMIT_REACHED"), refusal(404, "RESOURCE_NOT_FOUND"), refusal(500, "X")]
)
def test_an_order_that_is_paid_already_and_cannot_be_read_is_unknown_never_not_sent(
    run: Run[Any], behaviour: Answer
) -> None:
    assert isinstance(ask(run, PAY, no("ORDER_ALREADY_CAPTURED"), behaviour), Unknown)


def test_an_approved_order_is_paid_by_the_look_up_under_a_request_id_of_its_own(run: Run[Any]) -> None:
    with Wire(TOKEN, said(200, order("APPROVED")), said(201, paid("COMPLETED"))) as wire:
        found = ask_at(run, wire.url, SALE)
        pay = wire.requests[2]

    assert found == Approved(reference=f"capture:{TAKEN}", amount=EUROS)
    assert (pay.method, pay.path) == ("POST", f"/v2/checkout/orders/{ORDER}/capture")
    assert (pay.headers["paypal-request-id"], json.loads(pay.body)) == ("pay_1.a1:approved", {})


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (no("INSTRUMENT_DECLINED"), Declined),
        (refusal(429, "RATE_LIMIT_REACHED"), Unknown),
        (refusal(500, "INTERNAL_SERVER_ERROR"), Unknown),
        (HangUp(after_reading=True), Unknown),
    ],
)
def test_a_look_up_that_pays_tells_how_that_ended(
    run: Run[Any], answer: Behaviour, ending: type[Outcome]
) -> None:
    assert isinstance(ask(run, SALE, said(200, order("APPROVED")), answer), ending)


def cardholder(liability: str | None, enrolled: str, status: str | None) -> dict[str, object]:
    secure = {"enrollment_status": enrolled, "authentication_status": status}
    result = {"liability_shift": liability, "three_d_secure": secure}
    return order("APPROVED", payment_source={"card": {"authentication_result": result}})


@pytest.mark.parametrize(
    ("said_order", "goes_on"),
    [
        (cardholder("POSSIBLE", "Y", "Y"), True),
        (cardholder("POSSIBLE", "Y", "A"), True),
        (cardholder("NO", "N", None), True),
        (cardholder("NO", "U", None), True),
        (cardholder("NO", "B", None), True),
        (cardholder("NO", "Y", "N"), False),
        (cardholder("NO", "Y", "R"), False),
        (cardholder("UNKNOWN", "Y", "U"), False),
        (cardholder(None, "Y", None), False),
    ],
)
def test_a_card_is_charged_after_authentication_only_if_paypal_advises_so(
    run: Run[Any], said_order: dict[str, object], goes_on: bool
) -> None:
    found = ask(run, SALE, said(200, said_order), said(201, paid("COMPLETED")))

    if goes_on:
        assert isinstance(found, Approved)
    else:
        assert isinstance(found, Declined)
        assert found.reason is DeclineReason.AUTHENTICATION_FAILED


# --- captures, voids, refunds ------------------------------------------------------------------------

MINE, OTHERS = taken("COMPLETED", invoice_id="pay_1.a2"), taken("COMPLETED", invoice_id="pay_1.a9")


@pytest.mark.parametrize(
    ("amount", "taken_before", "asks"),
    [
        (Money(1999, "EUR"), None, True),
        (Money(2000, "EUR"), None, False),
        (Money(1000, "EUR"), "9.99", True),
        (Money(1000, "EUR"), "10.00", False),
    ],
)
def test_never_more_than_is_left_of_a_hold_is_asked_for(
    run: Run[Any], amount: Money, taken_before: str | None, asks: bool
) -> None:
    before: list[Behaviour] = [said(200, hold("CREATED"))]
    if taken_before is not None:
        other = {**OTHERS, "amount": {"currency_code": "EUR", "value": taken_before}}
        failed = {**OTHERS, "status": "DECLINED"}
        listed = order("COMPLETED", payments={"captures": [other, failed, MINE]})
        before = [said(200, hold("PARTIALLY_CAPTURED")), said(200, listed)]
    with Wire(TOKEN, *before, said(201, MINE)) as wire:
        outcome = ask_at(run, wire.url, replace(CAPTURE, amount=amount))
        posted = [request for request in wire.requests[1:] if request.method == "POST"]

    assert len(posted) == int(asks)
    if not asks:
        assert isinstance(outcome, Declined)
        assert outcome.reason is DeclineReason.LIMIT_OR_AMOUNT


def test_a_hold_whose_amount_cannot_be_read_is_not_captured(run: Run[Any]) -> None:
    outcome = ask(run, CAPTURE, said(200, hold("CREATED", amount=None)))

    assert isinstance(outcome, NotSent)
    assert outcome.retryable


@pytest.mark.parametrize("issue", sorted(codes.ALREADY_CAPTURED))
@pytest.mark.parametrize(
    ("captures", "ending"), [([OTHERS, MINE], Approved), ([OTHERS], Declined), ([], Declined)]
)
def test_a_hold_that_is_captured_already_tells_by_whom(
    run: Run[Any], issue: str, captures: list[object], ending: type[Outcome]
) -> None:
    listed = said(200, order("COMPLETED", payments={"captures": captures}))
    captured = said(200, hold("CAPTURED"))

    outcome = ask(run, CAPTURE, said(200, hold("CREATED")), no(issue), captured, listed)

    assert isinstance(outcome, ending)
    if isinstance(outcome, Declined):
        assert outcome.reason is DeclineReason.DUPLICATE


@pytest.mark.parametrize(
    ("status", "captures", "ending"),
    [
        ("CAPTURED", [OTHERS, MINE], Approved),
        ("PARTIALLY_CAPTURED", [OTHERS], Absent),
        ("CREATED", [], Absent),
        ("VOIDED", [], Declined),
        ("CAPTURED", [taken("PENDING", invoice_id="pay_1.a2")], Pending),
        ("CAPTURED", [taken("DECLINED", invoice_id="pay_1.a2")], Declined),
    ],
)
def test_a_look_up_of_a_capture_asks_who_captured(
    run: Run[Any], status: str, captures: list[object], ending: type[Outcome]
) -> None:
    listed = said(200, order("COMPLETED", payments={"captures": captures}))
    request = look_for(Operation.CAPTURE, parent=f"authorization:{HOLD}")

    assert isinstance(ask(run, request, said(200, hold(status)), listed), ending)


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        ("VOIDED", Approved),
        ("CAPTURED", Declined),
        ("DENIED", Declined),
        ("CREATED", Absent),
        ("PENDING", Absent),
        ("PARTIALLY_CAPTURED", Absent),
        ("A_NEW_STATUS", Unknown),
    ],
)
def test_a_look_up_of_a_void_reads_the_hold(run: Run[Any], status: str, ending: type[Outcome]) -> None:
    request = look_for(Operation.VOID, parent=f"authorization:{HOLD}")

    assert isinstance(ask(run, request, said(200, hold(status))), ending)


CALLED_OFF, CALLED_OFF_BEFORE = (
    {**order("APPROVED"), "purchase_units": [{"amount": WRITTEN, "custom_id": mark}]}
    for mark in ("pay_1.a2:void", "pay_1.a9:void")
)
OPEN_ORDER = replace(VOID, authorization_reference=f"order:{ORDER}")


@pytest.mark.parametrize(
    ("said_order", "marked", "ending"),
    [
        (order("PAYER_ACTION_REQUIRED"), Answer(status=204, body=b""), Approved),
        (CALLED_OFF, Answer(status=204, body=b""), Approved),
        (CALLED_OFF_BEFORE, None, Declined),
        (order("CREATED"), no("NOT_PATCHABLE"), Approved),  # as unpaid as before, and nobody pays it
        (order("CREATED"), no("ORDER_ALREADY_COMPLETED"), Declined),
        (order("CREATED"), refusal(429, "RATE_LIMIT_REACHED"), NotSent),
        (order("CREATED"), refusal(500, "INTERNAL_SERVER_ERROR"), Unknown),
        (order("CREATED"), HangUp(after_reading=True), Unknown),
        (paid("COMPLETED"), None, Declined),
        (order("COMPLETED"), None, NotSent),
        (order("VOIDED"), None, Declined),
        (
            order("COMPLETED", payments={"authorizations": [hold("CREATED")]}),
            Answer(status=204, body=b""),
            Approved,
        ),
        (
            order("COMPLETED", payments={"authorizations": [hold("CAPTURED")]}),
            no("PREVIOUSLY_CAPTURED"),
            Declined,
        ),
    ],
)
def test_an_open_order_is_called_off_unless_it_was_paid(
    run: Run[Any], said_order: dict[str, object], marked: Behaviour | None, ending: type[Outcome]
) -> None:
    outcome = ask(run, OPEN_ORDER, said(200, said_order), *([marked] if marked else []))

    assert isinstance(outcome, ending)


def test_a_called_off_order_is_marked_for_later_look_ups(run: Run[Any]) -> None:
    with Wire(TOKEN, said(200, order("PAYER_ACTION_REQUIRED")), Answer(status=204, body=b"")) as wire:
        ask_at(run, wire.url, OPEN_ORDER)
        mark = wire.requests[2]

    assert (mark.method, mark.path) == ("PATCH", f"/v2/checkout/orders/{ORDER}")
    assert json.loads(mark.body) == [
        {
            "op": "replace",
            "path": "/purchase_units/@reference_id=='default'/custom_id",
            "value": "pay_1.a2:void",
        }
    ]
    assert isinstance(ask(run, SALE, said(200, CALLED_OFF)), Declined)


@pytest.mark.parametrize(
    ("said_order", "ending"),
    [
        (CALLED_OFF, Approved),
        (CALLED_OFF_BEFORE, Declined),
        (order("PAYER_ACTION_REQUIRED"), Absent),
        (paid("COMPLETED"), Declined),
        (order("COMPLETED"), Unknown),
        (order("VOIDED"), Approved),
        (order("COMPLETED", payments={"authorizations": [hold("VOIDED")]}), Approved),
        (order("COMPLETED", payments={"authorizations": [hold("CREATED")]}), Absent),
    ],
)
def test_a_look_up_tells_whether_an_order_was_called_off(
    run: Run[Any], said_order: dict[str, object], ending: type[Outcome]
) -> None:
    request = look_for(Operation.VOID, parent=f"order:{ORDER}")

    assert isinstance(ask(run, request, said(200, said_order)), ending)


def test_calling_off_an_order_that_was_never_stored_needs_no_call(run: Run[Any]) -> None:
    nameless = replace(VOID, authorization_reference="", canceled_attempt_id=AttemptId("pay_1.a1"))

    assert ask_at(run, closed_port(), nameless) == Approved(reference="pay_1.a1", amount=EUROS)
    assert isinstance(ask_at(run, closed_port(), look_for(Operation.VOID)), Absent)


def test_money_that_was_taken_is_not_voided_and_nobody_is_asked(run: Run[Any]) -> None:
    outcome = ask_at(run, closed_port(), replace(VOID, authorization_reference=f"capture:{TAKEN}"))

    assert isinstance(outcome, Declined)


@pytest.mark.parametrize(
    ("said_refund", "ending"),
    [
        (given("COMPLETED"), Approved(reference=f"refund:{GIVEN}", amount=EUROS)),
        (given("PENDING"), Pending(reference=f"refund:{GIVEN}")),
        *(
            (
                given(status),
                Declined(
                    reason=DeclineReason.NOT_REFUNDABLE,
                    firmness=Firmness.HARD,
                    code=f"refund_{status}",
                    reference=f"refund:{GIVEN}",
                ),
            )
            for status in ("FAILED", "CANCELLED")
        ),
    ],
)
def test_a_refund_is_told_alike_by_its_answer_its_id_and_its_order(
    run: Run[Any], said_refund: dict[str, object], ending: Outcome
) -> None:
    others = [given("COMPLETED", id=f"OTHER{n}", custom_id=f"x{n}") for n in range(3)]
    listed = said(200, order("COMPLETED", payments={"refunds": [*others, said_refund]}))
    parent = said(200, taken("COMPLETED"))

    assert ask(run, REFUND, said(201, said_refund)) == ending
    assert ask(run, look_for(Operation.REFUND, reference=f"refund:{GIVEN}"), said(200, said_refund)) == ending
    assert ask(run, look_for(Operation.REFUND, parent=f"capture:{TAKEN}"), parent, listed) == ending


def test_a_refund_the_order_does_not_list_is_absent(run: Run[Any]) -> None:
    request = look_for(Operation.REFUND, parent=f"capture:{TAKEN}")

    found = ask(run, request, said(200, taken("COMPLETED")), said(200, paid("COMPLETED")))

    assert isinstance(found, Absent)


def test_a_capture_that_does_not_name_its_order_says_nothing_of_its_refunds(run: Run[Any]) -> None:
    request = look_for(Operation.REFUND, parent=f"capture:{TAKEN}")

    assert isinstance(ask(run, request, said(200, taken("COMPLETED", supplementary_data=None))), Unknown)


def test_a_refund_of_a_capture_that_is_still_pending_is_to_come_again(run: Run[Any]) -> None:
    outcome = ask(run, REFUND, no("PENDING_CAPTURE"))

    assert isinstance(outcome, NotSent)
    assert outcome.retryable


# --- secrets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [OPEN, PAY, CAPTURE, VOID, REFUND, SALE])
@pytest.mark.parametrize(
    "answer",
    [
        refusal(400, f"name {VAULT_ID}", f"issue {VAULT_ID}"),
        no(f"issue {VAULT_ID}"),
        refusal(500, "INTERNAL_SERVER_ERROR", VAULT_ID + " "),
        Answer(status=502, body=VAULT_ID.encode()),
        said(201, order(f"a status, {VAULT_ID}")),
        said(201, paid("DECLINED", processor_response={"response_code": f"of {VAULT_ID}"})),
    ],
    ids=repr,
)
def test_no_ending_and_no_log_line_repeats_what_we_sent(
    run: Run[Any], request_: Request, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    shown = repr(ask(run, request_, *BEFORE.get(type(request_), []), answer)) + caplog.text

    for secret in (VAULT_ID, SECRET, BEARER):
        assert secret not in shown


def test_a_gateway_does_not_show_its_secrets() -> None:
    gateway = paypal_at("http://127.0.0.1:1")

    assert SECRET not in repr(gateway)
    assert SECRET not in repr(vars(gateway))


@pytest.mark.parametrize(
    ("client_id", "client_secret"),
    [("", "s"), ("c", ""), ("c\n", "s"), ("c", "s\n"), ("c:d", "s"), ("c", "sécret")],
)
def test_credentials_no_header_can_carry_are_refused_without_being_shown(
    client_id: str, client_secret: str
) -> None:
    with pytest.raises(ValueError, match=r"PayPal's client id") as refused:
        PaypalGateway(client_id=client_id, client_secret=client_secret)

    assert len(client_secret) < 2 or client_secret not in str(refused.value)


def test_the_call_time_limit_covers_every_time_out() -> None:
    gateway = PaypalGateway(client_id="c", client_secret="s", connect_timeout_s=3, read_timeout_s=20)

    assert gateway.capabilities.call_time_limit.total_seconds() > 2 * (3 + 3 + 20)
