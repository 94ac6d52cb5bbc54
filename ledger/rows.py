"""Between rows and values: the states' dataclasses, read from and written as tuples in the order of their fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Generic, TypeVar

State = TypeVar("State")
Row = tuple[Any, ...]


class Shape(Generic[State]):
    """How one dataclass is stored."""

    def __init__(self, kind: type[State]) -> None:
        hints = typing.get_type_hints(kind)
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]
        self._kind = kind
        self.columns: tuple[str, ...] = tuple(field.name for field in fields)
        self.key, self.rest = self.columns[0], self.columns[1:]
        self.listed = ", ".join(self.columns)
        self.row: Callable[[State], Row] = attrgetter(*self.columns)
        self._readers = tuple(_reader(hints[name]) for name in self.columns)

    def read(self, rows: Iterable[Row]) -> Iterable[State]:
        """Make values of rows."""
        readers, columns, kind = self._readers, self.columns, self._kind
        for row in rows:
            values = {
                name: value if read is None or value is None else read(value)
                for name, value, read in zip(columns, row, readers, strict=True)
            }
            yield kind(**values)


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    kind = options[0] if options else hint
    if kind is datetime:
        return lambda value: value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if kind is bool or (isinstance(kind, type) and issubclass(kind, Enum)):
        reader: Callable[[Any], Any] = kind
        return reader
    return None
