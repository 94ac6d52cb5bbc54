"""Adyen's webhooks: who is let in, and what a notice says of every event there is."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateways.adyen_signature import sign, signed_of
from gateways.adyen_webhooks import AdyenVerifier, read
from gateways.notice import Forged, Notice, NotUnderstood, Reader, Verifier
from gateways.protocol import Approved, Declined, DeclineReason, Firmness, Operation
from messages.money import Money

SPECS = Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[3] / "shared" / "specs")
SAMPLES = SPECS / "vectors" / "adyen" / "webhook_examples.json"
KEY, OLD_KEY, STRANGE_KEY = "44782DEF" * 8, "AB" * 32, "CD" * 32
PAYMENT, OWN = "9913140798220028", "QFQTPCQ8HXSKGK82"
TEN_EUROS = Money(1000, "EUR")
NOW = datetime(2027, 1, 1, tzinfo=UTC)

_protocols_are_kept: tuple[Reader, type[Verifier]] = (read, AdyenVerifier)


def item(event: str = "REFUND", *, key: str = KEY, **change: Any) -> dict[str, Any]:
    """An item as Adyen signs it: of a modification, unless the changes say otherwise."""
    bare = {
        "amount": {"currency": "EUR", "value": 1000},
        "eventCode": event,
        "eventDate": "2026-11-23T01:00:00+01:00",
        "merchantAccountCode": "ShopECOM",
        "merchantReference": "ref_1.r1",
        "originalReference": PAYMENT,
        "paymentMethod": "visa",
        "pspReference": OWN,
        "reason": "",
        "success": "true",
        **change,
    }
    return {**bare, "additionalData": {"hmacSignature": sign(":".join(signed_of(bare)), key)}}


def body(*items: object) -> bytes:
    """A webhook's body."""
    wrapped = [{"NotificationRequestItem": item} for item in items]
    return json.dumps({"live": "false", "notificationItems": wrapped}).encode()


def basic(credentials: str = "adyen:secret:word", scheme: str = "Basic") -> dict[str, str]:
    """The headers of a delivery."""
    return {
        "authorization": f"{scheme} {b64encode(credentials.encode()).decode()}",
        "content-type": "application/json",
    }


# --- who is let in -----------------------------------------------------------------------------------


def verifier(**change: Any) -> AdyenVerifier:
    """One that knows two keys and two passwords, as while both are being changed."""
    settings: dict[str, Any] = {
        "hmac_keys": [KEY, OLD_KEY],
        "merchant_account": "ShopECOM",
        "username": "adyen",
        "passwords": ["secret:word", "öld"],
        **change,
    }
    return AdyenVerifier(**settings)


def let_in(raw: bytes, headers: dict[str, str] | None = None, **settings: Any) -> None:
    """Return if it is authentic, raise Forged if not."""
    by = verifier(**settings)
    asyncio.run(by.verify(headers=basic() if headers is None else headers, body=raw, now=NOW))
    asyncio.run(by.close())


@pytest.mark.parametrize("key", [KEY, OLD_KEY])
@pytest.mark.parametrize("credentials", ["adyen:secret:word", "adyen:öld"])
@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_while_secrets_are_changed_either_is_good(key: str, credentials: str, scheme: str) -> None:
    let_in(body(item(key=key)), basic(credentials, scheme))


def test_a_batch_is_let_in_when_every_item_is_signed() -> None:
    let_in(body(item(), item("CAPTURE", key=OLD_KEY), item("SOMETHING_NEW")))


@pytest.mark.parametrize(
    "bad",
    [
        item(key=STRANGE_KEY),
        {**item(), "success": "false"},
        {**item(), "additionalData": {}},
        {**item(), "additionalData": {"hmacSignature": ""}},
        {},
    ],
    ids=["another key", "changed", "not signed", "an empty signature", "empty"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_item_spoils_a_batch(bad: dict[str, Any], place: int) -> None:
    items = [item(), item("CAPTURE")]
    items.insert(place, bad)

    with pytest.raises(Forged):
        let_in(body(*items))


def test_another_merchant_account_is_not_ours_though_it_is_signed() -> None:
    with pytest.raises(Forged, match="merchant account"):
        let_in(body(item(), item(merchantAccountCode="ShopPOS")))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("adyen:wrong"),
        basic("adyen:"),
        basic("other:secret:word"),
        basic("adyen:secret:word "),
        basic("secret:word"),
        basic(""),
        basic(scheme="Bearer"),
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic YWR5ZW4"},
        {"authorization": "Basic é"},
        {"Authorization": basic()["authorization"]},
    ],
    ids=str,
)
def test_without_user_name_and_password_nobody_is_let_in(headers: dict[str, str]) -> None:
    with pytest.raises(Forged, match="password"):
        let_in(body(item()), headers)


