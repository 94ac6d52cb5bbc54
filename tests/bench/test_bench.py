"""The benchmark's own promises: a rate counts only if the books and the events agree, and ratios are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.contenders import OURS, PEERS, Contender, Crew
from bench.embedded import embedded_per_s
from bench.measure import Rate, Servers, Wrong, at_rate, saturation, slope
from bench.recorded import pgbench_per_s
from bench.report import Case, Results
from bench.sdks import measure_sdks
from tests.servers import Postgres, Rabbitmq

PIKA = next(peer for peer in PEERS if peer.name == "pika")
ONE = Crew(processes=1, gateway_s=0)


@pytest.fixture
def servers(rabbitmq: Rabbitmq, postgres: Postgres) -> Servers:
    return Servers(broker=rabbitmq, database=postgres)


def rate(per_s: float) -> Rate:
    return Rate(per_s=per_s, payments=1, memory_mb=1, cpu_us=1)


@pytest.mark.parametrize("contender", [OURS, *PEERS], ids=lambda contender: contender.name)
def test_everybody_books_and_announces_every_payment_it_takes(
    servers: Servers, contender: Contender, tmp_path: Path
) -> None:
    few = replace(contender, most_per_s=10)

    found = saturation(servers, few, ONE, seconds=60, directory=tmp_path)

    assert found.payments == 600
    assert found.per_s > 0
    assert found.memory_mb > 10


def test_a_rate_does_not_count_when_what_was_announced_is_not_in_the_books(
    servers: Servers, tmp_path: Path
) -> None:
    loses_one = replace(PIKA, most_per_s=10, paid=f"{PIKA.paid} OFFSET 1")

    with pytest.raises(Wrong, match="1 of 599 payments"):
        saturation(servers, loses_one, ONE, seconds=60, directory=tmp_path)


def test_a_rate_is_of_the_middle_and_of_the_whole_where_there_is_no_middle() -> None:
    assert slope([(0, 0), (1, 10), (2, 1010), (4, 3010), (5, 3011)]) == 1000
    assert slope([(10, 0), (11, 600), (12, 600)]) == 600
    assert slope([(10, 0), (12, 550), (14, 600)]) > 0


def test_a_worker_that_ends_by_itself_has_no_rate(servers: Servers, tmp_path: Path) -> None:
    broken = replace(PIKA, most_per_s=100, start=lambda _crew: [["false"]])

    with pytest.raises(Wrong, match="ended by itself"):
        saturation(servers, broken, ONE, seconds=6, directory=tmp_path)


def test_latency_is_timed_from_publish_to_event(servers: Servers, tmp_path: Path) -> None:
    slow = Crew(processes=1, gateway_s=0.05)

    found = at_rate(servers, OURS, slow, per_s=20, seconds=2, directory=tmp_path)

    assert found.answered == 1
    assert 0.05 <= found.p50 <= found.p99


def test_the_recorded_sql_can_be_sent_again_and_again_by_pgbench(servers: Servers) -> None:
    assert pgbench_per_s(servers, seconds=2) > 0


def test_a_worker_at_a_gateway_over_http_stands_beside_a_loop_of_the_same_calls(
    servers: Servers, tmp_path: Path
) -> None:
    found = measure_sdks(servers, rounds=1, seconds=1, directory=tmp_path, say=print, at=["adyen"])

    assert 0 < found["adyen"].share < 2


def test_the_embedded_default_books_and_announces_what_it_takes() -> None:
    assert embedded_per_s(seconds=1, most_per_s=300) > 0


def test_the_ratio_is_of_medians_against_the_fastest_of_the_others() -> None:
    case = Case(gateway_ms=0, processes=2)
    rates = {
        "this service": [rate(900), rate(1000), rate(5000)],
        "pika": [rate(100)],
        "kombu": [rate(50), rate(400)],
    }
    results = Results(about={}, rates={case: rates})

    assert results.best_peer(case) == "kombu"
    assert results.ratio(case) == pytest.approx(1000 / 225)
