"""Faults on demand: what a caller sees, what was executed, and what a repeat gets."""

from __future__ import annotations

import httpx
import pytest
from Adyen import AdyenError

from simulators.adyen.control_client import AdyenControlClient
from simulators.control_client import Refused
from simulators.faults import FAULTS
from simulators.running import RunningAdyen
from tests.simulators.adyen.shop import Shop, open_shop

# fault, HTTP status, whether a repeat is promised to be processed, charges executed, what a repeat gets
SEEN = [
    ("drop_before", None, False, 0, "Authorised"),
    ("drop_after_executing", None, False, 1, "Authorised"),
    ("error_500_before", 500, True, 0, "Authorised"),
    ("error_500_after", 500, False, 1, 500),
    ("error_500_kept", 500, False, 0, 500),
    ("html_502", 502, False, 0, "Authorised"),
    ("html_502_after", 502, False, 1, "Authorised"),
    ("rate_limit_429", 429, False, 0, "Authorised"),
    ("conflict_409", 409, True, 0, "Authorised"),
]


def test_every_fault_is_tried_here() -> None:
    assert {row[0] for row in SEEN} | {"slow", "slow_before"} == set(FAULTS)


@pytest.mark.parametrize("asked_by", ["control", "metadata", "token"])
@pytest.mark.parametrize(("fault", "status", "transient", "charges", "repeat"), SEEN)
def test_a_fault_breaks_one_call_and_the_repeat_gets_through(
    shop: Shop,
    control: AdyenControlClient,
    fault: str,
    status: int | None,
    transient: bool,
    charges: int,
    repeat: str | int,
    asked_by: str,
) -> None:
    token, metadata = "sim_authorised", {"order": "7"}
    match asked_by:
        case "control":
            control.arm(fault, match={"path": "/v72/payments", "metadata": {"order": "7"}})
        case "metadata":
            metadata |= {"simulate": fault}
        case _:
            token = f"sim_{fault}"

    with pytest.raises((AdyenError, httpx.RemoteProtocolError)) as broken:
        shop.pay(token, key="k1", metadata=metadata)
    executed = control.record()

    assert getattr(broken.value, "status_code", None) == status
    if isinstance(broken.value, AdyenError):
        assert (broken.value.headers.get("transient-error") == "true") == transient
    assert len(executed) == charges
    if repeat == "Authorised":
        assert shop.pay(token, key="k1", metadata=metadata)["resultCode"] == "Authorised"
        assert len(control.record()) == 1
    else:
        with pytest.raises(AdyenError):
            shop.pay(token, key="k1", metadata=metadata)
        assert len(control.record()) == charges


@pytest.mark.parametrize("fault", ["slow", "slow_before"])
def test_a_caller_who_does_not_wait_does_not_know(simulator: RunningAdyen, shop: Shop, fault: str) -> None:
    simulator.control.arm(fault, seconds=1.5)

    with open_shop(simulator, timeout_s=0.5) as hasty, pytest.raises(httpx.ReadTimeout):
        hasty.pay(key="k1")
    while_waiting = len(simulator.control.record())
    paid, refusals = None, set()
    for _ in range(5000):
        try:
            paid = shop.pay(key="k1")
            break
        except AdyenError as in_use:
            refusals.add((in_use.status_code, in_use.error_code))

    assert refusals == {(409, "704")}
    assert paid is not None
    assert while_waiting == (fault == "slow")
    assert len(simulator.control.record()) == 1


@pytest.mark.parametrize("verb", ["capture", "cancel", "refund"])
def test_a_fault_for_a_later_call_is_asked_for_when_the_payment_is_made(
    shop: Shop, control: AdyenControlClient, verb: str
) -> None:
    metadata = {f"simulate_{verb}": "drop_after_executing"}
    paid = shop.pay(metadata=metadata) if verb == "refund" else shop.hold(metadata=metadata)
    call = getattr(shop, verb)

    with pytest.raises(httpx.RemoteProtocolError):
        call(paid["pspReference"], key="k1")
    receipt = call(paid["pspReference"], key="k1")
    shop.settle()

    assert receipt["status"] == "received"
    [line] = control.record(idempotency_key="k1")
    assert (line["operation"], line["modification"]) == (verb, receipt["pspReference"])


def test_adyens_own_test_codes_for_errors_are_served(shop: Shop, control: AdyenControlClient) -> None:
    asked = [
        {"RequestedTestErrorResponseCode": code}
        for code in ("NO_CONNECTION_AVAILABLE", "IOEXCEPTION_RECEIVED")
    ]
    with pytest.raises(AdyenError) as passing:
        shop.pay(key="k1", additionalData=asked[0])
    with pytest.raises(AdyenError) as final:
        shop.pay(key="k2", additionalData=asked[1])

    assert passing.value.headers["transient-error"] == "true"
    assert "transient-error" not in final.value.headers
    assert shop.pay(key="k1", additionalData=asked[0])["resultCode"] == "Authorised"
    with pytest.raises(AdyenError):
        shop.pay(key="k2", additionalData=asked[1])
    assert len(control.record()) == 1


def test_a_fault_is_only_for_the_calls_that_match(shop: Shop, control: AdyenControlClient) -> None:
    control.arm("rate_limit_429", match={"path": "/v72/payments/*/captures"})
    held = shop.hold()

    with pytest.raises(AdyenError):
        shop.capture(held["pspReference"])
    shop.capture(held["pspReference"])

    assert control.faults() == []


def test_a_fault_that_does_not_exist_is_refused(shop: Shop, control: AdyenControlClient) -> None:
    with pytest.raises(Refused, match="no fault is named"):
        control.arm("explode")
    with pytest.raises(AdyenError):
        shop.pay(metadata={"simulate": "explode"})
