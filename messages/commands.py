"""Commands: what other services ask of us. A field we do not know is refused, so that a slip is never a default."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from messages.ids import CaptureIdField, OrderIdField, PaymentIdField, RefundIdField
from messages.money import PositiveMoney

GatewayName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=40)]
MetadataValue = Annotated[str, StringConstraints(max_length=500)]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    AfterValidator(lambda entries: dict(sorted(entries.items()))),
    Field(max_length=50, description="Up to 50 strings of yours, handed on to the gateway."),
]


class Message(BaseModel):
    """Frozen, strict, and closed: what every message of ours has in common."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    exchange: ClassVar[str]
    routing_key: ClassVar[str]


class PaymentMethod(Message):
    """A payment method by its token at a gateway. Never a card number."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=255), Field(repr=False)]
    gateway: GatewayName | None = Field(default=None, description="The gateway that issued the token.")
    kind: Annotated[str, StringConstraints(pattern="^[a-z_]{1,32}$")] | None = Field(
        default=None,
        description="What it is, such as `card`, `wallet` or `bank_debit`: routing may ask for it.",
    )


class Context(Message):
    """What is known of the customer's side, for fraud screening."""

    ip: ShortText | None = None
    email: ShortText | None = Field(default=None, repr=False)
    device_id: ShortText | None = None
    billing_country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] | None = None
    shipping_country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] | None = None


class PaymentRequested(Message):
    """Order Service asks us to hold or take money for an order."""

    exchange: ClassVar[str] = "payments.commands"
    routing_key: ClassVar[str] = "payment.requested"

    payment_id: PaymentIdField
    order_id: OrderIdField
    amount: PositiveMoney
    payment_method: PaymentMethod | None = Field(
        default=None, description="Either this or payment_method_id."
    )
    alternatives: tuple[PaymentMethod, ...] = Field(
        default=(),
        max_length=5,
        description="The same method's tokens at other gateways, each with its gateway. Tried in the order that "
        "routing gives, and only after a soft decline or a call that provably never executed.",
    )
    payment_method_id: ShortText | None = Field(default=None, description="A stored payment method.")
    customer_id: ShortText | None = None
    capture: Literal["automatic", "manual"] = Field(
        default="automatic", description="`automatic` takes the money at once, `manual` holds it."
    )
    initiator: Literal["customer", "merchant"] = Field(
        default="customer", description="`merchant`: the customer is not present."
    )
    return_url: Annotated[str, StringConstraints(pattern="^https?://", max_length=2000)] | None = Field(
        default=None, description="Where the customer comes back to after a redirect."
    )
    description: ShortText | None = None
    statement_descriptor: Annotated[str, StringConstraints(min_length=1, max_length=22)] | None = None
    gateway: GatewayName | None = Field(default=None, description="The gateway to use; else routing decides.")
    context: Context | None = None
    metadata: Metadata = Field(default_factory=dict)

    @field_validator("alternatives")
    @classmethod
    def _one_token_a_gateway(
        cls, alternatives: tuple[PaymentMethod, ...], checked: ValidationInfo
    ) -> tuple[PaymentMethod, ...]:
        method = checked.data.get("payment_method")
        named = {method.gateway} if method else set()
        for alternative in alternatives:
            if alternative.gateway is None:
                raise ValueError("every alternative needs its gateway")
            if alternative.gateway in named:
                raise ValueError(f"two tokens for {alternative.gateway}: one for each gateway is enough")
            named.add(alternative.gateway)
        return alternatives

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if (self.payment_method is None) == (self.payment_method_id is None):
            raise ValueError("exactly one of payment_method and payment_method_id is needed")
        if self.alternatives and self.payment_method is None:
            raise ValueError("alternatives need a payment_method they are alternatives to")
        method = self.payment_method
        if method and method.gateway and self.gateway and method.gateway != self.gateway:
            raise ValueError("gateway and payment_method.gateway name two different gateways")
        return self


class CaptureRequested(Message):
    """Order Service asks us to take held money, all that is left or a part."""

    exchange: ClassVar[str] = "payments.commands"
    routing_key: ClassVar[str] = "payment.capture_requested"

    capture_id: CaptureIdField
    payment_id: PaymentIdField
    amount: PositiveMoney | None = Field(default=None, description="Default: all that is left to capture.")
    final: bool = Field(default=True, description="The last capture: what is left of the hold is let go.")


class VoidRequested(Message):
    """Order Service asks us to let a hold go, or to call off a payment that is still under way."""

    exchange: ClassVar[str] = "payments.commands"
    routing_key: ClassVar[str] = "payment.void_requested"

    payment_id: PaymentIdField
    reason: ShortText | None = None


class PaymentActionCompleted(Message):
    """The customer came back from the bank's or the wallet's pages; Order Service hands on what was brought."""

    exchange: ClassVar[str] = "payments.commands"
    routing_key: ClassVar[str] = "payment.action_completed"

    payment_id: PaymentIdField
    brought: Annotated[
        dict[MetadataKey, Annotated[str, StringConstraints(max_length=50_000)]],
        AfterValidator(lambda entries: dict(sorted(entries.items()))),
        Field(max_length=10, repr=False, description="The return address' query, such as `redirectResult`."),
    ] = Field(default_factory=dict)


class RefundRequested(Message):
    """Order Service asks us to give money back, all that is left or a part."""

    exchange: ClassVar[str] = "payments.commands"
    routing_key: ClassVar[str] = "refund.requested"

    refund_id: RefundIdField
    payment_id: PaymentIdField
    amount: PositiveMoney | None = Field(default=None, description="Default: all that is left to refund.")
    reason: ShortText | None = None
    metadata: Metadata = Field(default_factory=dict)


Command = PaymentRequested | CaptureRequested | VoidRequested | PaymentActionCompleted | RefundRequested
"""The closed union of commands; dispatch takes it apart."""

COMMANDS: dict[str, type[Command]] = {
    "PaymentRequested": PaymentRequested,
    "CaptureRequested": CaptureRequested,
    "VoidRequested": VoidRequested,
    "PaymentActionCompleted": PaymentActionCompleted,
    "RefundRequested": RefundRequested,
}
"""Wire name to class; a test keeps it in step with `Command`."""
