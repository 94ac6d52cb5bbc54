"""Access tokens: given for the client's id and secret, good for a while (developer.paypal.com/api/rest/authentication).

They live in the process: after a restart, or a leap of the clock, callers meet `invalid_token` and ask anew.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

from simulators.clock import Clock

TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 - where tokens are given, not one of them
GOOD_FOR_S = 32_400


class Tokens:
    """The access tokens that were given out."""

    def __init__(self, clock: Clock, *, client_id: str, client_secret: str) -> None:
        self._clock = clock
        self._credentials = f"{client_id}:{client_secret}".encode()
        self._good_until: dict[str, float] = {}

    def answer(self, authorization: str, grant_type: str | None) -> dict[str, Any]:
        """Status and body of the answer to a call for a token."""
        if grant_type != "client_credentials":
            wrong = {"error": "unsupported_grant_type", "error_description": "Grant Type is not supported"}
            return {"status": 400, "body": wrong}
        if not self._is_client(authorization):
            wrong = {"error": "invalid_client", "error_description": "Client Authentication failed"}
            return {"status": 401, "body": wrong}
        token = f"A21AA{secrets.token_urlsafe(48)}"
        self._good_until[token] = self._clock.now() + GOOD_FOR_S
        body = {
            "scope": "https://uri.paypal.com/services/payments/payment",
            "access_token": token,
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": GOOD_FOR_S,
            "nonce": secrets.token_hex(16),
        }
        return {"status": 200, "body": body}

    def are_good(self, authorization: str) -> bool:
        """Whether a call's `Authorization` carries a token that is still good."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._good_until.get(token, 0) > self._clock.now()

    def _is_client(self, authorization: str) -> bool:
        scheme, _, sent = authorization.partition(" ")
        try:
            credentials = base64.b64decode(sent, validate=True)
        except binascii.Error:
            return False
        return scheme.lower() == "basic" and secrets.compare_digest(credentials, self._credentials)
