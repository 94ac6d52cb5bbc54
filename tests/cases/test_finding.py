"""A case is what the books say: found once, gone when it is no longer so, and never missed."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime

from ledger.case_facts import CaseKind
from ledger.watch import Watch
from tests.builders import approved, eur, unknown
from tests.cases.house import House
from tests.runbook.page import SECTIONS


def test_each_kind_is_found_once_and_says_what_it_is_and_what_to_do(house: House) -> None:
    made = house.everything()

    told = house.tells(status=1)

    found = [case["case"] for case in told["cases"]]
    assert sorted(found) == sorted(made)
    assert {case["kind"] for case in told["cases"]} == {kind.value for kind in CaseKind}
    anchors = {f"docs/runbook.md#{section.anchor}" for section in SECTIONS.values()}
    assert {case["runbook"] for case in told["cases"]} <= anchors
    assert [case["since"] for case in told["cases"]] == sorted(case["since"] for case in told["cases"])
    assert all(case["amount"] == {"minor": 1999, "currency": "EUR"} for case in told["cases"])
    shown = house.says("list", status=1)
    assert all(re.sub(r"\s", "", name) in re.sub(r"\s", "", shown) for name in made)
    assert shown.endswith("no dead letters wait\n")
    with closing(Watch(house.url, patience_s=10)) as watch:
        assert watch.figures(datetime.now(UTC)).cases == dict.fromkeys(CaseKind, 1), (
            "whoever watches counts them"
        )


def test_resolving_all_of_them_leaves_nothing_and_no_mark(house: House) -> None:
    for name in house.everything():
        house.says("resolve", name, "--reason", "seen to", "--yes")

    assert house.listed(status=0) == []
    with closing(Watch(house.url, patience_s=10)) as watch:
        assert not any(watch.figures(datetime.now(UTC)).cases.values())
    assert house.rows("SELECT count(*) FROM payments WHERE attention") == [(0,)]
    assert len(house.listed("--all", status=0)) == len(CaseKind)


def test_what_is_young_or_still_held_is_not_a_persons_yet(sqlite: House) -> None:
    sqlite.catch_up()
    sqlite.answer(sqlite.pay(1), unknown())
    sqlite.callback("evt_early", given_up=False)

    assert sqlite.listed(status=0) == []
    everything = sqlite.tells("list", "--all")["cases"]
    assert {case["case"]: case["by_itself"] for case in everything} == {
        "unknown:pay_1.a1": True,
        "callback:stripe/evt_early": True,
    }


def test_an_outcome_that_is_unknown_for_an_hour_is_a_persons(sqlite: House) -> None:
    sqlite.answer(sqlite.pay(1), unknown())

    assert sqlite.listed() == ["unknown:pay_1.a1"]
    assert not sqlite.is_marked(1)


def test_what_the_gateway_settles_disappears_by_itself(sqlite: House) -> None:
    touched, untouched = sqlite.unknown(1), sqlite.unknown(2)
    sqlite.says("take", touched)
    for number in (1, 2):
        sqlite.look_up(f"pay_{number}.a1", approved(reference=f"pi_{number}"))

    assert sqlite.listed(status=0) == []
    for name in (touched, untouched):
        assert sqlite.tells("show", name)["state"] == "settled by itself"
        assert "has settled by itself" in sqlite.says("resolve", name, "--reason", "-", "--yes", status=1)
    assert sqlite.tells("show", touched)["steps"][0]["action"] == "CaseTaken"


def test_an_amount_that_the_gateway_corrects_still_waits_for_a_person(sqlite: House) -> None:
    name = sqlite.mismatch(1)
    sqlite.look_up("pay_1.a1", approved())

    assert sqlite.listed() == [name]


def test_what_was_resolved_and_comes_about_again_is_a_case_anew_and_nobodys(sqlite: House) -> None:
    name = sqlite.mismatch(1)
    sqlite.says("take", name)
    sqlite.says("resolve", name, "--reason", "told the gateway", "--yes")
    assert sqlite.listed(status=0) == []
    sqlite.catch_up()
    sqlite.look_up("pay_1.a1", approved(eur(7)))

    (case,) = sqlite.tells("list", status=1)["cases"]

    assert (case["case"], case["owner"], case["detail"]) == (
        name,
        None,
        "the gateway says 0.07 EUR, asked was 19.99 EUR",
    )
    assert sqlite.is_marked(1)
    sqlite.says("resolve", name, "--reason", "again", "--yes", actor="ben", status=0)


def test_an_outcome_resolved_while_it_was_asked_about_comes_back_when_nobody_could_tell(
    sqlite: House,
) -> None:
    sqlite.answer(sqlite.pay(1), unknown())
    sqlite.says("resolve", "unknown:pay_1.a1", "--reason", "they look into it", "--yes")
    resolved = sqlite.listed(status=0)
    sqlite.catch_up()
    for _ in sqlite.desk.policy.inquiry_delays:
        sqlite.look_up("pay_1.a1", unknown())

    assert resolved == []
    assert sqlite.listed() == ["unknown:pay_1.a1"]
    assert sqlite.is_marked(1)


def test_filters_say_which(sqlite: House) -> None:
    mismatch, unheard, late = sqlite.mismatch(1), sqlite.unheard(2), sqlite.late(3)
    sqlite.says("take", late, "--for", "ben")

    assert sqlite.listed("--kind", "mismatch") == [mismatch]
    assert sqlite.listed("--owner", "ben") == [late]
    assert set(sqlite.listed("--owner", "nobody")) == {mismatch, unheard}
    assert sqlite.listed("--payment", "pay_1") == [mismatch]
    assert sqlite.listed("--gateway", "adyen") == [unheard]
    assert sqlite.listed("--older-than", "400d", status=0) == []
    assert "soon" in sqlite.says("list", "--older-than", "soon", status=2)
