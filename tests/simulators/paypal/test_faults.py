"""Each fault as a caller meets it, what was executed, and what a repeat under the same request id hears."""

from __future__ import annotations

import httpx
import pytest

from simulators.control_client import ControlClient
from simulators.faults import FAULTS
from tests.simulators.paypal.shop import Refused, Shop

# fault, the status or None for a line that broke, whether it was executed
SEEN = [
    ("drop_before", None, False),
    ("drop_after_executing", None, True),
    ("error_500_before", 500, False),
    ("error_500_after", 500, True),
    ("error_500_kept", 500, False),
    ("html_502", 502, False),
    ("html_502_after", 502, True),
    ("rate_limit_429", 429, False),
    ("conflict_409", 409, False),
]


def test_every_fault_is_tried_here() -> None:
    assert {row[0] for row in SEEN} | {"slow", "slow_before"} == set(FAULTS)


@pytest.mark.parametrize("asked_by", ["control", "vault id"])
@pytest.mark.parametrize(("fault", "status", "executed"), SEEN)
def test_a_fault_breaks_one_call_and_the_repeat_gets_through(
    shop: Shop, control: ControlClient, fault: str, status: int | None, executed: bool, asked_by: str
) -> None:
    order, vault_id = shop.order(custom_id="c1"), "sim-wallet"
    if asked_by == "control":
        control.arm(
            fault, match={"metadata": {"custom_id": "c1"}, "token": "sim-wallet", "idempotency_key": "k1"}
        )
    else:
        vault_id = f"sim-wallet-fault-{fault}"

    with pytest.raises((Refused, httpx.TransportError)) as broken:
        shop.complete(order, vault_id, key="k1")
    after = len(control.record())
    again = shop.complete(order, vault_id, key="k1")

    assert getattr(broken.value, "status", None) == status
    assert after == executed
    assert again["status"] == "COMPLETED"
    assert len(control.record()) == 1


@pytest.mark.parametrize("fault", ["slow", "slow_before"])
def test_a_slow_answer_comes_in_the_end(shop: Shop, control: ControlClient, fault: str) -> None:
    control.arm(fault, seconds=0.01)

    assert shop.order()["status"] == "CREATED"
    assert control.faults() == []


def test_a_fault_is_only_for_the_calls_that_match(shop: Shop, control: ControlClient) -> None:
    hold = shop.hold()
    control.arm("rate_limit_429", times=2, match={"path": "/v2/payments/authorizations/*/capture"})
    shop.now("authorization", hold["id"])
    for _ in range(2):
        with pytest.raises(Refused, match="429"):
            shop.capture(hold)

    assert shop.capture(hold)["status"] == "COMPLETED"


def test_giving_a_token_can_fail_as_well(shop: Shop, control: ControlClient) -> None:
    control.arm("error_500_before", match={"path": "/v1/oauth2/token"})

    answer = shop.http.post("/v1/oauth2/token", data={"grant_type": "client_credentials"})

    assert answer.status_code == 500


def test_a_refused_call_can_be_lost_as_well(shop: Shop, control: ControlClient) -> None:
    order = shop.order()
    control.arm("drop_after_executing", match={"path": "/v2/checkout/orders/*/capture"})

    with pytest.raises((Refused, httpx.TransportError)):
        shop.complete(order, "sim-wallet-INSTRUMENT_DECLINED")
    assert control.record() == []
