"""Stripe's own callbacks are told from anybody else's, and an event is read for what it is about."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from gateways.notice import Forged, Notice, NotUnderstood
from gateways.protocol import Operation
from gateways.stripe_webhooks import EVENTS, StripeVerifier, read
from messages.ids import AttemptId
from messages.money import Money

SPECS = Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[3] / "shared" / "specs")
VECTORS = SPECS / "vectors" / "stripe" / "webhook_signature_vectors.json"

SECRET, NEW_SECRET = "whsec_anOldSecret", "whsec_aNewSecret"
SIGNED_AT = 1_800_000_000
NOW = datetime.fromtimestamp(SIGNED_AT, UTC)
SECOND = timedelta(seconds=1)
TOLERANCE = timedelta(minutes=5)


def signature(body: bytes, *secrets: str, at: int = SIGNED_AT) -> str:
    """A header as Stripe writes it, made by Stripe's own library."""
    headers = [
        stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=at)
        for secret in secrets
    ]
    return ",".join([f"t={at}", *(header.split(",")[1] for header in headers)])


def is_authentic(
    body: bytes, header: str | None, *secrets: str, now: datetime = NOW, livemode: bool | None = None
) -> bool:
    headers = {"content-type": "application/json"} | ({} if header is None else {"stripe-signature": header})
    verifier = StripeVerifier(secrets or [SECRET], livemode=livemode)
    try:
        asyncio.run(verifier.verify(headers=headers, body=body, now=now))
    except Forged:
        return False
    return True


def event(kind: str, told: object, **more: object) -> bytes:
    """An event as Stripe writes it."""
    content = {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": SIGNED_AT,
        "data": {"object": told},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_1", "idempotency_key": "pay_1.a1"},
        "type": kind,
        **more,
    }
    return json.dumps(content, indent=2).encode()


def intent(**more: object) -> dict[str, object]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 1999,
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic",
        "currency": "eur",
        "metadata": {"attempt_id": "pay_1.a1", "payment_id": "pay_1"},
        **more,
    }


def refund(**more: object) -> dict[str, object]:
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 500,
        "balance_transaction": "txn_1",
        "currency": "eur",
        "metadata": {"attempt_id": "ref_1.r1"},
        "payment_intent": "pi_1",
        "reason": None,
        "status": "succeeded",
        **more,
    }


BODY = event("payment_intent.succeeded", intent(description="Zoë's order"))


# --- the signature ---------------------------------------------------------------------------------------


def test_what_stripe_signed_is_authentic() -> None:
    assert is_authentic(BODY, signature(BODY, SECRET))


@pytest.mark.skipif(not VECTORS.is_file(), reason=f"no {VECTORS}: set PAYMENTS_SPECS_DIR")
def test_the_known_signatures_are_told_apart() -> None:
    for vector in json.loads(VECTORS.read_text()):
        at = datetime.fromtimestamp(vector["timestamp"], UTC)
        body, header = vector["payload"].encode(), vector["header"]

        assert is_authentic(body, header, vector["secret"], now=at) is vector["valid"], vector["name"]


@pytest.mark.parametrize(
    "body",
    [
        BODY + b" ",
        BODY[:-1],
        BODY[: len(BODY) // 2],
        b"",
        BODY.replace(b"1999", b"9199"),
        json.dumps(json.loads(BODY)).encode(),
    ],
    ids=["longer", "shorter", "half", "nothing", "another amount", "written anew"],
)
def test_bytes_that_were_changed_are_forged(body: bytes) -> None:
    assert not is_authentic(body, signature(BODY, SECRET))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=1800000000",
        "v1=" + "0" * 64,
        signature(BODY, "whsec_somebodyElses"),
        signature(BODY, SECRET).replace("v1=", "v0="),
        signature(BODY, SECRET).replace("t=1800000000", "t=1800000001"),
        signature(BODY, SECRET).replace("t=1800000000,", ""),
        signature(BODY, SECRET).replace("t=1800000000", "t=1800000000,t=1800000001"),
        signature(BODY, SECRET).replace("t=1800000000", "t=+1800000000"),
        signature(BODY, SECRET).replace("t=1800000000", "t=now"),
        signature(BODY, SECRET).replace("t=1800000000", "t=" + "9" * 40),
        signature(BODY, SECRET).upper(),
        signature(BODY, SECRET)[:-1],
        signature(BODY, SECRET) + "0",
        "t=1800000000,v1=é" + "0" * 63,
        "\x00,=,,t",
    ],
)
def test_a_header_that_is_no_proof_is_forged(header: str | None) -> None:
    assert not is_authentic(BODY, header)


