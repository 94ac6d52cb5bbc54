"""Adyen's refusals: the HTTP status, and a body with an error code.

    AdyenError
    ├── Unprocessable    422: the request was understood, and refused; kept and replayed under its key
    └── Turned           400, 401, 403, 404, 409, 429: refused at the door, never kept

Codes and sentences follow docs.adyen.com/development-resources/error-codes; those of the vectors are genuine.
"""

from __future__ import annotations

from simulators.store import Json


class AdyenError(Exception):
    """An answer other than 2xx."""

    def __init__(
        self, message: str, *, status: int, code: str, type: str = "validation", is_transient: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"status": status, "errorCode": code, "message": message, "errorType": type}
        self.is_transient = is_transient
        """Sent along as a header: a repeat under the same key will be processed."""


class Unprocessable(AdyenError):
    """Refused for what it asks."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message, status=422, code=code)


class Turned(AdyenError):
    """Refused before anything was looked at."""


def unauthorized() -> Turned:
    """No API key, or a wrong one."""
    return Turned("HTTP Status Response - Unauthorized", status=401, code="000", type="security")


def wrong_account() -> Turned:
    """The merchant account is not this API key's."""
    return Turned("Invalid Merchant Account", status=403, code="901", type="security")


def unreadable(message: str) -> Turned:
    """Not JSON, or with fields nobody knows."""
    return Turned(message, status=400, code="702")


def unknown_url() -> Turned:
    """No endpoint there."""
    return Turned("HTTP Status Response - Not Found", status=404, code="000", type="configuration")


def key_too_long() -> Turned:
    """An idempotency key has 64 characters at most."""
    return Turned("Idempotency key exceeds the maximum length of 64 characters", status=400, code="703")


def in_progress() -> Turned:
    """Another request under the same key is still being processed."""
    return Turned("request already processed or in progress", status=409, code="704", is_transient=True)


def rate_limited() -> Turned:
    """Too many requests; nothing was executed."""
    return Turned("Too many requests", status=429, code="000", type="security")


def internal_error(*, is_transient: bool) -> AdyenError:
    """Something broke on Adyen's side."""
    return AdyenError(
        "An internal error has occurred", status=500, code="000", type="internal", is_transient=is_transient
    )


def no_original() -> Unprocessable:
    """The payment that is to be modified is not there."""
    return Unprocessable("Original pspReference required for this operation", code="167")


def no_contract() -> Unprocessable:
    """The stored payment method is not there, or belongs to another shopper."""
    return Unprocessable("Contract not found", code="800")
