"""What the Adyen adapter sends, and what it makes of every way an answer can go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from Adyen import AdyenError

from gateways.adyen import AdyenGateway
from gateways.adyen_codes import REFUSAL_TABLE
from gateways.adyen_http import PooledTransport
from gateways.protocol import (
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
    Operation,
    Outcome,
    Pending,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.ids import AttemptId, PaymentId, RefundId
from messages.money import Money
from simulators.adyen.cards import REFUSALS
from tests.gateways.wire import Answer, Behaviour, HangUp, Request, Silence, Trickle, Wire, closed_port, said
from tests.simulators.adyen.contract import checkout

T = TypeVar("T")

KEY = "AQE_aVerySecretKey"
TOKEN = "8415718415172204_tokenNobodyMaySee"
PSP, NEW_PSP = "QFQTPCQ8HXSKGK82", "JDD6LKT8MBLZNN84"

PAY = AuthorizeRequest(
    attempt_id=AttemptId("pay_1.a1"),
    payment_id=PaymentId("pay_1"),
    order_id="1001",
    amount=Money(1999, "EUR"),
    token=TOKEN,
    capture=True,
    reference=None,
    customer_id="customer-1",
    return_url="https://shop.example/return",
    description="Order 1001",
    statement_descriptor="A SHOP",
    metadata={"basket": "7", "payment_id": "not theirs to set", "x" * 21: "too long a name"},
)
CAPTURE = CaptureRequest(
    attempt_id=AttemptId("pay_1.a2"),
    payment_id=PaymentId("pay_1"),
    authorization_reference=PSP,
    amount=Money(1999, "EUR"),
    final=True,
)
VOID = VoidRequest(
    attempt_id=AttemptId("pay_1.a3"),
    payment_id=PaymentId("pay_1"),
    authorization_reference=PSP,
    amount=Money(1999, "EUR"),
)
REFUND = RefundRequest(
    attempt_id=AttemptId("ref_1.r1"),
    payment_id=PaymentId("pay_1"),
    refund_id=RefundId("ref_1"),
    capture_reference=PSP,
    amount=Money(1999, "EUR"),
    reason="requested_by_customer",
)

Moving = AuthorizeRequest | CaptureRequest | VoidRequest | RefundRequest
Run = Callable[[Coroutine[Any, Any, T]], T]


def paid(code: str, **more: object) -> Answer:
    """An answer to a payment as Adyen writes it."""
    return said(200, {"resultCode": code, "pspReference": PSP, "merchantReference": "pay_1.a1", **more})


def refused(code: str, **more: object) -> Answer:
    """A refusal as Adyen writes it."""
    return paid("Refused", refusalReason="Some reason", refusalReasonCode=code, **more)


def received(request: Moving, **more: object) -> Answer:
    """A receipt for a modification as Adyen writes it."""
    body = {
        "merchantAccount": "ShopECOM",
        "paymentPspReference": PSP,
        "pspReference": NEW_PSP,
        "reference": f"{request.attempt_id}.void" if isinstance(request, VoidRequest) else request.attempt_id,
        "status": "received",
        **more,
    }
    return said(201, body)


def error(status: int, code: str, **headers: str) -> Answer:
    """An error as Adyen writes it; its sentence quotes the token, as Adyen's may."""
    body = {
        "status": status,
        "errorCode": code,
        "message": f"Something about '{TOKEN}'",
        "errorType": "validation",
        "pspReference": "8816118280275544",
    }
    return said(status, body, **headers)


GOOD = {
    AuthorizeRequest: paid("Authorised", amount={"currency": "EUR", "value": 1999}),
    CaptureRequest: received(CAPTURE),
    VoidRequest: received(VOID),
    RefundRequest: received(REFUND),
}


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def adyen_at(url: str) -> AdyenGateway:
    """The adapter in a hurry."""
    return AdyenGateway(
        api_key=KEY,
        merchant_account="ShopECOM",
        base_url=url,
        connect_timeout_s=0.3,
        read_timeout_s=0.3,
        max_connections=4,
    )


async def call(gateway: AdyenGateway, request: Moving | LookupRequest) -> Outcome:
    """Make the call a request is for."""
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


def ask_at(run: Run[Any], url: str, *requests: Moving | LookupRequest) -> Any:
    """How calls to a server end, one after the other."""

    async def each() -> list[Outcome]:
        gateway = adyen_at(url)
        try:
            return [await call(gateway, request) for request in requests]
        finally:
            await gateway.close()

    endings = run(each())
    return endings if len(requests) > 1 else endings[0]


