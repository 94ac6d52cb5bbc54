"""Names: what our attempts are called at Adyen, and how Adyen's ids are written down here.

Adyen keeps a `reference` of ours with a payment and with each modification, and hands it back in webhooks as
`merchantReference`. A modification made by hand in its customer area carries that of the payment instead, so a
reference has to say by itself what it is a reference of.
"""

from __future__ import annotations

import re

from messages.ids import AttemptId
from messages.operation import Operation

_ID = r"[A-Za-z0-9_-]{1,64}"
_OURS = {
    Operation.AUTHORIZE: re.compile(rf"({_ID}\.a[0-9]{{1,9}})"),
    Operation.CAPTURE: re.compile(rf"({_ID}\.c[0-9]{{1,9}})"),
    # Attempts to let go are numbered together with those to pay, hence the word behind them.
    Operation.VOID: re.compile(rf"({_ID}\.a[0-9]{{1,9}})\.void"),
    Operation.REFUND: re.compile(rf"({_ID}(?:\.[a-z0-9]{{1,24}})?\.r[0-9]{{1,9}})"),
}


def void_called(attempt_id: AttemptId) -> str:
    """What an attempt to let go is called at Adyen; every other attempt goes by its own id."""
    return f"{attempt_id}.void"


def attempt_called(merchant_reference: str, operation: Operation) -> AttemptId | None:
    """The attempt of ours at an operation that a reference names; None: it names something else."""
    found = _OURS[operation].fullmatch(merchant_reference)
    return AttemptId(found[1]) if found else None


def is_ours(reference: str) -> bool:
    """Whether it is a name of ours: those have a dot in them, Adyen's references never."""
    return "." in reference


def of_capture(payment: str, capture: str) -> str:
    """How a capture's reference is kept: with its payment's, as refunds are asked of the payment."""
    return f"{payment}/{capture}"


def payment_of(reference: str) -> str:
    """The pspReference to ask refunds of: that of the payment, whether it was captured apart or not."""
    return reference.partition("/")[0]
