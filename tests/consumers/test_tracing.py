"""Traces across the bus: one from a sender's command to our event, by a real worker on the embedded default."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from messages.trace_context import traceparent_of
from ops.settings import TracingSettings
from ops.tracing import OpenTelemetryTracer, tracing
from tests.consumers.workshop import Hire, Neighbour, dies

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT_WITH = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """What was traced."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Iterator[OpenTelemetryTracer]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield OpenTelemetryTracer(provider)
    provider.shutdown()


def trace_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}"


def test_a_command_its_call_and_its_event_are_one_trace(
    hire: Hire, tracer: OpenTelemetryTracer, spans: InMemorySpanExporter
) -> None:
    workshop = hire(tracer=tracer)
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        neighbour.traceparent = SENT_WITH
        neighbour.pay(1)
        workshop.until_quiet()
        (event,) = neighbour.listen()

    finished = {span.name: span for span in spans.get_finished_spans() if trace_of(span) == TRACE}
    assert set(finished) == {
        "process payments.payment-commands",
        "authorize sandbox",
        "send payments.events",
    }
    processed, called = finished["process payments.payment-commands"], finished["authorize sandbox"]
    assert processed.parent is not None
    assert called.parent is not None
    assert f"{processed.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert called.parent.span_id == processed.context.span_id
    assert str(event.headers["cloudEvents_traceparent"]).split("-")[1] == TRACE
    assert dict(processed.attributes or {}) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.destination.name": "payments.payment-commands",
        "messaging.message.id": "",
        "payments.payment_id": "pay_1",
    }
    turns = {span.context.span_id for span in spans.get_finished_spans() if span.name == "turn"}
    assert {link.context.span_id for link in processed.links} <= turns
    assert processed.links


def test_nothing_secret_is_in_a_trace(
    hire: Hire, tracer: OpenTelemetryTracer, spans: InMemorySpanExporter
) -> None:
    workshop = hire(tracer=tracer)
    with Neighbour(workshop.url) as neighbour:
        neighbour.traceparent = SENT_WITH
        neighbour.pay(1)
        workshop.until_quiet()

    written = json.dumps([span.to_json() for span in spans.get_finished_spans()])
    assert "pay_1" in written
    assert "tok_approved" not in written
    assert "1999" not in written


def test_an_event_that_a_crash_left_behind_carries_the_context_all_the_same(
    hire: Hire, tracer: OpenTelemetryTracer
) -> None:
    first = hire(tracer=tracer)
    with Neighbour(first.url) as neighbour:
        neighbour.listen()
        neighbour.traceparent = SENT_WITH
        neighbour.pay(1)
        first.bus.before_publish.once(dies)
        first.until_killed()
        second = hire()  # which traces nothing itself
        second.clock.advance(seconds=60)
        second.until(lambda: bool(neighbour.listen()), what="the relay publishes it")
        event = neighbour.listen()[0]

    assert str(event.headers["cloudEvents_traceparent"]).split("-")[1] == TRACE


def test_without_a_tracer_the_context_is_handed_on_untouched(hire: Hire) -> None:
    workshop = hire()
    with Neighbour(workshop.url) as neighbour:
        neighbour.listen()
        neighbour.traceparent = SENT_WITH
        neighbour.pay(1)
        workshop.until_quiet()
        (event,) = neighbour.listen()

    assert event.headers["cloudEvents_traceparent"] == SENT_WITH


@pytest.mark.parametrize(
    "written",
    [
        "",
        "00-abc",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"01-{TRACE}-00f067aa0ba902b7-01",
        SENT_WITH + "-x",
        7,
    ],
)
def test_a_context_without_its_form_is_left_alone(written: object) -> None:
    assert traceparent_of({"traceparent": written}) is None
    assert traceparent_of({"traceparent": SENT_WITH}) == SENT_WITH


def test_nothing_is_traced_unless_a_collector_is_named() -> None:
    with tracing(TracingSettings()) as tracer:
        assert tracer is None
