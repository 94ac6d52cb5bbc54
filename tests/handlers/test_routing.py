"""Routing: who may be tried, in which order, and that the order is the same whenever it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gateways.protocol import Capabilities
from handlers.decision import Known
from handlers.payment_requested import payment_requested
from handlers.requests import token_for
from handlers.routing import Route, Rule, routes
from messages.commands import PaymentRequested
from messages.events import FailureReason, PaymentFailed
from tests.builders import NOON, a_payment_requested, a_policy, asked, capabilities

HERE: Mapping[str, Capabilities] = {
    "stripe": capabilities(currencies=frozenset({"EUR", "USD", "JPY"})),
    "adyen": capabilities(currencies=frozenset({"EUR", "USD"})),
    "paypal": capabilities(currencies=frozenset({"EUR"})),
}

STRIPE_THEN_ADYEN = Rule(gateways={"stripe": 1, "adyen": 0})
ADYEN_THEN_STRIPE = Rule(gateways={"adyen": 1, "stripe": 0})


def method(gateway: str | None, **fields: Any) -> dict[str, Any]:
    """A payment method on the wire; its token says where it was issued."""
    named = {"gateway": gateway} if gateway else {}
    return {"token": f"tok_{gateway}", **named, **fields}


def command(first: str | None, *others: str, kind: str | None = None, **fields: Any) -> PaymentRequested:
    """A payment with tokens at these gateways."""
    how = {"kind": kind} if kind else {}
    return a_payment_requested(
        payment_method=method(first, **how), alternatives=[method(name) for name in others], **fields
    )


def money(minor: int, currency: str) -> dict[str, Any]:
    """An amount on the wire."""
    return {"minor": minor, "currency": currency}


def order(
    payment: PaymentRequested, *rules: Rule, default: str = "stripe", unwell: Iterable[str] = ()
) -> list[str]:
    """The gateways in the order they are tried."""
    found = routes(payment, HERE, rules, default, unwell=frozenset(unwell))
    return [route.gateway for route in found]


# --- who may be tried ---


def test_a_token_is_tried_only_where_it_was_issued() -> None:
    found = routes(command("stripe", "adyen"), HERE, [ADYEN_THEN_STRIPE], "stripe")

    assert found == (
        Route(gateway="adyen", token="tok_adyen"),
        Route(gateway="stripe", token="tok_stripe"),
    )


def test_a_rule_does_not_send_a_payment_where_it_has_no_token() -> None:
    assert order(command("stripe"), ADYEN_THEN_STRIPE) == ["stripe"]


def test_a_stored_method_without_a_token_has_no_route() -> None:
    payment = a_payment_requested(payment_method=None, payment_method_id="pm_stored")

    assert order(payment) == []


def test_a_pinned_gateway_is_the_only_one_whatever_the_rules_say() -> None:
    payment = command("stripe", "adyen", "paypal", gateway="stripe")

    assert routes(payment, HERE, [ADYEN_THEN_STRIPE], "paypal", unwell=frozenset({"stripe"})) == (
        Route(gateway="stripe", token="tok_stripe"),
    )


def test_a_pinned_gateway_takes_the_token_that_is_not_said_to_be_anybodys() -> None:
    assert routes(command(None, gateway="adyen"), HERE, [], "stripe") == (
        Route(gateway="adyen", token="tok_None"),
    )


def test_a_pinned_gateway_takes_its_own_token_first() -> None:
    (only,) = routes(command(None, "adyen", gateway="adyen"), HERE, [], "stripe")

    assert only.token == "tok_adyen"


def test_a_gateway_that_is_not_here_is_left_out() -> None:
    assert order(command("worldpay", "adyen"), Rule(gateways={"worldpay": 1})) == ["adyen"]


def test_a_gateway_that_does_not_take_the_currency_is_left_out() -> None:
    payment = command("paypal", "adyen", "stripe", amount=money(1999, "JPY"))

    assert order(payment, Rule(gateways={"paypal": 1, "adyen": 1})) == ["stripe"]


# --- a token nobody is named for ---


def test_a_token_without_a_gateway_goes_to_the_rules_first_gateway_and_nowhere_else() -> None:
    assert routes(command(None), HERE, [ADYEN_THEN_STRIPE], "paypal") == (
        Route(gateway="adyen", token="tok_None"),
    )


def test_a_token_without_a_gateway_goes_to_the_first_that_is_here_and_takes_the_currency() -> None:
    rule = Rule(gateways={"worldpay": 1, "paypal": 0, "adyen": 0})

    assert order(command(None, amount=money(1999, "USD")), rule, default="stripe") == ["adyen"]


def test_a_token_without_a_gateway_goes_to_the_default_where_no_rule_matches() -> None:
    rule = Rule(gateways={"adyen": 1}, currencies=frozenset({"USD"}))

    assert order(command(None), rule, default="paypal") == ["paypal"]


def test_a_token_without_a_gateway_stays_with_its_gateway_when_that_is_unwell() -> None:
    """Else a failover would try it at a second gateway."""
    assert order(command(None), ADYEN_THEN_STRIPE, unwell=["adyen"]) == ["adyen"]


def test_a_token_without_a_gateway_is_not_meant_for_one_that_has_its_own() -> None:
    payment = command(None, "adyen")
    found = routes(payment, HERE, [ADYEN_THEN_STRIPE], "paypal")

    assert found == (
        Route(gateway="adyen", token="tok_adyen"),
        Route(gateway="stripe", token="tok_None"),
    )


def test_a_token_that_is_meant_for_nobody_is_tried_nowhere() -> None:
    assert routes(command(None, "adyen", "stripe"), HERE, [], "stripe") == (
        Route(gateway="adyen", token="tok_adyen"),
        Route(gateway="stripe", token="tok_stripe"),
    )


@pytest.mark.parametrize("first", ["stripe", None])
@pytest.mark.parametrize("others", [(), ("adyen",), ("paypal", "adyen")])
@pytest.mark.parametrize("rules", [(), (ADYEN_THEN_STRIPE,), (STRIPE_THEN_ADYEN,)])
def test_the_request_to_a_gateway_carries_its_routes_token(
    first: str | None, others: tuple[str, ...], rules: tuple[Rule, ...]
) -> None:
    payment = command(first, *others)
    found = routes(payment, HERE, rules, "stripe")

    assert found
    assert all(token_for(payment, route.gateway) == route.token for route in found)


# --- the order ---


def test_without_a_rule_the_commands_order_holds() -> None:
    assert order(command("paypal", "stripe", "adyen")) == ["paypal", "stripe", "adyen"]


def test_the_first_rule_that_matches_decides() -> None:
    dollars = Rule(gateways={"adyen": 1}, currencies=frozenset({"USD"}))
    payment = command("stripe", "adyen")

    assert order(payment, dollars, STRIPE_THEN_ADYEN, ADYEN_THEN_STRIPE) == ["stripe", "adyen"]
    assert order(command("stripe", "adyen", amount=money(1, "USD")), dollars, STRIPE_THEN_ADYEN) == [
        "adyen",
        "stripe",
    ]


def test_gateways_outside_the_rule_come_after_it_in_the_commands_order() -> None:
    assert order(command("stripe", "paypal", "adyen"), Rule(gateways={"adyen": 1})) == [
        "adyen",
        "stripe",
        "paypal",
    ]


def test_weight_zero_comes_after_every_other_weight_as_written() -> None:
    rule = Rule(gateways={"stripe": 0, "adyen": 0, "paypal": 1})
    orders = {
        tuple(order(command("adyen", "paypal", "stripe", payment_id=f"pay_{n}"), rule)) for n in range(50)
    }

    assert orders == {("paypal", "stripe", "adyen")}


def test_the_share_of_each_gateway_follows_the_weights() -> None:
    rule = Rule(gateways={"stripe": 70, "adyen": 20, "paypal": 10})
    total = 10_000
    orders = [
        order(command("paypal", "adyen", "stripe", payment_id=f"pay_{number}"), rule)
        for number in range(total)
    ]
    first = Counter(names[0] for names in orders)
    second_after_stripe = Counter(names[1] for names in orders if names[0] == "stripe")

    # Five standard deviations of a fair draw at most, and the ids are fixed: it cannot fail by chance.
    assert {name: round(count / total, 1) for name, count in first.items()} == {
        "stripe": 0.7,
        "adyen": 0.2,
        "paypal": 0.1,
    }
    assert abs(first["stripe"] - 7000) < 230
    assert abs(first["adyen"] - 2000) < 200
    assert abs(first["paypal"] - 1000) < 150
    # What remains is shared out by the weights that remain.
    assert abs(second_after_stripe["adyen"] / second_after_stripe.total() - 2 / 3) < 0.03


def test_the_order_of_a_payment_never_changes() -> None:
    """These are written down: another Python, machine or version of ours must find the same."""
    rule = Rule(gateways={"stripe": 1, "adyen": 1, "paypal": 1})

    assert {
        number: order(command("stripe", "adyen", "paypal", payment_id=f"pay_{number}"), rule)
        for number in range(1, 5)
    } == {
        1: ["adyen", "paypal", "stripe"],
        2: ["adyen", "stripe", "paypal"],
        3: ["paypal", "adyen", "stripe"],
        4: ["paypal", "stripe", "adyen"],
    }


def test_the_order_does_not_depend_on_how_the_weights_are_sorted() -> None:
    one = Rule(gateways={"stripe": 5, "adyen": 3, "paypal": 2})
    other = Rule(gateways={"paypal": 2, "adyen": 3, "stripe": 5})

    for number in range(100):
        payment = command("stripe", "adyen", "paypal", payment_id=f"pay_{number}")
        assert order(payment, one) == order(payment, other)


def test_a_gateway_that_is_taken_out_does_not_change_the_others_order() -> None:
    rule = Rule(gateways={"stripe": 5, "adyen": 3, "paypal": 2})

    for number in range(100):
        payment = command("stripe", "adyen", "paypal", payment_id=f"pay_{number}")
        without = {name: able for name, able in HERE.items() if name != "adyen"}
        left = [route.gateway for route in routes(payment, without, [rule], "stripe")]
        assert left == [name for name in order(payment, rule) if name != "adyen"]


def test_an_unwell_gateway_comes_last_and_is_never_left_out() -> None:
    payment = command("stripe", "adyen", "paypal")

    assert order(payment, STRIPE_THEN_ADYEN, unwell=["stripe"]) == ["adyen", "paypal", "stripe"]
    assert order(payment, STRIPE_THEN_ADYEN, unwell=HERE) == ["stripe", "adyen", "paypal"]


# --- what a rule matches ---


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"currencies": {"EUR", "USD"}}, True),
        ({"currencies": {"USD"}}, False),
        ({"countries": {"DE", "AT"}}, True),
        ({"countries": {"FR"}}, False),
        ({"methods": {"card"}}, True),
        ({"methods": {"wallet"}}, False),
        ({"currencies": {"EUR"}, "min_minor": 1999}, True),
        ({"currencies": {"EUR"}, "min_minor": 2000}, False),
        ({"currencies": {"EUR"}, "max_minor": 1999}, True),
        ({"currencies": {"EUR"}, "max_minor": 1998}, False),
        ({"currencies": {"EUR"}, "max_minor": 0}, False),
        ({"currencies": {"EUR"}, "countries": {"DE"}, "methods": {"card"}, "min_minor": 1}, True),
        ({"currencies": {"EUR"}, "countries": {"DE"}, "methods": {"wallet"}, "min_minor": 1}, False),
    ],
)
def test_a_rule_matches_what_it_names(rule: dict[str, Any], matches: bool) -> None:
    sets: dict[str, Any] = {
        name: frozenset(value) if isinstance(value, set) else value for name, value in rule.items()
    }
    payment = command("stripe", kind="card", context={"billing_country": "DE", "shipping_country": "FR"})

    assert Rule(gateways={"adyen": 1}, **sets).matches(payment) is matches


@pytest.mark.parametrize("rule", [{"countries": frozenset({"DE"})}, {"methods": frozenset({"card"})}])
def test_what_is_not_known_matches_no_rule_that_names_it(rule: dict[str, Any]) -> None:
    assert not Rule(gateways={"adyen": 1}, **rule).matches(command("stripe"))
    assert not Rule(gateways={"adyen": 1}, **rule).matches(command("stripe", context={"ip": "192.0.2.1"}))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"gateways": {"stripe": -1, "adyen": 1}}, "a weight is 0 or more"),
        ({"gateways": {}}, "at least one gateway needs a weight above 0"),
        ({"gateways": {"stripe": 0}}, "at least one gateway needs a weight above 0"),
        ({"min_minor": 1}, "min_minor and max_minor need exactly one currency"),
        ({"max_minor": 0}, "min_minor and max_minor need exactly one currency"),
        (
            {"max_minor": 1, "currencies": frozenset({"EUR", "USD"})},
            "min_minor and max_minor need exactly one currency",
        ),
        (
            {"min_minor": 2, "max_minor": 1, "currencies": frozenset({"EUR"})},
            "min_minor is more than max_minor",
        ),
    ],
)
def test_what_is_no_rule_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        Rule(**{"gateways": {"stripe": 1}, **rule})


# --- why there is no route ---


@pytest.mark.parametrize(
    ("payment", "reason", "text"),
    [
        (command("worldpay"), FailureReason.UNKNOWN_GATEWAY, "no gateway worldpay here"),
        (command(None, gateway="worldpay"), FailureReason.UNKNOWN_GATEWAY, "no gateway worldpay here"),
        (command("worldpay", "other"), FailureReason.UNKNOWN_GATEWAY, "no gateway worldpay here"),
        (
            command("paypal", amount=money(1, "JPY")),
            FailureReason.CURRENCY_NOT_SUPPORTED,
            "paypal does not take JPY",
        ),
        (
            command(None, amount=money(1, "JPY")),
            FailureReason.CURRENCY_NOT_SUPPORTED,
            "adyen does not take JPY",
        ),
    ],
)
def test_a_payment_without_a_route_is_told_why(
    payment: PaymentRequested, reason: FailureReason, text: str
) -> None:
    policy = a_policy(gateways=HERE, rules=(Rule(gateways={"paypal": 1}),), default_gateway="adyen")
    decision = payment_requested(Known(), asked(payment), payment, policy, NOON)
    (announcement,) = decision.announcements

    assert isinstance(announcement.event, PaymentFailed)
    assert announcement.event.reason is reason
    assert announcement.event.message.startswith(text)


def test_a_token_is_not_shown() -> None:
    assert "tok_" not in repr(routes(command("stripe"), HERE, [], "stripe"))