def ask(run: Run[Any], request: Moving | LookupRequest, *behaviours: Behaviour) -> Any:
    """How one call ends against a server that behaves so."""
    with Wire(*behaviours) as wire:
        return ask_at(run, wire.url, request)


def body_of(request: Request) -> dict[str, Any]:
    """What was sent."""
    assert request.headers["content-type"] == "application/json"
    body: dict[str, Any] = json.loads(request.body)
    return body


MOVING = pytest.mark.parametrize("request_", [PAY, CAPTURE, VOID, REFUND], ids=lambda r: type(r).__name__)

# --- what is sent ------------------------------------------------------------------------------------


def test_a_sale_is_sent_under_our_key_and_reference(run: Run[Any]) -> None:
    with Wire(GOOD[AuthorizeRequest]) as wire:
        outcome = ask_at(run, wire.url, PAY)
        [sent] = wire.requests

    assert outcome == Approved(reference=PSP, amount=Money(1999, "EUR"))
    assert (sent.method, sent.path) == ("POST", "/v72/payments")
    assert sent.headers["idempotency-key"] == "pay_1.a1"
    assert sent.headers["x-api-key"] == KEY
    assert "adyen-library-version" in sent.headers
    assert body_of(sent) == {
        "merchantAccount": "ShopECOM",
        "reference": "pay_1.a1",
        "amount": {"value": 1999, "currency": "EUR"},
        "paymentMethod": {"type": "scheme", "storedPaymentMethodId": TOKEN},
        "shopperReference": "customer-1",
        "shopperInteraction": "ContAuth",
        "recurringProcessingModel": "CardOnFile",
        "shopperStatement": "A SHOP",
        "returnUrl": "https://shop.example/return",
        "merchantOrderReference": "1001",
        "captureDelayHours": 0,
        "metadata": {"payment_id": "pay_1", "order_id": "1001", "basket": "7"},
    }


def test_a_hold_is_to_be_captured_by_hand(run: Run[Any]) -> None:
    with Wire(GOOD[AuthorizeRequest]) as wire:
        ask_at(run, wire.url, replace(PAY, capture=False))
        body = body_of(wire.requests[0])

    assert body["additionalData"] == {"manualCapture": "true"}
    assert "captureDelayHours" not in body


def test_a_payment_without_the_customer_says_so_and_needs_no_way_back(run: Run[Any]) -> None:
    with Wire(GOOD[AuthorizeRequest]) as wire:
        outcome = ask_at(run, wire.url, replace(PAY, off_session=True, return_url=None))
        body = body_of(wire.requests[0])

    assert isinstance(outcome, Approved)
    assert body["shopperInteraction"] == "ContAuth"
    assert body["recurringProcessingModel"] == "UnscheduledCardOnFile"
    assert "authenticationData" not in body
    assert body["returnUrl"].endswith(".invalid/")


def test_a_customer_without_a_way_back_is_refused_before_the_call(run: Run[Any]) -> None:
    outcome = ask_at(run, closed_port(), replace(PAY, return_url=None))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable
    assert "return_url" in outcome.detail


@pytest.mark.parametrize("customer", [None, "ab", "x" * 257])
def test_a_name_adyen_cannot_hold_is_not_sent(run: Run[Any], customer: str | None) -> None:
    with Wire(GOOD[AuthorizeRequest]) as wire:
        ask_at(run, wire.url, replace(PAY, customer_id=customer))
        body = body_of(wire.requests[0])

    assert "shopperReference" not in body


def test_a_capture_a_void_and_a_refund_carry_our_key_and_reference(run: Run[Any]) -> None:
    with Wire(received(CAPTURE), received(VOID), received(REFUND)) as wire:
        taken, voided, given = ask_at(run, wire.url, CAPTURE, VOID, REFUND)
        capture, cancel, give = wire.requests

    assert taken == Pending(reference=f"{PSP}/{NEW_PSP}"), "refunds are asked of the payment"
    assert capture.path == f"/v72/payments/{PSP}/captures"
    assert body_of(capture) == {
        "merchantAccount": "ShopECOM",
        "reference": "pay_1.a2",
        "amount": {"value": 1999, "currency": "EUR"},
    }
    assert voided == Pending(reference=NEW_PSP)
    assert cancel.path == f"/v72/payments/{PSP}/cancels"
    assert body_of(cancel) == {"merchantAccount": "ShopECOM", "reference": "pay_1.a3.void"}
    assert given == Pending(reference=NEW_PSP)
    assert give.path == f"/v72/payments/{PSP}/refunds"
    assert body_of(give) == {
        "merchantAccount": "ShopECOM",
        "reference": "ref_1.r1",
        "amount": {"value": 1999, "currency": "EUR"},
        "merchantRefundReason": "CUSTOMER REQUEST",
    }
    assert [r.headers["idempotency-key"] for r in wire.requests] == ["pay_1.a2", "pay_1.a3", "ref_1.r1"]