@pytest.mark.parametrize("length", range(0, len(body(item())), 37))
def test_a_truncated_body_is_not_let_in(length: int) -> None:
    with pytest.raises(Forged):
        let_in(body(item())[:length])


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b"null", body(), body("text"), b"[" * 100_000, b'{"notificationItems": [{}]}'],
    ids=range(8),
)
def test_what_is_not_of_adyens_form_is_not_let_in(raw: bytes) -> None:
    with pytest.raises(Forged, match="form"):
        let_in(raw)


def test_what_is_said_to_a_stranger_names_no_secret() -> None:
    for raw, headers in [(body(item(key=STRANGE_KEY)), basic()), (body(item()), basic("adyen:a guess"))]:
        with pytest.raises(Forged) as told:
            let_in(raw, headers)
        for secret in (KEY, OLD_KEY, "secret:word", "a guess"):
            assert secret not in str(told.value)
    assert KEY not in repr(verifier())


@pytest.mark.parametrize(
    "settings",
    [
        {"hmac_keys": []},
        {"hmac_keys": [KEY, ""]},
        {"hmac_keys": ["not hex"]},
        {"hmac_keys": [KEY, KEY[:-1]]},
        {"merchant_account": ""},
        {"username": ""},
        {"passwords": []},
        {"passwords": ["secret", ""]},
    ],
    ids=str,
)
def test_settings_that_would_let_anybody_in_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Adyen") as refused:
        verifier(**settings)

    assert "not hex" not in str(refused.value).replace("is not hex", "")


# --- what it says ------------------------------------------------------------------------------------


def told(event: str, **change: Any) -> Notice:
    """The notice of one item."""
    [notice] = read(body(item(event, **change)))
    return notice


YES, NO = {"success": "true"}, {"success": "false"}
FIRST: dict[str, Any] = {"pspReference": PAYMENT, "originalReference": None, "merchantReference": "pay_1.a1"}
CAPTURED = {"merchantReference": "cap_1.c1"}
VOIDED = {"merchantReference": "pay_1.a3.void"}
REFUNDED = {"merchantReference": "ref_1.r1"}
OWN_REFUND = {"merchantReference": "pay_1.void.r2"}
BY_HAND = {"merchantReference": "pay_1.a1"}
NAMELESS = {"merchantReference": ""}


@pytest.mark.parametrize(
    ("event", "change", "operation", "attempt_id", "reference", "parent"),
    [
        ("AUTHORISATION", FIRST, Operation.AUTHORIZE, "pay_1.a1", PAYMENT, None),
        ("AUTHORISATION", FIRST | {"merchantReference": "theirs"}, Operation.AUTHORIZE, None, PAYMENT, None),
        ("EXPIRE", FIRST, Operation.AUTHORIZE, "pay_1.a1", PAYMENT, None),
        ("EXPIRE", BY_HAND, Operation.AUTHORIZE, "pay_1.a1", PAYMENT, None),
        ("CAPTURE", CAPTURED, Operation.CAPTURE, "cap_1.c1", f"{PAYMENT}/{OWN}", PAYMENT),
        ("CAPTURE", BY_HAND, Operation.CAPTURE, None, PAYMENT, PAYMENT),
        ("CAPTURE", NAMELESS, Operation.CAPTURE, None, PAYMENT, PAYMENT),
        ("CAPTURE_FAILED", CAPTURED, Operation.CAPTURE, "cap_1.c1", f"{PAYMENT}/{OWN}", PAYMENT),
        ("CAPTURE_FAILED", BY_HAND, Operation.CAPTURE, None, PAYMENT, PAYMENT),
        ("CANCELLATION", VOIDED, Operation.VOID, "pay_1.a3", OWN, PAYMENT),
        ("CANCELLATION", BY_HAND, Operation.VOID, None, OWN, PAYMENT),
        ("CANCELLATION", NAMELESS, Operation.VOID, None, OWN, PAYMENT),
        ("TECHNICAL_CANCEL", BY_HAND, Operation.VOID, None, OWN, PAYMENT),
        ("TECHNICAL_CANCEL", FIRST | {"pspReference": OWN}, Operation.VOID, None, OWN, "pay_1.a1"),
        ("REFUND", REFUNDED, Operation.REFUND, "ref_1.r1", OWN, PAYMENT),
        ("REFUND", OWN_REFUND, Operation.REFUND, "pay_1.void.r2", OWN, PAYMENT),
        ("REFUND", BY_HAND, Operation.REFUND, None, OWN, PAYMENT),
        ("REFUND", CAPTURED, Operation.REFUND, None, OWN, PAYMENT),
        ("REFUND_FAILED", REFUNDED, Operation.REFUND, "ref_1.r1", OWN, PAYMENT),
        ("REFUNDED_REVERSED", REFUNDED, Operation.REFUND, "ref_1.r1", OWN, PAYMENT),
    ],
)
def test_a_notice_names_what_it_is_about_as_the_adapter_does(
    event: str,
    change: dict[str, Any],
    operation: Operation,
    attempt_id: str | None,
    reference: str,
    parent: str | None,
) -> None:
    notice = told(event, **change)

    assert (notice.gateway, notice.event, notice.operation) == ("adyen", event, operation)
    assert (notice.attempt_id, notice.reference, notice.parent_reference) == (attempt_id, reference, parent)
    assert notice.amount == TEN_EUROS
    assert getattr(notice.says, "reference", None) == reference


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("AUTHORISATION", FIRST),
        ("CAPTURE", CAPTURED),
        ("CANCELLATION", VOIDED),
        ("TECHNICAL_CANCEL", BY_HAND),
        ("REFUND", REFUNDED),
    ],
)
def test_a_success_is_approved_for_what_moved(event: str, change: dict[str, Any]) -> None:
    for success in ("true", True):
        notice = told(event, **change, success=success)
        assert notice.says == Approved(reference=notice.reference or "", amount=TEN_EUROS)


