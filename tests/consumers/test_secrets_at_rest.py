"""What a payment is made with is nowhere in the database: not the token, nor the customer, nor what the bank gave."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from gateways.protocol import ActionRequired, AuthorizeRequest, LookupRequest, NextAction
from handlers.decision import Asked, TimerDue
from ledger.encryption import Key, Keyring
from ledger.errors import CannotDecrypt, KeyMissing
from ledger.key_ceremony import Asker, KeyInUse, make_current, retire
from ledger.key_uses import KeyUse, count_uses
from ledger.ledger import Ledger
from ledger.rotation import Rotated, rotate
from ledger.schema import migrate
from ledger.verify import verify
from messages.ids import AttemptId, PaymentId
from tests.builders import (
    NOON,
    a_payment_requested,
    a_policy,
    a_refund_requested,
    an_action_completed,
    asked,
    capabilities,
)
from tests.consumers.test_turn import MINUTE, Desk, answered, only_call
from tests.consumers.test_turn_notices import a_notice, told
from tests.keys import KEY
from tests.ledger import raw
from tests.servers import OwnPostgres, Postgres

SECRETS = {
    "token": "pm_1PgafmB7WZ01zgkW6dKueIc5",
    "token elsewhere": "8415718944949568",
    "customer": "cus_QfWzXyGeheim",
    "client secret": "pi_1_secret_JxZ7CqNeverShown",
    "link": "https://bank.example/3ds?payload=Z2VoZWltZXIgTGluaw",
    "brought": "eyJicm91Z2h0IjoiZ2VoZWltIn0",
    "note": "for Erika Mustermann only",
}
SECOND = Key(b"another one for tests, no secret")
BOTH = Keyring(lambda: [KEY, SECOND])
ASKER = Asker(actor="operator:ada", reason="a test")

Bytes = Callable[[], bytes]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Empty books on either database."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("database")
    migrate(url)
    return url


@pytest.fixture
def desk(url: str) -> Iterator[Desk]:
    """A worker's turns on them; whatever the test did, the books must prove clean."""
    desk = Desk(url)
    desk.policy = a_policy(gateways={"stripe": capabilities()})
    yield desk
    desk.ledger.close()
    assert verify(url).problems == []


@pytest.fixture
def stored(url: str, request: pytest.FixtureRequest) -> Bytes:
    """Everything that the database keeps: its files, or a dump, with binary columns as their bytes."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return lambda: b"".join(part.read_bytes() for part in file.parent.glob("ledger.db*"))
    server: Postgres = request.getfixturevalue("postgres")
    return lambda: _dumped(server, url)


def _dumped(server: Postgres, url: str) -> bytes:
    if not isinstance(server, OwnPostgres):
        pytest.skip("pg_dump is taken from a server of our own")
    parsed = make_url(url)
    where = ["--host", str(parsed.host), "--port", str(parsed.port), "--username", str(parsed.username)]
    done = subprocess.run(
        [server.program("pg_dump"), *where, "--inserts", str(parsed.database)],
        env={**os.environ, "PGPASSWORD": str(parsed.password)},
        capture_output=True,
        check=True,
    )
    hexadecimal = [line for line in done.stdout.split(b"'") if line.startswith(rb"\x")]
    return done.stdout + b"".join(bytes.fromhex(part[2:].decode()) for part in hexadecimal)


def found_in(content: bytes) -> set[str]:
    """Which of the secrets, and of what may be seen, are in some bytes."""
    visible = {"order": "order-of-the-drill", "redirect": '"type": "redirect"'}
    return {name for name, value in (SECRETS | visible).items() if value.encode() in content}


VISIBLE = {"order", "redirect"}


def let_it_all_happen(desk: Desk) -> None:
    """A payment that the bank wants confirmed, its callback, its refund: each with what nobody may read."""
    command = a_payment_requested(
        order_id="order-of-the-drill",
        payment_method={"gateway": "stripe", "token": SECRETS["token"]},
        alternatives=[{"gateway": "adyen", "token": SECRETS["token elsewhere"]}],
        customer_id=SECRETS["customer"],
    )
    call = only_call(desk.turn(asked(command)))
    action = NextAction(kind="redirect", url=SECRETS["link"], client_secret=SECRETS["client secret"])
    desk.turn(answered(call, ActionRequired(reference="pi_1", action=action)))
    back = an_action_completed(brought={"redirectResult": SECRETS["brought"]})
    look_up = only_call(desk.turn(asked(back, message_id="msg_2")))
    assert isinstance(look_up.request, LookupRequest)
    assert look_up.request.customer_brought == {"redirectResult": SECRETS["brought"]}
    desk.turn(answered(look_up))
    desk.turn(told(a_notice()))
    refund = a_refund_requested(reason=SECRETS["note"])
    desk.turn(answered(only_call(desk.turn(asked(refund, message_id="msg_3")))))


def uses(ledger: Ledger) -> list[KeyUse]:
    """Which keys are used where."""
    with ledger.upkeep(writes=False) as bulk:
        return count_uses(bulk)


def keys_used(ledger: Ledger) -> set[str | None]:
    """The keys that are used anywhere."""
    return {use.key_id for use in uses(ledger)}


def rotated(ledger: Ledger, key: Key = SECOND) -> Rotated:
    """A rotation that nobody disturbs."""
    return rotate(ledger, key.key_id, asker=ASKER, clock=lambda: NOON, sleep=lambda _: None)


def a_paid_one(number: int = 1) -> Asked:
    """A payment by a token that nobody may read."""
    command = a_payment_requested(
        payment_id=f"pay_{number}",
        order_id=str(number),
        payment_method={"gateway": "stripe", "token": SECRETS["token"]},
    )
    return asked(command, message_id=f"msg_{number}")


def unencrypt(url: str, one: Asked) -> None:
    """Have a payment's rows as an earlier version wrote them."""
    raw.run(
        url,
        f"UPDATE payments SET request = '{one.body}', request_hash = '{one.body_hash}'"
        f" WHERE payment_id = '{one.payment_id}'",
        f"UPDATE inbox SET body_hash = '{one.body_hash}' WHERE message_id = '{one.message_id}'",
    )


