"""A house on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.schema import migrate
from ledger.verify import verify
from tests.cases.house import House


@pytest.fixture(params=["sqlite", "postgres_house"])
def house(request: pytest.FixtureRequest) -> House:
    """One on either database."""
    found: House = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[House]:
    """One whose books are a file."""
    yield from _house(f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture
def postgres_house(database: str) -> Iterator[House]:
    """One whose books are on PostgreSQL."""
    yield from _house(database)


def _house(url: str) -> Iterator[House]:
    """Empty books; whatever the test did, they must prove clean."""
    migrate(url)
    house = House(url)
    yield house
    house.desk.ledger.close()
    assert verify(url).problems == []
