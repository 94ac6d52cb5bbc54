"""docs/webhooks.md: the events to subscribe are those that are read, and every answer has its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateways import adyen_webhooks, paypal_webhooks, stripe_webhooks
from webhooks import app
from webhooks.app import BODY_WITHIN_S, MAX_BODY
from webhooks.serving import MAX_CONNECTIONS, REQUEST_WITHIN_S

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
READ = {
    "stripe": set(stripe_webhooks.EVENTS),
    "adyen": set(adyen_webhooks._OPERATIONS),
    "paypal": set(paypal_webhooks._READINGS),
}


@pytest.mark.parametrize("gateway", READ)
def test_the_events_to_subscribe_are_those_that_are_read(gateway: str) -> None:
    (listed,) = re.findall(rf"<!-- events: {gateway} -->\n(.*?)\n\n", PAGE, re.DOTALL)

    assert set(re.findall(r"`([\w.]+)`", listed)) == READ[gateway]


def test_every_answer_of_the_code_has_its_row() -> None:
    rows = set(re.findall(r"^\| (\d{3})\b", PAGE, re.MULTILINE))

    assert rows == set(re.findall(r"^\| (\d{3}) ", app.__doc__ or "", re.MULTILINE))


def test_every_count_is_explained() -> None:
    counted = set(re.findall(r'counts\["(\w+)"\]', Path(app.__file__).read_text(encoding="utf-8")))
    (table,) = re.findall(r"^\| count \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", table)) == counted


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    assert f"more than {MAX_BODY // 1024} KiB" in PAGE
    assert f"did not come within {BODY_WITHIN_S:.0f} s" in PAGE
    assert f"headers within {REQUEST_WITHIN_S:.0f} s" in PAGE
    assert f"at most {MAX_CONNECTIONS}\n  connections" in PAGE
