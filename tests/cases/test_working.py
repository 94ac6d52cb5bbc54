"""People work on cases: nobody is overrun, every step is in the audit log, and money above the limit takes two."""

from __future__ import annotations

import json

from ledger.verify import verify
from ops.cases.desk import Done, Refused
from tests.cases.house import House

ABOVE = 1000
"""A limit, in minor units, that every case here is above."""


def test_of_operators_who_take_a_case_at_the_same_moment_one_has_it(house: House) -> None:
    name = "callback:stripe/evt_1"  # no payment's lock helps here
    house.callback("evt_1", given_up=True)
    house.says("note", name, "whose is it?")

    ended = house.at_once(lambda desk: desk.take(name, owner=desk.operator), operators=6)

    (owner,) = [f"op-{number}" for number, one in enumerate(ended) if isinstance(one, Done)]
    refused = {str(one) for one in ended if isinstance(one, Refused)}
    assert refused == {f"{owner} has it: to take it over, say --from {owner}"}
    assert house.tells("show", name)["owner"] == owner
    assert [line[:2] for line in house.audit()[1:]] == [(f"operator:{owner}", "CaseTaken")]


def test_of_operators_who_resolve_a_case_at_the_same_moment_one_does(house: House) -> None:
    name = house.mismatch(1)

    ended = house.at_once(lambda desk: desk.resolve(name, "seen to"), operators=6)

    assert [isinstance(one, Done) for one in ended].count(True) == 1
    assert all("has resolved it" in str(one) for one in ended if isinstance(one, Refused))
    assert [line[1] for line in house.audit()] == ["CaseResolved"]
    assert not house.is_marked(1)


def test_above_the_limit_another_person_must_resolve_it_too(house: House) -> None:
    name = house.mismatch(1)

    proposed = house.tells("resolve", name, "--reason", "charged by hand", "--yes", limit=ABOVE)
    waiting = house.tells("show", name)
    own = house.says("resolve", name, "--reason", "really", "--yes", limit=ABOVE, status=1)
    marked = house.is_marked(1)
    done = house.tells("resolve", name, "--reason", "I see it, too", "--yes", limit=ABOVE, actor="ben")

    assert (proposed["state"], waiting["proposed_by"], waiting["state"]) == ("proposed", "ada", "open")
    assert "another person" in own
    assert (marked, done["state"], house.is_marked(1)) == (True, "resolved", False)
    assert house.audit() == [
        ("operator:ada", "CaseResolutionProposed", name, "proposed"),
        ("operator:ben", "CaseResolved", name, "resolved"),
    ]


def test_up_to_the_limit_one_person_is_enough_and_an_amount_nobody_knows_may_be_any(sqlite: House) -> None:
    name = sqlite.mismatch(1)
    sqlite.callback("evt_1", given_up=True, amount=None)

    known = sqlite.tells("resolve", name, "--reason", "-", "--yes", limit=1999)
    unknown = sqlite.tells("resolve", "callback:stripe/evt_1", "--reason", "-", "--yes", limit=1999)

    assert (known["state"], unknown["state"]) == ("resolved", "proposed")


def test_a_proposal_is_void_when_it_is_withdrawn_and_when_the_fact_comes_about_again(sqlite: House) -> None:
    name = sqlite.mismatch(1)
    sqlite.tells("resolve", name, "--reason", "-", "--yes", limit=ABOVE)
    sqlite.says("release", name)
    withdrawn = sqlite.tells("resolve", name, "--reason", "-", "--yes", limit=ABOVE, actor="ben")
    sqlite.catch_up()
    sqlite.says_again(1)
    anew = sqlite.tells("show", name)

    assert withdrawn["state"] == "proposed"
    assert (anew["state"], anew["proposed_by"]) == ("open", None)


def test_a_case_that_somebody_has_is_taken_over_only_by_name_and_after_a_question(sqlite: House) -> None:
    name = sqlite.late(1)
    sqlite.says("take", name, "--for", "ben")

    refused = sqlite.says("take", name, status=1)
    resolved = sqlite.says("resolve", name, "--reason", "-", "--yes", status=1)
    released = sqlite.says("release", name, status=1)
    wrong = sqlite.says("take", name, "--from", "eve", "--yes", status=1)
    no = sqlite.says("take", name, "--from", "ben", typed="n\n", status=1)
    before = sqlite.tells("show", name)["owner"]
    sqlite.says("take", name, "--from", "ben", typed="y\n")

    assert "ben has it: to take it over, say --from ben" in refused
    assert f"payments cases take {name} --from ben" in resolved
    assert f"payments cases take {name} --from ben" in released
    assert "eve does not have it: ben does" in wrong
    assert "Aborted" in no
    assert (before, sqlite.tells("show", name)["owner"]) == ("ben", "ada")


