"""Gateways' notices through one turn, on SQLite and PostgreSQL: found, taken once, kept while they fit nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery import Delivery
from consumers.inbound import Callback, Dead, read
from consumers.notices import as_json, from_json
from consumers.topology import GATEWAY_CALLBACKS
from consumers.turn import Told
from gateways.notice import Notice, NotUnderstood
from gateways.protocol import Approved, Declined, DeclineReason, Firmness, LookupRequest, Pending
from ledger.records import Found, Trace
from ledger.schema import migrate
from ledger.states import AttemptState, PaymentStatus
from ledger.verify import verify
from messages.callbacks import GatewayCallbackReceived
from messages.ids import AttemptId, PaymentId
from messages.money import Money
from messages.operation import Operation
from tests.builders import NOON, a_payment_requested, answer_to, approved, asked, capabilities, pending
from tests.consumers.test_turn import Desk

TRACELESS: dict[str, Any] = {"attempt_id": None, "reference": None, "parent_reference": None}


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """A fresh ledger; whatever the test did, its books must prove clean."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("database")
    migrate(url)
    desk = Desk(url)
    yield desk
    desk.ledger.close()
    assert verify(url).problems == []


def a_notice(**fields: Any) -> Notice:
    """Stripe says that the sale of `pay_1` came through."""
    defaults: dict[str, Any] = {
        "gateway": "stripe",
        "notice_id": "evt_1",
        "event": "payment_intent.succeeded",
        "operation": Operation.SALE,
        "attempt_id": AttemptId("pay_1.a1"),
    }
    return Notice(**defaults | fields)


def told(*notices: Notice) -> Told:
    return Told(notices=notices or (a_notice(),))


def a_sale_under_way(desk: Desk) -> Any:
    """A payment that is pending at the gateway; gives the call it began with."""
    [call] = desk.turn(asked(a_payment_requested())).calls
    desk.turn(answer_to(call, pending(), is_lookup=False))
    return call


