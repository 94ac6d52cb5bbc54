"""What PayPal's answers mean, in our endings: orders, authorizations, captures, refunds.

Rules: `paypal.py` asks, this module only reads. No message, body or field's value of PayPal's is passed on, as
it may quote what we sent; only its machine words and debug ids are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from gateways.exponents import PAYPAL_UNITS
from gateways.paypal_codes import (
    BANK_APPROVED,
    BANK_CODES,
    DO_NOT_TRY_AGAIN,
    STATUS_REASONS,
)
from gateways.protocol import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    DeclineReason,
    Firmness,
    NextAction,
    Operation,
    Outcome,
    Pending,
    Unknown,
)
from messages.money import Money

Kind = Literal["order", "authorization", "capture", "refund"]

CALLED_OFF = ":void"
"""Follows the attempt that called an order off, in the order's `custom_id`: PayPal cannot cancel an order."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One of PayPal's ids with what it names, as all of them look alike: `capture:2GG279541U471931P`."""

    kind: Kind
    id: str

    @classmethod
    def parse(cls, text: str | None) -> Reference | None:
        """Read what was stored, or None if it is none of ours."""
        match = re.fullmatch(r"(order|authorization|capture|refund):([A-Z0-9-]{1,36})", text or "")
        kinds: tuple[Kind, ...] = ("order", "authorization", "capture", "refund")
        return next((cls(kind, match[2]) for kind in kinds if match and match[1] == kind), None)

    @classmethod
    def of(cls, kind: Kind, body: object) -> Reference | None:
        """The reference of what PayPal sent, or None if it has no id."""
        id = dig(body, "id")
        return cls.parse(f"{kind}:{id}") if isinstance(id, str) else None

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class Ready:
    """The payer has approved the order, and PayPal waits for our call to pay it."""


def dig(value: object, *path: str | int) -> Any:
    """What lies at a path within JSON; None if there is no such thing."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def is_about(body: object, reference: Reference) -> bool:
    """Whether an answer is what was asked for: the thing of that id, and an order with what it lists."""
    is_whole = reference.kind != "order" or isinstance(dig(body, "purchase_units", 0), dict)
    return is_whole and dig(body, "id") == reference.id


# --- orders ------------------------------------------------------------------------------------------


def read_order(order: object, reference: Reference, operation: Operation) -> Outcome | Absent | Ready:
    """What an order says about the authorization or sale it stands for."""
    if operation is Operation.SALE:
        payment = dig(order, "purchase_units", 0, "payments", "captures", 0)
        if payment is not None:
            return read_capture(payment, reference)
    else:
        payment = dig(order, "purchase_units", 0, "payments", "authorizations", 0)
        if payment is not None:
            return _read_hold_of(order, payment, reference)
    if called_off_by(order) is not None:
        return _canceled("order_called_off", reference)
    return _read_unpaid(order, reference)


def _read_hold_of(order: object, hold: object, reference: Reference) -> Outcome:
    """The hold an order lists. One that was taken from before it was let go did come about, whoever took it."""
    own = Reference.of("authorization", hold)
    if dig(hold, "status") == "VOIDED" and own is not None and any(map(_is_live, captures_of(order))):
        return Approved(reference=str(own), amount=_amount(hold), capture_before=_ends_at(hold))
    return read_authorization(hold, reference)


def _read_unpaid(order: object, reference: Reference) -> Outcome | Absent | Ready:
    authentication = dig(order, "payment_source", "card", "authentication_result")
    match dig(order, "status"):
        case "CREATED" | "APPROVED" if authentication is not None and not _may_go_on(authentication):
            word = machine_word(dig(authentication, "three_d_secure", "authentication_status"))
            return Declined(
                reason=DeclineReason.AUTHENTICATION_FAILED,
                firmness=Firmness.NEEDS_AUTHENTICATION,
                code=f"three_d_secure_{word}",
                reference=str(reference),
            )
        case "APPROVED":
            return Ready()
        case "CREATED" if authentication is not None:
            return Ready()
        case "PAYER_ACTION_REQUIRED":
            return action_required(order, reference)
        case "CREATED" | "SAVED":
            return Absent(detail="the order was not paid", reference=str(reference))
        case "VOIDED":
            return _canceled("order_VOIDED", reference)
        case status:
            return _unheard_of("order", status, reference)


