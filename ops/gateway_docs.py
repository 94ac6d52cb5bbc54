"""Keeps the tables of docs/gateways.md in step with the adapters: what each declares, and its codes for a no.

python -m ops.gateway_docs    write them anew
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from gateways import adyen_codes, paypal_codes, stripe_codes
from gateways.protocol import Capabilities, DeclineReason, Firmness
from gateways.stripe_webhooks import EVENTS as STRIPE_EVENTS
from ops.gateway_settings import AdyenSettings, GatewayBlock, PaypalSettings, StripeSettings

PAGE = Path(__file__).parent.parent / "docs" / "gateways.md"

Verdicts = Mapping[str, tuple[DeclineReason, Firmness]]

_NONE = SecretStr("none")
BLOCKS: Mapping[str, GatewayBlock] = {
    "Stripe": StripeSettings(api_key=_NONE),
    "Adyen": AdyenSettings(api_key=_NONE, merchant_account="none"),
    "PayPal": PaypalSettings(client_id="none", client_secret=_NONE),
}

_HARD_NO = (DeclineReason.NOT_REFUNDABLE, Firmness.HARD)

PAYMENT_CODES: Mapping[str, Verdicts] = {
    "Stripe": stripe_codes.DECLINE_TABLE,
    "Adyen": {
        **adyen_codes.REFUSAL_TABLE,
        **{
            f"raw {code}": (DeclineReason.LOST_OR_STOLEN, Firmness.HARD)
            for code in adyen_codes.LOST_OR_STOLEN
        },
        **{f"advice {code}": (DeclineReason.DO_NOT_RETRY, Firmness.HARD) for code in adyen_codes.NEVER_AGAIN},
        **{
            f"error {code}": (DeclineReason.INVALID_CARD, Firmness.HARD) for code in adyen_codes.NO_SUCH_TOKEN
        },
    },
    "PayPal": {
        **paypal_codes.CAPTURE_ISSUES,
        **paypal_codes.VOID_ISSUES,
        **paypal_codes.BANK_CODES,
        **paypal_codes.STATUS_REASONS,
        **{
            f"advice {code}": (DeclineReason.DO_NOT_RETRY, Firmness.HARD)
            for code in paypal_codes.DO_NOT_TRY_AGAIN
        },
    },
}
"""By gateway: a no to a payment, or to a capture or void of what is held."""

REFUND_CODES: Mapping[str, Verdicts] = {
    "Stripe": {**dict.fromkeys(stripe_codes.NOTHING_TO_REFUND, _HARD_NO), **stripe_codes.REFUND_FAILED},
    "Adyen": {},
    "PayPal": paypal_codes.REFUND_ISSUES,
}
"""By gateway: a no to a refund. Adyen's reasons are not signed, so its are not told apart."""


def tables() -> dict[str, str]:
    """Make every generated part of the page by its name; the same code gives the same text."""
    return {
        "declared": _declared(),
        "declines": _by_verdict(PAYMENT_CODES),
        "refunds": _by_verdict(REFUND_CODES),
        "stripe-events": ", ".join(f"`{event}`" for event in STRIPE_EVENTS) + "\n",
    }


def filled(page: str) -> str:
    """Put the tables where the page has `<!-- table: name -->`, in place of what is there."""
    for name, table in tables().items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        page, found = re.subn(pattern, lambda m, t=table: m[1] + t + m[2], page, flags=re.DOTALL)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"the page has {found} places for the table {name}")
    return page


def _declared() -> str:
    declared = {name: block.open_gateway().capabilities for name, block in BLOCKS.items()}
    lines = [_row("", declared), _row("---", ["---"] * len(declared))]
    columns = [_told(capabilities) for capabilities in declared.values()]
    lines += [_row(what, [column[what] for column in columns]) for what in columns[0]]
    return "".join(lines)


def _told(declared: Capabilities) -> dict[str, str]:
    return {
        "Currencies": str(len(declared.currencies)),
        "A repeat is safe for": f"{declared.replay_window.total_seconds() / 3600:g} hours",
        "Part of a hold can be taken": _yes(declared.partial_capture),
        "A hold can be taken in several parts": _yes(declared.multiple_capture),
        "A refund must fit into one capture": _yes(declared.refunds_by_capture),
        "It can be asked how something ended": _yes(declared.can_be_asked),
    }


def _by_verdict(codes: Mapping[str, Verdicts]) -> str:
    used = {verdict for verdicts in codes.values() for verdict in verdicts.values()}
    lines = [_row("reason", ["firmness", *codes]), _row("---", ["---"] * (len(codes) + 1))]
    for verdict in sorted(used, key=lambda v: (list(DeclineReason).index(v[0]), list(Firmness).index(v[1]))):
        cells = [_codes(code for code, said in of.items() if said == verdict) for of in codes.values()]
        lines.append(_row(verdict[0].value, [verdict[1].value, *cells]))
    return "".join(lines)


def _codes(codes: Iterable[str]) -> str:
    return " ".join(f"`{code}`" for code in sorted(codes))


def _yes(declared: bool) -> str:
    return "yes" if declared else "no"


def _row(first: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([first, *cells])} |\n"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