@pytest.mark.parametrize(
    ("reference", "canceled"),
    [("pay_1.a1", None), ("pay_1.a1", "pay_1.a1"), ("", "pay_1.a1")],
)
def test_a_payment_whose_reference_was_never_learnt_is_cancelled_by_ours(
    run: Run[Any], reference: str, canceled: AttemptId | None
) -> None:
    answer = said(201, {"paymentReference": "pay_1.a1", "pspReference": NEW_PSP, "status": "received"})
    with Wire(answer) as wire:
        outcome = ask_at(
            run, wire.url, replace(VOID, authorization_reference=reference, canceled_attempt_id=canceled)
        )
        [sent] = wire.requests

    assert outcome == Pending(reference=NEW_PSP)
    assert sent.path == "/v72/cancels"
    assert sent.headers["idempotency-key"] == "pay_1.a3"
    assert body_of(sent) == {
        "merchantAccount": "ShopECOM",
        "reference": "pay_1.a3.void",
        "paymentReference": "pay_1.a1",
    }


def test_a_payment_whose_reference_is_known_is_cancelled_by_it(run: Run[Any]) -> None:
    with Wire(received(VOID)) as wire:
        ask_at(run, wire.url, replace(VOID, canceled_attempt_id=AttemptId("pay_1.a1")))
        [sent] = wire.requests

    assert sent.path == f"/v72/payments/{PSP}/cancels"


def test_a_void_of_nothing_is_not_sent(run: Run[Any]) -> None:
    outcome = ask_at(run, closed_port(), replace(VOID, authorization_reference=""))

    assert outcome == NotSent(detail="there is no pspReference to act on", retryable=False)


def test_a_bank_that_wants_authentication_is_asked_for_it_by_a_link(run: Run[Any]) -> None:
    with Wire(GOOD[AuthorizeRequest]) as wire:
        ask_at(run, wire.url, replace(PAY, authenticate=True))
        body = body_of(wire.requests[0])

    assert body["authenticationData"] == {
        "attemptAuthentication": "always",
        "threeDSRequestData": {"nativeThreeDS": "disabled"},
    }
    assert body["recurringProcessingModel"] == "CardOnFile"


def test_nobody_absent_is_authenticated(run: Run[Any]) -> None:
    outcome = ask_at(run, closed_port(), replace(PAY, authenticate=True, off_session=True))

    assert isinstance(outcome, NotSent)
    assert not outcome.retryable


@pytest.mark.parametrize(
    ("reason", "word"),
    [("duplicate", "DUPLICATE"), ("it broke", "OTHER"), (None, None), ("fraudulent", "FRAUD")],
)
def test_a_refunds_reason_is_told_in_adyens_words(
    run: Run[Any], reason: str | None, word: str | None
) -> None:
    with Wire(received(REFUND)) as wire:
        ask_at(run, wire.url, replace(REFUND, reason=reason))
        body = body_of(wire.requests[0])

    assert body.get("merchantRefundReason") == word


def test_an_attempt_id_longer_than_a_key_may_be_is_hashed(run: Run[Any]) -> None:
    fits, long = AttemptId("p" * 61 + ".a1"), AttemptId("p" * 64 + ".a1")
    with Wire(said(200, {}), said(200, {})) as wire:
        ask_at(run, wire.url, replace(PAY, attempt_id=fits), replace(PAY, attempt_id=long))
        keys = [request.headers["idempotency-key"] for request in wire.requests]
        references = [body_of(request)["reference"] for request in wire.requests]

    assert keys == [fits, hashlib.sha256(long.encode()).hexdigest()]
    assert all(len(key) <= 64 for key in keys)
    assert references == [fits, long]