def test_no_secret_is_in_the_database_whatever_has_happened(desk: Desk, stored: Bytes) -> None:
    let_it_all_happen(desk)

    assert found_in(stored()) == VISIBLE
    assert keys_used(desk.ledger) == {KEY.key_id}
    assert {use.place for use in uses(desk.ledger)} == {
        "payments.request",
        "payments.request_hash",
        "refunds.request",
        "refunds.request_hash",
        "attempts.brought",
        "inbox.body_hash",
        "outbox.body",
    }


def test_the_gateway_is_asked_with_the_token_however_often_the_worker_starts_anew(desk: Desk) -> None:
    desk.turn(a_paid_one())
    desk.now += MINUTE * 2

    timer = TimerDue(payment_id=PaymentId("pay_1"), attempt_id=AttemptId("pay_1.a1"))
    again = only_call(desk.turn(timer))

    assert isinstance(again.request, AuthorizeRequest)
    assert again.request.token == SECRETS["token"]


def test_what_is_left_in_the_outbox_is_published_as_it_was_announced(desk: Desk) -> None:
    let_it_all_happen(desk)

    (event,) = [
        event
        for event in desk.ledger.stale_events(before=NOON + MINUTE, limit=99)
        if event.type == "PaymentActionRequired"
    ]

    assert SECRETS["client secret"].encode() in event.body
    assert desk.story().events[0].event.body != event.body


def test_a_rotation_takes_everything_to_the_new_key_and_the_old_one_can_be_retired(
    desk: Desk, stored: Bytes
) -> None:
    let_it_all_happen(desk)
    places = {use.place for use in uses(desk.ledger)}
    with closing(Ledger(desk.url, keyring=BOTH)) as ledger:
        done = rotated(ledger)
        retire(ledger, KEY.key_id, asker=ASKER, now=NOON)

    assert done.is_complete
    rows = {table: count for table, count in done.rows.items() if count}
    assert rows == {"payments": 1, "refunds": 1, "attempts": 1, "inbox": 3, "outbox": 1}
    with closing(Ledger(desk.url, keyring=Keyring(lambda: [SECOND]))) as ledger:
        assert ledger.missing_keys() == []
        assert {(use.place, use.key_id) for use in uses(ledger)} == {(p, SECOND.key_id) for p in places}
        events = ledger.stale_events(before=NOON + MINUTE, limit=99)
        assert any(SECRETS["client secret"].encode() in event.body for event in events)
    assert found_in(stored()) == VISIBLE


def test_a_key_is_not_retired_while_anything_needs_it(desk: Desk) -> None:
    desk.turn(a_paid_one())
    with closing(Ledger(desk.url, keyring=BOTH)) as ledger:
        with pytest.raises(KeyInUse, match="is current"):
            retire(ledger, KEY.key_id, asker=ASKER, now=NOON)
        make_current(ledger, SECOND.key_id, asker=ASKER, now=NOON)
        with pytest.raises(KeyInUse, match=r"1 in payments\.request.*run `payments keys rotate` first"):
            retire(ledger, KEY.key_id, asker=ASKER, now=NOON)


