"""docs/gateways.md: its tables are those of the adapters, and it names what each gateway's callbacks need."""

from __future__ import annotations

import re

import pytest

from gateways import adyen_webhooks, paypal_webhooks
from ops.gateway_docs import PAGE, PAYMENT_CODES, REFUND_CODES, filled

TEXT = PAGE.read_text(encoding="utf-8")


def events_under(heading: str) -> set[str]:
    """The vendors' words for events in the paragraph that begins with a gateway's name."""
    (paragraph,) = re.findall(rf"^\*\*{heading}\*\* .*?(?:\n\n|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([A-Z][A-Z_.]{4,})`", paragraph))


def test_the_tables_are_those_of_the_adapters() -> None:
    assert filled(TEXT) == TEXT, "run: python -m ops.gateway_docs"


def test_a_page_that_lacks_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for the table declines"):
        filled(TEXT.replace("<!-- table: declines -->", ""))


@pytest.mark.parametrize("codes", [PAYMENT_CODES, REFUND_CODES])
def test_every_code_is_in_one_row_and_column(codes: dict[str, dict[str, object]]) -> None:
    rows = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
    for column, verdicts in enumerate(codes.values(), start=2):
        shown = [code for row in rows if len(row) == 5 for code in re.findall(r"`(.+?)`", row[column])]
        for code in verdicts:
            assert code in shown


def test_the_events_to_subscribe_to_are_those_that_are_read() -> None:
    assert events_under("Adyen") == set(adyen_webhooks._OPERATIONS)
    assert events_under("PayPal") == set(paypal_webhooks._READINGS)