@pytest.mark.parametrize(
    ("event", "success", "reason", "firmness"),
    [
        ("AUTHORISATION", NO, DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
        ("EXPIRE", YES, DeclineReason.EXPIRED, Firmness.HARD),
        ("CAPTURE", NO, DeclineReason.OTHER, Firmness.HARD),
        ("CAPTURE_FAILED", YES, DeclineReason.OTHER, Firmness.HARD),
        ("CANCELLATION", NO, DeclineReason.OTHER, Firmness.HARD),
        ("TECHNICAL_CANCEL", NO, DeclineReason.OTHER, Firmness.HARD),
        ("REFUND", NO, DeclineReason.NOT_REFUNDABLE, Firmness.HARD),
        ("REFUND_FAILED", YES, DeclineReason.OTHER, Firmness.SOFT),
        ("REFUNDED_REVERSED", YES, DeclineReason.OTHER, Firmness.HARD),
    ],
)
def test_a_failure_is_declined(
    event: str, success: dict[str, str], reason: DeclineReason, firmness: Firmness
) -> None:
    notice = told(event, **success)

    assert notice.says == Declined(reason=reason, firmness=firmness, code=event, reference=notice.reference)


@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("Not enough balance", "Not enough balance"),
        ("3D Not Authenticated", "3D Not Authenticated"),
        ("Transaction hasn't been captured, refund not possible", None),
        ("05 : Do not honor", None),
        ("", "REFUND"),
        ("   ", "REFUND"),
        (None, "REFUND"),
        ({"a": "b"}, "REFUND"),
        ("x" * 65, "REFUND"),
        ("4111 1111 1111 1111", "REFUND"),
        ("card 4111111111111111", "REFUND"),
        ("line\nbreak", "REFUND"),
        ("<script>", "REFUND"),
    ],
)
def test_what_nobody_signed_only_colours_the_code(why: object, code: str | None) -> None:
    plain, coloured = told("REFUND", **NO), told("REFUND", **NO, reason=why)

    assert isinstance(plain.says, Declined)
    assert isinstance(coloured.says, Declined)
    assert coloured.says.code == (why if code is None else code)
    assert (coloured.notice_id, coloured.says.reason, coloured.says.firmness) == (
        plain.notice_id,
        plain.says.reason,
        plain.says.firmness,
    )


@pytest.mark.parametrize(
    "unsigned",
    [
        {"reason": "Refused"},
        {"eventDate": "2030-01-01T00:00:00Z"},
        {"paymentMethod": "mc"},
        {"additionalData": {"modification.action": "refund", "captureDelay": "1"}},
        {"operations": []},
    ],
    ids=str,
)
def test_what_nobody_signed_changes_nothing(unsigned: dict[str, Any]) -> None:
    for event in ("AUTHORISATION", "REFUND", "CANCEL_OR_REFUND"):
        signed = item(event)
        assert read(body({**signed, **unsigned})) == read(body(signed))


@pytest.mark.parametrize(
    "change",
    [
        NO,
        {"pspReference": PAYMENT},
        {"originalReference": OWN},
        {"merchantReference": "ref_1.r2"},
        {"amount": {"currency": "EUR", "value": 999}},
        {"amount": {"currency": "USD", "value": 1000}},
    ],
    ids=str,
)
def test_another_happening_has_another_name(change: dict[str, Any]) -> None:
    assert told("REFUND").notice_id == told("REFUND", eventDate="2030-01-01T00:00:00Z").notice_id
    assert told("REFUND").notice_id != told("REFUND", **change).notice_id
    assert told("REFUND").notice_id != told("REFUND_FAILED").notice_id
    assert len(told("REFUND").notice_id) <= 128


