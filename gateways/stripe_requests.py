"""What Stripe is told of a payment or refund: the parameters of the calls that open one.

The same request always gives the same parameters: Stripe binds them to the idempotency key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from stripe.params import PaymentIntentCreateParams, RefundCreateParams

from gateways.protocol import AuthorizeRequest, RefundRequest
from gateways.stripe_codes import ATTEMPT_MARK, CAPTURE_MARK, CAPTURED_BY_HAND

_MAX_METADATA, _MAX_KEY, _MAX_VALUE = 50, 40, 500  # docs.stripe.com/metadata
_ADDED_LATER = (CAPTURE_MARK,)
"""Keys of ours that a later call adds: room is left for them, and nobody else may set them."""
_MAX_DESCRIPTOR_SUFFIX = 22  # docs.stripe.com/get-started/account/statement-descriptors
_REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def opening(request: AuthorizeRequest, wire: int, types: Sequence[str]) -> PaymentIntentCreateParams:
    """An intent that is not confirmed yet, with all that Stripe will be told of the payment."""
    ids = {
        "payment_id": request.payment_id,
        "order_id": request.order_id,
        ATTEMPT_MARK: request.attempt_id,
    }
    params: PaymentIntentCreateParams = {
        "amount": wire,
        "currency": request.amount.currency.lower(),
        "payment_method": request.token,
        "allowed_payment_method_types": list(types),
        "capture_method": "automatic" if request.capture else CAPTURED_BY_HAND,
        "metadata": _metadata(ids, request.metadata),
    }
    if request.authenticate and "card" in types:
        # The bank has refused without; "any" could be answered without the customer once more.
        params["payment_method_options"] = {"card": {"request_three_d_secure": "challenge"}}
    if request.customer_id and request.customer_id.startswith("cus_"):  # Stripe's customer, not only ours
        params["customer"] = request.customer_id
    if request.description:
        params["description"] = request.description
    if request.statement_descriptor:
        params["statement_descriptor_suffix"] = request.statement_descriptor[:_MAX_DESCRIPTOR_SUFFIX]
    return params


def giving_back(request: RefundRequest, wire: int) -> RefundCreateParams:
    """A refund of an intent; a reason Stripe has no word for is left out."""
    ids = {
        "payment_id": request.payment_id,
        "refund_id": request.refund_id,
        ATTEMPT_MARK: request.attempt_id,
    }
    params: RefundCreateParams = {
        "payment_intent": request.capture_reference,
        "amount": wire,
        "metadata": _metadata(ids, request.metadata),
    }
    if request.reason in _REFUND_REASONS:
        params["reason"] = request.reason
    return params


def _metadata(ids: Mapping[str, str], wishes: Mapping[str, str]) -> dict[str, str]:
    """Put our ids first, then as many of the sender's as Stripe holds: a surplus must not stop a payment."""
    ours = {*ids, *_ADDED_LATER}
    fitting = (
        (key, value)
        for key, value in wishes.items()
        if key not in ours and 0 < len(key) <= _MAX_KEY and "[" not in key and 0 < len(value) <= _MAX_VALUE
    )
    return {**ids, **dict(islice(fitting, _MAX_METADATA - len(ours)))}