def is_open(order: object) -> bool:
    """Whether an order that lists no payment is one that can still be paid."""
    return dig(order, "status") in ("CREATED", "SAVED", "APPROVED", "PAYER_ACTION_REQUIRED")


def action_required(body: object, reference: Reference) -> ActionRequired | Unknown:
    """Where the payer must go, from the links of an order or of a refusal."""
    links = dig(body, "links")
    for link in links if isinstance(links, list) else ():
        url = dig(link, "href")
        if dig(link, "rel") in ("payer-action", "approve") and isinstance(url, str):
            action = NextAction(kind="redirect", url=url)
            return ActionRequired(reference=str(reference), action=action)
    return Unknown(detail="the payer must act, and there is no link", reference=str(reference))


def called_off_by(order: object) -> str | None:
    """The attempt of ours that called the order off, if one did."""
    mark = dig(order, "purchase_units", 0, "custom_id")
    return mark.removesuffix(CALLED_OFF) if isinstance(mark, str) and mark.endswith(CALLED_OFF) else None


def is_as_asked(order: object, attempt_id: str, amount: Money, operation: Operation) -> bool:
    """Whether an order is the one we meant: a request id that was used before gives the order made then."""
    intent = "CAPTURE" if operation is Operation.SALE else "AUTHORIZE"
    unit = dig(order, "purchase_units", 0)
    return dig(order, "intent") == intent and dig(unit, "custom_id") == attempt_id and _amount(unit) == amount


def _may_go_on(authentication: object) -> bool:
    """Whether PayPal advises to go on after the cardholder was, or could not be, asked.

    developer.paypal.com/docs/checkout/advanced/customize/3d-secure/response-parameters; that a card outside of
    3-D Secure may be charged is from memory of its table.
    """
    match dig(authentication, "liability_shift"):
        case "POSSIBLE" | "YES":
            return True
        case "NO":
            return dig(authentication, "three_d_secure", "enrollment_status") in ("N", "U", "B")
        case _:
            return False


# --- authorizations and captures ---------------------------------------------------------------------


def read_authorization(authorization: object, reference: Reference) -> Outcome:
    """What an authorization says about itself; `reference` is for as long as it has not succeeded."""
    own = Reference.of("authorization", authorization)
    match dig(authorization, "status"):
        case "CREATED" | "CAPTURED" | "PARTIALLY_CAPTURED" if own is not None:
            ends_at = _ends_at(authorization)
            return Approved(reference=str(own), amount=_amount(authorization), capture_before=ends_at)
        case "PENDING":
            return Pending(reference=str(reference))
        case "DENIED":
            return _declined(authorization, "authorization_DENIED", reference)
        case "VOIDED" | "EXPIRED":
            return voided(authorization, reference)
        case status:
            return _unheard_of("authorization", status, reference)


def voided(authorization: object, reference: Reference) -> Declined:
    """Why a hold is gone: PayPal calls one that ran out VOIDED, too, and it then changed when it ended."""
    status, ended_at = dig(authorization, "status"), _ends_at(authorization)
    changed_at = _time(dig(authorization, "update_time"))
    ran_out = ended_at is not None and changed_at is not None and changed_at >= ended_at
    if not ran_out and status != "EXPIRED":
        return _canceled("authorization_VOIDED", reference)
    return Declined(
        reason=DeclineReason.EXPIRED,
        firmness=Firmness.HARD,
        code=f"authorization_{machine_word(status)}",
        reference=str(reference),
    )


def read_capture(capture: object, reference: Reference | None = None) -> Outcome:
    """What a capture says about itself; `reference` is for as long as it has not succeeded."""
    own = Reference.of("capture", capture)
    known = reference or own
    match dig(capture, "status"):
        case "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED" if own is not None:
            return Approved(reference=str(own), amount=_amount(capture))
        case "PENDING" if known is not None:
            return Pending(reference=str(known))
        case "DECLINED" | "FAILED" | "REVERSED" as status:
            # The last is not in PayPal's files, which name an event for it: the money was taken back.
            return _declined(capture, f"capture_{status}", known)
        case status:
            return _unheard_of("capture", status, known)


