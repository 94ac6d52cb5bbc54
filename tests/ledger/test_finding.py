"""Which payment an id is of: the same on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.finding import find
from ledger.ledger import Ledger
from tests.ledger.rows import an_event, attempt_named, everything, write
from tests.ledger.shop import a_shop

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_ids_of_the_books_are_known(url: str, ledger: Ledger) -> None:
    a_shop(ledger)

    for what, name in (
        ("payment", "pay_1"),
        ("attempt, and idempotency key", "ref_1.r1"),
        ("refund", "ref_1"),
        ("journal", "pay_1.a1/J10s"),
        ("event", "pay_1.e1"),
    ):
        assert (what, name, "pay_1") in {(each.what, each.name, each.payment_id) for each in find(url, name)}


@pytest.mark.parametrize("reference", ["pi_77", "order/pi_77", "capture:pi_77", "pi_77/part"])
def test_a_gateways_id_is_known_whole_or_as_a_part(url: str, ledger: Ledger, reference: str) -> None:
    write(ledger, replace(everything(), new_attempts=[attempt_named("pay_1.a1", reference=reference)]))

    [found] = find(url, "pi_77")

    assert (found.what, found.name, found.payment_id) == ("gateway's id", reference, "pay_1")
    assert find(url, "i_77") == find(url, "pi_7") == []


def test_the_trace_of_a_command_leads_to_what_was_announced(url: str, ledger: Ledger) -> None:
    headers = {"cloudEvents_traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    write(ledger, replace(everything(), events=[an_event(headers=headers)]))

    [found] = find(url, TRACE)

    assert (found.what, found.payment_id) == ("trace", "pay_1")


@pytest.mark.parametrize("name", ["nobody", "%", "_", "dl_", "' OR 1=1 --", "", "f" * 32])
def test_what_nobody_knows_is_nothing(url: str, ledger: Ledger, name: str) -> None:
    a_shop(ledger)

    assert find(url, name) == []
