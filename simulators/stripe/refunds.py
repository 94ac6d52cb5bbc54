"""Refunds: made, ended later, and the ones Stripe makes itself for what was authorized and never captured."""

from __future__ import annotations

from typing import Literal, get_args

from simulators.store import Json
from simulators.stripe import balance
from simulators.stripe.account import Account, Step
from simulators.stripe.cards import RefundEnding
from simulators.stripe.errors import InvalidRequest, Refusal
from simulators.stripe.parameters import Params
from simulators.stripe.payment_methods import card_of


def create(account: Account, params: Params) -> Json:
    """Give back what was captured, all of it or `amount`.

    Raises Refusal for more than is left, InvalidRequest for a payment that does not exist.
    """
    charge = _charge_to_refund(account, params)
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise Refusal(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = params.get("amount", left)
    if amount > left:
        raise Refusal(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
            code="amount_too_large",
            param="amount",
        )
    refund = _new(
        account, charge, amount=amount, reason=params.get("reason"), metadata=params.get("metadata", {})
    )
    ending = _ending_of(account, refund, charge)
    if ending in ("pend_then_succeed", "pend_then_fail"):
        refund |= {"status": "pending", "pending_reason": "processing"}
    else:
        refund["balance_transaction"] = balance.book_refund(account, refund)
        account.moved("refund", charge, amount=amount, refund=refund)
    if ending != "succeed":
        account.later(Step.FINISH_REFUND, refund["id"], in_s=account.settle_after_s)
    _set_refunded(account, charge, by=amount)
    return account.save(refund, event="refund.created")


def release(account: Account, charge: Json, *, amount: int, booked: bool, reason: str | None = None) -> None:
    """Let go of what was authorized and will not be captured; `booked` if the balance has it already.

    Stripe shows this as a refund that nobody asked for ("the remaining amount_capturable is automatically
    refunded", docs.stripe.com/api/payment_intents/cancel), so not every refund gave money back.
    """
    refund = _new(account, charge, amount=amount, reason=reason, metadata={})
    if booked:
        refund["balance_transaction"] = balance.book_uncaptured_rest(account, refund)
    account.moved("release", charge, amount=amount, refund=refund)
    _set_refunded(account, charge, by=amount)
    account.save(refund, event="refund.created")


def finish(account: Account, refund: Json) -> None:
    """End a refund as it was to end, some time after it was made, if nobody has decided before."""
    ending = _ending_of(account, refund, account.get("charge", refund["charge"], param="charge"))
    match ending, refund["status"]:
        case ("fail_later", "succeeded") | ("pend_then_fail", "pending"):
            decide(account, refund, "fail")
        case "pend_then_succeed", "pending":
            decide(account, refund, "succeed")


def decide(account: Account, refund: Json, decision: Literal["succeed", "fail"]) -> None:
    """End a pending refund, or let one that succeeded fail. Raises ValueError if it is beyond that."""
    charge = account.get("charge", refund["charge"], param="charge")
    match refund["status"], decision:
        case "pending", "succeed":
            refund |= {"status": "succeeded", "pending_reason": None}
            refund["balance_transaction"] = balance.book_refund(account, refund)
            account.moved("refund", charge, amount=refund["amount"], refund=refund)
            account.save(refund, event="refund.updated")
        case "pending" | "succeeded" as before, "fail":
            refund |= {
                "status": "failed",
                "pending_reason": None,
                "failure_reason": "expired_or_canceled_card",
            }
            if before == "succeeded":
                refund["failure_balance_transaction"] = balance.book_failed_refund(account, refund)
                account.moved("refund_failed", charge, amount=refund["amount"], refund=refund)
            _set_refunded(account, charge, by=-refund["amount"])
            account.save(refund, event="refund.failed")
        case status, _:
            raise ValueError(f"a refund that is {status} cannot {decision}")


def _ending_of(account: Account, refund: Json, charge: Json) -> str:
    """What the refund's own metadata asks for, or its intent's, or its card says. Raises InvalidRequest."""
    intent = account.find("payment_intent", charge["payment_intent"]) or {"metadata": {}}
    _, card = card_of(account, charge["payment_method"])
    metadata = {**intent["metadata"], **refund["metadata"]}
    ending: str = metadata.get("simulate_refund_ending", card.refunds)
    if ending not in get_args(RefundEnding):
        raise InvalidRequest(f"No refund ends so: {ending}", param="metadata")
    return ending


def _charge_to_refund(account: Account, params: Params) -> Json:
    if ("payment_intent" in params) == ("charge" in params):
        raise InvalidRequest(
            "One of the following params should be provided for this request: payment_intent or charge."
        )
    if "charge" in params:
        charge_id = params["charge"]
    else:
        charge_id = account.get("payment_intent", params["payment_intent"], param="payment_intent")[
            "latest_charge"
        ]
    charge = account.get("charge", charge_id, param="charge") if charge_id else None
    if charge is None or not charge["captured"]:
        named = params.get("payment_intent") or params.get("charge")
        raise Refusal(f"This payment ({named}) does not have a successful charge to refund.")
    return charge


def _set_refunded(account: Account, charge: Json, *, by: int) -> None:
    charge["amount_refunded"] += by
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    account.save(charge, event="charge.refunded" if by > 0 else "charge.updated")


def _new(
    account: Account, charge: Json, *, amount: int, reason: str | None, metadata: dict[str, str]
) -> Json:
    return {
        "id": account.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "pending_reason": None,
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