def callbacks(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.rows("SELECT notice_id, state, payment_id FROM callbacks ORDER BY notice_id")


# --- found ---


@pytest.mark.parametrize(
    ("trace", "attempt"),
    [
        ({"attempt_id": "pay_1.a1"}, "pay_1.a1"),
        ({"reference": "pi_1"}, "pay_1.a1"),
        ({"attempt_id": "somebody.elses", "reference": "pi_1"}, "pay_1.a1"),
        ({"reference": "re_unheard_of", "parent_reference": "pi_1"}, None),
        ({"reference": "re_unheard_of", "parent_reference": "pay_1.a1"}, None),
    ],
)
def test_a_notice_leads_to_its_payment(desk: Desk, trace: dict[str, Any], attempt: AttemptId | None) -> None:
    a_sale_under_way(desk)

    looked = Trace(gateway="stripe", **TRACELESS | trace)
    with desk.ledger.turn() as turn:
        found = turn.find([looked])

    assert found == {looked: Found(payment_id=PaymentId("pay_1"), attempt_id=attempt, refund_id=None)}


@pytest.mark.parametrize("trace", [{"reference": "pi_1"}, {"attempt_id": "pay_1.a1"}])
def test_the_same_name_at_another_gateway_is_another_thing(desk: Desk, trace: dict[str, Any]) -> None:
    a_sale_under_way(desk)

    with desk.ledger.turn() as turn:
        assert turn.find([Trace(gateway="adyen", **TRACELESS | trace)]) == {}


# --- taken once ---


def test_a_notice_makes_the_gateway_be_asked_and_told_twice_it_makes_no_difference(desk: Desk) -> None:
    a_sale_under_way(desk)

    first = desk.turn(told(), told())
    again = desk.turn(told())

    [call] = first.calls
    assert isinstance(call.request, LookupRequest)
    assert again.calls == []
    assert callbacks(desk) == [("evt_1", "taken", "pay_1")]
    desk.turn(answer_to(call, approved(), is_lookup=True))
    assert desk.status() is PaymentStatus.CAPTURED


def test_a_turn_that_fails_has_not_taken_the_notice(desk: Desk) -> None:
    a_sale_under_way(desk)
    served = desk.policy
    desk.policy = replace(served, gateways={})  # the gateway is no longer set up here

    with pytest.raises(KeyError):
        desk.turn(told())
    assert callbacks(desk) == []

    desk.policy = served
    assert len(desk.turn(told()).calls) == 1


@pytest.mark.parametrize("notice_first", [True, False])
def test_before_or_after_the_answer_it_is_about_it_ends_the_same(desk: Desk, notice_first: bool) -> None:
    """At a gateway that cannot be asked, so that the notice's own word counts."""
    desk.policy = replace(desk.policy, gateways={"stripe": capabilities(can_be_asked=False)})
    [call] = desk.turn(asked(a_payment_requested())).calls
    says = told(a_notice(reference="pi_1", says=approved()))
    answer = answer_to(call, approved(), is_lookup=False)

    for happening in (says, answer) if notice_first else (answer, says):
        desk.turn(happening)

    story = desk.story()
    assert story.payment.status is PaymentStatus.CAPTURED
    assert [attempt.state for attempt in story.attempts] == [AttemptState.SUCCEEDED]
    assert [line.journal_id for line in story.journal_lines] == ["pay_1.a1/J10s"] * 2
    assert [announced.event.type for announced in story.events] == ["PaymentSucceeded"]


# --- fits nothing ---


def test_what_fits_nothing_waits_and_is_taken_when_it_fits(desk: Desk) -> None:
    desk.turn(told())
    assert callbacks(desk) == [("evt_1", "waiting", None)]
    assert desk.ledger.waiting_callbacks(now=desk.now, limit=9) == []

    a_sale_under_way(desk)
    desk.now += timedelta(seconds=30)
    [row] = desk.ledger.waiting_callbacks(now=desk.now, limit=9)
    result = desk.turn(Told(notices=(from_json(row.notice),), since=row.received_at))

    assert len(result.calls) == 1
    assert callbacks(desk) == [("evt_1", "taken", "pay_1")]
    assert desk.ledger.waiting_callbacks(now=desk.now, limit=9) == []


def test_what_fits_nothing_for_too_long_is_left_to_a_person_once(desk: Desk) -> None:
    desk.turn(told())
    desk.now += timedelta(minutes=15)

    given_up = desk.turn(Told(notices=(a_notice(),), since=NOON))
    again = desk.turn(told())

    assert given_up.unmatched == [("stripe", "evt_1")]
    assert again.unmatched == []
    assert callbacks(desk) == [("evt_1", "unmatched", None)]


# --- written down, and read ---

references = st.none() | st.text(min_size=1, max_size=20)
monies = st.builds(Money, st.integers(0, 2**63 - 1), st.sampled_from(["EUR", "JPY", "KWD"]))
outcomes = st.one_of(
    st.builds(Approved, reference=st.text(min_size=1), amount=monies),
    st.builds(Pending, reference=st.text(min_size=1)),
    st.builds(
        Declined,
        reason=st.sampled_from(DeclineReason),
        firmness=st.sampled_from(Firmness),
        code=st.text(),
        reference=references,
    ),
)
notices = st.builds(
    Notice,
    gateway=st.sampled_from(["stripe", "adyen"]),
    notice_id=st.text(min_size=1),
    event=st.text(min_size=1),
    operation=st.sampled_from(Operation),
    attempt_id=references,
    reference=references,
    parent_reference=references,
    amount=st.none() | monies,
    came_through=st.booleans(),
    undoes=st.booleans(),
    says=st.none() | outcomes,
)


@given(notices)
def test_a_notice_that_waits_is_read_as_it_was_written(notice: Notice) -> None:
    assert from_json(as_json(notice)) == notice


def a_callback(gateway: str = "stripe", **properties: Any) -> Delivery:
    """What the ingestor puts on the bus."""
    callback = GatewayCallbackReceived.of(gateway, b"{}", headers={}, received_at=NOON)
    defaults: dict[str, Any] = {
        "queue": GATEWAY_CALLBACKS,
        "exchange": "payments.callbacks",
        "routing_key": f"callback.{gateway}",
        "body": callback.model_dump_json().encode(),
        "headers": {},
        "content_type": "application/json",
        "message_id": "stripe-1",
        "correlation_id": None,
        "reply_to": None,
        "type": "GatewayCallbackReceived",
        "app_id": None,
        "redelivered": False,
        "tag": 1,
        "generation": 1,
    }
    return Delivery(**defaults | properties)


def reader(*notices: Notice) -> Any:
    return {"stripe": lambda _body: list(notices)}


def test_what_is_not_understood_is_named_and_the_rest_is_acted_upon() -> None:
    known, other = a_notice(), a_notice(notice_id="evt_2", operation=None, event="dispute.created")

    callback = read(a_callback(), reader(known, other))

    assert isinstance(callback, Callback)
    assert (callback.notices, callback.not_understood) == ((known,), "dispute.created")


def test_what_says_nothing_we_need_is_simply_done() -> None:
    callback = read(a_callback(), reader())

    assert isinstance(callback, Callback)
    assert (callback.notices, callback.not_understood) == ((), None)


def not_of_its_form(_body: bytes) -> list[Notice]:
    raise NotUnderstood("not one JSON object")


@pytest.mark.parametrize(
    ("delivery", "readers", "says"),
    [
        (a_callback(), {"stripe": not_of_its_form}, "not one JSON object"),
        (a_callback("adyen"), reader(), "does not serve adyen"),
        (a_callback(body=b"{"), reader(), "not a callback"),
        (a_callback(type="PaymentRequested"), reader(), "only callbacks"),
    ],
)
def test_a_callback_nobody_can_read_is_a_dead_letter_with_its_reason(
    delivery: Delivery, readers: Any, says: str
) -> None:
    dead = read(delivery, readers)

    assert isinstance(dead, Dead)
    assert says in dead.why.message
