"""PayPal's refusals: the HTTP status, and the body with its name, its issue and where the issue lies.

    PaypalError
    ├── InvalidRequest    400: the body or a header is not well formed
    ├── Unauthorized      401: no access token, or one that is not (or no longer) good
    ├── NotFound          404: no such resource
    ├── Conflict          409: another request is still being executed
    ├── Unprocessable     422: well formed, and refused: a state, an amount, a payer, a bank
    ├── RateLimited       429
    └── InternalError     500

Names and messages are those of PayPal's OpenAPI files; 429 is not in them
(developer.paypal.com/api/rest/responses).
"""

from __future__ import annotations

from simulators.store import Json


class PaypalError(Exception):
    """An answer other than 2xx."""

    status = 500
    name = "INTERNAL_SERVER_ERROR"
    message = "An internal server error occurred."

    def __init__(
        self,
        issue: str | None = None,
        *,
        field: str | None = None,
        location: str = "body",
        description: str | None = None,
        links: list[Json] | None = None,
    ) -> None:
        super().__init__(issue or self.name)
        self.issue = issue
        self._detail: Json | None = None
        if issue is not None:
            self._detail = {"issue": issue, "description": description or _sentence(issue)}
            if field is not None:
                self._detail |= {"field": field, "location": location}
        self._links = links or []

    def body(self, debug_id: str) -> Json:
        """The body of the answer."""
        body: Json = {"name": self.name, "message": self.message, "debug_id": debug_id}
        if self._detail is not None:
            body["details"] = [self._detail]
        return {**body, "links": self._links}


class InvalidRequest(PaypalError):
    """Not well formed."""

    status = 400
    name = "INVALID_REQUEST"
    message = "Request is not well-formed, syntactically incorrect, or violates schema."


class Unauthorized(PaypalError):
    """No good access token. This body is OAuth's, not PayPal's usual one."""

    status = 401

    def body(self, debug_id: str) -> Json:
        """The body of the answer."""
        return {"error": "invalid_token", "error_description": "Token signature verification failed"}


class NotFound(PaypalError):
    """No such resource, or none of this merchant's."""

    status = 404
    name = "RESOURCE_NOT_FOUND"
    message = "The specified resource does not exist."

    def __init__(self) -> None:
        super().__init__("INVALID_RESOURCE_ID")


class Conflict(PaypalError):
    """A request under the same id is still being executed."""

    status = 409
    name = "RESOURCE_CONFLICT"
    message = "The server has detected a conflict while processing this request."

    def __init__(self) -> None:
        super().__init__("PREVIOUS_REQUEST_IN_PROGRESS")


class Unprocessable(PaypalError):
    """Refused for what it asks."""

    status = 422
    name = "UNPROCESSABLE_ENTITY"
    message = (
        "The requested action could not be performed, semantically incorrect, or failed business validation."
    )


class RateLimited(PaypalError):
    """Too many requests; nothing was executed."""

    status = 429
    name = "RATE_LIMIT_REACHED"
    message = "Too many requests. Blocked due to rate limiting."


class InternalError(PaypalError):
    """Something broke on PayPal's side."""


def _sentence(issue: str) -> str:
    return issue.replace("_", " ").capitalize() + "."
