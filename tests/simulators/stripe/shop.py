"""What a shop asks of Stripe, through the real SDK, with answers as plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from simulators.running import RunningSimulator
from tests.simulators.stripe.contract import CheckedClient, Json

RETURN_URL = "https://shop.example/back?order=7"


class Shop:
    """Calls of the SDK; each takes parameters by name, and an idempotency key if one is given."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self.client = client
        self.answer: Any = None
        """The last answer as the SDK gives it, with its headers."""

    def create(self, key: str | None = None, **params: object) -> Json:
        """An intent of 10.00 EUR by card, unless the parameters say otherwise."""
        usual = {"amount": 1000, "currency": "eur", "allowed_payment_method_types": ["card"]}
        return self._told(self.client.v1.payment_intents.create({**usual, **params}, _options(key)))  # type: ignore[typeddict-item]

    def pay(self, card: str = "pm_card_visa", key: str | None = None, **params: object) -> Json:
        """Create and confirm in one call."""
        return self.create(key, payment_method=card, confirm=True, **params)

    def hold(self, **params: object) -> Json:
        """Create and confirm an intent that is captured by hand."""
        return self.pay(capture_method="manual", **params)  # type: ignore[arg-type]

    def confirm(self, id: str, key: str | None = None, **params: Any) -> Json:
        """Confirm an intent."""
        return self._told(self.client.v1.payment_intents.confirm(id, params or {}, _options(key)))  # type: ignore[arg-type]

    def capture(self, id: str, key: str | None = None, **params: Any) -> Json:
        """Capture an intent."""
        return self._told(self.client.v1.payment_intents.capture(id, params or {}, _options(key)))  # type: ignore[arg-type]

    def cancel(self, id: str, key: str | None = None, **params: Any) -> Json:
        """Cancel an intent."""
        return self._told(self.client.v1.payment_intents.cancel(id, params or {}, _options(key)))  # type: ignore[arg-type]

    def intent(self, id: str, *expand: str) -> Json:
        """Retrieve an intent."""
        return self._told(
            self.client.v1.payment_intents.retrieve(id, {"expand": list(expand)} if expand else {})
        )

    def refund(self, key: str | None = None, **params: Any) -> Json:
        """Create a refund."""
        return self._told(self.client.v1.refunds.create(params, _options(key)))  # type: ignore[arg-type]

    def refund_now(self, id: str) -> Json:
        """Retrieve a refund."""
        return self._told(self.client.v1.refunds.retrieve(id))

    def refunds(self, **params: Any) -> Json:
        """List refunds."""
        return self._told(self.client.v1.refunds.list(params))  # type: ignore[arg-type]

    def charge(self, id: str, *expand: str) -> Json:
        """Retrieve a charge."""
        return self._told(self.client.v1.charges.retrieve(id, {"expand": list(expand)} if expand else {}))

    def _told(self, answer: Any) -> Json:
        self.answer = answer
        told: Json = answer.to_dict()
        return told


@contextmanager
def open_shop(running: RunningSimulator, *, timeout_s: float = 10.0) -> Iterator[Shop]:
    """A shop at a simulator."""
    http_client = CheckedClient(timeout=timeout_s, allow_sync_methods=True)
    client = stripe.StripeClient(
        running.api_key, base_addresses={"api": running.url}, http_client=http_client
    )
    yield Shop(client)
    http_client.close()  # type: ignore[no-untyped-call]


def error_of(raised: stripe.StripeError) -> Json:
    """The error object of an answer."""
    body: Any = raised.json_body
    error: Json = body["error"]
    return error


def _options(key: str | None) -> stripe.RequestOptions:
    return {} if key is None else {"idempotency_key": key}
