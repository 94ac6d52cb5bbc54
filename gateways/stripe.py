"""Stripe, through its own SDK: open a payment intent, confirm it once its id is stored for a look-up.

Asks; `stripe_answers` says what the answers mean. Idempotency keys are attempt ids, never made by the SDK.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import stripe
from stripe.params import (
    PaymentIntentConfirmParams,
    RefundListParams,
    RefundRetrieveParams,
)

from gateways import stripe_answers as answers
from gateways.exponents import STRIPE_UNITS, NotExpressible
from gateways.protocol import (
    Absent,
    Approved,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    LookupRequest,
    NotSent,
    Opened,
    Operation,
    Outcome,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from gateways.stripe_codes import ATTEMPT_MARK, CAPTURE_MARK
from gateways.stripe_http import PooledTransport
from gateways.stripe_requests import giving_back, opening

Answer = TypeVar("Answer")
Ending = TypeVar("Ending", bound="Outcome | Opened | Absent")

_REFUND_PAGES = 10  # of 100 refunds each


class StripeGateway:
    """Move money through one Stripe account; one instance serves one asyncio loop."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        connect_timeout_s: float = 5,
        read_timeout_s: float = 30,
        max_connections: int = 100,
        payment_method_types: Sequence[str] = ("card",),
    ) -> None:
        """Prepare the client; nothing is sent. Waiting for a free connection counts as connecting.

        Raises:
            ValueError: if the key is no header value, or STRIPE_LOG is set (the SDK would print secrets).
        """
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key or not api_key:
            raise ValueError("the Stripe key is empty or has characters a key does not have")
        _silence_sdk()
        self._transport = PooledTransport(
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_connections=max_connections,
        )
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url.rstrip("/")} if base_url else None,
            max_network_retries=0,
            http_client=self._transport,
        )
        self._intents, self._refunds = client.v1.payment_intents, client.v1.refunds
        self._payment_method_types = list(payment_method_types)
        # The read time-out starts anew with every piece of an answer: a trickling one needs its own limit.
        self._limit_s = 2 * connect_timeout_s + read_timeout_s + 1
        self._capabilities = Capabilities(
            currencies=STRIPE_UNITS.currencies,
            replay_window=timedelta(hours=24),  # docs.stripe.com/api/idempotent_requests
            call_time_limit=timedelta(seconds=self._limit_s),
            calls_at_once=max_connections,
            partial_capture=True,
            multiple_capture=False,
        )

    @property
    def name(self) -> str:
        """The word commands and routing rules use."""
        return "stripe"

    @property
    def capabilities(self) -> Capabilities:
        """One capture per authorization; the rest of a partial one is released."""
        return self._capabilities

    async def close(self) -> None:
        """Let connections go."""
        await self._transport.close_async()

    # --- authorize -----------------------------------------------------------------------------------

    async def authorize(self, request: AuthorizeRequest) -> Outcome | Opened:
        """Open an intent without confirming it, or confirm the one that was opened."""
        if request.reference is None:
            return await self._open(request)
        return await self._confirm(request, request.reference)

    async def _open(self, request: AuthorizeRequest) -> Outcome | Opened:
        try:
            wire = STRIPE_UNITS.to_wire(request.amount)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        params = opening(request, wire, self._payment_method_types)
        call = self._intents.create_async(params, {"idempotency_key": f"{request.attempt_id}:open"})
        return await self._ask(call, _opened, _not_opened)

    async def _confirm(self, request: AuthorizeRequest, reference: str) -> Outcome:
        operation = Operation.SALE if request.capture else Operation.AUTHORIZE
        params: PaymentIntentConfirmParams = {}
        if not request.capture:
            params["expand"] = ["latest_charge"]  # tells until when the hold lasts
        if request.off_session:
            params["off_session"] = True
        elif request.return_url:
            params["return_url"] = request.return_url

        def failed(error: Exception) -> Outcome:
            intent = answers.intent_in(error)
            if intent is None:
                return answers.read_failure(error, reference)
            return answers.read_confirmation(intent, operation)

        return await self._ask(
            self._intents.confirm_async(reference, params, {"idempotency_key": request.attempt_id}),
            lambda intent: answers.read_confirmation(intent, operation),
            failed,
        )

    # --- capture, void, refund -----------------------------------------------------------------------

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Take held money; Stripe releases the rest of a partial capture."""
        if not request.final:
            return NotSent(detail="a hold is captured once, so the capture must be final", retryable=False)
        try:
            wire = STRIPE_UNITS.to_wire(request.amount)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        reference = request.authorization_reference

        def taken(intent: stripe.PaymentIntent) -> Outcome:
            ending = answers.read_capture(intent, request.attempt_id)
            if isinstance(ending, Absent):
                return Unknown(detail="the answer says it is not captured", reference=reference)
            return ending

        def failed(error: Exception) -> Outcome:
            intent = answers.intent_in(error)
            if intent is None:
                return answers.read_failure(error, reference)
            return answers.refused_capture(intent, request.attempt_id)

        return await self._ask(
            self._intents.capture_async(
                reference,
                {"amount_to_capture": wire, "metadata": {CAPTURE_MARK: request.attempt_id}},
                {"idempotency_key": request.attempt_id},
            ),
            taken,
            failed,
        )

    async def void(self, request: VoidRequest) -> Outcome:
        """Cancel the intent, held or still open; one that was captured or canceled already is Declined."""
        reference = request.authorization_reference
        if not reference:
            # An intent is confirmed only once its id is stored, so this one holds nothing, and never will.
            return NotSent(detail="no intent was stored, so there is nothing to cancel", retryable=False)

        def canceled(intent: stripe.PaymentIntent) -> Outcome:
            if intent.status == "canceled":
                return Approved(reference=intent.id, amount=request.amount)
            return Unknown(detail="the answer says it is not canceled", reference=reference)

        def failed(error: Exception) -> Outcome:
            intent = answers.intent_in(error)
            return answers.read_failure(error, reference) if intent is None else answers.refused_void(intent)

        return await self._ask(
            self._intents.cancel_async(reference, {}, {"idempotency_key": request.attempt_id}),
            canceled,
            failed,
        )

    async def refund(self, request: RefundRequest) -> Outcome:
        """Give captured money back; more than is left is Declined."""
        try:
            wire = STRIPE_UNITS.to_wire(request.amount)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        return await self._ask(
            self._refunds.create_async(giving_back(request, wire), {"idempotency_key": request.attempt_id}),
            answers.read_refund,
            lambda error: answers.read_refund_failure(error, None),
        )

    # --- look-up -------------------------------------------------------------------------------------

    async def lookup(self, request: LookupRequest) -> Outcome | Absent:
        """Read the intent or refund by its id, never by search. A look-up that fails itself is Unknown."""
        if request.operation is Operation.REFUND:
            asked: Awaitable[Outcome | Absent] = self._find_refund(request)
        else:
            asked = self._find_in_intent(request)

        def failed(error: Exception) -> Outcome | Absent:
            why = answers.read_failure(error)
            detail = why.detail if isinstance(why, NotSent | Unknown) else "refused"
            return Unknown(detail=f"the look-up failed: {detail}", reference=request.reference)

        return await self._ask(asked, lambda ending: ending, failed)

    async def _find_in_intent(self, request: LookupRequest) -> Outcome | Absent:
        pays = request.operation in {Operation.AUTHORIZE, Operation.SALE}
        reference = request.reference if pays else request.parent_reference or request.reference
        if reference is None and pays:
            return Absent(detail="no intent was stored, so none was confirmed")
        if reference is None:
            return Unknown(detail="no intent to look at")
        intent = await self._intents.retrieve_async(reference, {"expand": ["latest_charge"]})
        if request.operation is Operation.CAPTURE:
            return answers.read_capture(intent, request.attempt_id)
        if request.operation is Operation.VOID:
            return answers.read_void(intent, request.amount)
        return answers.read_payment(intent, request.operation)

    async def _find_refund(self, request: LookupRequest) -> Outcome | Absent:
        if request.reference is not None:
            parts: RefundRetrieveParams = {"expand": ["charge", "balance_transaction"]}
            refund = await self._refunds.retrieve_async(request.reference, parts)
            return answers.read_refund_by_id(refund, request.parent_reference)
        if request.parent_reference is None:
            return Unknown(detail="no intent whose refunds could be listed")
        params: RefundListParams = {"payment_intent": request.parent_reference, "limit": 100}
        for _ in range(_REFUND_PAGES):
            page = await self._refunds.list_async(params)
            for refund in page.data:
                if getattr(refund.metadata, ATTEMPT_MARK, None) == request.attempt_id:
                    return answers.read_refund(refund)
            if not page.has_more:
                return Absent(detail="the intent has no refund of this attempt")
            params["starting_after"] = page.data[-1].id
        return Unknown(detail="the intent has more refunds than are searched")

    async def _ask(
        self, call: Awaitable[Answer], read: Callable[[Answer], Ending], failed: Callable[[Exception], Ending]
    ) -> Ending:
        try:
            async with asyncio.timeout(self._limit_s):
                return read(await call)
        except Exception as error:
            # Broad on purpose: besides its own errors the SDK lets UnicodeDecodeError, AttributeError and the
            # like escape when an answer is not what it expects. The call was made, so that is an ending too.
            return failed(error)


def _opened(intent: stripe.PaymentIntent) -> Opened | Outcome:
    return Opened(reference=intent.id)


def _not_opened(error: Exception) -> Opened | Outcome:
    """Read a failure to open; what stays unclear is NotSent, as an unconfirmed intent cannot move money."""
    if isinstance(error, stripe.IdempotencyError):
        return NotSent(detail="this attempt was opened with other parameters before", retryable=False)
    ending = answers.read_failure(error)
    if isinstance(ending, Unknown):
        return NotSent(detail=f"nothing was confirmed; {ending.detail}", retryable=True)
    return ending


def _silence_sdk() -> None:
    """Keep the SDK from sending telemetry and from logging bodies, which hold tokens and client secrets."""
    if os.environ.get("STRIPE_LOG"):
        raise ValueError("unset STRIPE_LOG: it makes the SDK print tokens and client secrets")
    stripe.enable_telemetry = False
    logging.getLogger("stripe").setLevel(logging.WARNING)
