"""Alert rules and dashboard: what they ask for is what the programs show, by its names and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import Collector

from consumers.breaker import Patience
from consumers.calls import Calls
from consumers.counts import Counts
from gateways.protocol import AuthorizeRequest, Unknown
from gateways.sandbox import SandboxGateway
from ledger.schema import migrate
from ledger.verify import Report
from ledger.watch import Watch
from ops.looks import Look
from ops.metrics import WorkerCollector, registry_of
from ops.verifying import Proofs
from webhooks.counts import Counts as CallbackCounts
from webhooks.metrics import IngestorCollector

ROOT = Path(__file__).parents[2]
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())
SCRAPES: dict[str, Any] = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((ROOT / "ops/grafana/dashboards/payments.json").read_text())
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
OPERATIONS = (ROOT / "docs/operations.md").read_text()

EXPRESSIONS = {
    **{f"alert {name}": rule["expr"] for name, rule in RULES.items()},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}
EVERYWHERE = {"instance", "job", "le"}
OF_OTHERS = {
    "up": EVERYWHERE,
    "rabbitmq_detailed_queue_messages_unacked": {"queue", "vhost"},
    "rabbitmq_detailed_queue_consumers": {"queue", "vhost"},
}
"""www.rabbitmq.com/docs/prometheus: the families that ops/prometheus/prometheus.yml asks for."""

NAME = re.compile(r"\b(?:payments|rabbitmq|process)_[a-z_]+\b|\bup\b(?=\{)")


def _collectors(directory: Path, calls: Calls, watch: Watch) -> Iterator[Collector]:
    """All our programs have, with something of everything in it."""
    counts = Counts()
    counts.events["PaymentSucceeded"] += 1
    counts.dead_letters["payments.payment-commands", "missing_field"] += 1
    calls.endings["sandbox", AuthorizeRequest, Unknown] += 1
    yield WorkerCollector(
        gateways=["sandbox"],
        counts=counts,
        calls=calls,
        figures=Look(lambda: watch.figures(datetime.now(UTC))),
        queues=Look(lambda: {"payments.payment-commands": 0}),
    )
    proofs = Proofs(Report)
    proofs.make()
    yield proofs
    yield IngestorCollector(CallbackCounts(["stripe"]), lambda: True)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every metric that is shown, with its labels."""
    directory = tmp_path_factory.mktemp("shown")
    url = f"sqlite:///{directory / 'ledger.db'}"
    migrate(url)
    gateways = {"sandbox": SandboxGateway(directory / "sandbox.db")}
    with closing(Calls(gateways, Patience())) as calls, closing(Watch(url, patience_s=3)) as watch:
        registry = registry_of(*_collectors(directory, calls, watch))
        labels: dict[str, set[str]] = {}
        for family in registry.collect():
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
    return labels | OF_OTHERS


@pytest.mark.parametrize("of", EXPRESSIONS)
def test_what_is_asked_for_is_shown(of: str, shown: dict[str, set[str]]) -> None:
    expression = EXPRESSIONS[of]
    names = NAME.findall(expression)

    assert names
    assert not set(names) - shown.keys()


@pytest.mark.parametrize("of", EXPRESSIONS)
def test_every_label_that_is_asked_for_is_on_the_metric(of: str, shown: dict[str, set[str]]) -> None:
    expression = EXPRESSIONS[of]
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r'(\w+)\s*[!=]~?"', matchers)) <= shown[name] | EVERYWHERE
    all_labels = set().union(*(shown[name] for name in NAME.findall(expression))) | EVERYWHERE
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", labels)) <= all_labels


@pytest.mark.parametrize("of", EXPRESSIONS)
def test_a_counter_is_asked_for_its_growth_and_brackets_close(of: str) -> None:
    expression = EXPRESSIONS[of]

    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    for name in re.findall(r"\b\w+_(?:total|bucket|sum|count)\b", expression):
        assert re.search(rf"(?:rate|increase)\({name}(?:\{{[^}}]*\}})?\[\d+[mh]\]\)", expression)


@pytest.mark.parametrize("name", RULES)
def test_an_alarm_says_how_urgent_it_is_and_what_to_do(name: str) -> None:
    rule = RULES[name]

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert len(rule["annotations"]["summary"]) > 30
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert re.search(rf"\bby \([^)]*{label}|^up\{{", rule["expr"])
    assert f"| {name} |" in OPERATIONS


def test_every_alarm_on_the_page_is_a_rule() -> None:
    (table,) = re.findall(r"^\| alarm \| means \| do \|\n\|[-|]+\|\n((?:\|.*\n)+)", OPERATIONS, re.MULTILINE)

    assert set(re.findall(r"^\| (\w+) \|", table, re.MULTILINE)) == RULES.keys()


def test_every_metric_of_ours_is_looked_at_or_told_of(shown: dict[str, set[str]]) -> None:
    asked = " ".join(EXPRESSIONS.values()) + OPERATIONS
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if name.startswith("payments_")}

    assert not [name for name in sorted(ours) if name not in asked]


def test_prometheus_is_pointed_at_services_of_the_street() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for job in SCRAPES["scrape_configs"]:
        for found in job.get("static_configs", ()):
            assert {target.split(":")[0] for target in found["targets"]} <= services.keys()
        for found in job.get("dns_sd_configs", ()):
            assert set(found["names"]) <= services.keys()
            for name in found["names"]:
                assert services[name]["environment"]["PAYMENTS_METRICS__PORT"] == str(found["port"])


def test_panels_do_not_overlap_and_have_one_source() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert panel["datasource"]["uid"] == "prometheus"
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
