"""What people ask of the books: balances, the story of one payment, and what was announced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from ledger.accounts import Account
from ledger.ledger import Ledger, NotMigrated
from ledger.records import OutboxEvent
from ledger.reports import LOOK_BACK, PAGE, Balance, announced_events, trial_balance
from ledger.states import RefundStatus
from ledger.stories import story
from ledger.verify import verify
from ops.events import follow
from tests.builders import NOON
from tests.ledger import raw
from tests.ledger.rows import an_audit_line, an_event, at, everything, write
from tests.ledger.shop import a_shop, refund, take


@pytest.fixture
def shop(url: str, ledger: Ledger) -> str:
    """Books with a bit of everything in them."""
    a_shop(ledger)
    return url


# --- the trial balance ---


def test_the_trial_balance_sums_every_account_from_the_entries(shop: str) -> None:
    """Four sales of 19.99, one given back 5.00, one not, one about to be given back in full; and a hold."""
    found = {
        (line.account, line.layer): (line.debits, line.credits, line.balance) for line in trial_balance(shop)
    }

    assert found == {
        (Account.GATEWAY_RECEIVABLE, "posted"): (7996, 500, 7496),
        (Account.ORDER_CLEARING, "posted"): (2999, 8496, 5497),
        (Account.REFUND_PAYABLE, "posted"): (1000, 2999, 1999),
        (Account.AUTHORIZATION_HOLD, "memo"): (1999, 0, 1999),
        (Account.AUTHORIZATION_HOLD_CONTRA, "memo"): (0, 1999, 1999),
    }


def test_each_layer_of_the_trial_balance_balances(shop: str) -> None:
    for layer in ("posted", "memo"):
        lines = [line for line in trial_balance(shop) if line.layer == layer]
        assert sum(line.debits for line in lines) == sum(line.credits for line in lines) > 0


def test_gateways_and_currencies_are_told_apart(url: str, ledger: Ledger) -> None:
    take(ledger, "pay_1")
    changes = everything()
    journal = replace(changes.journals[0], source_id="x.a1", gateway="other", currency="JPY")
    write(ledger, journals=[journal])

    found = [(line.gateway, line.currency, line.account.value, line.balance) for line in trial_balance(url)]
    assert found == [
        ("stripe", "EUR", 1100, 1999),
        ("stripe", "EUR", 2100, 1999),
        ("other", "JPY", 1100, 1999),
        ("other", "JPY", 2100, 1999),
    ]


def test_sums_beyond_64_bits_are_told_as_they_are_on_postgresql(
    postgres_url: str, postgres_ledger: Ledger
) -> None:
    journal = everything().journals[0]
    huge = tuple(replace(entry, amount=2**63 - 1) for entry in journal.entries)
    for number in range(3):
        write(postgres_ledger, journals=[replace(journal, source_id=f"x{number}", entries=huge)])

    assert [line.debits + line.credits for line in trial_balance(postgres_url)] == [3 * (2**63 - 1)] * 2


def test_empty_books_have_no_balances(url: str) -> None:
    assert trial_balance(url) == []


def test_a_balance_is_positive_on_the_accounts_normal_side() -> None:
    receivable = Balance(
        account=Account.GATEWAY_RECEIVABLE, gateway="g", currency="EUR", layer="posted", debits=5, credits=7
    )

    assert receivable.balance == -2
    assert replace(receivable, account=Account.ORDER_CLEARING).balance == 2


# --- the story of a payment ---


def test_a_story_tells_everything_about_one_payment_and_nothing_else(shop: str) -> None:
    told = story(shop, "pay_1")

    assert told is not None
    assert told.payment.refunded == 500
    assert [attempt.attempt_id for attempt in told.attempts] == ["pay_1.a1", "ref_1.r1"]
    assert [(found.refund_id, found.status) for found in told.refunds] == [("ref_1", RefundStatus.SUCCEEDED)]
    assert [
        (line.journal_type, line.account.value, line.side, line.amount) for line in told.journal_lines
    ] == [
        ("J30", 2100, "D", 500),
        ("J30", 2200, "C", 500),
        ("J10s", 1100, "D", 1999),
        ("J10s", 2100, "C", 1999),
        ("J31", 2200, "D", 500),
        ("J31", 1100, "C", 500),
    ]
    assert [event.event.event_id for event in told.events] == ["pay_1.e1", "pay_1.e2"]
    assert [event.published_at for event in told.events] == [None, None]
    assert [row.subject for row in told.audit] == ["pay_1", "pay_1.a1", "ref_1", "ref_1.r1"]
    assert told.audit[1].details.keys() == {"journals"}


def test_of_a_payment_that_is_not_there_nothing_is_told(shop: str) -> None:
    assert story(shop, "pay_99") is None
    assert story(shop, "' OR 1=1 --") is None


def test_an_event_is_told_with_the_time_it_was_confirmed(url: str, ledger: Ledger) -> None:
    write(ledger, everything())
    write(ledger, published=[("pay_1", 1)], published_at=at(1.5))

    told = story(url, "pay_1")
    assert told is not None
    assert [event.published_at for event in told.events] == [at(1.5)]
    assert told.events[0].event == an_event()


# --- what was announced ---


def announce(ledger: Ledger, events: list[OutboxEvent], published_at: datetime) -> None:
    """Write events and have them confirmed."""
    write(ledger, events=events)
    write(ledger, published=[event.key for event in events], published_at=published_at)


def numbered(*numbers: int) -> list[OutboxEvent]:
    """Events of one stream."""
    return [an_event(sequence=number) for number in numbers]


def test_announced_events_come_in_the_order_they_were_confirmed(url: str, ledger: Ledger) -> None:
    announce(ledger, numbered(1), at(3))
    announce(ledger, numbered(2, 3), at(1))
    write(ledger, events=numbered(4))
    announce(ledger, numbered(5), at(2))

    found = [(event.event.sequence, event.published_at) for event in announced_events(url, after=NOON)]
    assert found == [(2, at(1)), (3, at(1)), (5, at(2)), (1, at(3))]


def test_only_events_after_the_time_and_of_the_payment_are_given(url: str, ledger: Ledger) -> None:
    announce(ledger, [an_event(), an_event(stream="pay_2")], at(1))
    announce(ledger, [an_event(sequence=2), an_event(stream="pay_2", sequence=2)], at(2))

    later = [event.event.key for event in announced_events(url, after=at(1))]
    of_one = [event.event.key for event in announced_events(url, after=NOON, payment_id="pay_2")]
    assert later == [("pay_1", 2), ("pay_2", 2)]
    assert of_one == [("pay_2", 1), ("pay_2", 2)]


def test_more_events_than_a_page_of_one_moment_all_come(url: str, ledger: Ledger) -> None:
    count = 2 * PAGE + 1
    announce(ledger, numbered(*range(1, count + 1)), at(1))

    found = [event.event.sequence for event in announced_events(url, after=NOON)]
    assert found == list(range(1, count + 1))


def test_only_the_newest_events_are_looked_through(url: str, ledger: Ledger) -> None:
    jump = LOOK_BACK + 2  # a gap in the numbering stands for so many events
    announce(ledger, [an_event()], at(1))
    if not url.startswith("sqlite"):
        raw.run(url, f"ALTER TABLE outbox ALTER position RESTART {jump}")
    announce(ledger, [an_event(stream="pay_2")], at(2))
    if url.startswith("sqlite"):
        raw.run(url, f"UPDATE outbox SET position = {jump} WHERE stream = 'pay_2'")

    assert [found.event.stream for found in announced_events(url, after=NOON)] == ["pay_2"]
    assert len(list(announced_events(url, after=NOON, payment_id="pay_1"))) == 1, (
        "one payment's are all looked at"
    )


def test_a_follower_gets_each_event_once_and_also_what_is_committed_late(url: str, ledger: Ledger) -> None:
    now = datetime.now(UTC)
    announce(ledger, numbered(1, 2), now)
    following = follow(url, since_s=60)
    assert [event.event.sequence for event in islice(following, 2)] == [1, 2]

    announce(ledger, numbered(3), now - timedelta(seconds=5))
    announce(ledger, numbered(4), now + timedelta(seconds=1))

    assert [event.event.sequence for event in islice(following, 2)] == [3, 4]


def test_a_follower_of_many_events_does_not_get_stuck(url: str, ledger: Ledger) -> None:
    now = datetime.now(UTC)
    count = 2 * PAGE + 500
    announce(ledger, numbered(*range(1, count + 1)), now)

    found = [event.event.sequence for event in follow(url, since_s=60, once=True)]
    assert found == list(range(1, count + 1))


def test_a_follower_that_wants_what_is_there_stops_when_there_is_nothing_more(url: str) -> None:
    assert list(follow(url, since_s=60, once=True)) == []


# --- reading ---


def test_reports_read_one_moment_whatever_is_written_meanwhile(url: str, ledger: Ledger) -> None:
    a_shop(ledger)
    meanwhile: list[str] = []

    def write_on(what: str, _done: int) -> None:
        if what not in meanwhile:
            meanwhile.append(what)
            number = 10 + len(meanwhile)
            take(ledger, f"pay_{number}")
            refund(ledger, f"pay_{number}", RefundStatus.SUCCEEDED)

    report = verify(url, progress=write_on)

    assert report.problems == []
    assert report.counts["payments"] == 6
    assert len(meanwhile) > 4
    assert verify(url).counts["payments"] == 6 + len(meanwhile)


def test_a_report_writes_nothing(url: str, ledger: Ledger) -> None:
    write(ledger, audit=[an_audit_line()])
    before = verify(url).counts
    trial_balance(url)
    story(url, "pay_1")

    assert verify(url).counts == before


def test_reports_of_books_that_are_not_there_say_what_to_run(tmp_path: object, database: str) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", database):
        for report in (trial_balance, verify, lambda url: list(announced_events(url, after=NOON))):
            with pytest.raises(NotMigrated, match="payments migrate"):
                report(url)
        with pytest.raises(NotMigrated, match="payments migrate"):
            story(url, "pay_1")
