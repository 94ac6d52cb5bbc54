"""What an attempt asks of a gateway; one word shared by the books and the adapters."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """The verbs of the field."""

    AUTHORIZE = "authorize"
    SALE = "sale"
    """Authorize and capture in one step."""
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
