"""A PostgreSQL connection that does not wait for ever.

The server's own time limits end with the server, and a frozen one still answers at TCP's level: nothing but the
silence itself tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg

Result = TypeVar("Result")
Waiting = Generator[Any, Any, Result]


class ImpatientConnection(psycopg.Connection[Any]):
    """Is closed when the server has been silent for too long."""

    patience_s: float

    @classmethod
    def connector(cls, patience_s: float) -> Callable[..., ImpatientConnection]:
        """Give what SQLAlchemy calls to connect."""

        def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
            connection = cls.connect(*arguments, **options)
            connection.patience_s = patience_s
            return connection

        return connect

    def wait(self, gen: Waiting[Result], *arguments: Any, **options: Any) -> Result:
        """Wait as psycopg does.

        Raises:
            psycopg.OperationalError: nothing was heard for too long; the connection is closed.
        """
        try:
            return super().wait(_listening(gen, self.patience_s), *arguments, **options)
        except _Silence:
            self.close()
            raise psycopg.OperationalError(f"nothing heard for {self.patience_s:g} s") from None


class _Silence(Exception):
    pass


def _listening(gen: Waiting[Result], patience_s: float) -> Waiting[Result]:
    """Pass on what psycopg waits for and what is ready; it looks ten times a second, ready or not."""
    heard_at = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > patience_s:
                raise _Silence
            wanted = gen.send(ready)
    except StopIteration as end:
        result: Result = end.value
        return result
