"""Commands and callbacks as neighbours and gateways send them, with something in one of their many places."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.fuzz.cards import FORMS, LOOKALIKES, UNTELLABLE, any_sixteen_digits, card, security_code
from tests.webhooks.callers import Adyen, Stripe

MARK = "fuzz"
"""A header that goes with a command wherever it goes, so that its end can be told."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """One message, and what is in it."""

    number: int
    place: str
    shape: str = "as it should be"
    form: str
    scheme: str
    """The scheme, `security code`, or the kind of what only looks like a card number."""
    card: str | None
    """The number that must not be found anywhere; None: there is none, or it is too short to look for."""
    is_forbidden: bool
    body: bytes = b""
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    kind: str = "PaymentRequested"
    gateway: str | None = None
    """Whose callback it is; None: it is a command."""


ROUTES = {
    "PaymentRequested": "payment.requested",
    "RefundRequested": "refund.requested",
    "VoidRequested": "payment.void_requested",
    "CaptureRequested": "payment.capture_requested",
    "PaymentActionCompleted": "payment.action_completed",
}


def a_message(number: int, chance: Random) -> Sent:
    """One message of the kinds there are: three of four are commands, one of five has nothing forbidden in it."""
    sent = Sent(number=number, place="", form="", scheme="", card=None, is_forbidden=True)
    name, text = "note", ""
    dice = chance.random()
    if dice < 0.2:
        sent.is_forbidden = False
        sent.scheme = chance.choice([*LOOKALIKES, UNTELLABLE])
        name, text = (
            ("note", any_sixteen_digits(chance))
            if sent.scheme == UNTELLABLE
            else LOOKALIKES[sent.scheme](chance)
        )
        sent.form = "-"
    elif dice < 0.25:
        sent.scheme, sent.form = "security code", "-"
        name, text = security_code(chance)
    else:
        sent.scheme, sent.card = card(chance)
        sent.form = chance.choice(list(FORMS))
        text = FORMS[sent.form](sent.card, chance)
    if chance.random() < 0.25:
        _callback(sent, name, text, chance)
    else:
        _command(sent, name, text, chance)
    return sent


# --- commands ---

Put = Callable[[Sent, dict[str, Any], str, str], None]


def _in(*path: str) -> Put:
    def put(_: Sent, data: dict[str, Any], name: str, text: str) -> None:
        for part in path[:-1]:
            data = data.setdefault(part, {})
        data[path[-1]] = text

    return put


def _in_header(header: str) -> Put:
    def put(sent: Sent, _: dict[str, Any], name: str, text: str) -> None:
        sent.headers[header] = text

    return put


def _in_property(which: str) -> Put:
    def put(sent: Sent, _: dict[str, Any], name: str, text: str) -> None:
        sent.properties[which] = text

    return put


def _in_metadata(_: Sent, data: dict[str, Any], name: str, text: str) -> None:
    data["metadata"] = {"basket": "b_7", name: text}


def _as_a_name(_: Sent, data: dict[str, Any], name: str, text: str) -> None:
    data["metadata"] = {text: "x"}


def _in_nested_json(_: Sent, data: dict[str, Any], name: str, text: str) -> None:
    data["metadata"] = {"cart": json.dumps({"items": [{"about": {name: text}}]})}


def _in_an_unknown_field(_: Sent, data: dict[str, Any], name: str, text: str) -> None:
    data["card"] = {"holder": "Jo", "list": [1, None, {name: text}]}


def _in_nested_headers(sent: Sent, _: dict[str, Any], name: str, text: str) -> None:
    sent.headers["history"] = [{"queue": "q", name: text}]


PLACES: dict[str, Put] = {
    "metadata": _in_metadata,
    "name in metadata": _as_a_name,
    "JSON in metadata": _in_nested_json,
    "unknown field": _in_an_unknown_field,
    "description": _in("description"),
    "statement_descriptor": _in("statement_descriptor"),
    "customer_id": _in("customer_id"),
    "payment_id": _in("payment_id"),
    "order_id": _in("order_id"),
    "return_url": _in("return_url"),
    "token": _in("payment_method", "token"),
    "email": _in("context", "email"),
    "ip": _in("context", "ip"),
    "currency": _in("amount", "currency"),
    "header": _in_header("note"),
    "header in a header": _in_nested_headers,
    "subject": _in_header("cloudEvents_subject"),
    "CloudEvents id": _in_header("cloudEvents_id"),
    "CloudEvents source": _in_header("cloudEvents_source"),
    "CloudEvents correlationid": _in_header("cloudEvents_correlationid"),
    "message_id": _in_property("message_id"),
    "correlation_id": _in_property("correlation_id"),
    "type": _in_property("type"),
}
NAMED = ("metadata", "JSON in metadata", "unknown field", "header in a header")
"""Places where what it is called comes along."""


def _command(sent: Sent, name: str, text: str, chance: Random) -> None:
    n = sent.number
    sent.kind = chance.choices(list(ROUTES), weights=(6, 1, 1, 1, 1))[0]
    data = _DATA[sent.kind](n)
    sent.headers = {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": f"msg_{n}",
        "cloudEvents_type": sent.kind,
        "cloudEvents_source": "/order-service",
        MARK: f"n{n}",
    }
    sent.properties = {"message_id": f"msg_{n}", "type": sent.kind}
    by_name = sent.scheme == "security code" or not sent.is_forbidden
    sent.place = chance.choice(NAMED if by_name else tuple(PLACES))
    if not sent.is_forbidden:
        sent.kind, sent.headers["cloudEvents_type"], data = (
            "PaymentRequested",
            "PaymentRequested",
            _payment(n),
        )
        sent.place = chance.choice(("metadata", "JSON in metadata"))
    PLACES[sent.place](sent, data, name, text)
    sent.body = _written(sent, data, chance)


def _written(sent: Sent, data: dict[str, Any], chance: Random) -> bytes:
    """Mostly as it should be; else structured, pretty, broken off, or with two fields of a name."""
    body = json.dumps(data, ensure_ascii=chance.random() < 0.5)
    dice = chance.random()
    if dice < 0.8 or not sent.is_forbidden:
        return body.encode()
    if dice < 0.85:
        sent.shape = "on many lines"
        return json.dumps(data, indent=2).encode()
    if dice < 0.9:
        sent.shape = "a field twice"
        return (body[:-1] + ', "order_id": "again"}').encode()
    if dice < 0.95:
        sent.shape = "broken off"
        return body[:-1].encode()
    sent.shape = "structured"
    event = {name.removeprefix("cloudEvents_"): value for name, value in sent.headers.items() if name != MARK}
    sent.properties["content_type"] = "application/cloudevents+json"
    return json.dumps(event | {"data": data}).encode()


def _payment(n: int) -> dict[str, Any]:
    return {
        "payment_id": f"pay_{n}",
        "order_id": f"order_{n}",
        "amount": {"minor": 1999, "currency": "EUR"},
        "payment_method": {"token": "tok_approved", "gateway": "nowhere"},
    }


_DATA: dict[str, Callable[[int], dict[str, Any]]] = {
    "PaymentRequested": _payment,
    "RefundRequested": lambda n: {"refund_id": f"ref_{n}", "payment_id": f"pay_{n}"},
    "VoidRequested": lambda n: {"payment_id": f"pay_{n}", "reason": "why not"},
    "CaptureRequested": lambda n: {"capture_id": f"cap_{n}", "payment_id": f"pay_{n}"},
    "PaymentActionCompleted": lambda n: {"payment_id": f"pay_{n}", "brought": {"redirectResult": "x"}},
}


# --- callbacks ---


def _callback(sent: Sent, name: str, text: str, chance: Random) -> None:
    sent.gateway = chance.choice(("stripe", "adyen"))
    if sent.gateway == "stripe":
        _from_stripe(sent, name, text, chance)
    else:
        _from_adyen(sent, name, text, chance)


def _from_stripe(sent: Sent, name: str, text: str, chance: Random) -> None:
    event = json.loads(Stripe().body(sent.number))
    thing = event["data"]["object"]
    by_name = sent.scheme == "security code" or not sent.is_forbidden
    sent.place = "callback: " + chance.choice(
        ("metadata",) if by_name else ("metadata", "description", "name", "id")
    )
    match sent.place:
        case "callback: metadata":
            thing["metadata"] = {name: text}
        case "callback: description":
            thing["description"] = text
        case "callback: name":
            thing[text] = "x"
        case _:
            thing["id"] = text
    sent.body = json.dumps(event).encode()
    sent.headers = Stripe().headers(sent.body)


def _from_adyen(sent: Sent, name: str, text: str, chance: Random) -> None:
    told = json.loads(Adyen().body(sent.number))
    item = told["notificationItems"][0]["NotificationRequestItem"]
    by_name = sent.scheme == "security code" or not sent.is_forbidden
    sent.place = "callback: " + chance.choice(
        ("additionalData",) if by_name else ("additionalData", "reason")
    )
    if sent.place == "callback: reason":
        item["reason"] = text
    else:
        item["additionalData"][name] = text
    sent.body = json.dumps(told).encode()
    sent.headers = Adyen().headers(sent.body)
