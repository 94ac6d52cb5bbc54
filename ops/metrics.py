"""The worker's metrics for Prometheus, made when they are asked for: a payment's path does nothing but count."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from consumers.breaker import State
from consumers.calls import Calls
from consumers.counts import Counts, Spread
from ledger.watch import Figures
from ops.looks import Look

FIGURES_GOOD_FOR_S = 15.0
"""However often Prometheus asks, database and broker are asked no more often than this."""


class WorkerCollector(Collector):
    """What one worker counts, and what it sees of the database and the broker that all workers share."""

    def __init__(
        self,
        *,
        gateways: Iterable[str],
        counts: Counts,
        calls: Calls,
        figures: Look[Figures],
        queues: Look[dict[str, int]],
    ) -> None:
        self._gateways = sorted(gateways)
        self._counts = counts
        self._calls = calls
        self._figures = figures
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        """Make every metric anew."""
        yield from self._turns()
        yield from self._messages()
        yield from self._gateway_calls()
        yield from self._broker()
        yield from self._database()

    def _turns(self) -> Iterator[Metric]:
        counts = self._counts
        yield _histogram("payments_turn_size", "Things settled by a committed turn.", counts.turn_sizes)
        yield _histogram(
            "payments_turn_seconds", "Time from a turn's begin to its commit.", counts.turn_seconds
        )
        yield _counter(
            "payments_turns_failed", "Turns that failed and were run item by item.", counts.turns_failed
        )

    def _messages(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counter("payments_deliveries", "Messages taken from the queues.", counts.deliveries)
        yield _labelled(
            "payments_events",
            "Events handed to the broker by the turn that decided on them.",
            ("type",),
            {(kind,): count for kind, count in dict(counts.events).items()},
        )
        yield _counter("payments_publishes_confirmed", "Publishes the broker confirmed.", counts.confirmed)
        yield _counter(
            "payments_publishes_failed", "Publishes refused, or not confirmed in time.", counts.unconfirmed
        )
        yield _counter("payments_events_relayed", "Events a crash or outage had left behind.", counts.relayed)
        yield _labelled(
            "payments_dead_letters",
            "Dead letters made, by queue and reason.",
            ("queue", "reason"),
            {(queue, reason): count for (queue, reason), count in dict(counts.dead_letters).items()},
        )
        yield _labelled(
            "payments_card_data_refused",
            "Messages that brought card data, by where they came in.",
            ("where",),
            {(queue,): count for queue, count in dict(counts.card_data).items()},
        )
        yield _counter("payments_attention", "Payments that came to need a person.", counts.attention)
        yield _counter("payments_callbacks_unmatched", "Callbacks given up for a person.", counts.unmatched)

    def _gateway_calls(self) -> Iterator[Metric]:
        endings: Counter[tuple[str, ...]] = Counter()
        for (gateway, request, answer), count in dict(self._calls.endings).items():
            endings[gateway, _word(request.__name__.removesuffix("Request")), _word(answer.__name__)] += count
        yield _labelled(
            "payments_gateway_calls",
            "Calls to gateways that ended, by how they ended.",
            ("gateway", "operation", "ending"),
            endings,
        )
        in_flight = GaugeMetricFamily("payments_calls_in_flight", "Calls whose answers are not taken yet.")
        in_flight.add_metric([], self._calls.in_flight)
        yield in_flight
        circuit = GaugeMetricFamily(
            "payments_gateway_circuit",
            "1 for the state the gateway's circuit breaker is in.",
            labels=["gateway", "state"],
        )
        for gateway, state in self._calls.circuits.items():
            for possible in get_args(State):
                circuit.add_metric([gateway, possible], float(possible == state))
        yield circuit

    def _broker(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counter(
            "payments_broker_connections",
            "Times the bus was opened; each but the first follows a loss.",
            counts.broker_connections,
        )
        up = GaugeMetricFamily("payments_broker_up", "1 while the worker's queues are open.")
        up.add_metric([], float(counts.broker_is_up))
        yield up
        waiting = self._queues.of_the_last(FIGURES_GOOD_FOR_S)
        if waiting is not None:
            lag = GaugeMetricFamily(
                "payments_queue_messages", "Messages ready, and delivered to nobody.", labels=["queue"]
            )
            for queue, messages in waiting.items():
                lag.add_metric([queue], messages)
            yield lag

    def _database(self) -> Iterator[Metric]:
        figures = self._figures.of_the_last(FIGURES_GOOD_FOR_S)
        up = GaugeMetricFamily("payments_database_up", "1 if the database answered the last look at it.")
        up.add_metric([], float(figures is not None))
        yield up
        if figures is None:
            return
        lag = GaugeMetricFamily("payments_outbox_lag_seconds", "Age of the oldest event not published yet.")
        lag.add_metric([], figures.outbox_lag_s)
        yield lag
        unknown = GaugeMetricFamily(
            "payments_unknown_outcomes", "Outcomes that nobody knows yet.", labels=["gateway"]
        )
        oldest = GaugeMetricFamily(
            "payments_unknown_outcome_oldest_seconds",
            "Time since the oldest of them was sent.",
            labels=["gateway"],
        )
        for gateway in sorted({*self._gateways, *figures.unknown}):
            waiting = figures.unknown.get(gateway)
            unknown.add_metric([gateway], waiting.count if waiting else 0)
            oldest.add_metric([gateway], waiting.oldest_s if waiting else 0)
        yield unknown
        yield oldest
        cases = GaugeMetricFamily("payments_cases_open", "Cases that wait for a person.", labels=["kind"])
        for what, count in figures.cases.items():
            cases.add_metric([what.value], count)
        yield cases
        overdue = GaugeMetricFamily(
            "payments_timers_overdue", "Timers nobody has taken up in time.", labels=["of"]
        )
        latest = GaugeMetricFamily(
            "payments_timer_overdue_seconds", "How late the latest of them is.", labels=["of"]
        )
        for kind, late in figures.overdue.items():
            overdue.add_metric([kind], late.count)
            latest.add_metric([kind], late.oldest_s)
        yield overdue
        yield latest


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """A registry of these and of what is told of any process: memory, processor time, open files."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _counter(name: str, help_text: str, value: int) -> Metric:
    return CounterMetricFamily(name, help_text, value=value)


def _labelled(
    name: str,
    help_text: str,
    labels: tuple[str, ...],
    values: dict[tuple[str, ...], int] | Counter[tuple[str, ...]],
) -> Metric:
    metric = CounterMetricFamily(name, help_text, labels=labels)
    for key, value in sorted(values.items()):
        metric.add_metric(key, value)
    return metric


def _histogram(name: str, help_text: str, spread: Spread) -> Metric:
    counted = list(accumulate(list(spread.counts)))
    bounds = [*map(str, map(float, spread.bounds)), "+Inf"]
    metric = HistogramMetricFamily(name, help_text)
    metric.add_metric([], list(zip(bounds, counted, strict=True)), spread.total)
    return metric


def _word(class_name: str) -> str:
    """`NotSent` as `not_sent`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()