@pytest.mark.parametrize(
    ("wire", "amount"),
    [
        ({"currency": "ISK", "value": 700}, Money(7, "ISK")),
        ({"currency": "CLP", "value": 120000}, Money(1200, "CLP")),
        ({"currency": "CVE", "value": 12}, Money(1200, "CVE")),
        ({"currency": "JPY", "value": 500}, Money(500, "JPY")),
        ({"currency": "KWD", "value": "1230"}, Money(1230, "KWD")),
    ],
)
def test_amounts_come_in_our_units(wire: dict[str, Any], amount: Money) -> None:
    assert told("REFUND", amount=wire).amount == amount


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"currency": "EUR"}},
        {"amount": {"currency": "ISK", "value": 701}},
        {"amount": {"currency": "XXQ", "value": 1}},
        {"amount": {"currency": "EUR", "value": -1}},
        {"amount": {"currency": "EUR", "value": 10.5}},
        {"amount": None},
        {"success": "perhaps"},
        {"success": None},
        {"pspReference": ""},
        {"pspReference": "A" * 33},
        {"pspReference": "QFQTPCQ8/HXSKGK8"},
        {"originalReference": "a:b"},
    ],
    ids=str,
)
def test_an_outcome_that_lacks_what_it_needs_is_not_understood(change: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood, match="REFUND"):
        told("REFUND", **change)


def test_two_ways_to_take_what_was_signed_apart_are_none() -> None:
    """Whoever may choose a merchant reference must not turn one event into another by its colons."""
    chosen = item("AUTHORISATION", **FIRST | {"merchantReference": "pay_1.a1:999999:EUR:CAPTURE:true"})
    turned = {
        **chosen,
        "merchantReference": "pay_1.a1",
        "amount": {"currency": "EUR:CAPTURE:true:1000:EUR", "value": 999999},
    }
    let_in(body(chosen))
    let_in(body(turned))

    with pytest.raises(NotUnderstood, match="colon"):
        read(body(turned))
    assert read(body(chosen))[0].attempt_id is None


@pytest.mark.parametrize("event", ["EXPIRE", "CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED"])
def test_a_failure_that_did_not_happen_is_not_acted_upon(event: str) -> None:
    notice = told(event, **NO)

    assert (notice.operation, notice.says) == (None, None)


def test_an_event_we_do_not_act_upon_says_nothing_whatever_is_in_it() -> None:
    odd = {"amount": None, "pspReference": "settlement_report.csv", "merchantReference": None, "success": "?"}
    notice = told("REPORT_AVAILABLE", **odd)

    assert (notice.event, notice.operation, notice.says) == ("REPORT_AVAILABLE", None, None)
    assert told("no word at all!").event == "unreadable"


def test_every_item_of_a_batch_is_read_in_its_order() -> None:
    notices = read(body(item("AUTHORISATION", **FIRST), item("CHARGEBACK"), item("CAPTURE", **CAPTURED)))

    assert [notice.event for notice in notices] == ["AUTHORISATION", "CHARGEBACK", "CAPTURE"]


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", body(), b"\xff"])
def test_what_is_not_of_adyens_form_is_not_understood(raw: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read(raw)


def test_adyens_own_samples_are_read() -> None:
    if not SAMPLES.is_file():
        pytest.skip(f"no {SAMPLES}: set PAYMENTS_SPECS_DIR; no sample of Adyen's was read")
    samples = [sample for sample in json.loads(SAMPLES.read_text()).values() if "notificationItems" in sample]
    notices = {notice.event: notice for sample in samples for notice in read(json.dumps(sample).encode())}
    acted_upon = {event: notice for event, notice in notices.items() if notice.operation is not None}

    assert len(notices) == len(samples) == 39
    assert set(acted_upon) == {
        "AUTHORISATION",
        "CANCELLATION",
        "CAPTURE",
        "CAPTURE_FAILED",
        "EXPIRE",
        "REFUND",
        "REFUNDED_REVERSED",
        "REFUND_FAILED",
        "TECHNICAL_CANCEL",
    }
    approved = {event for event, notice in acted_upon.items() if isinstance(notice.says, Approved)}
    assert approved == {"AUTHORISATION", "CANCELLATION", "CAPTURE", "TECHNICAL_CANCEL"}
    assert all(notice.says is None for notice in notices.values() if notice.operation is None)
    assert {notice.amount for notice in acted_upon.values()} == {TEN_EUROS}