def test_one_good_signature_among_several_is_enough() -> None:
    good = signature(BODY, SECRET)
    bad = "0" * 64

    assert is_authentic(BODY, good.replace(",v1=", f",v1={bad},v1="))
    assert is_authentic(BODY, f"{good},v1={bad},v0={bad},v2=later")


@pytest.mark.parametrize("secrets", [(SECRET, NEW_SECRET), (NEW_SECRET, SECRET)])
def test_while_a_secret_is_rolled_both_are_good(secrets: tuple[str, str]) -> None:
    for signed_with in ([SECRET], [NEW_SECRET], [SECRET, NEW_SECRET]):
        assert is_authentic(BODY, signature(BODY, *signed_with), *secrets)
    assert not is_authentic(BODY, signature(BODY, SECRET), NEW_SECRET)


@pytest.mark.parametrize(
    ("age", "is_good"),
    [
        (TOLERANCE, True),
        (TOLERANCE + SECOND, False),
        (-TOLERANCE, True),
        (-TOLERANCE - SECOND, False),
        (timedelta(days=3), False),
        (-timedelta(days=365), False),
    ],
)
def test_what_was_signed_long_ago_or_in_the_future_is_forged(age: timedelta, is_good: bool) -> None:
    assert is_authentic(BODY, signature(BODY, SECRET), now=NOW + age) is is_good


@pytest.mark.parametrize(("livemode", "is_good"), [(None, True), (False, True), (True, False)])
def test_an_event_of_the_other_mode_is_not_for_us(livemode: bool | None, is_good: bool) -> None:
    assert is_authentic(BODY, signature(BODY, SECRET), livemode=livemode) is is_good


def test_whether_an_authentic_body_can_be_read_is_not_for_the_verifier_to_say() -> None:
    for body in (b"not JSON", b"[]", b"{}"):
        assert is_authentic(body, signature(body, SECRET), livemode=False)


def test_no_secret_is_shown() -> None:
    verifier = StripeVerifier([SECRET, NEW_SECRET])
    headers = {"stripe-signature": signature(BODY, "whsec_somebodyElses")}
    with pytest.raises(Forged) as refused:
        asyncio.run(verifier.verify(headers=headers, body=BODY, now=NOW))

    for shown in (repr(verifier), str(refused.value), repr(refused.value)):
        assert "whsec" not in shown
        assert headers["stripe-signature"] not in shown


@pytest.mark.parametrize("secrets", [[], [""], [SECRET, ""]])
def test_a_verifier_without_a_secret_is_refused(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="secret") as refused:
        StripeVerifier(secrets)

    assert SECRET not in str(refused.value)


def test_a_tolerance_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance"):
        StripeVerifier([SECRET], tolerance=timedelta(0))


# --- what an event is about ------------------------------------------------------------------------------


def notice(kind: str, operation: Operation | None, **more: Any) -> Notice:
    return Notice(gateway="stripe", notice_id="evt_1", event=kind, operation=operation, **more)


ATTEMPT, REFUND_ATTEMPT = AttemptId("pay_1.a1"), AttemptId("ref_1.r1")
MANUAL = {"capture_method": "manual"}
CAPTURED = {"attempt_id": "pay_1.a1", "capture_attempt_id": "cap_1.c1"}


@pytest.mark.parametrize("what", ["processing", "requires_action", "payment_failed", "canceled"])
@pytest.mark.parametrize(("how", "operation"), [({}, Operation.SALE), (MANUAL, Operation.AUTHORIZE)])
def test_an_intents_event_is_about_its_sale_or_authorization(
    what: str, how: dict[str, object], operation: Operation
) -> None:
    kind = f"payment_intent.{what}"

    [told] = read(event(kind, intent(**how)))

    assert told == notice(kind, operation, attempt_id=ATTEMPT, reference="pi_1")


def test_a_sale_that_succeeded_tells_what_was_received() -> None:
    [told] = read(event("payment_intent.succeeded", intent(amount_received=1999)))

    assert told == notice(
        "payment_intent.succeeded",
        Operation.SALE,
        attempt_id=ATTEMPT,
        reference="pi_1",
        amount=Money(1999, "EUR"),
        came_through=True,
    )


def test_a_hold_tells_what_is_held() -> None:
    kind = "payment_intent.amount_capturable_updated"

    [told] = read(event(kind, intent(**MANUAL, amount_capturable=1999)))

    assert told == notice(
        kind,
        Operation.AUTHORIZE,
        attempt_id=ATTEMPT,
        reference="pi_1",
        amount=Money(1999, "EUR"),
        came_through=True,
    )


