"""A hold comes to its end by the clock: announced ahead, then let go at the gateway and in the books."""

from __future__ import annotations

from pathlib import Path

from tests.street.street import street

LASTS_S, WARNING_S = "6", "3"


def test_a_hold_nobody_takes_is_announced_ahead_and_let_go_at_its_end(tmp_path: Path) -> None:
    """At Adyen, which neither says how long a hold is good nor can be asked about it."""
    settings = {
        "PAYMENTS_WORKER__HOLD_LASTS_S": LASTS_S,
        "PAYMENTS_WORKER__EXPIRY_WARNING_S": WARNING_S,
    }
    with street(tmp_path, **settings) as place:
        place.pay("adyen", "nobody-takes-it", capture="manual")
        place.await_event("nobody-takes-it", "PaymentExpired")

        assert place.kinds("nobody-takes-it") == ["PaymentAuthorized", "PaymentExpiring", "PaymentExpired"]
        assert place.moved("adyen", "nobody-takes-it") == [("authorize", 10_000), ("void", 10_000)]
        assert place.problems() == []


def test_a_hold_that_is_taken_in_time_does_not_lapse(tmp_path: Path) -> None:
    settings = {
        "PAYMENTS_WORKER__HOLD_LASTS_S": LASTS_S,
        "PAYMENTS_WORKER__EXPIRY_WARNING_S": WARNING_S,
    }
    with street(tmp_path, **settings) as place:
        place.pay("adyen", "taken", capture="manual")
        place.await_event("taken", "PaymentExpiring")
        place.capture("in-time", "taken")
        place.await_event("in-time", "PaymentSucceeded")
        place.pay("adyen", "later", capture="manual")
        place.await_event("later", "PaymentExpired")

        assert place.kinds("taken") == ["PaymentAuthorized", "PaymentExpiring", "PaymentSucceeded"]
        assert place.problems() == []