def test_every_step_is_in_the_audit_log_with_actor_and_reason_and_no_key(desk: Desk) -> None:
    with closing(Ledger(desk.url, keyring=BOTH)) as ledger:
        rotated(ledger, KEY)
        rotated(ledger)
        retire(ledger, KEY.key_id, asker=ASKER, now=NOON)

    told_of = desk.rows("SELECT action, subject, actor FROM audit ORDER BY happened_at, position")

    assert [(action, key_id) for action, key_id, _ in told_of] == [
        ("KeyMadeCurrent", KEY.key_id),
        ("KeyRotated", KEY.key_id),
        ("KeyMadeCurrent", SECOND.key_id),
        ("KeyRotated", SECOND.key_id),
        ("KeyRetired", KEY.key_id),
    ]
    assert {actor for _, _, actor in told_of} == {"operator:ada"}
    assert all('"reason":"a test"' in details for (details,) in desk.rows("SELECT details FROM audit"))


def test_rows_of_an_earlier_version_are_taken_as_they_are_and_encrypted_by_a_rotation(
    desk: Desk, stored: Bytes
) -> None:
    one = a_paid_one()
    desk.turn(one)
    unencrypt(desk.url, one)
    assert found_in(stored()) == {"token"}

    assert [line.result for line in desk.turn(one).settled] == ["repeated"]
    rotated(desk.ledger, KEY)

    assert keys_used(desk.ledger) == {KEY.key_id}
    assert [line.result for line in desk.turn(one).settled] == ["repeated"]
    desk.ledger.close()
    assert found_in(stored()) == set()
    other = replace(one, body_hash="another body")
    assert [event.type for event in desk.turn(other).events] == ["CommandRejected"]


def test_a_rotation_that_is_cut_off_goes_on_where_it_was(desk: Desk) -> None:
    desk.turn(*(a_paid_one(number) for number in range(3)))
    with closing(Ledger(desk.url, keyring=BOTH)) as ledger:
        with pytest.raises(KeyboardInterrupt):
            rotate(ledger, SECOND.key_id, asker=ASKER, clock=lambda: NOON, progress=_cut_off)
        assert keys_used(ledger) == {KEY.key_id, SECOND.key_id}

        done = rotated(ledger)

        assert done.is_complete
        assert done.rows["inbox"] == 3
        assert keys_used(ledger) == {SECOND.key_id}


def _cut_off(_table: str, _rows: int) -> None:
    raise KeyboardInterrupt


def test_a_row_that_does_not_open_is_left_and_told_while_all_others_are_rotated(desk: Desk) -> None:
    desk.turn(a_paid_one(1), a_paid_one(2))
    move = "UPDATE payments SET request = (SELECT request FROM payments WHERE payment_id = 'pay_2')"
    raw.run(desk.url, f"{move} WHERE payment_id = 'pay_1'")

    with closing(Ledger(desk.url, keyring=BOTH)) as ledger:
        done = rotated(ledger)

    assert not done.is_complete
    assert done.shut == [
        f"payments pay_1: request does not open with key {KEY.key_id}: it was changed, or moved here"
    ]
    assert done.rows["payments"] == 1


def test_a_payment_that_does_not_open_fails_alone(desk: Desk) -> None:
    calls = desk.turn(a_paid_one(1), a_paid_one(2)).calls
    lost = next(Key(bytes(32)).encrypt("payments.request", ["pay_1"], ["{}"]))
    raw.run(desk.url, f"UPDATE payments SET request = '{lost}' WHERE payment_id = 'pay_1'")

    with pytest.raises(
        CannotDecrypt, match=f"payments pay_1: request is encrypted with key {Key(bytes(32)).key_id}"
    ):
        desk.turn(*map(answered, calls))
    result = desk.turn(answered(calls[1]))

    assert [event.type for event in result.events] == ["PaymentSucceeded"]


def test_without_the_current_key_a_worker_waits_and_goes_on_when_it_comes(desk: Desk) -> None:
    there = [KEY]
    now = [0.0]
    with closing(Ledger(desk.url, keyring=BOTH)) as ledger:
        make_current(ledger, SECOND.key_id, asker=ASKER, now=NOON)
    desk.ledger.close()
    desk.ledger = Ledger(desk.url, keyring=Keyring(lambda: there, monotonic=lambda: now[0]))
    assert desk.ledger.missing_keys() == [SECOND.key_id]

    with pytest.raises(KeyMissing, match=SECOND.key_id):  # a LedgerDown: nothing is given up
        desk.turn(a_paid_one())
    there.append(SECOND)
    now[0] += 1

    assert len(desk.turn(a_paid_one()).calls) == 1


def test_without_any_key_nothing_is_written_in_plain(url: str) -> None:
    desk = Desk(url)
    desk.ledger = Ledger(url)

    with pytest.raises(KeyMissing, match="payments keys new"):
        desk.turn(a_paid_one())

    assert desk.rows("SELECT count(*) FROM payments") == [(0,)]
