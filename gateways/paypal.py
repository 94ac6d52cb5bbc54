"""PayPal, over its REST API: make an order, pay it once its id is stored for a look-up.

Asks; `paypal_answers` says what the answers mean. PayPal-Request-Ids are attempt ids. PayPal does nothing by
itself when a payer has approved an order: the look-up that finds it approved pays it, in the attempt's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, TypeVar

from gateways import paypal_answers as answers
from gateways import paypal_refusals as refusals
from gateways.exponents import PAYPAL_UNITS, NotExpressible
from gateways.paypal_answers import Reference, dig
from gateways.paypal_codes import (
    ALREADY_CAPTURED,
    CAPTURE_ISSUES,
    PAYMENT_ISSUES,
    REFUND_ISSUES,
    VOID_ISSUES,
)
from gateways.paypal_http import AnswerLost, NotDelivered, PaypalHttp
from gateways.paypal_lookup import Lookups, first_payment, not_voidable, unpaid
from gateways.paypal_method import Method
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    NotSent,
    Opened,
    Operation,
    Outcome,
    RefundRequest,
    Unknown,
    VoidRequest,
)
from messages.money import Money

Ending = TypeVar("Ending", bound="Outcome | Opened | Absent")

LIVE = "https://api-m.paypal.com"
_MAX_DESCRIPTION, _MAX_DESCRIPTOR = 127, 22  # purchase_unit_request in checkout_orders_v2
_CALLS_MOST = 3  # that one operation is given time for, one after the other; most make one or two


class PaypalGateway:
    """Move money through one PayPal account; one instance serves one asyncio loop."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        base_url: str | None = None,
        connect_timeout_s: float = 5,
        read_timeout_s: float = 30,
        max_connections: int = 100,
    ) -> None:
        """Prepare; nothing is sent. Waiting for a free connection counts as connecting.

        Raises:
            ValueError: if the client's id or secret is none that a header can carry.
        """
        if not all(text.isascii() and text.isprintable() and text for text in (client_id, client_secret)):
            raise ValueError("PayPal's client id or secret is empty or has characters neither has")
        if ":" in client_id:
            raise ValueError("PayPal's client id has no colon")
        self._http = PaypalHttp(
            base_url=base_url or LIVE,
            client_id=client_id,
            client_secret=client_secret,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_connections=max_connections,
        )
        self._lookups = Lookups(self._http)
        self._limit_s = _CALLS_MOST * self._http.call_limit_s
        self._capabilities = Capabilities(
            currencies=PAYPAL_UNITS.currencies,
            # "The server stores keys for 6 hours" for orders, 45 days for payments (the OpenAPI files).
            replay_window=timedelta(hours=6),
            call_time_limit=timedelta(seconds=self._limit_s),
            calls_at_once=max_connections,
            partial_capture=True,
            multiple_capture=True,
            refunds_by_capture=True,
        )

    @property
    def name(self) -> str:
        """The word commands and routing rules use."""
        return "paypal"

    @property
    def capabilities(self) -> Capabilities:
        """PayPal's currencies; captures in parts, until one is final."""
        return self._capabilities

    async def close(self) -> None:
        """Let connections go."""
        await self._http.close()

    # --- authorize -----------------------------------------------------------------------------------

    async def authorize(self, request: AuthorizeRequest) -> Outcome | Opened:
        """Make an order that nothing pays yet, or pay the one that was made."""
        method = Method.named_by(request.token)
        if method is None:
            return NotSent(detail="the token is no vault id of PayPal's", retryable=False)
        if request.authenticate and method.kind == "card" and (request.off_session or not request.return_url):
            return NotSent(
                detail="a cardholder who is to be asked must be there, and come back", retryable=False
            )
        if request.reference is None:
            ending = await self._guarded(self._open(request, method), None)
            if isinstance(ending, Unknown):
                detail = f"nothing pays the order yet; {ending.detail}"
                return NotSent(detail=detail, retryable=True)
            return ending
        order = Reference.parse(request.reference)
        if order is None or order.kind != "order":
            return NotSent(detail="the reference is no order of PayPal's", retryable=False)
        if method.kind == "payer":
            return await self._guarded(self._pay_if_approved(request, order), order)
        source = {"payment_source": method.source(request)}
        return await self._guarded(self._pay(request, order, source), order)

    async def _open(self, request: AuthorizeRequest, method: Method) -> Outcome | Opened:
        if method.kind == "payer" and (request.off_session or not request.return_url):
            return NotSent(detail="a payer who is to approve must be there, and come back", retryable=False)
        try:
            amount = _written(request.amount)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        unit: dict[str, Any] = {"amount": amount, "custom_id": request.attempt_id}
        if request.description:
            unit["description"] = request.description[:_MAX_DESCRIPTION]
        if request.statement_descriptor:
            unit["soft_descriptor"] = request.statement_descriptor[:_MAX_DESCRIPTOR]
        body: dict[str, Any] = {
            "intent": "CAPTURE" if request.capture else "AUTHORIZE",
            "purchase_units": [unit],
        }
        if method.kind == "payer":
            body["payment_source"] = method.source(request)
        answer = await self._http.call(
            "POST", "/v2/checkout/orders", body=body, request_id=f"{request.attempt_id}:open"
        )
        order = Reference.of("order", answer.body)
        if answer.status not in (200, 201) or order is None:
            return refusals.read_refusal(answer, PAYMENT_ISSUES, None)
        if not answers.is_as_asked(answer.body, request.attempt_id, request.amount, _operation(request)):
            return NotSent(detail="this attempt was opened with other parameters before", retryable=False)
        return Opened(reference=str(order))

    async def _pay(self, request: AuthorizeRequest, order: Reference, source: dict[str, Any]) -> Outcome:
        operation = _operation(request)
        answer = await self._lookups.pay_call(order, operation, source, request.attempt_id)
        ending = await self._lookups.read_payment(answer, order, operation)
        if isinstance(ending, ActionRequired) and request.off_session:
            return Declined(
                reason=DeclineReason.AUTHENTICATION_REQUIRED,
                firmness=Firmness.NEEDS_AUTHENTICATION,
                code="PAYER_ACTION_REQUIRED",
                reference=str(order),
            )
        return ending

    async def _pay_if_approved(self, request: AuthorizeRequest, order: Reference) -> Outcome:
        body = await self._read_first(order)
        if isinstance(body, NotSent):
            return body
        ending = await self._lookups.settled(body, order, request.attempt_id, _operation(request))
        return unpaid(order) if isinstance(ending, Absent) else ending

    # --- capture, void, refund -----------------------------------------------------------------------

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Take held money, never more than is left of the hold, although PayPal would give some more."""
        hold = Reference.parse(request.authorization_reference)
        if hold is None or hold.kind != "authorization":
            return NotSent(detail="the reference is no authorization of PayPal's", retryable=False)
        try:
            amount = _written(request.amount)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        refusal = await self._guarded(self._beyond_the_hold(request, hold), hold)
        if isinstance(refusal, Unknown):
            return NotSent(detail=f"the hold cannot be read; {refusal.detail}", retryable=True)
        if not isinstance(refusal, Absent):
            return refusal
        return await self._guarded(self._capture(request, hold, amount), hold)

    async def _beyond_the_hold(self, request: CaptureRequest, hold: Reference) -> Outcome | Absent:
        """Absent if nothing speaks against the capture."""
        body = await self._read_first(hold)
        if isinstance(body, NotSent):
            return body
        held = answers.held_amount(body)
        taken = Money(0, held.currency)
        if dig(body, "status") == "PARTIALLY_CAPTURED":
            order = await self._lookups.order_of(body)
            taken = answers.captured_by_others(order, request.attempt_id, held.currency)
        if request.amount.currency == held.currency and held < request.amount + taken:
            return Declined(
                reason=DeclineReason.LIMIT_OR_AMOUNT, firmness=Firmness.HARD, code="more_than_is_held"
            )
        return Absent(detail="no objection")

    async def _capture(self, request: CaptureRequest, hold: Reference, amount: dict[str, str]) -> Outcome:
        # The invoice id is how a look-up knows this capture from others of the hold.
        body = {"amount": amount, "invoice_id": request.attempt_id, "final_capture": request.final}
        path = f"/v2/payments/authorizations/{hold.id}/capture"
        answer = await self._http.call("POST", path, body=body, request_id=request.attempt_id)
        if answer.status in (200, 201):
            return answers.read_capture(answer.body)
        issue = refusals.issue_in(answer)
        if issue in ALREADY_CAPTURED:
            found = await self._lookups.find_capture(hold, request.attempt_id)
            if isinstance(found, Absent):
                return Declined(reason=DeclineReason.DUPLICATE, firmness=Firmness.HARD, code=issue or "")
            return found
        return refusals.read_refusal(answer, CAPTURE_ISSUES, None)

    async def void(self, request: VoidRequest) -> Outcome:
        """Let go a hold or what is left of it, or mark an unpaid order as called off; else Declined."""
        reference = Reference.parse(request.authorization_reference)
        match reference:
            case Reference(kind="authorization"):
                return await self._guarded(self._void(request, reference, reference), reference)
            case Reference(kind="order"):
                return await self._guarded(self._call_off(request, reference), reference)
            case Reference(kind="capture"):
                return not_voidable("captured", reference)
            case None if not request.authorization_reference:
                # No order of it was ever stored, and an order that is not stored is never paid.
                return Approved(
                    reference=request.canceled_attempt_id or request.attempt_id, amount=request.amount
                )
            case _:
                return NotSent(detail="the reference is nothing of PayPal's to let go", retryable=False)

    async def _void(self, request: VoidRequest, hold: Reference, told: Reference) -> Outcome:
        path = f"/v2/payments/authorizations/{hold.id}/void"
        answer = await self._http.call("POST", path, request_id=request.attempt_id)
        if answer.status == 204 or (answer.status == 200 and dig(answer.body, "status") == "VOIDED"):
            return Approved(reference=str(told), amount=request.amount)
        return refusals.read_refusal(answer, VOID_ISSUES, told)

    async def _call_off(self, request: VoidRequest, order: Reference) -> Outcome:
        """Leave an unpaid order alone for good: PayPal has no call for that, and only a call of ours would pay it.

        The mark tells later look-ups. Should PayPal not take it, the order is as unpaid as before.
        """
        body = await self._read_first(order)
        if isinstance(body, NotSent):
            return body
        hold = Reference.of("authorization", first_payment(body, "authorizations"))
        if hold is not None:
            return await self._void(request, hold, order)
        if first_payment(body, "captures") is not None:
            return not_voidable("captured", order)
        if dig(body, "status") == "VOIDED":
            return not_voidable("order_VOIDED", order, DeclineReason.CANCELED)
        if not answers.is_open(body):
            return NotSent(detail="the order is in a state unheard of", retryable=True)
        if (earlier := answers.called_off_by(body)) is not None and earlier != request.attempt_id:
            return not_voidable("order_called_off", order)
        unit = dig(body, "purchase_units", 0, "reference_id") or "default"
        mark = {
            "op": "replace",
            "path": f"/purchase_units/@reference_id=='{unit}'/custom_id",
            "value": f"{request.attempt_id}{answers.CALLED_OFF}",
        }
        marked = await self._http.call("PATCH", f"/v2/checkout/orders/{order.id}", body=[mark])
        issue = refusals.issue_in(marked)
        if issue == "ORDER_ALREADY_COMPLETED":
            return not_voidable(issue, order)
        if marked.status in (200, 204) or issue is not None:
            return Approved(reference=str(order), amount=request.amount)
        return refusals.read_refusal(marked, {}, order)

    async def refund(self, request: RefundRequest) -> Outcome:
        """Give captured money back; more than is left is Declined."""
        capture = Reference.parse(request.capture_reference)
        if capture is None or capture.kind != "capture":
            return NotSent(detail="the reference is no capture of PayPal's", retryable=False)
        try:
            amount = _written(request.amount)
        except NotExpressible as error:
            return NotSent(detail=str(error), retryable=False)
        body = {"amount": amount, "custom_id": request.attempt_id}
        return await self._guarded(self._refund(request, capture, body), None)

    async def _refund(self, request: RefundRequest, capture: Reference, body: dict[str, Any]) -> Outcome:
        path = f"/v2/payments/captures/{capture.id}/refund"
        answer = await self._http.call("POST", path, body=body, request_id=request.attempt_id)
        if answer.status in (200, 201):
            return answers.read_refund(answer.body)
        return refusals.read_refusal(answer, REFUND_ISSUES, None)

    # --- look-up -------------------------------------------------------------------------------------

    async def lookup(self, request: LookupRequest) -> Outcome | Absent:
        """Read what we have an id of, never by search. A look-up that fails itself is Unknown."""
        found = await self._guarded(self._lookups.find(request), None)
        if isinstance(found, NotSent) or (isinstance(found, Unknown) and found.reference is None):
            return Unknown(detail=f"the look-up failed: {found.detail}", reference=request.reference)
        return found

    async def _read_first(self, reference: Reference) -> Any:
        """Read what an operation needs to know before it is sent; if that fails, it was not sent."""
        try:
            answer = await self._lookups.get(reference)
        except AnswerLost as error:
            return NotSent(detail=f"not asked: {error}", retryable=True)
        if answer.status == 200 and answers.is_about(answer.body, reference):
            return answer.body
        refusal = refusals.read_refusal(answer, {}, None)
        if isinstance(refusal, NotSent):
            return refusal
        return NotSent(detail=f"not asked: {refusals.described(answer)}", retryable=True)

    async def _guarded(
        self, work: Awaitable[Ending], reference: Reference | None
    ) -> Ending | NotSent | Unknown:
        """Carry out an operation; whatever way it breaks is an ending, too."""
        known = str(reference) if reference else None
        try:
            async with asyncio.timeout(self._limit_s):
                return await work
        except NotDelivered as error:
            return NotSent(detail=str(error), retryable=True)
        except (AnswerLost, NotExpressible) as error:
            return Unknown(detail=str(error), reference=known)
        except TimeoutError:
            return Unknown(detail="no whole answer in time", reference=known)


def _operation(request: AuthorizeRequest) -> Operation:
    return Operation.SALE if request.capture else Operation.AUTHORIZE


def _written(amount: Money) -> dict[str, str]:
    return {"currency_code": amount.currency, "value": PAYPAL_UNITS.to_decimal(amount)}
