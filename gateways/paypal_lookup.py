"""Finding at PayPal what became of an attempt: by the ids we have, through the order that lists all payments.

Never by transaction search, which may lag by three hours.
"""

from __future__ import annotations

from typing import Any

from gateways import paypal_answers as answers
from gateways import paypal_refusals as refusals
from gateways.paypal_answers import Ready, Reference, dig
from gateways.paypal_codes import ALREADY_PAID, PAYMENT_ISSUES
from gateways.paypal_http import Answer, AnswerLost, NotDelivered, PaypalHttp
from gateways.protocol import (
    Absent,
    Approved,
    Declined,
    DeclineReason,
    Firmness,
    LookupRequest,
    Operation,
    Outcome,
    Unknown,
)


class Lookups:
    """Reads of one PayPal account. Methods raise NotDelivered, AnswerLost, NotExpressible."""

    def __init__(self, http: PaypalHttp) -> None:
        self._http = http

    async def pay_call(
        self, order: Reference, operation: Operation, body: dict[str, Any], request_id: str
    ) -> Answer:
        """Authorize or capture an order."""
        verb = "capture" if operation is Operation.SALE else "authorize"
        path = f"/v2/checkout/orders/{order.id}/{verb}"
        return await self._http.call("POST", path, body=body, request_id=request_id)

    async def read_payment(self, answer: Answer, order: Reference, operation: Operation) -> Outcome:
        """What the answer to a payment says; one that leaves the order unpaid makes no sense."""
        issue = refusals.issue_in(answer)
        if issue == "PAYER_ACTION_REQUIRED":
            action = answers.action_required(answer.body, order)
            if not isinstance(action, Unknown):
                return action
        if issue in ALREADY_PAID or issue == "PAYER_ACTION_REQUIRED":
            body = await self.read(order)
        elif answer.status in (200, 201):
            body = answer.body
        else:
            return refusals.read_refusal(answer, PAYMENT_ISSUES, order)
        if not answers.is_about(body, order):
            return Unknown(detail="the answer is not about the order", reference=str(order))
        ending = answers.read_order(body, order, operation)
        return unpaid(order) if isinstance(ending, Absent | Ready) else ending

    async def find(self, request: LookupRequest) -> Outcome | Absent:
        """Tell what became of an attempt."""
        own, parent = Reference.parse(request.reference), Reference.parse(request.parent_reference)
        match request.operation:
            case Operation.AUTHORIZE | Operation.SALE if request.reference is None:
                return Absent(detail="no order was stored, so none was paid")
            case Operation.AUTHORIZE | Operation.SALE if own and own.kind == "order":
                return await self.settled(await self.read(own), own, request.attempt_id, request.operation)
            case Operation.AUTHORIZE if own and own.kind == "authorization":
                return answers.read_authorization(await self.read(own), own)
            case Operation.SALE | Operation.CAPTURE if own and own.kind == "capture":
                return answers.read_capture(await self.read(own))
            case Operation.CAPTURE if parent and parent.kind == "authorization":
                return await self.find_capture(parent, request.attempt_id)
            case Operation.VOID if parent:
                return await self._void(request, parent)
            case Operation.VOID if not request.parent_reference:
                return Absent(detail="there was nothing to let go")
            case Operation.REFUND if own and own.kind == "refund":
                return answers.read_refund(await self.read(own))
            case Operation.REFUND if parent and parent.kind == "capture":
                order = await self.order_of(await self.read(parent))
                refund = answers.refund_by(order, request.attempt_id)
                if refund is None:
                    return Absent(detail="the order has no refund of this attempt")
                return answers.read_refund(refund)
            case _:
                return Unknown(detail="no id to look for")

    async def settled(
        self, body: object, order: Reference, attempt_id: str, operation: Operation
    ) -> Outcome | Absent:
        """What an order says of its payment; one that the payer has approved is paid now."""
        ending = answers.read_order(body, order, operation)
        if not isinstance(ending, Ready):
            return ending
        # Not the attempt's own request id: under that, PayPal may answer once more that the payer must act.
        answer = await self.pay_call(order, operation, {}, f"{attempt_id}:approved")
        return await self.read_payment(answer, order, operation)

    async def find_capture(self, hold: Reference, attempt_id: str) -> Outcome | Absent:
        """Tell what became of an attempt to capture a hold."""
        authorization = await self.read(hold)
        capture = answers.capture_by(await self.order_of(authorization), attempt_id)
        if capture is not None:
            return answers.read_capture(capture)
        if dig(authorization, "status") in ("VOIDED", "EXPIRED"):
            return answers.voided(authorization, hold)
        return Absent(detail="the order has no capture of this attempt")

    async def _void(self, request: LookupRequest, parent: Reference) -> Outcome | Absent:
        let_go = Approved(reference=str(parent), amount=request.amount)
        body = await self.read(parent)
        if parent.kind == "order" and (hold := first_payment(body, "authorizations")) is None:
            if answers.called_off_by(body) == request.attempt_id or dig(body, "status") == "VOIDED":
                return let_go
            if first_payment(body, "captures") is not None or answers.called_off_by(body) is not None:
                return not_voidable("order_completed_or_called_off", parent)
            if not answers.is_open(body):
                return Unknown(detail="the order is in a state unheard of", reference=str(parent))
            return Absent(detail="the order was not called off", reference=str(parent))
        status = dig(hold if parent.kind == "order" else body, "status")
        match status:
            case "VOIDED" | "EXPIRED":
                return let_go
            case "CREATED" | "PENDING" | "PARTIALLY_CAPTURED":
                return Absent(detail="the hold was not let go", reference=str(parent))
            case "CAPTURED" | "DENIED" | "COMPLETED" | "REFUNDED" | "PARTIALLY_REFUNDED" | "DECLINED":
                return not_voidable(f"{parent.kind}_{status}", parent)
            case _:
                return Unknown(detail="the hold is in a state unheard of", reference=str(parent))

    async def read(self, reference: Reference) -> Any:
        """Read what PayPal has under an id. Raises AnswerLost if it does not say, whatever the cause."""
        try:
            answer = await self.get(reference)
        except NotDelivered as error:
            # The operation this belongs to may have been executed: that must not be taken for not sent.
            raise AnswerLost(str(error)) from error
        if answer.status != 200 or not answers.is_about(answer.body, reference):
            raise AnswerLost(refusals.described(answer))
        return answer.body

    async def get(self, reference: Reference) -> Answer:
        """Ask what PayPal has under an id."""
        room = "checkout" if reference.kind == "order" else "payments"
        return await self._http.call("GET", f"/v2/{room}/{reference.kind}s/{reference.id}")

    async def order_of(self, payment: object) -> Any:
        """Read the order a payment belongs to; it lists all the payments."""
        order = Reference.parse(f"order:{dig(payment, 'supplementary_data', 'related_ids', 'order_id')}")
        if order is None:
            raise AnswerLost("the payment does not name its order")
        return await self.read(order)


def first_payment(order: object, payments: str) -> Any:
    """The first of an order's `authorizations`, `captures` or `refunds`, or None."""
    return dig(order, "purchase_units", 0, "payments", payments, 0)


def unpaid(order: Reference) -> Unknown:
    """Nobody knows why an order that was to be paid is not."""
    return Unknown(detail="the answer says the order is not paid", reference=str(order))


def not_voidable(code: str, reference: Reference, reason: DeclineReason = DeclineReason.OTHER) -> Declined:
    """What was taken, or is gone already, cannot be let go."""
    return Declined(reason=reason, firmness=Firmness.HARD, code=code, reference=str(reference))
