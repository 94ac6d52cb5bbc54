"""What the cycle tells of its work to whoever traces it; nobody does unless the settings say so."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

Attributes = Mapping[str, str | int]


class Kind(StrEnum):
    """What a span stands for (opentelemetry.io/docs/specs/otel/trace/api, SpanKind)."""

    CONSUMER = "consumer"
    PRODUCER = "producer"
    CLIENT = "client"
    INTERNAL = "internal"


class Span(Protocol):
    """Something that takes time."""

    @property
    def traceparent(self) -> str:
        """Its place in the trace, as it is written for others."""

    def link(self, traceparent: str) -> None:
        """Name a span of another trace that this one has to do with."""

    def end(self, *, failed_with: str | None = None, ending: str | None = None) -> None:
        """It is over, well or not; `ending` is what came of it, where there are several ways. Never raises."""


class Tracer(Protocol):
    """Begins spans, from any thread; never raises. Attributes are ids and counts, no contents."""

    def begin(self, name: str, kind: Kind, *, parent: str | None, attributes: Attributes) -> Span:
        """Begin a span under another one, or a trace of its own."""
