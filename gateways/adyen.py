"""Adyen (Checkout v72), through its own SDK: a payment is answered, everything after it only received.

Asks; `adyen_answers` says what the answers mean. Idempotency keys are attempt ids, and so are the references
Adyen keeps for us, so that whatever it reports can be told by our own name.

Adyen cannot be asked what became of a call. Captures, cancellations and refunds are answered `Pending`: the
truth comes by webhook. A payment of unknown outcome is settled by one of three:

- the same call under the same key, within the replay window: Adyen gives the first answer once more;
- the AUTHORISATION webhook, whose `merchantReference` is the attempt id;
- `void` with the attempt id for a reference: a technical cancel, which needs no reference of Adyen's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

import Adyen

from gateways import adyen_answers as answers
from gateways.adyen_codes import REFUND_REASONS
from gateways.adyen_http import PooledTransport
from gateways.exponents import ADYEN_UNITS, NotExpressible
from gateways.protocol import (
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    LookupRequest,
    NotSent,
    Outcome,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.ids import AttemptId
from messages.money import Money

VERSION = "v72"

_MAX_KEY = 64  # docs.adyen.com/development-resources/api-idempotency
_MAX_METADATA, _MAX_NAME, _MAX_VALUE = 20, 20, 80  # Checkout v72, PaymentRequest.metadata
_SHOPPER = range(3, 257)  # Checkout v72, PaymentRequest.shopperReference
_NO_CUSTOMER_URL = "https://no-customer.invalid/"
"""Adyen wants a returnUrl even where nobody is there to return."""

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
    ) -> None:
        """Prepare the client; nothing is sent. Waiting for a free connection counts as connecting.

        Without `live_endpoint_prefix` calls go to Adyen's test platform, where no money moves.

        Raises:
            ValueError: if the key is no header value, or both a base URL and a live prefix are given.
        """
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key or not api_key:
            raise ValueError("the Adyen key is empty or has characters a key does not have")
        if base_url and live_endpoint_prefix:
            raise ValueError("a base URL is for a simulator, a live endpoint prefix for Adyen itself")
        self._merchant_account = merchant_account
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
            partial_capture=True,
            multiple_capture=False,
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
        try:
            body = self._payment(request)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        return await self._ask(
            self._payments.payments,
            body,
            request.attempt_id,
            lambda said: answers.read_payment(said, request.amount, request.attempt_id),
        )

    def _payment(self, request: AuthorizeRequest) -> dict[str, object]:
        body: dict[str, object] = {
            **self._named(request.attempt_id),
            "amount": _written(request.amount),
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": request.token},
            "shopperInteraction": "ContAuth",  # the card is on file, whoever is there
            "recurringProcessingModel": "UnscheduledCardOnFile" if request.off_session else "CardOnFile",
            "returnUrl": request.return_url or _NO_CUSTOMER_URL,
            "merchantOrderReference": request.order_id,
            "metadata": _metadata(request),
        }
        if request.capture:
            body["captureDelayHours"] = 0
        else:
            body["additionalData"] = {"manualCapture": "true"}
        if request.customer_id and len(request.customer_id) in _SHOPPER:
            body["shopperReference"] = request.customer_id
        if request.statement_descriptor:
            body["shopperStatement"] = request.statement_descriptor
        return body

    # --- capture, void, refund -----------------------------------------------------------------------

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Ask for held money. The reference that comes back is the payment's: refunds are asked of it."""
        if not request.final:
            return NotSent(detail="a hold is captured once, so the capture must be final", retryable=False)
        try:
            body = {**self._named(request.attempt_id), "amount": _written(request.amount)}
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        return await self._ask(
            self._modifications.capture_authorised_payment,
            body,
            request.attempt_id,
            lambda said: answers.read_receipt(said, body, "paymentPspReference"),
            of=request.authorization_reference,
        )

    async def void(self, request: VoidRequest) -> Outcome:
        """Ask to let a hold go; a reference of ours names a payment whose pspReference was never learnt."""
        reference, body = request.authorization_reference, self._named(request.attempt_id)
        is_ours = _is_ours(reference)
        if is_ours:
            body["paymentReference"] = reference
            call = self._modifications.cancel_authorised_payment
        else:
            call = self._modifications.cancel_authorised_payment_by_psp_reference
        return await self._ask(
            call,
            body,
            request.attempt_id,
            lambda said: answers.read_receipt(said, body, "pspReference"),
            of=None if is_ours else reference,
        )

    async def refund(self, request: RefundRequest) -> Outcome:
        """Ask to give captured money back."""
        try:
            body = {**self._named(request.attempt_id), "amount": _written(request.amount)}
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        if request.reason:
            body["merchantRefundReason"] = REFUND_REASONS.get(request.reason, "OTHER")
        return await self._ask(
            self._modifications.refund_captured_payment,
            body,
            request.attempt_id,
            lambda said: answers.read_receipt(said, body, "pspReference"),
            of=request.capture_reference,
        )

    # --- look-up -------------------------------------------------------------------------------------

    async def lookup(self, request: LookupRequest) -> Outcome:
        """Say `Unknown`, always and without a call: Adyen has nothing that could be asked.

        Repeating the call under its key would tell, but would also make it if it never arrived: a look-up
        must not move money. Never `Absent`: no trace was looked for.
        """
        return Unknown(detail="Adyen tells by webhook, it cannot be asked", reference=request.reference)

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
            async with asyncio.timeout(self._limit_s):
                result = await self._transport.carry(call, body, *path, idempotency_key=_key(attempt_id))
                return read(result.message)
        except Exception as error:
            # Broad on purpose: besides its own errors the SDK lets AttributeError and the like escape when
            # an answer is not what it expects. The call was made, so that is an ending too.
            return answers.read_failure(error, attempt_id)

    def _binds(self, attempt_id: AttemptId, body: Mapping[str, object], of: str | None) -> bool:
        """Whether this is the request that the key was used for before, as far as this process remembers."""
        now = hashlib.sha256(json.dumps([of, body], sort_keys=True).encode()).digest()
        first = self._bound.setdefault(attempt_id, now)
        self._bound.move_to_end(attempt_id)
        if len(self._bound) > _KEYS_REMEMBERED:
            self._bound.popitem(last=False)
        return first == now


def _written(money: Money) -> dict[str, object]:
    return {"value": ADYEN_UNITS.to_wire(money), "currency": money.currency}


def _key(attempt_id: AttemptId) -> str:
    """Our id, or the 64 digits of its SHA-256 where it is longer than Adyen takes."""
    return attempt_id if len(attempt_id) <= _MAX_KEY else hashlib.sha256(attempt_id.encode()).hexdigest()


def _is_ours(reference: str) -> bool:
    """Whether it names an attempt of ours: those have a dot in them, Adyen's references never."""
    return "." in reference


def _metadata(request: AuthorizeRequest) -> dict[str, str]:
    """Put our ids first, then as many of the sender's as Adyen holds: a surplus must not stop a payment."""
    ids = {"payment_id": request.payment_id, "order_id": request.order_id}
    fitting = (
        (name, value)
        for name, value in request.metadata.items()
        if name not in ids and 0 < len(name) <= _MAX_NAME and 0 < len(value) <= _MAX_VALUE
    )
    return {**ids, **dict(islice(fitting, _MAX_METADATA - len(ids)))}