def test_more_metadata_than_adyen_holds_does_not_stop_a_payment(run: Run[Any]) -> None:
    many = {f"key{n}": "value" for n in range(50)} | {"long": "x" * 81, "empty": ""}
    with Wire(GOOD[AuthorizeRequest]) as wire:
        ask_at(run, wire.url, replace(PAY, metadata=many))
        metadata = body_of(wire.requests[0])["metadata"]

    assert len(metadata) == 20
    assert metadata["payment_id"] == "pay_1"
    assert not {"long", "empty"} & set(metadata)


@pytest.mark.parametrize("request_", [PAY, CAPTURE, REFUND], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("amount", [Money(150, "CVE"), Money(1, "BOV")])
def test_an_amount_adyen_cannot_take_is_refused_before_the_call(
    run: Run[Any], request_: CaptureRequest, amount: Money
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


@pytest.mark.parametrize("reference", ["", "pay_1.a1", "../payments", "A" * 16 + "?x=1", "short"])
@pytest.mark.parametrize("request_", [CAPTURE, REFUND], ids=["capture", "refund"])
def test_what_is_no_reference_of_adyens_is_never_part_of_a_url(
    run: Run[Any], request_: CaptureRequest | RefundRequest, reference: str
) -> None:
    if isinstance(request_, CaptureRequest):
        outcome = ask_at(run, closed_port(), replace(request_, authorization_reference=reference))
    else:
        outcome = ask_at(run, closed_port(), replace(request_, capture_reference=f"{reference}/{NEW_PSP}"))

    assert outcome == NotSent(detail="there is no pspReference to act on", retryable=False)


@MOVING
def test_the_same_key_for_another_request_is_never_sent(run: Run[Any], request_: Moving) -> None:
    other: Moving = replace(request_, amount=Money(2000, "EUR"))
    if isinstance(request_, VoidRequest):
        other = replace(request_, authorization_reference=NEW_PSP)
    with Wire(GOOD[type(request_)], GOOD[type(request_)]) as wire:
        first, second, third = ask_at(run, wire.url, request_, other, request_)
        sent = len(wire.requests)

    assert sent == 2
    assert first == third
    assert isinstance(second, Unknown), "the first may have moved money"


@pytest.mark.parametrize(
    "request_",
    [
        PAY,
        replace(PAY, capture=False),
        replace(PAY, off_session=True, return_url=None),
        replace(PAY, authenticate=True),
        replace(PAY, customer_id=None, statement_descriptor=None, metadata={}),
        CAPTURE,
        VOID,
        replace(VOID, authorization_reference="", canceled_attempt_id=AttemptId("pay_1.a1")),
        REFUND,
        replace(REFUND, reason=None, capture_reference=f"{PSP}/{NEW_PSP}"),
        LookupRequest(
            attempt_id=AttemptId("pay_1.a1"),
            operation=Operation.SALE,
            payment_id=PaymentId("pay_1"),
            amount=Money(1999, "EUR"),
            reference=None,
            parent_reference=None,
            customer_brought={"redirectResult": "eyJ0", "threeds2.challengeResult": "eyJ0", "order": "7"},
        ),
    ],
    ids=range(11),
)
def test_what_is_sent_is_what_adyens_specification_allows(
    run: Run[Any], request_: Moving | LookupRequest
) -> None:
    specification = checkout()
    if specification is None:
        pytest.skip("no specification of Checkout: set PAYMENTS_SPECS_DIR; no request was held against it")
    with Wire(said(200, {})) as wire:
        ask_at(run, wire.url, request_)
        [sent] = wire.requests

    assert specification.faults_of_request(sent.path, body_of(sent)) == []
    assert len(sent.headers["idempotency-key"]) <= 64


# --- what is answered --------------------------------------------------------------------------------

REDIRECT = {
    "type": "redirect",
    "method": "GET",
    "url": "https://bank.example/3ds",
    "paymentMethodType": "scheme",
}
FORM = {**REDIRECT, "method": "POST", "data": {"MD": "secret"}}
CHALLENGE = {"type": "threeDS2", "subtype": "challenge", "token": "secret", "paymentMethodType": "scheme"}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (paid("Authorised"), Approved(reference=PSP, amount=Money(1999, "EUR"))),
        (
            paid("Authorised", amount={"currency": "EUR", "value": 1998}),
            Approved(reference=PSP, amount=Money(1998, "EUR")),
        ),
        (
            paid("PartiallyAuthorised", amount={"currency": "EUR", "value": 5}),
            Approved(reference=PSP, amount=Money(5, "EUR")),
        ),
        (paid("Pending"), Pending(reference=PSP)),
        (paid("Received", pspReference=None), Pending(reference="pay_1.a1")),
        (
            paid("RedirectShopper", action=REDIRECT),
            ActionRequired(
                reference="pay_1.a1", action=NextAction(kind="redirect", url="https://bank.example/3ds")
            ),
        ),
        (
            paid("RedirectShopper", action=FORM, pspReference=None),
            ActionRequired(
                reference="pay_1.a1", action=NextAction(kind="sdk", client_secret=json.dumps(FORM))
            ),
        ),
        (
            paid("ChallengeShopper", action=CHALLENGE),
            ActionRequired(
                reference="pay_1.a1", action=NextAction(kind="sdk", client_secret=json.dumps(CHALLENGE))
            ),
        ),
        (
            paid("Cancelled"),
            Declined(
                reason=DeclineReason.CANCELED_BY_CUSTOMER,
                firmness=Firmness.SOFT,
                code="Cancelled",
                reference=PSP,
            ),
        ),
    ],
)
def test_what_a_result_code_means(run: Run[Any], answer: Answer, outcome: Outcome) -> None:
    assert ask(run, PAY, answer) == outcome


