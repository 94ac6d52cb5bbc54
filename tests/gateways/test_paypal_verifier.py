"""Only what PayPal signed comes in: the signature, the certificate behind it, and the time over it."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateways.notice import Forged, Verifier
from gateways.paypal_certificates import BYTES_MOST, FETCHES_MOST, KEPT_MOST, Certificates
from gateways.paypal_webhooks import PaypalVerifier, is_signed, signed_message
from tests.gateways.paypal_signing import (
    NOW,
    WEBHOOK_ID,
    Issuer,
    Shelf,
    pem,
    rsa_key,
    shelf,
    signed_headers,
)

VECTORS = (
    Path(os.environ.get("PAYMENTS_SPECS_DIR") or Path(__file__).parents[3] / "shared" / "specs")
    / "vectors"
    / "paypal"
)
BODY = '{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED","summary":"€ 10"}'.encode()
ROOT, KEY, OTHER_KEY = Issuer("A root of the tests'"), rsa_key(), rsa_key()
STRANGER = Issuer("Somebody else")
LEAF = ROOT.leaf(KEY.public_key())


@dataclass(frozen=True)
class Desk:
    """A verifier, and the server its certificates come from."""

    runner: asyncio.Runner
    shelf: Shelf
    verifier: PaypalVerifier
    url: str

    def verify(self, headers: dict[str, str], body: bytes = BODY, now: datetime = NOW) -> None:
        self.runner.run(self.verifier.verify(headers=headers, body=body, now=now))

    def refuses(self, headers: dict[str, str], body: bytes = BODY, now: datetime = NOW) -> str:
        with pytest.raises(Forged) as refused:
            self.verify(headers, body, now)
        return str(refused.value)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    ca_file = tmp_path / "roots.pem"
    ca_file.write_bytes(pem(ROOT.root()))
    with shelf() as kept, asyncio.Runner() as runner:
        certificates = Certificates(origins=[kept.origin], ca_file=ca_file, fetch_timeout_s=5)
        verifier = PaypalVerifier(webhook_ids=[WEBHOOK_ID, "9XY"], certificates=certificates)
        yield Desk(runner, kept, verifier, kept.put("CERT-1", pem(LEAF)))
        runner.run(verifier.close())


def test_it_is_a_verifier() -> None:
    verifier: Verifier = PaypalVerifier(webhook_ids=[WEBHOOK_ID])

    asyncio.run(verifier.close())


def test_what_paypal_signed_comes_in(desk: Desk) -> None:
    desk.verify(signed_headers(KEY, desk.url, BODY))


@pytest.mark.parametrize("webhook_id", [WEBHOOK_ID, "9XY"])
def test_two_webhook_ids_are_good_while_one_replaces_the_other(desk: Desk, webhook_id: str) -> None:
    desk.verify(signed_headers(KEY, desk.url, BODY, webhook_id=webhook_id))


def test_an_event_for_somebody_elses_endpoint_is_forged(desk: Desk) -> None:
    assert "fit" in desk.refuses(signed_headers(KEY, desk.url, BODY, webhook_id="WEBHOOK_ID"))


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b" ", BODY.replace(b"10", b"11")])
def test_a_changed_or_truncated_body_is_forged(desk: Desk, body: bytes) -> None:
    headers = signed_headers(KEY, desk.url, BODY)

    assert "fit" in desk.refuses(headers, body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("paypal-transmission-id", "dfb3be50-fd74-11e4-8bf3-77339302725c"),
        ("paypal-transmission-time", "2026-11-20T11:59:31Z"),
    ],
)
def test_a_changed_id_or_time_is_forged(desk: Desk, name: str, value: str) -> None:
    assert "fit" in desk.refuses({**signed_headers(KEY, desk.url, BODY), name: value})


def test_a_signature_by_another_key_is_forged(desk: Desk) -> None:
    assert "fit" in desk.refuses(signed_headers(OTHER_KEY, desk.url, BODY))


@pytest.mark.parametrize(
    "name",
    [
        "paypal-transmission-id",
        "paypal-transmission-time",
        "paypal-transmission-sig",
        "paypal-cert-url",
        "paypal-auth-algo",
    ],
)
@pytest.mark.parametrize("value", [None, "", "a|b", "€", "x" * 5000, "a\x00b"])
def test_a_header_that_is_missing_or_odd_is_forged_and_nothing_is_fetched(
    desk: Desk, name: str, value: str | None
) -> None:
    headers = signed_headers(KEY, desk.url, BODY)
    if value is None:
        del headers[name]
    else:
        headers[name] = value

    desk.refuses(headers)
    assert desk.shelf.asked == []


@pytest.mark.parametrize("algorithm", ["SHA1withRSA", "none", "sha256withrsa", "SHA512withRSA"])
def test_no_other_algorithm_is_taken_from_the_header(desk: Desk, algorithm: str) -> None:
    headers = {**signed_headers(KEY, desk.url, BODY), "paypal-auth-algo": algorithm}

    assert "algorithm" in desk.refuses(headers)


@pytest.mark.parametrize(
    ("sent_at", "why"),
    [
        ("2026-11-16T11:59:59Z", "old"),
        ("2026-11-20T12:05:01Z", "future"),
        ("2026-11-20 11:59:30", "none"),
        ("2026-11-20T11:59:30", "none"),
        ("2026-13-20T11:59:30Z", "none"),
        ("1732104000", "none"),
    ],
)
def test_what_is_too_old_or_from_the_future_or_of_no_time_is_forged(
    desk: Desk, sent_at: str, why: str
) -> None:
    assert why in desk.refuses(signed_headers(KEY, desk.url, BODY, sent_at=sent_at))


@pytest.mark.parametrize("sent_at", ["2026-11-16T12:00:00Z", "2026-11-20T13:04:59.123+01:00"])
def test_three_days_of_retries_and_a_clock_that_is_a_little_off_come_in(desk: Desk, sent_at: str) -> None:
    desk.verify(signed_headers(KEY, desk.url, BODY, sent_at=sent_at))


# --- the certificate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
        "https://evil.example/v1/notifications/certs/CERT-1",
        "http://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://user@api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
        "https://api.paypal.com/v1/notifications/certs/%2e%2e/x",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?to=evil",
        "https://api.paypal.com/v1/notifications/certs/CERT-1#x",
        "https://api.paypal.com/v1/notifications/certs/",
        "https://api.paypal.com/certs/CERT-1",
        "https://[::1/v1/notifications/certs/CERT-1",
        "file:///v1/notifications/certs/CERT-1",
        "CERT-1",
    ],
)
def test_a_certificate_that_does_not_lie_at_paypals_is_not_fetched(url: str) -> None:
    verifier = PaypalVerifier(webhook_ids=[WEBHOOK_ID])

    with pytest.raises(Forged, match="address"):
        asyncio.run(verifier.verify(headers=signed_headers(KEY, url, BODY), body=BODY, now=NOW))


@pytest.mark.parametrize(
    "origin", ["http://api.paypal.com", "http://10.0.0.1", "ftp://127.0.0.1", "https://", "https://a/b", "x"]
)
def test_an_origin_that_is_neither_https_nor_this_machine_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="not to be fetched"):
        Certificates(origins=[origin])


def test_a_redirect_is_not_followed(desk: Desk) -> None:
    away = desk.shelf.put("CERT-9", pem(LEAF))
    url = f"{desk.shelf.origin}/v1/notifications/certs/CERT-2"
    desk.shelf.redirects["/v1/notifications/certs/CERT-2"] = away

    assert "no certificate" in desk.refuses(signed_headers(KEY, url, BODY))
    assert desk.shelf.asked == ["/v1/notifications/certs/CERT-2"]


def test_a_chain_that_ends_at_no_root_of_ours_is_forged(desk: Desk) -> None:
    url = desk.shelf.put("CERT-2", pem(STRANGER.leaf(KEY.public_key()), STRANGER.root()))

    assert "chain" in desk.refuses(signed_headers(KEY, url, BODY))


def test_a_certificate_signed_by_itself_is_forged(desk: Desk) -> None:
    myself = Issuer("messageverificationcerts.paypal.com", KEY)
    url = desk.shelf.put("CERT-2", pem(myself.leaf(KEY.public_key(), name=myself.name)))

    assert "chain" in desk.refuses(signed_headers(KEY, url, BODY))


def test_an_intermediate_may_lie_beside_the_certificate_in_any_order(desk: Desk) -> None:
    between = Issuer("Between")
    link = ROOT.authority(between.name, between.key.public_key())
    leaf = between.leaf(KEY.public_key())

    for name, file in {"CERT-2": pem(leaf, link), "CERT-3": pem(link, leaf)}.items():
        desk.verify(signed_headers(KEY, desk.shelf.put(name, file), BODY))
    alone = desk.shelf.put("CERT-4", pem(leaf))
    assert "chain" in desk.refuses(signed_headers(KEY, alone, BODY))


@pytest.mark.parametrize(
    "days", [(-60, -1), (1, 60)], ids=["an_expired_certificate", "one_that_is_not_good_yet"]
)
def test_a_certificate_out_of_its_time_is_forged(desk: Desk, days: tuple[int, int]) -> None:
    since, until = (NOW + timedelta(days=count) for count in days)
    leaf = ROOT.leaf(KEY.public_key(), since=since, until=until)
    url = desk.shelf.put("CERT-2", pem(leaf))

    assert "chain" in desk.refuses(signed_headers(KEY, url, BODY))


def test_a_certificate_that_ends_while_it_is_kept_is_believed_no_more(desk: Desk) -> None:
    desk.verify(signed_headers(KEY, desk.url, BODY))
    later = NOW + timedelta(days=61)
    headers = signed_headers(KEY, desk.url, BODY, sent_at=later.isoformat())

    assert "chain" in desk.refuses(headers, now=later)


@pytest.mark.parametrize("name", ["evil.example", "paypal.com.evil.example", "evilpaypal.com"])
def test_a_good_certificate_of_somebody_else_is_forged(desk: Desk, name: str) -> None:
    url = desk.shelf.put("CERT-2", pem(ROOT.leaf(KEY.public_key(), name=name)))

    assert "not PayPal's" in desk.refuses(signed_headers(KEY, url, BODY))


def test_a_key_of_another_kind_is_forged(desk: Desk) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    url = desk.shelf.put("CERT-2", pem(ROOT.leaf(key)))

    assert "RSA" in desk.refuses(signed_headers(KEY, url, BODY))


@pytest.mark.parametrize(
    "file", [b"", b"no certificate", b"x" * (BYTES_MOST + 1), pem(*[LEAF] * 9)], ids=range(4)
)
def test_a_file_that_is_no_certificate_is_forged(desk: Desk, file: bytes) -> None:
    url = desk.shelf.put("CERT-2", file)

    desk.refuses(signed_headers(KEY, url, BODY))


def test_a_server_that_cannot_be_reached_is_no_crash(desk: Desk) -> None:
    with shelf() as gone:
        origin = gone.origin
    certificates = Certificates(origins=[origin], fetch_timeout_s=1)
    verifier = PaypalVerifier(webhook_ids=[WEBHOOK_ID], certificates=certificates)
    headers = signed_headers(KEY, f"{origin}/v1/notifications/certs/CERT-1", BODY)

    with pytest.raises(Forged, match="could not be fetched"):
        desk.runner.run(verifier.verify(headers=headers, body=BODY, now=NOW))
    desk.runner.run(verifier.close())


def test_a_certificate_is_fetched_once_for_all(desk: Desk) -> None:
    headers = signed_headers(KEY, desk.url, BODY)

    async def many() -> None:
        await asyncio.gather(*(desk.verifier.verify(headers=headers, body=BODY, now=NOW) for _ in range(20)))
        await desk.verifier.verify(headers=headers, body=BODY, now=NOW)

    desk.runner.run(many())
    assert len(desk.shelf.asked) == 1


def test_only_so_many_certificates_are_kept(desk: Desk) -> None:
    urls = [desk.shelf.put(f"CERT-{number}", pem(LEAF)) for number in range(KEPT_MOST + 1)]
    for url in urls:
        desk.verify(signed_headers(KEY, url, BODY))
    asked = len(desk.shelf.asked)

    desk.verify(signed_headers(KEY, urls[-1], BODY))
    assert len(desk.shelf.asked) == asked
    desk.verify(signed_headers(KEY, urls[0], BODY))
    assert len(desk.shelf.asked) == asked + 1


def test_a_certificate_that_is_not_good_is_not_kept(desk: Desk) -> None:
    url = desk.shelf.put("CERT-2", pem(STRANGER.leaf(KEY.public_key())))
    desk.refuses(signed_headers(KEY, url, BODY))
    desk.shelf.put("CERT-2", pem(LEAF))

    desk.verify(signed_headers(KEY, url, BODY))


def test_forged_callbacks_do_not_let_us_fetch_without_end(desk: Desk) -> None:
    desk.verify(signed_headers(KEY, desk.url, BODY))

    async def flood() -> list[BaseException | None]:
        calls = [
            desk.verifier.verify(
                headers=signed_headers(KEY, f"{desk.shelf.origin}/v1/notifications/certs/X{number}", BODY),
                body=BODY,
                now=NOW,
            )
            for number in range(50)
        ]
        genuine = desk.verifier.verify(headers=signed_headers(KEY, desk.url, BODY), body=BODY, now=NOW)
        return await asyncio.gather(*calls, genuine, return_exceptions=True)

    *forged, genuine = desk.runner.run(flood())
    assert genuine is None
    assert all(isinstance(refused, Forged) for refused in forged)
    assert len(desk.shelf.asked) == 1 + FETCHES_MOST


@pytest.mark.parametrize("ids", [[], [""], ["a|b"], ["x" * 51]])
def test_webhook_ids_that_cannot_be_paypals_are_refused(ids: list[str]) -> None:
    with pytest.raises(ValueError, match="webhook ids"):
        PaypalVerifier(webhook_ids=ids)


# --- PayPal's own signatures -------------------------------------------------------------------------


def _vectors() -> list[dict[str, Any]]:
    path = VECTORS / "webhook_signature_vectors.json"
    return list(json.loads(path.read_text())) if path.is_file() else []


def test_a_genuine_delivery_of_paypals_fits_its_key() -> None:
    vectors = _vectors()
    if not vectors:
        pytest.skip(f"no samples in {VECTORS}: set PAYMENTS_SPECS_DIR")
    for vector in vectors:
        name = vector["cert_url"].rpartition("/")[2]
        key = serialization.load_pem_public_key((VECTORS / f"{name}.pubkey.pem").read_bytes())
        assert isinstance(key, rsa.RSAPublicKey)
        body = vector["body"].encode()
        parts = (vector["transmission_id"], vector["transmission_time"], vector["webhook_id"])
        message = signed_message(*parts, body)
        signature = b64decode(vector["transmission_sig"])

        assert message.decode() == vector["signed_message"]
        assert is_signed(message, signature, key)
        assert not is_signed(signed_message(*parts, body + b" "), signature, key)
