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

from gateways.adyen_webhooks import items_of, sign, signed_text, verify, verify_all
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


def test_a_genuine_signature_is_good(vector: dict[str, Any]) -> None:
    assert signed_text(genuine(vector)) == vector["signing_string"]
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
    signature = {"hmacSignature": sign(signed_text(bare), KEY)}

    assert "::" in signed_text(bare)
    assert verify({**bare, "additionalData": signature}, [KEY])
    assert verify({**bare, "originalReference": None, "additionalData": signature}, [KEY])


def test_nothing_is_escaped_and_true_is_a_word() -> None:
    odd = item(merchantReference="a:b\\c/d", success=True)

    assert signed_text(odd).endswith(":a:b\\c/d:1000:EUR:REFUND:true")


@given(reference=st.text(max_size=20), value=st.integers(min_value=0, max_value=2**53))
def test_what_the_sdk_signs_is_good(reference: str, value: int) -> None:
    bare = {**item(), "merchantReference": reference, "amount": {"currency": "EUR", "value": value}}
    del bare["additionalData"]
    signature = Adyen.util.generate_notification_sig(bare, KEY).decode()

    assert verify({**bare, "additionalData": {"hmacSignature": signature}}, [KEY])


def test_a_key_that_is_not_hex_is_our_fault() -> None:
    with pytest.raises(ValueError, match="non-hexadecimal"):
        verify(item(), ["not hex"])


def test_every_item_of_a_batch_must_be_signed() -> None:
    good, bad = item(), item(success="false")

    def body(*items: dict[str, Any]) -> dict[str, Any]:
        return {"live": "false", "notificationItems": [{"NotificationRequestItem": i} for i in items]}

    assert items_of(body(good, bad)) == [good, bad]
    assert verify_all(body(good, good), [KEY])
    for wrong in (body(good, bad), body(bad, good), body(bad)):
        assert not verify_all(wrong, [KEY])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"notificationItems": []},
        {"notificationItems": None},
        {"notificationItems": [{}]},
        {"notificationItems": [{"NotificationRequestItem": "text"}]},
        {"notificationItems": {"NotificationRequestItem": {}}},
    ],
)
def test_what_is_no_webhook_is_never_good(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a webhook"):
        verify_all(body, [KEY])
