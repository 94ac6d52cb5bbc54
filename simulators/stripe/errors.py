"""Stripe's refusals: the HTTP status, and the `error` object of the body.

    StripeError
    ├── InvalidRequest   the call was refused before anything began: never kept under an idempotency key
    └── Refusal          the endpoint ran and said no (a state, an amount, a bank): kept and replayed
        └── CardDeclined

Wording and codes follow docs.stripe.com/api/errors and docs.stripe.com/error-codes.
"""

from __future__ import annotations

from simulators.store import Json


class StripeError(Exception):
    """An answer other than 200."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        more: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"message": message, "type": type, **(more or {})}
        if code:
            self.error |= {
                "code": code,
                "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
            }
        if param:
            self.error["param"] = param

    @property
    def body(self) -> Json:
        """The body of the answer."""
        return {"error": self.error}


class InvalidRequest(StripeError):
    """Refused before execution began."""


class Refusal(StripeError):
    """Refused by an endpoint that had begun to execute."""


class CardDeclined(Refusal):
    """The bank said no, or wants the customer present: 402."""

    def __init__(self, error: Json, intent: Json) -> None:
        super().__init__(
            error["message"], status=402, type="card_error", more={**error, "payment_intent": intent}
        )


def missing(noun: str, id: str, *, param: str, status: int = 400) -> InvalidRequest:
    """No such object: 404 where the path names it, 400 where a parameter does."""
    return InvalidRequest(f"No such {noun}: '{id}'", status=status, code="resource_missing", param=param)


def unexpected_state(message: str, intent: Json) -> Refusal:
    """The PaymentIntent is not in a state that allows the call."""
    return Refusal(message, code="payment_intent_unexpected_state", more={"payment_intent": intent})


def bad_key(authorization: str | None) -> InvalidRequest:
    """No API key, or a wrong one, of which only the end is repeated."""
    if not authorization:
        return InvalidRequest(
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    return InvalidRequest(f"Invalid API Key provided: {'*' * 12}{authorization[-4:]}", status=401)


def unknown_url(method: str, path: str) -> InvalidRequest:
    """No endpoint there."""
    return InvalidRequest(f"Unrecognized request URL ({method}: {path}).", status=404)


def other_parameters(key: str) -> StripeError:
    """The idempotency key came first with other parameters."""
    return StripeError(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request.",
        type="idempotency_error",
    )


def other_endpoint(key: str, *, first: str, now: str) -> StripeError:
    """The idempotency key came first at another endpoint."""
    return StripeError(
        "Keys for idempotent requests can only be used for the same endpoint they were first used for "
        f"('{now}' vs '{first}'). "
        f"Try using a key other than '{key}' if you meant to execute a different request.",
        type="idempotency_error",
    )


def key_in_use(key: str | None) -> StripeError:
    """Another request with the idempotency key is still being executed."""
    return StripeError(
        "There is currently another in-progress request using this Idempotent Key (that probably means you "
        f"submitted twice, and the other request is still going through): {key}. Please try again later.",
        status=409,
        code="idempotency_key_in_use",
    )


def rate_limited() -> StripeError:
    """Too many requests; nothing was executed."""
    return StripeError(
        "Request rate limit exceeded. You can learn more about rate limits here "
        "https://stripe.com/docs/rate-limits.",
        status=429,
        code="rate_limit",
    )


def internal_error() -> StripeError:
    """Something broke on Stripe's side."""
    return StripeError(
        "An unknown error occurred. If this problem persists, please contact us.",
        status=500,
        type="api_error",
    )