def captures_of(order: object) -> list[Any]:
    """The captures an order lists."""
    captures = dig(order, "purchase_units", 0, "payments", "captures")
    return captures if isinstance(captures, list) else []


def capture_by(order: object, attempt_id: str) -> object | None:
    """The capture an attempt of ours made, known by its invoice id."""
    return next((one for one in captures_of(order) if dig(one, "invoice_id") == attempt_id), None)


def captured_by_others(order: object, attempt_id: str, currency: str) -> Money:
    """How much of a hold other attempts have taken. Raises NotExpressible."""
    taken = Money(0, currency)
    for capture in captures_of(order):
        if dig(capture, "invoice_id") != attempt_id and _is_live(capture):
            taken += _amount(capture)
    return taken


def _is_live(capture: object) -> bool:
    return dig(capture, "status") not in ("DECLINED", "FAILED")


def held_amount(authorization: object) -> Money:
    """How much an authorization holds. Raises NotExpressible."""
    return _amount(authorization)


# --- refunds -----------------------------------------------------------------------------------------


def read_refund(refund: object) -> Outcome:
    """What a refund says about itself."""
    own = Reference.of("refund", refund)
    match dig(refund, "status"):
        case "COMPLETED" if own is not None:
            return Approved(reference=str(own), amount=_amount(refund))
        case "PENDING" if own is not None:
            return Pending(reference=str(own))
        case "FAILED" | "CANCELLED" as status:
            return Declined(
                reason=DeclineReason.NOT_REFUNDABLE,
                firmness=Firmness.HARD,
                code=f"refund_{status}",
                reference=str(own) if own else None,
            )
        case status:
            return _unheard_of("refund", status, own)


def refund_by(order: object, attempt_id: str) -> object | None:
    """The refund an attempt of ours made, known by its custom id."""
    refunds = dig(order, "purchase_units", 0, "payments", "refunds")
    listed = refunds if isinstance(refunds, list) else []
    return next((one for one in listed if dig(one, "custom_id") == attempt_id), None)


# --- a no ------------------------------------------------------------------------------------------


def _canceled(code: str, reference: Reference) -> Declined:
    """Given up before its time, by us or by somebody in PayPal's pages."""
    return Declined(
        reason=DeclineReason.CANCELED, firmness=Firmness.HARD, code=code, reference=str(reference)
    )


def _ends_at(authorization: object) -> datetime | None:
    return _time(dig(authorization, "expiration_time"))


def _declined(payment: object, status: str, reference: Reference | None) -> Declined:
    """Read a declined payment: the bank's code if the table has it, else PayPal's; advice may make it firmer."""
    response = dig(payment, "processor_response")
    bank, why = dig(response, "response_code"), dig(payment, "status_details", "reason")
    if bank == BANK_APPROVED:
        bank = None  # it was PayPal that took back what the bank had approved
    code = next((machine_word(word) for word in (bank, why) if word), status)
    reason, firmness = DeclineReason.GENERIC_DECLINE, Firmness.SOFT
    if isinstance(bank, str) and bank:
        reason, firmness = BANK_CODES.get(bank, (DeclineReason.OTHER, Firmness.SOFT))
    elif isinstance(why, str) and why in STATUS_REASONS:
        reason, firmness = STATUS_REASONS[why]
    if dig(response, "payment_advice_code") in DO_NOT_TRY_AGAIN and firmness is not Firmness.HARD:
        reason, firmness = DeclineReason.DO_NOT_RETRY, Firmness.HARD
    known = str(reference) if reference else None
    return Declined(reason=reason, firmness=firmness, code=code, reference=known)


def _unheard_of(kind: Kind, status: object, reference: Reference | None) -> Unknown:
    known = str(reference) if reference else None
    return Unknown(detail=f"the {kind} is {machine_word(status)}, unexpected here", reference=known)


def _amount(body: object) -> Money:
    return PAYPAL_UNITS.from_decimal(dig(body, "amount", "value"), dig(body, "amount", "currency_code"))


def _time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None


def machine_word(value: object) -> str:
    """A word of PayPal's that can be passed on: a code, not a sentence that may quote what we sent."""
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) else "unreadable"
