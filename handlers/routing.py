"""Which gateway a payment goes to, and which come after it: rules as values, asked before each of its attempts.

The same payment gets the same order whenever and wherever it is asked, so that a second worker, or the same one
after a crash, goes on where the first one stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import sha256

from gateways.protocol import Capabilities
from messages.commands import PaymentMethod, PaymentRequested
from messages.ids import PaymentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which payments it is about, and how these are shared out among gateways. An empty set takes any."""

    gateways: Mapping[str, int]
    """Name to weight. Of the weights' sum, its own is a gateway's share; weight 0 comes only after the others."""
    currencies: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    """Billing countries (ISO 3166-1 alpha-2). A payment whose country is not known matches no rule that names one."""
    methods: frozenset[str] = frozenset()
    """Kinds of payment method. A method whose kind is not known matches no rule that names one."""
    min_minor: int | None = None
    """Smallest amount, inclusive, in minor units of the rule's one currency."""
    max_minor: int | None = None
    """Largest amount, inclusive, in minor units of the rule's one currency."""

    def __post_init__(self) -> None:
        if any(weight < 0 for weight in self.gateways.values()):
            raise ValueError("a weight is 0 or more")
        if not any(self.gateways.values()):
            raise ValueError("at least one gateway needs a weight above 0")
        if self.min_minor is None and self.max_minor is None:
            return
        if len(self.currencies) != 1:
            # 1000 is ten euros and a thousand yen: without its currency a bound means nothing.
            raise ValueError("min_minor and max_minor need exactly one currency")
        if self.min_minor is not None and self.max_minor is not None and self.min_minor > self.max_minor:
            raise ValueError("min_minor is more than max_minor")

    def matches(self, command: PaymentRequested) -> bool:
        """Whether the rule is about this payment."""
        amount, method = command.amount, command.payment_method
        country = command.context.billing_country if command.context else None
        kind = method.kind if method else None
        return (
            (not self.currencies or amount.currency in self.currencies)
            and (not self.countries or country in self.countries)
            and (not self.methods or kind in self.methods)
            and (self.min_minor is None or amount.minor >= self.min_minor)
            and (self.max_minor is None or amount.minor <= self.max_minor)
        )

    def order(self, payment_id: PaymentId) -> list[str]:
        """Put the gateways in order for one payment, by a chance that follows the weights."""
        # By name: the order must not change for a payment under way because somebody sorted the settings.
        left = {name: weight for name, weight in sorted(self.gateways.items()) if weight > 0}
        drawn: list[str] = []
        while left:
            name = _draw(left, seed=f"route:{payment_id}:{len(drawn)}")
            drawn.append(name)
            del left[name]
        return drawn + [name for name, weight in self.gateways.items() if weight == 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A gateway that can be tried, and the token by which it knows the payment method."""

    gateway: str
    token: str = field(repr=False)


def routes(
    command: PaymentRequested,
    gateways: Mapping[str, Capabilities],
    rules: Sequence[Rule],
    default_gateway: str,
    unwell: AbstractSet[str] = frozenset(),
) -> tuple[Route, ...]:
    """Put the gateways that can take this payment in the order they are to be tried.

    Left out are gateways that are not here, that do not take the currency, or for which the command has no token.
    Where nothing is left, the first gateway that was named or meant is the one to say why: it is one of the first two.

    Args:
        unwell: gateways that come last just now. They stay, for else nobody would notice that they are well again.
    """
    usable = {name for name, able in gateways.items() if command.amount.currency in able.currencies}
    if command.gateway is not None:
        offered = _pinned(command, command.gateway)
        preferred: list[str] = []
    else:
        rule = next((rule for rule in rules if rule.matches(command)), None)
        preferred = rule.order(command.payment_id) if rule else []
        offered = _offered(command, [name for name in preferred if name in usable], default_gateway)
    ordered = [name for name in preferred if name in offered]
    ordered += [name for name in offered if name not in preferred]
    ordered.sort(key=lambda name: name in unwell)
    return tuple(Route(gateway=name, token=offered[name]) for name in ordered if name in usable)


def _pinned(command: PaymentRequested, gateway: str) -> dict[str, str]:
    """The one gateway the command insists on: by the token issued there, else by the one that is not said to be."""
    methods = _methods(command)
    for issuer in (gateway, None):
        for method in methods:
            if method.gateway == issuer:
                return {gateway: method.token}
    return {}


def _offered(command: PaymentRequested, preferred: Sequence[str], default_gateway: str) -> dict[str, str]:
    """Gateway to token, in the command's order.

    A token is good only where it was issued. Where that is not said, it is taken to be meant for one gateway and is
    never tried at a second: the first preferred one that has no token of its own, else the default.
    """
    methods = _methods(command)
    offered: dict[str, str] = {}
    for method in methods:
        if method.gateway is not None:
            offered[method.gateway] = method.token
            continue
        meant = next((name for name in preferred if not _names(methods, name)), default_gateway)
        if not _names(methods, meant):
            offered[meant] = method.token
    return offered


def _methods(command: PaymentRequested) -> tuple[PaymentMethod, ...]:
    return () if command.payment_method is None else (command.payment_method, *command.alternatives)


def _names(methods: Sequence[PaymentMethod], gateway: str) -> bool:
    return any(method.gateway == gateway for method in methods)


def _draw(weights: Mapping[str, int], *, seed: str) -> str:
    """Draw one name. Whole numbers and SHA-256 only: the same everywhere, today and in the next Python."""
    point = int.from_bytes(sha256(seed.encode()).digest()) % sum(weights.values())
    for name, weight in weights.items():
        if point < weight:
            return name
        point -= weight
    raise AssertionError("the point lies below the sum of the weights")
