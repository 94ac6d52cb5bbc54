"""The edges of the API that the SDK never touches, as any HTTP client may meet them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from simulators.control_client import ControlClient
from simulators.running import RunningSimulator
from simulators.stripe import create_app


@pytest.fixture
def http(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.url, auth=(simulator.api_key, "")) as client:
        yield client


def _error(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


def test_the_key_may_come_as_the_user_of_basic_authentication(http: httpx.Client) -> None:
    assert http.get("/v1/payment_intents").json()["data"] == []


@pytest.mark.parametrize(
    "sent", [None, "Basic ???", "Basic c2tfd3Jvbmc6", "Bearer", "Digest sk_test_simulator2"]
)
def test_no_key_or_a_wrong_one_is_401(simulator: RunningSimulator, sent: str | None) -> None:
    answer = httpx.get(f"{simulator.url}/v1/payment_intents", headers={"Authorization": sent} if sent else {})

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_url_is_404(http: httpx.Client, method: str) -> None:
    answer = http.request(method, "/v1/nowhere")

    assert answer.status_code == 404
    assert _error(answer) == f"Unrecognized request URL ({method}: /v1/nowhere)."


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"amount": "100", "amount[0]": "1"}, "both as a value and as a parent"),
        ({"amount[0]": "1", "amount": "100"}, "both as a value and as a parent"),
        ({"expand": "latest_charge"}, "Invalid array"),
        ({"expand[first]": "latest_charge"}, "Invalid array"),
        ({"metadata": "order"}, "Invalid object"),
        ({"metadata[order][id]": "7"}, "Metadata is text"),
        ({f"metadata[{n}]": "x" for n in range(51)}, "up to 50 keys"),
        ({"confirm": "yes"}, "Invalid boolean"),
        ({"description": ""}, "empty string"),
        ({"description[0]": "x"}, "must be a string"),
        ({"amount": "100000000"}, "no more than"),
        ({"payment_method_options[card]": "x"}, "Invalid object"),
        ({"metadata[simulate]": "slow", "metadata[simulate_seconds]": "soon"}, "not a number"),
    ],
)
def test_a_malformed_parameter_is_named(http: httpx.Client, sent: dict[str, str], why: str) -> None:
    answer = http.post("/v1/payment_intents", data={"amount": "100", "currency": "eur", **sent})

    assert answer.status_code == 400
    assert why in _error(answer)


def test_a_list_may_be_sent_without_indexes(http: httpx.Client) -> None:
    form = "amount=100&currency=eur&allowed_payment_method_types[]=card&allowed_payment_method_types[]=link"
    answer = http.post(
        "/v1/payment_intents", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )

    assert answer.json()["allowed_payment_method_types"] == ["card", "link"]


def test_a_page_has_a_size_that_makes_sense(http: httpx.Client) -> None:
    assert "limit" in _error(http.get("/v1/refunds", params={"limit": "0"}))
    assert "No such refund" in _error(http.get("/v1/refunds", params={"starting_after": "re_nosuch"}))


def test_a_key_has_at_most_255_characters(http: httpx.Client) -> None:
    form = {"amount": "100", "currency": "eur"}

    assert (
        http.post("/v1/payment_intents", data=form, headers={"Idempotency-Key": "k" * 255}).status_code == 200
    )
    assert (
        http.post("/v1/payment_intents", data=form, headers={"Idempotency-Key": "k" * 256}).status_code == 400
    )


def test_a_request_without_a_key_always_executes(http: httpx.Client, control: ControlClient) -> None:
    form = {
        "amount": "100",
        "currency": "eur",
        "confirm": "true",
        "payment_method": "pm_card_visa",
        "allowed_payment_method_types[0]": "card",
    }
    for _ in range(2):
        http.post("/v1/payment_intents", data=form)

    assert len(control.record(operation="charge")) == 2


def test_the_bank_knows_two_answers_and_its_own_payments(http: httpx.Client) -> None:
    assert http.get("/3d_secure/pi_nosuch").status_code == 404
    assert http.get("/3d_secure/pi_nosuch", params={"decision": "perhaps"}).status_code == 400


def test_the_application_can_be_served_by_any_server() -> None:
    async def now() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(api_key="sk_test_other"))
        async with httpx.AsyncClient(transport=transport, base_url="http://stripe") as client:
            return await client.get("/v1/refunds", headers={"Authorization": "Bearer sk_test_other"})

    assert asyncio.run(now()).json()["data"] == []
