"""The ingestor's counts for Prometheus, on the port it listens on: like `/health`, not for the outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webhooks.counts import Counts


class IngestorCollector(Collector):
    """What came of the callbacks, and whether the broker takes them."""

    def __init__(self, counts: Counts, broker_is_up: Callable[[], bool]) -> None:
        self._counts = counts
        self._broker_is_up = broker_is_up

    def collect(self) -> Iterator[Metric]:
        """Make every metric anew."""
        callbacks = CounterMetricFamily(
            "payments_callbacks", "Callbacks, by what became of them.", labels=["gateway", "kind"]
        )
        for gateway, counts in self._counts.by_gateway().items():
            for kind, count in counts.items():
                callbacks.add_metric([gateway, kind], count)
        yield callbacks
        card_data = CounterMetricFamily(
            "payments_card_data_refused",
            "Messages that brought card data, by where they came in.",
            labels=["where"],
        )
        for gateway, counts in self._counts.by_gateway().items():
            card_data.add_metric([f"webhooks/{gateway}"], counts["card_data"])
        yield card_data
        up = GaugeMetricFamily("payments_ingestor_broker_up", "1 while callbacks can be put on the bus.")
        up.add_metric([], float(self._broker_is_up()))
        yield up


def ingestor_registry(collector: IngestorCollector) -> CollectorRegistry:
    """A registry of these and of what is told of any process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry
