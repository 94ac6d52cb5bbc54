"""Anchors in a file: one line each, added at the end and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from ledger.anchors import Anchor, BadAnchor, read_anchors


def anchors_in(file: Path) -> list[Anchor]:
    """Every anchor of a file.

    Raises:
        BadAnchor: naming the line that is none.
        OSError: the file cannot be read.
    """
    try:
        return read_anchors(file.read_text(encoding="utf-8").splitlines())
    except (BadAnchor, UnicodeDecodeError) as error:
        raise BadAnchor(f"{file}: {error}") from None


def keep_anchor(anchor: Anchor, file: Path) -> None:
    """Add a line, and see it on the disk.

    Raises:
        OSError: the file cannot be written.
    """
    with os.fdopen(
        os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), "w", encoding="utf-8"
    ) as end:
        end.write(anchor.line() + "\n")
        end.flush()
        os.fsync(end.fileno())
