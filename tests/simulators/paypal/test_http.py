"""The edges of the API, as any HTTP client may meet them."""

from __future__ import annotations

import httpx
import pytest

from simulators.control_client import ControlClient
from simulators.paypal import create_app
from simulators.running import RunningPaypal
from tests.simulators.paypal.shop import Refused, Shop


def test_a_token_is_given_for_the_right_id_and_secret(simulator: RunningPaypal, shop: Shop) -> None:
    token = shop.sign_in()
    wrong = [
        httpx.post(f"{simulator.url}/v1/oauth2/token", auth=auth, data={"grant_type": grant})
        for auth, grant in [
            ((simulator.client_id, "wrong"), "client_credentials"),
            ((simulator.client_id, simulator.client_secret), "password"),
        ]
    ]

    assert (token["token_type"], token["expires_in"]) == ("Bearer", 32400)
    assert [answer.status_code for answer in wrong] == [401, 400]
    assert [answer.json()["error"] for answer in wrong] == ["invalid_client", "unsupported_grant_type"]


@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer wrong", "Basic ???"])
def test_without_a_good_token_a_call_is_401(simulator: RunningPaypal, sent: str | None) -> None:
    headers = {"Authorization": sent} if sent else {}
    answer = httpx.get(f"{simulator.url}/v2/checkout/orders/X", headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_a_token_ends_by_the_simulators_clock(shop: Shop, control: ControlClient) -> None:
    order = shop.order()
    control.advance_clock(32_400)

    with pytest.raises(Refused, match="401"):
        shop.now("order", order["id"])
    shop.sign_in()


def test_what_does_not_exist_is_404_and_names_the_call(shop: Shop) -> None:
    for kind in ("order", "authorization", "capture", "refund"):
        with pytest.raises(Refused) as refused:
            shop.now(kind, "5O190127TN364715T")
        assert (refused.value.status, refused.value.issue) == (404, "INVALID_RESOURCE_ID")
        assert refused.value.body["debug_id"] == shop.answer.headers["paypal-debug-id"]


@pytest.mark.parametrize(
    ("body", "issue"), [(b"{", "MALFORMED_REQUEST_JSON"), (b"[]", "INVALID_PARAMETER_SYNTAX")]
)
def test_a_body_that_is_no_order_is_400(shop: Shop, body: bytes, issue: str) -> None:
    answer = shop.http.post("/v2/checkout/orders", content=body)

    assert (answer.status_code, answer.json()["details"][0]["issue"]) == (400, issue)


def test_a_link_that_leads_nowhere_is_said_to(simulator: RunningPaypal) -> None:
    assert httpx.get(f"{simulator.url}/checkoutnow?token=nobody").status_code == 404
    assert httpx.get(f"{simulator.url}/checkoutnow?token=nobody&decision=perhaps").status_code == 400


def test_the_application_can_be_had_without_a_server() -> None:
    paths = {getattr(route, "path", None) for route in create_app().routes}

    assert {"/v1/oauth2/token", "/v2/checkout/orders", "/v2/payments/captures/{id}/refund"} <= paths