@pytest.mark.parametrize(
    ("metadata", "attempt_id"), [(CAPTURED, "cap_1.c1"), ({"attempt_id": "pay_1.a1"}, None), (None, None)]
)
def test_a_hold_that_was_taken_is_about_the_capture_that_took_it_or_about_none_of_ours(
    metadata: object, attempt_id: AttemptId | None
) -> None:
    kind = "payment_intent.succeeded"

    [told] = read(event(kind, intent(**MANUAL, amount_received=600, metadata=metadata)))

    assert told == notice(
        kind,
        Operation.CAPTURE,
        attempt_id=attempt_id,
        reference="pi_1",
        parent_reference="pi_1",
        amount=Money(600, "EUR"),
        came_through=True,
    )


def test_a_charge_that_expired_goes_by_its_intents_name() -> None:
    charge = {
        "id": "ch_1",
        "object": "charge",
        "payment_intent": "pi_1",
        "metadata": {"attempt_id": "pay_1.a1"},
    }

    [told] = read(event("charge.expired", charge))

    assert told == notice("charge.expired", Operation.AUTHORIZE, attempt_id=ATTEMPT, reference="pi_1")


@pytest.mark.parametrize(
    "kind", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"]
)
@pytest.mark.parametrize(
    ("metadata", "attempt_id"), [({"attempt_id": "ref_1.r1"}, REFUND_ATTEMPT), ({}, None)]
)
def test_a_refund_is_told_by_its_own_id_whoever_made_it(
    kind: str, metadata: object, attempt_id: AttemptId | None
) -> None:
    [told] = read(event(kind, refund(metadata=metadata)))

    assert told == notice(
        kind,
        Operation.REFUND,
        attempt_id=attempt_id,
        reference="re_1",
        parent_reference="pi_1",
        amount=Money(500, "EUR"),
        came_through=kind != "refund.failed",
    )


def test_an_expanded_intent_is_known_by_its_id() -> None:
    [told] = read(event("refund.created", refund(payment_intent=intent())))

    assert told.parent_reference == "pi_1"


@pytest.mark.parametrize("more", [{"balance_transaction": None}, {"reason": "expired_uncaptured_charge"}])
def test_a_refund_that_only_let_a_hold_go_gave_nothing_back(more: dict[str, object]) -> None:
    assert read(event("refund.created", refund(**more))) == []


def test_a_refund_that_is_pending_has_moved_nothing_yet_and_is_one_all_the_same() -> None:
    [told] = read(event("refund.created", refund(status="pending", balance_transaction=None)))

    assert told.operation is Operation.REFUND


@pytest.mark.parametrize(
    "kind",
    ["payment_intent.created", "payment_intent.partially_funded", "charge.succeeded", "charge.refunded"],
)
def test_what_another_event_says_too_is_passed_over(kind: str) -> None:
    assert kind not in EVENTS
    assert read(event(kind, {"id": "x_1", "object": "whatever"})) == []


@pytest.mark.parametrize(
    "kind",
    [
        "charge.dispute.created",
        "payout.paid",
        "customer.created",
        "something.new_in_2031",
    ],
)
def test_what_we_do_not_act_upon_is_noted(kind: str) -> None:
    assert kind not in EVENTS
    assert read(event(kind, {"id": "x_1", "object": "whatever"})) == [notice(kind, None)]


def test_an_event_of_a_connected_account_is_not_about_our_payments() -> None:
    told = read(event("payment_intent.succeeded", intent(), account="acct_1"))

    assert told == [notice("payment_intent.succeeded", None)]


def test_a_thin_event_is_noted() -> None:
    body = json.dumps({"id": "evt_1", "object": "v2.core.event", "type": "v2.core.account.created"}).encode()

    assert read(body) == [notice("v2.core.account.created", None)]


@pytest.mark.parametrize("currency", ["zzz", "", None, 7])
def test_an_amount_in_a_currency_we_do_not_know_is_not_guessed(currency: object) -> None:
    [told] = read(event("payment_intent.succeeded", intent(amount_received=1999, currency=currency)))

    assert told.amount is None
    assert told.reference == "pi_1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"id": "evt_1", "id": "evt_2", "type": "refund.created"}',
        BODY[: len(BODY) // 2],
        event("payment_intent.succeeded", None),
        event("payment_intent.succeeded", refund()),
        event("payment_intent.succeeded", {"object": "payment_intent"}),
        event("refund.created", intent()),
        event("charge.expired", "ch_1"),
        event("payment_intent.succeeded", intent(), data=None),
        event("payment_intent.succeeded", intent(), id=None),
        event("payment_intent.succeeded", intent(), id="e" * 129),
        event("payment_intent.succeeded", intent(), type=None),
        event("not a type", intent()),
        event("x" * 81, intent()),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_has_not_the_form_of_an_event_is_not_understood_and_not_quoted(body: bytes) -> None:
    with pytest.raises(NotUnderstood) as refused:
        read(body)

    for word in ("evt_1", "pi_1", "re_1", "pay_1", "Zoë"):
        assert word not in str(refused.value)
