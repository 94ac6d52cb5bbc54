"""Adyen's webhooks: whether one comes from Adyen, and what it says, in the words of the service.

Adyen cannot be asked, so a notice says itself how things ended (`Notice.says`). That is built from the eight signed
fields alone; of the rest only a decline's `reason` is read, to colour the text of its code.

| event and success                | operation | says                                                    |
|----------------------------------|-----------|---------------------------------------------------------|
| AUTHORISATION true, false        | authorize | approved, or declined; a sale is told in the same words |
| EXPIRE                           | authorize | declined as expired                                     |
| CAPTURE true, false              | capture   | approved, or declined                                   |
| CAPTURE_FAILED                   | capture   | declined: what had succeeded came to nothing            |
| CANCELLATION true, false         | void      | approved, or declined                                   |
| TECHNICAL_CANCEL true, false     | void      | approved, or declined                                   |
| REFUND true, false               | refund    | approved, or declined                                   |
| REFUND_FAILED, REFUNDED_REVERSED | refund    | declined: what had succeeded came back                  |
| CANCEL_OR_REFUND                 | none      | nothing: which of the two it was is not signed          |
| any other                        | none      | nothing                                                 |
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gateways.adyen_references import attempt_called, of_capture
from gateways.adyen_signature import Signed, digest, items_of, sign, signed_of, verify
from gateways.exponents import ADYEN_UNITS, NotExpressible
from gateways.notice import Forged, Notice, NotUnderstood
from gateways.protocol import Approved, Declined, DeclineReason, Firmness, Operation, Outcome
from messages.money import Money

GATEWAY = "adyen"

# --- is it Adyen's? ----------------------------------------------------------------------------------


class AdyenVerifier:
    """Lets a webhook in when name and password are right, every item is signed, and for our merchant account."""

    def __init__(
        self, *, hmac_keys: Sequence[str], merchant_account: str, username: str, passwords: Sequence[str]
    ) -> None:
        """Keys in hex as Adyen shows them; several keys and passwords while they are being changed.

        Raises:
            ValueError: if a key is not hex, or one of the four is missing; the text names no secret.
        """
        if not (
            hmac_keys and all(hmac_keys) and merchant_account and username and passwords and all(passwords)
        ):
            raise ValueError("Adyen's webhooks need HMAC keys, a merchant account, a user name and passwords")
        try:
            for key in hmac_keys:
                sign("", key)
        except ValueError:
            raise ValueError("an HMAC key of Adyen's webhooks is not hex") from None
        self._keys = tuple(hmac_keys)
        self._merchant_account = merchant_account
        self._credentials = [_hashed(f"{username}:{password}".encode()) for password in passwords]

    async def verify(self, *, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Return if the webhook is authentic. There is no time among what is signed, so `now` is not looked at.

        Raises:
            Forged: if anything is missing or wrong, be it in one item of many.
        """
        if not self._knows(headers.get("authorization", "")):
            raise Forged("user name or password is missing or wrong")
        try:
            items = items_of(body)
        except NotUnderstood as error:
            raise Forged("not of the form in which Adyen signs") from error
        if not all(verify(item, self._keys) for item in items):
            raise Forged("an item is not signed, or not with a key of ours")
        if any(signed_of(item).merchant_account != self._merchant_account for item in items):
            raise Forged("an item is for another merchant account")

    async def close(self) -> None:
        """Nothing is held."""

    def _knows(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            shown = _hashed(b64decode(encoded.strip(), validate=True))
        except ValueError:
            return False
        # Hashed, so that neither length nor content shows in the time; every one is tried, as with the keys.
        fits = [hmac.compare_digest(shown, known) for known in self._credentials]
        return any(fits)


def _hashed(credentials: bytes) -> bytes:
    return hashlib.sha256(credentials).digest()


# --- what does it say? -------------------------------------------------------------------------------

_OPERATIONS = {
    "AUTHORISATION": Operation.AUTHORIZE,
    "EXPIRE": Operation.AUTHORIZE,
    "CAPTURE": Operation.CAPTURE,
    "CAPTURE_FAILED": Operation.CAPTURE,
    "CANCELLATION": Operation.VOID,
    "TECHNICAL_CANCEL": Operation.VOID,
    "REFUND": Operation.REFUND,
    "REFUND_FAILED": Operation.REFUND,
    "REFUNDED_REVERSED": Operation.REFUND,
}

_ENDINGS = {
    "AUTHORISATION": (DeclineReason.GENERIC_DECLINE, Firmness.SOFT),
    "EXPIRE": (DeclineReason.EXPIRED, Firmness.HARD),
    "REFUND": (DeclineReason.NOT_REFUNDABLE, Firmness.HARD),
    "REFUND_FAILED": (DeclineReason.OTHER, Firmness.SOFT),
}
"""Why, as far as that is signed; what is not here is `OTHER`, and for good."""

_FAILURES = frozenset({"EXPIRE", "CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED"})
"""Their `success` is that of the failure, and true (Webhooks v1; docs.adyen.com/online-payments/refund)."""

_UNDOES = _FAILURES - {"EXPIRE"}
"""Told of what had succeeded before, though the webhook that said so may come later."""

_IS_REFERENCE = re.compile(r"[A-Za-z0-9]{8,32}")
"""16 characters as a rule."""


def read(body: bytes) -> list[Notice]:
    """Give the notices of a webhook that was verified, one for each item.

    Raises:
        NotUnderstood: if it is not of Adyen's form, or an outcome lacks what it needs; whole, so that no item is lost.
    """
    return [_notice(item) for item in items_of(body)]


def _notice(item: Mapping[str, Any]) -> Notice:
    signed = signed_of(item)
    operation = _operation(signed)
    told = Notice(
        gateway=GATEWAY,
        notice_id=digest(signed),
        event=_word(signed.event_code),
        operation=operation,
        amount=_amount(signed),
    )
    if operation is None:
        return told
    _check(signed)
    reference = _reference(signed, operation)
    return replace(
        told,
        attempt_id=attempt_called(signed.merchant_reference, operation),
        reference=reference,
        parent_reference=_parent(signed, operation),
        undoes=signed.event_code in _UNDOES,
        says=_says(signed, reference, item.get("reason")),
    )


def _operation(signed: Signed) -> Operation | None:
    if signed.event_code in _FAILURES and signed.success != "true":
        return None  # a failure that did not happen; nothing says what else that would mean
    return _OPERATIONS.get(signed.event_code)


def _check(signed: Signed) -> None:
    """See that it can be told which operation it is about.

    The eight values were signed joined by colons, and nothing is escaped: with a colon in another field than our
    own reference, what was signed could be taken apart in two ways.
    """
    if ":" in "".join(signed._replace(merchant_reference="")):
        raise NotUnderstood(f"{_word(signed.event_code)} with a colon where none belongs")
    if not _IS_REFERENCE.fullmatch(signed.psp_reference):
        raise NotUnderstood(f"{_word(signed.event_code)} without a pspReference")
    if signed.original_reference and not _IS_REFERENCE.fullmatch(signed.original_reference):
        raise NotUnderstood(f"{_word(signed.event_code)} with an originalReference that cannot be read")


def _reference(signed: Signed, operation: Operation) -> str:
    """The id of the operation as the adapter's own answers give it."""
    psp, original = signed.psp_reference, signed.original_reference
    match operation:
        case Operation.AUTHORIZE:
            return original or psp  # EXPIRE may have an id of its own beside that of the payment
        case Operation.CAPTURE if original and attempt_called(signed.merchant_reference, operation):
            return of_capture(original, psp)
        case Operation.CAPTURE:
            # Not asked for by us: part of a sale, which goes by its payment, or made by hand in the customer area.
            return original or psp
        case _:
            return psp


def _parent(signed: Signed, operation: Operation) -> str | None:
    if operation is Operation.AUTHORIZE:
        return None
    # A technical cancel that found nothing goes by the name of the payment, which has no other then.
    return signed.original_reference or attempt_called(signed.merchant_reference, Operation.AUTHORIZE)


def _says(signed: Signed, reference: str, why: object) -> Outcome:
    match signed.success:
        case "true" if signed.event_code not in _FAILURES:
            amount = _amount(signed)
            if amount is None:
                raise NotUnderstood(f"{_word(signed.event_code)} without an amount that can be read")
            return Approved(reference=reference, amount=amount)
        case "true" | "false":
            reason, firmness = _ENDINGS.get(signed.event_code, (DeclineReason.OTHER, Firmness.HARD))
            code = _coloured(why, signed.event_code)
            return Declined(reason=reason, firmness=firmness, code=code, reference=reference)
        case _:
            raise NotUnderstood(f"{_word(signed.event_code)} neither a success nor a failure")


def _amount(signed: Signed) -> Money | None:
    if not re.fullmatch(r"[0-9]{1,18}", signed.value):
        return None
    try:
        return ADYEN_UNITS.from_wire(int(signed.value), signed.currency)
    except NotExpressible:
        return None


def _coloured(why: object, event_code: str) -> str:
    """The reason Adyen gives, if it is a few plain words: nobody signed it, and a card number must not pass."""
    is_plain = isinstance(why, str) and re.fullmatch(r"(?!.*[0-9]{4})[A-Za-z0-9 :.,'_-]{1,64}", why)
    return str(why).strip() or event_code if is_plain else event_code


def _word(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) else "unreadable"
