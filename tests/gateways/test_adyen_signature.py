"""The signatures of Adyen's webhooks, against genuine ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import Adyen.util
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.adyen_signature import digest, items_of, sign, signed_of, verify
from gateways.notice import NotUnderstood
from simulators.adyen.webhooks import Endpoint, body_of, item_of

SPECS = Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[3] / "shared" / "specs")
VECTORS = SPECS / "vectors" / "adyen" / "hmac_vectors.json"
KEY, OLD_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056", "AB" * 32


@pytest.fixture
def vector() -> dict[str, Any]:
    if not VECTORS.is_file():
        pytest.skip(f"no {VECTORS}: set PAYMENTS_SPECS_DIR; no genuine signature was verified")
    found: dict[str, Any] = json.loads(VECTORS.read_text())["notification_item"]
    return found


def genuine(vector: dict[str, Any]) -> dict[str, Any]:
    """The item as it came."""
    return {**vector["item"], "additionalData": {"hmacSignature": vector["expected_base64"]}}


def item(**change: Any) -> dict[str, Any]:
    """An item as the simulator signs it."""
    bare = item_of(
        "REFUND",
        psp_reference="QFQTPCQ8HXSKGK82",
        reference="ref_1.r1",
        amount={"currency": "EUR", "value": 1000},
        account="ShopECOM",
        at=1_800_000_000,
        original="9913140798220028",
    )
    [wrapped] = body_of([bare], Endpoint(hmac_key=KEY))["notificationItems"]
    signed: dict[str, Any] = {**wrapped["NotificationRequestItem"], **change}
    return signed


def body(*items: object) -> bytes:
    """A webhook's body."""
    return json.dumps(
        {"live": "false", "notificationItems": [{"NotificationRequestItem": i} for i in items]}
    ).encode()


def test_a_genuine_signature_is_good(vector: dict[str, Any]) -> None:
    assert ":".join(signed_of(genuine(vector))) == vector["signing_string"]
    assert sign(vector["signing_string"], vector["hmac_key_hex"]) == vector["expected_base64"]
    assert verify(genuine(vector), [vector["hmac_key_hex"]])


@pytest.mark.parametrize(
    "change",
    [
        {"pspReference": "7914073381342285"},
        {"originalReference": "7914073381342284"},
        {"merchantAccountCode": "OtherMerchant"},
        {"merchantReference": "TestPayment-1407325143705"},
        {"amount": {"currency": "EUR", "value": 1131}},
        {"amount": {"currency": "USD", "value": 1130}},
        {"eventCode": "CAPTURE"},
        {"success": "false"},
        {"amount": None},
        {"amount": []},
        {"merchantReference": "\ud800"},
    ],
)
def test_what_is_signed_cannot_be_changed(vector: dict[str, Any], change: dict[str, Any]) -> None:
    assert not verify({**genuine(vector), **change}, [vector["hmac_key_hex"]])
    assert digest(signed_of({**genuine(vector), **change})) != digest(signed_of(genuine(vector)))


def test_a_signature_of_another_key_is_bad(vector: dict[str, Any]) -> None:
    assert not verify(genuine(vector), [OLD_KEY])
    assert not verify(genuine(vector), [])


@pytest.mark.parametrize("keys", [[KEY, OLD_KEY], [OLD_KEY, KEY], [KEY.lower()]])
def test_while_keys_are_changed_either_is_good(keys: list[str]) -> None:
    assert verify(item(), keys)


@pytest.mark.parametrize(
    "more",
    [
        None,
        {},
        [],
        "text",
        {"hmacSignature": None},
        {"hmacSignature": ""},
        {"hmacSignature": 7},
        {"hmacSignature": "é"},
        {"hmacSignature": "\ud800"},
    ],
)
def test_an_item_that_was_not_signed_is_bad(more: object) -> None:
    assert not verify(item(additionalData=more), [KEY])
    bare = item()
    del bare["additionalData"]
    assert not verify(bare, [KEY])


def test_a_value_that_is_null_or_missing_is_empty() -> None:
    bare = item()
    del bare["originalReference"]
    text = ":".join(signed_of(bare))
    signature = {"hmacSignature": sign(text, KEY)}

    assert "::" in text
    assert verify({**bare, "additionalData": signature}, [KEY])
    assert verify({**bare, "originalReference": None, "additionalData": signature}, [KEY])


def test_nothing_is_escaped_and_true_is_a_word() -> None:
    odd = item(merchantReference="a:b\\c/d", success=True)

    assert ":".join(signed_of(odd)).endswith(":a:b\\c/d:1000:EUR:REFUND:true")


@given(reference=st.text(max_size=20), value=st.integers(min_value=0, max_value=2**53))
def test_what_the_sdk_signs_is_good(reference: str, value: int) -> None:
    bare = {**item(), "merchantReference": reference, "amount": {"currency": "EUR", "value": value}}
    del bare["additionalData"]
    signature = Adyen.util.generate_notification_sig(bare, KEY).decode()

    assert verify({**bare, "additionalData": {"hmacSignature": signature}}, [KEY])


def test_a_key_that_is_not_hex_is_our_fault() -> None:
    with pytest.raises(ValueError, match="non-hexadecimal"):
        verify(item(), ["not hex"])


def test_what_was_signed_has_one_name_whatever_was_not() -> None:
    again = item(reason="another", eventDate="2030-01-01T00:00:00+00:00", additionalData={"metadata.a": "b"})

    assert digest(signed_of(item())) == digest(signed_of(again))
    assert len(digest(signed_of(item()))) == 64


def test_fields_that_run_into_each_other_have_different_names() -> None:
    apart = item(pspReference="A", originalReference="B:C"), item(pspReference="A:B", originalReference="C")

    assert ":".join(signed_of(apart[0])) == ":".join(signed_of(apart[1]))
    assert digest(signed_of(apart[0])) != digest(signed_of(apart[1]))


def test_the_items_of_a_body_come_in_their_order() -> None:
    assert items_of(body(item(), item(success="false"))) == [item(), item(success="false")]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff",
        b'{"notificationItems": []}',
        b'{"notificationItems": null}',
        b'{"notificationItems": [{}]}',
        b'{"notificationItems": {"NotificationRequestItem": {}}}',
        body("text"),
        body(item())[:-2],
        body(item()).decode().encode("utf-16"),
        b'{"notificationItems": [], ' + body(item())[1:],
        body(item(amount={"currency": "EUR", "value": float("nan")})),
        b"[" * 100_000,
    ],
    ids=range(16),
)
def test_what_is_no_webhook_is_not_read(raw: bytes) -> None:
    with pytest.raises(NotUnderstood, match="a webhook"):
        items_of(raw)
