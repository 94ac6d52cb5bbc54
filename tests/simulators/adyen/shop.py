"""What a shop asks of Adyen, through the real SDK, with every call held against Adyen's specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import Adyen
import httpx

from simulators.running import RunningAdyen
from tests.simulators.adyen.contract import CheckedClient, Json, webhooks

RETURN_URL = "https://shop.example/back?order=7"
SETTLE_AFTER_S = 60.0
PAYS = "sim_authorised"
_numbers = count(1)


class Shop:
    """Calls of the SDK; each takes fields by name, and an idempotency key if one is given."""

    def __init__(self, running: RunningAdyen, client: CheckedClient) -> None:
        self._running = running
        self._client = client
        sdk = Adyen.AdyenClient(xapikey=running.api_key, platform="test")
        sdk.http_client, sdk.http_init = client, True
        self.checkout = Adyen.AdyenCheckoutApi(client=sdk)
        for api in (self.checkout.payments_api, self.checkout.modifications_api):
            api.baseUrl = f"{running.url}/v72"

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the last answer."""
        return self._client.headers

    def pay(self, token: str = PAYS, key: str | None = None, **fields: object) -> Json:
        """A payment of 10.00 EUR, unless the fields say otherwise."""
        body: Json = {
            "merchantAccount": self._running.merchant_account,
            "reference": f"order-{next(_numbers)}",
            "amount": {"currency": "EUR", "value": 1000},
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": token},
            "shopperReference": "customer-1",
            "shopperInteraction": "ContAuth",
            "recurringProcessingModel": "CardOnFile",
            "returnUrl": RETURN_URL,
            **fields,
        }
        return self._told(self.checkout.payments_api.payments(_present(body), idempotency_key=key))

    def hold(self, token: str = PAYS, key: str | None = None, **fields: object) -> Json:
        """A payment that is captured by hand."""
        return self.pay(token, key, additionalData={"manualCapture": "true"}, **fields)

    def details(
        self, result: str, key: str | None = None, *, name: str = "redirectResult", **more: str
    ) -> Json:
        """Hand in what the customer came back with."""
        body = {"details": {name: result, **more}}
        return self._told(self.checkout.payments_api.payments_details(body, idempotency_key=key))

    def capture(self, psp: str, value: int = 1000, key: str | None = None, **fields: object) -> Json:
        """Capture a payment."""
        body = self._body(amount={"currency": "EUR", "value": value}, **fields)
        call = self.checkout.modifications_api.capture_authorised_payment
        return self._told(call(body, psp, idempotency_key=key))

    def refund(self, psp: str, value: int = 1000, key: str | None = None, **fields: object) -> Json:
        """Refund a payment."""
        body = self._body(amount={"currency": "EUR", "value": value}, **fields)
        call = self.checkout.modifications_api.refund_captured_payment
        return self._told(call(body, psp, idempotency_key=key))

    def cancel(self, psp: str, key: str | None = None, **fields: object) -> Json:
        """Cancel a payment."""
        call = self.checkout.modifications_api.cancel_authorised_payment_by_psp_reference
        return self._told(call(self._body(**fields), psp, idempotency_key=key))

    def reverse(self, psp: str, key: str | None = None, **fields: object) -> Json:
        """Cancel or refund a payment."""
        call = self.checkout.modifications_api.refund_or_cancel_payment
        return self._told(call(self._body(**fields), psp, idempotency_key=key))

    def cancel_by_reference(self, name: str, key: str | None = None, **fields: object) -> Json:
        """Cancel a payment whose pspReference is not known."""
        call = self.checkout.modifications_api.cancel_authorised_payment
        return self._told(call(self._body(paymentReference=name, **fields), idempotency_key=key))

    def settle(self) -> None:
        """Let the time pass that modifications take."""
        self._running.control.advance_clock(SETTLE_AFTER_S + 1)

    def told(self, event: str | None = None) -> list[Json]:
        """The items of the webhooks there were, first to last, each held against its specification."""
        items = []
        for webhook in self._running.control.webhooks():
            item = webhook["content"]
            if event in (None, item["eventCode"]):
                _check(webhook["body"])
                items.append(item)
        return items

    def _body(self, **fields: object) -> Json:
        return _present({"merchantAccount": self._running.merchant_account, **fields})

    def _told(self, result: Any) -> Json:
        told: Json = result.message
        return told


@contextmanager
def open_shop(running: RunningAdyen, *, timeout_s: float = 10.0) -> Iterator[Shop]:
    """A shop at a simulator."""
    client = CheckedClient(timeout_s=timeout_s)
    yield Shop(running, client)
    client.close()


def come_back(action: Json, *, decision: str = "succeed") -> str:
    """Follow the link of an action as the customer; give the result the shop is sent back with."""
    back = httpx.get(action["url"], params={"decision": decision}, trust_env=False)
    assert back.status_code == 303
    [result] = parse_qs(urlsplit(back.headers["location"]).query)["redirectResult"]
    return result


def _present(body: Json) -> Json:
    return {name: value for name, value in body.items() if value is not None}


def _check(body: Json) -> None:
    by = webhooks()
    if by is None:
        return
    # The schemas of some events have no room for the signature, though Adyen's samples of them carry one.
    [wrapped] = body["notificationItems"]
    item = dict(wrapped["NotificationRequestItem"])
    more = {name: value for name, value in item["additionalData"].items() if name != "hmacSignature"}
    bare = {**body, "notificationItems": [{"NotificationRequestItem": {**item, "additionalData": more}}]}
    assert by.faults_of_webhook(bare) == []
