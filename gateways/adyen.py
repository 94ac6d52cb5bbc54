"""Adyen (Checkout v72), through its own SDK: a payment is answered, everything after it only received.

Asks; `adyen_requests` writes what is sent, `adyen_answers` says what the answers mean. Idempotency keys are
attempt ids, and so are the references Adyen keeps for us, so that whatever it reports can be told by our own name.

Adyen cannot be asked what became of a call. Captures, cancellations and refunds are answered `Pending`: the
truth comes by webhook (`adyen_webhooks`). A payment of unknown outcome is settled by one of three:

- the same call under the same key, within the replay window: Adyen gives the first answer once more;
- the AUTHORISATION webhook, whose `merchantReference` is the attempt id;
- `void` without a reference of Adyen's: a technical cancel, which goes by the attempt id.

A payment that waits for its customer ends when what the customer brought back is handed in: see `lookup`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import Adyen

from gateways import adyen_answers as answers
from gateways import adyen_requests as requests
from gateways.adyen_http import PooledTransport
from gateways.adyen_references import is_ours, payment_of, void_called
from gateways.exponents import ADYEN_UNITS, NotExpressible
from gateways.protocol import (
    Approved,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    LookupRequest,
    NotSent,
    Operation,
    Outcome,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.ids import AttemptId

VERSION = "v72"

_MAX_KEY = 64  # docs.adyen.com/development-resources/api-idempotency
_KEYS_REMEMBERED = 50_000

_PSP_REFERENCE = re.compile(r"[A-Za-z0-9]{8,32}")
"""16 characters as a rule; it becomes part of a URL."""


class AdyenGateway:
    """Move money through one Adyen merchant account; one instance serves one asyncio loop."""

    def __init__(
        self,
        *,
        api_key: str,
        merchant_account: str,
        base_url: str | None = None,
        live_endpoint_prefix: str | None = None,
        connect_timeout_s: float = 5,
        read_timeout_s: float = 30,
        max_connections: int = 100,
        hold_lasts: timedelta | None = None,
    ) -> None:
        """Prepare the client; nothing is sent. Waiting for a free connection counts as connecting.

        Without `live_endpoint_prefix` calls go to Adyen's test platform, where no money moves. `hold_lasts` is what
        was agreed for the account: Adyen never tells when a hold lapses, only that it has.

        Raises:
            ValueError: if the key is no header value, or both a base URL and a live prefix are given.
        """
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key or not api_key:
            raise ValueError("the Adyen key is empty or has characters a key does not have")
        if base_url and live_endpoint_prefix:
            raise ValueError("a base URL is for a simulator, a live endpoint prefix for Adyen itself")
        self._merchant_account = merchant_account
        self._hold_lasts = hold_lasts
        self._transport = PooledTransport(
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_connections=max_connections,
        )
        client = Adyen.AdyenClient(
            xapikey=api_key,
            platform="live" if live_endpoint_prefix else "test",
            live_endpoint_prefix=live_endpoint_prefix,
        )
        client.http_client, client.http_init = self._transport, True
        checkout = Adyen.AdyenCheckoutApi(client=client)
        self._payments, self._modifications = checkout.payments_api, checkout.modifications_api
        if base_url:
            self._payments.baseUrl = self._modifications.baseUrl = f"{base_url.rstrip('/')}/{VERSION}"
        self._bound: OrderedDict[str, bytes] = OrderedDict()
        # The read time-out starts anew with every piece of an answer: a trickling one needs its own limit.
        self._limit_s = 2 * connect_timeout_s + read_timeout_s + 1
        self._capabilities = Capabilities(
            currencies=ADYEN_UNITS.currencies,
            replay_window=timedelta(days=7),  # docs.adyen.com/development-resources/api-idempotency
            call_time_limit=timedelta(seconds=self._limit_s),
            calls_at_once=max_connections,
            partial_capture=True,
            multiple_capture=False,
            can_be_asked=False,
        )

    @property
    def name(self) -> str:
        """The word commands and routing rules use."""
        return "adyen"

    @property
    def capabilities(self) -> Capabilities:
        """One capture per authorization; the rest of a partial one is released.

        An account may be allowed several partial captures; what we ask is the same for every account.
        """
        return self._capabilities

    async def close(self) -> None:
        """Let connections go."""
        await self._transport.close()

    # --- authorize -----------------------------------------------------------------------------------

    async def authorize(self, request: AuthorizeRequest) -> Outcome:
        """Hold money, or take it: Adyen captures by itself what is not to be captured by hand."""
        if request.return_url is None and not request.off_session:
            return NotSent(detail="a customer who is redirected needs a return_url", retryable=False)
        if request.authenticate and request.off_session:
            return NotSent(detail="nobody is there to be authenticated", retryable=False)
        try:
            body = {**self._named(request.attempt_id), **requests.payment(request)}
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        outcome = await self._ask(
            self._payments.payments,
            body,
            request.attempt_id,
            lambda said: answers.read_payment(said, request.amount, request.attempt_id),
        )
        return outcome if request.capture else self._with_end(outcome)

    def _with_end(self, outcome: Outcome) -> Outcome:
        """Say when a hold lapses, if that was agreed; a repeated answer is counted anew."""
        if isinstance(outcome, Approved) and self._hold_lasts is not None:
            return replace(outcome, capture_before=datetime.now(UTC) + self._hold_lasts)
        return outcome

    # --- capture, void, refund -----------------------------------------------------------------------

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Ask for held money. The reference has the payment's in it: refunds are asked of that."""
        if not request.final:
            return NotSent(detail="a hold is captured once, so the capture must be final", retryable=False)
        try:
            body = {**self._named(request.attempt_id), "amount": requests.written(request.amount)}
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        return await self._ask(
            self._modifications.capture_authorised_payment,
            body,
            request.attempt_id,
            lambda said: answers.read_capture_receipt(said, body),
            of=request.authorization_reference,
        )

    async def void(self, request: VoidRequest) -> Outcome:
        """Ask to let a hold go; a payment whose pspReference was never learnt is named by our attempt id."""
        reference = request.authorization_reference or request.canceled_attempt_id or ""
        body = {**self._named(request.attempt_id), "reference": void_called(request.attempt_id)}
        if technical := is_ours(reference):
            body["paymentReference"] = reference
            call = self._modifications.cancel_authorised_payment
        else:
            call = self._modifications.cancel_authorised_payment_by_psp_reference
        return await self._ask(
            call,
            body,
            request.attempt_id,
            lambda said: answers.read_receipt(said, body),
            of=None if technical else reference,
        )

    async def refund(self, request: RefundRequest) -> Outcome:
        """Ask to give captured money back."""
        try:
            body = {**self._named(request.attempt_id), "amount": requests.written(request.amount)}
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        body |= requests.reason(request)
        return await self._ask(
            self._modifications.refund_captured_payment,
            body,
            request.attempt_id,
            lambda said: answers.read_receipt(said, body),
            of=payment_of(request.capture_reference),
        )

    # --- look-up -------------------------------------------------------------------------------------

    async def lookup(self, request: LookupRequest) -> Outcome:
        """Hand in what the customer brought back, and tell how the payment ended; without it, say `Unknown`.

        Adyen has nothing that could be asked. Repeating the call under its key would tell, but would also make it
        if it never arrived: a look-up must not move money. Never `Absent`: no trace was looked for.
        """
        details = requests.details(request.customer_brought)
        if not details:
            return Unknown(detail="Adyen tells by webhook, it cannot be asked", reference=request.reference)
        # A key of its own, as keys belong to the account and not to an endpoint: each thing brought is handed in once.
        named = json.dumps([request.attempt_id, details], sort_keys=True)
        key = hashlib.sha256(named.encode()).hexdigest()
        try:
            said = await self._carry(self._payments.payments_details, {"details": details}, key=key)
            outcome = answers.read_details(said, request.amount, request.attempt_id)
        except Exception as error:  # broad for the reason given in `_ask`
            return answers.read_failed_details(error, request.reference)
        return self._with_end(outcome) if request.operation is Operation.AUTHORIZE else outcome

    # --- asking --------------------------------------------------------------------------------------

    def _named(self, attempt_id: AttemptId) -> dict[str, object]:
        return {"merchantAccount": self._merchant_account, "reference": attempt_id}

    async def _ask(
        self,
        call: Callable[..., Any],
        body: Mapping[str, object],
        attempt_id: AttemptId,
        read: Callable[[Mapping[str, Any]], Outcome],
        *,
        of: str | None = None,
    ) -> Outcome:
        if of is not None and not _PSP_REFERENCE.fullmatch(of):
            return NotSent(detail="there is no pspReference to act on", retryable=False)
        if not self._binds(attempt_id, body, of):
            # Adyen would give the first answer, whatever is asked now. That first call may have moved money.
            return Unknown(detail="this attempt was sent with another request before", reference=attempt_id)
        path = () if of is None else (of,)
        try:
            return read(await self._carry(call, body, *path, key=_key(attempt_id)))
        except Exception as error:
            # Broad on purpose: besides its own errors the SDK lets AttributeError and the like escape when
            # an answer is not what it expects. The call was made, so that is an ending too.
            return answers.read_failure(error, attempt_id)

    async def _carry(self, call: Callable[..., Any], *args: object, key: str) -> Any:
        """What Adyen says, within the limit. Raises whatever the SDK makes of anything else."""
        async with asyncio.timeout(self._limit_s):
            result = await self._transport.carry(call, *args, idempotency_key=key)
            return result.message

    def _binds(self, attempt_id: AttemptId, body: Mapping[str, object], of: str | None) -> bool:
        """Whether this is the request that the key was used for before, as far as this process remembers."""
        now = hashlib.sha256(json.dumps([of, body], sort_keys=True).encode()).digest()
        first = self._bound.setdefault(attempt_id, now)
        self._bound.move_to_end(attempt_id)
        if len(self._bound) > _KEYS_REMEMBERED:
            self._bound.popitem(last=False)
        return first == now


def _key(attempt_id: AttemptId) -> str:
    """Our id, or the 64 digits of its SHA-256 where it is longer than Adyen takes."""
    return attempt_id if len(attempt_id) <= _MAX_KEY else hashlib.sha256(attempt_id.encode()).hexdigest()
