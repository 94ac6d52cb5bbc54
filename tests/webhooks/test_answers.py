"""What the ingestor answers when: every row of the table in webhooks/app.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from tests.webhooks.callers import (
    HMAC_KEYS,
    MARK_IN_BODY,
    PASSWORDS,
    SECRETS,
    STRIPE_SECRETS,
    Adyen,
    Paypal,
    Stripe,
)
from tests.webhooks.house import House
from tests.workers import eventually

GATEWAYS = ("stripe", "adyen", "paypal")
MAX_BODY = 256 * 1024


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_authentic_callback_is_on_the_bus_byte_for_byte_when_200_is_answered(
    gateway: str, place: House
) -> None:
    answer = place.call(gateway, 1)

    assert answer.status_code == 200
    assert answer.text == "[accepted]"
    assert place.mailbox.bodies() == [place.gateways[gateway].body(1)]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_the_same_bytes_have_the_same_message_id_and_others_another(gateway: str, place: House) -> None:
    for number in (1, 1, 2):
        place.call(gateway, number)

    first, again, other = (message_id for message_id, _ in place.mailbox.take())
    assert first == again
    assert other != first


def test_what_goes_on_the_bus_bears_no_signature_and_no_password(place: House) -> None:
    for gateway in GATEWAYS:
        place.call(gateway, 3)

    for _, message in place.mailbox.take():
        assert message["headers"].keys() <= {"user-agent", "paypal-transmission-id"}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_forged_callback_is_401_without_detail_counted_and_logged_without_its_body(
    gateway: str, place: House
) -> None:
    before = place.counts(gateway).get("forged", 0)

    answer = place.call(gateway, 4, forged=True)

    assert (answer.status_code, answer.text) == (401, "")
    assert "www-authenticate" not in answer.headers
    assert place.counts(gateway)["forged"] == before + 1
    assert place.mailbox.take() == []
    eventually(lambda: "callback_forged" in place.log, within_s=5, what="it is logged")
    (line, *_) = [line for line in place.log.splitlines() if "callback_forged" in line and gateway in line]
    assert MARK_IN_BODY not in line
    for value in place.gateways[gateway].headers(b"", forged=True).values():
        assert value not in line


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unsigned_callback_is_401(gateway: str, place: House) -> None:
    answer = place.post(gateway, place.gateways[gateway].body(5), {"content-type": "application/json"})

    assert (answer.status_code, answer.text) == (401, "")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_callback_changed_on_its_way_is_401(gateway: str, place: House) -> None:
    caller = place.gateways[gateway]
    body = caller.body(6)

    answer = place.post(gateway, body.replace(b"6", b"7"), caller.headers(body))

    assert answer.status_code == 401


def test_no_secret_is_ever_in_the_log(place: House) -> None:
    for gateway in GATEWAYS:
        place.call(gateway, 7)
        place.call(gateway, 7, forged=True)

    for secret in (*SECRETS, MARK_IN_BODY):
        assert secret not in place.log
    assert "Traceback" not in place.log


def test_both_secrets_count_while_one_replaces_the_other_and_a_third_does_not(place: House) -> None:
    stripe, adyen = Stripe(), Adyen()
    body = stripe.body(8)

    stripes = [
        place.post("stripe", body, stripe.headers(body, secret=secret)).status_code
        for secret in (*STRIPE_SECRETS, "whsec_third")
    ]
    keys = [
        place.post("adyen", body, adyen.headers(body)).status_code
        for body in (adyen.body(8, key=key) for key in (*HMAC_KEYS, "0C" * 32))
    ]
    passwords = [
        place.post("adyen", adyen.body(8), adyen.headers(b"", password=password)).status_code
        for password in (*PASSWORDS, "third-password")
    ]

    assert stripes == keys == passwords == [200, 200, 401]


def test_too_old_and_from_the_future_are_401(place: House) -> None:
    stripe, paypal = Stripe(), place.gateways["paypal"]
    assert isinstance(paypal, Paypal)
    of_stripe, of_paypal = stripe.body(9), paypal.body(9)

    for ahead_s in (-400, 400):
        answer = place.post("stripe", of_stripe, stripe.headers(of_stripe, ahead_s=ahead_s))
        assert answer.status_code == 401
    for ahead in (timedelta(days=-5), timedelta(minutes=10)):
        answer = place.post("paypal", of_paypal, paypal.headers(of_paypal, ahead=ahead))
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/webhooks/sandbox", 404),
        ("POST", "/webhooks/", 404),
        ("POST", "/webhooks", 404),
        ("POST", "/webhooks/stripe/", 404),
        ("POST", "/webhooks/stripe/more", 404),
        ("POST", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/health/", 404),
        ("GET", "/webhooks/stripe", 405),
        ("PUT", "/webhooks/stripe", 405),
        ("DELETE", "/webhooks/adyen", 405),
        ("OPTIONS", "/webhooks/paypal", 405),
        ("POST", "/health", 405),
    ],
)
def test_there_are_three_paths_and_nothing_else(method: str, path: str, status: int, place: House) -> None:
    answer = place.request(method, path)

    assert answer.status_code == status
    assert "server" not in answer.headers


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", None])
def test_what_is_no_json_is_415(content_type: str | None, place: House) -> None:
    body = Stripe().body(10)
    headers = {**Stripe().headers(body), "content-type": content_type}
    if content_type is None:
        del headers["content-type"]

    answer = place.post("stripe", body, {name: value for name, value in headers.items() if value is not None})

    assert answer.status_code == 415


def test_json_with_a_charset_is_json(place: House) -> None:
    body = Stripe().body(11)

    answer = place.post(
        "stripe", body, {**Stripe().headers(body), "content-type": "application/json; charset=utf-8"}
    )

    assert answer.status_code == 200


def test_more_than_the_limit_is_413_however_it_comes(place: House) -> None:
    at_the_limit, above = b"x" * MAX_BODY, b"x" * (MAX_BODY + 1)

    def in_chunks() -> Iterator[bytes]:
        yield from (above[start : start + 65536] for start in range(0, len(above), 65536))

    signed = place.post("stripe", at_the_limit, Stripe().headers(at_the_limit))
    plain = place.post("stripe", above, Stripe().headers(above))
    chunked = place.request("POST", "/webhooks/stripe", content=in_chunks(), headers=Stripe().headers(above))

    assert [signed.status_code, plain.status_code, chunked.status_code] == [200, 413, 413]


def test_a_length_that_is_a_lie_takes_no_memory_and_harms_nobody(place: House) -> None:
    parts = urlsplit(place.ingestor.url)
    said: list[bytes] = []
    for length in (b"99999999999", b"5"):  # far more, and less, than comes
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
            line.sendall(
                b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: " + length + b"\r\n\r\n" + b'{"id": "evt_much_more_than_five"}'
            )
            said.append(line.recv(4096).split(b" ")[1])

    assert said == [b"413", b"401"]
    assert place.call("stripe", 12).status_code == 200


def test_nothing_bound_to_the_exchange_is_503_for_a_message_that_would_be_lost(place: House) -> None:
    place.mailbox.unbind()
    try:
        answer = place.call("stripe", 13)
    finally:
        place.mailbox.bind()

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert place.call("stripe", 13).status_code == 200


def test_prometheus_is_told_what_health_tells(place: House) -> None:
    place.call("stripe", 15, forged=True)

    told = place.request("GET", "/metrics").text

    for kind, count in place.counts("stripe").items():
        assert f'payments_callbacks_total{{gateway="stripe",kind="{kind}"}} {count}.0' in told
    assert "payments_ingestor_broker_up 1.0" in told


def test_health_tells_that_the_broker_is_there_and_what_came(place: House) -> None:
    place.call("adyen", 14)

    told = place.request("GET", "/health")

    assert told.status_code == 200
    assert told.json()["broker"] == "up"
    assert told.json()["callbacks"]["adyen"]["accepted"] >= 1
    assert told.json()["callbacks"].keys() == set(GATEWAYS)


def test_a_card_number_in_a_callback_is_blanked_out_and_the_rest_goes_on(place: House) -> None:
    before = place.counts("stripe")["card_data"]
    caller = place.gateways["stripe"]
    body = caller.body(77).replace(MARK_IN_BODY.encode(), b"paid with 4111 1111 1111 1111")

    answer = place.post("stripe", body, caller.headers(body) | {"x-request-id": "4111111111111111"})

    assert answer.status_code == 200
    (taken,) = place.mailbox.bodies()
    event = json.loads(taken)
    assert event["id"] == "evt_77"
    assert event["data"]["object"]["description"] == "paid with [redacted card number]"
    assert place.counts("stripe")["card_data"] == before + 1
    shown = place.request("GET", "/metrics").text
    assert f'payments_card_data_refused_total{{where="webhooks/stripe"}} {before + 1}' in shown
    eventually(lambda: "card_data_blanked_out" in place.log, within_s=5, what="it is logged")
    assert "4111" not in place.log
