"""Traces for OpenTelemetry, sent to a collector: only loaded where the settings name one (`pip install …[tracing]`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from consumers.tracing import Attributes, Kind, Tracer
from ops.settings import SettingsError, TracingSettings

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider


class OpenTelemetrySpan:
    """One span of the SDK's."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """Its place in the trace, as W3C Trace Context writes it."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def link(self, traceparent: str) -> None:
        """Name a span of another trace."""
        self._span.add_link(_context(traceparent))

    def end(self, *, failed_with: str | None = None, ending: str | None = None) -> None:
        """It is over."""
        from opentelemetry.trace import StatusCode

        if ending is not None:
            self._span.set_attribute("payments.ending", ending)
        if failed_with is not None:
            self._span.set_status(StatusCode.ERROR)
            self._span.set_attribute("error.type", failed_with)
        self._span.end()


class OpenTelemetryTracer:
    """Begins spans at a provider; sampling is the provider's (`OTEL_TRACES_SAMPLER`)."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("payments")

    def begin(
        self, name: str, kind: Kind, *, parent: str | None, attributes: Attributes
    ) -> OpenTelemetrySpan:
        """Begin a span under another one, or a trace of its own."""
        from opentelemetry import context, trace

        above = context.Context()
        if parent is not None:
            above = trace.set_span_in_context(trace.NonRecordingSpan(_context(parent)), above)
        span = self._tracer.start_span(
            name, above, kind=trace.SpanKind[kind.name], attributes=dict(attributes)
        )
        return OpenTelemetrySpan(span)


def _context(traceparent: str) -> trace.SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


@contextmanager
def tracing(settings: TracingSettings) -> Iterator[Tracer | None]:
    """Send traces for the length of the block; None: nobody asked for them.

    Raises:
        SettingsError: a collector is named, and the extra is not installed.
    """
    if settings.endpoint is None:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "PAYMENTS_TRACING__ENDPOINT is set: install payment-service[tracing] for it"
        ) from error
    resource = Resource.create({"service.name": settings.service_name, "service.version": _version()})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    try:
        yield OpenTelemetryTracer(provider)
    finally:
        provider.shutdown()


def _version() -> str:
    try:
        return version("payment-service")
    except PackageNotFoundError:
        return "unreleased"