def test_nothing_is_resolved_before_it_is_agreed_to_and_without_a_reason(sqlite: House) -> None:
    name = sqlite.late(1)

    sqlite.says("resolve", name, "--reason", "-", typed="n\n", status=1)
    sqlite.says("resolve", name, "--yes", status=2)

    assert sqlite.listed() == [name]
    assert sqlite.audit() == []


def test_the_mark_stays_while_another_case_of_the_payment_is_open(sqlite: House) -> None:
    refund, payment = sqlite.refund_back(1), "too-much-back:pay_1"
    sqlite.says_later("pay_1.a1", sqlite.came_back)
    both = sqlite.listed()
    sqlite.says("resolve", refund, "--reason", "-", "--yes")
    marked = sqlite.is_marked(1)
    sqlite.says("resolve", payment, "--reason", "-", "--yes")

    assert set(both) == {refund, payment}
    assert (marked, sqlite.is_marked(1)) == (True, False)


def test_a_payment_with_several_cases_must_be_named_by_the_case(sqlite: House) -> None:
    refund = sqlite.refund_back(1)
    one = sqlite.tells("show", "pay_1")["case"]
    sqlite.says_later("pay_1.a1", sqlite.came_back)

    assert one == refund
    assert "say which of" in sqlite.says("show", "pay_1", status=1)
    assert "no open case" in sqlite.says("show", "pay_2", status=1)
    assert "there is no case" in sqlite.says("show", "late:pay_2", status=1)


def test_what_was_resolved_can_be_opened_again_with_its_mark(sqlite: House) -> None:
    name = sqlite.double(1)
    sqlite.says("reopen", name, "--reason", "-", "--yes", status=1)
    sqlite.says("resolve", name, "--reason", "given back", "--yes")
    twice = sqlite.says("resolve", name, "--reason", "-", "--yes", status=1, actor="ben")
    sqlite.says("reopen", name, "--reason", "it was not", "--yes", actor="ben")

    assert "ada has resolved it" in twice
    assert sqlite.is_marked(1)
    assert sqlite.listed() == [name]


def test_every_step_is_told_with_who_and_when_and_card_numbers_are_blanked_out(sqlite: House) -> None:
    name = sqlite.mismatch(1)
    sqlite.says("take", name)
    sqlite.says("note", name, "their card 4111 1111 1111 1111, ticket 7", actor="ben")
    sqlite.says("release", name)
    sqlite.says("resolve", name, "--reason", "settled", "--yes", actor="eve")

    told = sqlite.tells("show", name)

    steps = [(step["actor"], step["action"]) for step in told["steps"]]
    assert steps == [
        ("ada", "CaseTaken"),
        ("ben", "CaseNoted"),
        ("ada", "CaseReleased"),
        ("eve", "CaseResolved"),
    ]
    assert "ticket 7" in told["steps"][1]["note"]
    assert "1111 1111" not in json.dumps(told) + str(sqlite.rows("SELECT details FROM audit"))
    assert [line[:2] for line in sqlite.audit()] == [(f"operator:{who}", did) for who, did in steps]
    assert "settled" in sqlite.says("show", name)


def test_a_case_that_was_resolved_behind_its_back_does_not_verify(sqlite: House) -> None:
    name = sqlite.late(1)
    sqlite.says("take", name)
    sqlite.desk.rows("UPDATE cases SET state = 'resolved'")

    assert verify(sqlite.url).problems == [
        f"case {name}: it is resolved, and the audit log does not say by whom"
    ]
    sqlite.desk.rows("UPDATE cases SET state = 'open'")


def test_money_too_much_that_was_given_back_verifies_without_its_mark_only_if_a_person_took_it_off(
    house: House,
) -> None:
    name = house.one_too_many(1)
    house.one_too_many(2)

    house.says("resolve", name, "--reason", "given back", "--yes")
    resolved = verify(house.url).problems
    house.desk.rows("UPDATE payments SET attention = false")
    wiped = verify(house.url).problems
    house.desk.rows("UPDATE payments SET attention = true WHERE payment_id = 'pay_2'")

    assert (house.is_marked(1), resolved) == (False, [])
    assert wiped == ["payment pay_2: it is declined, its attempts and amounts say otherwise"]


def test_dead_letters_are_no_cases_and_the_last_line_says_where_they_are(sqlite: House) -> None:
    sqlite.has_a_dead_letter()

    assert sqlite.says("list").endswith("1 dead letters wait: payments dead-letters list\n")
    assert sqlite.tells()["dead_letters"] == 1


def test_what_a_worker_whose_clock_is_ahead_wrote_down_can_be_resolved(sqlite: House) -> None:
    sqlite.catch_up()
    name = sqlite.mismatch(1)

    sqlite.says("resolve", name, "--reason", "seen to", "--yes")

    assert sqlite.listed(status=0) == []
