"""Between rows and values: the states' dataclasses, read from and written as tuples in the order of their fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Generic, TypeVar

from ledger.encryption import Encrypter

State = TypeVar("State")
Row = tuple[Any, ...]


class Shape(Generic[State]):
    """How one dataclass is stored: its first field is the key, and what is `fixed` is written once and never again.

    What is `encrypted` is encrypted where it is stored.
    """

    def __init__(
        self, kind: type[State], table: str, *, fixed: Sequence[str], encrypted: Sequence[str] = ()
    ) -> None:
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        self._kind = kind
        self._table = table
        self.encrypted = tuple(encrypted)
        self.encrypted_and_changing = tuple(name for name in encrypted if name not in fixed)
        self._readers = [_reader(hints[name]) for name in names]
        self.columns = tuple(names)
        self.key = names[0]
        self.changing = tuple(name for name in names[1:] if name not in fixed)
        self.listed = ", ".join(names)
        self.row: Callable[[State], Row] = attrgetter(*names)
        self.changed_row: Callable[[State], Row] = attrgetter(self.key, *self.changing)

    def read(self, rows: Iterable[Row], encrypter: Encrypter | None = None) -> Iterator[State]:
        """Make values of rows; without a encrypter, what is encrypted stays so.

        Raises:
            LedgerError: what is encrypted does not open.
        """
        stored = zip(self._readers, zip(*rows, strict=True), strict=False)  # no rows have no columns, either
        columns = [values if reader is None else reader(values) for reader, values in stored]
        if encrypter is not None and columns:
            names = list(columns[0])
            for column in self.encrypted:
                at = self.columns.index(column)
                columns[at] = encrypter.decrypt(f"{self._table}.{column}", names, list(columns[at]))
        for row in zip(*columns, strict=True):
            yield self._kind(**dict(zip(self.columns, row, strict=True)))


def _reader(hint: Any) -> Callable[[Sequence[Any]], Iterable[Any]] | None:
    """How a whole column is read, if not as it is stored."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    kind = options[0] if options else hint
    if kind is datetime:
        return _times
    if kind is bool:
        return lambda values: map(bool, values)
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = {member.value: member for member in kind}
        return lambda values: map(members.__getitem__, values)
    return None


def _times(values: Sequence[Any]) -> Iterable[datetime | None]:
    # Only SQLite has them as text.
    return [datetime.fromisoformat(value) if isinstance(value, str) else value for value in values]
