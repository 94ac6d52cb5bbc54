"""The trace a message belongs to, as W3C Trace Context writes it (www.w3.org/TR/trace-context, 3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping

TRACEPARENT = "cloudEvents_traceparent"
"""The header of the distributed tracing extension (github.com/cloudevents/spec, extensions/distributed-tracing.md)."""

_FORM = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Mapping[str, object]) -> str | None:
    """Read a message's trace context. What has not its form is left alone: a trace is no reason to refuse a command."""
    value = headers.get(TRACEPARENT) or headers.get("traceparent")
    return value if isinstance(value, str) and _FORM.fullmatch(value) else None
