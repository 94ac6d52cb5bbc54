"""docs/webhooks.md: the events to subscribe are those that are read, and every answer has its row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from gateways import adyen_webhooks, paypal_webhooks, stripe_webhooks
from ops.settings import WebhookSettings
from webhooks import app
from webhooks.app import FORGED_TOLD_MOST, MAX_BODY
from webhooks.counts import Kind
from webhooks.serving import KEEP_ALIVE_S

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
    (table,) = re.findall(r"^\| count \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", table)) == set(get_args(Kind))


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    bounds = WebhookSettings()

    assert f"more than {MAX_BODY // 1024} KiB" in PAGE
    assert f"did not come within {bounds.request_timeout_s:.0f} s" in PAGE
    assert (
        f"headers within {bounds.request_timeout_s:.0f} s, or the next request within {KEEP_ALIVE_S} s"
        in PAGE
    )
    assert f"has not confirmed it within {bounds.confirm_timeout_s:.0f} s" in PAGE
    assert f"at most {bounds.max_connections}\n  connections" in PAGE
    assert FORGED_TOLD_MOST == 10
