"""Stripe's webhooks: whether an event comes from Stripe, and which of our operations it is about.

An event is a hint: Stripe can be asked, so what it says of an ending is not taken from it, only what to look at.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gateways.exponents import STRIPE_UNITS, NotExpressible
from gateways.notice import Forged, Notice, NotUnderstood
from gateways.protocol import Operation
from gateways.stripe_codes import ATTEMPT_MARK, CAPTURE_MARK, CAPTURED_BY_HAND
from messages.ids import AttemptId
from messages.money import Money

SIGNATURE_HEADER = "stripe-signature"
TOLERANCE = timedelta(minutes=5)  # docs.stripe.com/webhooks/signature
_MAX_ID = 128
_EVENT = r"[a-z0-9_.\[\]-]{1,80}"

_INTENT_EVENTS = frozenset(
    f"payment_intent.{what}"
    for what in (
        "amount_capturable_updated",
        "canceled",
        "payment_failed",
        "processing",
        "requires_action",
        "succeeded",
    )
)
_CHARGE_EVENTS = frozenset({"charge.expired"})
_REFUND_EVENTS = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})

_TOLD_ELSEWHERE = frozenset(
    {
        "payment_intent.created",
        "payment_intent.partially_funded",
        *(f"charge.{what}" for what in ("succeeded", "failed", "captured", "pending", "refunded", "updated")),
    }
)
"""Known, and nothing to act upon: another event says it too."""

EVENTS = tuple(sorted(_INTENT_EVENTS | _CHARGE_EVENTS | _REFUND_EVENTS))
"""What the webhook endpoint must be subscribed to; of anything else we only note that it came.

The other events of a charge say what its intent's or refund's own event says too, and would only double the look-ups.
"""

Json = Mapping[str, Any]


# --- who says it -------------------------------------------------------------------------------------


class StripeVerifier:
    """Check the signature of one webhook endpoint; while a secret is rolled, two are active."""

    def __init__(
        self, secrets: Sequence[str], *, tolerance: timedelta = TOLERANCE, livemode: bool | None = None
    ) -> None:
        """With `livemode`, an event of Stripe's other mode is refused although it is signed.

        Raises:
            ValueError: if there is no secret, or an empty one, or no tolerance; the text names none.
        """
        if not secrets or not all(secrets):
            raise ValueError("a Stripe webhook endpoint has at least one secret, and none is empty")
        if tolerance <= timedelta(0):
            raise ValueError("the tolerance must be more than nothing")
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._tolerance = tolerance
        self._livemode = livemode

    async def verify(self, *, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Return if the bytes are Stripe's, and as fresh as they should be (docs.stripe.com/webhooks/signature).

        Raises:
            Forged: no signature fits, or it is from too long ago, or from the future, or of the other mode.
        """
        said_at, signatures = _taken_apart(headers.get(SIGNATURE_HEADER, ""))
        payload = b"%s.%s" % (said_at.encode(), body)
        expected = [hmac.new(secret, payload, hashlib.sha256).hexdigest() for secret in self._secrets]
        # Every pair is compared, so that the time it takes does not tell which one fitted.
        fits = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in signatures]
        if not any(fits):
            raise Forged("no signature fits")
        age = now - datetime.fromtimestamp(int(said_at), UTC)
        if age > self._tolerance:
            raise Forged("signed too long ago")
        if -age > self._tolerance:
            raise Forged("signed in the future")
        if self._livemode is not None and _livemode_of(body) not in (self._livemode, None):
            raise Forged("of the other mode (live or test)")

    async def close(self) -> None:
        """There is nothing to let go."""


