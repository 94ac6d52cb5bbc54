"""What a shop asks of PayPal, over plain HTTP, with answers as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from simulators.running import RunningPaypal

Json = dict[str, Any]

RETURN_URL, CANCEL_URL = "https://shop.example/back?order=7", "https://shop.example/cart"
TEN = {"currency_code": "EUR", "value": "10.00"}


class Refused(Exception):
    """PayPal did not answer 2xx."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.body: Any = answer.json() if answer.headers["content-type"] == "application/json" else None
        details = self.body.get("details") if self.body else None
        self.issue: str | None = details[0]["issue"] if details else None
        self.field: str | None = details[0].get("field") if details else None
        super().__init__(f"{self.status} {self.issue}")


class Shop:
    """Calls to PayPal; each raises Refused, and takes a PayPal-Request-Id if one is given."""

    def __init__(self, running: RunningPaypal, http: httpx.Client) -> None:
        self._running = running
        self.http = http
        self.answer = httpx.Response(0)
        """The last answer, with its status and headers."""
        self.sign_in()

    def sign_in(self) -> Json:
        """Get a new access token, and use it from now on."""
        credentials = (self._running.client_id, self._running.client_secret)
        form = {"grant_type": "client_credentials"}
        token: Json = self.http.post("/v1/oauth2/token", auth=credentials, data=form).json()
        self.http.headers["Authorization"] = f"Bearer {token['access_token']}"
        return token

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> Json:
        """Any call."""
        headers = {} if key is None else {"PayPal-Request-Id": key}
        self.answer = self.http.request(method, path, json=body, headers=headers)
        if self.answer.status_code >= 300:
            raise Refused(self.answer)
        told: Json = self.answer.json() if self.answer.content else {}
        return told

    def order(
        self, key: str | None = None, *, intent: str = "CAPTURE", source: object = None, **unit: object
    ) -> Json:
        """An order of 10.00 EUR, unless the unit says otherwise."""
        body: Json = {"intent": intent, "purchase_units": [{"amount": TEN, **unit}]}
        if source is not None:
            body["payment_source"] = source
        return self.call("POST", "/v2/checkout/orders", body, key)

    def complete(self, order: Json, vault_id: str | None = "sim-card", key: str | None = None) -> Json:
        """Authorize or capture an order, as it was meant, with a saved method or without."""
        verb = order.get("intent", "CAPTURE").lower()
        body = {"payment_source": saved(vault_id)} if vault_id else {}
        return self.call("POST", f"/v2/checkout/orders/{order['id']}/{verb}", body, key)

    def pay(self, vault_id: str = "sim-card", key: str | None = None, **unit: Any) -> Json:
        """Make an order and capture it; the capture."""
        capture: Json = payment(self.complete(self.order(**unit), vault_id, key), "captures")
        return capture

    def hold(self, vault_id: str = "sim-card", **unit: Any) -> Json:
        """Make an order and authorize it; the authorization."""
        held = self.complete(self.order(intent="AUTHORIZE", **unit), vault_id)
        return payment(held, "authorizations")

    def capture(self, hold: Json, key: str | None = None, value: str | None = None, **more: object) -> Json:
        """Capture an authorization, all of it or some."""
        amount = {} if value is None else {"amount": {"currency_code": "EUR", "value": value}}
        return self.call("POST", f"/v2/payments/authorizations/{hold['id']}/capture", {**amount, **more}, key)

    def void(self, hold: Json, key: str | None = None) -> Json:
        """Void an authorization."""
        return self.call("POST", f"/v2/payments/authorizations/{hold['id']}/void", key=key)

    def refund(self, capture: Json, key: str | None = None, value: str | None = None, **more: object) -> Json:
        """Refund a capture, all that is left or some."""
        amount = {} if value is None else {"amount": {"currency_code": "EUR", "value": value}}
        return self.call("POST", f"/v2/payments/captures/{capture['id']}/refund", {**amount, **more}, key)

    def now(self, kind: str, id: str) -> Json:
        """What PayPal shows under an id."""
        room = "checkout" if kind == "order" else "payments"
        return self.call("GET", f"/v2/{room}/{kind}s/{id}")


@contextmanager
def open_shop(running: RunningPaypal, *, timeout_s: float = 10.0) -> Iterator[Shop]:
    """A shop at a simulator."""
    headers = {"Prefer": "return=representation"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=timeout_s, trust_env=False) as http:
        yield Shop(running, http)


def saved(vault_id: str) -> Json:
    """A saved method, as it is named in a request."""
    return {"card" if "card" in vault_id else "paypal": {"vault_id": vault_id}}


def wallet() -> Json:
    """A payer who is to approve."""
    return {"paypal": {"experience_context": {"return_url": RETURN_URL, "cancel_url": CANCEL_URL}}}


def payment(order: Json, kind: str) -> Json:
    """The one authorization or capture of an order."""
    [found] = order["purchase_units"][0]["payments"][kind]
    return dict(found)


def link(body: Json, rel: str) -> str | None:
    """Where a link leads."""
    return next((one["href"] for one in body["links"] if one["rel"] == rel), None)
