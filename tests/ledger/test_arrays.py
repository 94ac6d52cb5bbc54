"""Array literals: whatever a column holds reaches PostgreSQL as it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.arrays import array
from tests.servers import Postgres

MOMENT = datetime(2026, 11, 22, 13, 37, 42, 123_456, tzinfo=UTC)


class Colour(StrEnum):
    """Stored as its text."""

    RED = 'r"e\\d'


class Number(IntEnum):
    """Stored as its number."""

    SEVEN = 7


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """Plain psycopg."""
    address = postgres.url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as opened:
        yield opened


def read_back(connection: psycopg.Connection[Any], values: list[Any], kind: str) -> list[Any]:
    """The values as PostgreSQL understood them."""
    query = f"SELECT value FROM unnest(%s::{kind}[]) WITH ORDINALITY AS u(value, n) ORDER BY n"
    return [row[0] for row in connection.execute(query.encode(), [array(values)])]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", ["a"]),
        ("text", [""]),
        ("text", ["", "", ""]),
        ("text", ["NULL", "null", "{}", "a,b", '"', "\\", '\\"', '","', "{a,b}", " ", "\n\t", "ü€😀", "%s"]),
        ("text", [None, "NULL", None, ""]),
        ("text", [None, None]),
        ("text", [Colour.RED, "plain"]),
        ("text", [None, Colour.RED]),
        ("bigint", [0, -1, 2**63 - 1, -(2**63), None]),
        ("bigint", [Number.SEVEN, 7, None]),
        ("boolean", [True, False, None, True]),
        ("bytea", [b"", b"\x00\xff\\\"'", None]),
        ("timestamptz", [MOMENT, None, MOMENT + timedelta(microseconds=1), MOMENT]),
    ],
)
def test_values_come_back_as_they_are(
    connection: psycopg.Connection[Any], kind: str, values: list[Any]
) -> None:
    assert read_back(connection, values, kind) == values


def test_a_time_of_another_zone_is_the_same_moment(connection: psycopg.Connection[Any]) -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert read_back(connection, [elsewhere], "timestamptz") == [MOMENT]


@pytest.mark.parametrize("values", [["a\0b"], ["a", "b\0"], [None, "a\0"], ["\0", "\0"]])
def test_a_nul_is_refused_and_never_splits_a_text_in_two(values: list[Any]) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        array(values)


def test_a_float_is_refused() -> None:
    with pytest.raises(psycopg.DataError, match="float"):
        array([19.99])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1
    )
)
def test_any_texts_come_back_as_they_are(
    connection: psycopg.Connection[Any], values: list[str | None]
) -> None:
    assert read_back(connection, values, "text") == values