def _taken_apart(header: str) -> tuple[str, list[str]]:
    """The time and the `v1` signatures of a header; `v0` and whatever may come are no proof."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,11}", times[0]):
        raise Forged("the signature bears no time")
    signatures = [value for name, _, value in parts if name == "v1"]
    return times[0], [value for value in signatures if re.fullmatch(r"[0-9a-f]{64}", value)]


def _livemode_of(body: bytes) -> object:
    """What the event says of itself; None if it cannot be read: that is for the reader to say."""
    try:
        return _decoded(body).get("livemode")
    except NotUnderstood:
        return None


# --- what it says ------------------------------------------------------------------------------------


def read(body: bytes) -> list[Notice]:
    """Give the one notice of an event, or none where another event says the same.

    Its `operation` is None for what we do not understand.

    Raises:
        NotUnderstood: it is no event of Stripe's, or not about what its type says.
    """
    event = _decoded(body)
    notice_id, kind = event.get("id"), event.get("type")
    if not isinstance(notice_id, str) or not 0 < len(notice_id) <= _MAX_ID:
        raise NotUnderstood("an event without an id")
    if not isinstance(kind, str) or not re.fullmatch(_EVENT, kind):
        raise NotUnderstood("an event without a type")
    told = Notice(gateway="stripe", notice_id=notice_id, event=kind, operation=None)
    # An event with an `account` is about an account connected to ours, which has payments of its own.
    if event.get("object") != "event" or event.get("account") is not None:
        return [told]
    if kind in _TOLD_ELSEWHERE:
        return []
    if kind in _INTENT_EVENTS:
        return [_of_intent(told, _object(event, "payment_intent"))]
    if kind in _CHARGE_EVENTS:
        return [_of_charge(told, _object(event, "charge"))]
    if kind in _REFUND_EVENTS:
        refund = _object(event, "refund")
        return [] if _gave_nothing_back(refund) else [_of_refund(told, refund)]
    return [told]


def _of_intent(told: Notice, intent: Json) -> Notice:
    by_hand = intent.get("capture_method") == CAPTURED_BY_HAND
    operation, mark = Operation.AUTHORIZE if by_hand else Operation.SALE, ATTEMPT_MARK
    moved = "amount_received" if told.event == "payment_intent.succeeded" else "amount_capturable"
    parent = None
    if by_hand and told.event == "payment_intent.succeeded":
        # Without our mark it was captured in the dashboard.
        operation, mark, parent = Operation.CAPTURE, CAPTURE_MARK, _id(intent, "id")
    return Notice(
        gateway=told.gateway,
        notice_id=told.notice_id,
        event=told.event,
        operation=operation,
        attempt_id=_attempt(intent, mark),
        reference=_id(intent, "id"),
        parent_reference=parent,
        amount=_amount(intent, moved),
        came_through=told.event in ("payment_intent.succeeded", "payment_intent.amount_capturable_updated"),
    )


def _of_charge(told: Notice, charge: Json) -> Notice:
    """A charge goes by its intent's name, and has a copy of its metadata."""
    return Notice(
        gateway=told.gateway,
        notice_id=told.notice_id,
        event=told.event,
        operation=Operation.AUTHORIZE,
        attempt_id=_attempt(charge, ATTEMPT_MARK),
        reference=_id(charge, "payment_intent"),
    )


def _of_refund(told: Notice, refund: Json) -> Notice:
    return Notice(
        gateway=told.gateway,
        notice_id=told.notice_id,
        event=told.event,
        operation=Operation.REFUND,
        attempt_id=_attempt(refund, ATTEMPT_MARK),
        reference=_id(refund, "id"),
        parent_reference=_id(refund, "payment_intent"),
        amount=_amount(refund, "amount"),
        came_through=refund.get("status") == "succeeded" and told.event != "refund.failed",
    )


def _gave_nothing_back(refund: Json) -> bool:
    """Whether it only let go what was held and never captured, which Stripe writes down as a refund of its own.

    Nothing moved, so no balance transaction came of it. The rest of a partial capture has one: a look-up tells.
    """
    of_a_hold = refund.get("status") == "succeeded" and refund.get("balance_transaction") is None
    return of_a_hold or refund.get("reason") == "expired_uncaptured_charge"


def _decoded(body: bytes) -> Json:
    try:
        event = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"not JSON, or not such as Stripe's ({type(error).__name__})") from None
    if not isinstance(event, dict):
        raise NotUnderstood("not one JSON object")
    return event


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are told apart: of two values under one, nobody can say which is meant."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _object(event: Json, kind: str) -> Json:
    data = event.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    if not isinstance(found, dict) or found.get("object") != kind or _id(found, "id") is None:
        raise NotUnderstood(f"an event that should be about a {kind}, and is not")
    return found


def _id(item: Json, name: str) -> str | None:
    """An id, or that of an object that was put in its place."""
    value = item.get(name)
    value = value.get("id") if isinstance(value, dict) else value
    return value if isinstance(value, str) and value else None


def _attempt(item: Json, mark: str) -> AttemptId | None:
    metadata = item.get("metadata")
    value = metadata.get(mark) if isinstance(metadata, dict) else None
    return AttemptId(value) if isinstance(value, str) and value else None


def _amount(item: Json, name: str) -> Money | None:
    """What moved; None if nothing did, or in a currency we do not know."""
    currency = item.get("currency")
    if not isinstance(currency, str):
        return None
    try:
        money = STRIPE_UNITS.from_wire(item.get(name), currency)
    except NotExpressible:
        return None
    return money if money.minor else None
