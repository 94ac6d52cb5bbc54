"""The endpoints: what each takes, and what runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simulators.adyen import modifications, payments
from simulators.adyen.account import Account
from simulators.adyen.checks import (
    ANYWHERE,
    CANCEL,
    CAPTURE,
    DETAILS,
    PAYMENT,
    REFUND,
    TECHNICAL_CANCEL,
    Check,
)
from simulators.store import Json

VERSION = "v72"
"""The only version spoken; it is the one the SDK asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint; every one is a POST."""

    verb: str
    """What it is called in faults: `metadata.simulate_<verb>`."""
    path: str
    status: int
    run: Callable[[Account, str, Json], Json]
    takes: dict[str, Check]
    requires: tuple[str, ...] = ("merchantAccount",)

    @property
    def names_account(self) -> bool:
        """Whether the body says for which merchant account it is."""
        return "merchantAccount" in self.requires


def _modifies(
    verb: modifications.Kind, path: str, takes: dict[str, Check], *, requires_amount: bool
) -> Operation:
    return Operation(
        verb=verb,
        path=f"/{VERSION}/payments/{{psp}}/{path}",
        status=201,
        run=partial(modifications.receive, kind=verb),
        takes=takes,
        requires=("merchantAccount", "amount") if requires_amount else ("merchantAccount",),
    )


OPERATIONS = (
    Operation(
        verb="pay",
        path=f"/{VERSION}/payments",
        status=200,
        run=lambda account, psp, body: payments.pay(account, body),
        takes=PAYMENT,
        requires=("merchantAccount", "reference", "amount", "paymentMethod", "returnUrl"),
    ),
    Operation(
        verb="details",
        path=f"/{VERSION}/payments/details",
        status=200,
        run=lambda account, psp, body: payments.hand_in(account, body),
        takes=DETAILS,
        requires=("details",),
    ),
    Operation(
        verb="technical_cancel",
        path=f"/{VERSION}/cancels",
        status=201,
        run=lambda account, psp, body: modifications.receive_technical_cancel(account, body),
        takes=TECHNICAL_CANCEL,
        requires=("merchantAccount", "paymentReference"),
    ),
    Operation(
        verb="payment_methods",
        path=f"/{VERSION}/paymentMethods",
        status=200,
        run=lambda account, psp, body: {"paymentMethods": [{"name": "Cards", "type": "scheme"}]},
        takes=ANYWHERE,
    ),
    _modifies("capture", "captures", CAPTURE, requires_amount=True),
    _modifies("refund", "refunds", REFUND, requires_amount=True),
    _modifies("cancel", "cancels", CANCEL, requires_amount=False),
    _modifies("reversal", "reversals", CANCEL, requires_amount=False),
)
"""Every endpoint."""