@pytest.mark.parametrize(
    "answer",
    [
        paid("Success"),
        paid("AuthenticationFinished"),
        paid("AuthenticationNotRequired"),
        paid("SomethingNew"),
        paid("authorised"),
        paid("PartiallyAuthorised"),
        paid("Authorised", pspReference=None),
        paid("Authorised", merchantReference="pay_2.a1"),
        paid("Authorised", amount={"currency": "EUR", "value": "1999"}),
        paid("Authorised", amount={"currency": "EUR"}),
        paid("Authorised", amount={"currency": "ISK", "value": 501}),
        paid("Authorised", amount=[]),
        paid("RedirectShopper"),
        paid("RedirectShopper", action={"type": "redirect"}),
    ],
    ids=lambda answer: answer.body.decode()[:120],
)
def test_an_answer_that_is_not_as_agreed_is_unknown(run: Run[Any], answer: Answer) -> None:
    outcome = ask(run, PAY, answer)

    assert isinstance(outcome, Unknown)
    assert outcome.reference in (PSP, "pay_1.a1")


@pytest.mark.parametrize("request_", [CAPTURE, VOID, REFUND], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize(
    "change",
    [
        {"status": "done"},
        {"pspReference": None, "paymentPspReference": None},
        {"pspReference": 7, "paymentPspReference": 7},
        {"reference": "pay_2.a2"},
    ],
    ids=str,
)
def test_a_receipt_that_is_not_as_agreed_is_unknown(
    run: Run[Any], request_: CaptureRequest, change: dict[str, Any]
) -> None:
    assert isinstance(ask(run, request_, received(request_, **change)), Unknown)


@pytest.mark.parametrize("request_", [CAPTURE, REFUND], ids=lambda r: type(r).__name__)
def test_a_receipt_for_another_amount_is_unknown(run: Run[Any], request_: CaptureRequest) -> None:
    answer = received(request_, amount={"currency": "EUR", "value": 1})

    assert isinstance(ask(run, request_, answer), Unknown)


@pytest.mark.parametrize("code", list(REFUSALS))
def test_every_refusal_code_has_a_reason_of_ours(run: Run[Any], code: str) -> None:
    outcome = ask(run, PAY, refused(code))

    assert isinstance(outcome, Declined)
    assert (outcome.code, outcome.reference) == (code, PSP)
    if code == "21":
        assert outcome.reason is DeclineReason.OTHER
    else:
        assert (outcome.reason, outcome.firmness) == REFUSAL_TABLE[code]
        assert outcome.reason is not DeclineReason.OTHER


@pytest.mark.parametrize(
    ("code", "reason", "firmness"),
    [
        ("12", DeclineReason.INSUFFICIENT_FUNDS, Firmness.SOFT),
        ("2", DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
        ("5", DeclineReason.RESTRICTED_CARD, Firmness.HARD),
        ("6", DeclineReason.EXPIRED_CARD, Firmness.HARD),
        ("20", DeclineReason.SUSPECTED_FRAUD, Firmness.HARD),
        ("38", DeclineReason.AUTHENTICATION_REQUIRED, Firmness.NEEDS_AUTHENTICATION),
        ("46", DeclineReason.DO_NOT_RETRY, Firmness.HARD),
        ("999", DeclineReason.OTHER, Firmness.SOFT),
    ],
)
@pytest.mark.parametrize("result", ["Refused", "Error"])
def test_a_refusal_is_told_in_our_words(
    run: Run[Any], result: str, code: str, reason: DeclineReason, firmness: Firmness
) -> None:
    outcome = ask(run, PAY, paid(result, refusalReasonCode=code))

    assert outcome == Declined(reason=reason, firmness=firmness, code=code, reference=PSP)


@pytest.mark.parametrize(
    ("code", "more", "reason", "firmness"),
    [
        ("5", {"refusalReasonRaw": "43 : Stolen card"}, DeclineReason.LOST_OR_STOLEN, Firmness.HARD),
        ("2", {"refusalReasonRaw": "41 : Lost card"}, DeclineReason.LOST_OR_STOLEN, Firmness.HARD),
        ("2", {"refusalReasonRaw": "05 : Do not honor"}, DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
        ("2", {"merchantAdviceCode": "03 : Do not try again"}, DeclineReason.DO_NOT_RETRY, Firmness.HARD),
        ("2", {"merchantAdviceCode": "02 : Try again later"}, DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
        ("6", {"merchantAdviceCode": "21 : Stop"}, DeclineReason.EXPIRED_CARD, Firmness.HARD),
        ("2", {"refusalReasonRaw": None}, DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
    ],
)
def test_the_issuers_own_words_make_a_refusal_clearer(
    run: Run[Any], code: str, more: dict[str, str], reason: DeclineReason, firmness: Firmness
) -> None:
    outcome = ask(run, PAY, refused(code, additionalData=more))

    assert (outcome.reason, outcome.firmness, outcome.code) == (reason, firmness, code)


# --- the line breaks ---------------------------------------------------------------------------------


@MOVING
def test_a_refused_connection_is_not_sent(run: Run[Any], request_: Moving) -> None:
    outcome = ask_at(run, closed_port(), request_)

    assert outcome == NotSent(detail="not connected (ClientConnectorError)", retryable=True)


@pytest.mark.parametrize("behaviour", [HangUp(after_reading=False), Silence()], ids=repr)
def test_a_connection_that_cannot_be_secured_is_not_sent(run: Run[Any], behaviour: Behaviour) -> None:
    with Wire(behaviour) as wire:
        outcome = ask_at(run, wire.url.replace("http:", "https:"), PAY)

    assert isinstance(outcome, NotSent)
    assert outcome.retryable


BAD_LINES = [
    HangUp(after_reading=False),
    HangUp(after_reading=True),
    HangUp(after_reading=True, reset=True),
    Silence(),
    Trickle(),
    Answer(body=b"not HTTP", announced=100),
    Answer(body=b'{"resultCode": "Authorised", "psp', announced=33),
    Answer(body=b""),
    Answer(body=b"null"),
    Answer(body=b"[]"),
    Answer(body=b'"Authorised"'),
    Answer(body=b"{}"),
    Answer(body=b"\xff\xfe"),
    Answer(status=204, body=b""),
    Answer(status=302, headers={"Location": "https://elsewhere.example/"}),
    Answer(status=408, body=b"{}"),
    Answer(status=422, body=b"[]"),
    Answer(status=502, body=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}),
    Answer(status=502, body=b"<html>Passerelle d\xe9faillante</html>"),
    Answer(status=504, body=b""),
    error(500, "000"),
    error(500, "905"),
    error(503, "000"),
    error(418, "000"),
    error(409, "000"),
    error(409, "704", **{"transient-error": "true"}),
    error(422, "704", **{"transient-error": "true"}),
    error(422, "704"),
    error(500, "000", **{"transient-error": "true"}),
    error(422, "000", **{"Transient-Error": "true"}),
    error(429, "000", **{"transient-error": "true"}),
]


@MOVING
@pytest.mark.parametrize("behaviour", BAD_LINES, ids=repr)
def test_an_answer_that_leaves_a_doubt_is_unknown_never_declined(
    run: Run[Any], request_: Moving, behaviour: Behaviour
) -> None:
    outcome = ask(run, request_, behaviour)

    assert isinstance(outcome, Unknown)


@MOVING
@pytest.mark.parametrize("after_reading", [False, True])
def test_a_call_that_moves_money_is_sent_once(run: Run[Any], request_: Moving, after_reading: bool) -> None:
    with Wire(HangUp(after_reading=after_reading), GOOD[type(request_)]) as wire:
        outcome = ask_at(run, wire.url, request_)
        sent = len(wire.requests)

    assert isinstance(outcome, Unknown)
    assert sent == int(after_reading)


@MOVING
@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        (error(429, "000"), True),
        (error(401, "000"), True),
        (error(403, "901"), True),
        (error(403, "010"), True),
        (error(400, "702"), False),
        (error(404, "000"), False),
        (error(422, "167"), False),
        (error(422, "14_030"), False),
    ],
    ids=repr,
)
def test_what_adyen_turned_away_is_not_sent(
    run: Run[Any], request_: Moving, answer: Answer, retryable: bool
) -> None:
    outcome = ask(run, request_, answer)

    assert isinstance(outcome, NotSent)
    assert outcome.retryable is retryable
    assert "8816118280275544" in outcome.detail


@pytest.mark.parametrize("code", ["800", "803"])
def test_a_stored_card_that_is_gone_is_declined_for_good(run: Run[Any], code: str) -> None:
    assert ask(run, PAY, error(422, code)) == Declined(
        reason=DeclineReason.INVALID_CARD, firmness=Firmness.HARD, code=code
    )


def test_a_doubt_about_a_payment_names_it_so_that_it_can_be_cancelled(run: Run[Any]) -> None:
    for behaviour in (Silence(), HangUp(after_reading=True), error(500, "000")):
        assert ask(run, PAY, behaviour).reference == "pay_1.a1"


def test_a_trickling_answer_ends_within_the_limit_that_is_declared(run: Run[Any]) -> None:
    gateway = adyen_at(closed_port())
    run(gateway.close())

    assert gateway.capabilities.call_time_limit.total_seconds() == pytest.approx(1.9)


def test_calls_that_wait_for_a_connection_of_ours_too_long_are_not_sent(run: Run[Any]) -> None:
    async def five(url: str) -> list[Outcome]:
        gateway = adyen_at(url)
        requests = [replace(PAY, attempt_id=AttemptId(f"pay_{n}.a1")) for n in range(5)]
        endings = await asyncio.gather(*(gateway.authorize(request) for request in requests))
        await gateway.close()
        return list(endings)

    with Wire(*[Silence()] * 5) as wire:
        endings = run(five(wire.url))

    assert sum(isinstance(ending, Unknown) for ending in endings) == 4
    [last] = [ending for ending in endings if isinstance(ending, NotSent)]
    assert last.retryable


# --- look-ups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("reference", [None, PSP])
def test_a_look_up_is_unknown_without_a_call(
    run: Run[Any], operation: Operation, reference: str | None
) -> None:
    request = LookupRequest(
        attempt_id=AttemptId("pay_1.a1"),
        operation=operation,
        payment_id=PaymentId("pay_1"),
        amount=Money(1999, "EUR"),
        reference=reference,
        parent_reference=PSP,
    )
    with Wire() as wire:
        outcome = ask_at(run, wire.url, request)
        sent = wire.requests

    assert sent == []
    assert isinstance(outcome, Unknown)
    assert outcome.reference == reference


HAND_IN = LookupRequest(
    attempt_id=AttemptId("pay_1.a1"),
    operation=Operation.SALE,
    payment_id=PaymentId("pay_1"),
    amount=Money(1999, "EUR"),
    reference="pay_1.a1",
    parent_reference=None,
    customer_brought={"redirectResult": "eyJ0cmFuc1N0YXR1cyI6", "order": "1001"},
)


def test_what_the_customer_brought_is_handed_in_under_a_key_of_its_own(run: Run[Any]) -> None:
    other = replace(HAND_IN, customer_brought={"threeDSResult": "eyJ0cmFuc1N0YXR1cyI6"})
    with Wire(paid("Authorised"), paid("Authorised"), paid("Refused", refusalReasonCode="11")) as wire:
        first, again, third = ask_at(run, wire.url, HAND_IN, HAND_IN, other)
        sent = wire.requests

    assert first == again == Approved(reference=PSP, amount=Money(1999, "EUR"))
    assert third.reason is DeclineReason.AUTHENTICATION_FAILED
    assert {request.path for request in sent} == {"/v72/payments/details"}
    assert body_of(sent[0]) == {"details": {"redirectResult": "eyJ0cmFuc1N0YXR1cyI6"}}
    assert body_of(sent[2]) == {"details": {"threeDSResult": "eyJ0cmFuc1N0YXR1cyI6"}}
    keys = [request.headers["idempotency-key"] for request in sent]
    assert keys[0] == keys[1] != keys[2]
    assert "pay_1.a1" not in keys, "the key of the payment would give the payment's own answer again"


@pytest.mark.parametrize(
    "answer",
    [
        paid("Authorised", merchantReference="pay_2.a1"),
        said(200, {"resultCode": "Authorised", "pspReference": PSP}),
        error(422, "14_005"),
        error(422, "800"),
        error(404, "000"),
        error(401, "000"),
        error(429, "000"),
        error(500, "000"),
        HangUp(after_reading=False),
        HangUp(after_reading=True),
        Silence(),
        Answer(body=b"<html>"),
        Answer(body=b"[]"),
    ],
    ids=repr,
)
def test_a_hand_in_that_fails_tells_nothing_of_the_payment(run: Run[Any], answer: Behaviour) -> None:
    outcome = ask(run, HAND_IN, answer)

    assert isinstance(outcome, Unknown)
    assert outcome.reference == "pay_1.a1"
    assert "eyJ0" not in repr((outcome, HAND_IN))


def test_a_second_step_at_the_bank_is_asked_for_again(run: Run[Any]) -> None:
    outcome = ask(run, HAND_IN, paid("ChallengeShopper", action=CHALLENGE))

    assert outcome == ActionRequired(
        reference="pay_1.a1", action=NextAction(kind="sdk", client_secret=json.dumps(CHALLENGE))
    )


def test_it_is_declared_that_adyen_cannot_be_asked(run: Run[Any]) -> None:
    gateway = adyen_at(closed_port())
    run(gateway.close())

    assert not gateway.capabilities.can_be_asked
    assert not gateway.capabilities.refunds_by_capture


# --- where, and with what secrets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "host"),
    [
        (None, "https://checkout-test.adyen.com/v72"),
        (
            "1797a841fbb37ca7-Shop",
            "https://1797a841fbb37ca7-Shop-checkout-live.adyenpayments.com/checkout/v72",
        ),
    ],
)
def test_money_is_moved_only_where_a_live_prefix_is_given(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch, prefix: str | None, host: str
) -> None:
    sent: list[str] = []

    async def nowhere(self: PooledTransport, noted: Any) -> Any:
        sent.append(noted.url)
        raise TimeoutError

    monkeypatch.setattr(PooledTransport, "_send", nowhere)

    async def both() -> None:
        gateway = AdyenGateway(api_key=KEY, merchant_account="ShopECOM", live_endpoint_prefix=prefix)
        await gateway.authorize(PAY)
        await gateway.capture(CAPTURE)
        await gateway.close()

    run(both())

    assert sent == [f"{host}/payments", f"{host}/payments/{PSP}/captures"]


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": ""},
        {"api_key": "two words"},
        {"api_key": "line\nbreak"},
        {"base_url": "http://127.0.0.1:1", "live_endpoint_prefix": "x"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Adyen") as refused:
        AdyenGateway(**{"api_key": KEY, "merchant_account": "ShopECOM", **settings})  # type: ignore[arg-type]

    assert "two words" not in str(refused.value)


@MOVING
@pytest.mark.parametrize(
    "behaviour",
    [error(422, "000"), error(500, "000"), error(401, "000"), HangUp(after_reading=True)],
    ids=repr,
)
def test_no_secret_is_shown_or_logged(
    run: Run[Any], caplog: pytest.LogCaptureFixture, request_: Moving, behaviour: Behaviour
) -> None:
    with caplog.at_level(logging.DEBUG), Wire(behaviour) as wire:
        gateway = adyen_at(wire.url)

        async def once() -> Outcome:
            ending = await call(gateway, request_)
            await gateway.close()
            return ending

        outcome = run(once())

    shown = repr((outcome, request_, gateway, gateway.capabilities)) + caplog.text
    assert TOKEN not in shown
    assert KEY not in shown


def test_what_the_sdk_raises_holds_no_request(run: Run[Any]) -> None:
    async def raised(url: str) -> AdyenError:
        gateway = adyen_at(url)
        body = {"paymentMethod": {"storedPaymentMethodId": TOKEN}}
        with pytest.raises(AdyenError) as error_:
            await gateway._transport.carry(gateway._payments.payments, body, idempotency_key="k")
        await gateway.close()
        return error_.value

    with Wire(said(422, {"errorCode": "1"})) as wire:
        error_ = run(raised(wire.url))

    assert TOKEN not in error_.debug()
    assert KEY not in error_.debug()
