"""Which gateway a payment goes to, and which come after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from gateways.protocol import Capabilities
from messages.commands import PaymentRequested


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way."""

    gateway: str
    token: str = field(repr=False)


def routes(
    command: PaymentRequested,
    gateways: Mapping[str, Capabilities],
    rules: Sequence[Rule],
    default_gateway: str,
    unwell: AbstractSet[str] = frozenset(),
) -> tuple[Route, ...]:
    """Interim."""
    method = command.payment_method
    if method is None:
        return ()
    name = command.gateway or method.gateway or default_gateway
    if name not in gateways or command.amount.currency not in gateways[name].currencies:
        return ()
    return (Route(gateway=name, token=method.token),)
