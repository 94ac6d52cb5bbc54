"""PaymentIntents: the ways a payment goes when nothing goes wrong, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import stripe

from simulators.control_client import ControlClient
from tests.simulators.stripe.shop import Shop

DAY_S = 24 * 3600


def test_a_good_card_pays_at_once(shop: Shop) -> None:
    intent = shop.pay(metadata={"order": "7"}, capture_method="automatic")

    assert intent["status"] == "succeeded"
    assert (intent["amount_received"], intent["amount_capturable"]) == (1000, 0)
    assert intent["metadata"] == {"order": "7"}
    charge = shop.charge(intent["latest_charge"], "balance_transaction")
    assert (charge["captured"], charge["paid"], charge["amount_captured"]) == (True, True, 1000)
    assert "capture_before" not in charge["payment_method_details"]["card"]
    booked = charge["balance_transaction"]
    assert (booked["amount"], booked["fee"], booked["net"]) == (1000, 59, 941)


def test_without_a_word_capture_is_asynchronous_and_the_balance_follows_later(
    shop: Shop, control: ControlClient
) -> None:
    charge_id = shop.pay()["latest_charge"]

    before = shop.charge(charge_id)["balance_transaction"]
    control.advance_clock(60)

    assert before is None
    assert shop.charge(charge_id)["balance_transaction"].startswith("txn_")


def test_an_intent_is_created_then_confirmed(shop: Shop) -> None:
    created = shop.create()
    confirmed = shop.confirm(created["id"], payment_method="pm_card_mastercard")

    assert created["status"] == "requires_payment_method"
    assert confirmed["status"] == "succeeded"
    assert confirmed["client_secret"] == created["client_secret"]


def test_a_token_becomes_a_payment_method_that_can_be_used_again(shop: Shop) -> None:
    first = shop.create(payment_method="pm_card_visa")
    second = shop.pay(first["payment_method"])

    assert first["status"] == "requires_confirmation"
    assert first["payment_method"] != "pm_card_visa"
    assert second["payment_method"] == first["payment_method"]


def test_a_held_payment_can_be_captured_until_capture_before(shop: Shop, control: ControlClient) -> None:
    held = shop.hold()
    charge = shop.charge(held["latest_charge"])

    assert (held["status"], held["amount_capturable"], held["amount_received"]) == (
        "requires_capture",
        1000,
        0,
    )
    assert (charge["captured"], charge["balance_transaction"]) == (False, None)
    capture_before = charge["payment_method_details"]["card"]["capture_before"]
    assert 7 * DAY_S - 60 < capture_before - control.now() <= 7 * DAY_S


def test_a_partial_capture_lets_the_rest_go(shop: Shop) -> None:
    held = shop.hold()
    captured = shop.capture(held["id"], amount_to_capture=600)
    charge = shop.charge(held["latest_charge"], "balance_transaction")

    assert (captured["status"], captured["amount_received"]) == ("succeeded", 600)
    assert captured["amount_capturable"] == 0
    assert (charge["amount"], charge["amount_captured"], charge["amount_refunded"]) == (1000, 600, 400)
    assert not charge["refunded"]
    # The balance shows the full charge and the reversal of what was not captured.
    assert charge["balance_transaction"]["amount"] == 1000
    [release] = shop.refunds(payment_intent=held["id"], expand=["data.balance_transaction"])["data"]
    assert release["balance_transaction"]["amount"] == -400
    assert release["balance_transaction"]["reporting_category"] == "partial_capture_reversal"


def test_several_captures_need_multicapture(shop: Shop) -> None:
    once = shop.hold()
    often = shop.hold(payment_method_options={"card": {"request_multicapture": "if_available"}})

    with pytest.raises(stripe.InvalidRequestError):
        shop.capture(once["id"], amount_to_capture=300, final_capture=False)
    first = shop.capture(often["id"], amount_to_capture=300, final_capture=False)
    last = shop.capture(often["id"], amount_to_capture=500)

    assert (first["status"], first["amount_capturable"]) == ("requires_capture", 700)
    assert (last["status"], last["amount_received"]) == ("succeeded", 800)
    assert shop.charge(often["latest_charge"])["amount_captured"] == 800


def test_more_than_is_held_cannot_be_captured(shop: Shop) -> None:
    held = shop.hold()

    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.capture(held["id"], amount_to_capture=1001)

    assert refused.value.code == "amount_too_large"
    assert shop.intent(held["id"])["status"] == "requires_capture"


def test_canceling_lets_the_held_money_go(shop: Shop, control: ControlClient) -> None:
    held = shop.hold()
    canceled = shop.cancel(held["id"], cancellation_reason="requested_by_customer")

    assert (canceled["status"], canceled["amount_capturable"]) == ("canceled", 0)
    assert canceled["cancellation_reason"] == "requested_by_customer"
    assert shop.charge(held["latest_charge"])["refunded"]
    assert [line["operation"] for line in control.record()] == ["authorize", "release"]


def test_an_authorization_nobody_captures_expires(shop: Shop, control: ControlClient) -> None:
    held = shop.hold()

    control.advance_clock(7 * DAY_S + 1)

    expired = shop.intent(held["id"])
    assert (expired["status"], expired["cancellation_reason"]) == ("canceled", "automatic")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.capture(held["id"])
    assert refused.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    "again",
    [
        lambda shop, id: shop.confirm(id),
        lambda shop, id: shop.capture(id),
        lambda shop, id: shop.cancel(id),
    ],
    ids=["confirm", "capture", "cancel"],
)
def test_a_payment_that_succeeded_stays_as_it_is(shop: Shop, again: Callable[[Shop, str], object]) -> None:
    paid = shop.pay()

    with pytest.raises(stripe.InvalidRequestError) as refused:
        again(shop, paid["id"])

    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert shop.intent(paid["id"]) == paid


def test_an_intent_shows_its_charge_when_asked(shop: Shop) -> None:
    paid = shop.pay()
    shown = shop.intent(paid["id"], "latest_charge", "payment_method")

    assert shown["latest_charge"]["id"] == paid["latest_charge"]
    assert shown["payment_method"]["card"]["last4"] == "4242"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        shop.intent(paid["id"], "metadata")


def test_a_request_refused_halfway_leaves_no_trace(shop: Shop, control: ControlClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        shop.pay(expand=["nothing"])

    assert (control.record(), control.events()) == ([], [])
    assert shop.client.v1.payment_intents.list().data == []


def test_intents_are_listed_newest_first_in_pages(shop: Shop) -> None:
    ids = [shop.create()["id"] for _ in range(5)]
    list_page = shop.client.v1.payment_intents.list

    first = list_page({"limit": 2}).to_dict()
    rest = list_page({"limit": 5, "starting_after": ids[3]}).to_dict()

    assert ([intent["id"] for intent in first["data"]], first["has_more"]) == (ids[:2:-1], True)
    assert ([intent["id"] for intent in rest["data"]], rest["has_more"]) == (ids[2::-1], False)
    assert [intent.id for intent in list_page({"limit": 2}).auto_paging_iter()] == ids[::-1]
    assert list_page({"created": {"gt": first["data"][0]["created"] + 60}}).data == []


def test_a_customer_must_exist(shop: Shop) -> None:
    customer = shop.client.v1.customers.create({"email": "ann@shop.example"})

    assert shop.pay(customer=customer.id)["customer"] == customer.id
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.pay(customer="cus_nobody")
    assert refused.value.code == "resource_missing"


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"currency": "EUR"}, None, "currency"),
        ({"payment_method_types": ["card"]}, "parameter_unknown", "payment_method_types"),
        (
            {"automatic_payment_methods": {"enable": True}},
            "parameter_unknown",
            "automatic_payment_methods[enable]",
        ),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"return_url": "https://shop.example"}, None, "return_url"),
        ({"payment_method": "pm_card_nosuch"}, "resource_missing", "payment_method"),
        ({"metadata": {"key": "x" * 501}}, None, "metadata"),
        ({"metadata": {"simulate": "no_such_fault"}}, None, "metadata"),
        ({"confirm": True}, "payment_intent_unexpected_state", None),
    ],
)
def test_a_wrong_request_is_refused(
    shop: Shop, params: dict[str, object], code: str | None, param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.create(**params)  # type: ignore[arg-type]

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)


def test_without_named_methods_confirming_needs_a_return_url(shop: Shop) -> None:
    params = {"amount": 100, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True}
    create = shop.client.v1.payment_intents.create
    never = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}

    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        create(params)  # type: ignore[arg-type]
    assert create({**params, "return_url": "https://shop.example"}).status == "succeeded"  # type: ignore[typeddict-item]
    assert create({**params, **never}).status == "succeeded"  # type: ignore[typeddict-item]


def test_a_missing_amount_is_named(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.client.v1.payment_intents.create({"currency": "eur"})  # type: ignore[typeddict-item]

    assert (refused.value.code, refused.value.param) == ("parameter_missing", "amount")


def test_what_does_not_exist_is_404(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.intent("pi_nosuch")

    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    assert "No such payment_intent: 'pi_nosuch'" in str(refused.value)


def test_a_wrong_key_is_401_and_not_repeated_in_full(shop: Shop) -> None:
    with pytest.raises(stripe.AuthenticationError) as refused:
        shop.client.v1.payment_intents.retrieve("pi_1", {}, {"api_key": "sk_test_wrong_key"})

    assert refused.value.http_status == 401
    assert "wrong" not in str(refused.value)


def test_another_api_version_is_refused(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="API version"):
        shop.client.v1.payment_intents.retrieve("pi_1", {}, {"stripe_version": "2020-08-27"})


def test_a_capture_adds_metadata_only_as_far_as_there_is_room(shop: Shop) -> None:
    held = shop.hold(metadata={f"key{n}": "value" for n in range(50)})

    with pytest.raises(stripe.InvalidRequestError, match="up to 50 keys"):
        shop.capture(held["id"], metadata={"one_more": "value"})
    assert shop.capture(held["id"], metadata={"key0": "other"})["metadata"]["key0"] == "other"
