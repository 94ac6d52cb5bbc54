"""The endpoints: what each takes, and what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulators.store import Json
from simulators.stripe import intents, reading, refunds
from simulators.stripe.account import Account
from simulators.stripe.parameters import (
    Check,
    Params,
    amount,
    boolean,
    currency,
    either,
    integer,
    metadata,
    nested,
    one_of,
    text,
    texts,
    unused,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint."""

    verb: str
    """What it is called in faults: `metadata[simulate_<verb>]`."""
    method: str
    path: str
    run: Callable[[Account, str, Params], Json]
    takes: Mapping[str, Check] = field(default_factory=dict)
    requires: tuple[str, ...] = ()


CAPTURE_METHOD = one_of("automatic", "automatic_async", "manual")
SETUP_FUTURE_USAGE = one_of("off_session", "on_session")
EXPAND: dict[str, Check] = {"expand": texts}
PAGE: dict[str, Check] = {
    **EXPAND,
    **unused("customer_account"),
    "created": either(integer, nested(gt=integer, gte=integer, lt=integer, lte=integer)),
    "limit": integer,
    "starting_after": text,
}
CARD_OPTIONS = nested(
    request_multicapture=one_of("if_available", "never"),
    request_three_d_secure=one_of("any", "automatic", "challenge"),
    **unused(
        "cvc_token installments mandate_options moto network request_extended_authorization"
        " request_incremental_authorization request_overcapture"
        " require_cvc_recollection"
        " setup_credential_usage setup_future_usage statement_descriptor_suffix_kana"
        " statement_descriptor_suffix_kanji stored_credential_usage three_d_secure"
    ),
)
CONFIRMATION: dict[str, Check] = {
    **EXPAND,
    **unused("amount_details confirmation_token excluded_payment_method_types hooks mandate mandate_data"),
    **unused("payment_details payment_method_data radar_options shipping use_stripe_sdk"),
    "allowed_payment_method_types": texts,
    "capture_method": CAPTURE_METHOD,
    "error_on_requires_action": boolean,
    "off_session": either(boolean, one_of("one_off", "recurring")),
    "payment_method": text,
    "payment_method_options": nested(card=CARD_OPTIONS),
    "receipt_email": text,
    "return_url": text,
    "setup_future_usage": SETUP_FUTURE_USAGE,
}
CREATION: dict[str, Check] = {
    **CONFIRMATION,
    **unused("application_fee_amount customer_account on_behalf_of payment_method_configuration"),
    **unused("transfer_data transfer_group"),
    "amount": amount,
    "automatic_payment_methods": nested(allow_redirects=one_of("always", "never"), enabled=boolean),
    "confirm": boolean,
    "confirmation_method": one_of("automatic", "manual"),
    "currency": currency,
    "customer": text,
    "description": text,
    "metadata": metadata,
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
}
CAPTURE: dict[str, Check] = {
    **EXPAND,
    **unused("amount_details application_fee_amount hooks payment_details statement_descriptor"),
    **unused("statement_descriptor_suffix transfer_data"),
    "amount_to_capture": amount,
    "final_capture": boolean,
    "metadata": metadata,
}
CANCELLATION: dict[str, Check] = {
    **EXPAND,
    "cancellation_reason": one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer"),
}
REFUND: dict[str, Check] = {
    **EXPAND,
    **unused("currency customer instructions_email origin refund_application_fee reverse_transfer"),
    "amount": amount,
    "charge": text,
    "metadata": metadata,
    "payment_intent": text,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
}
CUSTOMER: dict[str, Check] = {
    **EXPAND,
    **unused("address balance business_name cash_balance individual_name invoice_prefix invoice_settings"),
    **unused("next_invoice_sequence payment_method preferred_locales shipping source tax tax_exempt"),
    **unused("tax_id_data test_clock validate"),
    **dict.fromkeys(("description", "email", "name", "phone"), text),
    "metadata": metadata,
}


def _create_customer(account: Account, id: str, params: Params) -> Json:
    customer: Json = {
        "id": account.new_id("cus"),
        "object": "customer",
        "created": account.now(),
        "livemode": False,
        **{name: params.get(name) for name in ("description", "email", "name", "phone")},
        "metadata": params.get("metadata", {}),
    }
    return account.save(customer, event="customer.created")


INTENT = "/v1/payment_intents/{id}"

OPERATIONS = (
    Operation(
        verb="create",
        method="POST",
        path="/v1/payment_intents",
        takes=CREATION,
        requires=("amount", "currency"),
        run=lambda account, id, params: intents.create(account, params),
    ),
    Operation(
        verb="confirm", method="POST", path=f"{INTENT}/confirm", takes=CONFIRMATION, run=intents.confirm
    ),
    Operation(verb="capture", method="POST", path=f"{INTENT}/capture", takes=CAPTURE, run=intents.capture),
    Operation(verb="cancel", method="POST", path=f"{INTENT}/cancel", takes=CANCELLATION, run=intents.cancel),
    Operation(
        verb="retrieve",
        method="GET",
        path=INTENT,
        takes={**EXPAND, "client_secret": text},
        run=reading.retrieve("payment_intent", param="intent"),
    ),
    Operation(
        verb="list",
        method="GET",
        path="/v1/payment_intents",
        takes={**PAGE, "customer": text},
        run=reading.list_intents,
    ),
    Operation(
        verb="refund",
        method="POST",
        path="/v1/refunds",
        takes=REFUND,
        run=lambda account, id, params: refunds.create(account, params),
    ),
    Operation(
        verb="retrieve_refund",
        method="GET",
        path="/v1/refunds/{id}",
        takes=EXPAND,
        run=reading.retrieve("refund"),
    ),
    Operation(
        verb="list_refunds",
        method="GET",
        path="/v1/refunds",
        takes={**PAGE, "charge": text, "payment_intent": text},
        run=reading.list_refunds,
    ),
    Operation(
        verb="retrieve_charge",
        method="GET",
        path="/v1/charges/{id}",
        takes=EXPAND,
        run=reading.retrieve("charge"),
    ),
    Operation(
        verb="retrieve_balance_transaction",
        method="GET",
        path="/v1/balance_transactions/{id}",
        takes=EXPAND,
        run=reading.retrieve("balance_transaction"),
    ),
    Operation(
        verb="create_customer", method="POST", path="/v1/customers", takes=CUSTOMER, run=_create_customer
    ),
    Operation(
        verb="retrieve_customer",
        method="GET",
        path="/v1/customers/{id}",
        takes=EXPAND,
        run=reading.retrieve("customer"),
    ),
)
"""Every endpoint."""
