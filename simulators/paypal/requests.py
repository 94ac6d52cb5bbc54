"""What the endpoints take. What PayPal takes and the simulator makes no use of is accepted unexamined.

Unlike PayPal, the simulator refuses fields nobody knows: a misspelt one must not pass for a missing one.
Card numbers are not among the fields: here they would be somebody's mistake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from simulators.paypal.errors import InvalidRequest
from simulators.store import Json

Text = Annotated[str, Field(min_length=1, max_length=127)]
VaultId = Annotated[str, Field(min_length=1, max_length=255, pattern="^[0-9a-zA-Z_-]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Money(_Body):
    """An amount."""

    currency_code: Annotated[str, Field(min_length=3, max_length=3)]
    value: Annotated[str, Field(max_length=32, pattern=r"^((-?[0-9]+)|(-?([0-9]+)?[.][0-9]+))$")]


class AmountWithBreakdown(Money):
    """An order's amount."""

    breakdown: Any = None


class Unit(_Body):
    """What is bought. The simulator knows orders of one unit."""

    reference_id: Annotated[str, Field(min_length=1, max_length=256)] = "default"
    amount: AmountWithBreakdown
    custom_id: Text | None = None
    invoice_id: Text | None = None
    description: Text | None = None
    soft_descriptor: Annotated[str, Field(min_length=1, max_length=22)] | None = None
    items: Any = None
    payee: Any = None
    shipping: Any = None


class Experience(_Body):
    """Where the payer is sent."""

    return_url: str | None = None
    cancel_url: str | None = None
    brand_name: Text | None = None
    locale: str | None = None
    landing_page: Literal["LOGIN", "GUEST_CHECKOUT", "NO_PREFERENCE"] | None = None
    payment_method_preference: Literal["UNRESTRICTED", "IMMEDIATE_PAYMENT_REQUIRED"] | None = None
    shipping_preference: Literal["GET_FROM_FILE", "NO_SHIPPING", "SET_PROVIDED_ADDRESS"] | None = None
    user_action: Literal["CONTINUE", "PAY_NOW"] | None = None


class WalletCredential(_Body):
    """Who starts a payment with a saved wallet."""

    payment_initiator: Literal["CUSTOMER", "MERCHANT"]
    charge_pattern: str | None = None
    usage_pattern: str | None = None
    usage: Literal["FIRST", "SUBSEQUENT", "DERIVED"] | None = None


class Wallet(_Body):
    """A PayPal account, saved or to be asked."""

    vault_id: VaultId | None = None
    experience_context: Experience | None = None
    stored_credential: WalletCredential | None = None
    email_address: Any = None


class CardCredential(_Body):
    """Who starts a payment with a saved card."""

    payment_initiator: Literal["CUSTOMER", "MERCHANT"]
    payment_type: Literal["ONE_TIME", "RECURRING", "UNSCHEDULED"]
    usage: Literal["FIRST", "SUBSEQUENT", "DERIVED"] | None = None
    previous_network_transaction_reference: Any = None


class Verification(_Body):
    """Whether the card's bank is to ask the cardholder."""

    method: Literal["SCA_ALWAYS", "SCA_WHEN_REQUIRED"]


class CardAttributes(_Body):
    """More about a card."""

    verification: Verification | None = None


class Card(_Body):
    """A saved card."""

    vault_id: VaultId
    attributes: CardAttributes | None = None
    stored_credential: CardCredential | None = None
    experience_context: Experience | None = None


class Source(_Body):
    """What the order is paid with."""

    paypal: Wallet | None = None
    card: Card | None = None

    @property
    def vault_id(self) -> str | None:
        """The saved method, if it is one."""
        chosen = self.card or self.paypal
        return chosen.vault_id if chosen else None

    @property
    def experience(self) -> Experience:
        """Where the payer is sent."""
        chosen = self.card or self.paypal
        return (chosen.experience_context if chosen else None) or Experience()


class OrderRequest(_Body):
    """POST /v2/checkout/orders."""

    intent: Literal["CAPTURE", "AUTHORIZE"]
    purchase_units: Annotated[list[Unit], Field(min_length=1, max_length=1)]
    payment_source: Source | None = None
    application_context: Any = None
    payer: Any = None


class CompletionRequest(_Body):
    """POST …/capture and …/authorize of an order."""

    payment_source: Source | None = None


class Patch(_Body):
    """One change to an order."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Any = None


class PatchRequest(RootModel[list[Patch]]):
    """PATCH of an order."""


class CaptureRequest(_Body):
    """POST …/capture of an authorization; without an amount, all of it."""

    amount: Money | None = None
    invoice_id: Text | None = None
    final_capture: bool = False
    note_to_payer: Annotated[str, Field(max_length=255)] | None = None
    soft_descriptor: Annotated[str, Field(max_length=22)] | None = None
    payment_instruction: Any = None


class ReauthorizeRequest(_Body):
    """POST …/reauthorize of an authorization; without an amount, the same again."""

    amount: Money | None = None


class VoidRequest(_Body):
    """POST …/void of an authorization: nothing."""


class RefundRequest(_Body):
    """POST …/refund of a capture; without an amount, all that is left."""

    amount: Money | None = None
    custom_id: Text | None = None
    invoice_id: Text | None = None
    note_to_payer: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    payment_instruction: Any = None


_ISSUES = {
    "missing": "MISSING_REQUIRED_PARAMETER",
    "string_too_long": "INVALID_STRING_LENGTH",
    "string_too_short": "INVALID_STRING_LENGTH",
    "literal_error": "INVALID_PARAMETER_VALUE",
    "too_long": "INVALID_ARRAY_MAX_ITEMS",
    "too_short": "INVALID_ARRAY_MIN_ITEMS",
}


def read(model: type[BaseModel], body: Json | list[Json] | None) -> BaseModel:
    """Read a body; none is an empty one. Raises InvalidRequest, which names the first thing that is wrong."""
    try:
        return model.model_validate({} if body is None else body)
    except ValidationError as error:
        first = error.errors()[0]
        field = "/" + "/".join(str(part) for part in first["loc"])
        issue = _ISSUES.get(first["type"], "INVALID_PARAMETER_SYNTAX")
        raise InvalidRequest(issue, field=field, description=first["msg"]) from error
